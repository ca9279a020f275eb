"""Sheets of one specimen: the structure from two sides, its radial distribution, images and labels."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Panels = dict[str, Any]
#: Names of the maps of a specimen's labels, [rows, columns].
MAPS = ("potential", "mask", "instances", "classes", "boundary_distance", "thickness", "film_thickness")


def draw_preview(panels: Panels, made: Figure) -> None:
    """Draw everything about one specimen.

    Args:
        panels: `field` and `height` [Å]; the `MAPS`, [rows, columns]; `side` [x, z] atoms seen along y; `columns` (x, y); `rdf`
            name → (r, g); `images` name → [rows, columns]; `names` of the classes.
        made: an empty figure, about 12 by 9 inches.
    """
    axes = made.subplots(3, 4)
    field = panels["field"]
    first = axes.flat
    _map(
        first[0],
        panels["potential"],
        field,
        "projected potential [V·Å], columns",
        "gray",
        vmax=_high(panels["potential"]),
    )
    first[0].plot(*panels["columns"], ".", color="tab:orange", markersize=1.5)
    first[1].imshow(
        panels["side"].T,
        origin="lower",
        extent=(0, field, 0, panels["height"]),
        cmap="gray_r",
        vmax=_high(panels["side"]),
    )
    first[1].set(title="from the side; beam upwards", xlabel="x [Å]", ylabel="z [Å]")
    for name, (r, g) in panels["rdf"].items():
        first[2].plot(r, g, label=name, linewidth=1)
    first[2].axhline(1, color="0.8", linewidth=0.8)
    first[2].set(title="radial distribution", xlabel="r [Å]", ylabel="g(r)", xlim=(0, None), ylim=(0, 6))
    if panels["rdf"]:
        first[2].legend(fontsize=7)
    name, image = next(iter(panels["images"].items()))
    _map(first[3], image, field, f"image: {name}", "gray", vmin=-3, vmax=3)
    _map(first[4], panels["mask"], field, "mask", "gray")
    _numbers(first[5], panels["instances"], field, "instances")
    _numbers(first[6], panels["classes"], field, f"crystal: {', '.join(panels['names'])}")
    reach = float(np.abs(panels["boundary_distance"]).max())
    _bar(made, first[7], panels["boundary_distance"], field, "distance to the boundary [Å]", "RdBu", -reach, reach)
    _bar(made, first[8], panels["thickness"], field, "thickness of the particles [Å]", "viridis", 0, None)
    _bar(made, first[9], panels["film_thickness"], field, "thickness of the film [Å]", "viridis", 0, None)
    others = list(panels["images"].items())[1:3]
    for ax, (title, shown) in zip((first[10], first[11]), others, strict=False):
        _map(ax, shown, field, f"image: {title}", "gray", vmin=-3, vmax=3)
    for ax in list(first[10:12])[len(others) :]:
        ax.set_axis_off()


def draw_row(panels: Panels, made: Figure) -> None:
    """Draw a specimen in one row: structure from two sides, images, mask with instances, distance, thickness.

    Args:
        panels: as for `draw_preview`.
        made: an empty figure, about 14 by 2 inches.
    """
    images = list(panels["images"].items())[:3]
    axes = made.subplots(1, 5 + len(images))
    field = panels["field"]
    axes[0].imshow(panels["potential"], cmap="gray", vmax=_high(panels["potential"]))
    axes[0].plot(
        *(np.asarray(c) * len(panels["potential"]) / field for c in panels["columns"]),
        ".",
        color="tab:orange",
        markersize=0.8,
    )
    axes[1].imshow(panels["side"].T, origin="lower", cmap="gray_r", vmax=_high(panels["side"]))
    for ax, (_, image) in zip(axes[2:], images, strict=False):
        ax.imshow(image, cmap="gray", vmin=-3, vmax=3)
    rest = axes[2 + len(images) :]
    rest[0].imshow(_coloured(panels["instances"]))
    reach = float(np.abs(panels["boundary_distance"]).max())
    rest[1].imshow(panels["boundary_distance"], cmap="RdBu", vmin=-reach, vmax=reach)
    rest[2].imshow(panels["thickness"], cmap="viridis")
    for ax in axes:
        ax.set_axis_off()


def _map(ax: Axes, content: np.ndarray, field: float, title: str, colours: str, **limits: Any) -> Any:
    # x runs to the right, y downwards.
    shown = ax.imshow(content, extent=(0, field, field, 0), cmap=colours, **limits)
    ax.set_title(title, fontsize=8)
    ax.tick_params(labelsize=7)
    return shown


def _bar(
    made: Figure, ax: Axes, content: np.ndarray, field: float, title: str, colours: str, low: float, high: float | None
) -> None:
    limits = {"vmin": low} if high is None else {"vmin": low, "vmax": high}
    made.colorbar(_map(ax, content, field, title, colours, **limits), ax=ax, shrink=0.8).ax.tick_params(labelsize=7)


def _numbers(ax: Axes, content: np.ndarray, field: float, title: str) -> None:
    ax.imshow(_coloured(content), extent=(0, field, field, 0))
    ax.set_title(title, fontsize=8)
    ax.tick_params(labelsize=7)


def _coloured(numbers: np.ndarray) -> np.ndarray:
    """Return colours [n, n, 3] of whole numbers, 0 black."""
    from matplotlib import colormaps

    colours = np.array([(0.0, 0.0, 0.0), *(c[:3] for c in colormaps["tab10"].colors)])  # type: ignore[attr-defined]
    return colours[np.where(numbers > 0, (numbers.astype(int) - 1) % 10 + 1, 0)]


def _high(content: np.ndarray) -> float:
    """Return a brightest value that a few columns do not set."""
    return float(np.quantile(content, 0.995)) or 1.0
