"""The cross-condition matrix: one score for every train and test condition."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from passband.figures import style

_TITLES = {
    "loss": "Test loss",
    "dice": "Dice",
    "surface_dice": "Surface Dice within 2 Å",
    "instance_f1": "Instance F1",
    "distance_angstrom": "Distance of outlines [Å]",
    "absolute_distance_angstrom": "Absolute distance of outlines [Å]",
    "diameter_bias_angstrom": "Diameter bias [Å]",
}
# Scores of at most 1, and those that have a sign.
_SHARES = ("dice", "surface_dice", "instance_f1", "column_f1", "coverage")
_SIGNED = ("distance_angstrom", "diameter_bias_angstrom")
# Most test conditions whose scores are written into the cells.
_NUMBERED = 16


def short_labels(labels: list[str]) -> tuple[str, list[str]]:
    """Return what all labels share, such as "C12 [Å] / dose [e/Å²]", and what is left of each, such as "60 / 500"."""
    parts = [[part.rsplit(" ", 2) for part in label.split(", ")] for label in labels]
    # Names of families and sets carry no unit.
    if any(len(part) != 3 for label in parts for part in label):
        return "", labels
    shared = {tuple((name, unit) for name, _, unit in label) for label in parts}
    if len(shared) > 1:
        return "", labels
    title = " / ".join(f"{name} [{unit}]" for name, unit in shared.pop())
    return title, [" / ".join(style.minus(value) for _, value, _ in label) for label in parts]


def draw(table: pl.DataFrame, ax: Axes, score: str, title: str | None = None) -> None:
    """Draw the mean over seeds of a score, titled as given or by its name, of pairs with train_label, test_label and the score."""
    mean = table.group_by("train_label", "test_label", maintain_order=True).agg(pl.col(score).mean())
    # A condition without networks has a column and no row.
    trained, tested = (mean[c].unique(maintain_order=True).to_list() for c in ("train_label", "test_label"))
    values = np.full((len(trained), len(tested)), np.nan)
    for row, column, value in mean.iter_rows():
        values[trained.index(row), tested.index(column)] = value
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if score == "loss":
        picture = ax.imshow(values, cmap="magma_r", norm=LogNorm(low, max(high, 1.01 * low)))
    elif score in _SHARES:
        picture = ax.imshow(values, cmap="viridis", vmin=min(0.5, low), vmax=1)
    elif score in _SIGNED:
        most = max(-low, high)
        picture = ax.imshow(values, cmap="coolwarm", vmin=-most, vmax=most)
    else:
        picture = ax.imshow(values, cmap="viridis", vmin=low, vmax=high)
    numbered = len(tested) <= _NUMBERED
    for i, j in np.ndindex(*values.shape) if numbered else ():
        red, green, blue, _ = picture.to_rgba(values[i, j])
        ink = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
        shown = f"{values[i, j]:.2f}" if values[i, j] < 100 else f"{values[i, j]:.3g}"
        ax.text(j, i, style.minus(shown), ha="center", va="center", fontsize=7.5, color=ink)
    for axis, name, labels in ((ax.xaxis, "tested", tested), (ax.yaxis, "trained", trained)):
        shared, ticks = short_labels(labels)
        axis.set_ticks(range(len(labels)), ticks, fontsize=8 if numbered else 4)
        axis.set_label_text(f"{name} at {shared}" if shared else f"{name} on")
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    title = title or _TITLES.get(score, score)
    ax.set_title(f"{title} (mean over seeds)")
    style.colour_bar(picture, ax, title)
