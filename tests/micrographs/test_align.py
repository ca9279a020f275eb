"""Frames of known motion: what is found, at doses of single frames, and what does not fool it."""

import numpy as np
import pytest
from scipy import fft, ndimage

from passband.base.errors import BadInputError
from passband.micrographs.align import _Fit, _without_jumps, align, common_area, moved_back

SIDE, FIELD = 128, 192


def specimen(seed=1):
    """A film with blobs and fringes, contrast 15 %, periodic in a field larger than a frame."""
    rng = np.random.default_rng(seed)
    film = ndimage.gaussian_filter(rng.normal(size=(FIELD, FIELD)), 1.5, mode="wrap")
    blobs = ndimage.gaussian_filter(rng.normal(size=(FIELD, FIELD)), 6, mode="wrap")
    fringes = np.cos(2 * np.pi * 0.2 * np.arange(FIELD)) * (blobs > np.quantile(blobs, 0.9))
    image = film / film.std() + blobs / blobs.std() + fringes / fringes.std()
    return 1 + 0.15 * image / image.std()


def bend(count, step):
    """A path that turns, `step` pixels from frame to frame."""
    time = np.arange(count)
    return np.stack([step * time, 0.3 * step * count * np.sin(2 * time / count)], axis=1)


def movie(path, counts, *, pattern=0.0, seed=0):
    """Poisson frames of so many electrons a pixel, seen through a fixed pattern."""
    rng = np.random.default_rng(seed)
    gain = 1 + pattern * rng.normal(size=(SIDE, SIDE))
    whole, frames = fft.rfft2(specimen()), []
    for place in path:
        shown = fft.irfft2(ndimage.fourier_shift(whole, place, n=FIELD))[:SIDE, :SIDE]
        frames.append(rng.poisson(np.maximum(shown, 0) * counts) * gain)
    return np.array(frames, dtype=np.float32)


def error(found, path):
    """Deviation from the true path, whose origin does not count [pixels]."""
    rest = found.shifts - path
    return float(np.sqrt(np.mean((rest - rest.mean(0)) ** 2)))


def aligned(frames):
    shares = []
    found = align(lambda i: frames[i], len(frames), shares.append)
    assert 0.5 < sum(shares) < 1 + 1e-6
    return found


@pytest.mark.parametrize("counts", [3.0, 20.0])
def test_the_drift_is_found_within_a_tenth_of_a_pixel(counts):
    path = bend(24, 0.6)
    found = aligned(movie(path, counts))
    assert error(found, path) < 0.1 and (found.shifts[0] == 0).all()
    # The variance of a pixel is that of its electrons.
    assert 1 / found.noise == pytest.approx(counts, rel=0.1)
    assert found.pattern < 0.01


def test_a_fixed_pattern_does_not_hold_the_specimen():
    path = bend(24, 0.6)
    found = aligned(movie(path, 5.0, pattern=0.15))
    assert error(found, path) < 0.1
    assert found.pattern == pytest.approx(0.15, rel=0.2)


def test_what_stands_still_does_not_move():
    found = aligned(movie(np.zeros((12, 2)), 10.0, pattern=0.05))
    assert np.abs(found.shifts).max() < 0.15


def test_jumps_are_not_smoothed_away():
    path = bend(20, 0.2)
    path[11:] += (7, -4)
    assert error(aligned(movie(path, 10.0)), path) < 0.1


def test_a_frame_that_jumps_alone_stays_where_it_is():
    path = bend(20, 0.2)
    path[9] += (7, -4)
    assert error(aligned(movie(path, 10.0)), path) < 0.1


def test_a_frame_one_period_off_goes_back():
    # Fringes of 5 pixels are the strongest that frames show.
    path, frames = bend(20, 0.2), movie(bend(20, 0.2), 2.0)
    off = path.copy()
    off[9] += (0, 5)
    fit = _Fit(frames, off)
    fit.refined(1.0)
    back, _ = _without_jumps(frames, off, fit, 1.0)
    assert np.abs(back - path).max() < 0.5


def test_two_frames_are_enough():
    path = np.array([(0.0, 0.0), (9.3, -5.6)])
    assert error(aligned(movie(path, 20.0)), path) < 0.1


def test_what_cannot_be_aligned_is_told():
    noise = np.random.default_rng(0).poisson(5.0, (8, SIDE, SIDE)).astype(np.float32)
    with pytest.raises(BadInputError, match="nothing in common"):
        aligned(noise)
    with pytest.raises(BadInputError, match=r"drifts by \d+% of the field; at most 50%.*frames"):
        aligned(movie(bend(30, 4.0), 10.0))


def test_frames_moved_back_are_those_of_the_first_place():
    path = np.array([(0.0, 0.0), (3.4, -7.7), (-2.5, 1.25)])
    frames = movie(path, 1e6)
    area = common_area(path, (SIDE, SIDE))
    assert [(part.start, part.stop) for part in area] == [(3, 124), (8, 126)]
    first = moved_back(frames[0], path[0], area)
    assert first == pytest.approx(frames[0][area], abs=1)
    for frame, place in zip(frames, path, strict=True):
        # The edges of the transform show less than a percent of the contrast beyond the margin.
        assert np.std(moved_back(frame, place, area) - first) < 0.05 * first.std()
