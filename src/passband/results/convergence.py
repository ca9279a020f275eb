"""How ε of the training condition governs training: final loss, epochs to reach a loss, the onset of over-fitting."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.analysis.resampling import RESAMPLES, Figure
from passband.report import bands, points, style
from passband.results.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from passband.seeds import seed_from

_STUDIES = {"metrics_one_dose": "one dose", "metrics": "all vary", "zero_defocus": "defocus and C30"}
_LONG = {"overfitting": "176 specimens", "overfitting-few": "22 specimens"}
# A validation loss this far above its least is over-fitted; epochs are smoothed over this share of the training.
_RISE, _SMOOTH = 1.05, 0.05


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return rank correlations of ε with final loss, epochs and loss elsewhere, and where validation turns."""
    found = Outcome()
    parts, said = [], []
    for name, how in _STUDIES.items():
        rows = _per_network(studies[name])
        parts.append(
            rows.select(group=pl.lit(how), x="epsilon", y="train_loss", epochs="epochs", elsewhere="elsewhere")
        )
        final, speed, elsewhere = (_rank(rows, "epsilon", y) for y in ("train_loss", "epochs", "elsewhere"))
        own = _rank(rows, "epsilon", "own")
        said.append([how, str(final), str(own), str(speed), str(elsewhere)])
        if name == "metrics_one_dose":
            found.claims += [
                Claim(
                    "Training conditions of higher ε end with a lower training loss; one dose",
                    f"rank correlation {final}",
                    judged(final, below=0.0),
                ),
                Claim(
                    "Training conditions of higher ε converge faster; one dose",
                    f"rank correlation of ε with epochs to come within 25 % of the median final loss {speed}",
                    judged(speed, below=0.0),
                ),
                Claim(
                    "Training conditions of low ε generalise better elsewhere; one dose",
                    f"rank correlation of ε with the mean loss elsewhere {elsewhere}",
                    judged(elsewhere, above=0.0),
                ),
            ]
        if name == "metrics":
            found.claims.append(
                Claim(
                    "Training conditions of higher ε end with a lower training loss; dose varies too",
                    f"rank correlation {final}",
                    judged(final, below=0.0),
                )
            )
    found.text.append(
        f"Rank correlation of ε with the final training loss: {said[0][1]} at one dose, {said[1][1]} where the dose varies too. Over conditions "
        f"around zero defocus it is {said[2][1]}."
    )
    found.text.append(
        "Rank correlation of ε of the training condition with each, over networks, with the central 95 % when conditions are drawn again.\n\n"
        + table(["study", "final training loss", "own test loss", "epochs to converge", "mean loss elsewhere"], said)
    )
    everything = pl.concat(parts)
    with style.figure(9.6, 3.8) as made:
        left, right = made.subplots(1, 2)
        points.draw(everything, left, "ε of the training condition", "final training loss", log=True)
        points.draw(
            everything.drop("y").rename({"elsewhere": "y"}),
            right,
            "ε of the training condition",
            "mean test loss elsewhere",
            log=True,
        )
        style.save(made, folder, "convergence_epsilon", ("png",))
    found.figures.append(
        (
            "convergence_epsilon",
            "A point a network: final training loss, and mean test loss under the study's other conditions.",
        )
    )
    _long(studies, folder, found)
    return found


def _per_network(study: StudyTables) -> pl.DataFrame:
    """Return a row per network: condition, seed, epsilon, train_loss, epochs, own, elsewhere."""
    training = study.table("training")
    last = training.filter(pl.col("epoch") == pl.col("epoch").max())
    target = 1.25 * float(last["train_loss"].median())
    longest = int(training["epoch"].max()) + 1
    reached = (
        training.filter(pl.col("train_loss") <= target).group_by("condition", "seed").agg(epochs=pl.col("epoch").min())
    )
    same = pl.col("train_condition") == pl.col("test_condition")
    keys = {"train_condition": "condition"}
    own = study.scores.filter(same).select("train_condition", "seed", own="loss").rename(keys)
    other = (
        study.scores.filter(~same).group_by("train_condition", "seed").agg(elsewhere=pl.col("loss").mean()).rename(keys)
    )
    on = ["condition", "seed"]
    return (
        last.join(reached, on=on, how="left")
        .with_columns(pl.col("epochs").fill_null(longest))
        .join(own, on=on)
        .join(other, on=on)
        .join(study.conditions.select("condition", "epsilon"), on="condition")
        .sort(on)
    )


def _rank(rows: pl.DataFrame, x: str, y: str) -> Figure:
    """Return Spearman's rank correlation of means over seeds, with its 95 % from drawing conditions again."""
    mean = rows.group_by("condition", maintain_order=True).agg(pl.col(x, y).mean())
    a, b = mean[x].to_numpy(), mean[y].to_numpy()
    rng = np.random.default_rng(seed_from("rank", x, y))
    values = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(a), size=len(a))
        if np.ptp(a[drawn]) > 0 and np.ptp(b[drawn]) > 0:
            values.append(float(spearmanr(a[drawn], b[drawn])[0]))
    if not values or np.ptp(b) == 0:
        return Figure(float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(values, [2.5, 97.5])
    return Figure(float(spearmanr(a, b)[0]), float(low), float(high))


def _long(studies: Mapping[str, StudyTables], folder: Path, found: Outcome) -> None:
    rows, curves = [], []
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
                [
                    how,
                    str(label),
                    f"{epsilon:.3f}",
                    f"{np.median(turns):.0f} ({min(turns)} to {max(turns)})",
                    f"{np.isfinite(rises).sum()} of {len(rises)}"
                    + (f", from epoch {min(rises):.0f}" if np.isfinite(min(rises)) else ""),
                    f"{np.mean(finals):.2f} ± {np.std(finals):.2f}",
                ]
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
        "final over least",
    ]
    found.text.append(
        "Validation loss of long trainings, smoothed over a twentieth of the epochs; in brackets the range over seeds.\n\n"
        + table(head, rows)
    )
    for how in _LONG.values():
        own = [r for r in rows if r[0] == how]
        if not own:
            continue
        over = [int(r[4].split()[0]) for r in own]
        total = [int(r[4].split()[2].rstrip(",")) for r in own]
        share = sum(over) / sum(total)
        found.claims.append(
            Claim(
                f"The validation loss rises after some epochs (the source: 32), differently from seed to seed; {how}",
                f"{sum(over)} of {sum(total)} networks end 5 % or more above their least validation loss at some later epoch; epochs: {'; '.join(r[1] + ' ' + r[3] for r in own)}",
                "agrees" if share > 0.5 else "differs" if share < 0.1 else "cannot tell",
            )
        )
    everything = pl.concat(curves)
    shown = everything["study"].unique(maintain_order=True).to_list()
    with style.figure(4.8 * len(shown), 3.6) as made:
        for ax, how in zip(made.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            bands.draw(everything.filter(pl.col("study") == how), ax, "epoch", "validation loss", log=(False, True))
            for line in ax.lines:
                line.set_marker("")
            ax.set_title(f"trained on {how}")
        style.save(made, folder, "convergence_long", ("png",))
    found.figures.append(("convergence_long", "Mean over networks; bands: their range."))


def _smoothed(values: np.ndarray) -> np.ndarray:
    width = max(int(_SMOOTH * len(values)), 1)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


EXPERIMENT = Experiment(
    "convergence",
    "How training goes",
    "Do conditions that transfer more make training faster and better, do networks trained on poor ones generalise better, and when do they over-fit?",
    tuple(_STUDIES),
    evaluate,
    extra=tuple(_LONG),
)
