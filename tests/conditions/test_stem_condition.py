"""STEM conditions: what is refused, other words for a quantity, presets."""

import math

import pytest
from scipy import constants

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import StemCondition
from passband.conditions.condition_files import (
    load_any_condition,
    load_any_conditions,
    load_any_distribution,
    load_conditions,
)
from passband.conditions.stem_condition import STEM_PRESETS
from passband.files import yaml_config

HAADF = {"kind": "haadf", "inner_mrad": 60.0, "outer_mrad": 200.0}


def made(**changes):
    fields = {"energy_ev": 3e5, "convergence_semiangle_mrad": 20.0, "detector": HAADF}
    return StemCondition(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": HAADF | {"inner_mrad": 15.0}}, "inner_mrad 15 lies in the beam of 20 mrad"),
        ({"detector": {"kind": "adf", "inner_mrad": 19.0, "outer_mrad": 50.0}}, "inner_mrad 19 lies in the beam"),
        ({"detector": HAADF | {"outer_mrad": 60.0}}, "inner_mrad 60 is not below outer_mrad 60"),
        ({"detector": {"kind": "haadf", "inner_mrad": 60.0}}, "outer_mrad is missing"),
        ({"detector": {"kind": "abf", "inner_mrad": 25.0, "outer_mrad": 30.0}}, "outside the beam of 20 mrad; use kind: adf"),
        ({"detector": {"kind": "bf", "outer_mrad": 5.0, "quadrants": True}}, "quadrants belong to icom"),
        ({"detector": {"kind": "icom", "outer_mrad": 30.0}}, "need quadrants: true"),
        ({"detector": {"kind": "icom", "outer_mrad": 15.0, "quadrants": True}}, "does not hold the rim of the beam"),
        ({"convergence_semiangle_mrad": 0.0}, "convergence_semiangle_mrad: .*greater than 0"),
        ({"pixel_size_angstrom": -0.2}, "pixel_size_angstrom: .*greater than 0"),
        ({"dose_per_angstrom2": 0.0}, "dose_per_angstrom2: .*greater than 0"),
        ({"source_size_angstrom": -1.0}, "source_size_angstrom: .*greater than or equal to 0"),
        ({"energy_ev": 300.0}, "did you mean 300000 eV"),
        ({"aberrations": {"C99": 1.0}}, "unknown coefficient 'C99'"),
        ({"beam_current_pa": 30.0}, "give a dose together; add the other one"),
        ({"beam_current_pa": 30.0, "dwell_time_us": 0.0}, "dwell_time_us is '0.0'; give a number above 0"),
        ({"source_size_fwhm_angstrom": 1.0, "source_size_angstrom": 1.0}, "give the same quantity; keep one"),
        ({"vibration_angstrom": 0.3}, "a value of HRTEM conditions; use source_size_angstrom"),
        ({"contrast": 0.5}, "a value of HRTEM conditions; remove it"),
        ({"convergence": 3.0}, "unknown key 'convergence'; did you mean 'convergence_semiangle_mrad'"),
    ],
)  # fmt: skip
def test_refused_in_one_line(changes, message):
    with pytest.raises(BadInputError, match=message) as refused:
        made(**changes)
    assert "\n" not in str(refused.value)


def test_other_words_for_the_same_quantities():
    c = made(
        defocus_angstrom=50.0, source_size_fwhm_angstrom=1.0, focal_spread_fwhm_angstrom=10.0, pixel_size_angstrom=0.5,
        beam_current_pa=20.0, dwell_time_us=8.0,
    )  # fmt: skip
    fwhm = 2 * math.sqrt(2 * math.log(2))
    assert c.aberrations == {"C10": -50.0}
    assert c.source_size_angstrom == pytest.approx(1 / fwhm)
    assert c.focal_spread_angstrom == pytest.approx(10 / fwhm)
    assert c.dose_per_angstrom2 == pytest.approx(20e-12 * 8e-6 / constants.e / 0.25)
    assert c.electrons_per_pixel == pytest.approx(20e-12 * 8e-6 / constants.e)
    assert c.cutoff_per_angstrom == pytest.approx(0.04 / wavelength(3e5))


def test_a_file_reads_back_and_faults_have_their_line(tmp_path):
    c = made(aberrations={"C30": 1e4, "C12": 20.0, "phi12": 0.3}, dose_per_angstrom2=400.0)
    path = tmp_path / "haadf.yaml"
    path.write_text(yaml_config.dump(c))
    assert StemCondition.load(path) == c
    assert StemCondition(**c.to_dict()).id == c.id
    with pytest.raises(BadInputError, match="is a STEM condition"):
        load_conditions(path)
    path.write_text(path.read_text().replace("inner_mrad: 60.0", "inner_mrad: 10.0"))
    with pytest.raises(BadInputError, match=r"haadf.yaml:1: .*lies in the beam"):
        StemCondition.load(path)


@pytest.mark.parametrize("name", STEM_PRESETS)
def test_presets_have_sources_and_no_doubts(name):
    content, _ = yaml_config.read_yaml(STEM_PRESETS[name])
    assert content["about"] and content["sources"]
    assert StemCondition.load(name) == StemCondition.preset(name)
    assert StemCondition.preset(name).doubts() == []


def test_the_uncorrected_preset_is_at_the_optimum_of_its_lens():
    c = StemCondition.preset("uncorrected_200kv")
    cs, lam = c.aberrations["C30"], wavelength(c.energy_ev)
    assert c.convergence_semiangle_mrad == pytest.approx(1e3 * 1.41 * (lam / cs) ** 0.25, abs=0.05)
    assert c.defocus_angstrom == pytest.approx(math.sqrt(cs * lam), abs=1)


def test_unknown_preset_lists_those_there_are():
    with pytest.raises(BadInputError, match="no STEM preset is called 'titan'; they are .*uncorrected_200kv"):
        StemCondition.preset("titan")


def test_varied():
    c = StemCondition.preset("probe_corrected_300kv").varied(defocus=40.0, dose=100.0, inner_mrad=80.0, C12=3.0)
    assert (c.defocus_angstrom, c.dose_per_angstrom2, c.detector.inner_mrad) == (40.0, 100.0, 80.0)
    assert c.aberrations == {"C10": -40.0, "C12": 3.0} and not c.is_round
    with pytest.raises(BadInputError, match="has no 'focus'; known are defocus"):
        c.varied(focus=3.0)


def test_doubts_name_what_transfers_little():
    assert "is it in rad" in made(convergence_semiangle_mrad=0.02).doubts()[0]
    assert "skips parts" in made(pixel_size_angstrom=1.0).doubts()[0]
    assert "no phase contrast" in made(detector={"kind": "bf", "outer_mrad": 20.0}).doubts()[0]
    assert "interference" in made(detector={"kind": "adf", "inner_mrad": 25.0, "outer_mrad": 60.0}).doubts()[0]


@pytest.mark.parametrize("modality", ["modality: STEM\n", ""])
def test_a_file_is_of_stem_by_its_modality_or_its_detector_in_any_case(tmp_path, modality):
    path = tmp_path / "haadf.yaml"
    detector = "detector: {kind: HAADF, inner_mrad: 60, outer_mrad: 200}\n"
    path.write_text(f"{modality}energy_ev: 300000\nconvergence_semiangle_mrad: 20\n{detector}")
    assert load_any_condition(path) == made()
    base = path.read_text().replace("\n", "\n  ")
    path.write_text(f"base:\n  {base}\ndraw: {{C10: [0, 9]}}\n")
    assert {type(c) for c in load_any_distribution(path).conditions()} == {StemCondition}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("probe_corrected_300kv:residuals", "STEM presets have no residual aberrations; write a file with base: probe"),
        ("probe_corected_300kv", "neither a file nor a preset; did you mean probe_corrected_300kv"),
    ],
)
def test_names_that_are_no_preset(source, message):
    with pytest.raises(BadInputError, match=message):
        load_any_conditions(source)


def test_a_value_of_hrtem_cannot_be_varied():
    with pytest.raises(BadInputError, match="vibration_angstrom is a value of HRTEM conditions; use source_size"):
        made().varied(vibration_angstrom=0.3)
