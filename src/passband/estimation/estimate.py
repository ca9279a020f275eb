"""Defocus, astigmatism, information limit and dose of one micrograph from its power spectrum, with what remains unknown."""

import html
import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from passband.base.electron import wavelength
from passband.base.errors import BadInputError, parameter
from passband.conditions import Condition
from passband.estimation.limits import information_limit, known_dose, no_rings, signal_limit, turns
from passband.estimation.rings import (
    Candidate,
    FitSettings,
    agreement,
    candidate_at,
    defocus_step,
    fit,
    held_out_gain,
    model,
    search,
)
from passband.estimation.spectrum import Spectrum, Spots, power_spectrum
from passband.execution.base import one_thread
from passband.micrographs.micrograph import Micrograph

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Largest spherical aberration, 10 mm [Å].
_LARGEST_C30 = 1e8
# Least gain in log-likelihood over a smooth background on sectors that were not fitted, and its least significance [σ of noise].
_GAIN, _SIGNIFICANT = 20.0, 7.0
# Difference of log-likelihood within which another minimum is an alternative.
_NEARLY = 10.0
# Defoci that fits always start from: the search misses rings this wide [Å].
_WIDE = (30.0, 70.0, 120.0)
# Standard deviations of the film's amplitude contrast, and of the position of its middle as a share of its thickness.
_CONTRAST, _MIDDLE = 0.03, 0.08
# Least phase of the outermost visible ring, in units of π.
_WHOLE = 0.9
# Least share of the ripple that rings must explain; the share below which the interval widens; and by how much at most: a standard
# deviation that covers the errors of simulated images with many particles or a thick film [Å].
_EXPLAINED, _WELL, _UNEXPLAINED = 0.12, 0.7, 30.0
_ON_HEIGHT = (
    "the defocus refers to the middle of the amorphous film, not to the particles on it; the defocus of a condition refers to the exit "
    "plane behind them, and is larger by some tens of Å"
)
_EVEN, _ODD = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class Reading:
    """The optics under one sign of the defocus; deviations are standard deviations."""

    defocus_angstrom: float  #: −C10, of the middle of the amorphous film, positive = underfocus [Å]
    interval_angstrom: tuple[float, float]  #: of the defocus, 95 % [Å]
    C12: float  #: two-fold astigmatism [Å]
    C12_deviation: float  #: [Å]
    phi12: float  #: [rad]
    phi12_deviation: float  #: [rad]; above 0.8 the axis is unknown
    cost: float  #: −log-likelihood; only its difference to that of the other sign has a meaning

    def __str__(self) -> str:
        low, high = self.interval_angstrom
        known = self.phi12_deviation < 0.8
        axis = f" along {self.phi12:+.2f} ± {2 * self.phi12_deviation:.2f} rad" if known else ", axis unknown"
        return (
            f"defocus {self.defocus_angstrom:+.0f} Å (95 %: {low:+.0f} to {high:+.0f}), "
            f"C12 {self.C12:.0f} ± {2 * self.C12_deviation:.0f} Å{axis}"
        )


@dataclass(frozen=True)
class Estimate:
    """The optics that one image shows; None is what it does not show.

    `print` gives sentences, `to_dict` plain data, `plot` the spectrum with the fitted rings.

    Attributes:
        name: of the micrograph.
        energy_ev: of the electrons [eV].
        pixel_size_angstrom: of the image [Å].
        C30: as assumed [Å].
        underfocus: the optics if the image is underfocused; None without Thon rings.
        overfocus: the optics if it is overfocused.
        sign: underfocus or overfocus, where C30 distinguishes them; else None.
        below_angstrom: without rings, an upper bound of |defocus| [Å] if the film is thinner than half of it.
        focal_spread_angstrom: that damps the rings, with its 95 % interval [Å].
        thickness_angstrom: of the film, from how its rings fade, with its 95 % interval [Å].
        information_limit_per_angstrom: highest frequency at which rings exceed the noise [1/Å].
        dose_per_angstrom2: if known [e/Å²].
        spots: of crystals, excluded from the fit.
        masked: share of the spectrum that they cover.
        quality: correlation of the rings with the transfer in directions that were not fitted, −1 to 1.
        method: fit or search, whichever explained those directions better.
        alternatives: other |defocus| that explain the rings nearly as well [Å].
        notes: in sentences.
        profile: rotational averages: q_per_angstrom, power, and with rings fit and background; None if not kept.
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
    profile: pl.DataFrame | None = field(default=None, repr=False, compare=False)

    @property
    def has_rings(self) -> bool:
        """Whether there are Thon rings."""
        return self.underfocus is not None

    @property
    def _sizes(self) -> list[tuple[float, ...]]:
        """|defocus| and its interval under each possible sign [Å]."""
        both = (("underfocus", self.underfocus, 1), ("overfocus", self.overfocus, -1))
        return [
            (sign * reading.defocus_angstrom, *sorted(sign * end for end in reading.interval_angstrom))
            for name, reading, sign in both
            if reading is not None and self.sign in (None, name)
        ]

    @property
    def defocus_angstrom(self) -> float | None:
        """|defocus|; the mean of both signs' if the sign is unknown [Å]."""
        sizes = self._sizes
        return sum(size for size, *_ in sizes) / len(sizes) if sizes else None

    @property
    def interval_angstrom(self) -> tuple[float, float] | None:
        """95 % interval of |defocus|; it covers both signs if the sign is unknown [Å]."""
        sizes = self._sizes
        return (max(min(size[1] for size in sizes), 0.0), max(size[2] for size in sizes)) if sizes else None

    def of_either_sign(self) -> "Estimate":
        """Return the estimate without the sign that follows from an assumed C30."""
        notes = (_on_sign(None, self.C30), *self.notes[1:])
        return self if self.sign is None else replace(self, sign=None, notes=notes)

    def condition(self, sign: str | None = None) -> Condition:
        """Return the imaging condition under one sign of the defocus.

        Args:
            sign: underfocus or overfocus; by default the one that follows from C30.

        Raises:
            BadInputError: if there are no rings, or the sign is unknown and not given.
        """
        sign = sign or self.sign
        if self.underfocus is None or self.overfocus is None or self.focal_spread_angstrom is None:
            raise BadInputError("has no Thon rings, so its condition is unknown", place=self.name)
        if sign not in ("underfocus", "overfocus"):
            what = f"the image does not tell underfocus from overfocus ({sign!r} is neither)"
            limit, remedy = ("underfocus", "overfocus"), f"give {parameter('sign')}"
            raise BadInputError(what, value=sign, limit=limit, remedy=remedy, place=self.name)
        reading = self.underfocus if sign == "underfocus" else self.overfocus
        optics = {"C10": -reading.defocus_angstrom, "C12": reading.C12, "phi12": reading.phi12, "C30": self.C30}
        return Condition(
            energy_ev=self.energy_ev,
            aberrations=optics,
            focal_spread_angstrom=self.focal_spread_angstrom[0],
            pixel_size_angstrom=self.pixel_size_angstrom,
            dose_per_angstrom2=self.dose_per_angstrom2,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, with |defocus| and its interval, without the profile."""
        content = asdict(replace(self, profile=None))
        del content["profile"]
        interval = self.interval_angstrom
        return content | {"defocus_angstrom": self.defocus_angstrom, "interval_angstrom": interval and list(interval)}

    @property
    def sentences(self) -> list[str]:
        """The estimate in sentences; both signs of the defocus where the sign is unknown."""
        lines: list[str] = []
        if self.underfocus is not None and self.overfocus is not None:
            readings = {"underfocus": self.underfocus, "overfocus": self.overfocus}
            if self.sign is None:
                lines.append("the image does not tell underfocus from overfocus; one of these is true:")
            lines += [f"{name}: {reading}" for name, reading in readings.items() if self.sign in (None, name)]
            fitted = f"correlation of the rings {self.quality:.2f} in directions that were not fitted ({self.method})"
            lines.append(f"assuming C30 {self.C30:g} Å; {fitted}")
            if self.alternatives:
                lines.append(f"nearly as good: |defocus| {', '.join(f'{a:.0f}' for a in self.alternatives)} Å")
            if self.focal_spread_angstrom is not None:
                value, low, high = self.focal_spread_angstrom
                lines.append(f"damped like a focal spread of {value:.0f} Å (95 %: {low:.0f} to {high:.0f})")
        if self.information_limit_per_angstrom is not None:
            q = self.information_limit_per_angstrom
            lines.append(f"rings are visible up to {q:.2f} 1/Å ({1 / q:.2f} Å)")
        if self.dose_per_angstrom2 is not None:
            lines.append(f"dose {self.dose_per_angstrom2:.0f} e/Å²")
        return [*lines, *self.notes]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in self.sentences) + "</ul>"

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the rotationally averaged power spectrum with the fitted rings into axes, or into new ones, and return them."""
        from passband.figures import style, thon_rings

        if self.profile is None:
            raise BadInputError("this estimate was made without its spectrum; estimate again", place=self.name)
        if ax is None:
            with style.shown(5.2, 3.4) as figure:
                ax = figure.subplots()
        thon_rings.draw(self.profile, ax, self.information_limit_per_angstrom)
        ax.set_title(self.name if self.defocus_angstrom is None else f"|defocus| {self.defocus_angstrom:.0f} Å")
        return ax


def estimate(
    micrograph: Micrograph,
    *,
    energy_ev: float | None = None,
    C30: float = 0.0,
    defocus_range_angstrom: tuple[float, float] = (0.0, 2200.0),
    counts_per_electron: float | None = None,
) -> Estimate:
    """Estimate defocus, astigmatism, information limit and dose of a micrograph from its power spectrum.

    It uses spatial frequencies from 0.1 to 1.2 1/Å, at most 0.94 of the Nyquist frequency.

    Args:
        micrograph: the image.
        energy_ev: of the electrons; by default that of the micrograph [eV].
        C30: spherical aberration [Å]; near 0 in a corrected microscope.
        defocus_range_angstrom: range of |defocus| to search [Å].
        counts_per_electron: gain of the camera, if known, for the dose.

    Raises:
        BadInputError: if the image was recorded by scanning, the energy is unknown, C30 is no such length, or a range is empty.
    """
    if micrograph.scanned:
        what = "was recorded by scanning (STEM or SEM); its spectrum has no Thon rings to estimate a defocus from"
        raise BadInputError(what, remedy="give an HRTEM image", place=micrograph.name)
    energy = energy_ev or micrograph.energy_ev
    if energy is None:
        remedy = f"give {parameter('energy_ev')}, such as 300000"
        raise BadInputError("has no electron energy in its metadata", remedy=remedy, place=micrograph.name)
    low, high = defocus_range_angstrom
    if not 0 <= low < high:
        what = f"{parameter('defocus_range_angstrom')} {low:g} to {high:g} is empty"
        raise BadInputError(what, value=defocus_range_angstrom, remedy="give the smaller |defocus| first")
    if not abs(C30) <= _LARGEST_C30:
        what = f"{parameter('C30')} {C30:g} Å is outside ±{_LARGEST_C30:g} Å"
        raise BadInputError(what, value=C30, limit=_LARGEST_C30, remedy="give the spherical aberration in Å")
    band = (0.1, min(0.47 / micrograph.pixel_size_angstrom, 1.2))
    count = int(np.clip(4 * wavelength(energy) * high * band[1] ** 2, 120, 400))
    spectrum = power_spectrum(micrograph, band_per_angstrom=band, rings=count, sectors=12)
    defoci = np.arange(max(low, 8.0), high, defocus_step(energy, min(band[1], 0.9)))
    return _estimated(micrograph, spectrum, FitSettings(energy, C30), defoci, counts_per_electron)


@one_thread()  # In fits this small several threads mostly wait for each other.
def _estimated(
    micrograph: Micrograph, spectrum: Spectrum, settings: FitSettings, defoci: np.ndarray, counts: float | None
) -> Estimate:
    quality, deviations, explained, gain, method = _judge(spectrum, settings, defoci)
    starts = _starts(spectrum, settings, defoci, slice(None))
    fits = fit(spectrum, settings, starts)
    best = fit(spectrum, settings, starts[:1], frozen=True)[0] if method == "search" else fits[0]
    limit = information_limit(spectrum, settings, best)
    whole = limit is not None and turns(best, settings, limit) > _WHOLE
    rings = whole and gain > _GAIN and deviations > _SIGNIFICANT and explained > _EXPLAINED
    dose, on_dose = known_dose(micrograph, spectrum, counts)
    if rings:
        results = _readings(spectrum, settings, best, fits, method, _UNEXPLAINED * max(0.0, 1 - explained / _WELL))
        notes = [_on_sign(results["sign"], settings.C30), _ON_HEIGHT]
    else:
        below, note = no_rings(settings, fits, signal_limit(spectrum))
        results, notes = {"below_angstrom": below}, [note]
    if spectrum.spots:
        count = sum(s.count for s in spectrum.spots)
        notes.append(f"excluded {count} crystal spot{'s' * (count != 1)}, {spectrum.masked:.1%} of the spectrum")
    if rings and explained < _WELL:
        notes.append(
            f"the rings explain only {explained:.0%} of the ripple of the power: particles at another height or a thick film may bias the "
            "defocus, so the interval is wider"
        )
    return Estimate(
        name=micrograph.name,
        energy_ev=settings.energy_ev,
        pixel_size_angstrom=micrograph.pixel_size_angstrom,
        C30=settings.C30,
        information_limit_per_angstrom=limit if rings else None,
        dose_per_angstrom2=dose,
        spots=spectrum.spots,
        masked=spectrum.masked,
        quality=quality,
        method=method,
        notes=(*notes, on_dose),
        profile=_profile(spectrum, settings, best if rings else None),
        **results,
    )


def _profile(spectrum: Spectrum, settings: FitSettings, best: Candidate | None) -> pl.DataFrame:
    """Return rotational averages of the power and, with a fit, of its model and of the model without rings."""
    columns = {"power": spectrum.power}
    if best is not None:
        mean, wave = model(spectrum, settings, best)
        columns |= {"fit": mean, "background": mean - wave}
    weight = spectrum.count.sum(1)
    # A ring without pixels, as small images have near their centre, has no average: NaN.
    with np.errstate(invalid="ignore"):
        averages = {name: np.nansum(values * spectrum.count, 1) / weight for name, values in columns.items()}
    return pl.DataFrame({"q_per_angstrom": spectrum.q, **averages})


def _starts(spectrum: Spectrum, settings: FitSettings, defoci: np.ndarray, sectors: slice) -> list[Candidate]:
    """Return the starts of fits: peaks of the search, best first, of both signs where C30 distinguishes them, then wide rings."""
    peaks = search(spectrum, settings, defoci, sectors)
    if _asymmetric(settings, spectrum.q[-1]):
        peaks += search(spectrum, settings, -defoci[::-1], sectors)
    return sorted(peaks, key=lambda c: c.cost) + [candidate_at(-d) for d in _WIDE]


def _asymmetric(settings: FitSettings, q: float) -> bool:
    """Whether C30 shifts the phase enough to distinguish the signs of the defocus."""
    return bool(math.pi / 2 * wavelength(settings.energy_ev) ** 3 * q**4 * abs(settings.C30) > 0.5)


def _judge(spectrum: Spectrum, settings: FitSettings, defoci: np.ndarray) -> tuple[float, float, float, float, str]:
    """Return correlation, significance, explained share, gain in log-likelihood and the better method, on sectors not fitted."""
    gains = {"fit": 0.0, "search": 0.0}
    agreements: dict[str, list[tuple[float, float, float]]] = {"fit": [], "search": []}
    # Two-fold cross-validation over alternating sectors.
    for fitted, others in ((_EVEN, _ODD), (_ODD, _EVEN)):
        starts = _starts(spectrum, settings, defoci, fitted)
        for method in gains:
            frozen = method == "search"
            candidate = fit(spectrum, settings, starts[:1] if frozen else starts, fitted, frozen=frozen)[0]
            gains[method] += held_out_gain(spectrum, settings, candidate, fitted, others)
            agreements[method].append(agreement(spectrum, candidate, settings, others))
    # The search fits no focal spread, thickness or fine astigmatism, so it must be clearly better.
    method = "search" if gains["search"] > gains["fit"] + _NEARLY + 0.02 * abs(gains["fit"]) else "fit"
    correlation, deviations, explained = np.mean(agreements[method], 0)
    return float(correlation), math.sqrt(2) * float(deviations), float(explained), gains[method], method


def _readings(
    spectrum: Spectrum, settings: FitSettings, best: Candidate, fits: list[Candidate], method: str, unexplained: float
) -> dict[str, Any]:
    """Return the readings of both signs, the sign if known, alternatives, focal spread and thickness."""
    mirrored = replace(best, C10=-best.C10, phi12=best.phi12 + math.pi / 2)
    starts = [mirrored, *(f for f in fits if f.C10 * best.C10 < 0)]
    frozen = method == "search"
    other = fit(spectrum, settings, starts[:1] if frozen else starts, frozen=frozen)[0]
    if other.C10 * best.C10 > 0:
        other = fit(spectrum, settings, [mirrored], frozen=True)[0]
    under, over = sorted((best, other), key=lambda c: c.C10)
    sign = None
    if _asymmetric(settings, 0.7 * spectrum.q[-1]) and abs(under.cost - over.cost) > 2 * _NEARLY:
        sign = "underfocus" if under.cost < over.cost else "overfocus"
    near = [f for f in fits if f.cost < best.cost + _NEARLY and abs(abs(f.C10) - abs(best.C10)) > 15]
    step = math.hypot(defocus_step(settings.energy_ev, 0.7) if frozen else 0.0, unexplained)
    limit = information_limit(spectrum, settings, best) or spectrum.q[-1]
    return {
        "underfocus": _reading(under, settings, step, limit),
        "overfocus": _reading(over, settings, step, limit),
        "sign": sign,
        "alternatives": tuple(round(abs(f.C10), 1) for f in near),
        "focal_spread_angstrom": _log_interval(best.focal_spread_angstrom, best.covariance[3, 3]),
        "thickness_angstrom": _log_interval(best.thickness_angstrom, best.covariance[4, 4]),
    }


def _reading(candidate: Candidate, settings: FitSettings, step: float, limit: float) -> Reading:
    """Return a candidate with its uncertainty, which includes that of the film."""
    covariance = candidate.covariance
    contrast = _CONTRAST / (math.pi * wavelength(settings.energy_ev) * (0.7 * limit) ** 2)
    middle = _MIDDLE * candidate.thickness_angstrom
    deviation = math.sqrt(covariance[0, 0] + contrast**2 + middle**2 + step**2)
    across = math.sqrt((covariance[1, 1] + covariance[2, 2]) / 2 + step**2)
    defocus, turn = -candidate.C10, min(across / (2 * max(candidate.C12, 1e-3)), math.pi / 2)
    interval = defocus - 1.96 * deviation, defocus + 1.96 * deviation
    return Reading(defocus, interval, candidate.C12, across, candidate.phi12, turn, candidate.cost)


def _log_interval(value: float, variance: float) -> tuple[float, float, float]:
    factor = math.exp(1.96 * math.sqrt(variance))
    return value, value / factor, value * factor


def _on_sign(sign: object, C30: float) -> str:
    if sign is None:
        return "both signs of the defocus are possible, and the axis of C12 differs by 90° between them"
    return f"it is {sign}, because of the assumed C30 of {C30:g} Å"
