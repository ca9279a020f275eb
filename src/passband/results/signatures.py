"""The failure signatures as predictions: precision and recall of the source's rules, and of rules learnt from the pairs."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.tree import DecisionTreeClassifier

from passband.analysis.resampling import Figure, Pairs, Square, measured
from passband.report import plane, style
from passband.results.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from passband.store.atomic import write_json

_STUDIES = ("defocus_sweep", "metrics", "metrics_one_dose", "zero_defocus")
#: Loss over the network's own up to which a pair is stable, and from which it has collapsed; between, it is degraded.
STABLE, COLLAPSE = 1.5, 2.0
_NAMES = ("stable", "degraded", "collapse")
_PLANE = ("sigma", "delta_epsilon")
_MORE = (*_PLANE, "phase_rms", "signed_overlap", "image_snr_test", "image_snr_train", "dose_difference", "epsilon_test")
_FOLDS, _LEAVES = 5, 6


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return precision and recall of the rules, and write the learnt zones beside the page."""
    found = Outcome()
    squares = [studies[name].square for name in _STUDIES]
    collapse = _rule(
        "collapse",
        lambda p: (p.features["sigma"] < 0.5) & (p.features["delta_epsilon"] < -0.2),
        lambda r: r > COLLAPSE,
        squares,
    )
    stable = _rule(
        "stable",
        lambda p: (p.features["sigma"] >= 0.9) & (p.features["delta_epsilon"] >= 0),
        lambda r: r <= STABLE,
        squares,
    )
    base = measured(squares, lambda *ps: _share(ps, lambda r: r > COLLAPSE), "base", "collapse")
    calm = measured(squares, lambda *ps: _share(ps, lambda r: r <= STABLE), "base", "stable")
    found.text.append(
        f"Over {sum(int(s.pairs.off.sum()) for s in squares)} pairs of {len(squares)} studies, {base.value:.0%} have more than twice the network's own loss. Where σ < 0.5 and "
        f"Δε < −0.2, it is {collapse['precision'].value:.0%}: the rule is right when it speaks, and speaks for {collapse['recall'].value:.0%} of the collapses. "
        f"At most 1.5 times the own loss have {calm.value:.0%} of all pairs, and {stable['precision'].value:.0%} of those with σ ≥ 0.9 and Δε ≥ 0, which hold "
        f"{stable['recall'].value:.0%} of the stable pairs."
    )
    found.claims += [
        Claim(
            "σ < 0.5 and Δε < −0.2 means more than twice the training loss",
            f"precision {collapse['precision']}, recall {collapse['recall']}; all pairs {base}",
            judged(collapse["precision"], above=0.8),
        ),
        Claim(
            "σ ≈ 1 and Δε ≥ 0 means the loss holds (here: σ ≥ 0.9, at most 1.5 times the own)",
            f"precision {stable['precision']}, recall {stable['recall']}; all pairs {calm}",
            judged(stable["precision"], above=0.8),
        ),
    ]
    rules = [("source: σ < 0.5, Δε < −0.2", "collapse", collapse), ("source: σ ≥ 0.9, Δε ≥ 0", "stable", stable)]
    zones: dict[str, Any] = {
        "stable_up_to": STABLE,
        "collapse_from": COLLAPSE,
        "studies": {n: studies[n].facts["study_id"] for n in _STUDIES},
        "trees": [],
    }
    for title, names in (("σ and Δε", _PLANE), (f"{len(_MORE)} metrics", _MORE)):
        tree, held_out = _tree(squares, names)
        zones["trees"].append({"features": list(names), "leaves": tree, "held_out": held_out})
        for zone in ("collapse", "stable"):
            figures = {k: Figure(**held_out[zone][k]) for k in ("precision", "recall")}
            rules.append((f"learnt from {title}, held out", zone, figures))
    gain = zones["trees"][1]["held_out"]["accuracy"]["value"] - max(
        zones["trees"][0]["held_out"]["accuracy"]["value"], zones["trees"][0]["held_out"]["accuracy"]["most_frequent"]
    )
    found.claims.append(
        Claim(
            "ours: rules learnt from the pairs sort conditions of which they saw neither better than the most frequent zone does",
            f"share sorted rightly: {len(_MORE)} metrics {Figure(**{k: zones['trees'][1]['held_out']['accuracy'][k] for k in ('value', 'low', 'high')})}, σ and Δε "
            f"{Figure(**{k: zones['trees'][0]['held_out']['accuracy'][k] for k in ('value', 'low', 'high')})}, most frequent zone {zones['trees'][0]['held_out']['accuracy']['most_frequent']:.2f}",
            "agrees"
            if zones["trees"][1]["held_out"]["accuracy"]["low"]
            > zones["trees"][1]["held_out"]["accuracy"]["most_frequent"]
            else "cannot tell"
            if gain > 0
            else "differs",
        )
    )
    write_json(folder.parent / "zones.json", _plain(zones))
    found.text.append(
        "Precision: of the pairs that the rule names, the share that are so. Recall: of the pairs that are so, the share it names. Learnt rules are "
        "decision trees judged on pairs of which they saw neither condition; intervals from drawing conditions and seeds again.\n\n"
        + table(
            ["rule", "says", "precision", "recall"],
            [[n, z, str(f["precision"]), str(f["recall"])] for n, z, f in rules],
        )
    )
    found.text.append(
        "The zones, as [zones.json](zones.json) has them: leaves of the tree on σ and Δε, with the share of each zone among their pairs.\n\n"
        + table(
            ["where", "pairs", *_NAMES],
            [
                [leaf["where"] or "everywhere", str(leaf["pairs"]), *[f"{leaf['shares'][z]:.0%}" for z in _NAMES]]
                for leaf in zones["trees"][0]["leaves"]
            ],
        )
    )
    _draw(squares, folder, found)
    return found


def _ratio(pairs: Pairs) -> np.ndarray:
    return np.exp(pairs.log_ratio)


def _share(several: tuple[Pairs, ...], is_so: Any) -> float:
    return float(np.concatenate([is_so(_ratio(p)[p.off]) for p in several]).mean())


def _rule(name: str, says: Any, is_so: Any, squares: list[Square]) -> dict[str, Figure]:
    def part(kind: str) -> Any:
        def statistic(*several: Pairs) -> float:
            named = np.concatenate([says(p)[p.off] for p in several])
            so = np.concatenate([is_so(_ratio(p)[p.off]) for p in several])
            among = named if kind == "precision" else so
            return float((named & so).sum() / among.sum()) if among.any() else float("nan")

        return statistic

    return {kind: measured(squares, part(kind), name, kind) for kind in ("precision", "recall")}


def _zone(ratio: np.ndarray) -> np.ndarray:
    return np.where(ratio <= STABLE, 0, np.where(ratio <= COLLAPSE, 1, 2))


def _columns(pairs: Pairs, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.nan_to_num(pairs.features.get(n, np.zeros_like(pairs.loss)))[pairs.off] for n in names], -1)


def _tree(squares: list[Square], names: tuple[str, ...]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the leaves of a tree on all pairs, and how trees do on pairs of which they saw neither condition."""
    several = [s.pairs for s in squares]
    x = np.concatenate([_columns(p, names) for p in several])
    y = np.concatenate([_zone(_ratio(p)[p.off]) for p in several])
    ends, offset = [], 0
    for p in several:
        train, test = np.nonzero(p.off)
        ends.append(np.stack([train, test], -1) + offset)
        offset += len(p.loss)
    end = np.concatenate(ends)
    part = np.random.default_rng(0).permutation(offset) % _FOLDS
    said = np.full(len(y), -1)
    for i in range(_FOLDS):
        for j in range(i, _FOLDS):
            known = ~np.isin(part[end], (i, j)).any(1)
            asked = np.sort(part[end], 1) == (i, j)
            asked = asked.all(1)
            if known.any() and asked.any():
                said[asked] = _fitted(x[known], y[known]).predict(x[asked])
    rng = np.random.default_rng(1)
    values: dict[str, list[float]] = {}
    for times in [
        np.ones(offset),
        *[np.bincount(rng.integers(offset, size=offset), minlength=offset) for _ in range(300)],
    ]:
        weight = np.asarray(times, dtype=float)[end].prod(1)
        for name, value in _scores(y, said, weight).items():
            values.setdefault(name, []).append(value)
    figures = {
        name: dict(zip(("value", "low", "high"), (v[0], *np.nanpercentile(v[1:], [2.5, 97.5])), strict=True))
        for name, v in values.items()
    }
    held_out: dict[str, Any] = {
        "accuracy": figures["accuracy"] | {"most_frequent": float(np.bincount(y).max() / len(y))}
    }
    for zone in _NAMES:
        held_out[zone] = {kind: figures[f"{zone} {kind}"] for kind in ("precision", "recall")}
    fitted = _fitted(x, y)
    return _leaves(fitted, names, x, y), held_out


def _fitted(x: np.ndarray, y: np.ndarray) -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=max(len(y) // 50, 5), random_state=0).fit(
        x, y
    )


def _scores(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    result = {"accuracy": float((weight * (y == said)).sum() / weight.sum())}
    for k, zone in enumerate(_NAMES):
        both = (weight * ((y == k) & (said == k))).sum()
        for kind, among in (("precision", said == k), ("recall", y == k)):
            total = (weight * among).sum()
            result[f"{zone} {kind}"] = float(both / total) if total else float("nan")
    return result


def _leaves(
    fitted: DecisionTreeClassifier, names: tuple[str, ...], x: np.ndarray, y: np.ndarray
) -> list[dict[str, Any]]:
    tree, leaf_of = fitted.tree_, fitted.apply(x)
    result: list[dict[str, Any]] = []

    def walk(node: int, bounds: dict[str, list[float | None]]) -> None:
        if tree.children_left[node] < 0:
            own = y[leaf_of == node]
            shares = {zone: float((own == k).mean()) for k, zone in enumerate(_NAMES)}
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


def _draw(squares: list[Square], folder: Path, found: Outcome) -> None:
    parts = []
    for p in (s.pairs for s in squares):
        used = p.off & np.isfinite(p.features["sigma"])
        parts.append(
            pl.DataFrame(
                {
                    "sigma": p.features["sigma"][used],
                    "delta_epsilon": p.features["delta_epsilon"][used],
                    "ratio": _ratio(p)[used],
                }
            )
        )
    with style.figure(10.4, 4.0) as made:
        plane.draw(pl.concat(parts), *made.subplots(1, 2))
        style.save(made, folder, "signatures_plane", ("png",))
    found.figures.append(
        ("signatures_plane", "All pairs of the four studies. White: no pair; what happens there was not measured.")
    )


def zones() -> dict[str, Any]:
    """Return the zones that this version of passband carries, as the standard results made them."""
    result: dict[str, Any] = json.loads(files("passband.results").joinpath("zones.json").read_text(encoding="utf-8"))
    return result


EXPERIMENT = Experiment(
    "signatures",
    "Warning signs",
    "Can one tell from σ and Δε alone that a network will collapse, or that it will hold? How often is such a rule right, and how much does it miss?",
    _STUDIES,
    evaluate,
)
