"""The column of sliders, number boxes, presets and the condition file; together they set one condition."""

from collections.abc import Callable
from typing import Any

import panel as pn

from passband.app import controls, html
from passband.app.controls import CONTROLS
from passband.app.latest import Latest
from passband.app.parts import WIDE, Dial, text
from passband.base.errors import BadInputError
from passband.conditions import Condition

_ABSENT = {"dose_per_angstrom2": "shot noise", "aperture_mrad": "aperture"}
_SIGN = "defocus = −C10: positive is underfocus, negative overfocus"


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
        self._pixel, self._changed, self._refuse = pixel_size_angstrom, changed, refuse
        self._loading = False
        self._dials = {c.key: Dial(c) for c in CONTROLS}
        self._has = {key: pn.widgets.Checkbox(name=name, margin=(4, 10, 0, 10)) for key, name in _ABSENT.items()}
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
        reader = Latest(controls.from_yaml, self.start_from, refuse, pn.state.curdoc.add_next_tick_callback)
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
            for key, place in controls.positions(condition).items():
                self._dials[key].put(place)
            for key, has in controls.present(condition).items():
                self._has[key].value = has
        finally:
            self._loading = False
        others = ", ".join(controls.without_slider(condition))
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
        condition = controls.condition_at(self._base, values, has, self._pixel)
        self._text.value = controls.in_yaml(condition)
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
