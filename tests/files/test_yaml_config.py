import time
from pathlib import Path

import pytest

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import load_condition, load_distribution
from passband.files import yaml_config
from passband.specimens.recipe_files import load_recipe
from passband.studies.study import load_study


def write(tmp_path, text):
    path = tmp_path / "condition.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def error(tmp_path, text):
    with pytest.raises(BadInputError) as caught:
        yaml_config.load(Condition, write(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(tmp_path), "")


def test_numbers_as_people_write_them(tmp_path):
    condition = yaml_config.load(Condition, write(tmp_path, "energy_ev: 3e5\naberrations: {C10: -5e1, Cs: 1.2E+7}\n"))
    assert condition.energy_ev == 300_000
    assert condition.aberrations == {"C10": -50, "C30": 1.2e7}


def test_no_octal_and_no_base_sixty(tmp_path):
    condition = yaml_config.load(Condition, write(tmp_path, "energy_ev: 0300000\naberrations: {C10: -050}\n"))
    assert condition.energy_ev == 300_000
    assert condition.aberrations == {"C10": -50}
    assert "no spaces, got '1:30'" in error(tmp_path, "energy_ev: 1:30\n")


def test_round_trip(tmp_path):
    condition = Condition(energy_ev=80e3, aberrations={"C10": -12.5, "C12": 3.0, "phi12": 0.1}, dose_per_angstrom2=1e-3)
    assert yaml_config.load(Condition, write(tmp_path, yaml_config.dump(condition))) == condition


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            "energy_ev: 300000\nfocal_spred_angstrom: 20\n",
            "/condition.yaml:2:",
            "did you mean 'focal_spread_angstrom'?",
        ),
        ("energy_kv: 300\n", "/condition.yaml:1:", "unknown key 'energy_kv'; did you mean 'energy_ev'?"),
        ("aberrations:\n\tC10: 5\n", "/condition.yaml:2:", "indent with spaces"),
        ("energy_ev: 300000\nenergy_ev: 200000\n", "/condition.yaml:2:", "twice, first on line 1"),
        ("energy_ev: 300\n", "/condition.yaml:1:", "did you mean 300000 eV"),
        (
            "energy_ev: '300000'\n",
            "/condition.yaml:1:",
            "number without quotes, with a decimal point and no spaces, got '300000'",
        ),
        ("energy_ev: 300000\naberrations:\n  C10: 5\n  C99: 1\n", "/condition.yaml:2:", "unknown coefficient 'C99'"),
        (
            "energy_ev: 300000\n\nfocal_spread_angstrom: -20\n",
            "/condition.yaml:3:",
            "greater than or equal to 0, got -20",
        ),
        ("focal_spread_angstrom: 20\n", "/condition.yaml:1:", "key 'energy_ev' is missing"),
        ("energy_ev: [1\n", "/condition.yaml:2:", "not valid YAML"),
        ("- 1\n", "/condition.yaml:1:", "holds no keys; write a mapping"),
        ("", "/condition.yaml:1:", "is empty; write a mapping"),
        ("energy_ev: 300000\naberrations: 5\n", "/condition.yaml:2:", "a mapping such as {C10: -50}, got 5"),
        (
            "energy_ev: true\n",
            "/condition.yaml:1:",
            "number without quotes, with a decimal point and no spaces, got True",
        ),
        ("energy_ev: .nan\n", "/condition.yaml:1:", "finite"),
        ("? [1]\n: 2\n", "/condition.yaml:1:", "not a plain word"),
        ("energy_ev: !!python/object:os.system 1\n", "/condition.yaml:1:", "not valid YAML"),
        ("energy_ev: \x00\n", "/condition.yaml:", "not valid YAML"),
        ("energy_ev: &a [*a]\n", "/condition.yaml:", "refers to itself"),
        ("energy_ev: " + "[" * 3000 + "\n", "/condition.yaml:", "nested too deeply"),
        ("energy_ev: 300000\naberrations: {C10: 1" + "0" * 400 + "}\n", "/condition.yaml:2:", "beyond 1e10"),
        ("energy_ev: 3" + "0" * 400 + "\n", "/condition.yaml:", "energy_ev"),
    ],
)
def test_every_fault_is_one_line_with_its_place(tmp_path, text, place, words):
    message = error(tmp_path, text)
    assert message.startswith(place)
    assert words in message


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(BadInputError, match="cannot be read"):
            yaml_config.load(Condition, path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(BadInputError, match="saved as UTF-8"):
        yaml_config.load(Condition, tmp_path / "binary.yaml")


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "holds more than 200000 values, aliases written out"),
        (
            BOMB.replace("[", "{<<: [").replace("]", "]}").replace("x,x,x,x,x,x,x,x,x,x", "{x: 1}"),
            "aliases written out",
        ),
        ("a: " + "[" * 150 + "]" * 150, "nested too deeply"),
        ("".join(f"{'  ' * i}a:\n" for i in range(150)), "nested too deeply"),
        ("\n".join(f"k{i}: 1" for i in range(150_000)), "holds more than 200000 values"),
        ("a: &a\n  b: *a\n", "refers to itself"),
    ],
    ids=["aliases", "merges", "brackets", "indents", "keys", "itself"],
)
def test_what_would_take_long_is_refused_at_once(tmp_path, text, words):
    """A condition, a study, a recipe, a model's description and a session are read alike."""
    path = write(tmp_path, text)
    began = time.process_time()
    for read in (load_condition, load_study, load_recipe, load_distribution):
        with pytest.raises(BadInputError, match=words):
            read(path)
    assert time.process_time() - began < 8


def test_a_file_without_end_is_refused():
    with pytest.raises(BadInputError, match="/dev/zero: has more than 64 MB"):
        yaml_config.read_yaml(Path("/dev/zero"))
