import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import passband
from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.conditions.condition import PRESETS
from passband.conditions.condition_files import export, load_condition, load_conditions, preset_sources
from passband.conditions.notations import NOTATIONS
from support.samples import STAR


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    """Every preset names its sources, stands where it says, and its residuals lie about it."""
    said = preset_sources(name)
    assert said["about"] and {"focal_spread", "convergence", "residuals"} <= set(said["sources"])
    condition = load_condition(Path(name))
    assert condition.doubts() == []
    residuals = load_conditions(Path(f"{name}:residuals"))
    assert len({c.id for _, c in residuals}) == 64
    mean = sum(c.defocus_angstrom for _, c in residuals) / 64
    assert mean == pytest.approx(condition.defocus_angstrom, abs=15)
    lam = wavelength(condition.energy_ev)
    cs = condition.aberrations["C30"]
    if cs > 0:
        assert condition.defocus_angstrom == pytest.approx(1.2 * math.sqrt(cs * lam), rel=2e-3)


def test_information_limit_of_a_preset():
    """Δ = 2 d² / (π λ) is where E_t falls to exp(−2)."""
    condition = load_condition(Path("team05_300kv"))
    lam = wavelength(condition.energy_ev)
    assert math.exp(-0.5 * (math.pi * lam * condition.focal_spread_angstrom / 0.5**2) ** 2) == pytest.approx(
        math.exp(-2), rel=0.02
    )


CONDITION = Condition(
    energy_ev=300e3,
    aberrations={"C10": -50.0, "C12": 20.0, "phi12": 0.3, "C30": -5e4},
    focal_spread_angstrom=20.0, aperture_mrad=20.0, dose_per_angstrom2=500.0,
)  # fmt: skip


@pytest.mark.parametrize("notation", sorted(NOTATIONS))
def test_exported_files_read_back(tmp_path, notation):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(export(CONDITION, notation)))
    back = load_condition(path)
    assert back.aberrations == pytest.approx(CONDITION.aberrations)
    for name in ("energy_ev", "focal_spread_angstrom", "aperture_mrad", "dose_per_angstrom2", "pixel_size_angstrom"):
        assert getattr(back, name) == pytest.approx(getattr(CONDITION, name)), name


def test_csv(tmp_path):
    path = tmp_path / "session.csv"
    path.write_text(
        "label,energy_ev,defocus_angstrom,C12,phi12,dose_per_angstrom2\nfirst,300000,50,20,0.3,500\n,3e5,-40,,,\n"
    )
    (first, a), (second, b) = load_conditions(path)
    assert (first, second) == ("first", "row 2")
    assert a == Condition(
        energy_ev=300e3, defocus_angstrom=50.0, aberrations={"C12": 20.0, "phi12": 0.3}, dose_per_angstrom2=500.0
    )
    assert b == Condition(energy_ev=300e3, defocus_angstrom=-40.0)
    with pytest.raises(BadInputError, match="holds 2 conditions where one is needed"):
        load_condition(path)


def test_star(tmp_path):
    path = tmp_path / "m.star"
    path.write_text(STAR)
    (label, condition), other = load_conditions(path)
    assert label == "1: a.mrc" and condition.defocus_angstrom == 8900 and condition.pixel_size_angstrom == 0.885
    assert other[1].energy_ev == 200e3


def test_distribution_file(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_text("base: {energy_ev: 300000}\ndraw: {defocus_angstrom: {uniform: [0, 100]}}\ncount: 8\n")
    assert len(load_conditions(path)) == 8


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "notation: zemlin\nC1: 5 nm\n", r"a.yaml:1: notation 'zemlin' is not known; known are krivanek"),
        ("a.yaml", "notation: ceos\nenergy_ev: 300000\nC1: 5\n", r"a.yaml:3: C1 is 5; give a length with its unit"),
        ("a.yaml", "notation: ceos\nenergy_ev: 300\nC1: 5 nm\n", r"a.yaml:2: .*energy is 300 eV.*did you mean 300000 eV"),
        ("a.yaml", "base: {energy_ev: 300000}\ndraw: {defocus: {uniform: [5, 1]}}\n", r"a.yaml:2: .*swap them"),
        ("a.yaml", "base: {energy_ev: 300000}\ndraw: {defocus: {uniform: [1, 5], normal: [0, 1]}}\n", r"a.yaml:2: .*give one of"),
        ("a.csv", "energy_ev,defocus\n300000,near\n", r"a.csv:2: defocus is 'near'"),
        ("a.csv", "energy_ev,defocus\n300000\n", r"a.csv:2: has fewer values"),
        ("a.csv", "energy_ev,defokus\n300000,1\n", r"a.csv:2: unknown coefficient 'defokus'"),
        ("a.csv", "defocus\n1\n", r"a.csv:1: has no column energy_ev"),
        ("a.csv", "energy_ev\n", r"a.csv: has no rows"),
        ("a.star", "nothing", r"a.star: not a STAR file"),
    ],
)  # fmt: skip
def test_bad_files_say_where(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_conditions(tmp_path / name)


def test_unknown_preset():
    with pytest.raises(BadInputError, match=f"neither a file nor a preset; presets are {next(iter(PRESETS))}"):
        load_conditions(Path("titan"))


def test_csv_of_words_whole_numbers_spaces_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "session.CSV"
    text = "\ufeff Energy_eV, C10 ,coherence, quadrature_nodes\r\n\r\n 300000 , -50 , quadrature , 9\r\n,,,\r\n3e5,1,Quasi,\r\n"
    path.write_text(text, encoding="utf-8")
    (_, a), (_, b) = load_conditions(path)
    assert a == Condition(energy_ev=300e3, aberrations={"C10": -50.0}, coherence="quadrature", quadrature_nodes=9)
    assert b == Condition(energy_ev=300e3, aberrations={"C10": 1.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("energy_ev,C10,C10\n3e5,1,2\n", "column C10 is there twice"),
        ("energy_ev,C10, C10\n3e5,1,2\n", "column C10 is there twice"),
        ("energy_ev,defocus,C10\n3e5,1,2\n", "defocus and C10 are the same quantity"),
        ("energy_ev,Cs,C30\n3e5,1,2\n", "Cs and C30 are the same quantity"),
        ("energy_ev,ENERGY_EV\n3e5,1\n", "column energy_ev is there twice"),
        ('energy_ev,C10\n3e5,"' + "1" * 200_000 + '"\n', "not valid CSV: field larger"),
        ("energy_ev,C10\n3e5,1_0\n", "'1_0', which is not a number"),
        ("energy_ev,coherence\n3e5,none\n", "coherence"),
        ("energy_ev,quadrature_nodes\n3e5,7.5\n", "quadrature_nodes"),
    ],
)
def test_bad_columns_and_cells(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BadInputError, match=message) as fault:
        load_conditions(tmp_path / "a.csv")
    assert "\n" not in str(fault.value) and len(str(fault.value)) < 600


TWICE = {
    "abtem": [
        "energy: 3.0e+5\ndefocus: 50\nC10: -80",
        "energy: 3.0e+5\nCs: 1.0e+7\nC30: -5.0e+4",
        "energy: 3.0e+5\nC12: 20\nphi12: 0.3\nC12_a: 5\nC12_b: 0",
        "energy: 3.0e+5\nastigmatism_angle: 0.3\nC12_b: 5",
        "energy: 3.0e+5\nhexafoil: 1\nC56: 2",
        "energy: 3.0e+5\nenergy_ev: 200000\nC10: 1",
        "energy: 3.0e+5\nsemiangle_cutoff: 20\naperture_mrad: 10",
        "energy: 3.0e+5\nfocal_spread: 20\nfocal_spread_angstrom: 10",
    ],
    "ctffind": [
        "voltage_kv: 300\nenergy_ev: 200000\ndefocus_u: 500",
        "voltage_kv: 300\ndefocus_u: 500\npixel_size: 1\npixel_size_angstrom: 2.0",
    ],
    "ceos": ["energy_ev: 300000\nD5: 3 nm\nR5: 5 nm"],
    "krivanek": ["energy_ev: 300000\nC12a: 3 nm\nC12.a: 5 nm"],
    "nexus": [
        "energy_ev: 300000\nc_1_2_a: 3 nm\nC12a: 5 nm",
        "energy_ev: 300000\nmodel: ceos\na_6: 3 nm\nA5: 5 nm",
    ],
}


@pytest.mark.parametrize(("notation", "text"), [(n, text) for n, texts in TWICE.items() for text in texts])
def test_one_quantity_under_two_names_is_refused(tmp_path, notation, text):
    (tmp_path / "a.yaml").write_text(f"notation: {notation}\n{text}\n")
    with pytest.raises(BadInputError, match=r"keep one of"):
        load_conditions(tmp_path / "a.yaml")


@pytest.mark.slow
def test_what_is_read_does_not_depend_on_the_hash_seed(tmp_path):
    """Sets of names have another order in every process."""
    (tmp_path / "a.yaml").write_text(
        "notation: abtem\nenergy: 300000\ndefocus: 50\nCs: 1.0e+7\nC12_a: 5\nC12_b: 1\nphi23: 0.2\ntrefoil: 9\n"
    )
    (tmp_path / "twice.yaml").write_text("notation: abtem\nenergy: 300000\ndefocus: 50\nC10: -80\nCs: 1\nC30: 2\n")
    code = (
        "from passband.conditions.condition_files import load_condition\nprint(load_condition('a.yaml').to_dict())\n"
        "try: load_condition('twice.yaml')\nexcept ValueError as fault: print(fault)"
    )
    source = str(Path(passband.__file__).parents[1])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": source},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "3")
    }  # fmt: skip
    assert len(outputs) == 1 and "are the same quantity" in outputs.pop()


def test_ctffind_without_a_pixel_size_says_what_is_assumed(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("notation: ctffind\nvoltage_kv: 300\ndefocus_u: 900\n")
    [doubt] = load_condition(path).doubts()
    assert "0.4 Å is assumed" in doubt
    path.write_text("notation: ctffind\nvoltage_kv: 300\ndefocus_u: 900\npixel_size_angstrom: 1.0\n")
    assert load_condition(path).doubts() == []
    path.write_text(
        "notation: ctffind\nvoltage_kv: 300\ndefocus_u: 2.0\ndefocus_v: 1.9\ndefocus_angle: 0.52\npixel_size: 1\n"
    )
    assert ["µm" in doubt or "rad" in doubt for doubt in load_condition(path).doubts()] == [True, True]


def test_a_name_without_its_unit_is_explained(tmp_path):
    path = tmp_path / "a.yaml"
    for name, meant in (
        ("dose", "dose_per_angstrom2"),
        ("PIXEL_SIZE", "pixel_size_angstrom"),
        ("Energy_eV", "energy_ev"),
    ):
        path.write_text(f"energy_ev: 300000\n{name}: 5\n")
        with pytest.raises(BadInputError, match=f"a.yaml:2: unknown key '{name}'; did you mean '{meant}'"):
            load_condition(path)
    assert load_condition("TITAN_corrected_300kV") == load_condition("titan_corrected_300kv")


@given(
    energy=st.floats(1e4, 2e6),
    aberrations=st.dictionaries(st.sampled_from(sorted(ABERRATIONS)), st.floats(-1e9, 1e9).filter(bool), max_size=5),
    turn=st.floats(-6, 6).filter(bool),
    dose=st.none() | st.floats(1e-3, 1e6),
)
@settings(max_examples=20, deadline=None)
def test_files_read_back_what_was_written(tmp_path_factory, energy, aberrations, turn, dose):
    angles = {ANGLES[symbol]: turn for symbol in aberrations if symbol in ANGLES}
    condition = Condition(energy_ev=energy, aberrations=aberrations | angles, dose_per_angstrom2=dose)
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.yaml").write_text(str(condition))
    flat = {"energy_ev": energy, "dose_per_angstrom2": "" if dose is None else dose, **condition.aberrations}
    (folder / "a.csv").write_text(f"{','.join(flat)}\n{','.join(map(repr, flat.values()))}\n".replace("''", ""))
    assert load_condition(folder / "a.yaml") == condition == load_condition(folder / "a.csv")
    assert load_condition(folder / "a.yaml").id == condition.id
