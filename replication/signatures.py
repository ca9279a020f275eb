"""The failure signatures as predictions: precision and recall of the source's rules and of learnt rules."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.pairs import Pairs, Square
from passband.verdicts.zones import NAMES, PAIR_FEATURES
from replication import zone_errors
from replication.figures import draw_plane
from replication.outcome import Claim, Experiment, Outcome, StudyTables, in_plane, judged, table
from replication.predictor import loaded
from replication.resampling import Statistic, measured, measured_each
from replication.verdict_data import COLLAPSE, STABLE, ZONE_STUDIES, learn_zones
from replication.zone_errors import among, in_collapse, in_stable

_COLLAPSE, _STABLE = "source: σ < 0.5, Δε < −0.2: collapse", "source: σ ≥ 0.9, Δε ≥ 0: stable"
_DELTA, _THERE = "Δε < −0.2 alone: collapse", "the same zone: as good as trained there"
_ALL, _ALL_STABLE, _ALL_THERE = "all pairs, collapse", "all pairs, stable", "all pairs, as good as trained there"
# The studies that the source's claims are told of, in words.
_TOLD = {
    "metrics_one_dose": "one dose",
    "metrics": "all vary",
    "metrics_corrected": "corrected microscope, one dose",
}
_BASE = {_COLLAPSE: _ALL, _STABLE: _ALL_STABLE}
_Says = Callable[[Pairs], np.ndarray]


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return precision and recall of the rules in each study."""
    outcome = Outcome()
    squares = {name: study.square for name, study in studies.items()}
    rules = {name: _rules(square, name) for name, square in squares.items()}
    one = rules["metrics_one_dose"]
    told = {how: rules[name] for name, how in _TOLD.items() if name in rules}
    outcome.text.append(
        f"At one dose {one[_ALL][0].value:.0%} of the pairs have more than twice the in-domain loss. Where σ < 0.5 and Δε < −0.2 it is "
        f"{one[_COLLAPSE][0].value:.0%}, and the rule covers {one[_COLLAPSE][1].value:.0%} of those pairs. Where σ ≥ 0.9 and Δε ≥ 0, {one[_STABLE][0].value:.0%} have at most 1.5 times the in-domain loss, "
        f"against {one[_ALL_STABLE][0].value:.0%} of all pairs; but networks with a poor in-domain loss meet that easily: {one[_THERE][0].value:.0%} of that zone have at most 1.5 times "
        f"the loss of networks trained under the test condition, against {one[_ALL_THERE][0].value:.0%} of all pairs."
    )
    for label, claim in (
        (_COLLAPSE, "σ < 0.5 and Δε < −0.2 means more than twice the training loss (precision above 0.8)"),
        (
            _STABLE,
            "σ ≈ 1 and Δε ≥ 0 means the network generalises (here: σ ≥ 0.9, at most 1.5 times the in-domain loss; precision above 0.8)",
        ),
    ):
        outcome.claims += [
            Claim(
                f"{claim}; {how}",
                f"precision {own[label][0]}, recall {own[label][1]}; share among all pairs {own[_BASE[label]][0]}",
                judged(own[label][0], above=0.8),
            )
            for how, own in told.items()
        ]
    outcome.claims += [
        Claim(
            "ours: the collapse rule adds to knowing how often networks collapse anyway; one dose",
            f"precision less the share among all pairs {_lift(squares['metrics_one_dose'])}; without σ, Δε < −0.2 alone has precision {one[_DELTA][0]}",
            judged(_lift(squares["metrics_one_dose"]), above=0.0),
        ),
        Claim(
            "ours: in the stable zone a network is as good as one trained there (at most 1.5 times its loss; precision above 0.8); one dose",
            f"precision {one[_THERE][0]}, recall {one[_THERE][1]}; all pairs {one[_ALL_THERE][0]}",
            judged(one[_THERE][0], above=0.8),
        ),
    ]
    outcome.text.append(_by_study(squares, rules))
    tables = studies["metrics"].paths.folder.parent
    zone_errors.tell(loaded(tables, (*zone_errors.JUDGED, zone_errors.CHOSEN_ON)), folder, outcome)
    zones = learn_zones(studies)
    many, plane_ = (zones["trees"][k]["held_out"] for k in ("many", "plane"))
    gain = Statistic(**many["over_most_frequent"])
    outcome.claims.append(
        Claim(
            "ours: a tree learnt from the other studies sorts pairs into stable, degraded and collapse better than always saying their most frequent zone",
            f"{len(PAIR_FEATURES)} metrics: share right {Statistic(**many['right'])}, more than that by {gain}; σ and Δε alone by {Statistic(**plane_['over_most_frequent'])}",
            judged(gain, above=0.0),
        )
    )
    leaves = zones["trees"]["plane"]["leaves"]
    outcome.text.append(
        "The zones that verdicts use (`src/passband/verdicts/data/zones.json`): leaves of a tree on σ and Δε over the four studies without metrics_corrected, with the share of each zone among their pairs (in sample; held out, "
        f"by leaving a study out, the tree is right in {Statistic(**plane_['right'])} of the pairs).\n\n"
        + table(
            ["where", "pairs", *NAMES],
            [
                [leaf["where"] or "everywhere", str(leaf["pairs"]), *[f"{leaf['shares'][z]:.0%}" for z in NAMES]]
                for leaf in leaves
            ],
        )
    )
    _draw([squares[name] for name in ZONE_STUDIES], folder, outcome)
    return outcome


def _by_study(squares: Mapping[str, Square], rules: Mapping[str, dict[str, tuple[Statistic, Statistic]]]) -> str:
    header = ["study", "pairs", "collapse: all pairs", "precision", "recall", "stable: all pairs", "precision", "recall", "as good as trained there: all pairs", "in the stable zone"]  # fmt: skip
    rows = [
        [name, str(int(squares[name].pairs.off.sum())), str(own[_ALL][0]), *map(str, own[_COLLAPSE]), str(own[_ALL_STABLE][0]),
         *map(str, own[_STABLE]), str(own[_ALL_THERE][0]), str(own[_THERE][0])]
        for name, own in rules.items()
    ]  # fmt: skip
    return (
        "**The two rules in every study.** *Collapse*: more than twice the in-domain loss, where σ < 0.5 and Δε < −0.2. *Stable*: at most 1.5 times the in-domain loss, where σ ≥ 0.9 and Δε ≥ 0. *As good as trained there*: at most "
        "1.5 times the loss of networks trained under the test condition. Precision: of the pairs that a rule selects, the share for which it is right. Recall: of the pairs for which the outcome is true, the "
        "share that it selects. *All pairs*: the share without any rule. Shares depend on the study's mixture of conditions: 5 Å steps around zero defocus are another mixture than draws over all "
        "aberrations.\n\n" + table(header, rows)
    )


def _rules(square: Square, name: str) -> dict[str, tuple[Statistic, Statistic]]:
    """Return precision and recall of each rule."""
    collapse, stable = (lambda p: np.exp(p.log_ratio) > COLLAPSE), (lambda p: np.exp(p.log_ratio) <= STABLE)
    there = lambda p: np.exp(p.log_excess) <= STABLE  # noqa: E731
    everything = lambda p: np.ones_like(p.off)  # noqa: E731
    rules: dict[str, tuple[_Says, _Says]] = {
        _COLLAPSE: (in_collapse, collapse),
        _DELTA: (lambda p: p.features["delta_epsilon"] < -0.2, collapse),
        _ALL: (everything, collapse),
        _STABLE: (in_stable, stable),
        _ALL_STABLE: (everything, stable),
        _THERE: (in_stable, there),
        _ALL_THERE: (everything, there),
    }
    found = {}
    for label, (says, so) in rules.items():
        kinds = {
            "precision": lambda p, s=says, q=so: among(s(p), q(p), p.off),
            "recall": lambda p, s=says, q=so: among(q(p), s(p), p.off),
        }
        both = measured_each(square, kinds, name, label)
        found[label] = (both["precision"], both["recall"])
    return found


def _lift(square: Square) -> Statistic:
    def statistic(pairs: Pairs) -> float:
        so = np.exp(pairs.log_ratio) > COLLAPSE
        return among(in_collapse(pairs), so, pairs.off) - among(pairs.off, so, pairs.off)

    return measured(square, statistic, "lift")


def _draw(squares: list[Square], folder: Path, outcome: Outcome) -> None:
    caption = "All pairs of defocus_sweep, metrics, metrics_one_dose and zero_defocus. White: no pair lies there."
    with outcome.figure(folder, "signatures_plane", caption, 10.4, 4.0) as made:
        draw_plane(pl.concat(in_plane(s.pairs) for s in squares), *made.subplots(1, 2))


EXPERIMENT = Experiment(
    "signatures",
    "Warning signs",
    "Do σ and Δε alone tell whether a network will collapse or generalise? How often is such a rule right, and how much does it miss?",
    ZONE_STUDIES,
    evaluate,
    extra=("metrics_corrected",),
)
