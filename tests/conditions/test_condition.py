import math

import pytest

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition import doubt_kinds
from passband.conditions.condition_files import load_condition


def make(**content):
    return Condition(**({"energy_ev": 300e3} | content))


def test_defocus_is_minus_c10():
    assert make(defocus_angstrom=120.0) == make(aberrations={"C10": -120.0}) == make(aberrations={"defocus": 120.0})
    assert make(defocus_angstrom=120.0).defocus_angstrom == 120.0
    assert str(make().defocus_angstrom) == "0.0"


def test_aliases_mean_the_same_condition():
    alias = make(aberrations={"Cs": 1e4, "astigmatism": 30, "astigmatism_angle": 0.3, "coma": 5, "trefoil": 7})
    assert alias == make(aberrations={"C30": 1e4, "C12": 30, "phi12": 0.3, "C21": 5, "C23": 7})


def test_id_depends_on_content_only():
    a = make(aberrations={"C30": 1e4, "C12": 30.0})
    b = make(aberrations={"C12": 30, "C30": 1e4, "C21": 0.0, "phi21": 1.0})
    assert a.id == b.id
    assert a.id != make(aberrations={"C30": 1e4, "C12": 31.0}).id
    assert a.id != make(aberrations={"C30": 1e4, "C12": 30.0}, dose_per_angstrom2=10.0).id


def test_what_does_not_count_is_not_compared():
    """Without a background its length does not count, nor the direction of no drift, nor nodes without quadrature."""
    plain = make()
    for rest in (
        {"background": 0, "background_length_angstrom": 30.0},
        {"drift_angle_rad": 1.0},
        {"quadrature_nodes": 9},
    ):
        assert make(**rest) == plain and make(**rest).id == plain.id and hash(make(**rest)) == hash(plain)
    assert make(background=0.1, background_length_angstrom=30.0) != make(background=0.1)


def test_round_trip():
    condition = make(
        aberrations={"C10": -50.0, "C12": 3.0, "phi12": -0.2}, aperture_mrad=20.0, dose_per_angstrom2=400.0
    )
    assert Condition(**condition.to_dict()) == condition


def test_is_round():
    assert make(aberrations={"C10": 1.0, "C30": 2.0, "C50": 3.0}).is_round
    assert not make(aberrations={"C21": 1.0}).is_round


def test_likely_slips_of_units_are_said():
    sound = make(
        aberrations={"C10": -50.0, "C30": -5e4}, aperture_mrad=25.0, convergence_mrad=0.3, pixel_size_angstrom=0.2
    )
    assert sound.doubts() == []
    slips = {
        "aperture_mrad": 0.025,
        "convergence_mrad": 10.0,
        "pixel_size_angstrom": 0.04,
        "aberrations": {"C30": -5.0},
    }
    for (name, value), words in zip(slips.items(), ("25 mrad", "probe", "0.4 Å", "-50000 Å"), strict=True):
        [doubt] = make(**{name: value}).doubts()
        assert words in doubt


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"energy_ev": 300.0}, "300000 eV"),
        ({"energy_ev": 3e7}, "outside 10000 to 2000000"),
        ({"aberrations": {"C11": 1.0}}, "unknown coefficient 'C11'"),
        ({"aberrations": {"C12": 1.0, "phi12": 45.0}}, "0.7854 rad"),
        ({"aberrations": {"C10": "50"}}, "not a number"),
        ({"aberrations": {"C10": math.nan}}, "finite"),
        ({"aberrations": {"C10": 5.0}, "defocus_angstrom": 5.0}, "same coefficient"),
        ({"aberrations": {"Cs": 5.0, "C30": 5.0}}, "same coefficient"),
        ({"defocus_angstrom": "50"}, "without quotes"),
        ({"focal_spread_angstrom": -1.0}, "greater than or equal to 0"),
        ({"dose_per_angstrom2": 0.0}, "greater than 0"),
        ({"focal_spread_nm": 1.0}, "unknown key 'focal_spread_nm'; did you mean 'focal_spread_angstrom'"),
    ],
)
def test_invalid_conditions_cannot_be_made(content, message):
    with pytest.raises(BadInputError, match=message):
        make(**content)


def test_values_are_replaced_by_their_short_names():
    base = make(dose_per_angstrom2=100.0, aberrations={"C30": -5e4})
    varied = base.varied(defocus=80, astigmatism=30, dose=500, focal_spread=20.0)
    assert varied == make(
        dose_per_angstrom2=500.0, focal_spread_angstrom=20.0, aberrations={"C10": -80, "C12": 30, "C30": -5e4}
    )
    assert varied == base.varied({"defocus_angstrom": 80, "C12": 30, "dose_per_angstrom2": 500, "focal_spread": 20.0})
    with pytest.raises(BadInputError, match="a condition has no 'defokus'; known are defocus, .*astigmatism") as fault:
        base.varied(defokus=80)
    assert fault.value.value == "defokus" and "C12" in fault.value.limit


def test_presets_by_name():
    assert Condition.preset("titan_corrected_300kv") == load_condition("titan_corrected_300kv")
    with pytest.raises(BadInputError, match="no HRTEM preset is called 'titan'; they are .*titan_corrected_300kv"):
        Condition.preset("titan")


def test_values_near_zero_are_doubtful_unless_they_are_drawn_now_and_then():
    drawn = [make(aberrations={"C30": C30}) for C30 in (688.0, -4e4, 7e4)]
    assert doubt_kinds(drawn) == [] and "C30 688 Å is next to none" in drawn[0].doubts()[0]
    wrong = [make(aberrations={"C30": C30}) for C30 in (-4.0, 7.0, 2e4)]
    assert [len(kind) for kind in doubt_kinds(wrong)] == [2]
    # A pixel in nm is wrong in one condition, too.
    assert len(doubt_kinds([*drawn, make(pixel_size_angstrom=0.04)])) == 1
