"""Probes and the transfer of STEM detectors against closed forms and a direct sum over positions of a scan."""

import math

import numpy as np
import pytest
import torch
from scipy.special import j1

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import StemCondition
from passband.optics import detected_share, image_transfer, intensity_transfer, otf, probe, probe_transfer, stack

LENS = {"C10": -80.0, "C30": 3e5, "C12": 30.0, "phi12": 1.0, "C21": 3e3, "phi21": 0.4}


def made(detector=None, **changes):
    fields = {"energy_ev": 3e5, "convergence_semiangle_mrad": 20.0, "detector": detector or {"kind": "icom"}}
    return StemCondition(**fields | changes)


def line(stop, count=200):
    return torch.linspace(0, stop, count, dtype=torch.float64)


def test_a_probe_without_aberrations_is_an_airy_pattern():
    n, step = 1024, 0.1
    p = probe(stack([made()]), n, step)[0].abs().square()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    r = step * np.arange(1, 60)
    x = 2 * math.pi * 0.02 * r / wavelength(3e5)
    airy = (2 * j1(x) / x) ** 2
    assert np.abs((p[0, 1:60] / p[0, 0]).numpy() - airy).max() < 2e-3


def test_the_probe_is_normalised_whatever_its_aberrations():
    several = stack([made(), made(aberrations=LENS), made(convergence_semiangle_mrad=9.0, energy_ev=8e4)])
    sums = probe(several, 256, 0.2).abs().square().sum((1, 2))
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-12)


def test_the_otf_of_a_round_pupil_and_its_cutoff():
    c = made()
    cutoff = 0.04 / wavelength(3e5)
    q = line(1.2 * cutoff)
    x = (q / cutoff).clamp(0, 1)
    exact = 2 / math.pi * (torch.arccos(x) - x * torch.sqrt(1 - x**2))
    found = otf(stack([c]), q * 0.6, q * 0.8)[0]
    assert (found - exact).abs().max() < 1e-3
    assert found[q > 1.02 * cutoff].abs().max() < 1e-12


def test_the_otf_of_an_aberrated_probe_is_the_transform_of_its_intensity():
    c = made(aberrations=LENS, source_size_angstrom=0.4)
    n, step = 1024, 0.1
    intensity = probe(stack([c]), n, step)[0].abs().square()
    q = torch.fft.fftfreq(n, step, dtype=torch.float64)[:160:4]
    direct = torch.fft.fft2(intensity).conj()[:160:4, 7]
    found = otf(stack([c]), q, torch.full_like(q, 7 / (n * step)))[0]
    source = torch.exp(-2 * (math.pi * 0.4) ** 2 * (q**2 + (7 / (n * step)) ** 2))
    # The direct transform has 102 samples across the radius, whose soft rim counts its square.
    assert (found - direct * source).abs().max() < 5e-3


def test_a_focal_spread_averages_probes_over_foci():
    q, width = line(2.0, 60), 25.0
    averaged = otf(stack([made(aberrations=LENS, focal_spread_angstrom=width)]), q, 0.3 * q)[0]
    foci = np.linspace(-4, 4, 41)
    weights = np.exp(-0.5 * foci**2) / np.exp(-0.5 * foci**2).sum()
    each = otf(stack([made(aberrations=LENS | {"C10": -80 + width * f}) for f in foci]), q, 0.3 * q)
    assert (averaged - torch.from_numpy(weights).to(each.dtype) @ each).abs().max() < 2e-3


def test_a_point_on_the_axis_is_hrtem_read_backwards():
    c = made({"kind": "bf", "outer_mrad": 0.4}, aberrations=LENS)
    qx = torch.linspace(-0.7, 0.7, 57, dtype=torch.float64)
    qy = 0.6 * qx.flip(0) + 0.1
    ours, tem = probe_transfer(stack([c]), qx, qy)[0], intensity_transfer(stack([c.lens]), qx, qy)[0]
    assert (ours - tem.conj()).abs().max() < 5e-3
    assert (ours - tem).abs().max() > 0.5  # coma tells the direction


@pytest.mark.parametrize("kind", ["bf", "abf"])
def test_a_ring_is_what_a_double_loop_over_the_pupil_gives(kind):
    c = made({"kind": kind, "inner_mrad": 4.0 if kind == "abf" else 0.0, "outer_mrad": 12.0}, aberrations=LENS)
    lam = wavelength(3e5)
    k = np.linspace(-0.02, 0.02, 801) / lam
    kx, ky = np.meshgrid(k, k, indexing="ij")
    q = [(0.3, 0.1), (-0.4, 0.6), (1.1, -0.2)]

    def pupil(x, y):
        theta, phi = lam * np.hypot(x, y), np.arctan2(y, x)
        chi = -80 * theta**2 / 2 + 3e5 * theta**4 / 4 + 30 * theta**2 / 2 * np.cos(2 * (phi - 1.0))
        chi += 3e3 * theta**3 / 3 * np.cos(phi - 0.4)
        return (theta <= 0.02) * np.exp(-2j * math.pi / lam * chi)

    theta = lam * np.hypot(kx, ky)
    seen = (theta >= 1e-3 * c.detector.inner_mrad) & (theta <= 0.012)
    share = (np.abs(pupil(kx, ky)) ** 2 * seen).sum()
    for qx, qy in q:
        beats = pupil(kx, ky).conj() * pupil(kx - qx, ky - qy) - pupil(kx, ky) * pupil(kx + qx, ky + qy).conj()
        expected = 0.5j * (seen * beats).sum() / share
        found = probe_transfer(stack([c]), *torch.tensor([[qx], [qy]], dtype=torch.float64))[0, 0]
        assert abs(complex(found) - expected) < 4e-3


def test_a_disc_as_wide_as_the_beam_has_no_linear_phase_contrast():
    c = made({"kind": "bf", "outer_mrad": 20.0}, aberrations=LENS)
    assert probe_transfer(stack([c]), line(2.0), 0 * line(2.0)).abs().max() < 1e-12


@pytest.mark.parametrize("quadrants", [False, True])
def test_icom_of_a_weak_phase_by_a_scan_of_the_probe(quadrants):
    """A Python loop over the places of a scan: exit wave, diffraction pattern, centre of mass; then its integral."""
    detector = {"kind": "icom", "quadrants": True, "outer_mrad": 30.0} if quadrants else {"kind": "icom"}
    c = made(detector, aberrations=LENS)
    n, step, places = 128, 0.2, 16
    k = torch.fft.fftfreq(n, step, dtype=torch.float64)
    kx, ky = k[:, None].expand(n, n), k.expand(n, n)
    p = probe(stack([c]), n, step)[0]
    # A phase of some plane waves: what the scan needs to sample.
    rng = np.random.default_rng(0)
    r = torch.arange(n, dtype=torch.float64) * step
    phase, waves = torch.zeros(n, n, dtype=torch.float64), []
    for a, b in [(1, 0), (0, 2), (3, 1), (2, -4), (5, 3)]:
        shift, size = rng.uniform(0, 2 * math.pi), 1e-3
        waves.append((a, b, size, shift))
        phase += size * torch.cos(2 * math.pi * (a * r[:, None] + b * r) / (n * step) + shift)
    radius = 0.02 / wavelength(3e5)
    weight = math.pi * radius / (2 * math.sqrt(2))
    mass = torch.zeros(2, places, places, dtype=torch.float64)
    for i in range(places):
        for j in range(places):
            shift = (i * n // places, j * n // places)
            pattern = torch.fft.fft2(torch.exp(1j * phase) * p.roll(shift, (0, 1))).abs().square()
            pattern /= pattern.sum()
            for axis, (along, across) in enumerate(((kx, ky), (ky, kx))):
                if quadrants:
                    share = torch.where(along.abs() == across.abs(), 0.5, (along.abs() > across.abs()).double())
                    mass[axis, i, j] = weight * (pattern * share * torch.sign(along)).sum()
                else:
                    mass[axis, i, j] = (pattern * along).sum()
    qs = torch.fft.fftfreq(places, n * step / places, dtype=torch.float64)
    x, y = torch.fft.fft2(mass, norm="forward")
    for a, b, size, shift in waves:
        q = a / (n * step), b / (n * step)
        integral = (q[0] * x[a, b] + q[1] * y[a, b]) / (1j * (q[0] ** 2 + q[1] ** 2))
        assert math.isclose(float(qs[a]), q[0])
        measured = complex(integral) / (size / 2 * np.exp(1j * shift))
        found = complex(probe_transfer(stack([c]), *torch.tensor([[q[0]], [q[1]]], dtype=torch.float64))[0, 0])
        # The loop's pupil has few samples: 25.6 Å give 26 across its radius.
        assert abs(found - measured) < (0.03 if quadrants else 0.015), (a, b)


def test_the_share_of_the_beam_on_a_detector():
    rings = [{"kind": "bf", "outer_mrad": 5.0}, {"kind": "abf", "inner_mrad": 10.0, "outer_mrad": 30.0}]
    rings.append({"kind": "haadf", "inner_mrad": 60.0, "outer_mrad": 100.0})
    assert detected_share(stack([made(d) for d in rings])).tolist() == pytest.approx([1 / 16, 3 / 4, 0])


def test_too_large_a_defocus_is_refused():
    with pytest.raises(BadInputError, match="turns by .* rad across its pupil"):
        otf(stack([made(aberrations={"C10": 1e6})]), line(1.0), line(1.0))


def test_image_transfer_is_that_of_the_modality():
    c = made(aberrations=LENS)
    q = line(1.0)
    assert torch.equal(image_transfer(stack([c.lens]), q, q), intensity_transfer(stack([c.lens]), q, q))
    assert torch.equal(image_transfer(stack([c]), q, q), otf(stack([c]), q, q))
    with pytest.raises(BadInputError, match="cannot be compared; give those of one modality"):
        stack([c, c.lens])
