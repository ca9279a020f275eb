import math
from pathlib import Path

import pytest
import yaml

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import export, load_condition, load_conditions, preset_names, preset_sources
from passband.conditions.notations import NOTATIONS
from support.samples import STAR


@pytest.mark.parametrize("name", preset_names())
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
    with pytest.raises(BadInputError, match="neither a file nor a preset; presets are etem_200kv"):
        load_conditions(Path("titan"))
