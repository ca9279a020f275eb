"""How far an image has information, what it says without rings, and what it says of its dose."""

import math

import numpy as np

from passband.base.electron import wavelength
from passband.estimation.rings import Candidate, Optics
from passband.estimation.rings_fit import model
from passband.estimation.spectrum import Spectrum
from passband.micrographs.micrograph import Micrograph

# Rings in a window for the information limit, and standard deviations that count.
_WINDOW, _SEEN = 10, 4.0
# Departure of the noise from that of counted electrons that is still taken for it.
_COUNTED = 0.15
# Log-likelihood by which small defoci have to be better than large ones to say that it is small.
_NEARER = 5.0


def turns(candidate: Candidate, optics: Optics, q: float) -> float:
    """Return |χ| / π at a frequency: from 1 on there is a whole ring."""
    lam = wavelength(optics.energy_ev)
    chi = math.pi * lam * q**2 * (candidate.C10 + 0.5 * lam**2 * q**2 * optics.C30)
    lowest = -candidate.C10 / (lam**2 * optics.C30) if optics.C30 else -1.0
    # Where C30 turns the phase back, its extreme counts.
    inner = math.pi * lam * lowest * candidate.C10 / 2 if 0 < lowest < q**2 else 0.0
    return max(abs(chi), abs(inner), abs(chi - inner)) / math.pi


def information_limit(spectrum: Spectrum, optics: Optics, candidate: Candidate) -> float | None:
    """Return the highest frequency around which the rings of a fit stand out of the noise [1/Å]."""
    mean, wave = model(spectrum, optics, candidate)
    weight = spectrum.count / mean**2
    overlap = (weight * (np.nan_to_num(spectrum.power) - (mean - wave)) * wave).sum(1)
    norm = (weight * wave**2).sum(1)
    window = np.ones(_WINDOW)
    z = np.convolve(overlap, window, "same") / np.sqrt(np.maximum(np.convolve(norm, window, "same"), 1e-12))
    seen = np.flatnonzero(z > _SEEN)
    return round(float(spectrum.q[seen[-1]]), 3) if len(seen) else None


def signal_limit(spectrum: Spectrum) -> float | None:
    """Return the highest frequency at which the power is above that beyond the band [1/Å]."""
    window = np.ones(_WINDOW)
    count = np.convolve(spectrum.count.sum(1), window, "same")
    mean = np.convolve(np.nansum(spectrum.power * spectrum.count, 1), window, "same") / count
    seen = np.flatnonzero((mean / spectrum.noise - 1) * np.sqrt(count) > _SEEN)
    return float(spectrum.q[seen[-1]]) if len(seen) else None


def no_rings(optics: Optics, fits: list[Candidate], signal: float | None) -> tuple[float | None, str]:
    """Return what |defocus| is below, if that can be said, and the words for it."""
    if signal is None:
        return None, "no Thon rings found: nothing stands out of the noise, so the defocus cannot be known"
    below = 2 / (wavelength(optics.energy_ev) * signal**2)
    near = [f.cost for f in fits if abs(f.C10) <= below]
    far = [f.cost for f in fits if abs(f.C10) > below]
    if not near or (far and min(far) < min(near) + _NEARER):
        return None, (
            f"no Thon rings found, although the image has signal up to {signal:.2f} 1/Å: the film may be too thick, hidden by "
            "particles or absent, or the rings finer than the image resolves; the defocus cannot be known"
        )
    return below, (
        f"no Thon rings found, although the image has signal up to {signal:.2f} 1/Å: if a thin amorphous film is in view, |defocus| "
        f"is below {below:.0f} Å, where no ring is complete"
    )


def known_dose(micrograph: Micrograph, spectrum: Spectrum, gain: float | None) -> tuple[float | None, str]:
    """Return the dose [e/Å²] and where it comes from."""
    area = micrograph.pixel_size_angstrom**2
    if gain is not None:
        return spectrum.mean / (gain * area), f"the dose follows from {gain:g} counts per electron"
    if micrograph.dose_per_angstrom2 is not None:
        return micrograph.dose_per_angstrom2, "the dose is as given with the image"
    sample = micrograph.intensity[::7, ::7]
    counted = spectrum.mean > 0 and abs(spectrum.noise / spectrum.mean - 1) < _COUNTED
    if counted and sample.min() >= 0 and bool((sample == np.round(sample)).all()):
        return spectrum.mean / area, "the dose follows from the counts, whose noise is that of single electrons"
    return None, "the dose is unknown: the values are no electron counts; give the camera's counts per electron"
