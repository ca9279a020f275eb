"""The information limit, bounds on the defocus of images without rings, and the dose."""

import math

import numpy as np
from scipy.ndimage import convolve1d

from passband.base.electron import wavelength
from passband.estimation.rings import Candidate, FitSettings, model
from passband.estimation.spectrum import Spectrum
from passband.micrographs.micrograph import Micrograph

# Rings in a window of the information limit, and the significance [σ of noise] that counts as visible.
_WINDOW, _VISIBLE = 10, 4.0
# Largest relative difference between the noise and that of counted electrons.
_COUNTED = 0.15
# Gain in log-likelihood of small defoci over large ones that bounds the defocus.
_SMALLER = 5.0


def turns(candidate: Candidate, settings: FitSettings, q: float) -> float:
    """Return |χ| / π at a frequency; a whole ring needs 1."""
    lam = wavelength(settings.energy_ev)
    chi = math.pi * lam * q**2 * (candidate.C10 + 0.5 * lam**2 * q**2 * settings.C30)
    lowest = -candidate.C10 / (lam**2 * settings.C30) if settings.C30 else -1.0
    # C30 may reverse the phase: its extreme counts.
    inner = math.pi * lam * lowest * candidate.C10 / 2 if 0 < lowest < q**2 else 0.0
    return max(abs(chi), abs(inner), abs(chi - inner)) / math.pi


def information_limit(spectrum: Spectrum, settings: FitSettings, candidate: Candidate) -> float | None:
    """Return the highest frequency at which the rings of a fit exceed the noise [1/Å]."""
    mean, wave = model(spectrum, settings, candidate)
    weight = spectrum.count / mean**2
    overlap = (weight * (np.nan_to_num(spectrum.power) - (mean - wave)) * wave).sum(1)
    norm = (weight * wave**2).sum(1)
    window = np.ones(_WINDOW)
    z = np.convolve(overlap, window, "same") / np.sqrt(np.maximum(np.convolve(norm, window, "same"), 1e-12))
    seen = np.flatnonzero(z > _VISIBLE)
    return round(float(spectrum.q[seen[-1]]), 3) if len(seen) else None


def signal_limit(spectrum: Spectrum) -> float | None:
    """Return the highest frequency at which the film's power exceeds that beyond the band [1/Å].

    The film scatters alike in all directions, a lattice in a few: the median over the sectors is the film's.
    """
    window = np.ones(_WINDOW)
    count = convolve1d(spectrum.count, window, 0, mode="constant")
    power = convolve1d(np.nan_to_num(spectrum.power) * spectrum.count, window, 0, mode="constant")
    film = np.median(power / np.maximum(count, 1e-9), 1)
    seen = np.flatnonzero((film / spectrum.noise - 1) * np.sqrt(count.sum(1) / (math.pi / 2)) > _VISIBLE)
    return float(spectrum.q[seen[-1]]) if len(seen) else None


def no_rings(settings: FitSettings, fits: list[Candidate], signal: float | None) -> tuple[float | None, str]:
    """Return about how large |defocus| can be in an image without rings [Å], or None, and a note on it."""
    if signal is None:
        return None, "no Thon rings found: the film's power nowhere exceeds the noise, so the defocus is unknown"
    lam = wavelength(settings.energy_ev)
    below = 2 / (lam * signal**2) + 0.5 * lam**2 * signal**2 * abs(settings.C30)
    near = [f.cost for f in fits if abs(f.C10) <= below]
    far = [f.cost for f in fits if abs(f.C10) > below]
    found = f"no Thon rings found, although the film has signal up to {signal:.2f} 1/Å"
    if not near or (far and min(far) < min(near) + _SMALLER):
        film = "the film may be too thick, hidden by particles or absent"
        return None, f"{found}: {film}, or the rings may be finer than the image resolves; the defocus is unknown"
    # A film of thickness t damps rings by sinc(λ q² t / 2): at half the bound, the first one keeps 64 %.
    film = f"if an amorphous film thinner than {below / 2:.0f} Å is in view"
    bound = f"{film}, |defocus| is below about {below:.0f} Å, where no ring is complete"
    return below, f"{found}: {bound}; astigmatism C12 and a C30 other than {settings.C30:g} Å are ignored"


def known_dose(micrograph: Micrograph, spectrum: Spectrum, gain: float | None) -> tuple[float | None, str]:
    """Return the dose [e/Å²], or None, and a note on its origin."""
    area = micrograph.pixel_size_angstrom**2
    if gain is not None:
        mean = micrograph.offset + micrograph.gain * spectrum.mean
        if mean <= 0:
            return None, f"the dose is unknown: the mean of the values, {mean:.4g}, is no number of counts"
        return mean / (gain * area), f"the dose follows from {gain:g} counts per electron"
    if micrograph.dose_per_angstrom2 is not None:
        return micrograph.dose_per_angstrom2, "the dose is that of the image's metadata or as given"
    sample = micrograph.intensity[::7, ::7]
    counted = spectrum.mean > 0 and abs(spectrum.noise / spectrum.mean - 1) < _COUNTED and micrograph.gain == 1
    if counted and sample.min() >= 0 and bool((sample == np.round(sample)).all()):
        return spectrum.mean / area, "the dose follows from the counts, whose noise is that of counted electrons"
    return (
        None,
        "the dose is unknown: the values are not electron counts; give the dose [e/Å²], or the camera's counts per electron",
    )
