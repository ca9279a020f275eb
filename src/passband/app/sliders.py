"""The sliders: their positions for a condition, one with its number box, and the column of them that sets a condition."""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import panel as pn
import yaml

from passband.app import html
from passband.app.latest import Latest
from passband.app.parts import STYLE, WIDE, number, text
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import load_condition
from passband.figures.style import minus

_SIGN = "defocus = −C10: positive is underfocus, negative overfocus"


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
_OPTIONAL = {"dose_per_angstrom2": "shot noise", "aperture_mrad": "aperture"}
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
    return {key: getattr(condition, key) is not None for key in _OPTIONAL}


def condition_at(
    base: Condition, values: dict[str, float], has: dict[str, bool], pixel_size_angstrom: float
) -> Condition:
    """Return the condition that the sliders set; what has no slider (other aberrations, drift, camera, energy) is the base's.

    Args:
        base: what the sliders started from.
        values: of each slider, in its unit.
        has: whether there is each of the optional values.
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


class Dial:
    """A slider with a label and a number box above it; a value beyond the slider extends it.

    Attributes:
        value: the current one; None while the box is empty.
    """

    def __init__(self, control: Control):
        """Build it, set to its low end."""
        c, self.control, self._moving = control, control, False
        self.value: float | None = c.low
        self._label = text(margin=(6, 0, 0, 0))
        self._box = pn.widgets.TextInput(width=92, height=26, margin=(1, 0, 0, 8), css_classes=["box", f"box-{c.key}"], stylesheets=[STYLE])  # fmt: skip
        self._slider = pn.widgets.FloatSlider(value=c.low, start=c.low, end=c.high, step=c.step, show_value=False, height=16, margin=(1, 4, 3, 4), css_classes=[f"dial-{c.key}"], **WIDE)  # fmt: skip
        # Panel collects events of a slider for 50 ms, which is too slow; `Latest` drops stale ones.
        self._slider._debounce = 1

    def layout(self) -> Any:
        """Return what is shown."""
        return pn.Column(pn.Row(self._label, self._box, margin=0, **WIDE), self._slider, margin=(0, 10), **WIDE)

    def watch(self, moved: Callable[[], None], refuse: Callable[[BadInputError], None]) -> None:
        """Call a function whenever the user moves it, another if what is typed is no number."""

        def dragged(event: Any) -> None:
            if not self._moving:
                self.put(event.new)
                moved()

        def typed(event: Any) -> None:
            if self._moving:
                return
            try:
                self.put(number(event.new, self.control.label), typed=True)
            except BadInputError as error:
                refuse(error)
            else:
                moved()

        self._slider.param.watch(dragged, "value")
        self._box.param.watch(typed, "value")

    def put(self, value: float | None, *, typed: bool = False) -> None:
        """Move it."""
        c, self._moving, self.value = self.control, True, value
        also = "" if value is None else c.also(value)
        self._label.object = f"{c.label} <span class='also'>{minus(also)}</span>"
        try:
            if not typed:
                self._box.value = "" if value is None else f"{value:.10g}"
            if value is not None:
                self._slider.param.update(start=min(c.low, value), end=max(c.high, value), value=value)
        finally:
            self._moving = False

    def enable(self, on: bool) -> None:
        """Enable or disable it."""
        self._slider.disabled = self._box.disabled = not on


class Sliders:
    """A column of widgets that sets one condition.

    Attributes:
        condition: the current one.
    """

    def __init__(
        self,
        presets: dict[str, Callable[[], Condition]],
        pixel_size_angstrom: float,
        changed: Callable[[Condition], None],
        refuse: Callable[[BadInputError], None],
    ):
        """Build the widgets, set to the first preset; `changed` is called with each new condition, `refuse` with each error."""
        self._pixel, self._changed, self._refuse = pixel_size_angstrom, changed, refuse
        self._loading = False
        self._dials = {c.key: Dial(c) for c in CONTROLS}
        self._has = {key: pn.widgets.Checkbox(name=name, margin=(4, 10, 0, 10)) for key, name in _OPTIONAL.items()}
        self._preset = pn.widgets.Select(name="Start from", options=list(presets), margin=(0, 10, 6, 10), **WIDE)
        self._facts = text()
        self._text = pn.widgets.TextAreaInput(height=170, margin=5, css_classes=["condition-file"], **WIDE)
        self._use = pn.widgets.Button(name="Use this text", margin=5, **WIDE)
        self.condition = self._load(next(iter(presets.values()))())
        for dial in self._dials.values():
            dial.watch(self._moved, refuse)
        for box in self._has.values():
            box.param.watch(lambda event: self._moved(), "value")
        # A file that takes long to read must not stop the page.
        reader = Latest(from_yaml, self.start_from, refuse, pn.state.curdoc.add_next_tick_callback)
        self._preset.param.watch(lambda event: self.start_from(presets[event.new]()), "value")
        self._use.on_click(lambda event: reader.submit(self._text.value))

    def layout(self) -> list[Any]:
        """Return the content of the column."""
        rows: list[Any] = [self._preset, self._facts]
        for key, dial in self._dials.items():
            rows += [self._has[key], dial.layout()] if key in self._has else [dial.layout()]
        title = "Condition file: copy it, or paste one"
        return [*rows, pn.Card(self._text, self._use, title=title, collapsed=True, margin=(8, 10), **WIDE)]

    def start_from(self, condition: Condition) -> None:
        """Set the sliders to a condition, and keep its other parameters."""
        self._set(lambda: self._load(condition))

    def _load(self, condition: Condition) -> Condition:
        self._base, self._loading = condition, True
        try:
            for key, place in positions(condition).items():
                self._dials[key].put(place)
            for key, has in present(condition).items():
                self._has[key].value = has
        finally:
            self._loading = False
        others = ", ".join(without_slider(condition))
        energy = f"{condition.energy_ev / 1e3:g} kV" + (f"; also set, without a slider: {others}" if others else "")
        self._facts.object = html.note(energy) + html.note(_SIGN)
        return self._read()

    def _read(self) -> Condition:
        values = {}
        for key, dial in self._dials.items():
            if dial.value is None:
                raise BadInputError("is empty", remedy="give a number", place=dial.control.label)
            values[key] = dial.value
        has = {key: bool(box.value) for key, box in self._has.items()}
        for key, on in has.items():
            self._dials[key].enable(on)
        condition = condition_at(self._base, values, has, self._pixel)
        self._text.value = in_yaml(condition)
        return condition

    def _moved(self) -> None:
        if not self._loading:
            self._set(self._read)

    def _set(self, make: Callable[[], Condition]) -> None:
        try:
            self.condition = make()
        except BadInputError as error:
            self._refuse(error)
        else:
            self._changed(self.condition)
