"""Defocus, astigmatism, information limit and dose of one micrograph from its own power spectrum, and what cannot be known."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.limits import information_limit, known_dose, no_rings, signal_limit, turns
from passband.estimation.rings import Candidate, Optics, agreement, candidate_at, defocus_step, search
from passband.estimation.rings_fit import fit, held_out_gain
from passband.estimation.spectrum import Spectrum, Spots, power_spectrum
from passband.micrographs.micrograph import Micrograph

# Log-likelihood by which rings have to explain sectors that were not fitted better than a smooth fall, and standard deviations of noise.
_GAIN, _SIGNIFICANT = 20.0, 7.0
# Log-likelihood within which another minimum is nearly as good.
_NEARLY = 10.0
# Defoci from which fits always start: a ring this wide is no ripple that a search would see [Å].
_WIDE = (30.0, 70.0, 120.0)
# What the film is not known by, as standard deviations: its amplitude contrast, and where within its thickness its middle lies.
_CONTRAST, _MIDDLE = 0.03, 0.08
# Turns of the phase by π that make a ring whole, nearly.
_WHOLE = 0.9
# Share of the ripple that rings have to explain, and less than which widens the interval, by at most so much: a standard deviation
# that covers the errors of simulated images with many particles or a thick film [Å].
_EXPLAINED, _WELL, _UNEXPLAINED = 0.12, 0.7, 30.0
_ON_HEIGHT = (
    "the defocus is that of the middle of the amorphous film, not of the particles on it; a condition's counts from the exit plane behind "
    "them, and is larger by some tens of Å"
)
_EVEN, _ODD = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class Reading:
    """The optics under one sign of the defocus; ± are standard deviations.

    Attributes:
        defocus_angstrom: −C10, of the middle of the amorphous film, positive = underfocus [Å].
        interval_angstrom: of the defocus, 95 % [Å].
        C12: two-fold astigmatism [Å].
        C12_deviation: [Å].
        phi12: [rad].
        phi12_deviation: [rad]; beyond 0.8 the axis is not known.
        cost: −log-likelihood; only its difference to the other sign's has a meaning.
    """

    defocus_angstrom: float
    interval_angstrom: tuple[float, float]
    C12: float
    C12_deviation: float
    phi12: float
    phi12_deviation: float
    cost: float


@dataclass(frozen=True)
class Estimate:
    """What one image says of the microscope; None is what it does not say.

    Attributes:
        name: of the micrograph.
        energy_ev: of the electrons [eV].
        pixel_size_angstrom: of the image [Å].
        C30: as assumed [Å].
        underfocus: the optics if the image is underfocused; None without Thon rings.
        overfocus: the optics if it is overfocused.
        sign: which of the two, where C30 tells them apart; else None.
        below_angstrom: without rings, what |defocus| is then below [Å].
        focal_spread_angstrom: what damps the rings, as a focal spread, with its 95 % interval [Å].
        thickness_angstrom: of the film, from how its rings fade, with its 95 % interval [Å].
        information_limit_per_angstrom: highest frequency at which rings are seen above the noise [1/Å].
        dose_per_angstrom2: if known [e/Å²].
        spots: of crystals, left out.
        masked: share of the spectrum that they take.
        quality: correlation of the rings with the transfer in directions that were not fitted, −1 to 1.
        method: fit or search, whichever explained those directions better.
        alternatives: other |defocus| that explain the rings nearly as well [Å].
        notes: in sentences.
    """

    name: str
    energy_ev: float
    pixel_size_angstrom: float
    C30: float
    information_limit_per_angstrom: float | None
    dose_per_angstrom2: float | None
    spots: tuple[Spots, ...]
    masked: float
    quality: float
    method: str
    notes: tuple[str, ...]
    underfocus: Reading | None = None
    overfocus: Reading | None = None
    sign: str | None = None
    below_angstrom: float | None = None
    focal_spread_angstrom: tuple[float, float, float] | None = None
    thickness_angstrom: tuple[float, float, float] | None = None
    alternatives: tuple[float, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there are Thon rings."""
        return self.underfocus is not None

    @property
    def defocus_angstrom(self) -> float | None:
        """|defocus|, the mean of both signs' where neither is known [Å]."""
        if self.underfocus is None or self.overfocus is None:
            return None
        if self.sign is not None:
            return abs((self.underfocus if self.sign == "underfocus" else self.overfocus).defocus_angstrom)
        return (self.underfocus.defocus_angstrom - self.overfocus.defocus_angstrom) / 2

    @property
    def interval_angstrom(self) -> tuple[float, float] | None:
        """95 % interval of |defocus|, which holds for either sign where neither is known [Å]."""
        if self.underfocus is None or self.overfocus is None:
            return None
        (low, high), (a, b) = self.underfocus.interval_angstrom, self.overfocus.interval_angstrom
        lows, highs = {"underfocus": ([low], [high]), "overfocus": ([-b], [-a])}.get(
            self.sign or "", ([low, -b], [high, -a])
        )
        return max(min(lows), 0.0), max(highs)

    def of_either_sign(self) -> "Estimate":
        """Return the estimate without what an assumed C30 tells of the sign."""
        return (
            self if self.sign is None else replace(self, sign=None, notes=(*_on_sign(None, self.C30), *self.notes[1:]))
        )

    def condition(self, sign: str | None = None) -> Condition:
        """Return the imaging condition under one sign of the defocus.

        Args:
            sign: underfocus or overfocus; None is the one that C30 has told.

        Raises:
            BadInputError: if there are no rings, or no sign is given where none is known.
        """
        sign = sign or self.sign
        if self.underfocus is None or self.overfocus is None or self.focal_spread_angstrom is None:
            raise BadInputError(f"{self.name}: no Thon rings were found, so there is no condition to give")
        if sign not in ("underfocus", "overfocus"):
            raise BadInputError(
                f"{self.name}: the image does not tell underfocus from overfocus ({sign!r} is neither); say which"
            )
        reading = self.underfocus if sign == "underfocus" else self.overfocus
        return Condition(
            energy_ev=self.energy_ev,
            aberrations={
                "C10": -reading.defocus_angstrom,
                "C12": reading.C12,
                "phi12": reading.phi12,
                "C30": self.C30,
            },
            focal_spread_angstrom=self.focal_spread_angstrom[0],
            pixel_size_angstrom=self.pixel_size_angstrom,
            dose_per_angstrom2=self.dose_per_angstrom2,
        )


def estimate(
    micrograph: Micrograph,
    *,
    energy_ev: float | None = None,
    C30: float = 0.0,
    focal_spread_angstrom: float | None = None,
    defocus_range_angstrom: tuple[float, float] = (0.0, 2200.0),
    astigmatism_limit_angstrom: float = 200.0,
    band_per_angstrom: tuple[float, float] | None = None,
    amplitude_contrast: float = 0.05,
    counts_per_electron: float | None = None,
) -> Estimate:
    """Return what the power spectrum of a micrograph says of defocus, astigmatism, information limit and dose.

    Args:
        micrograph: the image.
        energy_ev: if the micrograph does not say it, or says it wrongly [eV].
        C30: spherical aberration [Å]; near 0 in a corrected microscope.
        focal_spread_angstrom: if known, as a standard deviation [Å].
        defocus_range_angstrom: |defocus| to look at [Å].
        astigmatism_limit_angstrom: greatest C12 to look at [Å].
        band_per_angstrom: spatial frequencies to look at [1/Å]; by default from 0.1 to 1.2 or 0.94 of the camera's limit.
        amplitude_contrast: of the film; 0.05 fits simulated amorphous carbon best.
        counts_per_electron: gain of the camera, if known, for the dose.

    Raises:
        BadInputError: if the energy is not known, or a range is empty.
    """
    energy = energy_ev or micrograph.energy_ev
    if energy is None:
        raise BadInputError(
            f"{micrograph.name}: does not say the electrons' energy; give it with --energy, such as 300000"
        )
    low, high = defocus_range_angstrom
    if not 0 <= low < high:
        raise BadInputError(f"defocus_range_angstrom {low:g} to {high:g} is empty; give the smaller |defocus| first")
    band = band_per_angstrom or (0.1, min(0.47 / micrograph.pixel_size_angstrom, 1.2))
    count = int(np.clip(4 * wavelength(energy) * high * band[1] ** 2, 120, 400))
    spectrum = power_spectrum(micrograph, band_per_angstrom=band, rings=count, sectors=12)
    optics = Optics(energy, C30, amplitude_contrast, focal_spread_angstrom, astigmatism_limit_angstrom)
    defoci = np.arange(max(low, 8.0), high, defocus_step(energy, min(band[1], 0.9)))
    with _one_thread():
        return _estimated(micrograph, spectrum, optics, defoci, counts_per_electron)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch work in one thread: these fits are small, and on a busy machine several wait for each other for many times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _estimated(
    micrograph: Micrograph, spectrum: Spectrum, optics: Optics, defoci: np.ndarray, counts_per_electron: float | None
) -> Estimate:
    quality, deviations, explained, gain, method = _judge(spectrum, optics, defoci)
    starts = _starts(spectrum, optics, defoci, slice(None))
    fits = fit(spectrum, optics, starts)
    best = fits[0]
    if method == "search":
        best = fit(spectrum, optics, starts[:1], frozen=True)[0]
    limit = information_limit(spectrum, optics, best)
    whole = limit is not None and turns(best, optics, limit) > _WHOLE
    rings = whole and gain > _GAIN and deviations > _SIGNIFICANT and explained > _EXPLAINED
    dose, on_dose = known_dose(micrograph, spectrum, counts_per_electron)
    if rings:
        findings = _readings(spectrum, optics, best, fits, method, _UNEXPLAINED * max(0.0, 1 - explained / _WELL))
        notes = [*_on_sign(findings["sign"], optics.C30), _ON_HEIGHT]
    else:
        below, words = no_rings(optics, fits, signal_limit(spectrum))
        findings, notes = {"below_angstrom": below}, [words]
    if spectrum.spots:
        count = sum(s.count for s in spectrum.spots)
        notes.append(f"{count} crystal spots were left out, {spectrum.masked:.1%} of the spectrum")
    if rings and explained < _WELL:
        notes.append(
            f"the rings explain only {explained:.0%} of how the power ripples: particles at another height or a thick film may pull the "
            "defocus, and the interval is wider for it"
        )
    return Estimate(
        name=micrograph.name,
        energy_ev=optics.energy_ev,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        C30=optics.C30,
        information_limit_per_angstrom=limit if rings else None,
        dose_per_angstrom2=dose,
        spots=spectrum.spots,
        masked=spectrum.masked,
        quality=quality,
        method=method,
        notes=(*notes, on_dose),
        **findings,
    )


def _starts(spectrum: Spectrum, optics: Optics, defoci: np.ndarray, sectors: slice) -> list[Candidate]:
    """Return where fits begin: peaks of the search, of both signs where C30 tells them apart, the highest first, and wide rings."""
    peaks = search(spectrum, optics, defoci, sectors)
    if _asymmetric(optics, spectrum.q[-1]):
        peaks += search(spectrum, optics, -defoci[::-1], sectors)
    return sorted(peaks, key=lambda c: c.cost) + [candidate_at(-d) for d in _WIDE]


def _asymmetric(optics: Optics, q: float) -> bool:
    """Whether C30 turns the phase enough for the signs of the defocus to differ."""
    return bool(math.pi / 2 * wavelength(optics.energy_ev) ** 3 * q**4 * abs(optics.C30) > 0.5)


def _judge(spectrum: Spectrum, optics: Optics, defoci: np.ndarray) -> tuple[float, float, float, float, str]:
    """Return correlation, its significance, the share explained, the gain in log-likelihood and the better method, where not fitted.

    Every other sector is fitted and the rest judged, and the other way round.
    """
    gains = dict.fromkeys(("fit", "search"), 0.0)
    agreements: dict[str, list[tuple[float, float, float]]] = {"fit": [], "search": []}
    for own, others in ((_EVEN, _ODD), (_ODD, _EVEN)):
        starts = _starts(spectrum, optics, defoci, own)
        found = {
            "fit": fit(spectrum, optics, starts, own)[0],
            "search": fit(spectrum, optics, starts[:1], own, frozen=True)[0],
        }
        for method, candidate in found.items():
            gains[method] += held_out_gain(spectrum, optics, candidate, own, others)
            agreements[method].append(agreement(spectrum, candidate, optics, others))
    # The search knows no focal spread, thickness or fine astigmatism: it has to be clearly better.
    method = "search" if gains["search"] > gains["fit"] + _NEARLY + 0.02 * abs(gains["fit"]) else "fit"
    correlation, deviations, explained = np.mean(agreements[method], 0)
    return float(correlation), math.sqrt(2) * float(deviations), float(explained), gains[method], method


def _readings(
    spectrum: Spectrum, optics: Optics, best: Candidate, fits: list[Candidate], method: str, unexplained: float
) -> dict[str, Any]:
    """Return both signs, which of them, what else fits, focal spread and thickness."""
    mirrored = replace(best, C10=-best.C10, phi12=best.phi12 + math.pi / 2)
    starts = [mirrored, *(f for f in fits if f.C10 * best.C10 < 0)]
    other = (
        fit(spectrum, optics, starts[:1], frozen=True)[0] if method == "search" else fit(spectrum, optics, starts)[0]
    )
    if other.C10 * best.C10 > 0:
        other = fit(spectrum, optics, [mirrored], frozen=True)[0]
    under, over = sorted((best, other), key=lambda c: c.C10)
    sign = None
    if _asymmetric(optics, 0.7 * spectrum.q[-1]) and abs(under.cost - over.cost) > 2 * _NEARLY:
        sign = "underfocus" if under.cost < over.cost else "overfocus"
    covariance = _covariance(best)
    near = [f for f in fits if f.cost < best.cost + _NEARLY and abs(abs(f.C10) - abs(best.C10)) > 15]
    step = math.hypot(defocus_step(optics.energy_ev, 0.7) if method == "search" else 0.0, unexplained)
    limit = information_limit(spectrum, optics, best) or spectrum.q[-1]
    return {
        "underfocus": _reading(under, optics, step, limit),
        "overfocus": _reading(over, optics, step, limit),
        "sign": sign,
        "alternatives": tuple(round(abs(f.C10), 1) for f in near),
        "focal_spread_angstrom": _log_interval(best.focal_spread_angstrom, covariance[3, 3]),
        "thickness_angstrom": _log_interval(best.thickness_angstrom, covariance[4, 4]),
    }


def _reading(candidate: Candidate, optics: Optics, step: float, limit: float) -> Reading:
    """Return a candidate with its uncertainty, what the film is not known by included."""
    covariance = _covariance(candidate)
    contrast = _CONTRAST / (math.pi * wavelength(optics.energy_ev) * (0.7 * limit) ** 2)
    middle = _MIDDLE * candidate.thickness_angstrom
    deviation = math.sqrt(covariance[0, 0] + contrast**2 + middle**2 + step**2)
    across = math.sqrt((covariance[1, 1] + covariance[2, 2]) / 2 + step**2)
    return Reading(
        defocus_angstrom=-candidate.C10,
        interval_angstrom=(-candidate.C10 - 1.96 * deviation, -candidate.C10 + 1.96 * deviation),
        C12=candidate.C12,
        C12_deviation=across,
        phi12=candidate.phi12,
        phi12_deviation=min(across / (2 * max(candidate.C12, 1e-3)), math.pi / 2),
        cost=candidate.cost,
    )


def _covariance(candidate: Candidate) -> np.ndarray:
    if candidate.covariance is None:
        raise ValueError("this candidate comes from the search; fit it first")
    return candidate.covariance


def _log_interval(value: float, variance: float) -> tuple[float, float, float]:
    factor = math.exp(1.96 * math.sqrt(variance))
    return value, value / factor, value * factor


def _on_sign(sign: object, C30: float) -> list[str]:
    if sign is None:
        return [
            "one image does not tell underfocus from overfocus: both are given, and C12 turns by a quarter turn between them"
        ]
    return [f"it is {sign}, because of the assumed C30 of {C30:g} Å"]
