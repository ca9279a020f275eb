"""The verdict on a micrograph: from the image and the network's prediction on it, explained by the estimated optics."""

from dataclasses import replace

import numpy as np
import torch

from passband.base.errors import BadInputError
from passband.estimation.estimate import Estimate
from passband.learning import predict
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.resample import resample
from passband.models.card import ModelCard
from passband.models.segment import check_fits
from passband.simulation.imaging import normalize
from passband.verdicts import reasons
from passband.verdicts.calibrated_model import CalibratedModel
from passband.verdicts.domain import SpecimenInfo
from passband.verdicts.features import SOURCES, TILES, image_features
from passband.verdicts.image_optics import ImageOptics, estimate_optics, optics_of
from passband.verdicts.statements import Statement
from passband.verdicts.verdict import Verdict
from passband.verdicts.zones import NAMES

# Largest number of tiles of a micrograph, spread evenly.
_TILES = 64
# Mean Dice of au-300kv on the labelled patches of docs/results/real_patches.md.
_CAUTION = Statement("simulated", "dice", 0.90, 0.74)


def check_image(
    model: CalibratedModel, micrograph: Micrograph, claim: SpecimenInfo, estimate: Estimate | None = None
) -> Verdict:
    """Return the verdict on a micrograph.

    Loss and Dice are predicted from the power spectrum and from the network's prediction (its entropy, expected Dice, share of particle),
    by what those were in the calibration for as many tiles as the micrograph has. No defocus has to be known; the rings explain the verdict,
    and optics far outside the calibrated range end it. `estimate` is that of `image_optics.estimate_optics`, if there is one already.

    Raises:
        BadInputError: if the micrograph is too small or its pixels are outside the model's range.
    """
    card, domain = model.card, model.domain
    check_fits(micrograph, card)
    specimen = [*domain.specimen_objections(claim), *domain.energy_objections(micrograph.energy_ev)]
    tiles = tiles_of(micrograph, card)
    features = image_features(tiles, predict(model.model.network, normalize(tiles)[:, None]), card.threshold)[None]
    source = _source(micrograph, card)
    unlike = model.image_objections(features, source)
    known = not specimen and not unlike
    optics = optics_of(model, estimate or estimate_optics(model, micrograph)) if known else ImageOptics()
    if specimen or unlike or optics.objections:
        if any(s.kind == "few_particles" for s in unlike):
            remedy = Statement("more_particles")
        elif unlike and not specimen:
            remedy = Statement("larger_field")
        else:
            remedy = reasons.into_domain(card, "specimen" if specimen else "condition")
        verdict = model.cannot_say([*specimen, *unlike, *optics.objections], remedy)
        return replace(verdict, based_on="image", estimated=optics.estimated)
    energy = [] if micrograph.energy_ev else [Statement("assumed", "energy_ev", domain.energy_ev)]
    prediction = model.predict(features, source)
    stable = prediction.zone == NAMES[0]
    verdict = Verdict(
        card.name,
        "yes",
        based_on="image",
        reasons=(
            *reasons.of_image(card, model.image_features_of(source, "trained"), features[0], stable=stable),
            *optics.reasons(stable=stable),
        ),
        assumed=(*domain.assumptions(claim), *energy),
        nearest=optics.nearest,
        estimated=optics.estimated,
        caution=_CAUTION,
    )
    verdict = model.decided(verdict, prediction)
    remedies = () if verdict.answer == "yes" else verdict.remedies or tuple(optics.remedies(model))
    return replace(verdict, remedies=remedies)


def _source(micrograph: Micrograph, card: ModelCard) -> str:
    """Return the source of `features.SOURCES` for as many tiles as fit into a micrograph without overlap."""
    field = card.field_pixels * card.pixel_size_angstrom
    h, w = (int(n * micrograph.pixel_size_angstrom / field + 0.01) for n in micrograph.intensity.shape)
    return next(s for s, n in reversed(list(zip(SOURCES[1:], TILES, strict=True))) if n <= max(h * w, 1))


def tiles_of(micrograph: Micrograph, card: ModelCard) -> torch.Tensor:
    """Return up to 64 tiles of a micrograph at the network's pixel size, float32 [N, n, n].

    Raises:
        BadInputError: if it is smaller than a tile by more than a tenth.
    """
    pixel, side = card.pixel_size_angstrom, card.field_pixels
    h, w = (round(n * micrograph.pixel_size_angstrom / pixel) for n in micrograph.intensity.shape)
    if min(h, w) < 0.9 * side:
        raise BadInputError(
            f"shows {h * pixel:.3g} × {w * pixel:.3g} Å, and a verdict needs {side * pixel:.3g} Å a side",
            remedy="give a larger piece",
            place=micrograph.name,
        )
    image = resample(micrograph.intensity, (h, w))
    image = np.pad(image, [(0, max(side - n, 0)) for n in (h, w)], mode="symmetric")
    starts = [np.linspace(0, n - side, max(-(-n // side), 1)).round().astype(int) for n in image.shape]
    corners = [(int(i), int(j)) for i in starts[0] for j in starts[1]]
    spread = np.linspace(0, len(corners) - 1, min(len(corners), _TILES)).round().astype(int)
    return torch.from_numpy(np.stack([image[i : i + side, j : j + side] for i, j in (corners[k] for k in spread)]))
