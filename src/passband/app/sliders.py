"""The column of sliders, number boxes, presets and the condition file; together they set one condition."""

from collections.abc import Callable
from typing import Any

import panel as pn

from passband.app import controls, html
from passband.app.controls import CONTROLS
from passband.app.parts import Dial, text
from passband.base.errors import BadInputError
from passband.conditions import Condition

#: Width of the column [pixels].
WIDTH = 310
_INNER = WIDTH - 36
_ABSENT = {"dose_per_angstrom2": "shot noise", "aperture_mrad": "aperture"}


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
        """Build the widgets, set to the first preset.

        Args:
            presets: by name.
            pixel_size_angstrom: of the picture [Å].
            changed: called with each new condition.
            refuse: called with each error.
        """
        self._presets, self._pixel, self._changed, self._refuse = presets, pixel_size_angstrom, changed, refuse
        self._loading = False
        self._dials = {
            c.key: Dial(c.label, c.low, c.high, c.step, least=c.least, width=_INNER, name=f"dial-{c.key}")
            for c in CONTROLS
        }
        self._has = {key: pn.widgets.Checkbox(name=name, margin=(4, 10, 0, 10)) for key, name in _ABSENT.items()}
        self._preset = pn.widgets.Select(name="Start from", options=list(presets), width=_INNER, margin=(0, 10, 6, 10))
        self._facts = text(width=_INNER)
        self._text = pn.widgets.TextAreaInput(height=170, width=_INNER - 20, margin=5, css_classes=["condition-file"])
        self._use = pn.widgets.Button(name="Use this text", width=_INNER - 20, margin=5)
        self.condition = self._load(next(iter(presets.values()))())
        for dial in self._dials.values():
            dial.watch(self._moved)
        for box in self._has.values():
            box.param.watch(lambda event: self._moved(), "value")
        self._preset.param.watch(lambda event: self.start_from(self._presets[event.new]), "value")
        self._use.on_click(lambda event: self.start_from(lambda: controls.from_yaml(self._text.value)))

    def layout(self) -> Any:
        """Return the column."""
        rows: list[Any] = [self._preset, self._facts]
        for key, dial in self._dials.items():
            rows += [self._has[key], dial.layout()] if key in self._has else [dial.layout()]
        file = pn.Card(
            self._text,
            self._use,
            title="Condition file: copy it, or paste one",
            collapsed=True,
            width=_INNER,
            margin=(8, 10),
        )
        return pn.Column(*rows, file, width=WIDTH, css_classes=["sidebar"])

    def start_from(self, make: Callable[[], Condition]) -> None:
        """Set the sliders to a condition, and keep its other parameters."""
        try:
            self.condition = self._load(make())
        except BadInputError as error:
            self._refuse(error)
        else:
            self._changed(self.condition)

    def _load(self, condition: Condition) -> Condition:
        self._base, self._loading = condition, True
        try:
            places = controls.positions(condition)
            for control in CONTROLS:
                self._dials[control.key].put(places[control.key])
            for key, has in controls.present(condition).items():
                self._has[key].value = has
        finally:
            self._loading = False
        others = controls.without_slider(condition)
        line = f"{condition.energy_ev / 1e3:g} kV" + (
            f"; also set, without a slider: {', '.join(others)}" if others else ""
        )
        self._facts.object = html.note(line)
        return self._read()

    def _read(self) -> Condition:
        values = {}
        for control in CONTROLS:
            value = self._dials[control.key].value
            if value is None:
                raise BadInputError(f"{control.label}: is empty; give a number")
            values[control.key] = float(value)
        for key, box in self._has.items():
            self._dials[key].enable(bool(box.value))
        condition = controls.condition_at(
            self._base, values, {key: bool(box.value) for key, box in self._has.items()}, self._pixel
        )
        self._text.value = controls.in_yaml(condition)
        return condition

    def _moved(self) -> None:
        if self._loading:
            return
        try:
            self.condition = self._read()
        except BadInputError as error:
            self._refuse(error)
        else:
            self._changed(self.condition)
