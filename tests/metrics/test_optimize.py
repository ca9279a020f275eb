import math
import time

import pytest
import torch

from passband.base.frequencies import polar_band
from passband.conditions import Condition
from passband.conditions.condition import canonical
from passband.metrics import information, measure, optimize
from passband.metrics.optimize import fit_condition
from passband.optics import intensity_transfer, stack
from support import reference


def adam_from_many_starts(base, names):
    """The search as it was: Adam, 300 steps from the best 16 of 256 random candidates, on one fine band."""
    symbols, parameters = [canonical(name, 0.0)[0] for name in names], stack([base])
    begin = torch.tensor([optimize._value(base, s) for s in symbols], dtype=torch.float64)
    scale = torch.tensor([optimize._scale(s, base, parameters, 1.0) for s in symbols], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    reach = torch.where(torch.arange(256) % 2 == 0, 10.0, 80.0)[:, None].double()
    spread = reach * (torch.rand(256, len(symbols), generator=generator, dtype=torch.float64) - 0.5)
    spread[0] = 0.01
    qx, qy = polar_band(1.0, 512, 2 if {*symbols} <= {"C10", "C30"} else 48)

    def cost(z):
        transfer = intensity_transfer(optimize._with(parameters, symbols, begin + scale * z), qx, qy)
        return -(transfer.abs().square() + 1e-12).sqrt().mean((1, 2))

    with torch.no_grad():
        costs = torch.cat([cost(part) for part in spread.split(32)])
    z = spread[costs.argsort()[:16]].clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        cost(z).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        best = begin + scale * z[cost(z).argmin()]
    return base.varied(dict(zip(symbols, best.tolist(), strict=True)))


DEFOCUS, WITH_CS, ASTIGMATIC = ["defocus_angstrom"], ["defocus_angstrom", "C30"], ["defocus_angstrom", "C12", "phi12"]


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("feg_200kv", DEFOCUS),
        ("lab6_200kv", DEFOCUS),
        ("team05_300kv", WITH_CS),
        ("etem_200kv", WITH_CS),
        pytest.param("titan_corrected_300kv", ASTIGMATIC, marks=pytest.mark.slow),
    ],
)
def test_no_slower_search_finds_more(preset, names):
    base, steps = Condition.preset(preset), []
    began = time.process_time()
    found = fit_condition(base, names, progress=steps.append)
    took = time.process_time() - began
    slower = adam_from_many_starts(base, names)
    before, after, other = information([base, found, slower]).tolist()
    assert after >= other - 1e-4 and after >= before
    # Each step is shown, from the beginning.
    assert steps[0] == 0 and sum(steps) == optimize.STEPS == len(steps) - 1
    assert took < 20


def test_the_best_defocus_by_brute_force():
    base = Condition(energy_ev=200e3, aberrations={"C10": -300.0, "C30": 1.2e7}, focal_spread_angstrom=30.0)
    found = fit_condition(base, ["defocus_angstrom"])
    sweep = [base.varied({"defocus_angstrom": float(d)}) for d in range(-500, 2500, 5)]
    assert information([found]).item() >= information(sweep).max().item() - 2e-4


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
