"""Every metric of the registry against loops over the textbook formulas, and the symmetries that it must have."""

import cmath
import math

import numpy as np
import pytest
import torch

from passband.conditions import Condition
from passband.metrics import METRICS, dataset_information, dataset_overlap, measure, overlap
from passband.metrics.band import Band, make_band
from passband.metrics.direct import psf_distance
from passband.metrics.image_spectra import (
    maximum_mean_discrepancy,
    sliced_wasserstein,
    spectrum_distance,
    spectrum_divergence,
)
from passband.metrics.weights import carbon_film, fcc_structure_factor, tabulated, uniform
from passband.optics import stack
from support import reference


def condition(**content):
    base = {"energy_ev": 300e3, "focal_spread_angstrom": 25.0, "dose_per_angstrom2": 400.0}
    return Condition(**(base | content))


A = condition(aberrations={"C10": -80.0, "C12": 20.0, "phi12": 0.4, "C21": 1500.0, "phi21": 1.0, "C30": -5e4})
B = condition(
    aberrations={"C10": 60.0, "C23": 2000.0, "phi23": 0.2, "C30": 2e5}, focal_spread_angstrom=35.0, convergence_mrad=0.2
)
# The same nodes for both sides: what is compared is the formula, not the rule of integration.
N = 24
NODES = [((2 * i + 1) / N - 1, (2 * j + 1) / N - 1) for i in range(N) for j in range(N)]
NODES = [(x, y) for x, y in NODES if math.hypot(x, y) <= 1]


def even_sign(c, q):
    even = {s: v for s, v in c.aberrations.items() if int(s.lstrip("phiC")[0]) % 2}
    return math.copysign(1, math.sin(reference.chi(c.model_copy(update={"aberrations": even}), *q)))


def gauge_free(c):
    """χ at all nodes less the least-squares plane, by numpy."""
    chi = np.array([reference.chi(c, *q) for q in NODES])
    basis = np.array([[1, x, y] for x, y in NODES])
    return chi - basis @ np.linalg.lstsq(basis, chi, rcond=None)[0]


def delocalisation(c, q, step=1e-5):
    x, y = q
    gx = (reference.chi(c, x + step, y) - reference.chi(c, x - step, y)) / (2 * step)
    gy = (reference.chi(c, x, y + step) - reference.chi(c, x, y - step)) / (2 * step)
    return math.hypot(gx, gy) / (2 * math.pi)


def slow():
    """The metrics of (A, B) with weight 1 on NODES, one node after the other."""
    ta, tb = ([reference.transfer(c, *q) for q in NODES] for c in (A, B))
    wa, wb = ([reference.t(c, *q) for q in NODES] for c in (A, B))
    power = [float(carbon_film(300e3)(torch.tensor(math.hypot(*q), dtype=torch.float64))) for q in NODES]
    sa, sb = ([4 * p * abs(t) ** 2 * 400 for p, t in zip(power, ts, strict=True)] for ts in (ta, tb))
    pairs = list(zip(ta, tb, strict=True))
    n = len(NODES)
    dchi = [reference.chi(A, *q) - reference.chi(B, *q) for q in NODES]
    free = gauge_free(A) - gauge_free(B)
    gain = [(x / (1 + x), y / (1 + y)) for x, y in zip(sa, sb, strict=True)]
    bits = [(0.5 * math.log2(1 + x), 0.5 * math.log2(1 + y)) for x, y in zip(sa, sb, strict=True)]
    square = [sum(abs(t) ** 2 for t in ts) for ts in (ta, tb)]
    wsquare = [sum(abs(t) ** 2 for t in ts) for ts in (wa, wb)]
    return {
        "epsilon_train": sum(map(abs, ta)) / n,
        "epsilon_test": sum(map(abs, tb)) / n,
        "epsilon_p2_train": square[0] / n,
        "snr_gain_train": sum(g for g, _ in gain) / n,
        "image_snr_train": math.log(sum(sa) / n),
        "channel_information_test": sum(b for _, b in bits) / n,
        "sigma": sum(min(abs(x), abs(y)) for x, y in pairs) / sum(map(abs, ta)),
        "sigma_p2": sum(min(abs(x), abs(y)) ** 2 for x, y in pairs) / square[0],
        "sigma_product": sum(abs(x * y) for x, y in pairs) / square[0],
        "sigma_cosine": sum(abs(x * y) for x, y in pairs) / math.sqrt(square[0] * square[1]),
        "signed_overlap": sum(
            even_sign(A, q) * even_sign(B, q) * min(abs(x), abs(y)) for q, (x, y) in zip(NODES, pairs, strict=True)
        )
        / sum(map(abs, ta)),
        "contrast_correlation": sum((x * y.conjugate()).real for x, y in pairs) / math.sqrt(square[0] * square[1]),
        "phase_rms": math.sqrt(sum(d * d for d in dchi) / n),
        "phase_rms_gauge_free": math.sqrt(sum(d * d for d in free) / n),
        "phase_saturating": 1 - sum(map(math.cos, dchi)) / n,
        "phase_saturating_gauge_free": 1 - abs(sum(cmath.exp(1j * d) for d in free)) / n,
        "wave_overlap": abs(sum(x * y.conjugate() for x, y in zip(wa, wb, strict=True)))
        / math.sqrt(wsquare[0] * wsquare[1]),
        "delocalisation": math.sqrt(sum((delocalisation(A, q) - delocalisation(B, q)) ** 2 for q in NODES) / n),
        "snr_overlap": sum(min(g) for g in gain) / sum(g for g, _ in gain),
        "shared_information": sum(min(b) for b in bits) / sum(b for b, _ in bits),
    }


def test_every_metric_against_the_slow_sum():
    qx, qy = torch.tensor(NODES, dtype=torch.float64).T
    band = Band(qx, qy, torch.ones_like(qx), carbon_film(300e3)(torch.hypot(qx, qy)))
    expected = slow()
    names = {key.removesuffix("_train").removesuffix("_test") for key in expected}
    # Every metric that is more than another weight on one of these, or tested below.
    assert names | {"defocus_difference", "dose_difference", "coefficient_distance", "psf_distance"} == {
        name for name in METRICS if not name.endswith(("_radial", "_structure_factor", "_exit_wave", "_uniform"))
    }
    got = measure(sorted(names), [A], [B], band=band)
    for key, value in expected.items():
        assert got[key].item() == pytest.approx(value, rel=1e-5, abs=1e-7), key


@pytest.mark.slow
def test_many_pieces_are_one_sum(monkeypatch):
    whole = measure(list(METRICS), [A, B], [B, A, A])
    monkeypatch.setattr("passband.metrics.registry._PIECE_BYTES", 16 * 3 * 1000)
    pieces = measure(list(METRICS), [A, B], [B, A, A])
    for name, value in whole.items():
        assert torch.allclose(value, pieces[name], rtol=1e-9, atol=1e-6), name


def varied(c, **aberrations):
    return c.model_copy(update={"aberrations": c.aberrations | aberrations})


def test_the_same_condition_is_no_shift():
    found = measure(list(METRICS), [A, B], [A, B])
    for name, metric in METRICS.items():
        if metric.form != "condition":
            own = found[name].diagonal()
            # The rms of a difference of large phases keeps the square root of a rounding error.
            assert torch.allclose(own, torch.full_like(own, float(metric.similar)), atol=1e-6), name


def test_turning_the_frame_changes_nothing():
    def turned(c, angle):
        new = {
            f"phi{s[1:]}": c.aberrations.get(f"phi{s[1:]}", 0.0) + angle
            for s in ("C12", "C21", "C23")
            if s in c.aberrations
        }
        return varied(c, **new)

    before, after = measure(list(METRICS), [A], [B]), measure(list(METRICS), [turned(A, 0.7)], [turned(B, 0.7)])
    for name, value in before.items():
        # The camera-like grid of the point-spread function is square.
        tolerance = 5e-3 if name == "psf_distance" else 2e-4
        assert after[name].item() == pytest.approx(value.item(), rel=tolerance, abs=tolerance), name


def test_what_reversed_contrast_changes():
    """Negating every coefficient reverses T and keeps |T|."""
    negative = A.model_copy(update={"aberrations": {s: -v if s[0] == "C" else v for s, v in A.aberrations.items()}})
    even = {s: v for s, v in A.aberrations.items() if "21" not in s}
    plain, reverse = (
        c.model_copy(update={"aberrations": x})
        for c, x in ((A, even), (A, {s: -v if s[0] == "C" else v for s, v in even.items()}))
    )
    found = measure(list(METRICS), [A, plain], [A, plain, negative, reverse])
    for name in ("sigma", "sigma_p2", "sigma_product", "sigma_cosine", "snr_overlap", "shared_information"):
        assert found[name][0, 2].item() == pytest.approx(1, abs=1e-9), name
    assert found["signed_overlap"][1, 3].item() == pytest.approx(-1, abs=1e-9)
    assert found["contrast_correlation"][1, 3].item() == pytest.approx(-1, abs=1e-9)
    assert found["phase_rms"][1, 3] > 1


def test_an_image_shift_is_no_difference_where_the_gauge_is_free():
    """A tilt b·q of the phase only shifts the image; coma comes with one that the gauge-free metrics ignore."""
    qx, qy = torch.tensor(NODES, dtype=torch.float64).T
    band = Band(qx, qy, torch.ones_like(qx), torch.ones_like(qx))
    parameters = stack([A])
    from passband.metrics import phase
    from passband.metrics.band import View, gauge

    plain = View(parameters, band, gauge(parameters, band, 1000))
    shifted = View(parameters, band, gauge(parameters, band, 1000))
    shifted.phase = plain.phase + 0.3 + 2.0 * qx - 1.0 * qy
    shifted._gauge = plain._gauge + torch.tensor([0.3, 2.0, -1.0])
    assert phase.finish(*phase.sums(plain, shifted)).item() > 1
    assert phase.finish(*phase.sums(plain, shifted, quantity="gauge_free_phase")).item() == pytest.approx(0, abs=1e-6)
    free = phase.gauge_free_finish(*phase.saturating_sums(plain, shifted, quantity="gauge_free_phase"))
    assert free.item() == pytest.approx(0, abs=1e-9)
    # And the fit finds the tilt that least squares finds.
    assert torch.allclose(plain.gauge_free_phase[0], torch.from_numpy(gauge_free(A)), atol=1e-8)


def test_rms_phase_is_defocus_in_closed_form():
    lam = reference.wavelength(300e3)
    over, under = condition(defocus_angstrom=30.0), condition(defocus_angstrom=-70.0)
    # ⟨q⁴⟩ over a disc of radius ½ is ½⁴/3.
    expected = math.pi * lam * 100 * math.sqrt(0.5**4 / 3)
    assert measure(["phase_rms"], [over], [under])["phase_rms"].item() == pytest.approx(expected, rel=1e-3)


def test_metrics_follow_the_optics_by_gradient():
    # A trivial metric need not depend on the optics; the difference of the defocus does.
    names = [name for name, metric in METRICS.items() if not metric.trivial or name == "defocus_difference"]
    for name in names:
        parameters, other = stack([A]), stack([B])
        parameters.coefficients["C10"].requires_grad_()
        band = make_band([A, B], 0.8, uniform, carbon_film(300e3))
        found = measure([name], parameters, other, 0.8, band=band)
        next(iter(found.values())).sum().backward()
        slope = parameters.coefficients["C10"].grad
        assert slope is not None and torch.isfinite(slope).all() and slope.abs() > 0, name


def test_sigma_rises_with_the_transfer_of_the_test():
    blurred = [A.model_copy(update={"focal_spread_angstrom": s}) for s in (60.0, 45.0, 35.0, 25.0)]
    for name in ("sigma", "sigma_p2", "snr_overlap", "shared_information"):
        values = measure([name], [A], blurred)[name][0]
        assert (values.diff() > 0).all() and values[-1].item() == pytest.approx(1), name


def test_more_dose_more_information():
    doses = [A.model_copy(update={"dose_per_angstrom2": d}) for d in (10.0, 100.0, 1000.0, None)]
    for name in ("snr_gain", "channel_information", "image_snr"):
        values = measure([name], doses, [A])[f"{name}_train"]
        assert (values.diff() > 0).all(), name


def test_psf_distance_of_a_defocused_point():
    """At zero defocus the point is sharp; far away the two functions hardly meet."""
    sharp, far = stack([condition()]), stack([condition(defocus_angstrom=1500.0)])
    near = stack([condition(defocus_angstrom=5.0)])
    assert psf_distance(sharp, near, 1.0).item() < 0.05 < 0.8 < psf_distance(sharp, far, 1.0, n=256).item() <= 1


def test_coefficients_in_units_of_their_spread():
    conditions = [condition(aberrations={"C10": c, "C30": 1e5}) for c in (-30.0, 0.0, 30.0)]
    found = measure(["coefficient_distance"], conditions, conditions)["coefficient_distance"]
    assert found[0, 2].item() == pytest.approx(60 / np.std([-30, 0, 30]))


def test_datasets():
    conditions = [condition(defocus_angstrom=d) for d in (40.0, 80.0)]
    single = measure(["epsilon", "sigma"], conditions, conditions)
    assert dataset_information(conditions) == pytest.approx(single["epsilon_train"].mean().item())
    pairwise = dataset_overlap(conditions, conditions[:1], method="pairwise")
    assert pairwise == pytest.approx(single["sigma"][:, 0].mean().item())
    # Of one condition each, both are σ; a set overlaps with itself wholly in profile, not in pairs.
    for method in ("profile", "pairwise"):
        assert dataset_overlap(conditions[:1], conditions[1:], method=method) == pytest.approx(
            single["sigma"][0, 1].item()
        )
    assert dataset_overlap(conditions, conditions) == pytest.approx(1)
    assert dataset_overlap(conditions, conditions, method="pairwise") < 1


def test_gold_reflections():
    q = torch.linspace(0.2, 1.0, 801, dtype=torch.float64)
    spectrum = fcc_structure_factor(diameter_angstrom=60.0)(q)
    peaks = q[1:-1][(spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])]
    # 111, 200, 220, 311 of gold.
    assert peaks[:4].tolist() == pytest.approx([3**0.5 / 4.078, 2 / 4.078, 8**0.5 / 4.078, 11**0.5 / 4.078], abs=3e-3)
    assert tabulated([0, 1], [1, 0])(torch.tensor([0.25])).item() == 0.75


def sets(*means, n=60, bins=5):
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(n, bins, generator=generator, dtype=torch.float64) + m for m in means])


def test_distances_between_image_sets():
    spectra = sets(0.0, 0.0, 1.0, 3.0)
    for function in (maximum_mean_discrepancy, sliced_wasserstein, spectrum_distance):
        found = function(spectra)
        assert torch.allclose(found, found.T) and found.diagonal().abs().max() < 1e-12
        assert found[0, 1] < 0.35 * found[0, 2] < found[0, 2] < found[0, 3], function
    # One-dimensional sets: the distance is that of the sorted values.
    line = torch.tensor([[[0.0], [1.0], [2.0]], [[5.0], [3.0], [4.0]]], dtype=torch.float64)
    assert sliced_wasserstein(line)[0, 1].item() == pytest.approx(3)
    x, y = line[0, :, 0], line[1, :, 0]
    values = torch.cat([x, y])
    width = (values[:, None] - values).abs().median()
    k = torch.exp(-0.5 * ((values[:, None] - values) / width) ** 2)
    expected = (k[:3, :3].sum() - 3) / 6 + (k[3:, 3:].sum() - 3) / 6 - 2 * k[:3, 3:].mean()
    assert maximum_mean_discrepancy(line)[0, 1].item() == pytest.approx(expected.item())


def test_divergence_closed_form():
    logs = torch.log(torch.tensor([[[0.5, 0.5]], [[0.25, 0.25 / 3]]], dtype=torch.float64))
    # Shares: 0.5·0.5 : 1.5·0.5 = ¼ : ¾, and ½·¼ : 3⁄2·1⁄12 = ½ : ½.
    found = spectrum_divergence(logs)
    assert found[0, 1].item() == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    assert found[1, 0].item() == pytest.approx(0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5))


def test_dose_difference():
    doses = [condition(dose_per_angstrom2=d) for d in (100.0, 200.0)]
    found = measure(["dose_difference"], doses, doses)["dose_difference"]
    assert found.flatten().tolist() == pytest.approx([0, math.log(2), -math.log(2), 0])


def test_conditions_among_themselves_are_computed_once_to_the_same_values():
    """More than fill a block of the symmetric distances."""
    rng = np.random.default_rng(1)
    given = [
        Condition(
            energy_ev=300e3, aberrations={"C10": c, "C30": -5e4}, focal_spread_angstrom=20.0, dose_per_angstrom2=d
        )
        for c, d in zip(rng.uniform(-200, 200, 70), rng.uniform(100, 900, 70), strict=True)
    ]
    once, twice = (measure(list(METRICS), given, other, 0.5) for other in (given, list(given)))
    assert once.keys() == twice.keys()
    for name, values in once.items():
        assert values.numpy() == pytest.approx(twice[name].numpy(), abs=1e-9, nan_ok=True), name


def test_shares_of_many_rows_are_those_of_each_pair():
    """Distances are computed in blocks of rows and frequencies, and of rows with themselves once."""
    a = torch.rand(70, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([torch.minimum(row, a).sum(1) for row in a])
    torch.testing.assert_close(overlap.shared(a, a), expected)
    torch.testing.assert_close(overlap.shared(a, a[:40].clone()), expected[:, :40])
    torch.testing.assert_close(overlap.shared(a.float(), a.float()), expected.float(), rtol=1e-4, atol=1e-2)
