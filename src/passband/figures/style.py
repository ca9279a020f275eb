"""One look for all figures: sizes, colours, and how they are saved. No backend is chosen here."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from passband.files.atomic import write_file

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "passband",
    "svg.fonttype": "path",
    "legend.frameon": False,
}


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Yield a figure [inches] in the house style, for a file; no window or notebook shows it."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


@contextmanager
def shown(width: float, height: float) -> Iterator[Figure]:
    """Yield a pyplot figure [inches] in the house style: a notebook displays it, a script by `plt.show()`."""
    # pyplot chooses the caller's backend when it makes its first figure.
    from matplotlib import pyplot as plt

    with matplotlib.rc_context(_STYLE):
        yield plt.figure(figsize=(width, height), layout="constrained")


def log_scale(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers on it."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    # Powers of ten alone would leave a short axis without a number.
    short = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high > 10 * low else short))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def svg(made: Figure) -> str:
    """Return a figure as an <svg> element."""
    buffer = StringIO()
    made.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save(made: Figure, folder: Path, name: str, formats: tuple[str, ...] = ("png", "svg")) -> None:
    """Write a figure in each format."""

    def write(path: Path) -> None:
        # An SVG would note the date, and so differ each time.
        made.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)

    for suffix in formats:
        write_file(folder / f"{name}.{suffix}", write)
