import math

import pytest
import torch

from passband.conditions import Condition
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import camera_on_grid, expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.recording import record
from support.samples import BAND, FIELD, random_waves

CONFIG = ExitWaveConfig(band_per_angstrom=BAND)


def condition(**content):
    return Condition(
        **(
            {"energy_ev": 300e3, "defocus_angstrom": 60.0, "focal_spread_angstrom": 20.0, "pixel_size_angstrom": 0.5}
            | content
        )
    )


def image(c, waves):
    grid = image_grid(FIELD, BAND, c.pixel_size_angstrom, c.detector.binning)
    return expected_intensity(waves, transfer_on_grid(c, grid), grid, camera_on_grid(c, grid))


def transfer_between(c, plain, waves):
    a, b = (torch.fft.fft2(image(x, waves)[0].double()) for x in (c, plain))
    return (a / b).real


def test_ideal_camera_does_nothing():
    assert camera_on_grid(condition(), image_grid(FIELD, BAND, 0.5)) is None


@pytest.mark.parametrize("mtf", [0.4, [[0.0, 1.0], [0.5, 0.8], [1.0, 0.4]]])
def test_mtf_multiplies_the_spectrum(mtf):
    ratio = transfer_between(condition(detector={"mtf": mtf}), condition(), random_waves(1, 1))
    # Nyquist is at 16: the middle of the band, and its edge.
    expected = {8: 0.4**0.25 if mtf == 0.4 else 0.8, 12: 0.4**0.5625 if mtf == 0.4 else 0.6}
    for k, value in expected.items():
        assert ratio[k, 0].item() == pytest.approx(value, abs=1e-3)
        assert ratio[0, k].item() == pytest.approx(value, abs=1e-3)


def test_vibration_and_drift():
    waves = random_waves(1, 1)
    vibration = transfer_between(condition(vibration_angstrom=0.5), condition(), waves)
    assert vibration[6, 0].item() == pytest.approx(math.exp(-2 * (math.pi * 0.5 * 6 / FIELD) ** 2), abs=1e-3)
    drift = transfer_between(condition(drift_angstrom=3.0, drift_angle_rad=math.pi / 2), condition(), waves)
    x = math.pi * 3.0 * 7 / FIELD
    assert drift[7, 0].item() == pytest.approx(1, abs=1e-3)
    assert drift[0, 7].item() == pytest.approx(math.sin(x) / x, abs=1e-3)


def test_drift_is_the_mean_over_the_path():
    """The same as shifting the image by hand and averaging."""
    waves = random_waves(1, 1)
    still = torch.fft.fft2(image(condition(), waves)[0].double())
    k = torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64)
    steps = (torch.arange(401) - 200) / 400 * 4.0
    path = torch.stack([still * torch.exp(-2j * math.pi * k * s / FIELD)[:, None] for s in steps])
    weights = torch.ones(401).double()
    weights[[0, -1]] = 0.5
    expected = torch.fft.ifft2((path * (weights / weights.sum())[:, None, None]).sum(0)).real
    got = image(condition(drift_angstrom=4.0), waves)[0].double()
    assert torch.allclose(got, expected, atol=1e-4)


def test_a_turned_specimen_drifts_the_same_way():
    """Turning the specimen under a drifting stage is not turning its image."""
    waves = random_waves(1, 1)
    c = condition(drift_angstrom=4.0, drift_angle_rad=0.3)
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    source = ImageSource(waves, masks, Imager(c, FIELD, CONFIG))
    turned = source.intensity(torch.tensor([0]), torch.tensor([1]))[0]
    still = ImageSource(waves, masks, Imager(condition(), FIELD, CONFIG)).intensity(
        torch.tensor([0]), torch.tensor([1])
    )
    from passband.optics import motion_envelope, stack

    k = torch.fft.fftfreq(32, 1 / 32, dtype=torch.float64) / FIELD
    qx, qy = torch.meshgrid(k, k, indexing="ij")
    expected = torch.fft.ifft2(torch.fft.fft2(still[0].double()) * motion_envelope(stack([c]), qx, qy)[0]).real
    assert torch.allclose(turned.double(), expected, atol=1e-4)


def test_dqe_share_and_shaped_noise():
    flat = torch.ones(64, 64, 64)
    dose = {"dose_per_angstrom2": 400.0}
    half = record(flat, condition(detector={"dqe": 0.5}, **dose), generator=torch.Generator().manual_seed(0))
    assert half.mean().item() == pytest.approx(50, rel=0.01) and half.var().item() == pytest.approx(50, rel=0.02)
    # DQE falls from 0.8 to 0.2: at Nyquist the noise power is four times that at zero.
    c = condition(detector={"dqe": [[0.0, 0.8], [1.0, 0.2], [2.0, 0.2]]}, **dose)
    noise = record(flat, c, generator=torch.Generator().manual_seed(1)) - 80
    power = torch.fft.fft2(noise, norm="ortho").abs().square().mean(0)
    assert power[1:4, 0].mean().item() == pytest.approx(80 / (1 - 0.75 * 2 / 32), rel=0.15)
    assert power[32, 1:31].mean().item() == pytest.approx(320, rel=0.06)
    assert noise.mean().item() == pytest.approx(0, abs=0.1)


def test_binning_sums_and_stays_in_place():
    waves = random_waves(2, 1)
    for binning in (2, 3):
        c = condition(detector={"binning": binning}, pixel_size_angstrom=1.0)
        fine = image(c, waves)
        assert fine.shape[-1] == 16 * binning
        binned = record(fine, c, generator=torch.Generator())
        assert binned.shape == (2, 16, 16)
        assert binned.mean().item() == pytest.approx(fine.mean().item(), rel=1e-5)
        counts = record(
            fine, c.model_copy(update={"dose_per_angstrom2": 1e6}), generator=torch.Generator().manual_seed(0)
        )
        # The ideal camera cuts the band of this noise, whose intensity then falls below zero in places.
        assert torch.allclose(counts / 1e6, record(fine.clamp_min(0), c, generator=torch.Generator()), atol=0.01)
        # A bright spot at a binned pixel's place stays in that pixel.
        spot = torch.zeros(1, 16 * binning, 16 * binning)
        spot[0, 5 * binning, 7 * binning] = 1
        assert record(spot, c, generator=torch.Generator())[0].argmax().item() == 5 * 16 + 7


def test_binned_images_and_masks_turn_together():
    """The mean image of a spot lies in its mask in every orientation."""
    c = condition(detector={"binning": 2}, pixel_size_angstrom=1.0, defocus_angstrom=0.0)
    x = torch.tensor([5.0, 11.0]) / 16
    from passband.base.frequencies import disc_indices

    k = disc_indices(BAND * FIELD).float()
    spot = torch.exp(-2j * math.pi * (k @ x)) * torch.exp(-4 * (k / FIELD).square().sum(1))
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, 5, 11] = True
    source = ImageSource(spot[None, None].to(torch.complex64), masks, Imager(c, FIELD, CONFIG))
    for orientation in range(8):
        images, truth = source.batch(torch.tensor([0]), torch.tensor([orientation]), generator=torch.Generator())
        assert images.argmax().item() == truth.argmax().item()
