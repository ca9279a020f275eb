"""What is printed: answers on stdout, warnings and progress on stderr, always as characters that a terminal can show."""

import json
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from passband.base.errors import plain as plain

_printed = threading.Event()


class _Messages(Console):
    """A console that goes quiet when it cannot be written, as on a full disk: a lost message must not stop the work."""

    def print(self, *objects: Any, **options: Any) -> None:
        _printed.set()
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True


#: Where logs, warnings and progress go.
error = _Messages(stderr=True)


def show(answer: object) -> None:
    """Print an answer on stdout."""
    _printed.set()
    print(plain(answer))


def note(text: str, console: Console = error) -> None:
    """Print a line on stderr."""
    console.print(f"passband: {plain(text)}", highlight=False, soft_wrap=True, markup=False)


@contextmanager
def working(after_seconds: float = 1.0) -> Iterator[None]:
    """Tell a terminal if the block takes longer and has printed nothing by then: the first import may take seconds."""

    def say() -> None:
        if sys.stderr.isatty() and not _printed.is_set():
            note("working")

    timer = threading.Timer(after_seconds, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def warn(lines: list[str]) -> None:
    """Print warnings, a line each."""
    for line in lines:
        note(f"warning: {line}")


def print_json(content: Any) -> None:
    """Print one JSON object on stdout; characters that stdout cannot encode are escaped."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(content, allow_nan=False)
    print(text)


def or_dash(value: float | None, digits: int = 4) -> str:
    """Return a number, or a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
