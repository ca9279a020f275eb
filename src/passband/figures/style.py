"""One look for all figures: sizes, colours, and how they are saved. No backend is chosen here."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.rcsetup import cycler
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from passband.files.atomic import write_file

#: The palette, safe for the colour-blind; groups also differ by their marker.
BLUE, ORANGE, GREY = "#2b5c8a", "#d9730d", "#5b6875"
GROUPS = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", GREY)
#: Classes of a map from class 1 on.
CLASSES = (ORANGE, "#56b4e9", "#009e73", "#cc79a7", "#f0e442", BLUE)
MARKERS = ("o", "s", "^", "D", "v", "P")
#: Outlines on a grey image.
PREDICTION, TRUTH = "#ff9d2e", "#4dd4ff"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": cycler(color=GROUPS),
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


def class_colours(count: int) -> dict[str, Any]:
    """Return the options of `imshow` for a map of class numbers below `count`: the palette from class 1 on, class 0 dark."""
    colours = ["#20252b", *(_class_colour(i) for i in range(1, count))]
    return {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": count - 0.5}


def class_legend(ax: Axes, names: Sequence[str]) -> None:
    """Name the colours of classes 1, 2, … of a map below the axes."""
    handles = [Patch(color=_class_colour(i), label=name) for i, name in enumerate(names, start=1)]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=min(len(handles), 6))


def _class_colour(number: int) -> str:
    return CLASSES[(number - 1) % len(CLASSES)]


def minus(text: str) -> str:
    """Return a text whose negative numbers have a minus sign, not a hyphen."""
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "−", text)


def in_order(count: int) -> list[Any]:
    """Return colours for curves in an order, all dark enough for a white page."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0, 0.85, count)))


def whole_numbers(*axes: Any) -> None:
    """Give axes of counts, such as `ax.xaxis`, ticks at whole numbers only."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def log_scale(ax: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers on it."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    # Powers of ten alone would leave a short axis without a number.
    short = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high > 10 * low else short))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def colour_bar(drawn: Any, ax: Axes, label: str) -> None:
    """Add a named colour bar beside some axes, with plain numbers."""
    assert ax.figure is not None
    ticks: dict[str, Any] = {}
    if isinstance(drawn.norm, LogNorm):
        ticks = {"ticks": LogLocator(subs=(1.0, 2.0, 5.0)), "format": "%g"}
    ax.figure.colorbar(drawn, ax=ax, label=label, shrink=0.8, **ticks)


def bar_length(field_angstrom: float) -> float:
    """Return the length of a scale bar [Å] for a field [Å]: 1, 2 or 5 times a power of ten, a tenth to a quarter of it."""
    power = 10.0 ** math.floor(math.log10(field_angstrom / 4))
    return max(n * power for n in (1, 2, 5) if n * power <= field_angstrom / 4)


def scale_bar(ax: Axes) -> None:
    """Draw a scale bar with its length into an image whose extent is in Å."""
    left, right, bottom, top = ax.images[0].get_extent()
    length = bar_length(right - left)
    x, y = left + 0.05 * (right - left), bottom + 0.07 * (top - bottom)
    edge = [Stroke(linewidth=4.5, foreground="black"), Normal()]
    ax.plot([x, x + length], [y, y], color="white", linewidth=3, solid_capstyle="butt", path_effects=edge)
    label = f"{length / 10:g} nm"
    box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5}
    ax.annotate(label, (x, y), (0, 4), textcoords="offset points", color="white", fontsize=8, va="bottom", bbox=box)


# Who wrote a file, which later runs look for before they write over it. An SVG would note the date, and so differ each time.
_METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "passband"},
    "png": {"Software": "passband"},
}


def svg(made: Figure) -> str:
    """Return a figure as an <svg> element."""
    buffer = StringIO()
    made.savefig(buffer, format="svg", metadata=_METADATA["svg"])
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(width: float, height: float, draw: Callable[[Figure], Any], dpi: int = 90) -> bytes:
    """Return a figure [inches] that a function draws as a PNG."""
    buffer = BytesIO()
    with figure(width, height) as made:
        draw(made)
        made.savefig(buffer, format="png", dpi=dpi, metadata=_METADATA["png"])
    return buffer.getvalue()


def save(made: Figure, folder: Path, name: str, formats: tuple[str, ...] = ("png", "svg")) -> None:
    """Write a figure in each format."""
    for suffix in formats:
        write_file(
            folder / f"{name}.{suffix}", lambda path: made.savefig(path, metadata=_METADATA[path.suffix.lstrip(".")])
        )
