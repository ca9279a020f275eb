"""The verdict on a micrograph: its tiles, their features, what the rings give."""

from dataclasses import replace

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from passband.base.errors import BadInputError
from passband.estimation.estimate import Estimate
from passband.learning import predict
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.resample import resample
from passband.models.card import ModelCard
from passband.models.segment import check_fits, network_shape
from passband.simulation.imaging import normalize
from passband.verdicts import reasons
from passband.verdicts.calibrated_model import CalibratedModel
from passband.verdicts.domain import SpecimenInfo
from passband.verdicts.features import SOURCES, TILES, image_features
from passband.verdicts.image_kind import kind_objections
from passband.verdicts.image_optics import ImageOptics, estimate_optics, optics_of
from passband.verdicts.statements import Statement
from passband.verdicts.verdict import Verdict
from passband.verdicts.zones import NAMES

# Smallest side of a micrograph in tiles; smaller ones are mirrored up to a tile.
_LEAST_SIDE = 0.78
# Largest number of tiles of a micrograph, spread evenly.
_TILES = 64
# Mean error of the Dice predicted for au-300kv on so many labelled images of docs/results/real_micrographs.md.
_CAUTION = Statement("simulated", "dice", 0.02, 20)
_CAUTION_OF_SCANS = Statement("simulated_scans")
# What to do about what an image is.
_REMEDIES = {
    "few_particles": "more_particles",
    "one_lattice": "more_film",
    "pattern": "an_image",
    "bright": "bright_field",
    "dark": "dark_field",
    "lattice": "scale",
}


def check_image(
    model: CalibratedModel, micrograph: Micrograph, claim: SpecimenInfo, estimate: Estimate | None = None
) -> Verdict:
    """Return the verdict of a model on a micrograph.

    Loss and Dice are predicted from the power spectrum and from the network's prediction (its entropy, expected Dice, share of
    particle), by what those were in the calibration for as many tiles as the micrograph has. No defocus has to be known; the rings
    explain the verdict (a scan has none), and optics far outside the calibrated range end it, as does an image that `image_kind` finds to be none of its kind. `estimate` is that of `image_optics.estimate_optics`, if
    there is one already.

    Raises:
        BadInputError: if the micrograph is too small or its pixels are outside the model's range.
    """
    card, domain = model.card, model.domain
    check_fits(micrograph, card)
    specimen = [*domain.specimen_objections(claim), *domain.energy_objections(micrograph.energy_ev)]
    tiles, source = tiles_of(micrograph.intensity, micrograph, card), source_of(micrograph, card)
    logits = predict(model.model.network, normalize(tiles)[:, None])
    features = features_of_tiles(model, tiles, logits, source)
    kind = [] if model.labels_note() else kind_objections(micrograph, card)
    marked = float((logits.sigmoid() >= card.threshold).float().mean())
    unlike = kind or model.image_objections(features, source, marked)
    known = not specimen and not unlike
    optics = optics_of(model, estimate or estimate_optics(model, micrograph)) if known else ImageOptics()
    if not known or optics.objections:
        remedies = [_REMEDIES[s.kind] for s in unlike if s.kind in _REMEDIES]
        if remedies:
            remedy = Statement(remedies[0])
        elif unlike and not specimen:
            remedy = Statement("larger_field")
        else:
            remedy = reasons.into_domain(card, "specimen" if specimen else "condition")
        verdict = model.cannot_say([*specimen, *unlike, *optics.objections], remedy)
        return replace(verdict, based_on="image", estimated=optics.estimated)
    energy = [] if micrograph.energy_ev else [Statement("assumed", "energy_ev", domain.energies_ev)]
    prediction = model.predict(features, source)
    stable = prediction.zone == NAMES[0]
    trained = model.scores.filter(pl.col("role") == "trained")[source].to_list()
    why = [*reasons.of_image(card, np.array(trained), features[0], stable=stable), *optics.reasons(stable=stable)]
    verdict = model.decided(
        prediction,
        why,
        based_on="image",
        assumed=(*domain.assumptions(claim), *energy),
        nearest=optics.nearest,
        estimated=optics.estimated,
        caution=model.labels_note() or model.untuned_note() or (_CAUTION_OF_SCANS if model.is_scanned else _CAUTION),
    )
    if verdict.answer == "no" and not verdict.remedies:
        return replace(verdict, remedies=tuple(optics.remedies(model)))
    return verdict


def features_of_tiles(model: CalibratedModel, tiles: torch.Tensor, logits: torch.Tensor, source: str) -> np.ndarray:
    """Return the features of tiles [N, n, n] and a network's logits on them [N, 1, n, n], as the predictors of a source take them, [1, D]."""
    second = model.model.second_network
    other = None if second is None else predict(second, normalize(tiles)[:, None])
    known = len(model.predictor("loss", source).names)
    return image_features(tiles, logits, model.card.threshold, other)[None, :known]


def source_of(micrograph: Micrograph, card: ModelCard) -> str:
    """Return the source of `features.SOURCES` for as many tiles as fit into a micrograph without overlap."""
    field = card.field_pixels * card.pixel_size_angstrom
    h, w = (int(n * micrograph.pixel_size_angstrom / field + 0.01) for n in micrograph.intensity.shape)
    return next(s for s, n in reversed(list(zip(SOURCES[1:], TILES, strict=True))) if n <= max(h * w, 1))


def tiles_of(values: NDArray[np.float32], micrograph: Micrograph, card: ModelCard) -> torch.Tensor:
    """Return up to 64 tiles of values on a micrograph's pixels, its intensity or a mask, at the network's pixel size, float32 [N, n, n].

    BadInputError if it is smaller than 0.78 tiles.
    """
    pixel, side = card.pixel_size_angstrom, card.field_pixels
    h, w = network_shape(values.shape, micrograph.pixel_size_angstrom, card)
    if min(h, w) < _LEAST_SIDE * side:
        least = _LEAST_SIDE * side * pixel
        what = f"shows {h * pixel:.3g} × {w * pixel:.3g} Å, and a verdict needs {least:.3g} Å a side"
        raise BadInputError(what, remedy="give a larger piece", place=micrograph.name)
    image = resample(values, (h, w))
    image = np.pad(image, [(0, max(side - n, 0)) for n in (h, w)], mode="symmetric")
    starts = [np.linspace(0, n - side, max(-(-n // side), 1)).round().astype(int) for n in image.shape]
    corners = [(int(i), int(j)) for i in starts[0] for j in starts[1]]
    spread = np.linspace(0, len(corners) - 1, min(len(corners), _TILES)).round().astype(int)
    return torch.from_numpy(np.stack([image[i : i + side, j : j + side] for i, j in (corners[k] for k in spread)]))
