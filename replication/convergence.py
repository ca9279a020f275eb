"""How ε of the training condition governs training: final loss, epochs to reach a loss, the onset of over-fitting."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from passband.base.identity import seed_from
from replication.figures import draw_bands, draw_points
from replication.outcome import Claim, Experiment, Outcome, StudyTables, Verdict, judged, table
from replication.resampling import RESAMPLES, Statistic, rank_correlation, with_percentiles

_STUDIES = {"metrics_one_dose": "one dose", "metrics": "all vary", "zero_defocus": "defocus and C30"}
_LONG = {"overfitting": "176 specimens", "overfitting-few": "22 specimens"}
# A validation loss this far above its least is over-fitted; epochs are smoothed over this share of the training.
_RISE, _SMOOTH = 1.05, 0.05
# A network has converged when its training loss is within this factor of where it, or the median network, ends.
_SLACK = 1.25


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return rank correlations of ε with final loss, epochs and loss elsewhere, and where validation turns."""
    outcome = Outcome()
    parts, said = [], []
    for name, how in _STUDIES.items():
        rows = _per_network(studies[name])
        parts.append(rows.select(group=pl.lit(how), x="epsilon", y="train_loss", elsewhere="elsewhere"))
        keys = ("train_loss", "own", "epochs", "plateau", "elsewhere", "elsewhere_even")
        final, own, speed, plateau, elsewhere, even = (_rank(rows, "epsilon", y) for y in keys)
        said.append([how, *map(str, (final, own, speed, plateau, elsewhere, even))])
        if name == "zero_defocus":
            continue
        outcome.claims.append(
            Claim(
                f"Training conditions of higher ε end with a lower training loss; {how}",
                f"rank correlation of ε with the final training loss {final}; with the in-domain test loss {own}",
                judged(final, below=0.0),
            )
        )
        outcome.claims.append(
            Claim(
                f"Training conditions of higher ε converge faster; {how}",
                f"rank correlation of ε with the epochs to a loss that is the same for all {speed}; to 1.25 times the network's final loss {plateau}",
                _both(judged(speed, below=0.0), judged(plateau, below=0.0)),
            )
        )
        outcome.claims.append(
            Claim(
                f"Training conditions of low ε generalise better elsewhere; {how}",
                f"rank correlation of ε with the mean loss under the other conditions {elsewhere}; corrected for their difficulty {even}",
                _both(judged(elsewhere, above=0.0), judged(even, above=0.0)),
            )
        )
    outcome.text.append(
        f"Rank correlation of ε with the final training loss: {said[0][1]} at one dose, {said[1][1]} where the dose varies too. Over conditions "
        f"around zero defocus it is {said[2][1]}."
    )
    outcome.text.append(
        "Rank correlation of ε of the training condition with each, over networks, with the central 95 % when conditions are drawn again.\n\n"
        + table(
            [
                "study",
                "final training loss",
                "in-domain test loss",
                "epochs to a common loss",
                "epochs to the network's plateau",
                "mean loss elsewhere",
                "the same, corrected for the difficulty of the test conditions",
            ],
            said,
        )
    )
    everything = pl.concat(parts)
    caption = "Each point is a network: final training loss, and mean test loss under the study's other conditions."
    with outcome.figure(folder, "convergence_epsilon", caption, 9.6, 3.8) as made:
        left, right = made.subplots(1, 2)
        draw_points(everything, left, "ε of the training condition", "final training loss", log=True)
        draw_points(
            everything.drop("y").rename({"elsewhere": "y"}),
            right,
            "ε of the training condition",
            "mean test loss elsewhere",
            log=True,
        )
    _long(studies, folder, outcome)
    return outcome


def _both(first: Verdict, second: Verdict) -> Verdict:
    """Return what two measures of one claim say together."""
    return first if first == second else "cannot tell"


def _per_network(study: StudyTables) -> pl.DataFrame:
    """Return a row per network: condition, seed, epsilon, last losses, epochs to two targets, test loss at home and elsewhere."""
    training, on = study.table("training"), ["condition", "seed"]
    last = training.filter(pl.col("epoch") == pl.col("epoch").max())
    # An epoch beyond the last stands for never.
    epochs, typical = training["epoch"].to_numpy(), np.median(last["train_loss"].to_numpy())
    own_target = training.join(last.select(*on, target=_SLACK * pl.col("train_loss")), on=on)

    def first(rows: pl.DataFrame, name: str) -> pl.DataFrame:
        return rows.group_by(on).agg(pl.col("epoch").min().alias(name))

    keys = {"train_condition": "condition"}
    same = pl.col("train_condition") == pl.col("test_condition")
    log = pl.col("loss").log()
    scores = study.scores.with_columns(beyond=log - log.mean().over("test_condition"))
    own = scores.filter(same).select("train_condition", "seed", own="loss").rename(keys)
    other = scores.filter(~same).group_by("train_condition", "seed")
    elsewhere = other.agg(elsewhere=pl.col("loss").mean(), elsewhere_even=pl.col("beyond").mean())
    return (
        last.join(first(training.filter(pl.col("train_loss") <= _SLACK * typical), "epochs"), on=on, how="left")
        .with_columns(pl.col("epochs").fill_null(epochs.max() + 1))
        .join(first(own_target.filter(pl.col("train_loss") <= pl.col("target")), "plateau"), on=on)
        .join(own, on=on)
        .join(elsewhere.rename(keys), on=on)
        .join(study.conditions.select("condition", "epsilon"), on="condition")
        .sort(on)
    )


def _rank(rows: pl.DataFrame, x: str, y: str) -> Statistic:
    """Return Spearman's rank correlation of means over seeds, with its 95 % from drawing conditions again."""
    mean = rows.group_by("condition", maintain_order=True).agg(pl.col(x, y).mean())
    a, b = mean[x].to_numpy(), mean[y].to_numpy()
    rng = np.random.default_rng(seed_from("rank", x, y))
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(a), size=len(a))
        values.append(rank_correlation(a[drawn], b[drawn]))
    return with_percentiles(rank_correlation(a, b), values)


def _long(studies: Mapping[str, StudyTables], folder: Path, outcome: Outcome) -> None:
    rows: list[dict[str, Any]] = []
    curves = []
    for name, how in _LONG.items():
        if name not in studies:
            continue
        study = studies[name]
        training = study.table("training").join(
            study.conditions.select("condition", "label", "epsilon"), on="condition"
        )
        for (label, epsilon), own in training.group_by("label", "epsilon", maintain_order=True):
            turns, rises, finals = [], [], []
            for _, curve in own.group_by("seed"):
                smooth = _smoothed(curve.sort("epoch")["validation_loss"].to_numpy())
                least = int(smooth.argmin())
                after = np.flatnonzero(smooth[least:] > _RISE * smooth[least])
                turns.append(least + 1)
                rises.append(float(after[0] + least + 1) if len(after) else np.inf)
                finals.append(float(smooth[-1] / smooth[least]))
            rows.append(
                {
                    "how": how,
                    "label": str(label),
                    "epsilon": f"{epsilon:.3f}",
                    "lowest": min(turns),
                    "median": f"{np.median(turns):.0f}",
                    "highest": max(turns),
                    "over": int(np.isfinite(rises).sum()),
                    "networks": len(rises),
                    "first": f"{min(rises):.0f}" if np.isfinite(rises).any() else "–",
                    "final": f"{np.mean(finals):.2f} ± {np.std(finals):.2f}",
                }
            )
            mean = (
                own.group_by("epoch", maintain_order=True)
                .agg(
                    y=pl.col("validation_loss").mean(),
                    low=pl.col("validation_loss").min(),
                    high=pl.col("validation_loss").max(),
                )
                .sort("epoch")
            )
            curves.append(
                mean.with_columns(
                    pl.col("y", "low", "high").rolling_mean(max(len(mean) // 40, 1), min_samples=1)
                ).select(
                    study=pl.lit(how),
                    group=pl.lit(str(label)),
                    x=pl.col("epoch").cast(pl.Float64),
                    y="y",
                    low="low",
                    high="high",
                )
            )
    if not rows:
        return
    head = [
        "trained on",
        "condition",
        "ε",
        "epoch of the least validation loss",
        "networks that rise by 5 %",
        "first at epoch",
        "last over least",
    ]
    body = [
        [
            r["how"],
            r["label"],
            r["epsilon"],
            f"{r['median']} ({r['lowest']} to {r['highest']})",
            f"{r['over']} of {r['networks']}",
            r["first"],
            r["final"],
        ]
        for r in rows
    ]
    outcome.text.append(
        "Validation loss of long trainings, smoothed over a twentieth of the epochs; in brackets the range over networks.\n\n"
        + table(head, body)
    )
    for how in dict.fromkeys(r["how"] for r in rows):
        own_rows = [r for r in rows if r["how"] == how]
        over, total = (sum(r[k] for r in own_rows) for k in ("over", "networks"))
        outcome.claims.append(
            Claim(
                f"The validation loss rises after some epochs (the source: from 32 on), at other epochs for other seeds; {how}",
                f"{over} of {total} networks rise by 5 % or more above their least validation loss; epochs of the least: "
                + "; ".join(f"{r['label']} {r['lowest']} to {r['highest']}" for r in own_rows),
                "agrees" if over > total / 2 else "differs" if over < total / 10 else "cannot tell",
            )
        )
    everything = pl.concat(curves)
    shown = everything["study"].unique(maintain_order=True).to_list()
    caption = "Mean over networks; bands: their range."
    with outcome.figure(folder, "convergence_long", caption, 4.8 * len(shown), 3.6) as made:
        for ax, how in zip(made.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            draw_bands(everything.filter(pl.col("study") == how), ax, "epoch", "validation loss", log=(False, True))
            for line in ax.lines:
                line.set_marker("")
            ax.set_title(f"trained on {how}")


def _smoothed(values: np.ndarray) -> np.ndarray:
    width = max(int(_SMOOTH * len(values)), 1)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


EXPERIMENT = Experiment(
    "convergence",
    "How training goes",
    "Is training faster and better under conditions that transfer more, do networks trained under poor ones generalise better, and when do they overfit?",
    tuple(_STUDIES),
    evaluate,
    extra=tuple(_LONG),
)
