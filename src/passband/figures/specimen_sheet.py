"""Sheets of one specimen: the structure from two sides, its radial distribution, images and labels."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from passband.figures import style

Panels = dict[str, Any]
#: Names of the maps of a specimen's labels, [rows, columns].
MAPS = ("potential", "mask", "instances", "classes", "boundary_distance", "thickness", "film_thickness")
# Of whole numbers: 0 is black, others take ten colours in turn.
_NUMBERS: dict[str, Any] = {"cmap": ListedColormap(["black", *colormaps["tab10"](range(10))]), "vmin": 0, "vmax": 10}
_IMAGE: dict[str, Any] = {"cmap": "gray", "vmin": -3, "vmax": 3}


def draw_preview(panels: Panels, made: Figure) -> None:
    """Draw everything about one specimen.

    Args:
        panels: `field` and `height` [Å]; the `MAPS`, [rows, columns]; `side` [x, z] atoms seen along y; `columns` (x, y);
            `rdf` name → (r, g); `images` name → [rows, columns]; `names` of the classes.
        made: an empty figure, about 12 by 9 inches.
    """
    field = panels["field"]
    plan, side, rdf, *axes = made.subplots(3, 4).flat
    _potential(plan, panels, 1.5)
    plan.set(title="projected potential [V·Å], columns", xlabel="x [Å]", ylabel="y [Å]")
    _side(side, panels)
    side.set(title="from the side; beam upwards", xlabel="x [Å]", ylabel="z [Å]")
    for name, (r, g) in panels["rdf"].items():
        rdf.plot(r, g, label=name, linewidth=1)
    rdf.axhline(1, color="0.8", linewidth=0.8)
    rdf.set(title="radial distribution", xlabel="r [Å]", ylabel="g(r)", xlim=(0, None), ylim=(0, 6))
    if panels["rdf"]:
        rdf.legend(fontsize=7)
    first, *others = list(panels["images"].items())[:3]
    reach = float(np.abs(panels["boundary_distance"]).max())
    distance: dict[str, Any] = {"cmap": "RdBu", "vmin": -reach, "vmax": reach}
    maps: list[tuple[str, Any, dict[str, Any]]] = [
        (f"image: {first[0]}", first[1], _IMAGE),
        ("mask", panels["mask"], {"cmap": "gray"}),
        ("instances", _coloured(panels["instances"]), _NUMBERS),
        (f"crystal: {', '.join(panels['names'])}", _coloured(panels["classes"]), _NUMBERS),
        ("distance to the boundary [Å]", panels["boundary_distance"], distance),
        ("thickness of the particles [Å]", panels["thickness"], {"vmin": 0}),
        ("thickness of the film [Å]", panels["film_thickness"], {"vmin": 0}),
        *((f"image: {name}", image, _IMAGE) for name, image in others),
    ]
    for ax, (title, content, look) in zip(axes, maps, strict=False):
        drawn = _map(ax, content, field, **look)
        ax.set(title=title, xlabel="x [Å]", ylabel="y [Å]")
        if title.endswith("[Å]"):
            made.colorbar(drawn, ax=ax, shrink=0.8).ax.tick_params(labelsize=7)
    for ax in axes[len(maps) :]:
        ax.set_axis_off()
    for ax in (plan, side, rdf, *axes):
        ax.title.set_fontsize(8)
        ax.tick_params(labelsize=7)


def draw_row(panels: Panels, made: Figure) -> None:
    """Draw the panels of `draw_preview` in one row, about 15 by 2 inches, with a scale bar each and without titles."""
    images = list(panels["images"].values())[:3]
    axes = made.subplots(1, 5 + len(images))
    field, reach = panels["field"], float(np.abs(panels["boundary_distance"]).max())
    _potential(axes[0], panels, 0.8)
    _side(axes[1], panels)
    for ax, image in zip(axes[2:], images, strict=False):
        _map(ax, image, field, **_IMAGE)
    _map(axes[-3], _coloured(panels["instances"]), field, **_NUMBERS)
    _map(axes[-2], panels["boundary_distance"], field, cmap="RdBu", vmin=-reach, vmax=reach)
    _map(axes[-1], panels["thickness"], field, vmin=0)
    for ax in axes:
        style.scale_bar(ax)
        ax.set_axis_off()


def _potential(ax: Axes, panels: Panels, size: float) -> None:
    _map(ax, panels["potential"], panels["field"], cmap="gray", vmax=_high(panels["potential"]))
    ax.plot(*panels["columns"], ".", color=style.PREDICTION, markersize=size)


def _side(ax: Axes, panels: Panels) -> None:
    extent = (0, panels["field"], 0, panels["height"])
    ax.imshow(panels["side"].T, origin="lower", extent=extent, cmap="gray_r", vmax=_high(panels["side"]))


def _map(ax: Axes, content: np.ndarray, field: float, **look: Any) -> Any:
    # x runs to the right, y downwards.
    return ax.imshow(content, extent=(0, field, field, 0), **look)


def _coloured(numbers: np.ndarray) -> np.ndarray:
    """Return whole numbers from 1 as 1 to 10 in turn; 0 stays."""
    return np.where(numbers > 0, (numbers.astype(int) - 1) % 10 + 1, 0)


def _high(content: np.ndarray) -> float:
    """Return a brightest value that a few columns do not set."""
    return float(np.quantile(content, 0.995)) or 1.0
