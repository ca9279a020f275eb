"""HTML of the page, with everything from files escaped, and errors that name the page's fields."""

import html
from collections.abc import Sequence

from passband.base.errors import BadInputError

#: Fields of the page, by the parameter that they set.
FIELDS = {
    "pixel_size_angstrom": "the field “pixel size”",
    "energy_ev": "the field “energy”",
    "dose_per_angstrom2": "the field “dose”",
    "condition": "the tab “Optics”",
    "name": "the field “name of the tuned model”",
    "folder": "the field “folder of the results”",
    "frames": "the field “image of a stack”",
}


def field(parameter: str) -> str:
    """Return the field of the page that sets a parameter, or the parameter."""
    return FIELDS.get(parameter, parameter)


def refusal(fault: BadInputError | str) -> str:
    """Return a fault in red."""
    line = fault if isinstance(fault, str) else fault.text(field)
    return f'<p class="refusal">{html.escape(" ".join(line.split()))}</p>'


def note(line: str) -> str:
    """Return a line in grey."""
    return f'<p class="note">{html.escape(line)}</p>'


def bullets(lines: Sequence[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def section(title: str, body: str) -> str:
    """Return a titled part, or nothing if it is empty."""
    return f"<h3>{html.escape(title)}</h3>{body}" if body else ""
