"""A page written by hand, with tables between markers that a command fills in."""

from collections.abc import Mapping
from pathlib import Path

from passband.base.errors import BadInputError
from passband.files.atomic import write_text


def fill_in(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands between the lines `<!-- name -->` and `<!-- /name -->` of a page, for each part by name."""
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise BadInputError(f"{page}: lacks the lines {begin.strip()} and {end}")
        text = before + begin + "\n" + part + "\n\n" + end + rest.partition(end)[2]
    write_text(page, text)


def number(value: float | None) -> str:
    """Return a number to two digits after the point, or a dash."""
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")
