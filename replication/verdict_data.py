"""The data that verdicts rest on, learnt from the committed tables: zones of the loss, and losses of training sets.

`python -m replication verdict-data` writes them into the package; a test compares them with the tables.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.tree import DecisionTreeClassifier

from passband.analysis.pairs import Pairs, Square
from passband.files.atomic import write_json
from passband.files.tables import write_table
from passband.studies.study import load_study
from passband.verdicts.set_loss import FEATURES, dice_of_loss, set_features, spread
from passband.verdicts.zones import NAMES, PAIR_FEATURES, PLANE
from replication.outcome import StudyTables
from replication.resampling import with_percentiles

#: The studies that the zones, and the losses of training sets, are learnt from.
ZONE_STUDIES = ("defocus_sweep", "metrics", "metrics_one_dose", "zero_defocus")
SET_STUDY = "training_sets"
#: Loss relative to the in-domain loss up to which a pair is stable, and from which it has collapsed; between, it is degraded.
STABLE, COLLAPSE = 1.5, 2.0
_LEAVES = 6


def write_verdict_data(studies: Mapping[str, StudyTables], folder: Path) -> list[Path]:
    """Write zones.json, set_losses.parquet and set_losses.json, and return their paths.

    Args:
        studies: tables of ZONE_STUDIES and SET_STUDY.
        folder: to write to, such as src/passband/verdicts/data.
    """
    zones, losses, factors = (folder / n for n in ("zones.json", "set_losses.parquet", "set_losses.json"))
    write_json(zones, _plain(learn_zones(studies)))
    table = learn_set_losses(studies[SET_STUDY])
    write_table(losses, table)
    write_json(factors, spread(table) | dice_of_loss(studies[SET_STUDY].scores))
    return [zones, losses, factors]


def learn_zones(studies: Mapping[str, StudyTables]) -> dict[str, Any]:
    """Return the zones as plain data: two trees, their leaves, and how such trees do on a study that they have not seen."""
    squares = {name: studies[name].square for name in ZONE_STUDIES}
    trees = {}
    for key, names in (("plane", PLANE), ("many", PAIR_FEATURES)):
        x = {n: _columns(s.pairs, names) for n, s in squares.items()}
        y = {n: _zone(np.exp(s.pairs.log_ratio[s.pairs.off])) for n, s in squares.items()}
        whole = np.concatenate(list(x.values())), np.concatenate(list(y.values()))
        trees[key] = {
            "features": list(names),
            "leaves": _leaves(_fitted(*whole), names, *whole),
            "held_out": _left_out(squares, x, y),
        }
    return {
        "stable_up_to": STABLE,
        "collapse_from": COLLAPSE,
        "studies": {n: studies[n].facts["study_id"] for n in ZONE_STUDIES},
        "trees": trees,
    }


def learn_set_losses(tables: StudyTables) -> pl.DataFrame:
    """Return the features of each training set and test condition with their loss, from which the loss of a new set is predicted."""
    tests = [(t.id, t.condition) for t in load_study(tables.paths.study).tests]
    sizes = {name: int(name.split("-")[1]) for name in tables.shift["train_condition"].unique()}
    features = set_features(tables.shift, sizes, tests)
    losses = tables.scores.group_by("train_condition", "test_condition").agg(pl.col("loss").mean())
    numbers = [pl.col(name).cast(pl.Float32) for name in (*FEATURES, "loss")]
    joined = features.join(losses, on=["train_condition", "test_condition"], maintain_order="left")
    return joined.select("train_condition", *numbers)


def _zone(ratio: np.ndarray) -> np.ndarray:
    return np.where(ratio <= STABLE, 0, np.where(ratio <= COLLAPSE, 1, 2))


def _columns(pairs: Pairs, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.nan_to_num(pairs.features.get(n, np.zeros_like(pairs.loss)))[pairs.off] for n in names], -1)


def _left_out(squares: dict[str, Square], x: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return how trees fitted without a study do on it, over all studies; pairs that share a condition with it are not fitted to."""
    right, frequent, ends, offset = [], [], [], 0
    for name, square in squares.items():
        known_x, known_y = [], []
        for other, its in squares.items():
            if other != name:
                shared = np.isin(its.names, square.names)
                apart = ~(shared[:, None] | shared)[its.pairs.off]
                known_x.append(x[other][apart])
                known_y.append(y[other][apart])
        fit_y = np.concatenate(known_y)
        right.append(_fitted(np.concatenate(known_x), fit_y).predict(x[name]) == y[name])
        frequent.append(np.bincount(fit_y).argmax() == y[name])
        ends.append(np.argwhere(square.pairs.off) + offset)
        offset += len(square.names)
    correct, usual, end = np.concatenate(right), np.concatenate(frequent), np.concatenate(ends)
    rng = np.random.default_rng(1)
    drawn: list[tuple[float, float]] = []
    for _ in range(300):
        weight = np.bincount(rng.integers(offset, size=offset), minlength=offset)[end].prod(1)
        drawn.append(
            (
                np.average(correct, weights=weight),
                np.average(correct, weights=weight) - np.average(usual, weights=weight),
            )
        )
    values = float(correct.mean()), float(correct.mean() - usual.mean())
    return {
        key: asdict(with_percentiles(value, [d[k] for d in drawn]))
        for k, (key, value) in enumerate(zip(("right", "over_most_frequent"), values, strict=True))
    }


def _fitted(x: np.ndarray, y: np.ndarray) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=max(len(y) // 50, 5), random_state=0).fit(
        x, y
    )


def _leaves(
    fitted: DecisionTreeClassifier, names: tuple[str, ...], x: np.ndarray, y: np.ndarray
) -> list[dict[str, Any]]:
    tree, leaf_of = fitted.tree_, fitted.apply(x)
    result: list[dict[str, Any]] = []

    def walk(node: int, bounds: dict[str, list[float | None]]) -> None:
        if tree.children_left[node] < 0:
            own = y[leaf_of == node]
            shares = {zone: float((own == k).mean()) for k, zone in enumerate(NAMES)}
            result.append({"where": _where(bounds), "bounds": bounds, "pairs": len(own), "shares": shares})
            return
        name, threshold = names[tree.feature[node]], float(tree.threshold[node])
        low, high = bounds.get(name, [None, None])
        walk(tree.children_left[node], bounds | {name: [low, threshold]})
        walk(tree.children_right[node], bounds | {name: [threshold, high]})

    walk(0, {})
    return result


def _where(bounds: dict[str, list[float | None]]) -> str:
    symbols = {"sigma": "σ", "delta_epsilon": "Δε"}
    parts = []
    for name, (low, high) in bounds.items():
        text = symbols.get(name, name)
        parts.append(
            (f"{low:.2f} < " if low is not None else "") + text + (f" ≤ {high:.2f}" if high is not None else "")
        )
    return ", ".join(parts).replace("-", "−")


def _plain(content: Any) -> Any:
    """Return content with null for what could not be measured, as JSON has it."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
