"""What `passband ctf` answers: plain, JSON-like values, and the figures that go with them."""

import html
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from pydantic import ValidationError

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.sets import check_names
from passband.figures import comparison, ctf_sheet, metric_map, style
from passband.files import yaml_config
from passband.files.atomic import write_text
from passband.metrics import METRICS, information, measure
from passband.metrics.by_frequency import compare_by_frequency, intervals, verdict
from passband.metrics.transfer_curves import first_zero, information_limit, transfer_curves, transfer_map

_SUFFIXES = (".png", ".svg", ".html")


def show(condition: Condition, q_max: float) -> dict[str, Any]:
    """Return id, wavelength, ε, point resolution, information limit, and the curve along +x.

    Args:
        condition: what to show.
        q_max: radius of the band [1/Å].
    """
    curve = transfer_curves([condition], q_max)
    zero, limit = first_zero(condition, q_max), information_limit(condition)
    lam, cs = wavelength(condition.energy_ev), condition.aberrations.get("C30", 0.0)
    return {
        "id": condition.id,
        "condition": condition.to_dict(),
        "wavelength_angstrom": lam,
        "defocus_angstrom": condition.defocus_angstrom,
        "epsilon": information([condition], q_max).item(),
        "q_max_per_angstrom": q_max,
        "first_zero_per_angstrom": zero,
        "point_resolution_angstrom": None if zero is None else 1 / zero,
        "information_limit_angstrom": None if limit is None else 1 / limit,
        "scherzer_defocus_angstrom": math.copysign(1.2 * math.sqrt(abs(cs) * lam), cs) if cs else None,
        "curve": {name: curve[name].to_list() for name in ("q_per_angstrom", "transfer", "magnitude")},
    }


def compare(train: Condition, test: Condition, q_max: float) -> dict[str, Any]:
    """Return every metric of the registry between two conditions, a verdict, and where information is lost or reversed.

    Undefined metrics are None.

    Args:
        train: the training condition.
        test: the test condition.
        q_max: radius of the band [1/Å].
    """
    found = {n: _or_none(v.item()) for n, v in measure(list(METRICS), [train], [test], q_max).items()}
    backward = _or_none(measure(["sigma"], [test], [train], q_max)["sigma"].item())
    table = compare_by_frequency(train, test, q_max)
    return {
        "epsilon_train": found["epsilon_train"],
        "epsilon_test": found["epsilon_test"],
        "delta_epsilon": found["epsilon_test"] - found["epsilon_train"],
        "sigma_train_test": found["sigma"],
        "sigma_test_train": backward,
        "defocus_difference_angstrom": found["defocus_difference"],
        "q_max_per_angstrom": q_max,
        "metrics": found,
        "lost_per_angstrom": intervals(table, "lost"),
        "reversed_per_angstrom": intervals(table, "reversed"),
        "verdict": verdict(found, table),
    }


def map_plane(
    base: Condition,
    metric: str,
    axes: tuple[tuple[str, float, float], tuple[str, float, float]],
    points: int,
    train: Condition | None,
    q_max: float,
) -> pl.DataFrame:
    """Return a metric over a plane of two parameters: columns x, y and value, a row per point.

    Args:
        base: all that is not varied.
        metric: of the registry; one of a pair needs `train`.
        axes: name, lowest and highest of x and of y.
        points: along each axis.
        train: the training condition that the plane is compared with.
        q_max: radius of the band [1/Å].

    Raises:
        BadInputError: for unknown metrics or parameters, or values that make no condition.
    """
    if metric not in METRICS:
        raise BadInputError(f"--metric {metric}: not in the registry; there are {', '.join(METRICS)}")
    single = METRICS[metric].form == "condition"
    if not single and train is None:
        raise BadInputError(f"--metric {metric} compares two conditions; give the training condition with --train")
    (x, x0, x1), (y, y0, y1) = axes
    try:
        check_names([x, y])
        grid = [(a, b) for a in np.linspace(x0, x1, points).tolist() for b in np.linspace(y0, y1, points).tolist()]
        plane = [base.varied({x: a, y: b}) for a, b in grid]
    except ValidationError as error:
        raise BadInputError(f"--x or --y: {yaml_config.message(error)}") from None
    except ValueError as error:
        raise BadInputError(f"--x or --y: {error}") from None
    values = measure([metric], [train or plane[0]], plane, q_max)
    value = values[f"{metric}_test"] if single else values[metric][0]
    return pl.DataFrame({"x": [a for a, _ in grid], "y": [b for _, b in grid], "value": value.numpy()})


def check_figure(path: Path) -> None:
    """Refuse a figure that cannot be written.

    Raises:
        BadInputError: if the suffix is not known.
    """
    if path.suffix not in _SUFFIXES:
        raise BadInputError(
            f"--figure {path}: ends in {path.suffix or 'nothing'!r}; give a name ending in .png, .svg or .html"
        )


def draw_show(condition: Condition, answer: dict[str, Any], path: Path) -> None:
    """Draw curves with envelopes, the map of T and Thon rings into a .png, .svg or .html file."""
    q_max = answer["q_max_per_angstrom"]
    curves = transfer_curves([condition], q_max)
    plane = transfer_map(condition, q_max)
    title = f"{condition.energy_ev / 1e3:g} kV, defocus {condition.defocus_angstrom:+g} Å, ε = {answer['epsilon']:.3f}"

    def draw(made: Figure) -> None:
        ctf_sheet.draw(curves, plane, made, q_max, round_=condition.is_round)
        made.suptitle(title, fontsize=10)

    rows = {name: value for name, value in answer.items() if name not in ("curve", "condition")}
    _write(path, draw, (9.6, 6.4), title, rows | condition.to_dict())


def draw_compare(train: Condition, test: Condition, answer: dict[str, Any], path: Path) -> None:
    """Draw both transfers over |q|, with what is lost and what is reversed shaded, into a .png, .svg or .html file."""
    table = compare_by_frequency(train, test, answer["q_max_per_angstrom"])
    rows = {"verdict": answer["verdict"]} | {
        f"{METRICS[n].symbol}" if n in METRICS else n: v for n, v in answer["metrics"].items()
    }
    _write(
        path, lambda made: comparison.draw(table, made.subplots()), (7.2, 3.8), "Training against test condition", rows
    )


def draw_map(table: pl.DataFrame, labels: tuple[str, str, str], path: Path) -> None:
    """Draw a map of a metric into a .png, .svg or .html file."""
    _write(path, lambda made: metric_map.draw(table, made.subplots(), *labels), (6.0, 4.6), labels[2], {})


def _write(
    path: Path, draw: Callable[[Figure], None], size: tuple[float, float], title: str, rows: dict[str, Any]
) -> None:
    check_figure(path)
    with style.figure(*size) as made:
        draw(made)
        if path.suffix != ".html":
            style.save(made, path.parent, path.stem, (path.suffix[1:],))
            return
        picture = style.svg(made)
    cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(_text(v))}</td></tr>" for k, v in rows.items())
    write_text(
        path,
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)} · passband</title><style>body{{font:15px/1.5 system-ui,sans-serif;margin:1rem auto;"
        "max-width:60rem;padding:0 1rem}svg{max-width:100%;height:auto}th{text-align:left;font-weight:500;padding-right:1.5rem;"
        f"vertical-align:top}}</style><h1>{html.escape(title)}</h1>{picture}<table>{cells}</table></html>\n",
    )


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _or_none(value: float) -> Any:
    return value if math.isfinite(value) else None


__all__ = ["check_figure", "compare", "draw_compare", "draw_map", "draw_show", "map_plane", "show"]
