"""The findings of a study: numbers from its tables, and sentences with them."""

from typing import Any

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.analysis.conformal import LEVEL
from passband.analysis.fits import DEFOCUS, SOURCE, why_undefined
from passband.learning import SEGMENTATION, Task

#: Held-out R² from which a predictor counts as predictive.
_PREDICTS = 0.3
_SUBSETS = {"all": "over all off-diagonal pairs", "without_zero_defocus": "without zero defocus"}


def findings(
    pairs: pl.DataFrame,
    training: pl.DataFrame,
    fits: list[dict[str, Any]],
    task: Task = SEGMENTATION,
) -> dict[str, Any]:
    """Return the study's findings: numbers by name, and `sentences`.

    They are made from pairs of `join_pairs`, losses per epoch with condition, seed and epsilon, and fits of `fit_all`. Pairs of a task with a value
    of the image have the columns of `conformal.coverage_table`, too.
    """
    headline = task.headline
    diagonal = pairs.filter(pl.col("train_condition") == pl.col("test_condition"))
    off = pairs.filter(pl.col("train_condition") != pl.col("test_condition"))
    name = f"median_diagonal_{headline.column}"
    result: dict[str, Any] = {
        name: _median(diagonal[headline.column]),
        f"{name}_without_zero_defocus": _median(diagonal.filter(~pl.col("train_zero"))[headline.column]),
        "diagonal_loss_seed_deviation": _seed_deviation(diagonal),
    }
    without = result[f"{name}_without_zero_defocus"]
    more = f"; without zero defocus, {without:.3f}" if without is not None and pairs["train_zero"].any() else ""
    sentences = [
        f"Under its training condition the median network reaches {headline.text(result[name])}{more}.",
        *_particles(diagonal, result),
        *_coverage(diagonal, off, task.value, result),
        *_zero_defocus(off, result),
        *_stable_zone(off, result),
        *_convergence(training, result),
        *_prediction(fits, result),
    ]
    return result | {"sentences": sentences}


def _median(values: pl.Series) -> float | None:
    return float(np.median(values)) if len(values) else None


def _particles(diagonal: pl.DataFrame, result: dict[str, Any]) -> list[str]:
    """Return what the median network finds; nothing for tests that were made before particles were counted."""
    names = ("instance_f1", "surface_dice", "distance_angstrom")
    if "found" not in diagonal.columns or not len(counted := diagonal.drop_nulls("found")):
        return []
    share = (counted["found"] / counted["particles"]).drop_nans()
    values = {"found_share": _median(share)} | {n: _median(counted[n].drop_nans()) for n in names}
    result |= {f"median_diagonal_{name}": value for name, value in values.items()}
    if None in values.values():
        return []
    found, f1, surface, distance = values.values()
    return [
        f"There it finds {found:.0%} of the particles (instance F1 {f1:.3f}); its outlines lie {f'{distance:+.2f}'.replace('-', '−')} Å "
        f"from the true ones, positive outside, with a surface Dice of {surface:.3f} within 2 Å."
    ]


def _coverage(diagonal: pl.DataFrame, off: pl.DataFrame, value: str, result: dict[str, Any]) -> list[str]:
    """Return how often intervals of a value of the image hold at home and elsewhere; nothing without one."""
    if "coverage" not in diagonal.columns or not diagonal["coverage"].count() or not off["coverage"].count():
        return []
    shares = {
        "in_domain": diagonal["coverage"].mean(),
        "elsewhere": off["coverage"].mean(),
        "least": off["coverage"].min(),
    }
    result["interval_coverage"] = shares
    home, elsewhere, least = (f"{share:.0%}" for share in shares.values())
    return [
        f"{LEVEL:.0%} intervals of the {value}, calibrated under the training condition, contain {home} of the true values there, of other specimens, "
        f"{elsewhere} under other conditions, and {least} in the worst pair."
    ]


def _seed_deviation(diagonal: pl.DataFrame) -> float | None:
    spread = diagonal.group_by("train_condition").agg(pl.col("loss").std())["loss"].drop_nulls()
    return float(np.sqrt((spread**2).mean())) if len(spread) else None


def _zero_defocus(off: pl.DataFrame, result: dict[str, Any]) -> list[str]:
    column = off.filter(pl.col("test_zero") & ~pl.col("train_zero"))
    row = off.filter(pl.col("train_zero") & ~pl.col("test_zero"))
    if not len(column) or not len(row):
        return []
    per_network = column.group_by("train_condition", maintain_order=True).agg(
        ratio=pl.col("loss").mean() / pl.col("own_loss").mean()
    )["ratio"]
    row_loss = row.group_by("test_condition", maintain_order=True).agg(pl.col("loss").mean())["loss"]
    low, high = float(per_network.min()), float(per_network.max())
    ratio: dict[str, Any] = {"lowest": low, "median": _median(per_network), "highest": high}
    trained = {"lowest": float(row_loss.min()), "highest": float(row_loss.max()), "own": float(row["own_loss"].mean())}
    result |= {"zero_defocus_test_ratio": ratio, "zero_defocus_trained_loss": trained}
    rest = _median(off.filter(~pl.col("train_zero") & ~pl.col("test_zero"))["loss"])
    result["median_off_diagonal_loss_without_zero_defocus"] = rest
    return [
        f"Tested at zero defocus, networks trained elsewhere have {ratio['lowest']:.1f} to {ratio['highest']:.1f} times their in-domain loss "
        f"(median {ratio['median']:.1f}).",
        f"Networks trained at zero defocus have loss {trained['own']:.2f} there and {trained['lowest']:.2f} to {trained['highest']:.2f} elsewhere"
        + (f"; the median of all other pairs is {rest:.2f}." if rest is not None else "."),
    ]


def _stable_zone(off: pl.DataFrame, result: dict[str, Any]) -> list[str]:
    zone = off.filter(pl.col("sigma") >= 0.9, pl.col("delta_epsilon") >= 0)
    pairs = zone.select("train_condition", "test_condition").n_unique()
    result["stable_zone"] = {"sigma_at_least": 0.9, "delta_epsilon_at_least": 0.0, "n_pairs": pairs}
    if not len(zone):
        return [
            "No pair lies in the zone where stable generalisation is expected (σ ≥ 0.9, Δε ≥ 0), so this study cannot test it."
        ]
    ratio = (zone["loss"] / zone["own_loss"]).to_numpy()
    result["stable_zone"] |= {
        "median_loss_ratio": float(np.median(ratio)),
        "share_within_1.5": float((ratio <= 1.5).mean()),
        "highest_loss_ratio": float(ratio.max()),
    }
    stable = result["stable_zone"]
    return [
        f"In the zone where stable generalisation is expected (σ ≥ 0.9, Δε ≥ 0; {pairs} pairs) the loss is {stable['median_loss_ratio']:.1f} times the in-domain loss "
        f"in the median, at most {stable['highest_loss_ratio']:.1f} times, and within 1.5 times in {stable['share_within_1.5']:.0%} of the tests."
    ]


def _convergence(training: pl.DataFrame, result: dict[str, Any]) -> list[str]:
    final = (
        training.filter(pl.col("epoch") == pl.col("epoch").max())
        .group_by("condition", maintain_order=True)
        .agg(pl.col("train_loss").mean(), pl.col("epsilon").first())
    )
    if len(final) < 4 or min(final["epsilon"].n_unique(), final["train_loss"].n_unique()) < 2:
        return []
    rank = spearmanr(final["epsilon"], final["train_loss"])
    figures = {"spearman": float(rank.statistic), "p_value": float(rank.pvalue), "n_conditions": len(final)}
    result["epsilon_and_final_training_loss"] = figures
    expected = "not significant"
    if rank.pvalue < 0.05:
        expected = "as expected" if rank.statistic < 0 else "against expectation"
    return [
        f"ε of the training condition against the final training loss: rank correlation {_decimal(rank.statistic)} over {len(final)} conditions (p = {rank.pvalue:.2g}; {expected})."
    ]


def _prediction(fits: list[dict[str, Any]], result: dict[str, Any]) -> list[str]:
    sentences = []
    result["best_held_out"] = {}
    for subset, where in _SUBSETS.items():
        scored = [f for f in fits if f["pairs"] == subset and f["r2_held_out"] is not None]
        by_name = {f["predictor"]: f for f in scored}
        rivals = {"σ and Δε": SOURCE, "|Δdefocus|": DEFOCUS}
        if subset == "all" and fits and not scored:
            sentences.append(f"How well metrics predict the loss cannot be said. {why_undefined(fits[0])}")
        shown = {name: by_name[predictor] for name, predictor in rivals.items() if predictor in by_name}
        if not shown:
            continue
        best = max(scored, key=lambda f: f["r2_held_out"])
        result["best_held_out"][subset] = best["predictor"]
        figures = [f"{name} {_interval(f)} (in sample {_decimal(f['r2_in_sample'])})" for name, f in shown.items()]
        sentences.append(
            f"R² of the loss on train conditions left out of the fit, {where}: {'; '.join(figures)}. "
            f"Best of all: {best['predictor']}, {_interval(best)}."
        )
        good = [name for name, f in shown.items() if f["r2_held_out"] >= _PREDICTS]
        poor = [name for name in shown if name not in good]
        if good and poor:
            verb, other = ("predict", "does") if good == ["σ and Δε"] else ("predicts", "do")
            sentences.append(f"{good[0]} {verb} the loss {where}; {poor[0]} {other} not.")
        elif len(poor) == 2:
            sentences.append(f"Neither σ and Δε nor |Δdefocus| predicts the loss {where}.")
        elif poor:
            sentences.append(f"{poor[0]} {'do' if 'and' in poor[0] else 'does'} not predict the loss {where}.")
    return sentences


def _interval(fit: dict[str, Any]) -> str:
    low, high = fit["r2_held_out_interval"] or [float("nan")] * 2
    return f"{_decimal(fit['r2_held_out'])} [{_decimal(low)}, {_decimal(high)}]"


def _decimal(value: float) -> str:
    # Rounded first, so that −0.001 does not read −0.00.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
