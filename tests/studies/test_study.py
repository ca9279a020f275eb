from pathlib import Path

import pytest
import yaml

from passband.base.errors import BadInputError
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study

BASE = {
    "specimens": {"field_angstrom": 38.4, "particles": {"diameter_angstrom": [12.0, 18.0]}},
    "conditions": {
        "base": {"energy_ev": 300000, "dose_per_angstrom2": 500},
        "vary": {"defocus_angstrom": [-100, 0, 100]},
    },
    "split": {"train": 4, "validation": 2, "test": 2},
}


def write(folder, content, name="small.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def changed(**changes):
    return BASE | changes


def test_name_and_conditions(tmp_path):
    study = load_study(write(tmp_path, BASE))
    assert study.name == "small"
    assert [c.defocus_angstrom for c in study.test_conditions] == [-100, 0, 100]
    assert list(study.labels.values()) == [
        "defocus -100 Å",
        "defocus 0 Å",
        "defocus +100 Å",
    ]


def test_the_grid_is_all_combinations(tmp_path):
    vary = {"C12": [0, 30], "phi12": [0.5], "dose_per_angstrom2": [50, 500]}
    content = changed(conditions={"base": {"energy_ev": 300000, "defocus_angstrom": 50}, "vary": vary})
    with pytest.raises(BadInputError, match="at least 1 item"):
        load_study(write(tmp_path, changed(conditions={"base": {"energy_ev": 300000}, "vary": {"C12": []}})))
    study = load_study(write(tmp_path, content))
    assert [(c.aberrations.get("C12", 0), c.dose_per_angstrom2, c.defocus_angstrom) for c in study.test_conditions] == [
        (0, 50, 50),
        (0, 500, 50),
        (30, 50, 50),
        (30, 500, 50),
    ]
    assert list(study.labels.values())[3] == "C12 30 Å, phi12 0.5 rad, dose 500 e/Å²"


def test_id_is_the_science_not_the_name(tmp_path):
    a = load_study(write(tmp_path, changed(name="a")))
    b = load_study(write(tmp_path, changed(name="b")))
    c = load_study(write(tmp_path, changed(seeds=2)))
    assert a.id == b.id != c.id


def test_recipe_file_is_the_same_as_the_recipe(tmp_path):
    write(tmp_path, BASE["specimens"], "recipe.yaml")
    assert load_study(write(tmp_path, changed(specimens="recipe.yaml"))).id == load_study(write(tmp_path, BASE)).id
    write(tmp_path, {"particles": {"diameter_angstrom": [12.0, 80.0]}}, "recipe.yaml")
    with pytest.raises(BadInputError, match=r"recipe.yaml:1.*diameter 80 Å does not fit the field of 51.2 Å"):
        load_study(write(tmp_path, changed(specimens="recipe.yaml")))
    with pytest.raises(
        BadInputError, match=r"small.yaml:1: recipe 'none.yaml' is neither beside the study nor bundled"
    ):
        load_study(write(tmp_path, changed(specimens="none.yaml")))


def test_conditions_may_come_from_a_file_of_which_keys_are_changed(tmp_path):
    drawn = {"base": {"energy_ev": 300_000}, "draw": {"defocus_angstrom": [-50, 50]}, "count": 9, "method": "sobol"}
    write(tmp_path, drawn, "conditions.yaml")
    for given, meant in (("conditions.yaml", drawn), ({"file": "conditions.yaml", "count": 5}, drawn | {"count": 5})):
        ids = [load_study(write(tmp_path, changed(conditions=c))).id for c in (given, meant)]
        assert ids[0] == ids[1]
    with pytest.raises(BadInputError, match="no file beside the study"):
        load_study(write(tmp_path, changed(conditions="absent.yaml")))


GRID = BASE["conditions"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditions": GRID | {"vary": {"defocus_angstrom": ["-100", "0"]}}}, r"small.yaml:\d+: conditions.vary.defocus_angstrom.0: should be a number without quotes, with a decimal point and no spaces, got '-100'"),
        ({"conditions": GRID | {"vary": {"defocus": [1, 1, 2]}}}, "lists a value twice"),
        ({"conditions": GRID | {"vary": {"phi12": [0.1, 0.2]}}}, "same condition"),
        ({"conditions": GRID | {"vary": {"defocus_nm": [1]}}}, "cannot vary 'defocus_nm'"),
        ({"conditions": GRID | {"vary": {"energy_ev": [300, 301]}}}, "did you mean 300000 eV"),
        ({"conditions": GRID | {"vary": {"energy_ev": [200000, 300000]}}}, "exit waves belong to one energy"),
        ({"conditions": {"base": {"energy_ev": 300000, "pixel_size_angstrom": 0.8}, "vary": {"C10": [1, 2]}}}, "too coarse for the band.*at most 0.5 Å"),
        ({"conditions": {"base": {"energy_ev": 300000, "pixel_size_angstrom": 0.37}, "vary": {"C10": [1, 2]}}}, "into whole pixels"),
        ({"conditions": {"base": {"energy_ev": 300000, "aperture_mrad": 500}, "vary": {"C10": [1, 2]}}}, "leave it out for no aperture"),
        ({"conditions": GRID | {"vary": {"defocus": [1]}}}, "one family trained under one condition compares nothing; list another value"),
        ({"conditions": GRID | {"vary": {"C10": list(range(50)), "C12": list(range(50))}}}, "2500 conditions.*fewer values"),
        ({"conditions": GRID | {"vary": {"defocus_angstrom": [100], "C10": [50, 60]}}}, "defocus_angstrom and C10 are the same coefficient"),
        ({"specimens": {"field_angstrom": float("inf")}}, "finite|less than or equal"),
        ({"specimens": {"field_angstrom": 1e7}}, "less than or equal to 2000"),
        ({"specimens": {"particles": {"diameter_angstrom": [3.0, 4.0]}}}, "at least 8.156 Å"),
        ({"specimens": {"particles": {"lattice_scale": 0.4078}}}, "greater than or equal to 0.8"),
        ({"network": {"widths": [4, 8, 16, 32, 64, 128]}, "specimens": {"field_angstrom": 25.6, "particles": {"diameter_angstrom": [12.0, 18.0]}}}, "at least 128"),
        ({"network": {"widths": [4, 8, 16, 32, 64, 128, 256]}}, "multiple of 128"),
        ({"split": {"train": 0}}, "greater than or equal to 1, got 0"),
        ({"training": {"optimizer": "lion"}}, "'adam' or 'sgd', got 'lion'"),
        ({"training": {"loss": "dice"}}, "'cross_entropy_dice', 'cross_entropy' or 'softmax_cross_entropy', got 'dice'"),
        ({"zero": "here"}, r"small.yaml:\d+: zero is 'here'; write zero: least_contrast"),
        ({"zero": "least_contrast", "zero_c10_angstrom": 1.0}, "a number, not both"),
        ({"zero_c10_angstrom": {"gold": 1.0}}, "names gold, and structures has"),
        ({"defocus_spread_angstrom": -1.0}, "greater than or equal to 0"),
        ({"seeds": 0}, "seeds: should be greater than or equal to 1, got 0"),
        ({"name": "../up"}, "cannot name a folder"),
        ({"epochs": 5}, "unknown key 'epochs'"),
    ],
)  # fmt: skip
def test_bad_studies_are_one_line(tmp_path, changes, message):
    with pytest.raises(BadInputError, match=message) as caught:
        load_study(write(tmp_path, changed(**changes)))
    assert "\n" not in str(caught.value)


def test_locate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, BASE)
    held = StudyFolder.open(path)
    study, folder = held.study, held.paths.folder
    assert str(folder) == "runs/small"
    write(folder, BASE, "study.yaml")
    again = StudyFolder.open(folder)
    assert (again.study.id, again.paths.folder) == (study.id, folder)
    write(tmp_path, changed(seeds=2))
    assert StudyFolder.open(path).study.seeds == 2
    write(tmp_path, changed(q_max_per_angstrom=0.9))
    with pytest.raises(BadInputError, match="holds study 'study'.*not this one"):
        StudyFolder.open(path)
    assert StudyFolder.open(path, tmp_path / "elsewhere").paths.folder == tmp_path / "elsewhere"
    with pytest.raises(BadInputError, match="folder there: goes with a study's YAML file"):
        StudyFolder.open(folder, Path("there"))


def test_a_run_killed_at_its_very_start_can_go_on(tmp_path):
    path = write(tmp_path, BASE)
    (tmp_path / "out").mkdir()
    for name in (".lock", ".study.yaml.123.tmp.yaml"):
        (tmp_path / "out" / name).write_text("half")
    assert StudyFolder.open(path, tmp_path / "out").paths.folder == tmp_path / "out"


def test_exit_waves_lie_beside_the_study_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "runs" / "small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "small")
    assert StudyPaths(Path()).root == tmp_path / "runs"
    assert StudyPaths(Path("../small")).root == tmp_path / "runs"


def test_a_band_that_cuts_what_the_condition_transfers_is_said(tmp_path):
    sharp = load_study(write(tmp_path, BASE))
    assert [
        w
        for w in sharp.warnings()
        if "1.48 1/Å" in w and "transfers 100%" in w and "widen exit_waves.band_per_angstrom" in w
    ]
    for gentle in ({"focal_spread_angstrom": 20}, {"aperture_mrad": 25}):
        base = BASE["conditions"]["base"] | gentle
        assert load_study(write(tmp_path, changed(conditions=BASE["conditions"] | {"base": base}))).warnings() == []


def test_a_key_in_the_wrong_place_is_not_suggested_again(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("learning_rate: 0.01\n")
    with pytest.raises(BadInputError, match="unknown key 'learning_rate'; it belongs elsewhere in such a file"):
        load_study(path)


def test_a_condition_given_as_a_study_is_told(tmp_path):
    path = tmp_path / "condition.yaml"
    path.write_text("energy_ev: 300000\n")
    with pytest.raises(BadInputError, match="describes one condition, and no study"):
        load_study(path)


def test_many_conditions_warn_once_of_a_kind(tmp_path):
    draw = {"base": BASE["conditions"]["base"], "draw": {"C30": {"uniform": [-1e5, 1e5]}}, "count": 64}
    [line] = load_study(write(tmp_path, changed(conditions=draw))).warnings()
    assert "transfers 100%" in line and line.endswith("(and 63 conditions more likewise)")
    draw["draw"] = {"C30": {"uniform": [100, 900]}}
    doubt, _ = load_study(write(tmp_path, changed(conditions=draw))).warnings()
    assert "is it in µm or mm?" in doubt and doubt.endswith("(and 63 conditions more likewise)")


def test_locate_refuses_what_is_no_study(tmp_path):
    path = write(tmp_path, BASE)
    with pytest.raises(BadInputError, match="no such file"):
        StudyFolder.open(tmp_path / "none.yaml")
    with pytest.raises(BadInputError, match="not a study folder"):
        StudyFolder.open(tmp_path)
    with pytest.raises(BadInputError, match="not empty and holds no study"):
        StudyFolder.open(path, tmp_path)
    with pytest.raises(BadInputError, match="is a file"):
        StudyFolder.open(path, path)


def test_a_preset_is_a_base(tmp_path):
    from passband.base.errors import BadInputError

    path = tmp_path / "s.yaml"
    text = """specimens: {field_angstrom: 51.2}
exit_waves: {energy_ev: 300000}
conditions:
  base: titan_corrected_300kv
  draw: {defocus_angstrom: {uniform: [0, 100]}}
  count: 4
"""
    path.write_text(text)
    study = load_study(path)
    assert {c.focal_spread_angstrom for c in study.test_conditions} == {20.7}
    assert len(study.test_conditions) == 4 == len(set(study.labels.values()))
    path.write_text(text.replace("titan_corrected_300kv", "titan"))
    with pytest.raises(
        BadInputError, match=r"s.yaml:4: conditions.base: no HRTEM preset is called 'titan'; they are etem"
    ):
        load_study(path)


def test_a_focal_series_is_the_conditions_of_a_study(tmp_path):
    """Given in the study, or in the file that other verbs read, it is the study with the defoci listed."""
    head = "specimens: {field_angstrom: 51.2}\nexit_waves: {energy_ev: 300000}\n"
    series = "base: titan_corrected_300kv\nfocal_series: {start: -100, stop: 100, step: 50}\n"
    (tmp_path / "series.yaml").write_text(series)
    inside = "".join(f"  {line}\n" for line in series.splitlines())
    texts = {
        "listed": "conditions:\n  base: titan_corrected_300kv\n  vary: {defocus_angstrom: [-100, -50, 0, 50, 100]}\n",
        "inside": f"conditions:\n{inside}",
        "file": "conditions: series.yaml\n",
    }
    studies = []
    for name, text in texts.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(head + text)
        studies.append(load_study(path))
    assert len({tuple(c.id for c in study.test_conditions) for study in studies}) == 1
    assert [c.defocus_angstrom for c in studies[0].test_conditions] == [-100, -50, 0, 50, 100]
    assert len({study.id for study in studies}) == 1
