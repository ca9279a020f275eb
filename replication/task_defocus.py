"""A target of the condition: how well networks read the defocus inside and outside their range and under other aberrations, and what predicts it."""

from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs
from replication import judging
from replication.figures import draw_bands
from replication.outcome import Claim, Outcome, StudyTables, judged, table
from replication.resampling import RESAMPLES, Statistic, with_percentiles

#: Trained on sets of conditions, and so without a square of pairs.
STUDY = "task_defocus"
#: Predictors, chosen before the study was run: those of the other tasks, with the distances of a set, and the baseline's error.
PREDICTORS: dict[str, tuple[str, ...]] = {
    "σ and Δε": ("sigma", "delta_epsilon"),
    "|Δdefocus|": ("nearest_defocus",),
    "rms Δχ and ε of both": ("phase_rms", "epsilon_train", "epsilon_test"),
    "error of the mean defocus": ("baseline",),
}
# What is changed of a set's aberrations and dose, and how it is called.
_CHANGED = {"C30": "C30", "C12": "C12", "dose_per_angstrom2": "dose"}
_ERROR = "mean_absolute_error_angstrom"


def evaluate(study: StudyTables, folder: Path, outcome: Outcome) -> list[str]:
    """Return a summary and the paragraphs of the defocus, and add its claims and its figure."""
    tests = errors(study)
    inside = tests.filter("inside")
    known = {words: predicted(part) for words, part in {"all": tests, "inside the range of the set": inside}.items()}
    of_all = known["all"]
    parts = {
        "own": inside.filter(pl.col("changed") == 0),
        "other": inside.filter(pl.col("changed") > 0),
        "outside": tests.filter(~pl.col("inside"), pl.col("changed") == 0),
    }
    ratios = {name: _ratio(part) for name, part in parts.items()}
    alone = ", ".join(f"another {word} {_ratio(inside.filter(_only(key)))}" for key, word in _CHANGED.items())
    outcome.claims += [
        Claim(
            "The framework carries over to other tasks: σ and Δε predict the loss; defocus",
            f"R² {of_all['σ and Δε']}, neither set nor condition seen",
            judged(of_all["σ and Δε"], above=0.7),
        ),
        Claim(
            "ours: networks that read the defocus of an image still read it under aberrations and doses that they have not met",
            f"error inside the range of defoci over that of the mean defocus of the training: {ratios['other']}; under {alone} alone; under those of the training {ratios['own']}, and outside the range "
            f"{ratios['outside']}",
            judged(ratios["other"], below=1.0),
        ),
    ]
    _draw(tests, folder, outcome)
    return [
        f"Defocus, of networks trained on sets of defoci: σ and Δε {of_all['σ and Δε']}, |Δdefocus| {of_all['|Δdefocus|']}; their error over that of always saying the mean defocus is {ratios['own']} inside their "
        f"range, {ratios['outside']} outside.",
        "**Defocus.** Networks predict the defocus of an image [Å], a function of the condition and not of the specimen. Each is trained on a set of defoci, under one C30, C12 and dose, or all "
        "(*varied*), and tested on defoci inside and outside the range of its set, and under the others of C30, C12 and dose. Mean absolute errors [Å] over the test conditions of each kind, and in "
        "brackets those of always saying the mean defocus of the training set, which is the trivial baseline.\n\n"
        + table(
            ["trained on", "defoci", "inside", *(f"inside, other {word}" for word in _CHANGED.values()), "outside"],
            [_row(name, own) for (name,), own in tests.group_by("kind", maintain_order=True)],
        ),
        "R² of ln loss of the defocus, neither set nor test condition seen. Linear fits in the numbers named, since so few sets do not determine quadratics in their ε (decided after the run); σ of a set is that "
        "of its mean |T|, rms Δχ that to its nearest condition, |Δdefocus| the distance to its nearest defocus. The error of the mean defocus is that of the trivial baseline, which needs the answer.\n\n"
        + table(["tests", *PREDICTORS], [[words, *map(str, found.values())] for words, found in known.items()]),
    ]


def predicted(tests: pl.DataFrame) -> dict[str, Statistic]:
    """Return R² of ln loss of each predictor over rows of `errors`."""
    names = {name for names in PREDICTORS.values() for name in names}
    pairs = Pairs.from_table(tests.select("train_condition", "test_condition", "loss", *names))
    fits = {rule: Fit(pairs, names, "log_loss", linear=True) for rule, names in PREDICTORS.items()}
    return {rule: judging.r2(pairs, fit.predictions()["both"], "log_loss") for rule, fit in fits.items()}


def errors(study: StudyTables) -> pl.DataFrame:
    """Return the rows of scores and shift with the test's defocus, and of the set: kind, defoci, whether the test lies inside, how many of C30, C12 and dose it has not, each by name, its distances."""
    sets, columns = study.table("training_sets"), ["defocus_angstrom", *_CHANGED]
    tested = study.conditions.select("condition", *columns)
    rows = []
    for (name,), own in sets.group_by("label", maintain_order=True):
        defoci = own["defocus_angstrom"].to_numpy()
        for condition in tested.rows(named=True):
            defocus = condition["defocus_angstrom"]
            new = {f"new_{key}": condition[key] not in own[key].to_list() for key in _CHANGED}
            rows.append(
                {"train_condition": name, "test_condition": condition["condition"], "defocus": defocus}
                | new
                | {
                    "kind": str(name).partition("-")[0],
                    "least": defoci.min(),
                    "most": defoci.max(),
                    "count": len(set(defoci)),
                    "changed": sum(new.values()),
                    "inside": bool(defoci.min() <= defocus <= defoci.max()),
                    "nearest_defocus": float(np.abs(defoci - defocus).min()),
                    "baseline": float(abs(defoci.mean() - defocus)),
                    "aberrations": " ".join(str(condition[key]) for key in _CHANGED),
                }
            )
    keys = ["train_condition", "test_condition"]
    mean = study.scores.group_by(keys, maintain_order=True).mean().drop("seed")
    return mean.join(study.shift, on=keys, maintain_order="left").join(
        pl.DataFrame(rows), on=keys, maintain_order="left"
    )


def _ratio(part: pl.DataFrame) -> Statistic:
    """Return the mean error over the mean error of the baseline, sets and test conditions drawn again."""
    axes = [part[key].unique(maintain_order=True).to_list() for key in ("train_condition", "test_condition")]
    error, baseline = np.zeros((2, *map(len, axes)))
    for train, test, *values in part.select("train_condition", "test_condition", _ERROR, "baseline").iter_rows():
        place = axes[0].index(train), axes[1].index(test)
        error[place], baseline[place] = values
    rng = np.random.default_rng(0)

    def ratio(*drawn: np.ndarray) -> float:
        return float(error[np.ix_(*drawn)].sum() / baseline[np.ix_(*drawn)].sum())

    again = [ratio(*(rng.integers(n, size=n) for n in error.shape)) for _ in range(RESAMPLES)]
    return with_percentiles(ratio(*map(np.arange, error.shape)), again)


def _only(key: str) -> pl.Expr:
    """Select tests that differ from their set in this alone, of C30, C12 and dose."""
    return pl.col(f"new_{key}") & (pl.col("changed") == 1)


def _row(name: object, own: pl.DataFrame) -> list[str]:
    inside, home = pl.col("inside"), pl.col("changed") == 0
    kinds = (inside & home, *(inside & _only(key) for key in _CHANGED), ~inside & home)
    parts = [own.filter(which) for which in kinds]
    least, most, count = own.select("least", "most", "count").row(0)
    defoci = f"{count} from {least:g} to {most:g} Å".replace("-", "−")
    return [str(name).replace("_", " "), defoci, *(_cell(part) for part in parts)]


def _cell(part: pl.DataFrame) -> str:
    return f"{part[_ERROR].mean():.0f} ({part['baseline'].mean():.0f})" if len(part) else "–"


def _draw(tests: pl.DataFrame, folder: Path, outcome: Outcome) -> None:
    words = {
        "trained on one C30, C12 and dose: under them": ("plain", pl.col("changed") == 0),
        **{f"the same, under another {word}": ("plain", _only(key)) for key, word in _CHANGED.items()},
        "trained on all: under all": ("varied", pl.lit(True)),
    }
    caption = "Mean predicted defocus of test images over the true one, with the standard deviation. Trained on defoci from −120 to +120 Å."
    parts = []
    for group, (kind, which) in words.items():
        own = (
            tests.filter(pl.col("kind") == kind)
            .filter(which)
            .group_by("defocus")
            .agg(
                y=(pl.col("defocus") + pl.col("bias_angstrom")).mean(),
                deviation=(pl.col("rms_error_angstrom").pow(2).mean() - pl.col("bias_angstrom").mean().pow(2)).sqrt(),
            )
        )
        parts.append(
            own.select(
                pl.lit(group).alias("group"),
                pl.col("defocus").alias("x"),
                "y",
                low=pl.col("y") - pl.col("deviation"),
                high=pl.col("y") + pl.col("deviation"),
            )
        )
    with outcome.figure(folder, "task_defocus", caption, 6.2, 4.8) as made:
        ax = made.subplots()
        ax.plot([-200, 200], [-200, 200], color="0.6", linewidth=0.8, linestyle=":")
        draw_bands(pl.concat(parts), ax, "defocus [Å]", "predicted defocus [Å]")
