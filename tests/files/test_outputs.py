"""A file of the user's own is never overwritten; a result may be made again in the same place."""

import pytest

CONDITION = "titan_corrected_300kv"
VERBS = {
    "ctf.png": ("ctf", "show", CONDITION, "--figure"),
    "ctf.svg": ("ctf", "show", CONDITION, "--figure"),
    "ctf.html": ("ctf", "compare", CONDITION, CONDITION, "--figure"),
    "map.png": ("ctf", "map", CONDITION, "--x", "defocus_angstrom=0:50", "--y", "C12=0:50", "--points", 3, "--figure"),
    "best.yaml": ("ctf", "optimize", CONDITION, "--vary", "C12", "--out"),
    "scene.xyz": ("specimen", "export", "small.yaml"),
    "scene.cif": ("specimen", "export", "small.yaml"),
    "scene.prismatic.xyz": ("specimen", "export", "small.yaml"),
    "scene.py": ("specimen", "export", "small.yaml"),
    "scene.npz": ("specimen", "export", "small.yaml"),
    "theirs.yaml": ("specimen", "import", "given.xyz", "--format", "extxyz", "--field", 40, "--out"),
}


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "small.yaml").write_text(
        "seed: 1\nfield_angstrom: 25.6\nsubstrate: null\nparticles: {crystal: Au, count: [1, 1], diameter_angstrom: 12.0}\n"
    )
    (tmp_path / "given.xyz").write_text("2\n\nAu 0 0 0\nAu 3 0 0\n")


@pytest.mark.parametrize("name", VERBS)
def test_only_what_passband_wrote_is_written_over(call, inputs, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"mine " * 5000)
    code, _, error = call(*VERBS[name], name)
    assert code == 2 and f"{name}: exists and was not written by passband; choose another name" in error
    assert file.read_bytes() == b"mine " * 5000
    if name == "best.yaml":
        return  # It takes long, and its file begins with a comment as that of an import.
    file.unlink()
    for _ in range(2):
        code, _, error = call(*VERBS[name], name)
        assert code == 0, error
    file.unlink()
    file.mkdir()
    assert call(*VERBS[name], name)[0] == 2


def test_a_structure_beside_a_script_is_not_written_over_either(call, inputs, tmp_path):
    (tmp_path / "scene.xyz").write_text("mine")
    code, _, error = call("specimen", "export", "small.yaml", "scene.py")
    assert code == 2 and "scene.xyz: exists and was not written by passband" in error
    assert (tmp_path / "scene.xyz").read_text() == "mine" and not (tmp_path / "scene.py").exists()
