"""Do verdicts from an image gain from how far a network agrees with itself when the image is turned? Predictors with and without that feature.

python benchmarks/orientation_feature.py --external DIR WORK   # measures, and writes tables and page; some 12 minutes on one core
python benchmarks/orientation_feature.py                       # writes the page again from the committed tables; some 2 minutes

The images of the calibration are made again as scoring makes them; WORK keeps their exit waves. The feature is ln(1 − Dice + 0.001), of the Dice
between masks of tiles in two of the eight orientations, averaged over pairs. Labels of real images test; nothing is fitted to them.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from overfocus import DEFOCI, FIELDS, MODEL, RECIPE, SESSION
from real_micrographs import EMPTY, RESULTS, fill_page, read_sets
from real_micrographs import TABLE as REAL

import passband as pb
from passband.conditions import Condition
from passband.files.tables import read_table, write_table
from passband.learning import predict
from passband.micrographs.micrograph import Micrograph
from passband.models.store import Model, load_model
from passband.network_measures.orientation_agreement import oriented_logits
from passband.simulation.imaging import normalize
from passband.studies.study import load_study
from passband.studies.wave_jobs import open_wave_set, prepare_waves, read_waves
from passband.verdicts import predictor
from passband.verdicts.calibrated_model import answer_of
from passband.verdicts.calibration import scored_images, tile_order
from passband.verdicts.features import from_fitted, image_features, training_data
from passband.verdicts.image_verdict import features_of_tiles, source_of, tiles_of
from passband.verdicts.predictor import Predictor
from passband.verdicts.verdict_model import VerdictModel

ROOT = Path(__file__).parent.parent
PAGE = RESULTS / "real_micrographs.md"
CALIBRATION, TESTS = (RESULTS / "tables" / f"orientation_feature_{name}.parquet" for name in ("calibration", "tests"))
STUDY = ROOT / "studies" / "models" / "au_300kv.yaml"
#: Numbers of tiles that the tested images have.
TILES = {"image1": 1, "image4": 4}
NAME = "orientation"
LEVEL, _RESAMPLES = 0.9, 2000


def orientation(model: Model, tiles: torch.Tensor) -> float:
    """Return the feature of tiles [N, n, n]."""
    masks = (oriented_logits(model.network, normalize(tiles)[:, None]) > 0).flatten(1).double()
    shared, area = masks @ masks.T, masks.sum(1)
    i, j = torch.triu_indices(len(masks), len(masks), 1)
    dice = (2 * shared[i, j] + 1) / (area[i] + area[j] + 1)
    return float((1 - dice.mean() + 1e-3).log())


def calibration(work: Path) -> pl.DataFrame:
    """Return the feature for each condition of the model's scores, and how far its stored features are from those of the images made again."""
    model, study = load_model(MODEL), load_study(STUDY)
    assert model.scores is not None
    waves, (first, last) = open_wave_set(study.all_recipes[0], study.stored_as, work), study.split.test_range
    for job in prepare_waves(waves, last, [i for i in waves.missing(last) if i >= first]):
        job.run(lambda units: None)
    data, rows = read_waves(waves, first, last), []
    for number, row in enumerate(model.scores.iter_rows(named=True)):
        condition = Condition(**json.loads(row["condition"]))
        counts, truth = scored_images(condition, model.card, data, waves)
        order = tile_order(condition, model.card, truth)
        found: dict[str, Any] = {"condition": row["condition"]}
        for source, count in TILES.items():
            tiles = counts[order[:count]]
            images = normalize(tiles)[:, None]
            logits, second = (predict(n, images) for n in (model.network, model.second_network) if n is not None)
            again = image_features(tiles, logits, model.card.threshold, second)
            found[f"off_{source}"] = float(np.abs(again - np.array(row[source])).max())
            found[f"{NAME}_{source}"] = orientation(model, tiles)
        rows.append(found)
        print(number, found["off_image4"], found[f"{NAME}_image4"], flush=True)
    return pl.DataFrame(rows)


def data_of(source: str, target: str, *, wide: bool, held: bool) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return names, features [n, D] and targets [n] of conditions, held out or not, with the feature if wide."""
    scores, extra = load_model(MODEL).scores, read_table(CALIBRATION)
    assert scores is not None and scores["condition"].equals(extra["condition"])
    names, x, y = training_data(scores, source, target)
    used = ((scores["role"] == "held_out") == held).to_numpy()
    if wide:
        names, x = (*names, NAME), np.column_stack([x, extra[f"{NAME}_{source}"]])
    return names, x[used], y[used]


@functools.cache
def fitted(source: str, target: str, wide: bool) -> Predictor:
    """Return a predictor, fitted to the conditions that are not held out."""
    return predictor.fit(*data_of(source, target, wide=wide, held=False))


class Judge(VerdictModel):
    """The model's verdicts, from predictors fitted again with or without the feature."""

    def __init__(self, model: Model, *, wide: bool):
        """Take the model, and whether predictors know the feature."""
        super().__init__(model)
        self.wide = wide

    def predictor(self, target: str, source: str) -> Predictor:
        """Return the predictor that was fitted again."""
        return fitted(source, target, self.wide)

    def _score_targets(self, source: str) -> list[str]:
        return ["dice"]


def tests(external: Path) -> pl.DataFrame:
    """Return a row for each image of overfocus and each labelled micrograph: its Dice and features, and whether it has a verdict."""
    model = load_model(MODEL)
    judge, rows = VerdictModel(model), list[dict[str, Any]]()

    def add(images: str, name: str, micrograph: Micrograph, dice: float) -> None:
        tiles, source = tiles_of(micrograph.intensity, micrograph, model.card), source_of(micrograph, model.card)
        features = features_of_tiles(judge, tiles, predict(model.network, normalize(tiles)[:, None]), source)
        row = {"images": images, "name": name, "source": source, "dice": dice, "features": features[0].tolist()}
        row |= {NAME: orientation(model, tiles), "known": judge.check_image(micrograph).answer != "cannot say"}
        rows.append(row)
        print(row, flush=True)

    for defocus in DEFOCI:
        made = pb.simulate(RECIPE, SESSION["condition"](defocus), n=FIELDS, seed=4716)
        for number, (image, truth) in enumerate(zip(made.images, made.masks, strict=True)):
            micrograph = Micrograph(np.asarray(image, np.float32), SESSION["PIXEL_ANGSTROM"], 300e3, name="image")
            mask = pb.segment(MODEL, micrograph).mask
            dice = float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
            add(f"{defocus:+.0f} Å".replace("-", "−"), str(number), micrograph, dice)
    known = read_table(REAL).filter(pl.col("method") == MODEL, pl.col("role") == "test", pl.col("labelled") >= EMPTY)
    measured = {(r["set"], r["image"]): r["dice"] for r in known.iter_rows(named=True)}
    for labelled in read_sets(external):
        for name, (image, _) in labelled.images.items():
            if (labelled.name, name) in measured:
                micrograph = Micrograph(image, labelled.pixel, 300e3)
                add("real micrographs", name, micrograph, measured[labelled.name, name])
    return pl.DataFrame(rows)


def judged(tested: pl.DataFrame) -> pl.DataFrame:
    """Return the tested images with the answer, and the Dice with its interval, from predictors without and with the feature."""
    model, columns = load_model(MODEL), list[dict[str, Any]]()
    judges = {"without": Judge(model, wide=False), "with": Judge(model, wide=True)}
    for row in tested.iter_rows(named=True):
        found: dict[str, Any] = {}
        for kind, judge in judges.items():
            said = judge.predict(np.array([[*row["features"], *([row[NAME]] if judge.wide else [])]]), row["source"])
            found |= {f"answer_{kind}": answer_of(said)} | {f"{k}_{kind}": v for k, v in vars(said.dice).items()}
        columns.append(found)
    return tested.hstack(pl.DataFrame(columns))


def held_out(source: str, target: str, *, wide: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, prediction and half-width of the interval, as fitted, of the held-out conditions [n]."""
    found, (_, x, y) = fitted(source, target, wide), data_of(source, target, wide=wide, held=True)
    mean, deviation = found.predict(x)
    return y, mean, found.quantile(LEVEL) * deviation


def _gain(better: np.ndarray, worse: np.ndarray) -> str:
    """Return the share of the RMSE that is gained, with its central 95 % when cases are drawn again."""
    drawn = np.random.default_rng(0).integers(len(better), size=(_RESAMPLES, len(better)))
    share = [1 - float(np.sqrt((better[i] ** 2).mean() / (worse[i] ** 2).mean())) for i in (slice(None), *drawn)]
    low, high = np.percentile(share[1:], [2.5, 97.5])
    return f"{share[0]:+.1%} [{low:+.1%}, {high:+.1%}]".replace("-", "−")


def conditions_table() -> str:
    """Return the table of held-out conditions."""
    lines = [
        "| tiles | of | R² without | with | RMSE without | with | gain | width of the 90 % interval without | with | contains without | with |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for source, count in TILES.items():
        for target in ("loss", "dice"):
            found = [held_out(source, target, wide=wide) for wide in (False, True)]
            errors, cells = [], {name: list[str]() for name in ("r2", "rmse", "width", "inside")}
            for y, mean, reach in found:
                # The Dice as a user reads it; of the loss its logarithm.
                shown = (lambda v: from_fitted("dice", v)) if target == "dice" else (lambda v: v)
                errors.append(shown(mean) - shown(y))
                cells["r2"].append(f"{1 - ((y - mean) ** 2).mean() / y.var():.3f}")
                cells["rmse"].append(f"{np.sqrt((errors[-1] ** 2).mean()):.4f}")
                cells["width"].append(f"{np.abs(shown(mean + reach) - shown(mean - reach)).mean():.3f}")
                cells["inside"].append(f"{(np.abs(y - mean) <= reach).mean():.0%}")
            first = [c for name in ("r2", "rmse") for c in cells[name]]
            last = [c for name in ("width", "inside") for c in cells[name]]
            name = "Dice" if target == "dice" else "ln loss"
            lines.append(f"| {count} | {name} | {' | '.join([*first, _gain(errors[1], errors[0]), *last])} |")
    return "\n".join(lines)


def images_table(rows: pl.DataFrame) -> str:
    """Return the table of images whose Dice is measured, that the model's verdict does not leave out."""
    lines = [
        "| images | number | Dice measured | predicted without | with | mean error without | with | *yes* without | with | of these below 0.85 without | with | within the 90 % interval without | with |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (images,), part in rows.filter("known").group_by("images", maintain_order=True):
        cells = {name: list[str]() for name in ("predicted", "error", "yes", "wrong", "inside")}
        for kind in ("without", "with"):
            yes = part.filter(pl.col(f"answer_{kind}") == "yes")
            cells["predicted"].append(f"{part[f'predicted_{kind}'].mean():.2f}")
            cells["error"].append(f"{(part[f'predicted_{kind}'] - part['dice']).abs().mean():.3f}")
            cells["yes"].append(str(len(yes)))
            cells["wrong"].append(str(len(yes.filter(pl.col("dice") < 0.85))))
            inside = part.filter(pl.col("dice").is_between(pl.col(f"low_{kind}"), pl.col(f"high_{kind}")))
            cells["inside"].append(str(len(inside)))
        of_each = " | ".join(c for pair in cells.values() for c in pair)
        lines.append(f"| {images} | {len(part)} | {part['dice'].mean():.2f} | {of_each} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Measure if folders are given, then write the page."""
    torch.set_num_threads(1)
    if arguments[:1] == ["--external"] and len(arguments) == 3:
        write_table(CALIBRATION, calibration(Path(arguments[2])))
        write_table(TESTS, tests(Path(arguments[1])))
    elif arguments:
        raise SystemExit(__doc__)
    fill_page(PAGE, {"orientation": conditions_table(), "orientation images": images_table(judged(read_table(TESTS)))})


if __name__ == "__main__":
    main(sys.argv[1:])
