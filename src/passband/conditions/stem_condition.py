"""STEM conditions: probe, scan and detector as one frozen value.

Units are Å, rad, mrad, eV and e/Å²; defocus = −C10, positive = underfocus: the probe's crossover lies that far below the entrance
plane of the specimen. Widths are standard deviations; of a Gaussian, FWHM = 2√(2 ln 2) · standard deviation = 2.355 of them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator
from scipy import constants

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.conditions.condition import ANGLES, SYMBOLS, Condition, canonical, short_names
from passband.conditions.widths import WIDTHS
from passband.files import yaml_config

#: The YAML files of the presets, by name. Those of HRTEM have a folder of their own, for every file there is an HRTEM condition.
STEM_PRESETS: dict[str, Path] = {
    path.stem: path for path in sorted((Path(__file__).parent / "stem_presets").glob("*.yaml"))
}
_FWHM = 2 * math.sqrt(2 * math.log(2))
# Keys that a STEM condition shares with one of HRTEM, which checks them.
_SHARED = ("energy_ev", "aberrations", "defocus_angstrom", "focal_spread_angstrom")
_FOCAL_WIDTHS = tuple(name for name, field in WIDTHS.items() if field == "focal_spread_angstrom")
# What only HRTEM has, and what STEM has in its place.
_OF_HRTEM = dict.fromkeys({*Condition.model_fields, *WIDTHS} - {*_SHARED, *_FOCAL_WIDTHS}, "") | {
    "aperture_mrad": "convergence_semiangle_mrad",
    "convergence_mrad": "convergence_semiangle_mrad",
    "vibration_angstrom": "source_size_angstrom",
}
_SOURCE_FWHM, _CURRENT, _DWELL = "source_size_fwhm_angstrom", "beam_current_pa", "dwell_time_us"


def _lower(given: Any) -> Any:
    return given.lower() if isinstance(given, str) else given


class StemDetector(yaml_config.Config):
    """A STEM detector.

    Attributes:
        kind: haadf or adf (an annulus outside the beam), bf or abf (a disc or an annulus inside it), icom (the integrated centre of mass
            of the diffraction pattern).
        inner_mrad: inner semi-angle [mrad].
        outer_mrad: outer semi-angle [mrad]; icom alone may leave it out, for a detector that sees everything.
        quadrants: for icom, four segments (iDPC) instead of a pixelated detector; they meet at 45° to the axes.
    """

    kind: Annotated[Literal["haadf", "adf", "bf", "abf", "icom"], BeforeValidator(_lower)]
    inner_mrad: float = Field(default=0.0, ge=0, le=1000, strict=True)
    outer_mrad: float | None = Field(default=None, gt=0, le=1000, strict=True)
    quadrants: bool = False

    @model_validator(mode="after")
    def _a_ring(self) -> "StemDetector":
        if self.kind != "icom" and self.outer_mrad is None:
            raise ValueError(f"outer_mrad is missing; a {self.kind} detector needs its outer semi-angle")
        if self.outer_mrad is not None and self.inner_mrad >= self.outer_mrad:
            raise ValueError(
                f"inner_mrad {self.inner_mrad:g} is not below outer_mrad {self.outer_mrad:g}; a ring needs inner < outer"
            )
        if self.quadrants and self.kind != "icom":
            raise ValueError(f"quadrants belong to icom, not to {self.kind}; leave them out")
        if self.kind == "icom" and not self.quadrants and (self.inner_mrad or self.outer_mrad):
            raise ValueError("inner_mrad and outer_mrad of icom need quadrants: true; a pixelated detector sees all")
        return self

    @property
    def is_incoherent(self) -> bool:
        """True for rings outside the beam, whose image is one of scattered intensities."""
        return self.kind in ("haadf", "adf")

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class StemCondition(yaml_config.Config):
    """One STEM condition; an invalid one cannot be constructed.

    `defocus_angstrom` may replace C10, the focal spread may be given by the other widths of `conditions.widths`, `source_size_fwhm_angstrom`
    may replace the source's standard deviation (divided by 2.355), and `beam_current_pa` with `dwell_time_us` the dose.

    Attributes:
        modality: stem; it tells a file of a STEM condition from one of HRTEM.
        energy_ev: electron energy [eV], 10,000 to 2,000,000.
        convergence_semiangle_mrad: semi-angle of the probe-forming aperture [mrad].
        detector: which electrons are counted.
        aberrations: C_nm [Å] and phi_nm [rad] of the probe-forming lens, to fifth order, as in `Condition`.
        focal_spread_angstrom: standard deviation of the focus [Å].
        source_size_angstrom: standard deviation per axis of the source's image in the specimen plane, with its vibrations [Å].
        pixel_size_angstrom: step of the scan [Å].
        dose_per_angstrom2: electrons per Å²; None is an image without noise.
        line_jitter_angstrom: standard deviation of the place where a line begins, along the line (flyback) [Å].
        drift_angstrom: path along which the specimen drifts while the frame is scanned, which distorts the image [Å].
        drift_angle_rad: direction of that path [rad].

    Raises:
        BadInputError: on unknown names, values out of range, a HAADF or ADF detector that the beam hits, two values for one quantity.

    Example:
        >>> from passband import StemCondition
        >>> condition = StemCondition.preset("probe_corrected_300kv")
        >>> condition.varied(defocus=40, dose=2000).defocus_angstrom
        40.0
    """

    modality: Annotated[Literal["stem"], BeforeValidator(_lower)] = "stem"
    energy_ev: float = Field(strict=True)
    convergence_semiangle_mrad: float = Field(gt=0, le=200, strict=True)
    detector: StemDetector
    aberrations: dict[str, float] = Field(default={})
    focal_spread_angstrom: float = Field(default=0.0, ge=0, le=1000, strict=True)
    source_size_angstrom: float = Field(default=0.0, ge=0, le=100, strict=True)
    pixel_size_angstrom: float = Field(default=0.2, gt=0, le=100, strict=True)
    dose_per_angstrom2: float | None = Field(default=None, gt=0, le=1e9, strict=True)
    line_jitter_angstrom: float = Field(default=0.0, ge=0, le=100, strict=True)
    drift_angstrom: float = Field(default=0.0, ge=0, le=1000, strict=True)
    drift_angle_rad: float = Field(default=0.0, ge=-2 * math.pi, le=2 * math.pi, strict=True)
    ALSO_READ: ClassVar[frozenset[str]] = frozenset(
        {"defocus_angstrom", _SOURCE_FWHM, _CURRENT, _DWELL, *_FOCAL_WIDTHS}
    )

    @model_validator(mode="before")
    @classmethod
    def _known_quantities(cls, data: Any) -> Any:
        """Turn what may be given in other words into the fields."""
        if not isinstance(data, dict):
            return data
        for name in data:
            if name in _OF_HRTEM and name not in cls.model_fields:
                raise ValueError(_not_of_stem(name))
        rest = dict(data)
        lens = Condition(**{name: rest.pop(name) for name in (*_SHARED, *_FOCAL_WIDTHS) if name in rest})
        rest |= {
            "energy_ev": lens.energy_ev,
            "aberrations": lens.aberrations,
            "focal_spread_angstrom": lens.focal_spread_angstrom,
        }
        if _SOURCE_FWHM in rest:
            rest["source_size_angstrom"] = _one_of(rest, _SOURCE_FWHM, "source_size_angstrom") / _FWHM
        if _CURRENT in rest or _DWELL in rest:
            if not (_CURRENT in rest and _DWELL in rest):
                raise ValueError(f"{_CURRENT} and {_DWELL} give a dose together; add the other one")
            current, dwell = _one_of(rest, _CURRENT, "dose_per_angstrom2"), _positive(rest, _DWELL)
            step = rest.get("pixel_size_angstrom", cls.model_fields["pixel_size_angstrom"].default)
            if isinstance(step, int | float) and step > 0:
                # What is wrong with another step is said where it is checked.
                rest["dose_per_angstrom2"] = current * 1e-12 * dwell * 1e-6 / constants.e / step**2
        return rest

    @model_validator(mode="after")
    def _detector_beside_the_beam(self) -> "StemCondition":
        beam, d = self.convergence_semiangle_mrad, self.detector
        if d.is_incoherent and d.inner_mrad < beam:
            raise ValueError(
                f"detector.inner_mrad {d.inner_mrad:g} lies in the beam of {beam:g} mrad; a {d.kind} detector begins at {beam:g} mrad or "
                "more, abf and bf lie in the beam"
            )
        if d.kind in ("bf", "abf") and d.inner_mrad >= beam:
            raise ValueError(
                f"detector.inner_mrad {d.inner_mrad:g} lies outside the beam of {beam:g} mrad; use kind: adf"
            )
        if d.quadrants and (d.inner_mrad >= beam or (d.outer_mrad is not None and d.outer_mrad <= beam)):
            raise ValueError(
                f"detector of {d.inner_mrad:g} to {d.outer_mrad or math.inf:g} mrad does not hold the rim of the beam at {beam:g} mrad, whose shift "
                "quadrants measure; use inner_mrad below it and outer_mrad above it"
            )
        return self

    @property
    def defocus_angstrom(self) -> float:
        """Defocus −C10 [Å], positive = underfocus."""
        return 0.0 - self.aberrations.get("C10", 0.0)

    @property
    def lens(self) -> Condition:
        """The TEM condition of the same lens, read backwards (reciprocity): its aperture forms the probe, its vibration is the source."""
        return Condition(
            energy_ev=self.energy_ev,
            aberrations=self.aberrations,
            focal_spread_angstrom=self.focal_spread_angstrom,
            aperture_mrad=self.convergence_semiangle_mrad,
            vibration_angstrom=self.source_size_angstrom,
            pixel_size_angstrom=self.pixel_size_angstrom,
            dose_per_angstrom2=self.dose_per_angstrom2,
        )

    @property
    def probe_and_detector(self) -> str:
        """The angles of the probe and of the detector in words."""
        d = self.detector
        angles = "" if d.outer_mrad is None else f" from {d.inner_mrad:g} to {d.outer_mrad:g} mrad"
        kind = {"icom": "iCOM"}.get(d.kind, d.kind.upper())
        return f"probe of {self.convergence_semiangle_mrad:g} mrad, {kind}{' with quadrants' * d.quadrants}{angles}"

    @property
    def cutoff_per_angstrom(self) -> float:
        """The spatial frequency 2α/λ [1/Å] beyond which the probe transfers nothing."""
        return 2e-3 * self.convergence_semiangle_mrad / wavelength(self.energy_ev)

    @property
    def electrons_per_pixel(self) -> float | None:
        """Electrons of the beam at each place of the scan; None without a dose."""
        return None if self.dose_per_angstrom2 is None else self.dose_per_angstrom2 * self.pixel_size_angstrom**2

    @property
    def binning(self) -> int:
        """1: a scan has no pixels to sum."""
        return 1

    @property
    def is_round(self) -> bool:
        """True if the transfer does not depend on direction."""
        return not self.detector.quadrants and not any(symbol in self.aberrations for symbol in ANGLES)

    @property
    def id(self) -> str:
        """Stable id: the hash of the values."""
        return content_id(self.to_dict())

    def doubts(self) -> list[str]:
        """Return what looks like a wrong unit or transfers little, a line each."""
        doubts, beam, d = [], self.convergence_semiangle_mrad, self.detector
        if beam < 1:
            doubts.append(
                f"convergence_semiangle_mrad {beam:g} is hardly a probe; is it in rad? {beam:g} rad is {1e3 * beam:g} mrad"
            )
        if self.pixel_size_angstrom > 1 / self.cutoff_per_angstrom:
            doubts.append(
                f"pixel_size_angstrom {self.pixel_size_angstrom:g} is coarser than {1 / self.cutoff_per_angstrom:.3g} Å, the finest detail of a probe of "
                f"{beam:g} mrad: the scan skips parts of the specimen"
            )
        if d.kind == "bf" and d.outer_mrad is not None and d.inner_mrad == 0 and d.outer_mrad >= beam:
            doubts.append(
                "a bf detector as wide as the beam has no phase contrast of first order; use a smaller outer_mrad"
            )
        if d.is_incoherent and d.inner_mrad < 2 * beam:
            doubts.append(
                f"detector.inner_mrad {d.inner_mrad:g} is less than twice the beam's {beam:g} mrad: interference counts that the incoherent image leaves out"
            )
        return doubts

    @classmethod
    def preset(cls, name: str) -> "StemCondition":
        """Return the nominal condition of an instrument in `stem_presets/`; BadInputError listing them if there is none of this name."""
        if name not in STEM_PRESETS:
            raise BadInputError(f"no STEM preset is called {name!r}; they are {', '.join(STEM_PRESETS)}", value=name)
        content, lines = yaml_config.read_yaml(STEM_PRESETS[name])
        return yaml_config.validate(cls, content["condition"], STEM_PRESETS[name], lines)

    @classmethod
    def load(cls, source: str | Path) -> "StemCondition":
        """Return the condition of a YAML file, or of a preset by name; a BadInputError gives file, line, value and remedy."""
        if str(source) in STEM_PRESETS:
            return cls.preset(str(source))
        return yaml_config.load(cls, Path(source))

    def varied(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> "StemCondition":
        """Return this condition with some values replaced.

        Args:
            values: by name, as a mapping.
            **named: an aberration, an angle, an alias or defocus; a field, with or without its unit (dose or dose_per_angstrom2); a field
                of the detector, such as inner_mrad.

        Raises:
            BadInputError: listing the names, if one is unknown; if the result is not valid.
        """
        content = self.to_dict()
        for given, value in {**(values or {}), **named}.items():
            fields = [f for f in (*type(self).model_fields, *self.ALSO_READ) if f == given or f.startswith(f"{given}_")]
            symbol, number = canonical(given, value)
            if symbol in SYMBOLS:
                content["aberrations"] |= {symbol: number}
            elif given in StemDetector.model_fields:
                content["detector"] |= {given: value}
            elif fields:
                content[fields[0]] = value
            elif theirs := [name for name in sorted(_OF_HRTEM) if name == given or name.startswith(f"{given}_")]:
                raise BadInputError(_not_of_stem(theirs[0]), value=given)
            else:
                short = short_names(type(self))
                known = ["defocus", *(short.get(n, n) for n in (*type(self).model_fields, *StemDetector.model_fields))]
                listed = [name for name in known if name not in ("modality", "detector", "aberrations")]
                remedy = f"known are {', '.join(listed)}, and aberrations such as C30"
                raise BadInputError(f"a STEM condition has no {given!r}", value=given, remedy=remedy)
        return StemCondition(**content)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a condition file; `StemCondition(**d)` reads it back."""
        return self.model_dump(mode="json")

    def __hash__(self) -> int:
        return hash(self.id)


#: A condition of any modality.
AnyCondition = Condition | StemCondition


def is_of_stem(content: Any) -> bool:
    """Tell whether the content of a condition file is of STEM: by its modality, or by the kind of its detector, which HRTEM has not."""
    if not isinstance(content, Mapping):
        return False
    detector = content.get("detector")
    by_detector = isinstance(detector, Mapping) and "kind" in detector and "modality" not in content
    return by_detector or _lower(content.get("modality")) == "stem"


def condition_of(content: Mapping[str, Any]) -> AnyCondition:
    """Return the condition that `to_dict` wrote, of HRTEM or STEM."""
    return StemCondition(**content) if is_of_stem(content) else Condition(**content)


def _not_of_stem(name: str) -> str:
    instead = _OF_HRTEM[name]
    return f"{name} is a value of HRTEM conditions; {f'use {instead}' if instead else 'remove it'}"


def _positive(content: dict[str, Any], name: str) -> float:
    value = content.pop(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {str(value)[:100]!r}; give a number above 0, without quotes")
    return float(value)


def _one_of(content: dict[str, Any], name: str, field: str) -> float:
    """Return a number that stands for a field, which must not be given itself."""
    if content.get(field) is not None:
        raise ValueError(f"{name} and {field} give the same quantity; keep one of them")
    return _positive(content, name)
