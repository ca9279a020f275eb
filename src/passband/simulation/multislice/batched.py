"""Multislice on a GPU: many configurations and slices at once, and a loop over slices that never waits for the host.

Planes are stored transposed, the second axis before the first.

Bytes that a slice of one configuration moves, in units of n², with one element in it: wave 105 (two transforms of 32, times t
24, times P 17); transmission 89 (density 4, its transform 16, times w 21, inverse transform 32, exponential 16). Two transforms
and two products alone are 96. Atoms are spread, not summed as exp(−2πi q·r) by a matrix product: that takes 2 MFLOP an atom
at 1024², as long as spreading any number of them from 100 atoms in a slice on.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from passband.base.gpu import aside
from passband.simulation.multislice import deposit
from passband.simulation.multislice.slices import Band, Slices, frequencies

# Planes of n² complex numbers in work: for each configuration, for each slice of it in a block, and for all together.
_WAVE, _SLICE, _SHARED = 6, 5, 8
# Most slices in a block, whose transmissions are made together, and fewest blocks that pay for recording a graph.
_SLICES, _BLOCKS = 16, 4
# Points of all configurations that keep a GPU busy. With more, it would wait longer for the host to slice the first.
_POINTS = 2**22
# More than there are elements.
_ELEMENTS = 128


def plan(configurations: int, n: int, dtype: torch.dtype, memory: int) -> tuple[int, int]:
    """Return how many configurations, and how many slices of each, to compute together in a memory [bytes]; at least one."""
    planes = memory // (n * n * dtype.itemsize) - _SHARED
    count = max(min(configurations, planes // (_WAVE + _SLICE), _POINTS // n**2), 1)
    return count, min(max((planes // count - _WAVE) // _SLICE, 1), _SLICES)


def least_memory(n: int, dtype: torch.dtype) -> int:
    """Return the memory that one slice of one configuration takes [bytes]."""
    return (_WAVE + _SLICE + _SHARED) * n * n * dtype.itemsize


def propagate(
    configurations: Sequence[Slices], band: Band, dtype: torch.dtype, device: torch.device, slices: int
) -> Tensor:
    """Return the spectra of the exit waves, vacuum = 1 at q = 0, shape [C, n, n], `slices` transmissions of each at once.

    Specimens end in the same slice; the thinner ones begin later, because vacuum does not change a plane wave. Blocks of slices
    end at the last atom for the same reason; what the first has too many is vacuum.
    """
    n, count = band.n, len(configurations)
    spectrum = torch.zeros((count, n, n), dtype=dtype, device=device)
    propagators = _propagators(configurations, band, dtype, device)
    # Slices, and blocks of them, count backwards from the exit.
    index = np.concatenate([c.count - 1 - c.index for c in configurations])
    behind = int(index.min()) if len(index) else 0
    block, inside = np.divmod(index - behind, slices)
    key = np.concatenate([c.numbers for c in configurations]) - _ELEMENTS * block
    owner = np.repeat(np.arange(count), [len(c.numbers) for c in configurations])
    xy = np.concatenate([c.places for c in configurations]).T / band.field * n
    plane = (slices - 1 - inside) * count + owner
    # All atoms go to the device at once; those of an element in a block are a range of them.
    keys, atoms = np.unique(key, return_counts=True)
    order = torch.argsort(torch.from_numpy(key).to(device), stable=True)
    places, planes = (torch.from_numpy(a).to(device)[..., order].contiguous() for a in (xy, plane))
    ends = np.cumsum(atoms)
    ranges: list[list[tuple[Tensor, int, int]]] = [[] for _ in range(int(block.max()) + 1 if len(block) else 0)]
    for one, begin, end in zip(keys.tolist(), (ends - atoms).tolist(), ends.tolist(), strict=True):
        factor = _factor(band, one % _ELEMENTS, dtype, device)
        ranges[-(one // _ELEMENTS)].append((factor, begin, end))
    exponents = torch.zeros((slices * count, n, n), dtype=dtype, device=device)
    transmissions = torch.zeros((slices, count, n, n), dtype=dtype, device=device)

    def cross(some: Tensor) -> None:
        for transmission in some:
            psi = torch.fft.ifft2(spectrum, norm="forward")
            torch.mul(torch.fft.fft2(psi.mul_(transmission)), propagators, out=spectrum)

    cross_all: Callable[[], None] = functools.partial(cross, transmissions)
    if device.type == "cuda" and len(ranges) >= _BLOCKS:
        cross_all = _recorded(functools.partial(cross, transmissions[:1]), cross_all)
    spectrum.zero_()[:, 0, 0] = 1
    for elements in reversed(ranges):
        _exponents(elements, places, planes, band, exponents)
        torch.exp(torch.fft.ifft2(exponents, norm="forward").view_as(transmissions), out=transmissions)
        cross_all()
    for _ in range(behind):
        spectrum *= propagators * n**2
    return spectrum.mT


def _exponents(
    elements: list[tuple[Tensor, int, int]], places: Tensor, planes: Tensor, band: Band, exponents: Tensor
) -> None:
    """Write the transforms of w(r) of a block's atoms, given as ranges of them with the factor of each element."""
    n, half = band.n, band.half
    back = torch.arange(0, -n, -1, device=places.device)[:, None] % n
    columns = torch.arange(half - 1, 0, -1, device=places.device)
    if not elements:
        exponents.zero_()
    for first, (factor, begin, end) in enumerate(elements):
        spread = deposit.Spread.of(places[:, begin:end], planes[begin:end], n, factor.real.dtype)
        density = spread.density(0, end - begin, len(exponents))
        spectrum = torch.fft.rfft2(density)
        # A density is real: its transform at −q is the conjugate of that at q.
        for part, side in (
            (spectrum[..., :half], slice(half)),
            (spectrum[:, back, columns].conj(), slice(n - half + 1, n)),
        ):
            if first == 0:
                torch.mul(part, factor[:, side], out=exponents[..., side])
            else:
                exponents[..., side].addcmul_(part, factor[:, side])


def _propagators(configurations: Sequence[Slices], band: Band, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return P(q) / n², shape [C or 1, n, n], for the slice thickness of each configuration."""
    kinds, kind = np.unique([c.thickness for c in configurations], return_inverse=True)
    each = band.propagator(torch.from_numpy(kinds).to(device), *_frequencies(band, device)).to(dtype)
    return each if len(kinds) == 1 else each[torch.from_numpy(kind).to(device)]


@functools.lru_cache(maxsize=2)
def _frequencies(band: Band, device: torch.device) -> tuple[Tensor, ...]:
    """Return the soft band and the integer frequencies along each axis."""
    k = frequencies(band.n)
    return tuple(torch.from_numpy(a).to(device) for a in (band.soft(k, k), k, k))


@functools.lru_cache(maxsize=8)
def _factor(band: Band, number: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the transform of w(r) over that of the spread, shape [n, n]."""
    k = frequencies(band.n)
    return torch.from_numpy(band.factor(number, k, k)).to(device, dtype)


def _recorded(first: Callable[[], None], work: Callable[[], None]) -> Callable[[], None]:
    """Return some work on the GPU as a CUDA graph, which the host starts in one call; `first` sets up what the work needs."""
    aside(first)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
