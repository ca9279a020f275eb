"""Evaluate verdicts on a model under conditions outside its calibration set.

python benchmarks/verdicts.py     # writes docs/results/verdicts.md from the scores bundled with au-300kv
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from passband.conditions import Condition
from passband.files.atomic import write_text
from passband.models.confidence import Reliability, reliability_table
from passband.models.store import Model, load_model
from passband.verdicts import predictor
from passband.verdicts.features import SOURCES, targets_of, training_data
from passband.verdicts.summary import evaluate_held_out
from passband.verdicts.verdict_model import VerdictModel
from passband.verdicts.zones import NAMES, zone_of, zones

PAGE = Path(__file__).parent.parent / "docs" / "results" / "verdicts.md"
OTHERS = PAGE.parent / "tables" / "other_specimens.parquet"
NEW = PAGE.parent / "tables" / "new_specimens.parquet"
CAMERAS = PAGE.parent / "tables" / "other_cameras.parquet"
LEVELS = (0.5, 0.8, 0.9, 0.95)
#: What a user without optics would go by.
TRIVIAL = {
    "defocus alone": ("C10",),
    "dose alone": ("ln_dose",),
    "defocus and dose": ("C10", "ln_dose"),
    "σ and Δε, as the source": ("sigma", "epsilon"),
}


def interval(share: float, n: int) -> str:
    """Return a share with its Wilson 95 % interval."""
    z = 1.96
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return f"{share:.0%} [{max(middle - half, 0):.0%}, {min(middle + half, 1):.0%}]"


def coverage(model: Model, source: str, target: str, held: pl.DataFrame) -> list[str]:
    """Return, for each level, the share of held-out conditions inside their interval."""
    found = VerdictModel(model).predictor(target, source)
    _, x, y = training_data(held, source, target)
    mean, deviation = found.predict(x)
    return [interval(float((np.abs(y - mean) <= found.quantile(level) * deviation).mean()), len(y)) for level in LEVELS]


def r2(fitted: pl.DataFrame, held: pl.DataFrame, names: tuple[str, ...]) -> float:
    """Return R² of the log loss of held-out conditions, from some features of the condition."""
    every, x, y = training_data(fitted, "condition", "loss")
    _, new, truth = training_data(held, "condition", "loss")
    columns = [every.index(name) for name in names]
    mean, _ = predictor.fit(names, x[:, columns], y).predict(new[:, columns])
    return 1 - float(np.mean((truth - mean) ** 2) / np.var(truth))


def confidence(held: pl.DataFrame) -> list[str]:
    """Return the section on the confidence of particles under held-out conditions; none if the model has no confidence."""
    names = list(Reliability.__dataclass_fields__)
    if f"confidence_{names[0]}" not in held.columns:
        return []
    parts = [Reliability(*values) for values in held.select(f"confidence_{name}" for name in names).iter_rows()]
    return [
        "## Confidence of particles",
        "",
        "The probability that a particle that `segment` finds is right: matches a true one with an intersection of more than half the union. "
        f"Fitted to the particles under the conditions that are not held out; here those under the {len(held)} held-out conditions, which are drawn again for the brackets.",
        "",
        *reliability_table(parts),
        "",
    ]


def new_specimens(model: Model) -> list[str]:
    """Return the section on specimens that nothing has met."""
    judge, table = VerdictModel(model), pl.read_parquet(NEW)
    conditions = [Condition(**json.loads(c)) for c in table["condition"]]
    judge.prepare(conditions)
    asked = [
        (judge.predict_condition(c), r)
        for c, r in zip(conditions, table.to_dicts(), strict=True)
        if not judge.objections(c)
    ]
    shares = {t: float(np.mean([getattr(p, t).covers(r[t]) for p, r in asked])) for t in ("loss", "dice")}
    truth = zone_of(np.array([r["loss"] for _, r in asked]) / (model.card.own_loss or 1.0))
    right = sum(p.zone == NAMES[z] for (p, _), z in zip(asked, truth, strict=True))
    words = " and ".join(
        f"{interval(share, len(asked))} of the {'losses' if t == 'loss' else 'Dice'}" for t, share in shares.items()
    )
    return [
        "## On new specimens",
        "",
        f"The rows above share their specimens with the calibration. Under the same {len(asked)} conditions, on {table['n_images'][0]} new specimens of the same kind (`python benchmarks/new_specimens.py`), the 90 % intervals from the condition "
        f"contain {words}, and the zone is right in {right}. Intervals are for the mean over many fields; a few fields scatter more, as the rows of few tiles show.",
        "",
    ]


def others() -> list[str]:
    """Return the section on other specimens."""
    table = pl.read_parquet(OTHERS)
    lines = [
        "## Another specimen, unknown to the model",
        "",
        "Four fields of 154 Å side by side, under three conditions well inside the calibrated range (`python benchmarks/other_specimens.py`). If the user describes the specimen (`--element`, `--support`, `--thickness`, "
        "`--diameter`), the answer is *cannot say* for all but the first.",
        "",
        "| specimen | answers | predicted Dice, if any | true Dice of all three |",
        "|---|---|---|---|",
    ]
    for name in table["specimen"].unique(maintain_order=True):
        own = table.filter(pl.col("specimen") == name).to_dicts()
        given = [
            f"{r['dice_predicted']:.2f} [{r['dice_low']:.2f}, {r['dice_high']:.2f}] ({r['dice']:.2f})"
            for r in own
            if r["dice_predicted"] is not None
        ]
        lines.append(
            f"| {name} | {', '.join(r['answer'] for r in own)} | {', '.join(given) or '–'} | {', '.join(format(r['dice'], '.2f') for r in own)} |"
        )
    wrong = [r for r in table.to_dicts() if r["dice_predicted"] is not None and r["specimen"] != "gold, as studied"]
    outside = sum(not r["dice_low"] <= r["dice"] <= r["dice_high"] for r in wrong)
    lines += [
        "",
        f"In parentheses after a prediction: the true value. **An image alone does not identify its specimen**: of {len(wrong)} predictions for specimens outside the calibration, {outside} miss the true value. The verb therefore states what it assumes about the specimen.",
        "",
    ]
    return lines


def cameras() -> list[str]:
    """Return the section on cameras."""
    table = pl.read_parquet(CAMERAS)
    usual = pl.col("dose_per_angstrom2") >= 100
    lines = [
        "## A camera that is not ideal",
        "",
        "The model was calibrated with cameras of many MTFs, Gaussian and Lorentzian, that correlate the noise or do not. `check --condition` treats a camera's MTF as a blur of the specimen and its DQE(0) as a lower dose, which is exact only for a Gaussian MTF and white noise. Nine fields of 154 Å "
        f"side by side, {table.filter(usual).unique(['defocus_angstrom', 'dose_per_angstrom2']).height} conditions at 100 e/Å² or more, and one at 60 e/Å², near the least dose of the training (`python benchmarks/other_cameras.py`). Predicted minus true Dice:",
        "",
        "| camera | pixels [Å] | true Dice, mean | from the condition: mean, worst | from the image: mean, worst | truth within the image's interval | at 60 e/Å²: true, from the condition, from the image |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, pixel), own in table.group_by("camera", "pixel_size_angstrom", maintain_order=True):
        known, low = own.filter(usual), own.filter(~usual).to_dicts()[0]
        cells = [str(name), f"{pixel:g}", f"{known['dice'].mean():.2f}"]
        for source in ("condition", "image"):
            error = _errors(known, source)
            cells.append(f"{error.mean():+.2f}, {error[int(error.abs().arg_max() or 0)]:+.2f}")
        inside = (known["dice"] >= known["dice_low_image"]) & (known["dice"] <= known["dice_high_image"])
        cells.append(f"{inside.sum()} of {len(known)}")
        cells.append(", ".join(f"{low[k]:.2f}" for k in ("dice", "dice_predicted_condition", "dice_predicted_image")))
        lines.append(f"| {' | '.join(cells)} |")
    shaped = table.filter(usual & pl.col("camera").str.contains("blurred|scintillator"))
    coarse, fine = (_errors(shaped.filter(pl.col("pixel_size_angstrom") == p), "image") for p in (0.8, 0.4))
    low = _errors(table.filter(~usual), "image")
    lines += [
        "",
        f"At 100 e/Å² or more, a camera that blurs noise together with the signal makes the verdict from an image too optimistic by {coarse.mean():.2f} in the mean and {coarse.max():.2f} at most if its pixels are no smaller than the "
        f"network's, and by {fine.max():.2f} at most if they are half as large. **At 60 e/Å², near the least training dose, the verdict from an image was too optimistic by {low.min():.2f} to {low.max():.2f}** with any camera, including the ideal one.",
        "",
    ]
    return lines


def _errors(table: pl.DataFrame, source: str) -> pl.Series:
    """Return predicted less true Dice, where one is predicted."""
    return (table[f"dice_predicted_{source}"] - table["dice"]).drop_nulls()


def page(model: Model) -> str:
    """Return the page."""
    scores = model.scores
    assert scores is not None and model.card.own_loss is not None
    held, fitted = (scores.filter(pl.col("role").is_in(roles)) for roles in (["held_out"], ["trained", "calibration"]))
    conditions = [Condition(**json.loads(c)) for c in held["condition"]]
    ranges = {
        "defocus": [c.defocus_angstrom for c in conditions],
        "C12": [c.aberrations.get("C12", 0.0) for c in conditions],
        "coma C21": [c.aberrations.get("C21", 0.0) for c in conditions],
        "C30": [c.aberrations.get("C30", 0.0) for c in conditions],
        "focal spread": [c.focal_spread_angstrom for c in conditions],
    }
    said = ", ".join(f"{name} {min(v):.0f} to {max(v):.0f} Å" for name, v in ranges.items())
    doses = [c.dose_per_angstrom2 or 0.0 for c in conditions]
    held_zones, judge = zones(), VerdictModel(model)
    name = model.card.name
    lines = [
        "# How verdicts perform",
        "",
        f"*`{name}` was scored under {len(scores)} conditions; verdicts are calibrated on {len(fitted)} of them, and evaluated here on the {len(held)} that were held out, drawn at random beforehand: "
        f"{said}, doses of {min(doses):.0f} to {max(doses):.0f} e/Å². A condition's loss is that of {held['n_images'][0]} images of specimens outside the training set.*",
        "",
        f"*Stable* is a loss up to {held_zones.stable_up_to:g} times the in-domain loss ({model.card.own_loss:.3f}, the median under the training conditions), *collapse* a loss above {held_zones.collapse_from:g} times.",
        "",
        "## Coverage of the intervals",
        "",
        "| from | of | " + " | ".join(f"{level:.0%} interval" for level in LEVELS) + " |",
        "|---|---|" + "---|" * len(LEVELS),
    ]
    for source in SOURCES:
        tiles = source.removeprefix("image")
        words = "the condition" if source == "condition" else f"an image of {tiles} tile{'s' if tiles != '1' else ''}"
        for target in targets_of(scores):
            lines.append(
                f"| {words} | {target.replace('_', ' ')} | " + " | ".join(coverage(model, source, target, held)) + " |"
            )
    lines += [
        "",
        "In brackets: 95 % intervals of the share (Wilson). A tile is 102 Å wide. The loss predicted from an image is that of the given images, the loss predicted from the condition that of all images.",
        "",
    ]
    for source in SOURCES:
        tiles = source.removeprefix("image")
        words = (
            "the condition alone (`check --condition`)"
            if source == "condition"
            else f"an image of {tiles} tile{'s' if tiles != '1' else ''} (`check --image`)"
        )
        found = evaluate_held_out(judge, source)
        lines += [
            f"## From {words}",
            "",
            "| predicted | " + " | ".join(f"truly {z}" for z in NAMES) + " |",
            "|---|" + "---|" * len(NAMES),
        ]
        lines += [
            f"| {z} | " + " | ".join(str(found.confusion[z][t]) for t in NAMES) + " |" for z in (*NAMES, "cannot say")
        ]
        right = found.right
        most = max(sum(row[t] for row in found.confusion.values()) for t in NAMES)
        false_yes = found.confusion["stable"]["collapse"] + found.confusion["stable"]["degraded"]
        lines += [
            "",
            f"The zone is right in {right} of {found.asked} ({right / found.asked:.0%}; always predicting the most frequent one would be right in {most} of {found.conditions}); of {sum(found.confusion['stable'].values())} answers *yes*, {false_yes} were wrong. "
            f"R² of the logarithm of the loss {found.r2_log_loss:.2f}; the loss interval spans a factor of {found.width_factor:.2f} in the median.",
            "",
        ]
    lines += confidence(held)
    lines += new_specimens(model)
    lines += others()
    lines += cameras()
    names = training_data(fitted, "condition", "loss")[0]
    lines += [
        "## Comparison with trivial predictors",
        "",
        "R² of the logarithm of the loss under the held-out conditions, with the same Gaussian process and other features:",
        "",
        "| from | R² |",
        "|---|---|",
    ]
    lines += [f"| all features of `check --condition` | {r2(fitted, held, names):.2f} |"]
    lines += [f"| {words} | {r2(fitted, held, own):.2f} |" for words, own in TRIVIAL.items()]
    lines += [
        "",
        "It is easier to predict one network under new conditions than many networks under each other's conditions ([what predicts the loss](metrics.md)): differences between networks play no role, and this network was "
        "scored under hundreds of conditions. The held-out conditions come from the same distribution as the calibration conditions; outside it the verdict is *cannot say*. All images here are simulated; see also [real "
        "micrographs](real_micrographs.md).",
        "",
        "Made by `python benchmarks/verdicts.py` from the scores bundled with the model.",
    ]
    return "\n".join(lines).replace("-0.", "−0.") + "\n"


if __name__ == "__main__":
    text = page(load_model("au-300kv"))
    write_text(PAGE, text)
    print(text)
