"""Align the frames of a movie: each is correlated with the sum of all others, in the band that carries signal.

Every frame is modelled as the specimen at its place, a pattern of the camera that stays where it is, and noise. Frequencies are weighted
by the signal and the noise that the frames themselves show, as Grant and Grigorieff (eLife 4 (2015) e06980) and Zheng et al. (Nature
Methods 14 (2017) 331) do with given weights; the path is a smoothing spline where single frames are uncertain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.interpolate import make_smoothing_spline
from scipy.signal.windows import tukey

from passband.base.errors import BadInputError, parameter

#: Part of a side that the specimen may drift.
MOST_DRIFT = 0.5
# Frames are binned until they have at most so many pixels a side, and all of them so many bytes.
_SIDE, _BYTES = 1024, 600_000_000
# Part of half a side that the specimen usually moves between neighbours at most.
_REACH = 1 / 6
# Low-pass filters of the first path, as shares of the Nyquist frequency; frames that choose one, and fewest groups of frames.
_LOW_PASS, _FIRST, _LEAST_GROUPS = (1 / 2, 1 / 4, 1 / 8), 48, 4
# Height of a correlation's peak over its deviation from which it is trusted, below which there is none, and what fitting adds.
_TRUSTED, _LEAST, _FITTED = 9.0, 6.0, 9.5
# Slowest waves across the field, which uneven illumination has.
_SLOWEST = 2.5
_ROUNDS, _WIDENED, _SETTLED = 8, 2, 0.02
# Distance from the neighbours, over the usual one, of a frame that may have jumped, and how much lower a correlation may be on the path.
_JUMP, _AS_HIGH = 5.0, 1.0
# Pixels around an area that is interpolated.
_MARGIN = 16
# Frames from which a fixed pattern can be told from the specimen, and a smooth path from noise.
_PATTERN_FRAMES, _SPLINE_FRAMES = 6, 6

Complex = NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the specimen lies in each frame.

    Attributes:
        shifts: relative to the first frame, down and to the right [pixels], [n, 2].
        deviations: expected standard deviation of these [pixels], [n, 2].
        frames_together: number of frames that were averaged to be correlated.
        noise: relative variance of the mean of a frame over one pixel: 1 / its electrons, for a camera that counts.
        pattern: standard deviation of the pattern that does not move, relative to the mean.
    """

    shifts: NDArray[np.float64]
    deviations: NDArray[np.float64]
    frames_together: int
    noise: float
    pattern: float


def align(frame: Callable[[int], NDArray[np.float32]], count: int, progress: Callable[[float], None]) -> Alignment:
    """Return the drift of `count` frames of equal shape; `progress` is called with shares of the work that add up to 1.

    Raises:
        BadInputError: if the frames show nothing in common, or the specimen drifts by more than half the field.
    """
    small, bins = _binned(frame, count, lambda share: progress(share / 2))
    level, together = small.mean((1, 2), keepdims=True), 1
    small -= level
    small /= np.maximum(np.abs(level), 1e-30)
    path, together, low_pass = _first_path(small)
    progress(0.2)
    left = 0.3
    while True:
        path, fit = _settled(_grouped(small, together), path, low_pass)
        progress(left / 2)
        left /= 2
        # Fewer frames together resolve faster motion, if they still have a peak.
        if together == 1 or fit.height / math.sqrt(2) < _TRUSTED:
            break
        halved = together // 2
        path = _at(path, _middles(count, together), _middles(count, halved))
        together = halved
    # Frames that were fitted to each other's noise reach 15.
    if fit.height < _least(len(path)) + _FITTED:
        raise _unlike()
    middles, every = _middles(count, together), np.arange(count, dtype=float)
    shifts = _at(_smooth(path, fit.deviations), middles, every)
    progress(left)
    noise = fit.noise_of_mean * together * bins**2
    deviations = bins * _at(fit.deviations, middles, every)
    return Alignment(bins * (shifts - shifts[0]), deviations, together, noise, fit.pattern)


def _settled(
    frames: NDArray[np.float32], path: NDArray[np.float64], low_pass: float
) -> tuple[NDArray[np.float64], "_Fit"]:
    """Return the path that frames [n, h, w] confirm, and their fit; higher frequencies count from round to round."""
    # A frame that the first path lost, such as the first one, is found again by the sum of all others.
    far = round(_REACH / 2 * min(frames.shape[1:]))
    for round_ in range(_ROUNDS):
        fit = _Fit(frames, path)
        reach = 0 if round_ > _WIDENED else round(1 / low_pass) if round_ else far
        former, path = path, fit.refined(low_pass * 2 ** min(round_, _WIDENED), reach)
        if round_ > _WIDENED and np.abs(path - former).max() < _SETTLED:
            break
    return _without_jumps(frames, path, fit, low_pass * 2**_WIDENED)


def _without_jumps(
    frames: NDArray[np.float32], path: NDArray[np.float64], fit: "_Fit", low_pass: float
) -> tuple[NDArray[np.float64], "_Fit"]:
    """Move frames that leave the path of their neighbours back to it where they correlate about as well there.

    A lattice looks the same one period further, and noise may choose it.
    """
    n = len(path)
    if n < _SPLINE_FRAMES:
        return path, fit
    beside = [[j for j in range(max(i - 2, 0), min(i + 3, n)) if j != i] for i in range(n)]
    expected = np.stack([np.median(path[others], axis=0) for others in beside])
    usual = np.maximum(1.5 * np.median(np.abs(path - expected), axis=0), fit.deviations)
    jumps = (np.abs(path - expected) > _JUMP * usual).any(1)
    if not jumps.any():
        return path, fit
    other = _Fit(frames, np.where(jumps[:, None], expected, path))
    back = other.refined(low_pass)
    back = np.where((jumps & (other.heights > fit.heights - _AS_HIGH))[:, None], back, path)
    fit = _Fit(frames, back)
    return fit.refined(low_pass), fit


def common_area(shifts: NDArray[np.float64], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns, in the first frame, of what all frames with these shifts show."""
    low = np.ceil(np.maximum(-shifts.min(0), 0)).astype(int)
    high = np.floor(shape - np.maximum(shifts.max(0), 0)).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def moved_back(
    frame: NDArray[np.float32], shift: NDArray[np.float64], area: tuple[slice, slice]
) -> NDArray[np.float32]:
    """Return an area of a frame whose specimen is shifted; fractions of pixels by Fourier interpolation, which leaves white noise white."""
    whole = np.round(shift).astype(int)
    cut, inner = [], []
    for part, step, size in zip(area, whole, frame.shape, strict=True):
        # Interpolated with a margin, because the transform takes the piece for periodic.
        start, stop = max(part.start + step - _MARGIN, 0), min(part.stop + step + _MARGIN, size)
        cut.append(slice(start, stop))
        first = part.start + step - start
        inner.append(slice(first, first + part.stop - part.start))
    piece = frame[tuple(cut)]
    moved = ndimage.fourier_shift(fft.rfft2(piece), whole - shift, n=piece.shape[1])
    return fft.irfft2(moved, s=piece.shape)[tuple(inner)].astype(np.float32)


def _unlike() -> BadInputError:
    what = "its images show nothing in common, so they cannot be aligned"
    return BadInputError(what, remedy="give the frames of one place, or more dose in each")


def _least(count: int) -> float:
    """Return the height that correlations of `count` frames reach if they show the same; those of pure noise reach 35 / count."""
    return _LEAST + 24 / count


def _binned(
    frame: Callable[[int], NDArray[np.float32]], count: int, progress: Callable[[float], None]
) -> tuple[NDArray[np.float32], int]:
    """Return all frames, binned to what memory and time allow, and the pixels along a side of a bin."""
    h, w = frame(0).shape
    bins = max(-(-max(h, w) // _SIDE), math.ceil(math.sqrt(4 * count * h * w / _BYTES)), 1)
    h, w = h // bins, w // bins
    small = np.empty((count, h, w), dtype=np.float32)
    for i in range(count):
        small[i] = frame(i)[: h * bins, : w * bins].reshape(h, bins, w, bins).mean((1, 3))
        progress(1 / count)
    return small, bins


def _middles(count: int, together: int) -> NDArray[np.float64]:
    """Return the middle of each group of frames, in frames."""
    starts = np.arange(0, count - together + 1, together)
    stops = np.append(starts[1:], count)
    return (starts + stops - 1) / 2


def _grouped(small: NDArray[np.float32], together: int) -> NDArray[np.float32]:
    """Return the means of groups of frames; the last one may be longer."""
    if together == 1:
        return small
    starts = np.arange(0, len(small) - together + 1, together)
    return np.stack([part.mean(0) for part in np.split(small, starts[1:])])


def _at(path: NDArray[np.float64], known: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate a path linearly, beyond its ends with the last velocity."""
    if len(known) == 1:
        return np.repeat(path, len(wanted), axis=0)
    place = np.clip(np.searchsorted(known, wanted) - 1, 0, len(known) - 2)
    share = ((wanted - known[place]) / (known[place + 1] - known[place]))[:, None]
    return path[place] * (1 - share) + path[place + 1] * share


def _frequencies(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return frequencies down [h, 1] and to the right [1, w/2 + 1], and their magnitude [1/pixel]."""
    down = fft.fftfreq(shape[-2])[:, None].astype(np.float32)
    right = fft.rfftfreq(shape[-1])[None].astype(np.float32)
    return down, right, np.hypot(down, right)


def _window(height: int, width: int) -> NDArray[np.float32]:
    return np.outer(tukey(height, 0.3), tukey(width, 0.3)).astype(np.float32)


def _first_path(small: NDArray[np.float32]) -> tuple[NDArray[np.float64], int, float]:
    """Return a path, the number of frames together, and the low-pass filter [1/pixel], all by the highest correlations.

    Frames are taken as they are, and without their mean, which is the pattern of the camera if the specimen drifts far.
    """
    mean = small.mean(0)
    count, best = len(small), (False, 0.0, 1, _LOW_PASS[0], False)
    # A step across more than a part of the field is looked for only where smaller ones do not explain the movie.
    for reach in (_REACH, 1.0):
        together = 1
        while together == 1 or count >= _LEAST_GROUPS * together:
            first = small[: max(_FIRST, 2 * _LEAST_GROUPS * together)]
            trials = []
            for without in (False, True)[: 1 + (count >= _PATTERN_FRAMES)]:
                for share in _LOW_PASS:
                    path = _progressive(first, mean * without, together, _band(small.shape, share), reach)
                    # How well frames agree is told from those before the drift is too far.
                    near = next(i for i in range(len(path), 0, -1) if _far(path[:i], small.shape) <= MOST_DRIFT)
                    if near >= min(_LEAST_GROUPS, len(path)):
                        fit = _Fit(_grouped(first, together)[:near], path[:near])
                        fit.refined(0.5 * share)
                        if fit.height > _least(near):
                            whole = near == len(path)
                            trials.append((whole, fit.height / math.sqrt(together), together, share, without))
            top = max(trials, default=(False, 0.0, *best[2:]))
            if top < best:
                break
            best = max(best, top)
            together *= 2
        if best[0]:
            break
    _, height, together, share, without = best
    if not height:
        raise _unlike()
    path = _progressive(small, mean * without, together, _band(small.shape, share), reach)
    if (far := _far(path, small.shape)) > MOST_DRIFT:
        raise _too_far(far)
    return path, together, 0.5 * share


def _band(shape: tuple[int, ...], share: float) -> NDArray[np.float32]:
    """Return a low-pass filter without the slowest waves."""
    down, right, q = _frequencies(shape)
    fast = np.hypot(down * shape[-2], right * shape[-1]) > _SLOWEST
    low: NDArray[np.float32] = np.where(fast, np.exp(-((q / (0.5 * share)) ** 2) / 2), 0.0).astype(np.float32)
    return low


def _far(path: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the drift as a part of the side."""
    return float((np.ptp(path, axis=0) / shape[-2:]).max())


def _too_far(far: float) -> BadInputError:
    what = f"its specimen drifts by {far:.0%} of the field; at most {MOST_DRIFT:.0%} can be aligned"
    return BadInputError(what, value=far, limit=MOST_DRIFT, remedy=f"give a part of it with {parameter('frames')}")


def _progressive(
    frames: NDArray[np.float32], mean: NDArray[np.float32], together: int, weight: NDArray[np.float32], reach: float
) -> NDArray[np.float64]:
    """Return where the specimen lies in each group of frames, by its correlation with the sum of all groups before, moved back, all without a mean.

    From one group to the next it moves by less than a part of the field, the reach.
    """
    grouped = _grouped(frames, together)
    n, h, w = grouped.shape
    window, path, total = _window(h, w), np.zeros((n, 2)), grouped[0] - mean
    for i in range(1, n):
        whole = np.round(path[i - 1]).astype(int)
        image = grouped[i] - mean
        moved = np.roll(image, -whole, (0, 1))
        step = _peak(fft.rfft2(total * window), fft.rfft2(moved * window), weight, reach)
        path[i] = whole + step
        back = ndimage.fourier_shift(fft.rfft2(image), -path[i], n=w)
        total += fft.irfft2(back, s=(h, w))
    return path


def _peak(first: Complex, second: Complex, weight: NDArray[np.float32], reach: float) -> NDArray[np.float64]:
    """Return how far the second is shifted [pixels]."""
    # Divided by the spectrum of both, so that no slow wave outweighs the others.
    power = np.sqrt(_local(np.abs(first) ** 2) * _local(np.abs(second) ** 2))
    correlation = fft.irfft2(second * np.conj(first) * (weight / np.maximum(power, 1e-30)))
    shape = np.array(correlation.shape)
    away = [np.abs(fft.fftfreq(n)) * 2 <= reach for n in correlation.shape]
    near = np.where(away[0][:, None] & away[1], correlation, -np.inf)
    place = np.array(np.unravel_index(int(near.argmax()), correlation.shape))
    top, fine = correlation[tuple(place)], place.astype(float)
    for axis in (0, 1):
        before, after = (correlation[tuple(np.where(np.arange(2) == axis, place + d, place) % shape)] for d in (-1, 1))
        fine[axis] += np.clip((after - before) / max(2 * (2 * top - before - after), 1e-30), -0.5, 0.5)
    return np.where(place > shape // 2, fine - shape, fine)


def _local(power: NDArray[np.float32]) -> NDArray[np.float32]:
    return ndimage.uniform_filter(power, 9, mode="wrap")


def _highest(product: Complex, shape: tuple[int, ...], reach: int) -> NDArray[np.float64]:
    """Return the place of the highest correlation within some pixels around none."""
    if reach == 0:
        return np.zeros(2)
    correlation = np.roll(fft.irfft2(product, s=shape), (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    return np.array(np.unravel_index(int(correlation.argmax()), correlation.shape), dtype=float) - reach


class _Fit:
    """The specimen, the fixed pattern and the noise that frames on a path show, by frequency."""

    def __init__(self, frames: NDArray[np.float32], path: NDArray[np.float64]):
        """Take frames [n, h, w], relative to their mean, and the specimen's place in each [pixels]."""
        self._frames, self._path = frames, path
        n, h, w = frames.shape
        self._down, self._right, self._q = _frequencies(frames.shape)
        whole = np.round(path).astype(int)
        low, high = np.maximum(-whole.min(0), 0), np.array((h, w)) - np.maximum(whole.max(0), 0)
        self._window = np.zeros((h, w), dtype=np.float32)
        self._window[low[0] : high[0], low[1] : high[1]] = _window(*(high - low))
        total, against, phase = (np.zeros(self._q.shape, dtype=np.complex64) for _ in range(3))
        power = np.zeros(self._q.shape, dtype=np.float32)
        for i in range(n):
            moved, turn = self._moved(i), self._phase(path[i])
            total += moved
            against += np.conj(turn) * moved
            phase += turn
            power += np.abs(moved) ** 2
        total, against, phase, power = total / n, against / n, phase / n, power / n
        self._specimen, self._pattern = total, np.zeros_like(total)
        rest = (power - np.abs(total) ** 2) * (n / (n - 1))
        self._noise = self._ring_mean(rest)
        self.pattern = 0.0
        if n >= _PATTERN_FRAMES:
            self._tell_apart(total, against, phase, power)
        # Particles that move are few of the waves; those of a camera's blur and of the field are left out.
        middle = rest[(self._q > 0.05) & (self._q < 0.25)]
        self.noise_of_mean = float(np.median(middle)) / (1 - 1 / (9 * n)) ** 3 / float((self._window**2).sum())

    def _tell_apart(self, total: Complex, against: Complex, phase: Complex, power: NDArray[np.float32]) -> None:
        """Divide what the frames have in common into the specimen, which moves, and a white pattern, which does not."""
        n, common = len(self._frames), np.abs(phase) ** 2
        for _ in range(2):
            apart = 1 - common
            clear = apart > 0.5
            alone = (against - np.conj(phase) * total) / np.maximum(apart, 1e-3)
            # What remains of a white pattern after the noise that its estimate has.
            excess = np.abs(alone[clear]) ** 2 - (self._noise / (n * np.maximum(apart, 1e-3)))[clear]
            white = float(np.median(excess) / math.log(2)) if clear.mean() > 0.05 else 0.0
            if white <= 0:
                return
            ridge = self._noise / (n * white)
            self._pattern = ((against - np.conj(phase) * total) / (apart + ridge)).astype(np.complex64)
            self._specimen = (total - phase * self._pattern).astype(np.complex64)
            fitted = (np.conj(total) * self._specimen + np.conj(against) * self._pattern).real
            self._noise = self._ring_mean(np.maximum(power - fitted, 0) * (n / (n - 2)))
        self.pattern = math.sqrt(white / float((self._window**2).sum()))

    def _ring_mean(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean over all directions, at each frequency."""
        ring = np.minimum((self._q * 128).astype(int), 63)
        sums, counts = np.bincount(ring.ravel(), values.ravel(), 64), np.bincount(ring.ravel(), minlength=64)
        return np.maximum(sums / np.maximum(counts, 1), 1e-30)[ring].astype(np.float32)

    def _phase(self, shift: NDArray[np.float64]) -> Complex:
        """Return the factor that moves back by a shift."""
        turn = 2j * np.pi
        return np.exp(turn * self._down * shift[0]).astype(np.complex64) * np.exp(turn * self._right * shift[1])

    def _moved(self, i: int) -> Complex:
        """Return the transform of a frame, moved back."""
        whole = np.round(self._path[i]).astype(int)
        image = np.roll(self._frames[i], (-whole[0], -whole[1]), (0, 1))
        image = image - float((image * self._window).sum() / self._window.sum())
        return fft.rfft2(image * self._window) * self._phase(self._path[i] - whole)

    def refined(self, low_pass: float, reach: int = 0) -> NDArray[np.float64]:
        """Return the path of the highest correlations of each frame with the sum of the others; sets their height and deviations.

        Peaks are looked for within some whole pixels around the former place.
        """
        n = len(self._frames)
        # Among some fifty neighbours noise exceeds its mean by half in less than one place of a thousand.
        shown, noise = ndimage.gaussian_filter(np.abs(self._specimen) ** 2, 2, mode="wrap"), self._noise / n
        signal = np.where(shown > 1.5 * noise, shown - noise, 0)
        weight = signal / (signal + self._noise / max(n - 1, 1)) / self._noise
        weight *= np.exp(-((self._q / low_pass) ** 2) / 2)
        used = weight * np.abs(self._specimen) ** 2
        used = used > 1e-4 * used.max()
        # All but the first column stand for two frequencies of the whole plane.
        twice = np.where(np.arange(self._q.shape[1]) > 0, 2.0, 1.0) * np.ones(self._q.shape)
        angular = 2 * np.pi * np.stack(np.broadcast_arrays(self._down, self._right))[:, used].astype(np.float64)
        path, heights = self._path.copy(), []
        for i in range(n):
            own = self._moved(i) - self._phase(self._path[i]) * self._pattern
            others = (n * self._specimen - own) / (n - 1)
            whole = weight * own * np.conj(others)
            product = (whole * twice)[used].astype(np.complex128)
            start = _highest(whole, self._frames.shape[1:], reach)
            step = start.copy()
            for _ in range(4):
                turned = product * np.exp(1j * (angular.T @ step))
                slope = -(angular * turned.imag).sum(1)
                bend = (angular[:, None] * angular[None] * turned.real).sum(-1)
                if np.linalg.eigvalsh(bend)[0] <= 0:
                    break
                step += np.linalg.solve(bend, slope)
            path[i] += step if np.hypot(*(step - start)) < 1 else start
            heights.append(float(np.sqrt(max(product.real.sum(), 0))))
        self.heights = np.array(heights)
        self.height = float(np.median(heights))
        # Noise of the frame, of the sum of the others, and of both.
        other = self._noise / max(n - 1, 1)
        spread = (twice * weight**2 * (signal * (self._noise + other) + self._noise * other))[used]
        slope = (angular**2 * (twice * weight * signal)[used]).sum(1)
        deviation = np.sqrt((angular**2 * spread).sum(1)) / np.maximum(slope, 1e-12)
        self.deviations = deviation * np.clip(self.height / np.maximum(heights, 1e-6), 0.5, 10)[:, None]
        return path


def _smooth(path: NDArray[np.float64], deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a path between the one that was measured and a smoothing spline.

    What remains beside the spline is noise as far as the measured places are uncertain, and motion beyond.
    """
    n = len(path)
    if n < _SPLINE_FRAMES:
        return path
    result = path.copy()
    for axis in (0, 1):
        deviation = np.maximum(deviations[:, axis], 1e-6)
        spline = make_smoothing_spline(np.arange(n, dtype=float), path[:, axis], 1 / deviation**2)(np.arange(n))
        rest = path[:, axis] - spline
        jumps = max(float(np.mean(rest**2) - np.mean(deviation**2)), 0.0)
        result[:, axis] = spline + jumps / (jumps + deviation**2) * rest
    return result
