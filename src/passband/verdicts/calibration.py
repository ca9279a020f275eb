"""Score a network under conditions where the truth is known: what its verdicts are calibrated on."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.conditions import Condition
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import REVISIONS, FolderJob, run_job
from passband.files.tables import parquet
from passband.learning import count_pixels, predict
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.store import PREDICTOR, SCORES, Model, read_model, write_model
from passband.simulation.hrtem import Imager
from passband.simulation.imaging import normalize
from passband.simulation.wave_store import WaveSet
from passband.studies.paths import StudyPaths
from passband.studies.wave_jobs import make_waves, read_waves
from passband.verdicts import predictor
from passband.verdicts.features import (
    SOURCES,
    TARGETS,
    TILES,
    as_seen,
    condition_features,
    image_features,
    training_data,
)

Named = tuple[str, Condition]
#: What a verdict needs at least to be calibrated on.
FEWEST = 40
# Conditions of one job.
_BLOCK = 8
_TABLE = "table.parquet"
# Share of particles that an image has at least to be one of those that stand for a micrograph.
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class CalibrationJob(FolderJob):
    """Score a model under some conditions.

    Attributes:
        model: its folder.
        weights: checksum of its network.
        waves: exit waves of specimens.
        specimens: first of those that the network has not been trained on, and one past the last.
        conditions: role (trained, calibration or held_out) and condition of each.
        paths: where finished jobs lie.
    """

    kind = "score"
    model: Path
    weights: str
    waves: WaveSet
    specimens: tuple[int, int]
    conditions: tuple[Named, ...]
    paths: StudyPaths

    @property
    def home(self) -> Path:
        """The folder of finished jobs."""
        return self.paths.jobs

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"scores under {len(self.conditions)} conditions"

    @property
    def units(self) -> float:
        """Units of progress: conditions."""
        return float(len(self.conditions))

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the scores."""
        return {
            "revision": REVISIONS[self.kind],
            "weights": self.weights,
            "waves": self.waves.folder.name,
            "specimens": list(self.specimens),
            "conditions": [[role, c.to_dict()] for role, c in self.conditions],
        }

    def make(self, folder: Path, progress: Progress) -> None:
        """Score the model under each condition and write a row for it."""
        model = read_model(self.model)
        network, card = Network(model), model.card
        images = read_waves(self.waves, *self.specimens)
        numbers = condition_features(card, [c for _, c in self.conditions])
        rows = []
        for i, (role, condition) in enumerate(self.conditions):
            row = _row(network, card, images, self.waves, condition)
            row |= {f"feature_{name}": float(values[i]) for name, values in numbers.items()}
            rows.append({"role": role, "condition": json.dumps(condition.to_dict()), **row})
            progress(1.0)
        (folder / _TABLE).write_bytes(parquet(pl.DataFrame(rows)))

    def table(self) -> pl.DataFrame:
        """Return the finished job's scores, a row per condition."""
        return pl.read_parquet(self.folder / _TABLE)


def score_model(
    model: Model,
    waves: WaveSet,
    specimens: tuple[int, int],
    conditions: Sequence[Named],
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    memory: int,
) -> Model:
    """Score a model under conditions, fit what predicts its loss, and return it with both; its folder is replaced at the end.

    Args:
        model: to be scored.
        waves: of the specimens; what is missing is made.
        specimens: first and last but one of those to test on.
        conditions: role (trained, calibration or held_out) and condition of each. Predictors are fitted to the first two.
        folder: for work in progress, which a next run goes on with.
        executor: where to do it.
        progress: where to show it.
        memory: bytes that the exit waves in work may take in a worker.

    Raises:
        BadInputError: if there are too few conditions, or the work fails.
    """
    if sum(role != "held_out" for role, _ in conditions) < FEWEST:
        raise BadInputError(f"a verdict is calibrated on at least {FEWEST} conditions; give more")
    paths = StudyPaths(folder.absolute())
    paths.jobs.mkdir(parents=True, exist_ok=True)
    make_waves(waves, specimens[1], waves.missing(specimens[1]), executor, progress, memory=memory)
    weights = model.card.files[model.weights.name]
    jobs = [
        CalibrationJob(model.folder.absolute(), weights, waves, specimens, tuple(conditions[i : i + _BLOCK]), paths)
        for i in range(0, len(conditions), _BLOCK)
    ]
    left = [job for job in jobs if not job.is_finished()]
    advance = progress.stage("conditions", len(conditions), len(conditions) - sum(len(j.conditions) for j in left))
    for failure in executor.map(run_job, left, advance):
        raise BadInputError(f"{model.folder}: could not be scored: {failure.reason}")
    scores = pl.concat([job.table() for job in jobs])
    return with_scores(model, scores, progress.stage("predictors", len(SOURCES) * len(TARGETS), 0))


def with_scores(model: Model, scores: pl.DataFrame, advance: Progress = lambda units: None) -> Model:
    """Return a model with a table of scores and what predicts its loss; its folder is replaced.

    Args:
        model: that was scored.
        scores: a row per condition, as `CalibrationJob` writes them.
        advance: called as predictors are fitted, one at a time.
    """
    fitted, kept = scores.filter(pl.col("role") != "held_out"), {}
    for source in SOURCES:
        for target in TARGETS:
            kept[f"{target}_from_{source}"] = predictor.fit(*training_data(fitted, source, target)).to_json()
            advance(1.0)
    own = scores.filter(pl.col("role") == "trained")["loss"].median()
    if own is None:
        own = scores.filter(pl.col("role") == "calibration")["loss"].quantile(0.1)
    contents = {
        name: (model.folder / name).read_bytes() for name in model.card.files if name not in (SCORES, PREDICTOR)
    }
    contents |= {SCORES: parquet(scores), PREDICTOR: json.dumps(kept).encode()}
    assert isinstance(own, float)
    return write_model(model.folder, model.card.model_copy(update={"own_loss": own}), contents, replace=True)


def _row(
    network: nn.Module, card: ModelCard, data: tuple[Tensor, Tensor], waves: WaveSet, condition: Condition
) -> dict[str, object]:
    seen, (coefficients, masks) = as_seen(condition, card), data
    imager = Imager(seen, waves.recipe.field_angstrom, waves.config)
    counts, truth = imager.images(coefficients, masks, seed=seed_from("score", seen.id))
    logits = predict(network, normalize(counts)[:, None])
    found = _counted(logits, truth[:, None].float(), card.threshold)
    tp, fp, fn, tn = (int(sum(found[name])) for name in ("tp", "fp", "fn", "tn"))
    return {
        "loss": float(np.mean(found["loss"])),
        "dice": 2 * tp / max(2 * tp + fp + fn, 1),
        **{"tp": tp, "fp": fp, "fn": fn, "tn": tn, "n_images": len(counts)},
        **_as_images(found, truth, counts, logits, seen.id, card.threshold),
    }


def _counted(logits: Tensor, truth: Tensor, threshold: float) -> dict[str, list[float]]:
    """Return loss and pixels of each image, as `count_pixels`; a pixel is called particle from the network's threshold on."""
    called = count_pixels(logits - math.log(threshold / (1 - threshold)), truth)
    return called | {"loss": count_pixels(logits, truth)["loss"]} if threshold != 0.5 else called


def _as_images(
    found: dict[str, list[float]], truth: Tensor, counts: Tensor, logits: Tensor, name: str, threshold: float
) -> dict[str, object]:
    """Return features, loss and Dice of some of the images, as many as a micrograph may have tiles; they have particles to find."""
    shares = truth.double().mean((1, 2))
    full = (shares >= _LEAST_SHARE).nonzero()[:, 0]
    if not len(full):
        full = torch.arange(len(truth))
    order = torch.randperm(len(full), generator=torch.Generator().manual_seed(seed_from("tiles", name)))
    row: dict[str, object] = {}
    for source, tiles in zip(SOURCES[1:], TILES, strict=True):
        chosen = full[order[:tiles]]
        tp, fp, fn = (sum(found[what][i] for i in chosen.tolist()) for what in ("tp", "fp", "fn"))
        row[source] = image_features(counts[chosen], logits[chosen], threshold).tolist()
        row[f"loss_{source}"] = float(np.mean([found["loss"][i] for i in chosen.tolist()]))
        row[f"dice_{source}"] = 2 * tp / max(2 * tp + fp + fn, 1)
    return row
