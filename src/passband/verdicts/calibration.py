"""Calibrate verdicts: score a network on simulated images, where the truth is known, and fit the predictors of its loss."""

import json
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
#: Fewest conditions that verdicts are calibrated on.
FEWEST = 40
# Conditions of one job.
_BLOCK = 8
_TABLE = "table.parquet"
# Share of particles that an image needs to stand for a micrograph's tile.
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class CalibrationJob(FolderJob):
    """Score a model under some conditions.

    Attributes:
        model: its folder.
        weights: checksum of its network.
        waves: exit waves of specimens.
        specimens: first and one past the last of those to test on, none of which the network was trained on.
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
        """A short description."""
        return f"scores under {len(self.conditions)} conditions"

    @property
    def units(self) -> float:
        """Units of progress: conditions."""
        return float(len(self.conditions))

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the scores depend on."""
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
    """Score a model under conditions, fit the predictors of its loss, and return it with both; its folder is replaced at the end.

    Args:
        model: to be scored.
        waves: of the specimens; missing ones are computed.
        specimens: first and one past the last of those to test on.
        conditions: role (trained, calibration or held_out) and condition of each. Predictors are fitted to the first two.
        folder: for work in progress, which the next run continues.
        executor: runs the jobs.
        progress: shows them.
        memory: bytes that exit waves in work may take in a worker.

    Raises:
        BadInputError: if there are too few conditions, or the work fails.
    """
    if sum(role != "held_out" for role, _ in conditions) < FEWEST:
        raise BadInputError(
            f"verdicts are calibrated on at least {FEWEST} conditions", limit=FEWEST, remedy="give more"
        )
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


def roles(trained: Sequence[Condition], conditions: Sequence[Condition], held_out: float) -> list[Named]:
    """Return the role and condition of each: trained; calibration, or held_out for a random share, by a fixed seed, of the others."""
    order = np.random.default_rng(seed_from("held out")).permutation(len(conditions))
    apart = set(order[: round(held_out * len(conditions))].tolist())
    calibration = [("calibration", c) for i, c in enumerate(conditions) if i not in apart]
    return [*(("trained", c) for c in trained), *calibration, *(("held_out", conditions[i]) for i in sorted(apart))]


def with_scores(model: Model, scores: pl.DataFrame, advance: Progress = lambda units: None) -> Model:
    """Return a model with a table of scores, as `CalibrationJob` writes it, and the predictors of its loss; its folder is replaced.

    `advance` is called as predictors are fitted, one at a time.
    """
    fitted, predictors = scores.filter(pl.col("role") != "held_out"), {}
    for source in SOURCES:
        for target in TARGETS:
            predictors[f"{target}_from_{source}"] = predictor.fit(*training_data(fitted, source, target)).to_json()
            advance(1.0)
    in_domain = scores.filter(pl.col("role") == "trained")["loss"].median()
    if in_domain is None:
        in_domain = scores.filter(pl.col("role") == "calibration")["loss"].quantile(0.1)
    contents = {
        name: (model.folder / name).read_bytes() for name in model.card.files if name not in (SCORES, PREDICTOR)
    }
    contents |= {SCORES: parquet(scores), PREDICTOR: json.dumps(predictors).encode()}
    assert isinstance(in_domain, float)
    return write_model(model.folder, model.card.model_copy(update={"own_loss": in_domain}), contents, replace=True)


def _row(
    network: nn.Module, card: ModelCard, data: tuple[Tensor, Tensor], waves: WaveSet, condition: Condition
) -> dict[str, object]:
    """Return the scores of all images under a condition, and features and scores of as many with particles as a micrograph has tiles."""
    seen, (coefficients, masks) = as_seen(condition, card), data
    imager = Imager(seen, waves.recipe.field_angstrom, waves.config)
    counts, truth = imager.images(coefficients, masks, seed=seed_from("score", seen.id))
    logits = predict(network, normalize(counts)[:, None])
    counted = count_pixels(logits, truth[:, None].float(), card.threshold)
    images = {name: np.array(values) for name, values in counted.items()}
    row: dict[str, object] = {**_scores(images)}
    row |= {name: int(images[name].sum()) for name in ("tp", "fp", "fn", "tn")} | {"n_images": len(counts)}
    full = (truth.double().mean((1, 2)) >= _LEAST_SHARE).nonzero()[:, 0]
    if not len(full):
        full = torch.arange(len(truth))
    order = torch.randperm(len(full), generator=torch.Generator().manual_seed(seed_from("tiles", seen.id)))
    for source, tiles in zip(SOURCES[1:], TILES, strict=True):
        chosen = full[order[:tiles]]
        row[source] = image_features(counts[chosen], logits[chosen], card.threshold).tolist()
        scores = _scores({name: values[chosen.numpy()] for name, values in images.items()})
        row |= {f"{name}_{source}": value for name, value in scores.items()}
    return row


def _scores(images: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the mean loss and the Dice of images from loss and pixel counts of each."""
    tp, fp, fn = (int(images[name].sum()) for name in ("tp", "fp", "fn"))
    return {"loss": float(images["loss"].mean()), "dice": 2 * tp / max(2 * tp + fp + fn, 1)}
