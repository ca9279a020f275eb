"""Widgets that the tabs share: texts in one style, number boxes, sliders with a box, the drop field, columns that wrap."""

import math
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any, ClassVar

import panel as pn
import param
from panel.custom import JSComponent

from passband.app.controls import Control
from passband.base.errors import BadInputError
from passband.figures.style import minus

#: The style of everything.
STYLE = files("passband.app").joinpath("page.css").read_text(encoding="utf-8")
_DROP = files("passband.app").joinpath("drop_field.js").read_text(encoding="utf-8")
#: Makes a widget as wide as its column.
WIDE: dict[str, Any] = {"sizing_mode": "stretch_width"}
#: Least width of a column of fields [pixels].
FIELDS_WIDTH = 310


def text(content: str = "", **changes: Any) -> Any:
    """Return a pane for HTML in the page's style."""
    return pn.pane.HTML(content, stylesheets=[STYLE], **({"margin": (0, 10)} | WIDE | changes))


def columns(*parts: tuple[int, list[Any]]) -> Any:
    """Return columns side by side that share the window's width, and stand below each other where it is too narrow.

    Args:
        *parts: least comfortable width [pixels] and content of each.
    """
    made = []
    for width, content in parts:
        flex = {"flex": f"1 1 {width}px", "min-width": f"min({width}px, 100%)"}
        made.append(pn.Column(*content, styles=flex, **WIDE))
    return pn.FlexBox(*made, flex_wrap="wrap", align_content="flex-start", gap="0 8px", **WIDE)


def figure_pane(plot: Any, *, visible: bool = True) -> Any:
    """Return a pane for a figure that is as wide as its column, and scrolls where that is too narrow for it."""
    pane = pn.pane.Bokeh(plot, sizing_mode=plot.sizing_mode, margin=(0, 10))
    return pn.Column(pane, visible=visible, styles={"overflow-x": "auto", "contain": "inline-size"}, **WIDE)


def number(written: str, name: str) -> float | None:
    """Return the number in a box, or None if it is empty.

    Raises:
        BadInputError: naming the box, if that is no number.
    """
    content = written.strip().replace("−", "-")
    if not content:
        return None
    value = math.nan
    # Digits of other scripts are refused, too.
    with suppress(ValueError):
        value = float(content.encode("ascii"))
    if not math.isfinite(value):
        raise BadInputError(f"{content[:40]!r} is not a number", value=content, remedy="give one such as 80 or -1.5", place=name)  # fmt: skip
    return value


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


class DropField(JSComponent):
    """A field to drop or choose a file; the browser uploads it over HTTP, not through the page's socket.

    Attributes:
        key: of the file on the server.
        fault: why the server refused it.
        hint: text of the field.
        most_bytes: largest file [bytes].
    """

    key = param.String(default="")
    fault = param.String(default="")
    hint = param.String(default="")
    most_bytes = param.Integer(default=0)

    _stylesheets: ClassVar[list[str]] = [STYLE]
    _esm = _DROP
