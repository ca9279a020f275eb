"""What `passband ctf` answers: what one condition transfers, how far two lie apart, a metric over a plane of two parameters."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passband.base.electron import wavelength
from passband.base.errors import BadInputError, parameter
from passband.base.terminal import or_dash
from passband.conditions import Condition
from passband.conditions.sets import axis_label, check_names
from passband.figures import style, transfer
from passband.files.atomic import require_replaceable, write_text
from passband.metrics import METRICS, dataset_information, dataset_overlap, information, measure
from passband.metrics.transfer_curves import (
    compare_by_frequency,
    first_zero,
    information_limit,
    intervals,
    transfer_curves,
    transfer_map,
    verdict,
)
from passband.report import pages

_SUFFIXES = (".png", ".svg", ".html")
_LARGEST_BAND = 10.0
_SHOW_INCHES, _COMPARE_INCHES = (9.6, 6.4), (7.2, 3.8)


class _Answer:
    """An answer with a text, and a table for notebooks."""

    def _rows(self) -> list[tuple[str, str]]:
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(f"{name:<20}{value}" for name, value in self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return pages.table(self._rows())


@dataclass(frozen=True, eq=False, repr=False)
class Ctf(_Answer):
    """What a condition transfers.

    Attributes:
        condition: the imaging condition.
        q_max_per_angstrom: radius of the band that counts [1/Å].
        epsilon: information transferred in the band, 0 to 1.
        first_zero_per_angstrom: lowest zero of T in any direction [1/Å]; None if there is none in the band.
        information_limit_per_angstrom: where the envelopes fall to exp(−2) [1/Å]; None without envelopes.
    """

    condition: Condition
    q_max_per_angstrom: float
    epsilon: float
    first_zero_per_angstrom: float | None
    information_limit_per_angstrom: float | None

    @property
    def wavelength_angstrom(self) -> float:
        """Wavelength of the electrons [Å]."""
        return wavelength(self.condition.energy_ev)

    @property
    def point_resolution_angstrom(self) -> float | None:
        """Inverse of the first zero [Å]."""
        return _inverse(self.first_zero_per_angstrom)

    @property
    def information_limit_angstrom(self) -> float | None:
        """Inverse of the information limit [Å]."""
        return _inverse(self.information_limit_per_angstrom)

    @property
    def scherzer_defocus_angstrom(self) -> float | None:
        """Scherzer's defocus of this spherical aberration [Å]; None where that is zero."""
        cs = self.condition.aberrations.get("C30", 0.0)
        return math.copysign(1.2 * math.sqrt(abs(cs) * self.wavelength_angstrom), cs) if cs else None

    @cached_property
    def curve(self) -> pl.DataFrame:
        """T over |q| along +x, a row per frequency: q_per_angstrom, transfer, envelope, magnitude (mean |T| over azimuth)."""
        return transfer_curves([self.condition], self.q_max_per_angstrom)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `passband ctf show`."""
        return {
            "id": self.condition.id,
            "condition": self.condition.to_dict(),
            "wavelength_angstrom": self.wavelength_angstrom,
            "defocus_angstrom": self.condition.defocus_angstrom,
            "epsilon": self.epsilon,
            "q_max_per_angstrom": self.q_max_per_angstrom,
            "first_zero_per_angstrom": self.first_zero_per_angstrom,
            "point_resolution_angstrom": self.point_resolution_angstrom,
            "information_limit_angstrom": self.information_limit_angstrom,
            "scherzer_defocus_angstrom": self.scherzer_defocus_angstrom,
            "curve": self.curve.select("q_per_angstrom", "transfer", "magnitude").to_dict(as_series=False),
        }

    def plot(self) -> list[Axes]:
        """Draw the transfer with its envelopes, the map of T and the Thon rings; return the three axes."""
        with style.shown(*_SHOW_INCHES) as figure:
            self._draw(figure)
        return figure.axes[:3]

    def save(self, path: str | Path) -> None:
        """Draw the same into a .png, .svg or .html file.

        Raises:
            BadInputError: if the name ends otherwise.
        """
        numbers = self.to_dict() | self.condition.to_dict()
        rows = {name: value for name, value in numbers.items() if name not in ("curve", "condition")}
        _write(Path(path), self._draw, _SHOW_INCHES, self._title, rows)

    def _rows(self) -> list[tuple[str, str]]:
        defocus = f"{self.condition.defocus_angstrom:+g} Å"
        return [
            ("condition", self.condition.id),
            ("wavelength", f"{self.wavelength_angstrom:.6f} Å"),
            ("defocus", f"{defocus}   (Scherzer: {or_dash(self.scherzer_defocus_angstrom, 0)} Å)"),
            ("first zero", f"{or_dash(self.first_zero_per_angstrom)} 1/Å (lowest in any direction)"),
            ("point resolution", f"{or_dash(self.point_resolution_angstrom, 3)} Å (its inverse)"),
            ("information limit", f"{or_dash(self.information_limit_angstrom, 3)} Å (envelopes fall to exp(−2))"),
            ("epsilon", f"{self.epsilon:.4f}   (information transferred, |q| up to {self.q_max_per_angstrom:g} 1/Å)"),
        ]

    @property
    def _title(self) -> str:
        condition = self.condition
        return f"{condition.energy_ev / 1e3:g} kV, defocus {condition.defocus_angstrom:+g} Å, ε = {self.epsilon:.3f}"

    def _draw(self, figure: Figure) -> None:
        plane = transfer_map(self.condition, self.q_max_per_angstrom)
        transfer.draw_sheet(self.curve, plane, figure, self.q_max_per_angstrom, round_=self.condition.is_round)
        figure.suptitle(self._title, fontsize=10)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(_Answer):
    """How far a test condition lies from a training condition.

    Attributes:
        train: the training condition.
        test: the test condition.
        q_max_per_angstrom: radius of the band that counts [1/Å].
        metrics: every metric of the registry by name; None where it is undefined.
        sigma_test_train: σ with the two exchanged.
        by_frequency: a row per |q| (`metrics.transfer_curves.compare_by_frequency`).
    """

    train: Condition
    test: Condition
    q_max_per_angstrom: float
    metrics: dict[str, float | None]
    sigma_test_train: float | None
    by_frequency: pl.DataFrame

    @property
    def epsilon_train(self) -> float:
        """Information that the training condition transfers, 0 to 1."""
        return self.metrics["epsilon_train"] or 0.0

    @property
    def epsilon_test(self) -> float:
        """Information that the test condition transfers, 0 to 1."""
        return self.metrics["epsilon_test"] or 0.0

    @property
    def delta_epsilon(self) -> float:
        """ε(test) − ε(train)."""
        return self.epsilon_test - self.epsilon_train

    @property
    def sigma(self) -> float | None:
        """Share of the training transfer that the test keeps, σ(train, test)."""
        return self.metrics["sigma"]

    @property
    def verdict(self) -> str:
        """What the test loses and reverses, in a line."""
        return verdict(self.metrics, self.by_frequency)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `passband ctf compare`."""
        return {
            "epsilon_train": self.epsilon_train,
            "epsilon_test": self.epsilon_test,
            "delta_epsilon": self.delta_epsilon,
            "sigma_train_test": self.sigma,
            "sigma_test_train": self.sigma_test_train,
            "defocus_difference_angstrom": self.metrics["defocus_difference"],
            "q_max_per_angstrom": self.q_max_per_angstrom,
            "metrics": self.metrics,
            "lost_per_angstrom": intervals(self.by_frequency, "lost"),
            "reversed_per_angstrom": intervals(self.by_frequency, "reversed"),
            "verdict": self.verdict,
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw mean |T| of both over |q|, with what is lost and what is reversed shaded; return the axes.

        Args:
            ax: where to draw; a new figure if left out.
        """
        if ax is None:
            with style.shown(*_COMPARE_INCHES) as figure:
                return self.plot(figure.subplots())
        transfer.draw_comparison(self.by_frequency, ax)
        return ax

    def save(self, path: str | Path) -> None:
        """Draw the same into a .png, .svg or .html file.

        Raises:
            BadInputError: if the name ends otherwise.
        """
        named = {METRICS[name].symbol if name in METRICS else name: value for name, value in self.metrics.items()}
        rows, title = {"verdict": self.verdict} | named, "Training against test condition"
        _write(Path(path), lambda figure: self.plot(figure.subplots()), _COMPARE_INCHES, title, rows)

    def text(self, *, every: bool = False) -> str:
        """Return the answer as lines to read: the verdict, ε and σ; on request every other metric."""
        lines = [
            f"{self.verdict}\n",
            f"epsilon train          {self.epsilon_train:.4f}   information transferred, |q| up to {self.q_max_per_angstrom:g} 1/Å",
            f"epsilon test           {self.epsilon_test:.4f}",
            f"delta epsilon         {self.delta_epsilon:+.4f}   test minus train",
            f"sigma(train, test)     {or_dash(self.sigma)}   share of the training transfer that the test keeps",
            f"sigma(test, train)     {or_dash(self.sigma_test_train)}",
            f"|defocus difference|   {self.metrics['defocus_difference']:g} Å",
        ]
        for name, value in self.metrics.items() if every else ():
            metric = METRICS.get(name) or METRICS[name.rsplit("_", 1)[0]]
            lines.append(f"{name:<44}{or_dash(value):>9} {metric.unit:<4} {metric.meaning}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("verdict", self.verdict),
            ("ε(train)", f"{self.epsilon_train:.4f}"),
            ("ε(test)", f"{self.epsilon_test:.4f}"),
            ("σ(train, test)", or_dash(self.sigma)),
            ("σ(test, train)", or_dash(self.sigma_test_train)),
            ("|Δdefocus|", f"{self.metrics['defocus_difference']:g} Å"),
            ("band", f"|q| up to {self.q_max_per_angstrom:g} 1/Å"),
        ]


@dataclass(frozen=True, repr=False)
class SetComparison(_Answer):
    """How far a set of test conditions lies from a set of training conditions; NaN where a number is undefined.

    Attributes:
        conditions_train: number of training conditions.
        conditions_test: number of test conditions.
        epsilon_train: mean ε of the training conditions.
        epsilon_test: mean ε of the test conditions.
        delta_epsilon: ε(test) − ε(train).
        sigma_train_test: σ of the mean |T| of each set.
        sigma_test_train: the same with the two exchanged.
        sigma_pairwise: mean of σ over all pairs.
        q_max_per_angstrom: radius of the band that counts [1/Å].
    """

    conditions_train: int
    conditions_test: int
    epsilon_train: float
    epsilon_test: float
    delta_epsilon: float
    sigma_train_test: float
    sigma_test_train: float
    sigma_pairwise: float
    q_max_per_angstrom: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `passband ctf compare` for sets."""
        return {name: _or_none(value) for name, value in vars(self).items()}

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, str(v) if isinstance(v, int) else or_dash(v)) for name, v in vars(self).items()]


def ctf(condition: Condition, q_max_per_angstrom: float = 1.0) -> Ctf:
    """Return what a condition transfers in a band of some radius [1/Å].

    Raises:
        BadInputError: if the band is out of range.
    """
    check_band(q_max_per_angstrom)
    return Ctf(
        condition,
        q_max_per_angstrom,
        information([condition], q_max_per_angstrom).item(),
        first_zero(condition, q_max_per_angstrom),
        information_limit(condition),
    )


def compare(train: Condition, test: Condition, q_max_per_angstrom: float = 1.0) -> Comparison:
    """Return every metric of the registry between two conditions in a band of some radius [1/Å], and what is lost or reversed.

    Raises:
        BadInputError: if the band is out of range.
    """
    check_band(q_max_per_angstrom)
    metrics = {n: _or_none(v.item()) for n, v in measure(list(METRICS), [train], [test], q_max_per_angstrom).items()}
    backward = _or_none(measure(["sigma"], [test], [train], q_max_per_angstrom)["sigma"].item())
    table = compare_by_frequency(train, test, q_max_per_angstrom)
    return Comparison(train, test, q_max_per_angstrom, metrics, backward, table)


#: Steps of `compare_sets`, for a display of its progress.
SET_STEPS = 5


def compare_sets(
    train: Sequence[Condition],
    test: Sequence[Condition],
    q_max_per_angstrom: float = 1.0,
    progress: Callable[[float], None] = lambda steps: None,
) -> SetComparison:
    """Return ε and σ between two sets of conditions in a band of some radius [1/Å]; `progress` is called after each of `SET_STEPS`.

    Raises:
        BadInputError: if the band is out of range.
    """
    check_band(q_max_per_angstrom)
    q_max = q_max_per_angstrom
    progress(0.0)

    def counted(value: float) -> float:
        progress(1.0)
        return value

    before, after = (counted(dataset_information(conditions, q_max)) for conditions in (train, test))
    sigmas = (
        counted(dataset_overlap(train, test, q_max)),
        counted(dataset_overlap(test, train, q_max)),
        counted(dataset_overlap(train, test, q_max, "pairwise")),
    )
    return SetComparison(len(train), len(test), before, after, after - before, *sigmas, q_max)


def band_doubts(condition: Condition, q_max_per_angstrom: float) -> list[str]:
    """Return what of the band a condition's pixels cannot record, a line each."""
    pixel, limit = condition.pixel_size_angstrom, information_limit(condition)
    finest = 1 / (2 * pixel)
    if finest < q_max_per_angstrom:
        name = parameter("q_max_per_angstrom")
        return [f"pixels of {pixel:g} Å record up to {finest:.4g} 1/Å, less than {name} {q_max_per_angstrom:g}"]
    if limit is not None and limit > 1.02 * finest:
        return [
            f"the microscope transfers up to {limit:.3g} 1/Å and pixels of {pixel:g} Å record up to {finest:.4g}; use pixels of at most {1 / (2 * limit):.2g} Å to keep it"
        ]
    return []


def check_band(q_max_per_angstrom: float) -> None:
    """Refuse a band that is empty or absurdly wide.

    Raises:
        BadInputError: with the limits.
    """
    if not 0 < q_max_per_angstrom <= _LARGEST_BAND:
        place, limit = f"{parameter('q_max_per_angstrom')} {q_max_per_angstrom:g}", (0.0, _LARGEST_BAND)
        what, remedy = f"outside 0 to {_LARGEST_BAND:g} 1/Å", "the default is 1.0"
        raise BadInputError(what, value=q_max_per_angstrom, limit=limit, remedy=remedy, place=place)


def map_plane(
    base: Condition,
    metric: str,
    axes: tuple[tuple[str, float, float], tuple[str, float, float]],
    points: int,
    train: Condition | None,
    q_max_per_angstrom: float,
) -> pl.DataFrame:
    """Return a metric over a plane of two parameters: columns x, y and value, a row per point.

    Args:
        base: all that is not varied.
        metric: of the registry; one of a pair needs `train`.
        axes: name, lowest and highest of x and of y.
        points: along each axis.
        train: the training condition that the plane is compared with.
        q_max_per_angstrom: radius of the band [1/Å].

    Raises:
        BadInputError: for unknown metrics or parameters, or values that make no condition.
    """
    name = f"{parameter('metric')} {metric}"
    if metric not in METRICS:
        raise BadInputError(f"{name}: not in the registry; there are {', '.join(METRICS)}", value=metric)
    single = METRICS[metric].form == "condition"
    if not single and train is None:
        raise BadInputError(f"{name} compares two conditions; give the training condition with {parameter('train')}")
    (x, x0, x1), (y, y0, y1) = axes
    grid = list(product(np.linspace(x0, x1, points).tolist(), np.linspace(y0, y1, points).tolist()))
    try:
        check_names([x, y])
        plane = [base.varied({x: a, y: b}) for a, b in grid]
    except ValueError as error:
        raise BadInputError(str(error), place=f"{parameter('x')} or {parameter('y')}") from None
    values = measure([metric], [train or plane[0]], plane, q_max_per_angstrom)
    value = values[f"{metric}_test"] if single else values[metric][0]
    return pl.DataFrame(grid, schema=["x", "y"], orient="row").with_columns(value=value.numpy())


def draw_map(table: pl.DataFrame, names: tuple[str, str, str], path: Path) -> None:
    """Draw the table of `map_plane`, with the names of x, y and the metric, into a .png, .svg or .html file."""
    x, y, metric = axis_label(names[0]), axis_label(names[1]), METRICS[names[2]]
    name = f"{metric.symbol} [{metric.unit}]" if metric.unit else metric.symbol
    _write(path, lambda figure: transfer.draw_map(table, figure.subplots(), x, y, name), (6.0, 4.6), metric.meaning, {})


def check_figure(path: Path | None) -> None:
    """Refuse a figure that is wanted and cannot be written.

    Raises:
        BadInputError: if the suffix is not known, or the file exists and is not passband's.
    """
    if path is None:
        return
    if path.suffix not in _SUFFIXES:
        what = f"ends in {path.suffix or 'nothing'!r}; give a name ending in .png, .svg or .html"
        raise BadInputError(what, value=path, limit=_SUFFIXES, place=f"{parameter('figure')} {path}")
    require_replaceable(path)


def _write(
    path: Path, draw: Callable[[Figure], Any], inches: tuple[float, float], title: str, rows: dict[str, Any]
) -> None:
    """Draw a figure into a file; a page has a title and a table of names and values, too."""
    check_figure(path)
    with style.figure(*inches) as figure:
        draw(figure)
        if path.suffix != ".html":
            style.save(figure, path.parent, path.stem, (path.suffix[1:],))
            return
        picture = style.svg(figure)
    cells = [(k, f"{v:.6g}" if isinstance(v, float) else str(v)) for k, v in rows.items()]
    write_text(path, pages.page(title, picture + pages.table(cells)))


def _inverse(value: float | None) -> float | None:
    return None if value is None else 1 / value


def _or_none(value: float) -> Any:
    return value if math.isfinite(value) else None
