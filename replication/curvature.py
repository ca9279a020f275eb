"""Does curvature tell how a network performs elsewhere? The source's third open question; measures of `passband study curvature`."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import ZERO_DEFOCUS, Pairs, Target, dense
from passband.base.errors import BadInputError
from passband.files.atomic import write_file
from passband.files.tables import write_table
from passband.network_measures.registry import MEASURES, Measure
from passband.studies.curvature_jobs import LAYERS, PAIRS, fewer_images
from passband.studies.paths import StudyPaths
from replication import judging
from replication.outcome import StudyTables
from replication.resampling import RESAMPLES, Statistic, rank_correlation, with_percentiles

#: Folder of the tables, beside those of the other results.
TABLES = "curvature"
TARGETS: dict[Target, str] = {
    "log_loss": "ln loss",
    "log_excess": "ln of the loss over that of networks trained there",
}
#: The same on axes and in tables.
SHORT: dict[Target, str] = {"log_loss": "ln loss", "log_excess": "ln relative loss"}
#: What the measures are compared with, and added to; no network is needed for it.
SOURCE, DEFOCUS, LAW = "σ and Δε", "|Δdefocus|", "law of textures"
BASELINES: dict[str, tuple[str, ...]] = {
    DEFOCUS: ("defocus_difference_angstrom",),
    SOURCE: ("sigma", "delta_epsilon"),
    LAW: ("predicted_log_loss",),
}
#: What is needed to call a measure curvature; the others of the registry stand beside it.
_CURVATURE = ("hessian", "fisher", "head", "sharpness", "step_gain", "gradient", "own_gradient")
# Of all weights and of the head alone.
_HEAD = {
    "hessian_alignment": "head_alignment",
    "hessian_grassmann": "head_grassmann",
    "fisher_alignment": "head_fisher_alignment",
}
# Measures that are a Dice or a share of right pixels, of which errors grow like the loss, and the least error.
_SHARES, _LEAST = ("_dice", "_agreement", "confidence"), 1e-4
# Features that span more than this factor, and are positive, are taken as logarithms.
_WIDE = 10.0


#: What a prediction takes of the condition that it is for: nothing, images, images of specimens that were seen at home too, or labels.
Need = Literal["nothing", "images", "same specimens", "labels"]


@dataclass(frozen=True)
class Judged:
    """How well a column predicts a target, neither condition of a pair seen by the fit.

    Attributes:
        column: of the table of measures, or a baseline's name.
        measure: of the registry; None of a baseline.
        target: what is predicted.
        r2: alone, a linear fit.
        rank: rank correlation over pairs, without a fit; NaN of a baseline of two numbers.
        more: R² beside the law of textures (without it: σ and Δε) less R² of that alone; None of a baseline.
        images: that the measure was taken from, if fewer than all test images.
    """

    column: str
    measure: Measure | None
    target: Target
    r2: Statistic
    rank: float
    more: Statistic | None = None
    images: int | None = None

    @property
    def is_curvature(self) -> bool:
        """Whether it is one of curvature or gradients, and not of predictions or images."""
        return self.measure is not None and self.measure.name.startswith(_CURVATURE)

    @property
    def needs(self) -> Need:
        """What it takes of the other condition; a value at home takes nothing."""
        if self.measure is None or self.column.endswith("_train"):
            return "nothing"
        return "labels" if self.measure.needs_labels else "same specimens" if self.measure.same_specimens else "images"


def keep(run: Path, tables: Path) -> None:
    """Copy the tables of a run whose networks have been measured, measures in single precision, to the folder that the page is made from."""
    source, target = StudyPaths(run), StudyPaths(tables / TABLES / run.name)
    if not source.table(PAIRS).is_file():
        raise BadInputError(
            "its networks are not measured yet", remedy=f"run: passband study curvature {run}", place=run
        )
    for name in ("scores", "shift", "conditions"):
        content = source.table(name).read_bytes()
        write_file(target.table(name), lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]
    for name in (PAIRS, LAYERS, *fewer_images(source)):
        # Without spectra there are no layers.
        if source.table(name).is_file():
            single = pl.read_parquet(source.table(name)).with_columns(pl.col(pl.Float64).cast(pl.Float32))
            write_table(target.table(name), single)


def studies(tables: Path) -> dict[str, StudyTables]:
    """Return the studies whose networks are measured, by name."""
    found = sorted((tables / TABLES).glob(f"*/{PAIRS}.parquet"))
    return {path.parent.name: StudyTables(StudyPaths(path.parent)) for path in found}


def measured_pairs(study: StudyTables, name: str = PAIRS) -> tuple[Pairs, dict[str, Measure]]:
    """Return the pairs of a study with the columns of its table of measures as features, mean over seeds, and the measure of each column.

    What was not measured on all images comes from `on_fewer_images`. Conditions of a family of specimens count as one: only pairs of
    different families are used.
    """
    table, names = study.table(name), study.square.names
    keys = ["train_condition", "test_condition"]
    if name == PAIRS:
        for fewer, new in _more_columns(study):
            table = table.join(study.table(fewer).select(*keys, "seed", *new), on=[*keys, "seed"], how="left")
    mean = table.group_by(keys).agg(pl.all().exclude(*keys, "seed").mean())
    columns = {column: _measure(column) for column in mean.columns if column not in keys}
    known = {column: measure for column, measure in columns.items() if measure is not None}
    features = {column: _spread(column, dense(mean, dict.fromkeys(keys, names), column)) for column in known}
    whole = study.square.pairs
    return Pairs(whole.loss, {**whole.features, **features}, _groups(names)), known


def on_fewer_images(study: StudyTables) -> dict[str, int]:
    """Return how many images each column was taken from that was not measured on all: as many as there are."""
    counts = fewer_images(study.paths)
    return {column: counts[name] for name, new in _more_columns(study) for column in new}


def _more_columns(study: StudyTables) -> list[tuple[str, list[str]]]:
    """Return the tables of fewer images, those of most images first, with the columns that none before them has."""
    seen, found = set(study.table(PAIRS).columns), []
    for name in reversed(fewer_images(study.paths)):
        new = [column for column in study.table(name).columns if column not in seen]
        found.append((name, new))
        seen |= set(new)
    return found


def _groups(names: Sequence[str]) -> np.ndarray:
    """Return which family of specimens each condition is of, in numbers; without families, each condition is a group of its own."""
    families = [name.split("/")[0] if "/" in name else name for name in names]
    return np.array([families.index(family) for family in families])


def predictions(pairs: Pairs, features: Sequence[str], target: Target) -> np.ndarray:
    """Return a target by a linear fit that has seen neither condition of a pair, of families neither family, shape [B, B]."""
    groups = np.unique(pairs.drawn)
    if len(groups) == len(pairs.drawn):
        return Fit(pairs, features, target, linear=True).predictions()["both"]
    predicted = np.full(pairs.loss.shape, np.nan)
    for a, b in itertools.permutations(groups, 2):
        rest = ~np.isin(pairs.drawn, [a, b])
        fitted = Fit(pairs.among(rest[:, None] & rest), features, target, linear=True).predictions()["in_sample"]
        here = np.ix_(pairs.drawn == a, pairs.drawn == b)
        predicted[here] = fitted[here]
    return predicted


def _measure(column: str) -> Measure | None:
    base = column.removesuffix("_train").removesuffix("_test")
    return MEASURES.get(column) or MEASURES.get(base)


def _spread(column: str, values: np.ndarray) -> np.ndarray:
    """Return the angle of a cosine, the logarithm of what a share lacks to one, and that of what is positive and spans more than a factor of ten."""
    if column.endswith("alignment"):
        return np.asarray(np.arccos(np.clip(values, -1, 1)))
    if any(share in column for share in _SHARES):
        return np.asarray(np.log(np.clip(1 - values, _LEAST, None)))
    off = values[~np.eye(len(values), dtype=bool)]
    finite = off[np.isfinite(off)]
    wide = len(finite) > 0 and finite.min() > 0 and finite.max() > _WIDE * finite.min()
    return np.log(np.maximum(values, finite.min())) if wide else values


def judge(study: StudyTables, *, zero: bool = True) -> list[Judged]:
    """Return how well each baseline and each measure predicts each target, with pairs of zero defocus or without; none if there are no such."""
    pairs, columns = measured_pairs(study)
    if not zero:
        away = np.abs(study.defocus) >= ZERO_DEFOCUS
        if away.all():
            return []
        pairs = pairs.among(away[:, None] & away)
    found = []
    for target in TARGETS:
        predicted = {
            name: predictions(pairs, features, target)
            for name, features in BASELINES.items()
            if pairs.varies(*features)
        }
        for name, values in predicted.items():
            [one, *others] = BASELINES[name]
            rank = float("nan") if others else _rank(pairs, one, target)
            found.append(Judged(name, None, target, judging.r2(pairs, values, target), rank))
        known, fewer = LAW if LAW in predicted else SOURCE, on_fewer_images(study)
        for column, measure in columns.items():
            if pairs.varies(column):
                alone = predictions(pairs, (column,), target)
                beside = predictions(pairs, (*BASELINES[known], column), target)
                more = judging.gain(pairs, predicted[known], beside, target) if known in predicted else None
                r2, rank = judging.r2(pairs, alone, target), _rank(pairs, column, target)
                found.append(Judged(column, measure, target, r2, rank, more, fewer.get(column)))
    return found


def by_images(study: StudyTables, columns: Iterable[str], target: Target) -> dict[int, dict[str, Statistic]]:
    """Return R² of columns by the number of test images that they are measured on; none if all were measured on all images."""
    found, fewer = {}, fewer_images(study.paths)
    for name, count in {**fewer, PAIRS: study.scores["n_images"][0]}.items() if fewer else []:
        pairs, _ = measured_pairs(study, name)
        taken = [c for c in columns if c in study.table(name).columns and pairs.varies(c)]
        predicted = {c: predictions(pairs, (c,), target) for c in taken}
        found[count] = {c: judging.r2(pairs, values, target) for c, values in predicted.items()}
    return dict(sorted(found.items()))


def _rank(pairs: Pairs, column: str, target: Target) -> float:
    used = pairs.used & np.isfinite(pairs.features[column])
    return rank_correlation(pairs.features[column][used], pairs.target(target)[used])


def ceilings(tables: Path, name: str) -> dict[Target, float]:
    """Return the largest R² that the noise between seeds leaves one network a condition, from the study of the results of this name."""
    path = StudyPaths(tables / name)
    if not path.table("scores").is_file():
        return dict.fromkeys(TARGETS, float("nan"))
    loss = StudyTables(path).square.loss
    whole = Pairs(np.exp(np.log(loss).mean(-1)), {})
    return {target: judging.left_by(whole, target, judging.noise(loss, target)) for target in TARGETS}


def train_effect(study: StudyTables, columns: Iterable[str]) -> dict[str, Statistic]:
    """Return the rank correlation of measures at home with the mean ln relative loss of each network elsewhere."""
    pairs, _ = measured_pairs(study)
    effect = np.nanmean(np.where(pairs.off, pairs.log_excess, np.nan), axis=1)
    rng, found = np.random.default_rng(0), {}
    for column in columns:
        at_home = np.diag(pairs.features[column])
        draws = (rng.integers(len(effect), size=len(effect)) for _ in range(RESAMPLES))
        drawn = [rank_correlation(at_home[d], effect[d]) for d in draws]
        found[column] = with_percentiles(rank_correlation(at_home, effect), drawn)
    return found


def head_against_whole(study: StudyTables, target: Target) -> dict[str, Statistic]:
    """Return R² of measures of the head less R² of the same of all weights, on the same images, for each that there is of both."""
    fewer, found = on_fewer_images(study), {}
    for whole, head in _HEAD.items():
        count = fewer.get(whole)
        pairs, columns = measured_pairs(study, PAIRS if count is None else f"{PAIRS}_{count}_images")
        if whole in columns and head in columns and pairs.varies(whole) and pairs.varies(head):
            first, second = (predictions(pairs, (name,), target) for name in (whole, head))
            found[head] = judging.gain(pairs, first, second, target)
    return found


def best(rows: Sequence[Judged], target: Target, *needs: Need, curvature: bool = True) -> Judged | None:
    """Return the measure of curvature (or any other) with the largest R² among those that take one of some things of the other condition."""
    of = [r for r in rows if r.target == target and r.measure is not None and r.is_curvature == curvature]
    return max((r for r in of if r.needs in needs), key=lambda r: r.r2.value, default=None)


def answer(rows: Sequence[Judged], target: Target) -> str:
    """Return whether the best measure of curvature without labels predicts better than all that needs no network: yes, no or cannot tell.

    The best of many is favoured by chance: a no is safe, a yes asks for another study.
    """
    first = best(rows, target, "nothing", "images")
    optics = max((r.r2.value for r in rows if r.target == target and r.measure is None), default=0.0)
    if first is None or not first.r2.is_known:
        return "cannot tell"
    return "yes" if first.r2.low > max(optics, 0.0) else "no" if first.r2.high < max(optics, 0.0) else "cannot tell"
