import math

import abtem
import numpy as np
import pytest
import torch

from passband.base.errors import BadInputError
from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.simulation.imaging import (
    _mean_square,
    expected_intensity,
    image_grid,
    narrowed,
    normalize,
    transfer_on_grid,
)
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.simulation.recording import record
from passband.specimens import SpecimenRecipe, draw_specimen
from support.samples import BAND, FIELD, random_waves


@pytest.fixture(scope="module")
def gold():
    """The exit wave of gold on carbon in a field of 51.2 Å, shape [1, P, K]."""
    recipe = SpecimenRecipe()
    [wave] = specimen_exit_waves(recipe, [draw_specimen(recipe, 0)], [0], ExitWaveConfig())
    return torch.from_numpy(wave.coefficients)[None]


def on_grid(coefficients, n):
    """ψ(r) on n × n points by the defining sum, without any FFT."""
    k = disc_indices(BAND * FIELD).to(torch.float64)
    x = torch.arange(n, dtype=torch.float64) / n
    ex, ey = (torch.exp(2j * math.pi * k[:, i, None] * x) for i in (0, 1))
    return torch.einsum("k,kx,ky->xy", coefficients.to(torch.complex128), ex, ey)


@pytest.mark.parametrize("pixels", [160, 96])
def test_against_abtems_own_imaging(pixels):
    """The same wave through abTEM's CTF, at its grid; relative L2 ≤ 1e-4 in the issue's terms."""
    condition = Condition(
        energy_ev=300e3,
        aberrations={"C10": -80.0, "C12": 20.0, "phi12": 0.3, "C21": 300.0, "phi21": 1.0, "C30": -5e4},
        focal_spread_angstrom=20.0,
        aperture_mrad=20.0,
        pixel_size_angstrom=FIELD / pixels,
    )
    waves = random_waves(1, 1)
    grid = image_grid(FIELD, BAND, condition.pixel_size_angstrom)
    ours = expected_intensity(waves, transfer_on_grid(condition, grid), grid)[0].numpy()
    with abtem.config.set({"precision": "float64"}):
        psi = abtem.Waves(on_grid(waves[0, 0], pixels).numpy(), energy=300e3, extent=FIELD)
        ctf = abtem.CTF(
            **condition.aberrations, energy=300e3, focal_spread=math.sqrt(2) * 20.0, semiangle_cutoff=20.0, soft=True
        )
        theirs = np.abs(psi.apply_ctf(ctf).compute().array) ** 2
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - 1) < 1e-4


def test_camera_keeps_its_band_exactly():
    """A coarser camera sees the fine image with everything beyond its own Nyquist frequency cut off."""
    condition = Condition(energy_ev=300e3, defocus_angstrom=100.0, focal_spread_angstrom=10.0, pixel_size_angstrom=0.5)
    waves = random_waves()
    grid = image_grid(FIELD, BAND, 0.5)
    ours = expected_intensity(waves, transfer_on_grid(condition, grid), grid)
    t = transfer_on_grid(condition, grid).flatten()[grid.place]
    for s in range(2):
        fine = torch.stack([on_grid(w * t, 160).abs().square() for w in waves[s]]).mean(0)
        spectrum = torch.fft.fft2(fine, norm="forward")
        k = torch.fft.fftfreq(160, 1 / 160)
        spectrum[(k.abs()[:, None] >= 16) | (k.abs()[None, :] >= 16)] = 0
        expected = torch.fft.ifft2(spectrum, norm="forward").real[::5, ::5]
        assert torch.allclose(ours[s].double(), expected, atol=1e-5)


def test_no_aberrations_no_contrast_from_a_phase_object_to_first_order():
    waves = random_waves(1, 1)
    k = disc_indices(BAND * FIELD)
    # ψ = 1 + i φ with real φ: coefficients i c(k) with c(−k) = c(k)*.
    order = {tuple(v): i for i, v in enumerate(k.tolist())}
    opposite = torch.tensor([order[-x, -y] for x, y in k.tolist()])
    c = 0.01 * waves[0, 0]
    psi = 0.5j * (c + c[opposite].conj())
    psi[(k == 0).all(1)] = 1.0
    flat = Condition(energy_ev=300e3, pixel_size_angstrom=0.5)
    defocused = Condition(energy_ev=300e3, pixel_size_angstrom=0.5, defocus_angstrom=60.0)
    grid = image_grid(FIELD, BAND, 0.5)
    contrast = [
        expected_intensity(psi[None, None], transfer_on_grid(c, grid), grid).std().item() for c in (flat, defocused)
    ]
    assert contrast[0] < 0.02 * contrast[1]


def test_dose_is_poisson():
    condition = Condition(energy_ev=300e3, dose_per_angstrom2=100.0, pixel_size_angstrom=0.4)
    counts = record(torch.full((1, 200, 200), 1.25), condition, generator=torch.Generator().manual_seed(0))
    assert counts.mean().item() == pytest.approx(20, abs=4 * math.sqrt(20 / 40000))
    assert counts.var().item() == pytest.approx(20, rel=0.04)
    assert torch.equal(counts, counts.round())
    below = record(torch.full((1, 4, 4), -0.01), condition, generator=torch.Generator())
    assert (below == 0).all()
    endless = condition.model_copy(update={"dose_per_angstrom2": None})
    assert torch.equal(
        record(torch.full((1, 2, 2), 1.25), endless, generator=torch.Generator()), torch.full((1, 2, 2), 1.25)
    )


def test_normalize():
    images = torch.rand(3, 8, 8) * torch.tensor([1.0, 10.0, 0.0])[:, None, None] + 5
    result = normalize(images)
    assert torch.allclose(result.mean((1, 2)), torch.zeros(3), atol=1e-5)
    assert result.square().mean((1, 2)).tolist() == pytest.approx([1, 1, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("pixel", "message"),
    [(0.45, "use 0.444444"), (10.0, "8 or more")],
)
def test_pixels_that_cannot_be(pixel, message):
    with pytest.raises(BadInputError, match=message):
        image_grid(FIELD, BAND, pixel)


def test_aperture_beyond_the_band():
    with pytest.raises(BadInputError, match="leave it out for no aperture"):
        transfer_on_grid(
            Condition(energy_ev=300e3, aperture_mrad=60.0, pixel_size_angstrom=0.5), image_grid(FIELD, BAND, 0.5)
        )


@pytest.mark.parametrize("pixel", [0.2, 0.4])
@pytest.mark.parametrize(
    ("spread", "convergence", "aberrations"),
    [
        (21.0, 0.0, {"C10": -50.0, "C30": -5e4}),
        (40.0, 0.0, {"C30": -5e4}),
        (20.0, 0.3, {"C10": -600.0, "C12": 30.0, "phi12": 0.4, "C30": 1.2e7}),
    ],
)
def test_a_narrowed_grid_makes_the_same_images(gold, pixel, spread, convergence, aberrations):
    condition = Condition(
        energy_ev=300e3,
        aberrations=aberrations,
        focal_spread_angstrom=spread,
        convergence_mrad=convergence,
        pixel_size_angstrom=pixel,
    )
    full = image_grid(51.2, 1.5, pixel)
    small = narrowed(full, [condition])
    assert small.fine < full.fine
    images, expected = (expected_intensity(gold, transfer_on_grid(condition, g), g) for g in (small, full))
    assert (images - expected).std() < 2e-4 * expected.std()
    # Beside a condition that damps less, the grid has what that one needs.
    both = narrowed(
        full, [condition, condition.model_copy(update={"focal_spread_angstrom": 5.0, "convergence_mrad": 0.0})]
    )
    assert both is full


def test_a_grid_is_not_narrowed_where_beams_are_not_damped():
    grid = image_grid(51.2, 1.5, 0.4)
    sharp = Condition(energy_ev=300e3, pixel_size_angstrom=0.4)
    assert narrowed(grid, [sharp]) is grid
    exact = sharp.model_copy(update={"focal_spread_angstrom": 80.0, "coherence": "quadrature"})
    assert narrowed(grid, [exact]) is grid
    # 9 mrad are 0.46 1/Å: two such beams beat at 0.91 1/Å, within the camera's 1.25.
    aperture = narrowed(grid, [sharp.model_copy(update={"aperture_mrad": 9.0})])
    assert aperture.fine == aperture.physical == 128 and aperture.reach <= 25
    # An aperture may open beyond what envelopes leave, up to what is stored: 19.2 mrad are 0.98 1/Å.
    damped = sharp.model_copy(update={"focal_spread_angstrom": 80.0, "aperture_mrad": 19.2})
    small = narrowed(grid, [damped])
    assert small.reach < 0.97 * 51.2 and transfer_on_grid(damped, small).abs().max() <= 1
    with pytest.raises(BadInputError, match=r"beyond the exit waves' band of 1.484 1/Å"):
        transfer_on_grid(sharp.model_copy(update={"aperture_mrad": 40.0}), small)


def test_an_ideal_camera_and_one_in_fourier_space_see_the_same(gold):
    """At as many samples as pixels nothing is resampled; a camera's factor of one takes the other path."""
    condition = Condition(energy_ev=300e3, focal_spread_angstrom=40.0, defocus_angstrom=60.0, pixel_size_angstrom=0.2)
    grid = narrowed(image_grid(51.2, 1.5, 0.2), [condition])
    assert grid.fine == grid.physical
    transfer = transfer_on_grid(condition, grid)
    ones = torch.ones(grid.physical, grid.physical // 2 + 1)
    direct, through = (expected_intensity(gold, transfer, grid, camera) for camera in (None, ones))
    assert torch.allclose(direct, through, atol=1e-5)


def test_means_of_squares_of_all_devices_agree():
    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(2, 3, 16, 16, dtype=torch.complex64, generator=generator)
    expected = (psi.abs() ** 2).mean(1)
    on_a_gpu = torch.linalg.vector_norm(torch.view_as_real(psi), dim=(1, -1)).square_().div_(3)
    assert torch.allclose(on_a_gpu, expected, rtol=1e-5)
    assert torch.allclose(_mean_square(psi), expected, rtol=1e-5)
