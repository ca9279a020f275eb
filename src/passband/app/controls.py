"""Convert between the positions of the sliders and a condition."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import load_condition


@dataclass(frozen=True)
class Control:
    """One slider.

    Attributes:
        key: symbol, angle or field of a condition; `defocus` is −C10.
        label: beside it, with the unit that it shows.
        low, high, step: of the slider; the box beside it takes values beyond.
        unit: of the slider, in the condition's unit.
        absent: position of the slider for an absent value (no aperture, no shot noise); None if the value is never absent.
        also: the value in words or in the unit that microscopes show.
    """

    key: str
    label: str
    low: float
    high: float
    step: float
    unit: float = 1.0
    absent: float | None = None
    also: Callable[[float], str] = lambda value: ""


def _focus(value: float) -> str:
    return f"{abs(value) / 10:.3g} nm {'underfocus' if value > 0 else 'overfocus' if value < 0 else ''}"


def _nm(value: float) -> str:
    return f"{value / 10:.3g} nm"


CONTROLS = (
    Control("defocus", "defocus [Å]", -500, 500, 1, also=_focus),
    Control("C12", "C12 = A1 [Å]", 0, 300, 1, also=_nm),
    Control("phi12", "angle of C12 [rad]", -1.57, 1.57, 0.01, also=lambda value: f"{math.degrees(value):.0f}°"),
    Control("C21", "C21 = 3 B2, coma [Å]", 0, 6000, 10, also=_nm),
    Control("C23", "C23 = A2, trefoil [Å]", 0, 6000, 10, also=_nm),
    Control("C30", "C30 = Cs [µm]", -40, 40, 0.1, unit=1e4),
    Control("focal_spread_angstrom", "focal spread, s.d. [Å]", 0, 100, 0.5, also=_nm),
    Control("convergence_mrad", "convergence, s.d. [mrad]", 0, 1.5, 0.01),
    Control("vibration_angstrom", "vibration, s.d. [Å]", 0, 1.5, 0.01),
    Control("dose_per_angstrom2", "dose [e/Å²]", 10, 2000, 5, absent=2000),
    Control("aperture_mrad", "aperture, semi-angle [mrad]", 4, 29, 0.1, absent=29),
)
# Longest condition file that the page takes [characters].
_LONGEST = 100_000


def positions(condition: Condition) -> dict[str, float]:
    """Return the position of each slider under a condition, in its unit."""
    values: dict[str, Any] = {**dict(condition), **condition.aberrations, "defocus": condition.defocus_angstrom}
    places = {}
    for control in CONTROLS:
        value = values.get(control.key, 0.0)
        place = (control.absent or 0.0) if value is None else value / control.unit
        # Round to a hundredth of a slider's step.
        places[control.key] = round(place, 2 - math.floor(math.log10(control.step)))
    return places


def present(condition: Condition) -> dict[str, bool]:
    """Return whether a condition has each of the optional values."""
    return {c.key: getattr(condition, c.key) is not None for c in CONTROLS if c.absent is not None}


def condition_at(
    base: Condition, values: dict[str, float], has: dict[str, bool], pixel_size_angstrom: float
) -> Condition:
    """Return the condition that the sliders set; what has no slider (other aberrations, drift, camera, energy) is the base's.

    Args:
        base: the preset or file that the sliders started from.
        values: of each slider, in its unit.
        has: whether there is an aperture and shot noise.
        pixel_size_angstrom: of the picture [Å].

    Raises:
        BadInputError: if the values are not those of a condition.
    """
    chosen = {c.key: round(values[c.key] * c.unit, 6) if has.get(c.key, True) else None for c in CONTROLS}
    return base.varied(chosen, pixel_size_angstrom=pixel_size_angstrom)


def in_yaml(condition: Condition) -> str:
    """Return a condition as the text of a condition file."""
    content = {name: value for name, value in condition.to_dict().items() if value not in (None, {}, 0.0)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)


def from_yaml(text: str) -> Condition:
    """Return the condition in the text of a condition file, in any supported notation.

    Raises:
        BadInputError: with line, value and remedy.
    """
    if len(text) > _LONGEST:
        fault = f"has {len(text)} characters, more than {_LONGEST}"
        raise BadInputError(fault, value=len(text), limit=_LONGEST, remedy="shorten it", place="condition file")
    with tempfile.TemporaryDirectory(prefix="passband-app-") as folder:
        path = Path(folder) / "condition.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            return load_condition(path)
        except BadInputError as error:
            raise BadInputError(str(error).replace(str(path), "condition file")) from None


def without_slider(base: Condition) -> list[str]:
    """Return the names of a condition's parameters that have no slider."""
    shown = {c.key for c in CONTROLS} | {"C10", "energy_ev", "pixel_size_angstrom", "aberrations"}
    content = base.aberrations | base.to_dict()
    return [name for name, value in content.items() if name not in shown and value not in (None, 0.0)]
