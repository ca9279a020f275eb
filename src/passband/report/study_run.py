"""A study for Python: run it, and read its scores, shift metrics, fits and report."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from passband import analysis
from passband.analysis.fits import Predictor
from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.base.terminal import or_dash
from passband.execution.choose import make_executor
from passband.figures import matrix, style
from passband.files import yaml_config
from passband.metrics import METRICS
from passband.report import pages
from passband.report.study_page import rebuild_report, write_results
from passband.simulation.multislice.engine import MEMORY
from passband.specimens.recipe_files import load_recipe
from passband.studies import jobs, result_tables, runner
from passband.studies import study as configuration
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.stored import read_analysis, read_tables
from passband.studies.wave_jobs import free_memory

_COLUMNS = {"r2_in_sample": "in sample", "r2_held_out": "held out", "r2_both_held_out": "both held out"}


class Study(configuration.Study):
    """One out-of-distribution study: networks trained under each condition, each tested under every other.

    The fields are those of a study's YAML file (`passband.studies.study.Study`). `specimens` may also be a recipe's file or
    bundled name; exit waves are made at the energy of the conditions unless `exit_waves` says otherwise.

    Raises:
        BadInputError: in one line, if a field is unknown or does not fit the others.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> study = pb.Study(specimens="gold_on_carbon", conditions=pb.sweep(train, defocus=[-50, 50]))
        >>> len(study.test_conditions)
        2
    """

    name: str = Field(default="study")

    def __init__(self, **fields: Any):
        """Take the fields by name."""
        try:
            super().__init__(**fields)
        except ValidationError as fault:
            names = set(Study.model_fields)
            raise BadInputError(f"study: {yaml_config.message(fault, names)}") from None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        more: dict[str, Any] = {}
        if isinstance(content.get("specimens"), str | Path):
            more["specimens"] = load_recipe(content["specimens"])
        if "exit_waves" not in content and hasattr(content.get("conditions"), "conditions"):
            more["exit_waves"] = {"energy_ev": content["conditions"].conditions()[0].energy_ev}
        return content | more

    def run(
        self,
        folder: str | Path | None = None,
        *,
        workers: int | None = None,
        executor: Literal["processes", "serial", "dask"] = "processes",
        scheduler: str | None = None,
        quiet: bool = False,
    ) -> "StudyRun":
        """Run the study, or go on where it was stopped, and return its results.

        A folder that holds the same study with fewer conditions or seeds is extended; nothing finished is made again.

        Args:
            folder: of the study; runs/NAME if left out. Exit waves lie beside it.
            workers: processes, one core each; all cores if left out.
            executor: processes, serial (this process) or dask.
            scheduler: address of a running Dask scheduler.
            quiet: whether to show no progress on stderr.

        Raises:
            BadInputError: if the folder holds something else or is in use, or the disk is full.
        """
        # The plain study is what the folder holds and what workers know.
        plain = configuration.Study.model_validate(self.model_dump(mode="json"))
        place = Path("runs") / self.name if folder is None else Path(folder)
        return run_study(plain, place, workers=workers, executor=executor, scheduler=scheduler, quiet=quiet)


def run_study(
    study: configuration.Study,
    folder: Path,
    *,
    workers: int | None = None,
    executor: str = "processes",
    scheduler: str | None = None,
    group: int | None = None,
    memory: int = MEMORY,
    quiet: bool = False,
) -> "StudyRun":
    """Run a study, or go on with it, and return its results: as `Study.run` does.

    Besides, `group` networks are trained together in a worker (many on a GPU, else one, if None), and the exit waves in work
    may take `memory` bytes there.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    # Workers of a cluster have GPUs of their own.
    together = jobs.fleet_that_fits(study, group, free_memory(), workers if executor == "processes" else 1)
    shown = TerminalProgress(quiet=quiet)
    with make_executor(executor, workers, scheduler) as chosen, shown as progress:
        runner.run(study, folder, chosen, progress, finish=write_results, group=together, memory=memory)
    return StudyRun(StudyFolder(study, StudyPaths(folder)))


def open_study(folder: str | Path) -> "StudyRun":
    """Return the results of a study that has been run.

    Raises:
        BadInputError: if the folder holds no study.
    """
    return StudyRun(StudyFolder.open(Path(folder)))


@dataclass(frozen=True, eq=False, repr=False)
class StudyRun:
    """The folder of a study, and what came out.

    Attributes:
        held: the folder and its study.
    """

    held: StudyFolder

    @property
    def study(self) -> configuration.Study:
        """What was done."""
        return self.held.study

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.held.paths.folder

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The networks that failed in the last run: stage, what, reason, tries."""
        return self.held.failures()

    @functools.cached_property
    def scores(self) -> pl.DataFrame:
        """Scores, a row per train condition, test condition and seed, of all its test images together.

        Columns: loss (the mean); dice; tp, fp, fn, tn (pixels); n_images; particles, found, missed, invented; instance_f1; surface_dice
        (within 2 Å); distance_angstrom (of the outlines, positive outside the true one), absolute_distance_angstrom;
        diameter_bias_angstrom. Definitions are those of `Agreement`. Those from `particles` on are null where a network was tested by an
        older version: delete `cells/evaluate-*` in the folder and run the study again, which repeats the tests and no training.
        """
        return self._table("scores")

    @functools.cached_property
    def conditions(self) -> pl.DataFrame:
        """The test conditions, a row each, with ε and the statistics of their images."""
        return self._table("conditions")

    @functools.cached_property
    def shift(self) -> pl.DataFrame:
        """Shift metrics, a row per train and test condition: those of shift.parquet; `fit` computes any other that it needs."""
        return self._table("shift")

    @functools.cached_property
    def pairs(self) -> pl.DataFrame:
        """Scores with their shift metrics and the network's in-domain loss, a row per row of `scores`."""
        return analysis.join_pairs(self.scores, self.shift, self.conditions, self.study.labels)

    @property
    def findings(self) -> list[str]:
        """What the tables say, in sentences."""
        return list(self._analysis["findings"]["sentences"])

    def matrix(self, score: str = "loss") -> "Matrix":
        """Return the mean over seeds of a column of `scores`, for every train (rows) and test condition (columns).

        Raises:
            BadInputError: listing the scores, if there is none of that name.
        """
        names = [n for n in self.scores.columns if n not in ("train_condition", "test_condition", "seed", "n_images")]
        names = [n for n in names if self.scores[n].is_not_null().any()]
        if score not in names:
            task = self.study.learnt
            old = score in task.scores({name: pl.col(name) for name in task.counts})
            remedy = "its tests are older than that score: delete cells/evaluate-* and run it again" if old else None
            what = f"{score!r} is no score of a matrix of this study; give {', '.join(names)}"
            raise BadInputError(what, value=score, limit=names, remedy=remedy)
        return Matrix(self.pairs, score)

    def fit(self, *metrics: str, form: Literal["linear", "smooth"] = "linear") -> "Fit":
        """Return how well shift metrics predict the loss, in sample and held out, beside the trivial predictors.

        Args:
            *metrics: columns of `shift`, such as "sigma"; a metric of one condition, such as "epsilon", stands for its
                difference between test and training.
            form: linear, or smooth (squares and products too).

        Raises:
            BadInputError: listing the metrics, if one is unknown.
        """
        shift = result_tables.with_more_metrics(self.held, self.shift, metrics)
        pairs = self.pairs
        if shift is not self.shift:
            pairs = analysis.join_pairs(self.scores, shift, self.conditions, self.study.labels)
        columns = tuple(_column(name, shift) for name in metrics)
        chosen = Predictor(f"{', '.join(columns)}, {form}", columns, form)
        # The registry's other metrics of one condition count by their difference too.
        ones = [c.removesuffix("_test") for c in pairs.columns if c.endswith("_test")]
        deltas = {f"delta_{m}": pl.col(f"{m}_test") - pl.col(f"{m}_train") for m in ones if f"{m}_train" in shift}
        pairs = pairs.with_columns(**{n: e for n, e in deltas.items() if n not in pairs})
        predictors = (chosen, *(p for p in analysis.PREDICTORS if p.trivial))
        fits = [row for row in analysis.fit_all(pairs, predictors) if row["pairs"] == "all"]
        chosen_fit = [row for row in fits if row["predictor"] == chosen.name]
        if not chosen_fit:
            named = " and ".join(columns)
            raise BadInputError(f"{named} do not vary in this study, so the loss cannot be fitted to them")
        baselines = [row for row in fits if row["trivial"] and row["predictor"] != chosen.name]
        return Fit(columns, form, chosen_fit[0], baselines)

    def report(self) -> Path:
        """Return the path of the offline report; it is made from the tables if it is missing.

        Raises:
            BadInputError: if the tables are missing.
        """
        if not self.held.paths.report.is_file():
            rebuild_report(self.held)
        return self.held.paths.report.absolute()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `passband study run`."""
        return {
            "study": self._analysis["study"],
            "id": self._analysis["study_id"],
            "folder": str(self.folder),
            "report": str(self.held.paths.report.absolute()),
            "findings": self._analysis["findings"],
            "failed": self._analysis["failed"],
        }

    def __str__(self) -> str:
        """Return what was done, and the findings as lines to read."""
        networks = self.scores.select("train_condition", "seed").n_unique()
        tests = self.scores["test_condition"].n_unique()
        failed = f"; {len(self.failed)} jobs failed, see failed.json" if self.failed else ""
        head = f"Study {self.study.name}: {networks} networks, each tested under {tests} conditions{failed}"
        lines = [fill(f"- {line}", 100, subsequent_indent="  ", break_long_words=False) for line in self.findings]
        return "\n".join([head, "", *lines, "", f"Report: {self.held.paths.report.absolute()}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the findings and a link to the report."""
        lines = "".join(f"<li>{escape(line)}</li>" for line in self.findings)
        path = self.held.paths.report.absolute()
        return f'<ul>{lines}</ul><p>Report: <a href="{path.as_uri()}">{escape(str(path))}</a></p>'

    @functools.cached_property
    def _analysis(self) -> dict[str, Any]:
        self._require(self.held.paths.analysis)
        return read_analysis(self.held.paths)

    def _table(self, name: str) -> pl.DataFrame:
        self._require(self.held.paths.table(name))
        return read_tables(self.held.paths, [name], self.study.labels)[name]

    def _require(self, path: Path) -> None:
        if not path.is_file():
            raise BadInputError("the study has no results yet", remedy="run it to its end", place=self.folder)


def _column(name: str, shift: pl.DataFrame) -> str:
    """Return the column of a shift table that a metric is fitted by."""
    metrics = [column for column, kind in shift.schema.items() if kind.is_float()]
    if {f"{name}_train", f"{name}_test"} <= set(metrics):
        return f"delta_{name}"
    for column in (name, f"{name}_angstrom"):
        if column in metrics:
            return column
    raise BadInputError(f"no metric is called {name!r}; there are {', '.join(METRICS)}", value=name, limit=metrics)


@dataclass(frozen=True, eq=False, repr=False)
class Matrix:
    """A score for every train and test condition, the mean over seeds.

    Attributes:
        pairs: scores with the labels of their conditions.
        score: a column of the scores.
    """

    pairs: pl.DataFrame
    score: str

    @functools.cached_property
    def table(self) -> pl.DataFrame:
        """A row per train condition, a column per test condition, after the column `trained`."""
        return (
            self.pairs.group_by("train_label", "test_label", maintain_order=True)
            .agg(pl.col(self.score).mean())
            .pivot("test_label", index="train_label", values=self.score)
            .rename({"train_label": "trained"})
        )

    @property
    def _size(self) -> float:
        return min(max(3.5, 0.5 * len(self.table) + 2), 10)

    @property
    def values(self) -> NDArray[np.float64]:
        """The scores alone, shape [train, test]; NaN where a network failed."""
        return self.table.drop("trained").to_numpy().astype(np.float64)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix; return the axes.

        Args:
            ax: where to draw; a new figure if left out.
        """
        if ax is None:
            with style.shown(self._size + 1, self._size) as figure:
                return self.plot(figure.subplots())
        matrix.draw(self.pairs, ax, self.score)
        return ax

    def to_dict(self) -> dict[str, Any]:
        """Return labels and scores as plain values."""
        labels = {"trained": self.table["trained"].to_list(), "tested": self.table.columns[1:]}
        return {"score": self.score} | labels | {"values": self.values.tolist()}

    def __str__(self) -> str:
        """Return the table as text."""
        return str(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        content = style.png(self._size + 1, self._size, lambda figure: self.plot(figure.subplots()))
        return pages.picture(content, f"{self.score} of every pair")


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """How well shift metrics predict the loss of a study; R² is None where there are too few pairs.

    Attributes:
        columns: the metrics.
        form: linear or smooth.
        result: numbers of the fit, as in analysis.json (`passband.analysis.fit_all`).
        baselines: the same of each trivial predictor.
    """

    columns: tuple[str, ...]
    form: str
    result: dict[str, Any]
    baselines: Sequence[dict[str, Any]]

    @property
    def r2_in_sample(self) -> float | None:
        """R² on the pairs that were fitted."""
        return self.result["r2_in_sample"]

    @property
    def r2_held_out(self) -> float | None:
        """R² where each train condition is predicted by a fit to the others."""
        return self.result["r2_held_out"]

    @property
    def r2_both_held_out(self) -> float | None:
        """R² where each pair is predicted by a fit to the pairs that share neither condition with it."""
        return self.result["r2_both_held_out"]

    @property
    def notes(self) -> list[str]:
        """Why an R² is missing, and what to do; empty if none is."""
        reason = analysis.why_undefined(self.result)
        return [] if reason is None else [f"– {reason} Add conditions to the study."]

    def to_dict(self) -> dict[str, Any]:
        """Return the fit and the baselines as plain values."""
        return {"columns": list(self.columns), "fit": self.result, "baselines": list(self.baselines)}

    def __str__(self) -> str:
        """Return the R² of the fit and of the baselines, a line each."""
        rows = [["", *_COLUMNS.values()], *self._rows()]
        width = max(len(row[0]) for row in rows)
        lines = [f"{n:<{width}}  {a:>9}  {b:>9}  {c:>13}" for n, a, b, c in rows]
        return "\n".join([f"R² of the loss, {self.result['n_pairs']} pairs", *lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = pages.table(self._rows(), ("R² of the loss", *_COLUMNS.values()))
        return rows + "".join(f"<p>{escape(note)}</p>" for note in self.notes)

    def _rows(self) -> list[list[str]]:
        return [[fit["predictor"], *(or_dash(fit[c], 2) for c in _COLUMNS)] for fit in (self.result, *self.baselines)]
