"""Texture that is added to training images: of one size, as strong as it says, and only where it is asked for."""

import pytest
import torch

from passband.learning import TrainingConfig
from passband.learning.texture import with_texture


def added(strength, seed=1, count=400, n=64):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, n, n, generator=torch.Generator().manual_seed(0))
    images = (images - images.mean((1, 2), keepdim=True)) / images.std((1, 2), keepdim=True, correction=0)
    return images, with_texture(images, strength, generator)


def test_images_stay_normalised_and_hold_a_drawn_share_of_texture():
    images, textured = added(1.0)
    assert textured.mean((1, 2)).abs().max() < 1e-5
    assert textured.std((1, 2), correction=0).sub(1).abs().max() < 1e-4
    # Of an image 1 and a texture s, s even in 0 to 1, what is left correlates by 1 / √(1 + s²), 0.71 to 1.
    kept = (images * textured).mean((1, 2))
    assert kept.min() > 0.6 and kept.max() > 0.99
    assert kept.mean() == pytest.approx(0.881, abs=0.02)


def test_a_texture_has_one_size_and_sizes_differ():
    _, textured = added(1e6)
    power = torch.fft.rfft2(textured).abs().square()
    q = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64))
    log_q = q.clamp_min(1e-3).log()
    mean = (power * log_q).sum((1, 2)) / power.sum((1, 2))
    width = ((power * (log_q - mean[:, None, None]) ** 2).sum((1, 2)) / power.sum((1, 2))).sqrt()
    assert width.max() < 0.5
    assert mean.exp().min() < 0.04 and mean.exp().max() > 0.35


def test_the_generator_decides():
    assert torch.equal(added(0.5)[1], added(0.5)[1])
    assert not torch.equal(added(0.5)[1], added(0.5, seed=2)[1])


def test_a_training_without_it_is_written_as_before():
    assert "texture" not in TrainingConfig().model_dump()
    given = TrainingConfig(texture=0.5, texture_band_per_pixel=(0.1, 0.2))
    assert {"texture", "texture_band_per_pixel"} <= given.model_dump(mode="json").keys()
    assert "texture_band_per_pixel" not in TrainingConfig(texture=0.5).model_dump(mode="json")
