import math

import pytest

from passband.conditions import Condition
from passband.metrics import information, measure
from passband.metrics.optimize import fit_condition
from support import reference


def test_the_best_defocus_by_brute_force():
    base = Condition(energy_ev=200e3, aberrations={"C10": -300.0, "C30": 1.2e7}, focal_spread_angstrom=30.0)
    found = fit_condition(base, ["defocus_angstrom"])
    sweep = [base.varied({"defocus_angstrom": float(d)}) for d in range(-500, 2500, 5)]
    assert information([found]).item() >= information(sweep).max().item() - 2e-4


@pytest.mark.slow
def test_astigmatism_is_found_useless_or_useful_but_never_worse():
    base = Condition(energy_ev=300e3, defocus_angstrom=60.0, focal_spread_angstrom=20.0)
    found = fit_condition(base, ["defocus_angstrom", "C12", "phi12"])
    assert information([found]).item() >= information([base]).item()


def test_a_profile_is_matched():
    target = Condition(energy_ev=300e3, aberrations={"C10": -130.0, "C30": -5e4}, focal_spread_angstrom=32.0)
    base = Condition(energy_ev=300e3, aberrations={"C30": -5e4}, focal_spread_angstrom=10.0)
    found = fit_condition(base, ["defocus_angstrom", "focal_spread_angstrom"], target=target)
    # The sign of T is not in its profile, and C30 is small: either sign of the defocus fits, one of them exactly.
    assert abs(found.defocus_angstrom) == pytest.approx(130, abs=4)
    assert found.focal_spread_angstrom == pytest.approx(32, abs=1)
    assert measure(["sigma"], [target], [found])["sigma"].item() > 0.97


def test_scherzer_is_near_the_best_for_the_low_band():
    """Within Scherzer's passband his defocus is nearly the best that there is."""
    lam, cs = reference.wavelength(200e3), 1.2e7
    base = Condition(energy_ev=200e3, aberrations={"C10": -1.2 * math.sqrt(cs * lam), "C30": cs})
    q_max = 1.5 / (cs**0.25 * lam**0.75)
    found = fit_condition(base, ["defocus_angstrom"], q_max)
    before, after = information([base, found], q_max).tolist()
    assert before <= after < 1.02 * before
    assert found.defocus_angstrom == pytest.approx(base.defocus_angstrom, rel=0.15)


def test_names_that_cannot_be_fitted():
    base = Condition(energy_ev=300e3)
    with pytest.raises(ValueError, match="cannot fit 'dose_per_angstrom2'"):
        fit_condition(base, ["dose_per_angstrom2"])
    with pytest.raises(ValueError, match="only damps"):
        fit_condition(base, ["focal_spread_angstrom"])
