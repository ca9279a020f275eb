import math

import numpy as np
import pytest
import torch

import reference
from passband.conditions import ImagingCondition
from passband.optics import aperture, intensity_transfer, spatial_envelope, stack, temporal_envelope, wave_transfer

Q = torch.tensor([[0.05, 0.0], [0.0, -0.5], [0.4, 0.7], [-0.9, 0.2]], dtype=torch.float64)


def test_envelopes_closed_form():
    condition = ImagingCondition(
        energy_ev=300e3, defocus_angstrom=80.0, focal_spread_angstrom=30.0, convergence_mrad=0.5
    )
    lam, q2 = reference.wavelength(300e3), (Q**2).sum(1)
    q = (stack([condition]), Q[:, 0], Q[:, 1])
    assert torch.allclose(temporal_envelope(*q)[0], torch.exp(-0.5 * (math.pi * lam * 30.0 * q2) ** 2), rtol=1e-7)
    # For pure defocus |∇χ| = 2π λ |C10| |q|.
    expected = torch.exp(-0.5 * (0.5e-3 / lam) ** 2 * (2 * math.pi * lam * 80.0) ** 2 * q2)
    assert torch.allclose(spatial_envelope(*q)[0], expected, rtol=1e-7)


def test_aperture_edges():
    lam = reference.wavelength(300e3)
    condition = stack([ImagingCondition(energy_ev=300e3, aperture_mrad=0.5 * lam * 1e3)])
    q = torch.tensor([0.0, 0.49, 0.495, 0.5, 0.505, 0.51, 0.6], dtype=torch.float64)
    assert aperture(condition, q, 0 * q).tolist()[0] == [1, 1, 1, 1, 0, 0, 0]
    assert aperture(condition, q, 0 * q, edge=0.02).tolist()[0] == pytest.approx(
        [1, 1, 0.75, 0.5, 0.25, 0, 0], abs=1e-6
    )
    assert aperture(stack([ImagingCondition(energy_ev=300e3)]), q, 0 * q, edge=0.02).min() == 1


def test_everything_against_the_slow_reference(twisted):
    condition = twisted.model_copy(update={"aperture_mrad": 22.0})
    for function, slow in ((wave_transfer, reference.t), (intensity_transfer, reference.transfer)):
        fast = function(stack([condition]), Q[:, 0], Q[:, 1])[0]
        assert np.allclose(fast, [slow(condition, *q) for q in Q.tolist()], rtol=1e-6, atol=1e-9)


def test_even_aberrations_give_sin_chi():
    condition = ImagingCondition(energy_ev=300e3, aberrations={"C10": -60.0, "C12": 20.0, "C30": 1e5})
    expected = [math.sin(reference.chi(condition, *q)) for q in Q.tolist()]
    assert np.allclose(intensity_transfer(stack([condition]), Q[:, 0], Q[:, 1])[0], expected, atol=1e-9)


def test_odd_aberrations_only_turn_the_phase():
    even = ImagingCondition(energy_ev=300e3, aberrations={"C10": -60.0})
    odd = ImagingCondition(energy_ev=300e3, aberrations={"C10": -60.0, "C21": 900.0, "phi21": 0.6, "C23": 400.0})
    t = intensity_transfer(stack([even, odd]), Q[:, 0], Q[:, 1])
    assert torch.allclose(t[0].abs(), t[1].abs(), atol=1e-12)
    assert not torch.allclose(t[0], t[1], atol=1e-3)


def test_weak_phase_object_halved_leaves_a_quarter(twisted):
    """The image of a weak phase object is 1 + 2 F⁻¹[σ_e V T] up to second order in V."""
    n, sampling = 64, 0.3
    generator = torch.Generator().manual_seed(0)
    qx, qy = reference.fft_frequencies(n, sampling)
    potential = torch.fft.ifft2(
        torch.fft.fft2(torch.randn(n, n, generator=generator, dtype=torch.float64)) * torch.exp(-8 * (qx**2 + qy**2))
    ).real
    parameters = stack([twisted])
    t = wave_transfer(parameters, qx, qy)[0]
    linear = 2 * torch.fft.ifft2(torch.fft.fft2(potential) * intensity_transfer(parameters, qx, qy)[0]).real
    misfits = []
    for scale in (0.02, 0.01):
        phase = scale * potential / potential.abs().max()
        image = torch.fft.ifft2(torch.fft.fft2(torch.exp(1j * phase)) * t).abs().square()
        misfits.append((image - 1 - scale / potential.abs().max() * linear).norm().item())
    assert misfits[0] / misfits[1] == pytest.approx(4, rel=0.02)


def test_grid_equals_abtem_over_random_conditions():
    """T on abTEM's grid; its focal spread is a 1/e width, √2 times the standard deviation."""
    import abtem

    rng = np.random.default_rng(1)
    n, extent = 64, 20.0
    for _ in range(20):
        aberrations = {
            "C10": rng.uniform(-200, 200),
            "C12": rng.uniform(0, 40),
            "phi12": rng.uniform(-3, 3),
            "C21": rng.uniform(0, 800),
            "phi21": rng.uniform(-3, 3),
            "C30": rng.uniform(-1e5, 1e5),
        }
        condition = ImagingCondition(
            energy_ev=float(rng.uniform(60e3, 300e3)),
            aberrations={k: float(v) for k, v in aberrations.items()},
            focal_spread_angstrom=float(rng.uniform(5, 40)),
            aperture_mrad=float(rng.uniform(10, 30)),
        )
        with abtem.config.set({"precision": "float64"}):
            ctf = abtem.CTF(
                **condition.aberrations,
                energy=condition.energy_ev,
                extent=extent,
                gpts=n,
                focal_spread=math.sqrt(2) * condition.focal_spread_angstrom,
                semiangle_cutoff=condition.aperture_mrad,
                soft=True,
            )
            theirs = np.asarray(ctf._evaluate_kernel())
        qx, qy = reference.fft_frequencies(n, extent / n)
        ours = wave_transfer(stack([condition]), qx, qy, edge=1 / extent)[0].numpy()
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-4
