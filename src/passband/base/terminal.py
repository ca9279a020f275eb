"""What is printed: warnings on stderr, one JSON object on stdout, numbers that may be missing."""

import json
import math
from typing import Any

from rich.console import Console

#: Where logs, warnings and progress go.
error = Console(stderr=True)


def warn(lines: list[str]) -> None:
    """Print warnings, a line each."""
    for line in lines:
        error.print(f"passband: warning: {line}", highlight=False, soft_wrap=True, markup=False)


def print_json(content: Any) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(content, allow_nan=False, ensure_ascii=False))


def or_dash(value: float | None, digits: int = 4) -> str:
    """Return a number, or a dash if there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
