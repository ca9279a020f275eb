"""Multislice on a CPU: a few configurations at a time, each axis of the transforms over the band alone.

Planes are stored transposed, the second axis before the first: PyTorch's transforms along the first axis write them so, at no cost.
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
# Blocks as large as this [bytes], once freed, make glibc keep what is freed after them. To get it again from the system for
# every slice would take as long as the transforms.
_KEPT = 2**25 - 2**13


def plan(n: int, dtype: torch.dtype) -> int:
    """Return how many configurations to transform together: whatever the memory, because the last digits of waves depend on it."""
    return max(_CACHE // (_PLANES * n * n * dtype.itemsize), 1)


def least_memory(n: int, dtype: torch.dtype) -> int:
    """Return the memory that these configurations take [bytes]."""
    return plan(n, dtype) * _PLANES * n * n * dtype.itemsize


def propagate(configurations: Sequence[Slices], band: Band, dtype: torch.dtype) -> Tensor:
    """Return the spectra of the exit waves of one specimen's configurations, vacuum = 1 at q = 0, shape [C, n, n]."""
    torch.empty(_KEPT, dtype=torch.uint8)
    n, half, count = band.n, band.half, len(configurations)
    negative = slice(n - half + 1, n)
    propagator = _propagator(band, configurations[0].thickness, dtype)
    inside, outside = _columns(n, (count, n), dtype), _columns(n, (count, 2 * half - 1), dtype)
    spectrum = torch.zeros((count, 2 * half - 1, n), dtype=dtype)
    spectrum[:, 0, 0] = 1
    for transmission in _transmissions(configurations, band, dtype):
        if transmission is None:
            spectrum *= propagator * n**2
            continue
        rows = torch.fft.ifft(spectrum, norm="forward").transpose(0, 1)
        inside[:half], inside[negative] = rows[:half], rows[half:]
        psi = _transposed(torch.fft.ifft(inside.flatten(1), dim=0, norm="forward"), count)
        rows = torch.fft.fft(psi.mul_(transmission)).transpose(0, 1)
        outside[..., :half], outside[..., half:] = rows[..., :half], rows[..., negative]
        spectrum = _transposed(torch.fft.fft(outside.flatten(1), dim=0), count).mul_(propagator)
    whole = torch.zeros((count, n, n), dtype=dtype)
    whole[:, :half], whole[:, negative] = spectrum[:, :half], spectrum[:, half:]
    return whole


def _transmissions(configurations: Sequence[Slices], band: Band, dtype: torch.dtype) -> Iterator[Tensor | None]:
    """Yield t(r) of each slice in turn, complex, transposed, shape [C, n, n], or None where no configuration has an atom."""
    n, half, count = band.n, band.half, len(configurations)
    index, numbers, places = (
        np.concatenate([getattr(c, name) for c in configurations]) for name in ("index", "numbers", "places")
    )
    owner = np.repeat(np.arange(count), [len(c.numbers) for c in configurations])
    order = np.argsort(index, kind="stable")
    index, numbers, owner = index[order], numbers[order], owner[order]
    spread = deposit.Spread.of(torch.from_numpy(places[order].T / band.field * n), n, dtype.to_real())
    # Each slice has a plane for each element in it and configuration.
    elements, element = np.unique(numbers, return_inverse=True)
    present = np.zeros((configurations[0].count, len(elements)), dtype=bool)
    present[index, element] = True
    planes = torch.from_numpy((present.cumsum(1) - 1)[index, element] * count + owner)
    ends = np.searchsorted(index, np.arange(len(present)), side="right").tolist()
    densities, exponents = _columns(n, (len(elements) * count, half), dtype), _columns(n // 2 + 1, (2, count, n), dtype)
    for begin, end, there in zip([0, *ends[:-1]], ends, present, strict=True):
        if begin == end:
            yield None
            continue
        kinds = elements[there].tolist()
        rows = torch.fft.rfft(spread.density(begin, end, planes, len(kinds) * count))
        columns = densities[:, : len(rows)]
        columns[:] = rows[..., :half].transpose(0, 1)
        spectra = _transposed(torch.fft.fft(columns.flatten(1), dim=0), len(rows)).view(-1, count, 1, half, n)
        w = spectra[0] * _factor(band, kinds[0], dtype)
        for one, number in zip(spectra[1:], kinds[1:], strict=True):
            w.addcmul_(one, _factor(band, number, dtype))
        exponents[:half] = torch.fft.ifft(w, norm="forward").permute(2, 1, 0, 3)
        both = torch.fft.irfft(exponents.flatten(1), n=n, dim=0, norm="forward")
        real, phase = _transposed(both, 2 * count).view(2, count, n, n).numpy()
        # NumPy's functions take half as long as PyTorch's here.
        modulus = np.exp(real, out=real)
        parts = [np.cos(phase), np.sin(phase, out=phase)]
        yield torch.complex(*(torch.from_numpy(np.multiply(part, modulus, out=part)) for part in parts))


@functools.lru_cache(maxsize=1)
def _propagator(band: Band, thickness: float, dtype: torch.dtype) -> Tensor:
    """Return P(q) / n², shape [2 half − 1, n]."""
    kx, ky = np.concatenate([np.arange(band.half), np.arange(1 - band.half, 0)]), frequencies(band.n)
    soft, *k = (torch.from_numpy(a) for a in (band.soft(kx, ky), kx, ky))
    return band.propagator(torch.tensor([thickness], dtype=torch.float64), soft, *k)[0].to(dtype)


@functools.lru_cache(maxsize=16)
def _factor(band: Band, number: int, dtype: torch.dtype) -> Tensor:
    """Return the transforms of the real and the imaginary part of w(r), shape [2, half, n]."""
    w = band.factor(number, np.arange(band.half), frequencies(band.n))
    return torch.from_numpy(np.stack([w.real, w.imag])).to(dtype)


def _columns(n: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return zeros of shape [n, ...] to be transformed along the first axis.

    Rows a power of two apart share a few lines of the cache; their transforms take half as long again.
    """
    count = math.prod(shape)
    return torch.zeros((n, count + 8), dtype=dtype)[:, :count].unflatten(1, shape)


def _transposed(columns: Tensor, count: int) -> Tensor:
    """Return a transform along the first axis as [count, ..., n], as it lies in memory."""
    return columns.T.unflatten(0, (count, -1))
