"""Resampling keeps what both pixel sizes can hold."""

import numpy as np
import pytest

from passband.micrographs.resample import resample


def wave(n, cycles):
    """A cosine with mirrored edges, sampled at the centres of n pixels."""
    return np.cos(np.pi * cycles * (np.arange(n) + 0.5) / n).astype(np.float32)


@pytest.mark.parametrize(("have", "wanted"), [(96, 64), (64, 96), (131, 128), (512, 128), (65, 65)])
def test_what_both_can_hold_is_kept_exactly(have, wanted):
    image = 3 + np.outer(wave(have, 5), np.ones(have)) * wave(have, 17)
    expected = 3 + np.outer(wave(wanted, 5), np.ones(wanted)) * wave(wanted, 17)
    np.testing.assert_allclose(resample(image.astype(np.float32), (wanted, wanted)), expected, atol=1e-4)


def test_what_the_coarser_pixels_cannot_hold_is_gone():
    image = np.outer(np.ones(96), wave(96, 80)).astype(np.float32)
    assert np.abs(resample(image, (64, 64))).max() < 1e-5


def test_shapes_that_are_not_square():
    image = np.random.default_rng(0).normal(5, 1, (40, 90)).astype(np.float32)
    small = resample(image, (20, 30))
    assert small.shape == (20, 30) and small.dtype == np.float32
    assert small.mean() == pytest.approx(image.mean(), rel=1e-4)
