"""Multislice on a CPU: a few configurations at a time, each axis of the transforms over the band alone.

Planes are stored transposed, the second axis before the first: PyTorch's transforms along the first axis write them so, at no cost.
PyTorch transforms, and NumPy does all else: on planes this small the time that a call takes to begin counts.
"""

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from passband.simulation.multislice import deposit
from passband.simulation.multislice.slices import Band, Slices, frequencies

# More than this at once [bytes] falls out of a core's share of the cache.
_CACHE = 20 * 2**20
# Planes of n² complex numbers that one configuration needs at the same time.
_PLANES = 9


def plan(n: int, dtype: torch.dtype) -> int:
    """Return how many configurations to transform together: whatever the memory, because the last digits of waves depend on it."""
    return max(_CACHE // (_PLANES * n * n * dtype.itemsize), 1)


def least_memory(n: int, dtype: torch.dtype) -> int:
    """Return the memory that these configurations take [bytes]."""
    return plan(n, dtype) * _PLANES * n * n * dtype.itemsize


def propagate(configurations: Sequence[Slices], band: Band, dtype: torch.dtype) -> Tensor:
    """Return the spectra of the exit waves of one specimen's configurations, vacuum = 1 at q = 0, shape [C, n, n]."""
    n, half, count = band.n, band.half, len(configurations)
    kept, negative = 2 * half - 1, slice(n - half + 1, n)
    propagator = _propagator(band, configurations[0].thickness, dtype)
    inside, outside = _Columns(n, (count, n), dtype), _Columns(n, (count, kept), dtype)
    spectrum = np.zeros((count, kept, n), dtype=propagator.dtype)
    spectrum[:, 0, 0] = 1
    for transmission in _transmissions(configurations, band, dtype):
        if transmission is None:
            spectrum *= propagator * n**2
            continue
        rows = _backward(torch.from_numpy(spectrum)).numpy().swapaxes(0, 1)
        inside.array[:half], inside.array[negative] = rows[:half], rows[half:]
        psi = _transposed(_backward(inside.flat, dim=0), count, n)
        psi *= transmission
        rows = torch.fft.fft(torch.from_numpy(psi)).numpy().swapaxes(0, 1)
        outside.array[..., :half], outside.array[..., half:] = rows[..., :half], rows[..., negative]
        spectrum = _transposed(torch.fft.fft(outside.flat, dim=0), count, kept)
        spectrum *= propagator
    whole = np.zeros((count, n, n), dtype=spectrum.dtype)
    whole[:, :half], whole[:, negative] = spectrum[:, :half], spectrum[:, half:]
    return torch.from_numpy(whole)


def _transmissions(configurations: Sequence[Slices], band: Band, dtype: torch.dtype) -> Iterator[np.ndarray | None]:
    """Yield t(r) of each slice in turn, complex, transposed, shape [C, n, n], or None where no configuration has an atom."""
    n, half, count = band.n, band.half, len(configurations)
    index, numbers, places = (
        np.concatenate([getattr(c, name) for c in configurations]) for name in ("index", "numbers", "places")
    )
    owner = np.repeat(np.arange(count), [len(c.numbers) for c in configurations])
    order = np.argsort(index, kind="stable")
    index, numbers, owner = index[order], numbers[order], owner[order]
    # Each slice has a plane for each element in it and configuration.
    elements, element = np.unique(numbers, return_inverse=True)
    present = np.zeros((configurations[0].count, len(elements)), dtype=bool)
    present[index, element] = True
    planes = torch.from_numpy((present.cumsum(1) - 1)[index, element] * count + owner)
    spread = deposit.Spread.of(torch.from_numpy(places[order].T / band.field * n), planes, n, dtype.to_real())
    ends = np.searchsorted(index, np.arange(len(present)), side="right").tolist()
    densities, exponents = _Columns(n, (len(elements) * count, half), dtype), _Columns(n // 2 + 1, (2, count, n), dtype)
    for begin, end, there in zip([0, *ends[:-1]], ends, present, strict=True):
        if begin == end:
            yield None
            continue
        kinds = elements[there].tolist()
        rows = torch.fft.rfft(spread.density(begin, end, len(kinds) * count)).numpy()
        densities.array[:, : len(rows)] = rows[..., :half].swapaxes(0, 1)
        spectra = _transposed(torch.fft.fft(densities.flat[:, : len(rows) * half], dim=0), len(kinds), count, 1, half)
        w = spectra[0] * _factor(band, kinds[0], dtype)
        for one, number in zip(spectra[1:], kinds[1:], strict=True):
            w += one * _factor(band, number, dtype)
        exponents.array[:half] = _backward(torch.from_numpy(w)).numpy().transpose(2, 1, 0, 3)
        both = torch.fft.irfft(exponents.flat, n=n, dim=0, norm="forward")
        modulus, phase = _transposed(both, 2, count, n)
        # NumPy's functions take half as long as PyTorch's here.
        np.exp(modulus, out=modulus)
        cosine, sine = np.cos(phase), np.sin(phase, out=phase)
        cosine *= modulus
        sine *= modulus
        yield torch.complex(torch.from_numpy(cosine), torch.from_numpy(sine)).numpy()


_backward = functools.partial(torch.fft.ifft, norm="forward")


@functools.lru_cache(maxsize=1)
def _propagator(band: Band, thickness: float, dtype: torch.dtype) -> np.ndarray:
    """Return P(q) / n², shape [2 half − 1, n]."""
    kx, ky = np.concatenate([np.arange(band.half), np.arange(1 - band.half, 0)]), frequencies(band.n)
    soft, *k = (torch.from_numpy(a) for a in (band.soft(kx, ky), kx, ky))
    return band.propagator(torch.tensor([thickness], dtype=torch.float64), soft, *k)[0].to(dtype).numpy()


@functools.lru_cache(maxsize=16)
def _factor(band: Band, number: int, dtype: torch.dtype) -> np.ndarray:
    """Return the transforms of the real and the imaginary part of w(r), shape [2, half, n]."""
    w = band.factor(number, np.arange(band.half), frequencies(band.n))
    return torch.from_numpy(np.stack([w.real, w.imag])).to(dtype).numpy()


class _Columns:
    """Zeros to be filled and transformed along the first axis, as an array [n, ...] and as a tensor [n, N].

    Rows a power of two apart share a few lines of the cache; their transforms take half as long again.
    """

    def __init__(self, n: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Make room for transforms of n points each."""
        count = math.prod(shape)
        self.flat = torch.zeros((n, count + 8), dtype=dtype)[:, :count]
        self.array = self.flat.unflatten(1, shape).numpy()


def _transposed(columns: Tensor, *shape: int) -> np.ndarray:
    """Return a transform along the first axis, of length n, as [*shape, n]: as it lies in memory."""
    planes: np.ndarray = columns.T.numpy()
    return planes.reshape(*shape, len(columns))
