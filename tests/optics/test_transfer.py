import math

import numpy as np
import pytest
import torch

from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.metrics.transfer_curves import first_zero, information_limit
from passband.optics import aperture, intensity_transfer, spatial_envelope, stack, temporal_envelope, wave_transfer
from support import reference

Q = torch.tensor([[0.05, 0.0], [0.0, -0.5], [0.4, 0.7], [-0.9, 0.2]], dtype=torch.float64)


def test_envelopes_closed_form():
    condition = Condition(energy_ev=300e3, defocus_angstrom=80.0, focal_spread_angstrom=30.0, convergence_mrad=0.5)
    lam, q2 = reference.wavelength(300e3), (Q**2).sum(1)
    q = (stack([condition]), Q[:, 0], Q[:, 1])
    assert torch.allclose(temporal_envelope(*q)[0], torch.exp(-0.5 * (math.pi * lam * 30.0 * q2) ** 2), rtol=1e-7)
    # For pure defocus |∇χ| = 2π λ |C10| |q|.
    expected = torch.exp(-0.5 * (0.5e-3 / lam) ** 2 * (2 * math.pi * lam * 80.0) ** 2 * q2)
    assert torch.allclose(spatial_envelope(*q)[0], expected, rtol=1e-7)


def test_aperture_edges():
    lam = reference.wavelength(300e3)
    condition = stack([Condition(energy_ev=300e3, aperture_mrad=0.5 * lam * 1e3)])
    q = torch.tensor([0.0, 0.49, 0.495, 0.5, 0.505, 0.51, 0.6], dtype=torch.float64)
    assert aperture(condition, q, 0 * q).tolist()[0] == [1, 1, 1, 1, 0, 0, 0]
    assert aperture(condition, q, 0 * q, edge=0.02).tolist()[0] == pytest.approx(
        [1, 1, 0.75, 0.5, 0.25, 0, 0], abs=1e-6
    )
    assert aperture(stack([Condition(energy_ev=300e3)]), q, 0 * q, edge=0.02).min() == 1


def test_everything_against_the_slow_reference(twisted):
    condition = twisted.model_copy(update={"aperture_mrad": 22.0})
    for function, slow in ((wave_transfer, reference.t), (intensity_transfer, reference.transfer)):
        fast = function(stack([condition]), Q[:, 0], Q[:, 1])[0]
        assert np.allclose(fast, [slow(condition, *q) for q in Q.tolist()], rtol=1e-6, atol=1e-9)


def test_even_aberrations_give_sin_chi():
    condition = Condition(energy_ev=300e3, aberrations={"C10": -60.0, "C12": 20.0, "C30": 1e5})
    expected = [math.sin(reference.chi(condition, *q)) for q in Q.tolist()]
    assert np.allclose(intensity_transfer(stack([condition]), Q[:, 0], Q[:, 1])[0], expected, atol=1e-9)


def test_odd_aberrations_only_turn_the_phase():
    even = Condition(energy_ev=300e3, aberrations={"C10": -60.0})
    odd = Condition(energy_ev=300e3, aberrations={"C10": -60.0, "C21": 900.0, "phi21": 0.6, "C23": 400.0})
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


def random_condition(rng):
    """Every aberration to fifth order, both envelopes, an aperture; any energy."""
    reach = {1: 200.0, 2: 1500.0, 3: 1e5, 4: 5e5, 5: 5e6}
    aberrations = {s: float(rng.uniform(-reach[n], reach[n])) for s, (n, _) in ABERRATIONS.items()}
    aberrations |= {angle: float(rng.uniform(-3, 3)) for angle in ANGLES.values()}
    return Condition(
        energy_ev=float(rng.uniform(60e3, 300e3)),
        aberrations=aberrations,
        focal_spread_angstrom=float(rng.uniform(5, 40)),
        convergence_mrad=float(rng.uniform(0.05, 0.5)),
        aperture_mrad=float(rng.uniform(10, 30)),
    )


def test_transfer_and_image_equal_abtems_over_200_random_conditions():
    """t(q) on abTEM's grid in double precision, and the image of one wave through both; relative L2 ≤ 1e-4."""
    import abtem

    rng = np.random.default_rng(1)
    n, extent = 64, 20.0
    qx, qy = reference.fft_frequencies(n, extent / n)
    noise = rng.normal(size=(2, n, n)) * np.exp(-2 * (qx**2 + qy**2).numpy())
    wave = np.fft.ifft2(noise[0] + 1j * noise[1]) + 1
    spectrum = torch.from_numpy(np.fft.fft2(wave))
    with abtem.config.set({"precision": "float64"}):
        psi = abtem.Waves(wave, energy=300e3, extent=extent)
        for _ in range(200):
            condition = random_condition(rng)
            # 1/e widths there, standard deviations here.
            ctf = abtem.CTF(
                **condition.aberrations,
                energy=condition.energy_ev,
                extent=extent,
                gpts=n,
                focal_spread=math.sqrt(2) * condition.focal_spread_angstrom,
                angular_spread=math.sqrt(2) * condition.convergence_mrad,
                semiangle_cutoff=condition.aperture_mrad,
                soft=True,
            )
            theirs = np.asarray(ctf._evaluate_kernel())
            ours = wave_transfer(stack([condition]), qx, qy, edge=1 / extent)[0]
            assert np.linalg.norm(ours.numpy() - theirs) <= 1e-4 * np.linalg.norm(theirs)
            psi = abtem.Waves(wave, energy=condition.energy_ev, extent=extent)
            image = np.abs(psi.apply_ctf(ctf).compute().array) ** 2
            own = torch.fft.ifft2(spectrum * ours).abs().square().numpy()
            assert np.linalg.norm(own - image) <= 1e-4 * np.linalg.norm(image)


def test_scherzer_in_closed_form():
    """At 1.2 √(Cs λ) the first zero lies at 0.645 Cs^¼ λ^¾, and the Thon zeros where χ is a multiple of π."""
    lam, cs = reference.wavelength(200e3), 1.2e7
    condition = Condition(energy_ev=200e3, aberrations={"C10": -1.2 * math.sqrt(cs * lam), "C30": cs})
    assert 1 / first_zero(condition, 1.0) == pytest.approx((1 / 2.4) ** 0.5 * cs**0.25 * lam**0.75, rel=1e-4)
    zeros = []
    for k in range(1, 6):
        # ½ π λ³ Cs q⁴ − π λ df q² = k π beyond the passband.
        a, b = 0.5 * lam**3 * cs, -lam * 1.2 * math.sqrt(cs * lam)
        zeros.append(math.sqrt((-b + math.sqrt(b * b + 4 * a * k)) / (2 * a)))
    q = torch.tensor(zeros, dtype=torch.float64)
    assert intensity_transfer(stack([condition]), q, 0 * q)[0].abs().max() < 1e-4


def test_information_limit_in_closed_form():
    """E_t falls to exp(−2) at √(2 / (π λ Δ))."""
    lam = reference.wavelength(300e3)
    condition = Condition(energy_ev=300e3, focal_spread_angstrom=20.0)
    assert information_limit(condition) == pytest.approx(math.sqrt(2 / (math.pi * lam * 20.0)), abs=2e-3)
    assert information_limit(Condition(energy_ev=300e3)) is None


def test_batch_is_each_alone(twisted):
    """Conditions with and without each part of the optics do not disturb one another."""
    others = [
        Condition(energy_ev=80e3),
        twisted,
        Condition(energy_ev=300e3, defocus_angstrom=50.0, drift_angstrom=2.0, aperture_mrad=15.0),
    ]
    together = intensity_transfer(stack(others), Q[:, 0], Q[:, 1])
    for i, condition in enumerate(others):
        assert torch.allclose(together[i], intensity_transfer(stack([condition]), Q[:, 0], Q[:, 1])[0], atol=1e-12)
