"""Check 2: near zero defocus, in steps of 5 Å and for three values of C30."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.pairs import ZERO_DEFOCUS, Pairs
from passband.figures import style
from replication import denominators
from replication.denominators import LOSSES, Networks, square_of, with_errors
from replication.figures import draw_bands
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.resampling import Statistic, measured_together, rank_correlation
from replication.zero_places import STUDY, read_places

_SWEEP = "defocus_sweep"
# Distance from a place up to which a condition is near; and from all places, above which it is far [Å].
_NEAR, _FAR = 7.5, 35.0
# Fewer conditions near zero are not ranked.
_FEWEST = 5
#: Where zero could lie, as the page calls it. The source's first author counts from the last.
_ZERO, _EPSILON, _CONTRAST = "C10 = 0", "the least ε", "the least contrast"


class _Places:
    """Where each condition of the study lies: defocus, C30, ε, contrast in vacuum, and the distances from three zeros [Å]."""

    def __init__(self, study: StudyTables):
        by_name = {row["condition"]: row for row in study.conditions.to_dicts()}
        rows = [by_name[name] for name in study.square.names]
        self.defocus, self.c30, self.epsilon = (
            np.array([r[c] for r in rows]) for c in ("defocus_angstrom", "C30", "epsilon")
        )
        kept = read_places(study.paths)
        self.contrast = np.array([kept["vacuum_contrast"][name] for name in study.square.names])
        self.zeros = {
            place["C30"]: {_ZERO: 0.0, _EPSILON: place["least_epsilon"], _CONTRAST: place["least_contrast"]}
            for place in kept["defocus_angstrom"]
        }
        self.distance = {
            name: np.abs(self.defocus - np.array([self.zeros[c30][name] for c30 in self.c30]))
            for name in (_ZERO, _EPSILON, _CONTRAST)
        }
        self.far = np.min(list(self.distance.values()), axis=0) >= _FAR
        self.near = self.distance[_CONTRAST] < _NEAR

    def same(self, pairs: Pairs) -> np.ndarray:
        """Return the pairs of one C30, bool, shape [B, B]."""
        c30 = self.c30[pairs.drawn]
        return pairs.off & (c30[:, None] == c30)


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return which zero networks fail at, what those that were trained there do elsewhere, and which errors they make."""
    outcome = Outcome()
    study = studies[STUDY]
    at = _Places(study)
    tested = measured_together(study.square, lambda pairs: _tested(pairs, at), "tested")
    order = measured_together(study.square, lambda pairs: _order(pairs, at), "order")
    trained = [(networks, networks.measured()) for networks in _networks(studies, at)]
    _tell_places(outcome, at, tested, order)
    _tell_trained(outcome, trained)
    _curves(study, at, folder, outcome)
    _tell_errors(outcome, study, at)
    outcome.text.append(_conditions(study, at))
    return outcome


def _tested(pairs: Pairs, at: _Places) -> dict[str, float]:
    """Return what networks that were trained far away do near each zero: quantiles of both relative losses over pairs."""
    result = {}
    for name, distance in at.distance.items():
        used = at.same(pairs) & at.far[pairs.drawn][:, None] & (distance < _NEAR)[pairs.drawn]
        own, there = np.exp(pairs.log_ratio[used]), np.exp(pairs.log_excess[used])
        for key, values, share in (("median", own, 0.5), ("best tenth", own, 0.1), ("there", there, 0.5)):
            result[f"{name}: {key}"] = float(np.quantile(values, share)) if len(values) else float("nan")
    return result


def _order(pairs: Pairs, at: _Places) -> dict[str, float]:
    """Return the rank correlation, within each C30, of values near zero with the loss there of networks trained far away.

    And, by C30, the defocus at which that loss is highest.
    """
    far, c30 = at.far[pairs.drawn], at.c30[pairs.drawn]
    used = at.same(pairs) & far[:, None] & ~far
    values = {f"near {name}": -distance for name, distance in at.distance.items()}
    values |= {"ε": -at.epsilon, "contrast": -at.contrast}
    own: dict[str, list[float]] = {name: [] for name in values}
    worst: dict[float, float] = {}
    for group in at.zeros:
        columns = np.flatnonzero(used.any(0) & (c30 == group))
        if len(np.unique(pairs.drawn[columns])) < _FEWEST:
            continue
        loss = np.array([np.log(pairs.loss[used[:, j], j]).mean() for j in columns])
        worst[group] = float(at.defocus[pairs.drawn[columns[loss.argmax()]]])
        for name, value in values.items():
            own[name].append(rank_correlation(value[pairs.drawn[columns]], loss))
    result = {name: float(np.mean(found)) if found else float("nan") for name, found in own.items()}
    contrast = result[f"near {_CONTRAST}"]
    away = {name: [abs(d - at.zeros[group][name]) for group, d in worst.items()] for name in at.distance}
    mean_away = {name: float(np.mean(found)) if found else float("nan") for name, found in away.items()}
    return (
        result
        | {f"{_CONTRAST} less {name}": contrast - result[f"near {name}"] for name in (_ZERO, _EPSILON)}
        | {"contrast less ε": result["contrast"] - result["ε"]}
        | {f"away from {name}": value for name, value in mean_away.items()}
        | {"nearer": mean_away[_EPSILON] - mean_away[_CONTRAST]}
        | {f"worst at {group:g}": worst.get(group, float("nan")) for group in at.zeros}
    )


def _tell_places(outcome: Outcome, at: _Places, tested: dict[str, Statistic], order: dict[str, Statistic]) -> None:
    near = {name: order[f"near {name}"] for name in at.distance}
    median = {name: tested[f"{name}: median"].value for name in at.distance}
    outcome.text.append(
        "The source says that tested near zero defocus every network fails, and that trained there a network does poorly at home and generalises broadly. "
        f"Its first author counts the defocus, in another study, from where particles in vacuum have the least contrast. Networks trained {_FAR:g} Å or more away have {median[_CONTRAST]:.1f} times their in-domain loss in the "
        f"median when tested within {_NEAR:g} Å of that place, {median[_EPSILON]:.1f} times within {_NEAR:g} Å of the least ε and {median[_ZERO]:.1f} times within {_NEAR:g} Å of C10 = 0. Over the conditions between, the "
        f"loss follows the closeness to the least contrast with rank correlation {near[_CONTRAST]}, to the least ε with {near[_EPSILON]}, to C10 = 0 with {near[_ZERO]}."
    )
    best = {name: tested[f"{name}: best tenth"] for name in at.distance}
    over_zero, over_epsilon = (order[f"{_CONTRAST} less {name}"] for name in (_ZERO, _EPSILON))
    outcome.claims += [
        Claim(
            "Tested near zero defocus (the least contrast), networks fail whatever they were trained on (more than twice their in-domain loss)",
            f"relative loss within {_NEAR:g} Å of the least contrast, median {tested[f'{_CONTRAST}: median']}, best tenth {best[_CONTRAST]}; of C10 = 0, best tenth {best[_ZERO]}; of the least ε {best[_EPSILON]}",
            judged(best[_CONTRAST], above=2.0),
        ),
        Claim(
            "ours: the loss near zero follows the closeness to the least contrast, not to C10 = 0",
            f"rank correlation {near[_CONTRAST]}, with closeness to C10 = 0 {near[_ZERO]}; difference {over_zero}",
            judged(over_zero, above=0.0),
        ),
        Claim(
            "ours: it follows the closeness to the least contrast more than that to the least ε",
            f"rank correlation with the closeness to the least ε {near[_EPSILON]}; difference {over_epsilon}. With ε itself {order['ε']}, with the contrast itself {order['contrast']}, difference {order['contrast less ε']}. "
            f"The worst test lies {order['nearer']} Å nearer to the least contrast (a measure chosen after the losses had been seen)",
            judged(over_epsilon, above=0.0),
        ),
    ]
    header = ["zero", *[f"C30 = {c / 1e4:+.0f} µm" for c in at.zeros]]
    header += ["loss over in-domain loss: median", "best tenth", "over that of networks trained there: median"]
    header += ["rank correlation of closeness and loss", "mean distance of the worst test [Å]"]
    rows = [
        [
            name,
            *[f"{zeros[name]:+.1f} Å" for zeros in at.zeros.values()],
            *[str(tested[f"{name}: {key}"]) for key in ("median", "best tenth", "there")],
            *[str(order[f"{key} {name}"]) for key in ("near", "away from")],
        ]
        for name in at.distance
    ]
    worst = [order[f"worst at {group:g}"] for group in at.zeros]
    rows.append(["the worst test", *[f"{w.value:+.0f} [{w.low:+.0f}, {w.high:+.0f}] Å" for w in worst], *[""] * 5])
    outcome.text.append(
        "**Which zero?** Tests near each of three zeros, of networks trained far away. *The worst test* is the defocus at which these networks have the highest mean ln loss; its steps are 5 Å. *Closeness* "
        "is ranked within each C30 over all conditions that are not far away. `python -m replication zero-places` measures the places.\n\n"
        + style.minus(table(header, rows))
    )


def _networks(studies: Mapping[str, StudyTables], at: _Places) -> list[Networks]:
    """Return every kind of networks of which some were trained near zero."""
    study, found = studies[STUDY], []
    kinds = [("steps of 5 Å, three C30", study, at.near, at.far, at.c30)]
    if _SWEEP in studies:
        zero = np.abs(studies[_SWEEP].defocus) < ZERO_DEFOCUS
        kinds.append(("steps of 50 Å", studies[_SWEEP], zero, ~zero, np.zeros(len(zero))))
    for name, tables, near, far, group in kinds:
        scores = with_errors(tables.scores)
        found += [
            Networks(name, loss, square_of(scores, tables.square.names, column), near, far, group)
            for column, loss in LOSSES.items()
        ]
    return found + denominators.of_authors()


def _tell_trained(outcome: Outcome, trained: list[tuple[Networks, dict[str, Statistic]]]) -> None:
    (_, ours), (_, theirs) = trained[0], trained[-1]
    values = [found for _, found in trained]
    outcome.claims += [
        Claim(
            "Trained near zero defocus (the least contrast), a network has a high in-domain loss",
            f"in-domain loss over that of networks trained far away {ours['home']}; in the first author's own table {theirs['home']}",
            judged(ours["home"], above=1.0),
        ),
        Claim(
            "Trained near zero defocus, a network generalises broadly, measured against its in-domain loss: it loses less elsewhere than networks trained elsewhere do",
            f"loss elsewhere over in-domain loss {ours['own_near']}, of networks trained elsewhere {ours['own_far']}, ratio {ours['own_ratio']}; in the first author's own table {theirs['own_near']}, {theirs['own_far']}, ratio {theirs['own_ratio']}",
            judged(ours["own_ratio"], below=1.0),
        ),
        Claim(
            "Trained near zero defocus, a network generalises broadly, measured in the same test: no worse than networks trained elsewhere and not there",
            f"loss over theirs {ours['same_test']}; over that of networks trained there {ours['there_near']}, of networks trained elsewhere {ours['there_far']}; in the first author's own table {theirs['same_test']}; {theirs['there_near']}, {theirs['there_far']}",
            judged(ours["same_test"], below=1.0),
        ),
    ]

    def lower(key: str) -> str:
        below, clearly, above = (
            sum(f(v[key]) for v in values) for f in (lambda x: x.value < 1, lambda x: x.high < 1, lambda x: x.low > 1)
        )
        return f"{below} of {len(values)} rows (by the whole interval in {clearly}, larger in {above})"

    homes = [v["home"].value for v in values]
    outcome.text.append(
        f"**Trained at zero: a question of the denominator.** The in-domain loss at zero is {min(homes):.1f} to {max(homes):.1f} times that elsewhere, because hardly anything shows there. Divided by its in-domain loss, what a network that "
        f"was trained at zero loses elsewhere looks small: smaller than for networks trained elsewhere in {lower('own_ratio')}. That says how bad it is at home, not how good it is elsewhere. Divided by the loss of networks trained under the test "
        f"condition, it is smaller in {lower('there_ratio')}; beside networks trained elsewhere in the very same test, in {lower('same_test')}. *Wrong pixels*, false positives and negatives over the "
        f"particles' area, are another loss of the same networks: no figure differs by more than {_most_apart(trained):.0%} between the two.\n\n"
        + denominators.as_table(trained)
        + "\n\n"
        f"Medians over pairs tested elsewhere: {_FAR:g} Å or more from all three zeros (steps of 5 Å), or anywhere but at zero. The first six columns use tests under which networks were trained, too; the last one all. The authors' study: wurtzite "
        "CdSe, label by phase, zero at the least contrast, trained at five defoci and tested at eleven; theirs are medians of 720 networks of 14 million weights (Rangel DaCosta, Oill and Scott, "
        "[Elemental Microscopy 2026](https://doi.org/10.69761/kjte5358), CC-BY-4.0), ours smaller (`authors.md`)."
    )


def _most_apart(trained: list[tuple[Networks, dict[str, Statistic]]]) -> float:
    """Return by how much the medians of the same networks differ between two losses, at most."""
    by_study: dict[str, list[dict[str, Statistic]]] = {}
    for networks, found in trained:
        by_study.setdefault(networks.study, []).append(found)
    pairs = [(a[key].value, b[key].value) for a, b in (v for v in by_study.values() if len(v) == 2) for key in a]
    return float(np.expm1(max(abs(np.log(a / b)) for a, b in pairs)))


def _tell_errors(outcome: Outcome, study: StudyTables, at: _Places) -> None:
    """Tell false positives and false negatives of networks trained and tested near zero and far away."""
    scores = with_errors(study.scores).with_columns(more=pl.col("fp_share") - pl.col("fn_share"))

    def statistics(pairs: Pairs) -> dict[str, float]:
        near, far = at.near[pairs.drawn], at.far[pairs.drawn]
        same = at.same(pairs)
        groups = {
            "far away, the same": np.diag(far),
            "far away, another far away": same & far[:, None] & far,
            "far away, near zero": same & far[:, None] & near,
            "near zero, the same": np.diag(near),
            "near zero, another near zero": same & near[:, None] & near,
            "near zero, far away": same & near[:, None] & far,
        }
        return {name: float(pairs.loss[used].mean()) if used.any() else float("nan") for name, used in groups.items()}

    fp, fn, loss, more = (
        measured_together(square_of(scores, study.square.names, column), statistics, "errors")
        for column in ("fp_share", "fn_share", "loss", "more")
    )
    missed, called = more["far away, near zero"], more["near zero, far away"]
    outcome.claims += [
        Claim(
            "ours: tested near zero, networks trained far away miss particles more than they call film a particle",
            f"false positives less false negatives, over the particles' area {missed}",
            judged(missed, below=0.0),
        ),
        Claim(
            "ours: trained near zero, networks tested far away call film a particle more than they miss particles",
            f"false positives less false negatives, over the particles' area {called}",
            judged(called, above=0.0),
        ),
    ]
    rows = [[*name.split(", "), *(str(column[name]) for column in (fp, fn, loss))] for name in fp]
    outcome.text.append(
        "**Which errors?** Means over pairs; false positives and false negatives over the particles' area. Near zero is the least contrast.\n\n"
        + table(["trained", "tested", "false positives", "false negatives", "loss"], rows)
    )


def _conditions(study: StudyTables, at: _Places) -> str:
    """Return a table of every condition."""
    scores = with_errors(study.scores)
    loss, fp, fn = (square_of(scores, study.square.names, c).pairs.loss for c in ("loss", "fp_share", "fn_share"))
    rows = []
    for i in range(len(at.defocus)):
        others = at.far & (at.c30 == at.c30[i]) & (np.arange(len(at.defocus)) != i)
        cells = [f"{at.c30[i] / 1e4:+.0f}", f"{at.defocus[i]:+.0f}", f"{at.epsilon[i]:.3f}", f"{at.contrast[i]:.3f}"]
        cells.append(f"{loss[i, i]:.3f}")
        for used in ((others, i), (i, others)):
            cells.append(f"{np.nanmedian(loss[used]):.3f}")
            cells.append(" / ".join(f"{np.nanmedian(share[used]):.0%}" for share in (fp, fn)))
        rows.append(cells)
    header = ["C30 [µm]", "defocus [Å]", "ε", "contrast in vacuum", "in-domain loss"]
    header += ["tested here", "FP / FN", "trained here", "FP / FN"]
    return (
        "Each condition: ε, the contrast of the particles alone in vacuum (standard deviation over mean), the in-domain loss; the median loss here of networks trained far away, and far away of networks "
        "trained here, with false positives and false negatives over the particles' area.\n\n"
        + style.minus(table(header, rows))
    )


def _curves(study: StudyTables, at: _Places, folder: Path, outcome: Outcome) -> None:
    pairs, far = study.square.pairs, np.abs(at.defocus) >= 100
    caption = "Vertical lines: C10 = 0 (solid, thin), the least ε (dashed), the least contrast of the particles in vacuum (solid, thick). Far away: 100 Å or more; bands: the range over those conditions."
    with outcome.figure(folder, "zero_defocus", caption, 3.6 * len(at.zeros), 3.8) as made:
        axes = made.subplots(1, len(at.zeros), sharey=True, squeeze=False)[0]
        for ax, (value, zeros) in zip(axes, at.zeros.items(), strict=True):
            rows, others = [], far & (at.c30 == value)
            for i in np.flatnonzero((at.c30 == value) & ~far):
                for group, losses in (
                    ("tested here, trained far away", pairs.loss[others, i]),
                    ("trained and tested here", pairs.loss[i, i : i + 1]),
                    ("trained here, tested far away", pairs.loss[i, others]),
                ):
                    known = losses[np.isfinite(losses)]
                    if len(known):
                        rows.append(
                            {"group": group, "x": at.defocus[i], "y": float(np.median(known)), "low": float(known.min()), "high": float(known.max())}
                        )  # fmt: skip
            draw_bands(
                pl.DataFrame(rows).sort("group"), ax, "defocus [Å]", "loss" if ax is axes[0] else "", log=(False, True)
            )
            for name, width, line in ((_ZERO, 0.7, "-"), (_EPSILON, 0.9, "--"), (_CONTRAST, 1.6, "-")):
                ax.axvline(zeros[name], color="0.5", linewidth=width, linestyle=line, zorder=0)
            ax.set_title(f"C30 = {value / 1e4:+.0f} µm".replace("-", "−"))


EXPERIMENT = Experiment(
    "zero_defocus",
    "Near zero defocus",
    "At zero defocus a corrected microscope shows hardly any contrast. Do networks fail there whatever they were trained on, do networks "
    "trained there generalise, and which zero is it: C10 = 0, the condition that transfers least, or the focus of least contrast?",
    (STUDY,),
    evaluate,
    extra=(_SWEEP,),
)
