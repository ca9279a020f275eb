"""What models are predicted to do over a plane of defocus and dose."""

from itertools import cycle, islice
from typing import Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.ndimage import distance_transform_edt

from passband.figures import style

_UNKNOWN = "0.82"


def draw(plane: pl.DataFrame, figure: Figure) -> None:
    """Draw the Dice over defocus and dose, outlines of where the answer is yes and of what is recommended, and of several models the better one.

    Args:
        plane: a row a point: defocus_angstrom, dose_per_angstrom2, model, answer, dice (null where nothing can be said), recommended.
        figure: where to draw.
    """
    models = plane["model"].unique().sort().to_list()
    ax, *rest = np.ravel(figure.subplots(1, 1 + (len(models) > 1), sharey=True))
    x, y = (plane[name].unique().sort().to_numpy() for name in ("defocus_angstrom", "dose_per_angstrom2"))
    rows = plane.sort("dose_per_angstrom2", "defocus_angstrom")

    def grid(values: pl.Series) -> np.ndarray:
        return values.to_numpy().reshape(len(y), len(x))

    dice = np.ma.masked_invalid(grid(rows["dice"].cast(pl.Float64).fill_null(np.nan)))
    low = min(0.9, np.floor(20 * float(dice.min())) / 20) if dice.count() else 0.0
    drawn = ax.pcolormesh(x, y, dice, shading="nearest", cmap="viridis", vmin=low, vmax=1, rasterized=True)
    style.colour_bar(drawn, ax, "predicted Dice")
    handles: list[Patch | Line2D] = []
    outlines: tuple[tuple[str, pl.Series, Literal["-", ":"]], ...] = (
        ("answer yes", rows["answer"] == "yes", "-"),
        ("recommended", rows["recommended"], ":"),
    )
    for name, values, dashes in outlines:
        if values.any():
            _outline(ax, x, y, grid(values), dashes)
            handles.append(Line2D([], [], color="black", linestyle=dashes, label=name))
    for answer in ("yes", "no"):
        _name(ax, x, y, grid(rows["answer"] == answer), answer)
    if (rows["answer"] == "cannot say").any():
        handles.append(Patch(facecolor=_UNKNOWN, edgecolor="0.5", hatch="////", label="cannot say"))
    for panel in rest:
        index = grid(rows["model"].replace_strict(models, list(range(len(models))))).astype(float)
        known = np.ma.masked_where(grid(rows["answer"] == "cannot say"), index)
        colours = list(islice(cycle(style.GROUPS), len(models)))
        panel.pcolormesh(
            x, y, known, shading="nearest", cmap=ListedColormap(colours), vmin=-0.5, vmax=len(models) - 0.5
        )
        named = [Patch(color=colour, label=model) for model, colour in zip(models, colours, strict=False)]
        panel.legend(
            handles=named, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, title="better model"
        )
    for panel in (ax, *rest):
        panel.set_facecolor(_UNKNOWN)
        panel.patch.set(hatch="////", edgecolor="0.65")
        panel.set(yscale="log", xlabel="defocus [Å], positive = underfocus")
    style.log_scale(ax)
    ax.set_ylabel("dose [e/Å²]")
    if handles:
        ax.legend(handles=handles, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


def _name(ax: Axes, x: np.ndarray, y: np.ndarray, inside: np.ndarray, name: str) -> None:
    """Write the name of an area where it is widest, if it is large enough."""
    if inside.mean() < 0.05:
        return
    depth = distance_transform_edt(np.pad(inside, 1), sampling=(inside.shape[1] / inside.shape[0], 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    ax.text(
        float(x[column]), float(y[row]), name, ha="center", va="center", color="white", fontweight="bold", fontsize=12
    )


def _outline(ax: Axes, x: np.ndarray, y: np.ndarray, inside: np.ndarray, dashes: str) -> None:
    """Draw the outline of the cells inside, along their edges; values of y lie on a logarithmic axis."""
    twice = np.repeat(np.repeat(inside, 2, axis=0), 2, axis=1).astype(float)
    ax.contour(_sides(x), _sides(y), twice, levels=[0.5], colors="black", linestyles=dashes, linewidths=1.6)


def _sides(centres: np.ndarray) -> np.ndarray:
    """Return a point just inside either edge of each cell."""
    middle = (centres[1:] + centres[:-1]) / 2
    edges = np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
    inset = 1e-6 * np.diff(edges)
    return np.stack([edges[:-1] + inset, edges[1:] - inset], axis=-1).ravel()
