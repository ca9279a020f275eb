"""Imaging conditions: everything about the microscope that an image depends on, as one frozen value.

Units are Å, rad, mrad, eV and e/Å²; defocus = −C10, positive = underfocus. Widths are standard deviations.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_serializer, model_validator

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.conditions.detector import Detector
from passband.conditions.widths import WIDTHS, in_standard_deviations
from passband.files import yaml_config

_NEXT_TO_NONE = "is next to none"
#: The YAML files of the presets, by name.
PRESETS: dict[str, Path] = {path.stem: path for path in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
#: Methods that rooms above this one give to a condition, by name: `passband.api.conditions` gives it `ctf`, which needs the optics.
METHODS: dict[str, Callable[..., Any]] = {}

#: Order n and multiplicity m of each coefficient C_nm, to fifth order (Krivanek's symbols, polar form).
ABERRATIONS: dict[str, tuple[int, int]] = {
    f"C{n}{m}": (n, m) for n in range(1, 6) for m in range((n + 1) % 2, n + 2, 2)
}
#: The angle that belongs to each coefficient that is not round.
ANGLES: dict[str, str] = {c: "phi" + c[1:] for c, (_, m) in ABERRATIONS.items() if m > 0}
#: Names accepted on input beside the symbols.
ALIASES: dict[str, str] = {"Cs": "C30", "C5": "C50", "astigmatism": "C12", "coma": "C21", "trefoil": "C23"}
ALIASES |= {f"{name}_angle": ANGLES[symbol] for name, symbol in ALIASES.items() if symbol in ANGLES}
#: All coefficients and angles.
SYMBOLS: tuple[str, ...] = (*ABERRATIONS, *ANGLES.values())


def canonical(name: str, value: float) -> tuple[str, float]:
    """Return the symbol that a name stands for and its value: defocus is −C10, aliases are resolved, others stay."""
    if name in ("defocus", "defocus_angstrom"):
        return "C10", -value
    return ALIASES.get(name, name), value


def field_name(name: str) -> str:
    """Return the field of a condition that a short name stands for, such as dose_per_angstrom2 of dose; others stay."""
    return next((field for field, short in SHORT_NAMES.items() if short == name), name)


class Condition(yaml_config.Config):
    """One imaging condition; an invalid one cannot be constructed.

    Focal spread and convergence may be given by other widths (`conditions.widths.WIDTHS`), such as focal_spread_fwhm_angstrom or
    chromatic_aberration_angstrom with energy_spread_fwhm_ev; the condition holds and writes their standard deviations.

    Attributes:
        energy_ev: electron energy [eV], 10,000 to 2,000,000.
        aberrations: C_nm [Å] and phi_nm [rad]; absent coefficients are zero. Zero coefficients and angles that belong
            to zero coefficients are dropped, so equal optics compare equal.
        focal_spread_angstrom: standard deviation of the focus [Å].
        convergence_mrad: standard deviation per axis of the illumination angle [mrad].
        aperture_mrad: semi-angle of the objective aperture [mrad]; None is no aperture.
        pixel_size_angstrom: camera pixel in the specimen plane [Å].
        dose_per_angstrom2: electrons per Å²; None is an image without shot noise.
        vibration_angstrom: standard deviation per axis of the specimen's vibration during the exposure [Å].
        drift_angstrom: length of the straight path along which the specimen moves during the exposure [Å].
        drift_angle_rad: direction of that path [rad].
        coherence: quasi (envelopes on the wave) or quadrature (the image averaged over focus and tilt).
        quadrature_nodes: Gauss–Hermite nodes over the focus and along each axis of the tilt.
        contrast: factor on the deviations of the expected intensity from its mean: what inelastic and diffuse scattering leave
            of the contrast (the Stobbs factor).
        background: relative standard deviation of a slow background (thickness, contamination, illumination), drawn for each image.
        background_length_angstrom: length over which that background is correlated [Å].
        detector: the camera.

    Raises:
        BadInputError: on unknown names, values out of range or two values for one coefficient.
    """

    energy_ev: float = Field(strict=True)
    aberrations: dict[str, float] = Field(default={})
    focal_spread_angstrom: float = Field(default=0.0, ge=0, le=1000, strict=True)
    convergence_mrad: float = Field(default=0.0, ge=0, le=100, strict=True)
    aperture_mrad: float | None = Field(default=None, gt=0, le=1000, strict=True)
    pixel_size_angstrom: float = Field(default=0.4, gt=0, le=100, strict=True)
    dose_per_angstrom2: float | None = Field(default=None, gt=0, le=1e9, strict=True)
    vibration_angstrom: float = Field(default=0.0, ge=0, le=100, strict=True)
    drift_angstrom: float = Field(default=0.0, ge=0, le=1000, strict=True)
    drift_angle_rad: float = Field(default=0.0, ge=-2 * math.pi, le=2 * math.pi, strict=True)
    coherence: Literal["quasi", "quadrature"] = "quasi"
    quadrature_nodes: int = Field(default=7, ge=2, le=65, strict=True)
    contrast: float = Field(default=1.0, gt=0, le=2, strict=True)
    background: float = Field(default=0.0, ge=0, le=1, strict=True)
    background_length_angstrom: float = Field(default=50.0, gt=0, le=1e5, strict=True)
    detector: Detector = Detector()
    ALSO_READ: ClassVar[frozenset[str]] = frozenset({"defocus_angstrom", *WIDTHS})
    _notes: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="before")
    @classmethod
    def _defocus_becomes_c10(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        rest, given = in_standard_deviations(dict(data)), data.get("aberrations", {})
        defocus = {"defocus_angstrom": rest.pop("defocus_angstrom")} if "defocus_angstrom" in rest else {}
        if not isinstance(given, dict):
            return rest
        merged, sources = dict[str, Any](), dict[str, str]()
        for name, value in (given | defocus).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is {value!r}, which is not a number; give Å (rad for angles) without quotes")
            symbol, value = canonical(str(name), value)
            if symbol in merged:
                raise ValueError(f"{name} and {sources[symbol]} are the same coefficient; keep one of them")
            merged[symbol], sources[symbol] = value, name
        return rest | {"aberrations": merged}

    @field_validator("energy_ev")
    @classmethod
    def _energy_in_range(cls, energy_ev: float) -> float:
        if not 10e3 <= energy_ev <= 2e6:
            hint = f"; did you mean {energy_ev * 1000:g} eV ({energy_ev:g} kV)?" if 10 <= energy_ev <= 2000 else ""
            raise ValueError(f"energy is {energy_ev:g} eV, outside 10000 to 2000000 eV{hint}")
        return energy_ev

    @field_validator("aberrations", mode="before")
    @classmethod
    def _canonical_aberrations(cls, aberrations: Any) -> Any:
        if not isinstance(aberrations, dict):
            return aberrations
        for name, value in aberrations.items():
            if name not in SYMBOLS:
                known = f"{', '.join(SYMBOLS)} and the aliases defocus, {', '.join(ALIASES)}"
                raise ValueError(f"unknown coefficient {name!r}; known are {known}")
            if name.startswith("phi") and 2 * math.pi < abs(value) <= 1e10:
                hint = f"angles are radians ({value:g}° is {math.radians(value):.4f} rad)"
                raise ValueError(f"{name} is {value:g} rad, beyond 2π; {hint}")
            if abs(value) > 1e10:
                raise ValueError(f"{name} is {str(value)[:20]} Å, beyond 1e10 Å (1 m); coefficients are in Å")
        terms = [(s, ANGLES.get(s, "")) for s in ABERRATIONS if aberrations.get(s, 0.0) != 0.0]
        return {name: aberrations[name] for term in terms for name in term if aberrations.get(name, 0.0) != 0.0}

    @property
    def defocus_angstrom(self) -> float:
        """Defocus −C10 [Å], positive = underfocus."""
        return 0.0 - self.aberrations.get("C10", 0.0)

    def doubts(self) -> list[str]:
        """Return what is assumed, ignored, or looks like a wrong unit, a line each."""
        doubts = list(self._notes)
        aperture, probe, pixel = self.aperture_mrad, self.convergence_mrad, self.pixel_size_angstrom
        cs = self.aberrations.get("C30", 0.0)
        # Small angles: a semi-angle α passes α / λ, and λ is 0.02 to 0.1 Å.
        if aperture is not None and aperture < 1:
            what = f"aperture_mrad {aperture:g} passes next to nothing; is it in rad?"
            doubts.append(f"{what} {aperture:g} rad is {1e3 * aperture:g} mrad")
        if probe > 5:
            what = f"convergence_mrad {probe:g} is a probe"
            doubts.append(
                f"{what}, not the near-parallel illumination of a TEM image (0.01 to 1); of STEM, write modality: stem and the detector"
            )
        if pixel < 0.08:
            what = f"pixel_size_angstrom {pixel:g} is finer than any camera; is it in nm?"
            doubts.append(f"{what} {pixel:g} nm is {10 * pixel:g} Å")
        if 0 < abs(cs) < 1000:
            what = f"C30 {cs:g} Å {_NEXT_TO_NONE}; is it in µm or mm?"
            doubts.append(f"{what} {cs:g} µm is {1e4 * cs:g} Å, {cs:g} mm is {1e7 * cs:g} Å")
        doubts += [
            f"{symbol} {value:g} Å {_NEXT_TO_NONE}; is it in m? {value:g} m is {1e10 * value:g} Å"
            for symbol, value in self.aberrations.items()
            if symbol in ABERRATIONS and symbol != "C30" and abs(value) < 1e-5
        ]
        if self.detector.correlated_noise and self.detector.mtf is None:
            doubts.append(
                "correlated_noise does nothing without an mtf, whose point spread correlates the noise; give detector.mtf"
            )
        if self.coherence == "quadrature":
            doubts += self._too_few_nodes()
        return doubts

    def noted(self, notes: Sequence[str]) -> "Condition":
        """Return this condition with notes on the file that it comes from; `doubts` begins with them."""
        copy = self.model_copy()
        copy._notes = tuple(notes)
        return copy

    def _too_few_nodes(self) -> list[str]:
        lam, q = wavelength(self.energy_ev), 1 / (2 * self.pixel_size_angstrom)
        focus = math.pi * lam * self.focal_spread_angstrom * q**2
        tilt = 2 * math.pi * 1e-3 * self.convergence_mrad * abs(self.aberrations.get("C10", 0.0)) * q
        spread = max(focus, tilt)

        def accurate(nodes: int) -> bool:
            # The leading term of the error of a Gauss–Hermite rule for cos(spread · x).
            return math.exp(math.lgamma(nodes + 1) - math.lgamma(2 * nodes + 1)) * spread ** (2 * nodes) < 0.02

        enough = next((n for n in range(self.quadrature_nodes, 66) if accurate(n)), None)
        if enough == self.quadrature_nodes:
            return []
        remedy = f"use at least {enough}" if enough else "use coherence: quasi"
        phases = f"phases that spread by {spread:.2g} rad at the camera's finest detail"
        return [f"quadrature_nodes {self.quadrature_nodes} are too few for {phases}; {remedy}"]

    @classmethod
    def preset(cls, name: str) -> "Condition":
        """Return the nominal condition of an instrument.

        Args:
            name: of a file in `presets/`, such as "titan_corrected_300kv".

        Raises:
            BadInputError: listing the presets, if there is none of this name.
        """
        if name not in PRESETS:
            what = f"no HRTEM preset is called {name!r}; they are {', '.join(PRESETS)}"
            raise BadInputError(what, value=name)
        content, lines = yaml_config.read_yaml(PRESETS[name])
        return yaml_config.validate(cls, content["condition"], PRESETS[name], lines)

    def ctf(self, q_max_per_angstrom: float = 1.0) -> Any:
        """Return what this condition transfers, an object with `epsilon`, `point_resolution_angstrom`, … and `plot()`.

        Args:
            q_max_per_angstrom: radius of the band of spatial frequencies [1/Å].
        """
        return METHODS["ctf"](self, q_max_per_angstrom)

    @property
    def is_round(self) -> bool:
        """True if the transfer does not depend on direction, so images commute with turns and flips."""
        return self.drift_angstrom == 0 and not any(symbol in self.aberrations for symbol in ANGLES)

    @property
    def id(self) -> str:
        """Stable id: the hash of the values, never of names or places."""
        return content_id(self.to_dict())

    @property
    def binning(self) -> int:
        """Physical pixels of the camera along a side of one of the image."""
        return self.detector.binning

    def varied(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> "Condition":
        """Return this condition with some values replaced, such as `condition.varied(defocus=80, C12=30)`.

        Args:
            values: by name, as a mapping.
            **named: by name: defocus, an aberration, an angle or an alias; a field of a condition file, with or without its
                unit (dose or dose_per_angstrom2); a field of its detector, such as mtf; another width, such as focal_spread_fwhm_angstrom.
                Several aberrations combine with those that are there.

        Raises:
            BadInputError: listing the names, if one is unknown; if the result is not valid.
        """
        values = {**(values or {}), **named}
        replaced = {WIDTHS[name] for name in values if name in WIDTHS}
        content, seen = {n: v for n, v in self.to_dict().items() if n not in replaced}, dict[str, str]()
        for given, value in values.items():
            try:
                symbol, value = canonical(field_name(given), value)
            except TypeError:
                raise BadInputError(f"{given} is {value!r}, not a number", value=value) from None
            if symbol in seen:
                raise BadInputError(f"{seen[symbol]} and {given} both set {symbol}; give one of them", value=value)
            seen[symbol] = given
            if symbol in SYMBOLS:
                content["aberrations"] |= {symbol: value}
            elif symbol in Condition.model_fields or symbol in WIDTHS:
                content[symbol] = value
            elif symbol in Detector.model_fields:
                content["detector"] = content.get("detector", {}) | {symbol: value}
            else:
                names = ["defocus", *SHORT_NAMES.values(), *SYMBOLS, *ALIASES]
                what = f"a condition has no {given!r}; known are {', '.join(names)}"
                raise BadInputError(what, value=given, limit=names)
        return Condition(**content)

    def __eq__(self, other: object) -> bool:
        """Compare the values that count, not the notes, nor the length of a background that is 0."""
        if not isinstance(other, Condition):
            return False
        return self.__dict__ == other.__dict__ or self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.id)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a condition file; `Condition(**d)` reads it back."""
        return self.model_dump(mode="json")

    @model_serializer(mode="wrap")
    def _without_what_is_rare(self, write: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """Leave out what few conditions have where it is absent, so that ids stay when passband learns more."""
        rare = {name for name in _RARE if getattr(self, name) == _RARE[name]}
        rare |= {"quadrature_nodes"} if self.coherence == "quasi" else set()
        rare |= {"drift_angle_rad"} if self.drift_angstrom == 0 else set()
        rare |= {"background_length_angstrom"} if self.background == 0 else set()
        return {name: value for name, value in write(self).items() if name not in rare}


def short_names(kind: type[yaml_config.Config]) -> dict[str, str]:
    """Return the short name of each field that has a unit, without it."""
    shortened = {name: re.sub("_(angstrom|mrad|rad|ev|per_angstrom2)$", "", name) for name in kind.model_fields}
    return {name: short for name, short in shortened.items() if short != name}


#: Short name of each field that has a unit, without it.
SHORT_NAMES: dict[str, str] = short_names(Condition)
_RARE = {
    name: field.default
    for name, field in Condition.model_fields.items()
    if name.startswith(("vibration", "drift", "coherence", "quadrature", "contrast", "background", "detector"))
}


def doubt_kinds(conditions: Sequence[Any]) -> list[list[str]]:
    """Return the doubts of conditions in kinds, which differ in numbers only; values near zero count if most have them: some are drawn."""
    kinds = by_kind([doubt for condition in conditions for doubt in condition.doubts()])
    return [kind for kind in kinds if _NEXT_TO_NONE not in kind[0] or 2 * len(kind) > len(conditions)]


def first_of(kind: list[str]) -> str:
    """Return the first line of a kind, and how many more there are."""
    more = len(kind) - 1
    return kind[0] + (f" (and {more} condition{'s' * (more > 1)} more likewise)" if more else "")


def by_kind(lines: list[str]) -> list[list[str]]:
    """Return lines in groups that differ in numbers only, each sorted."""
    kinds: dict[str, list[str]] = {}
    for line in sorted(lines):
        kinds.setdefault(re.sub(r"[-+]?\d[\d.e+-]*", "#", line), []).append(line)
    return list(kinds.values())
