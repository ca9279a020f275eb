"""What goes wrong in the source's two zones of the plane: particles missed or film called particle, and what film excess tells of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from passband.analysis.pairs import Pairs
from passband.figures import style
from replication.figures import draw_bands
from replication.outcome import Claim, Outcome, judged, table
from replication.resampling import Statistic, Tested, measured_each
from replication.verdict_data import COLLAPSE, STABLE

#: The study that limits are chosen on, and those that they are judged on, in words.
CHOSEN_ON = "predictor_one_dose"
JUDGED = {
    "metrics": "all vary",
    "metrics_one_dose": "one dose",
    "metrics_corrected": "corrected",
    "predictor_corrected": "corrected, 128",
    "predictor_corrected_final": "corrected, final",
    "zero_defocus": "near zero defocus",
}
#: A network has failed hard beyond this share of the particles' area: missed, or as much film called particle.
HARD = 0.5
_NEAR_ZERO = "zero_defocus"
_Says = Callable[[Pairs], np.ndarray]
_LIMITED = {"film_excess": "film excess", "phase_rms": "rms Δχ"}
_OUTCOMES: dict[str, _Says] = {
    "more than twice the in-domain loss": lambda p: np.exp(p.log_ratio) > COLLAPSE,
    "more than half of the particles missed": lambda p: p.features["fn"] > HARD,
    "film called particle, more than half as much": lambda p: p.features["fp"] > HARD,
}
_RULE, _EXCESS = "σ < 0.5, Δε < −0.2", "as many pairs of the largest film excess"


def in_collapse(pairs: Pairs) -> np.ndarray:
    """Return the pairs of which the source expects collapse, bool, shape [B, B]."""
    return (pairs.features["sigma"] < 0.5) & (pairs.features["delta_epsilon"] < -0.2)


def in_stable(pairs: Pairs) -> np.ndarray:
    """Return the pairs of which the source expects that the network generalises, bool, shape [B, B]."""
    return (pairs.features["sigma"] >= 0.9) & (pairs.features["delta_epsilon"] >= 0)


def holds(pairs: Pairs) -> np.ndarray:
    """Return the pairs of at most 1.5 times the in-domain loss, bool, shape [B, B]."""
    return np.asarray(np.exp(pairs.log_ratio) <= STABLE)


def largest_excess(pairs: Pairs) -> np.ndarray:
    """Return the pairs of the largest film excess, as many as `in_collapse` names, bool, shape [B, B]."""
    number = int((in_collapse(pairs) & pairs.off).sum())
    if not number:
        return np.zeros_like(pairs.off)
    excess = np.where(pairs.off, pairs.features["film_excess"], -np.inf)
    return np.asarray(excess >= np.partition(excess.ravel(), -number)[-number])


def among(group: np.ndarray, so: np.ndarray, used: np.ndarray) -> float:
    """Return the share of a group of pairs that are so."""
    return float(so[group & used].mean()) if (group & used).any() else float("nan")


def tell(tables: Mapping[str, Tested], folder: Path, outcome: Outcome) -> None:
    """Add claims, tables and a figure on the errors in both zones; nothing unless all studies are there."""
    if not {CHOSEN_ON, *JUDGED} <= set(tables):
        return
    limits = limits_of(tables[CHOSEN_ON].pairs)
    judged_on = {name: tables[name] for name in JUDGED}
    _tell_stable(judged_on, limits, outcome)
    _tell_collapse(tables, judged_on, outcome)
    _tell_errors(judged_on, limits["film_excess"], outcome)
    _draw(tables, limits["film_excess"], folder, outcome)


def limits_of(pairs: Pairs) -> dict[str, float]:
    """Return the medians of film excess and rms Δχ over the stable zone."""
    zone = in_stable(pairs) & pairs.off
    return {name: float(np.median(pairs.features[name][zone])) for name in _LIMITED}


def _tell_stable(tables: Mapping[str, Tested], limits: dict[str, float], outcome: Outcome) -> None:
    def low(pairs: Pairs, name: str) -> np.ndarray:
        return in_stable(pairs) & (pairs.features[name] < limits[name])

    def there(pairs: Pairs) -> np.ndarray:
        return np.asarray(np.exp(pairs.log_excess) <= STABLE)

    excess, chi = _LIMITED
    groups: dict[str, _Says] = {
        "zone": in_stable,
        "low": lambda p: low(p, excess),
        "high": lambda p: in_stable(p) & ~low(p, excess),
        "near": lambda p: low(p, chi),
    }
    of_pair: dict[str, Callable[[Pairs], float]] = {
        f"{so.__name__} {group}": lambda p, says=says, so=so: among(says(p), so(p), p.off)  # type: ignore[misc]
        for so in (holds, there)
        for group, says in groups.items()
    }
    found = {name: measured_each(study, of_pair, "stable", name) for name, study in tables.items()}

    def mean(a: str, b: str) -> Callable[..., float]:
        return lambda *several: float(np.nanmean([of_pair[a](p) - of_pair[b](p) for p in several]))

    def misses(*several: Pairs) -> float:
        wrong = [(p, in_stable(p) & ~holds(p) & p.off) for p in several]
        more = np.concatenate([(p.features["fn"] > p.features["fp"])[w] for p, w in wrong])
        return float(more.mean()) if more.size else float("nan")

    over = measured_each(
        list(tables.values()),
        {
            "gain": mean("holds low", "holds zone"),
            "there": mean("there low", "there zone"),
            "chi": mean("holds low", "holds near"),
            "misses": lambda *several: misses(*several[:-1]),
            "near zero": lambda *several: misses(several[-1]),
        },
        "stable",
    )
    limit = f"{limits[excess]:.2f}"
    outcome.claims += [
        Claim(
            f"ours: the stable zone is safer where the test shows no film that the training did not (film excess below {limit}; share that holds, less that of the whole zone, above 0); six studies",
            f"mean gain {over['gain']}; as good as trained there {over['there']}",
            judged(over["gain"], above=0.0),
        ),
        Claim(
            f"ours: film excess tells the zone's exceptions better than the distance of the phases does (rms Δχ below {limits[chi]:.2f} rad); six studies",
            f"share that holds with film excess below its limit, less that with rms Δχ below its own {over['chi']}",
            judged(over["chi"], above=0.0),
        ),
        Claim(
            "ours: networks that fail in the stable zone miss particles rather than call film particle (more than half of them); five studies of drawn aberrations",
            f"share with more false negatives than false positives {over['misses']}; near zero defocus {over['near zero']}",
            judged(over["misses"], above=0.5),
        ),
    ]
    rows = []
    for name, own in found.items():
        pairs = tables[name].pairs
        zone = in_stable(pairs) & pairs.off
        kept = f"{among(zone, low(pairs, excess), pairs.off):.0%}"
        rows.append([JUDGED[name], str(zone.sum()), kept, *(str(own[f"holds {g}"]) for g in groups),
                     *(str(own[f"there {g}"]) for g in ("zone", "low"))])  # fmt: skip
    outcome.text.append(
        f"**The exceptions of the stable zone.** *Film excess* is the largest growth of the film's log power in any ring of spatial frequency from training to test, computed from the optics and what carbon "
        f"scatters, without an image. Its limit, {limit}, is the median over the zone in a study that is not judged here ({CHOSEN_ON}), and so is that of rms Δχ, {limits[chi]:.2f} rad; that film excess, and this rule for the limit, "
        "are used at all was decided after looking at all of these studies. Shares of pairs with at most 1.5 times the in-domain loss; the last two columns: the loss of networks trained there.\n\n"
        + table(
            ["study", "pairs in zone", "of them below the limit", "holds: zone", "film excess below", "above", "rms Δχ below", "as good as trained there: zone", "film excess below"],
            rows,
        )
    )  # fmt: skip


def _tell_collapse(tables: Mapping[str, Tested], judged_on: Mapping[str, Tested], outcome: Outcome) -> None:
    rules: dict[str, _Says] = {_RULE: in_collapse, _EXCESS: largest_excess}

    def named(rule: _Says, so: _Says, whole: _Says) -> Callable[..., float]:
        """Return the share of what `whole` selects of several studies that both the rule and the outcome select."""

        def share(*several: Pairs) -> float:
            both = sum(int((rule(p) & so(p) & p.off).sum()) for p in several)
            total = sum(int((whole(p) & p.off).sum()) for p in several)
            return both / total if total else float("nan")

        return share

    def precision_and_recall(so: _Says, key: str) -> dict[str, Callable[..., float]]:
        return {
            f"{key} {rule} {kind}": named(says, so, whole)
            for rule, says in rules.items()
            for kind, whole in (("precision", says), ("recall", so))
        }

    statistics = {k: f for key, so in _OUTCOMES.items() for k, f in precision_and_recall(so, key).items()}
    twice, missed, called = _OUTCOMES
    differs: Callable[..., float] = lambda *several: (  # noqa: E731
        statistics[f"{twice} {_EXCESS} precision"](*several) - statistics[f"{twice} {_RULE} precision"](*several)
    )
    everything: _Says = lambda p: p.off  # noqa: E731
    pooled = measured_each(
        list(tables.values()), statistics | {"differs": differs, "named": named(in_collapse, everything, everything)}, "collapse"
    )  # fmt: skip
    outcome.claims += [
        Claim(
            "ours: film excess names pairs with more than twice the in-domain loss better than σ < 0.5 and Δε < −0.2 do; seven studies",
            f"precision at the same number of pairs, less that of the rule {pooled['differs']}",
            judged(pooled["differs"], above=0.0),
        ),
        Claim(
            "ours: σ < 0.5 and Δε < −0.2 name the networks that miss more than half of the particles (recall above one half); seven studies",
            f"recall {pooled[f'{missed} {_RULE} recall']}, film excess {pooled[f'{missed} {_EXCESS} recall']}; share of all pairs named {pooled['named']}",
            judged(pooled[f"{missed} {_RULE} recall"], above=0.5),
        ),
        Claim(
            "ours: film excess names the networks that call film particle, more than half as much as there are particles (recall above one half); seven studies",
            f"recall {pooled[f'{called} {_EXCESS} recall']}, σ < 0.5 and Δε < −0.2 {pooled[f'{called} {_RULE} recall']}; share of all pairs named {pooled['named']}",
            judged(pooled[f"{called} {_EXCESS} recall"], above=0.5),
        ),
    ]
    rows = []
    for key, so in _OUTCOMES.items():
        chosen = [(t.pairs, so(t.pairs) & t.pairs.off) for t in tables.values()]
        networks = sum(int(c.any(1).sum()) for _, c in chosen)
        count = sum(int(c.sum()) for _, c in chosen)
        rows.append([key, f"{count} ({networks})", *(str(pooled[k]) for k in precision_and_recall(so, key))])
    header = ["pairs with", "number (networks)", "rule: precision", "recall", "film excess: precision", "recall"]
    text = (
        f"**Two ways to collapse.** The source's rule (σ < 0.5, Δε < −0.2) against film excess, which names as many pairs in every study; the {len(tables)} studies together. The rule "
        "looks for blindness: the test transfers little. Film excess looks for the opposite: the test shows film that the network has not met. *Missed* and *called particle* are shares of the particles' area.\n\n"
        + table(header, rows)
    )
    by_study = []
    for name, study in judged_on.items():
        own = measured_each(study, precision_and_recall(_OUTCOMES[twice], twice), "collapse", name)
        one, other = (own[f"{twice} {rule} precision"] for rule in rules)
        by_study.append(f"{one} and {other} ({JUDGED[name]})")
    text += f"\n\nPrecision of the rule and of film excess for {twice}, study by study: {'; '.join(by_study)}."
    outcome.text.append(text)


def _tell_errors(tables: Mapping[str, Tested], limit: float, outcome: Outcome) -> None:
    groups: dict[str, _Says] = {
        "in-domain": lambda p: np.eye(len(p.loss), dtype=bool),
        "all other pairs": lambda p: p.off,
        "σ < 0.5, Δε < −0.2": lambda p: in_collapse(p) & p.off,
        "stable zone, holds": lambda p: in_stable(p) & holds(p) & p.off,
        f"stable zone, fails, film excess below {limit:.2f}": lambda p: in_stable(p) & ~holds(p) & (p.features["film_excess"] < limit) & p.off,
        "stable zone, fails, film excess above": lambda p: in_stable(p) & ~holds(p) & (p.features["film_excess"] >= limit) & p.off,
    }  # fmt: skip

    def median(says: _Says, error: str) -> Callable[..., float]:
        def of(*several: Pairs) -> float:
            values = np.concatenate([p.features[error][says(p)] for p in several])
            return float(np.median(values)) if values.size else float("nan")

        return of

    statistics = {(group, e): median(says, e) for group, says in groups.items() for e in ("fp", "fn")}
    by_key = {f"{group} {e}": f for (group, e), f in statistics.items()}
    drawn = [t for name, t in tables.items() if name != _NEAR_ZERO]
    pooled = measured_each(drawn, by_key, "errors")
    near = measured_each(tables[_NEAR_ZERO], by_key, "errors")

    def cells(found: Mapping[str, Statistic], group: str) -> list[str]:
        return [str(found[f"{group} {e}"]) for e in ("fp", "fn")]

    outcome.text.append(
        "**Which errors.** Median false positives (film called particle) and false negatives (particle missed) over the particles' area; left, the five studies of drawn aberrations together, right, the study "
        "near zero defocus.\n\n"
        + table(
            ["pairs", "false positives", "false negatives", "near zero: false positives", "false negatives"],
            [[group, *cells(pooled, group), *cells(near, group)] for group in groups],
        )
    )


def _draw(tables: Mapping[str, Tested], limit: float, folder: Path, outcome: Outcome) -> None:
    caption = (
        "Left: share of the pairs of the stable zone that hold, by film excess; bars: central 95 % when conditions are drawn again; dashed: the limit. Right: false negatives and false positives of every pair of seven studies, "
        "and which of them σ < 0.5, Δε < −0.2 and as many of the largest film excess name; dotted: half of the particles' area."
    )
    with outcome.figure(folder, "signatures_errors", caption, 9.6, 4.0) as made:
        left, right = made.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_stable(tables, limit, left)
        _draw_errors(tables, right)


def _draw_stable(tables: Mapping[str, Tested], limit: float, ax: Axes) -> None:
    edges, rows = np.array([0.0, 0.3, 0.5, 0.7, 1.5]), []
    for name in ("metrics_one_dose", "metrics_corrected", "metrics", _NEAR_ZERO):

        def share(pairs: Pairs, low: float, high: float) -> float:
            excess = pairs.features["film_excess"]
            return among(in_stable(pairs) & (excess >= low) & (excess < high), holds(pairs), pairs.off)

        parts = {f"{k}": lambda p, k=k: share(p, edges[k], edges[k + 1]) for k in range(len(edges) - 1)}
        found = measured_each(tables[name], parts, "film excess", name)
        pairs = tables[name].pairs
        excess = pairs.features["film_excess"][in_stable(pairs) & pairs.off]
        for k, one in enumerate(found.values()):
            at = excess[(excess >= edges[k]) & (excess < edges[k + 1])]
            if at.size:
                rows.append({"group": JUDGED[name], "x": float(np.median(at)), "y": one.value, "low": one.low, "high": one.high})  # fmt: skip
    draw_bands(pl.DataFrame(rows), ax, "film excess", "share that holds in the stable zone")
    ax.axvline(limit, color="0.4", linewidth=0.8, linestyle="--")
    ax.set_ylim(0, 1.03)


def _draw_errors(tables: Mapping[str, Tested], ax: Axes) -> None:
    groups: dict[str, tuple[_Says, str]] = {
        "all pairs": (lambda p: ~in_collapse(p) & ~largest_excess(p), style.GREY),
        _RULE: (lambda p: in_collapse(p) & ~largest_excess(p), style.BLUE),
        "largest film excess": (largest_excess, style.ORANGE),
    }
    for label, (says, colour) in groups.items():
        chosen = [(t.pairs, says(t.pairs) & t.pairs.off) for t in tables.values()]
        fp, fn = (np.concatenate([p.features[e][c] for p, c in chosen]).clip(3e-4) for e in ("fp", "fn"))
        ax.scatter(fn, fp, s=2, color=colour, alpha=0.25, linewidths=0, rasterized=True, label=label)
    for line in (ax.axhline, ax.axvline):
        line(HARD, color="0.4", linewidth=0.8, linestyle=":")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="false negatives / particles' area",
        ylabel="false positives / particles' area",
    )
    legend = ax.legend(fontsize=7, markerscale=4, loc="lower left")
    for handle in filter(None, legend.legend_handles):
        handle.set_alpha(1)
