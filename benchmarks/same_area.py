"""Estimate the Dice of a model on an image from a second image of the same area, under a condition where the model works.

python benchmarks/same_area.py          # simulates, writes table and page; half an hour on one core
python benchmarks/same_area.py --page   # writes the page again from the table

Both images are segmented; their masks, brought into register, have a Dice, which is taken for the Dice with the truth. The second image is recorded
under a training condition, elsewhere in the field by up to 8 Å, and with a verdict of yes.
"""

import json
import sys
from typing import Any

import numpy as np
import polars as pl
import torch
from label_free import RECIPES, RESULTS
from numpy.typing import NDArray
from other_specimens import ROOT, WAVES
from real_micrographs import fill_page
from skimage.registration import phase_cross_correlation

from passband.conditions import Condition
from passband.files.tables import read_table, write_table
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import Segmentation, segment
from passband.models.store import Model, load_model
from passband.simulation.hrtem import Imager, scatter
from passband.specimens.recipe_files import load_recipe
from passband.verdicts.features import as_seen
from passband.verdicts.verdict_model import VerdictModel

TABLE, PAGE = RESULTS / "tables" / "same_area.parquet", RESULTS / "curvature.md"
SPECIMENS, CONDITIONS, REFERENCES, SEED = 10, 16, 8, 4713
#: Largest displacement and side of the images [pixels of the network].
SHIFT, SIDE = 10, 128
#: Images with less of them covered are left out.
_LEAST_SHARE = 0.02
_RESAMPLES = 1000

Pair = tuple[NDArray[Any], NDArray[Any]]


def overlap(values: NDArray[Any], other: NDArray[Any], shift: tuple[int, ...]) -> Pair:
    """Return the parts of two arrays [n, n] that show the same, if the first shows at x what the other shows at x − shift."""
    first = tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(shift, values.shape, strict=True))
    second = tuple(slice(max(-s, 0), n + min(-s, 0)) for s, n in zip(shift, values.shape, strict=True))
    return values[first], other[second]


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks."""
    return 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1.0)


def agreement(found: Segmentation, reference: Segmentation) -> float:
    """Return the Dice between the masks of two images of one area, brought into register by their probabilities."""
    shift = phase_cross_correlation(found.probability, reference.probability, normalization=None)[0]
    return dice(*overlap(found.mask, reference.mask, tuple(int(s) for s in shift.round())))


def conditions_of(model: Model, trained: bool, count: int, rng: np.random.Generator) -> list[Condition]:
    """Return some training conditions of a model, or others of its calibration."""
    assert model.scores is not None
    role = pl.col("role") == "trained" if trained else pl.col("role") != "trained"
    known = model.scores.filter(role)["condition"].to_list()
    return [Condition(**json.loads(known[i])) for i in rng.choice(len(known), count, replace=False)]


def rows(name: str) -> list[dict[str, Any]]:
    """Return a row for each pair of images of a model."""
    model, rng, result = load_model(name), np.random.default_rng(SEED), []
    judge, card = VerdictModel(model), model.card
    recipe = load_recipe(ROOT / "studies" / "recipes" / f"{RECIPES[name]}.yaml").model_copy(update={"seed": SEED})
    waves, truths = scatter(recipe, range(SPECIMENS), WAVES)

    def image(
        condition: Condition, specimen: int, seed: int, shift: tuple[int, ...] = (0, 0)
    ) -> tuple[Micrograph, NDArray[Any]]:
        imager = Imager(as_seen(condition, card), recipe.field_angstrom, WAVES)
        made = imager.images(waves[[specimen]], truths[[specimen]], seed=seed)
        counts, mask = (np.roll(v[0].numpy(), shift, (0, 1))[:SIDE, :SIDE].T for v in (made.counts, made.masks))
        return Micrograph(counts.astype(np.float32), card.pixel_size_angstrom, condition.energy_ev), mask > 0

    tests, homes = conditions_of(model, False, CONDITIONS, rng), conditions_of(model, True, REFERENCES, rng)
    for specimen in range(SPECIMENS):
        for seed, home in enumerate(homes):
            shift = tuple(int(s) for s in rng.integers(-SHIFT, SHIFT + 1, 2))
            other, other_truth = image(home, specimen, 1000 + seed, shift)
            verdict = judge.check_image(other)
            if verdict.answer == "yes" and other_truth.mean() >= _LEAST_SHARE:
                break
        else:
            continue
        reference = segment(model, other)
        facts = {"model": name, "specimen": specimen, "reference_dice": dice(reference.mask, other_truth),
                 "reference_predicted": verdict.dice.predicted if verdict.dice else None}  # fmt: skip
        for number, test in enumerate(tests):
            micrograph, truth = image(test, specimen, 5000 + number)
            if truth.mean() < _LEAST_SHARE:
                continue
            found, said = segment(model, micrograph), judge.check_image(micrograph)
            row: dict[str, Any] = {
                "condition": number,
                "dice": dice(found.mask, truth),
                "agreement": agreement(found, reference),
            }
            row |= {"answer": said.answer, "verdict": said.dice.predicted if said.dice else None}
            result.append(facts | row)
        print(f"{name}: specimen {specimen + 1} of {SPECIMENS}", flush=True)
    return result


def table(pairs: pl.DataFrame) -> str:
    """Return the errors of agreement and verdict, by what the verdict says of the reference, in Markdown."""
    lines = [
        "| model | reference | pairs | agreement: mean error (bias) | rank | verdict: mean error (bias) | rank | agreement where the verdict cannot say |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name,), own in pairs.group_by("model", maintain_order=True):
        for words, part in (
            ("any with yes", own),
            ("predicted Dice from 0.9", own.filter(pl.col("reference_predicted") >= 0.9)),
            ("true Dice from 0.9", own.filter(pl.col("reference_dice") >= 0.9)),
        ):
            said = part.filter(pl.col("verdict").is_not_null())
            silent = part.filter(pl.col("verdict").is_null())
            cells = [
                _errors(said, "agreement"),
                _rank(said, "agreement"),
                _errors(said, "verdict"),
                _rank(said, "verdict"),
            ]
            lines.append(
                f"| {name} | {words} | {len(part)} | {' | '.join(cells)} | {_errors(silent, 'agreement')}, {len(silent)} pairs |"
            )
    return "\n".join(lines)


def _errors(part: pl.DataFrame, column: str) -> str:
    """Return the mean absolute error with its central 95 % when specimens are drawn again, and the bias."""
    if not len(part):
        return "–"
    off = (part[column] - part["dice"]).to_numpy()
    _, owner = np.unique(part["specimen"].to_numpy(), return_inverse=True)
    count = owner.max() + 1
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)[:, owner]
    low, high = np.percentile((weights @ np.abs(off)) / np.maximum(weights.sum(1), 1), [2.5, 97.5])
    return f"{np.abs(off).mean():.3f} [{low:.3f}, {high:.3f}] ({off.mean():+.3f})".replace("-", "−")


def _rank(part: pl.DataFrame, column: str) -> str:
    return f"{part.select(pl.corr(column, 'dice', method='spearman')).item():.2f}" if len(part) > 2 else "–"


def main(arguments: list[str]) -> None:
    """Simulate unless only the page is wanted, and write the page."""
    torch.set_num_threads(1)
    if "--page" not in arguments:
        write_table(TABLE, pl.DataFrame([row for name in RECIPES for row in rows(name)], infer_schema_length=None))
    fill_page(PAGE, {"same area": table(read_table(TABLE))})


if __name__ == "__main__":
    main(sys.argv[1:])
