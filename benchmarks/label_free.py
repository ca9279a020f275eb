"""Estimate the Dice of models on labelled micrographs of other laboratories without their labels, beside the verdict.

python benchmarks/label_free.py --external DIR   # estimates, and writes table and page; some 10 minutes on one core
python benchmarks/label_free.py                  # writes the page again from the committed table

At home are simulated images of the model's training specimens, with other seeds, under its training conditions in turn. Labels of the real
images, with their edge calibrated as in real_micrographs.py, give the Dice that is estimated, and nothing else.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from other_specimens import ROOT, WAVES
from real_micrographs import CALIBRATED_ON, EMPTY, MODELS, fill_page, read_sets
from scipy.stats import spearmanr

from passband.files.tables import read_table, write_table
from passband.learning import predict
from passband.micrographs.agreement import agreement, calibrate_edge, moved
from passband.micrographs.micrograph import Micrograph
from passband.models.network import load_weights
from passband.models.segment import segment
from passband.models.store import Model, load_model
from passband.network_measures.network_on_images import NetworkOnImages
from passband.network_measures.registry import MEASURES
from passband.network_measures.seed_agreement import dice_between
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.imaging import normalize
from passband.specimens.recipe_files import load_recipe
from passband.verdicts.features import as_seen
from passband.verdicts.image_verdict import tiles_of
from passband.verdicts.verdict_model import VerdictModel

RESULTS = ROOT / "docs" / "results"
TABLE, PAGE = RESULTS / "tables" / "label_free.parquet", RESULTS / "curvature.md"
RECIPES = {"au-300kv": "au_in_crowds", "np-300kv": "np_in_crowds"}
#: Simulated images at home, and the seed of their specimens.
HOME, SEED = 24, 4712
#: What estimates the Dice itself; other measures are ranked.
DICE = ("expected_dice", "calibrated_dice", "thresholded_dice", "orientation_dice", "reverse_dice")
RANKED = (
    "entropy", "expected_loss", "average_energy", "meta_distribution_energy", "mano", "nuclear_norm", "own_gradient_norm",
    "orientation_agreement", "thresholded_confidence", "feature_frechet_distance", "feature_mmd", "spectral_frechet_distance",
    "head_fisher_trace", "head_fisher_alignment",
)  # fmt: skip
_RESAMPLES = 1000


def on(model: Model, images: torch.Tensor, masks: torch.Tensor) -> NetworkOnImages:
    """Return a model's network, as it was trained, on images or counts [N, n, n] with x along the rows."""
    assert model.card.network is not None
    network = load_weights(model.weights, model.card.network)
    return NetworkOnImages(network, normalize(images)[:, None], masks[:, None].float(), model.card.pixel_size_angstrom)


def home(model: Model) -> NetworkOnImages:
    """Return a model's network on simulated images of its specimens and conditions."""
    recipe = load_recipe(ROOT / "studies" / "recipes" / f"{RECIPES[model.card.name]}.yaml")
    recipe = recipe.model_copy(update={"seed": SEED})
    waves, truths = scatter(recipe, range(HOME), WAVES)
    known, side = model.card.hrtem_conditions, model.card.field_pixels
    parts = []
    for i in range(HOME):
        condition = as_seen(known[i * len(known) // HOME], model.card)
        made = Imager(condition, recipe.field_angstrom, WAVES).images(waves[[i]], truths[[i]], seed=i)
        parts.append([values[:, :side, :side] for values in (made.counts, made.masks)])
    return on(model, *(torch.cat(values) for values in zip(*parts, strict=True)))


def estimates(model: Model, at_home: NetworkOnImages, away: NetworkOnImages) -> dict[str, float]:
    """Return what each measure makes of images, by name, and the Dice with the model's second network."""
    found = {}
    for name in (*DICE, *RANKED):
        measure = MEASURES[name]
        found[name] = measure.compute(away) if measure.of == "network" else measure.compute(at_home, away)
    second = model.second_network
    if second is not None:
        found["second_dice"] = float(dice_between(away.logits > 0, predict(second, away.images.mT).mT > 0).mean())
    return found


def rows(folder: Path) -> pl.DataFrame:
    """Return a row for each model and labelled image."""
    result: list[dict[str, Any]] = []
    for name in MODELS:
        model = load_model(name)
        judge, at_home = VerdictModel(model), home(model)
        assert model.scores is not None
        in_domain = model.scores.filter(pl.col("role") == "trained")["dice"].median()
        for labelled in read_sets(folder):
            pixel, images = labelled.pixel, labelled.images
            first = list(images)[:CALIBRATED_ON]
            masks = {n: segment(model, Micrograph(i, pixel)).mask for n, (i, _) in images.items()}
            edge = calibrate_edge([(masks[n], images[n][1], pixel) for n in first])
            for n, (image, truth) in images.items():
                if n in first or truth.mean() < EMPTY:
                    continue
                micrograph = Micrograph(image, pixel, 300e3)
                tiles = tiles_of(image, micrograph, model.card)
                away = on(model, tiles.mT.contiguous(), torch.full_like(tiles, torch.nan))
                said = judge.check_image(micrograph).prediction
                row = {"model": name, "set": labelled.name, "image": n, "in_domain": in_domain}
                row["dice"] = agreement(masks[n], moved(truth, -edge, pixel), pixel).dice
                row["verdict"] = None if said is None else said.dice.predicted
                result.append(row | estimates(model, at_home, away))
                print(f"{name} {labelled.name} {n}: {row['dice']:.3f}, verdict {row['verdict']}", file=sys.stderr)
    return pl.DataFrame(result, infer_schema_length=None)


def _drawn(values: np.ndarray, statistic: Callable[[np.ndarray], float]) -> tuple[float, float, float]:
    """Return a statistic over images with its central 95 % when images are drawn again."""
    rng = np.random.default_rng(0)
    drawn = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(statistic(values)), float(low), float(high)


def _ranks(part: pl.DataFrame, name: str) -> tuple[float, float, float]:
    """Return the rank correlation of a measure with the Dice."""
    values = part.select(name, "dice").drop_nulls().to_numpy()
    return _drawn(values, lambda v: spearmanr(v[:, 0], v[:, 1])[0])


def table(found: pl.DataFrame) -> str:
    """Return the table of estimates of the Dice, and of the rank correlation of all measures with it, in Markdown."""
    titles = {"in_domain": "nothing: median Dice under the training conditions", "verdict": "verdict, calibrated on simulated images", "second_dice": "Dice with a second network"}  # fmt: skip
    parts = [(m, s, part) for (m, s), part in found.group_by("model", "set", maintain_order=True) if len(part) > 2]
    lines = [
        f"| estimate of the Dice | {' | '.join(f'{m}, {len(part)} of {s}' for m, s, part in parts)} |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for name in ("in_domain", *DICE, "second_dice", "verdict"):
        cells = []
        for _, _, part in parts:
            off = (part[name] - part["dice"]).to_numpy().astype(float)
            mean, low, high = _drawn(off, lambda v: float(np.nanmean(np.abs(v))))
            cells.append(f"{mean:.3f} [{low:.3f}, {high:.3f}] ({np.nanmean(off):+.3f})".replace("-", "−"))
        lines.append(f"| {titles.get(name) or MEASURES[name].title} | {' | '.join(cells)} |")
    names = ["verdict", "second_dice", *DICE, *RANKED]
    telling = [name for name in names if all(np.prod(_ranks(part, name)[1:]) > 0 for *_, part in parts)]
    words = ", ".join(titles.get(name) or MEASURES[name].title for name in telling) or "none"
    lines += [
        "",
        f"Of {len(names)} measures, those whose rank correlation with the Dice excludes 0 for both models: {words}.",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Estimate if a folder is given, then write the page."""
    torch.set_num_threads(1)
    if arguments[:1] == ["--external"]:
        write_table(TABLE, rows(Path(arguments[1])))
    fill_page(PAGE, {"real": table(read_table(TABLE))})


if __name__ == "__main__":
    main(sys.argv[1:])
