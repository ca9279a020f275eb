"""Write a tuned model: its card says what it was tuned on, and its verdicts on images are recalibrated by the labels."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from passband.base.errors import BadInputError, parameter
from passband.base.version import __version__
from passband.execution.base import StageProgress
from passband.learning import count_pixels, predict
from passband.micrographs.agreement import moved
from passband.micrographs.labels import LabelledSet
from passband.models.card import NAME
from passband.models.confidence import CONFIDENCE
from passband.models.store import PREDICTOR, SCORES, SECOND, WEIGHTS, Model, refuse_existing, write_model
from passband.models.tuning import Tuning, tune
from passband.simulation.imaging import normalize
from passband.verdicts.calibration import particle_counts, pooled_scores
from passband.verdicts.features import LABELS, TARGETS, UNTUNED, targets_of
from passband.verdicts.image_verdict import features_of_tiles, source_of, tiles_of
from passband.verdicts.verdict_model import VerdictModel

#: Fewest labelled images that verdicts are recalibrated by.
FEWEST_LABELS = 5


def write_tuned(model: Model, labelled: LabelledSet, tuning: Tuning, folder: Path, name: str) -> Model:
    """Write the tuned model of a tuning and return it.

    Scores and predictors of the untuned model stay with it, marked as such; its particles have no confidence until it is scored again. From five images on, predictions for images are corrected by
    what the tuned networks do on the labelled ones, each held out.

    Raises:
        BadInputError: if the folder exists.
    """
    card, count = model.card, len(labelled)
    weights = {k: v.contiguous() for k, v in tuning.network.module.state_dict().items()}
    contents = {WEIGHTS: save(weights)}
    if SECOND in card.files:
        contents[SECOND] = (model.folder / SECOND).read_bytes()
    if SCORES in card.files:
        saved = json.loads((model.folder / PREDICTOR).read_text(encoding="utf-8"))
        corrections = labels_corrections(model, labelled, tuning)
        # The confidence of particles is that of another network.
        saved = {k: v for k, v in saved.items() if k not in (LABELS, CONFIDENCE)} | {UNTUNED: card.name}
        saved |= {} if corrections is None else {LABELS: corrections}
        contents |= {SCORES: (model.folder / SCORES).read_bytes(), PREDICTOR: json.dumps(saved).encode()}
    gain = {key: round(value, 4) for key, value in tuning.gain.items() if value is not None}
    loss, dice = ([round(v, 4) for v in a.mean(1).tolist()] for a in (tuning.simulated_loss, tuning.simulated_dice))
    changes: dict[str, Any] = {
        "name": name,
        "limits": (
            *card.limits,
            f"Tuned on {count} labelled images of one kind; on others it may be worse than {card.name}.",
        ),
        "edge_offset_angstrom": card.edge_offset_angstrom
        + (tuning.edge_offset_angstrom if tuning.edge == "labels" else 0),
        "made_by": {
            "tuned_from": card.name,
            "digest": card.digest,
            "images": list(tuning.names),
            "steps": tuning.steps,
            "edge": tuning.edge,
            "edge_offset_angstrom": tuning.edge_offset_angstrom,
            "gain_of_dice_held_out": gain,
            "simulated_images": {"loss_untuned_and_tuned": loss, "dice_untuned_and_tuned": dice},
            "untuned": card.made_by,
            "versions": {"passband": __version__, "torch": torch.__version__},
        },
    }
    return write_model(folder, card.model_copy(update=changes), contents)


def labels_corrections(model: Model, labelled: LabelledSet, tuning: Tuning) -> dict[str, Any] | None:
    """Return, for each target, what networks that were tuned without an image measure on it less what is predicted; None with too few images.

    Also the largest distance of these images from the calibrated ones, up to which images are known then.
    """
    verdicts, card = VerdictModel(model), model.card
    rows: dict[str, list[float]] = {target: [] for target in targets_of(verdicts.scores)}
    distances = []
    for item, network in zip(labelled, tuning.networks, strict=True):
        pixel = item.micrograph.pixel_size_angstrom
        truth = moved(item.truth > 0, -tuning.edge_offset_angstrom if tuning.edge == "model" else 0.0, pixel)
        try:
            tiles = tiles_of(item.micrograph.intensity, item.micrograph, card)
        except BadInputError:
            # Smaller than a tile.
            continue
        masks = tiles_of(truth.astype(np.float32), item.micrograph, card) >= 0.5
        logits = predict(network, normalize(tiles)[:, None])
        counts = {k: np.array(v) for k, v in count_pixels(logits, masks[:, None].float(), card.threshold).items()}
        measured = pooled_scores(counts | particle_counts(logits, masks, card)[0])
        source = source_of(item.micrograph, card)
        features = features_of_tiles(verdicts, tiles, logits, source)
        for target, residuals in rows.items():
            predicted = verdicts.predictor(target, source).predict(features)[0][0]
            residuals.append(float(TARGETS[target](np.array(measured[target])) - predicted))
        distances.append(float(verdicts.predictor("loss", source).distance(features)[0]))
    return None if len(distances) < FEWEST_LABELS else {**rows, "distance": max(distances)}


def tune_and_write(
    model: Model,
    labelled: LabelledSet,
    folder: Path | None,
    name: str,
    progress: StageProgress,
    *,
    anyway: bool = False,
    **settings: Any,
) -> Tuning:
    """Tune a model, write it unless the folder is None or the tuned model is worse, and return what it gives; see `tuning.tune`."""
    if folder is not None:
        if not re.match(NAME, name):
            what = f"{parameter('name')} {name[:70]!r}: takes letters, digits, dots and dashes, at most 64"
            raise BadInputError(what, value=name)
        refuse_existing(folder)
    result = tune(model, labelled, progress, **settings)
    if folder is None or (result.worse and not anyway):
        return result
    return replace(result, tuned=write_tuned(model, labelled, result, folder, name))
