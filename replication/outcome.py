"""What an experiment reads and returns: claims of the source with our results, text, figures."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from passband import analysis
from passband.analysis.pairs import Pairs, Square
from passband.figures import style
from passband.studies.paths import StudyPaths
from replication.resampling import Statistic

Verdict = Literal["agrees", "differs", "cannot tell"]
#: The tables of a study that its results are computed from, and committed.
TABLES = ("scores", "shift", "conditions", "training", "training_sets", "coverage")


@dataclass(frozen=True)
class StudyTables:
    """The tables of one finished study."""

    paths: StudyPaths

    def table(self, name: str) -> pl.DataFrame:
        """Return one of TABLES."""
        return pl.read_parquet(self.paths.table(name))

    @cached_property
    def scores(self) -> pl.DataFrame:
        """A row per train condition, test condition and seed."""
        return self.table("scores")

    @cached_property
    def shift(self) -> pl.DataFrame:
        """A row per train condition and test condition."""
        return self.table("shift")

    @cached_property
    def conditions(self) -> pl.DataFrame:
        """A row per test condition."""
        return self.table("conditions")

    @property
    def in_domain(self) -> pl.DataFrame:
        """The rows of scores in which a network is tested under its training condition."""
        return self.scores.filter(pl.col("train_condition") == pl.col("test_condition"))

    @property
    def defocus(self) -> np.ndarray:
        """Defocus of each condition of `square` [Å]."""
        by_name = dict(self.conditions.select("condition", "defocus_angstrom").iter_rows())
        return np.array([by_name[name] for name in self.square.names])

    @cached_property
    def square(self) -> Square:
        """Scores and shift as arrays."""
        return Square(self.scores, self.shift)

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """Scores joined with shift."""
        return analysis.join_pairs(self.scores, self.shift, self.conditions)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of analysis.json."""
        result: dict[str, Any] = json.loads(self.paths.analysis.read_text(encoding="utf-8"))
        return result


@dataclass(frozen=True)
class Claim:
    """A claim, what was measured of it, and whether they agree.

    Attributes:
        text: what is claimed, and "ours" in front where the source does not.
        figure: what was measured, with its interval.
        verdict: what follows.
    """

    text: str
    figure: str
    verdict: Verdict


@dataclass
class Outcome:
    """The result of an experiment.

    Attributes:
        claims: rows of the table of results.
        text: paragraphs of the page, Markdown; the first is a summary in one or two sentences.
        figures: name of each picture and its caption.
    """

    claims: list[Claim] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def figure(self, folder: Path, name: str, caption: str, width: float, height: float) -> Iterator[Figure]:
        """Yield a figure of this size [inch] to draw into, which becomes a picture of the page."""
        with style.figure(width, height) as made:
            yield made
            style.save(made, folder, name, ("png",))
        self.figures.append((name, caption))


@dataclass(frozen=True)
class Experiment:
    """A question, the studies that answer it, and how.

    Attributes:
        name: of its page.
        title: of its page.
        question: in plain words, for a microscopist who has not read the source.
        studies: that it needs, a YAML file in replication/studies each, with a variant after a hyphen.
        evaluate: from the tables of those studies, and a folder for figures, to what they say.
        extra: studies that it uses if they are there.
        needs_extra: whether at least one of those has to be there.
    """

    name: str
    title: str
    question: str
    studies: tuple[str, ...]
    evaluate: Callable[[Mapping[str, StudyTables], Path], Outcome]
    extra: tuple[str, ...] = ()
    needs_extra: bool = False


def in_plane(pairs: Pairs) -> pl.DataFrame:
    """Return sigma, delta_epsilon and the relative loss, `ratio`, of each pair whose in-domain losses are known."""
    used = pairs.off & np.isfinite(pairs.features["sigma"])
    columns = {name: pairs.features[name][used] for name in ("sigma", "delta_epsilon")}
    return pl.DataFrame(columns | {"ratio": np.exp(pairs.log_ratio[used])})


def judged(figure: Statistic, *, above: float | None = None, below: float | None = None) -> Verdict:
    """Return whether an interval lies wholly where a claim wants it, wholly elsewhere, or across the border."""
    if not figure.is_known:
        return "cannot tell"
    for border, sign in ((above, 1.0), (below, -1.0)):
        if border is not None:
            low, high = sorted((sign * (figure.low - border), sign * (figure.high - border)))
            return "agrees" if low > 0 else "differs" if high < 0 else "cannot tell"
    raise ValueError("give the border that the claim names")


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    first, *others = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (header, *rows)]
    return "\n".join([first, "|" + "---|" * len(header), *others])
