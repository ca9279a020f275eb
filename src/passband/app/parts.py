"""Widgets that the tabs share: texts in one style, columns that wrap, figures, the drop field; and numbers in boxes."""

import math
from contextlib import suppress
from importlib.resources import files
from typing import Any, ClassVar

import panel as pn
import param
from panel.custom import JSComponent

from passband.base.errors import BadInputError


def script(name: str) -> str:
    """Return the text of a script or style of the page."""
    return files("passband.app").joinpath(name).read_text(encoding="utf-8")


#: The style of everything.
STYLE = script("page.css")
#: Makes a widget as wide as its column.
WIDE: dict[str, Any] = {"sizing_mode": "stretch_width"}
#: Least width of a column of fields [pixels].
FIELDS_WIDTH = 310


def text(content: str = "", **changes: Any) -> Any:
    """Return a pane for HTML in the page's style."""
    return pn.pane.HTML(content, stylesheets=[STYLE], **({"margin": (0, 10)} | WIDE | changes))


def columns(*parts: tuple[int, list[Any]]) -> Any:
    """Return columns, each of a least width [pixels], that share the window's, or stand below each other where it is too narrow."""
    made = []
    for width, content in parts:
        flex = {"flex": f"1 1 {width}px", "min-width": f"min({width}px, 100%)"}
        made.append(pn.Column(*content, styles=flex, **WIDE))
    return pn.FlexBox(*made, flex_wrap="wrap", align_content="flex-start", gap="0 8px", **WIDE)


def figure_pane(plot: Any, *, visible: bool = True) -> Any:
    """Return a pane for a figure that is as wide as its column, and scrolls where that is too narrow for it."""
    pane = pn.pane.Bokeh(plot, sizing_mode=plot.sizing_mode, margin=(0, 10))
    return pn.Column(
        pane, visible=visible, styles={"overflow-x": "auto", "contain": "inline-size", "min-width": "0"}, **WIDE
    )


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


class DropField(JSComponent):
    """A field to drop or choose a file; the browser uploads it over HTTP, not through the page's socket.

    Attributes:
        key: of the file on the server.
        fault: why the server refused it.
        hint: text of the field.
        most_bytes: largest file [bytes].
        address: that the file is sent to.
        several: whether many files may be dropped at a time.
        keys: of all files on the server, in order.
        batch_address: that files are sent to if several are dropped at once; empty sends each to `address`.
        batch: name, key and fault of each of them, when all have been sent.
    """

    key = param.String(default="")
    fault = param.String(default="")
    hint = param.String(default="")
    most_bytes = param.Integer(default=0)
    address = param.String(default="upload")
    several = param.Boolean(default=False)
    keys = param.List(default=[])
    batch_address = param.String(default="")
    batch = param.List(default=[])

    _stylesheets: ClassVar[list[str]] = [STYLE]
    _esm = script("drop_field.js")
