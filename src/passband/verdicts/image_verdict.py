"""The verdict on a micrograph: from the image itself and from what the network makes of it, explained by its estimated condition."""

from typing import Literal

import numpy as np
import torch

from passband.base.errors import BadInputError
from passband.estimation.estimate import Estimate
from passband.learning import predict
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.resample import resample
from passband.models.network import Network
from passband.models.segment import check_pixel_size
from passband.models.store import Model
from passband.simulation.imaging import normalize
from passband.verdicts import reasons
from passband.verdicts.domain import SpecimenInfo, assumptions, specimen_objections
from passband.verdicts.features import SOURCES, TILES, image_features
from passband.verdicts.image_optics import Optics, estimated, optics_of
from passband.verdicts.judge import LEAST_SHARE, Judge, Verdict

# Tiles of a micrograph that are looked at, spread evenly.
_TILES = 64


def check_image(
    model: Model,
    micrograph: Micrograph,
    claim: SpecimenInfo = SpecimenInfo(),  # noqa: B008
    estimate: Estimate | None = None,
) -> Verdict:
    """Return the verdict on a network on a micrograph.

    Loss and Dice are predicted from the micrograph's power spectrum and from what the network says of it (its entropy, the Dice it
    expects of itself, the share of particle), by what those were under the conditions that it was scored under, for as many tiles
    as the micrograph has. No defocus has to be known for that; what the rings say of it is among the reasons, and optics far from all
    that was studied end the verdict.

    Args:
        model: the network.
        micrograph: of any size above half the network's field.
        claim: what the user says of the specimen.
        estimate: of the micrograph's optics by `explain.estimated`, if it has been made already.

    Raises:
        BadInputError: if the model has not been scored, or the micrograph is too small or its pixels are beyond the model's.
    """
    judge = Judge(model)
    check_pixel_size(micrograph, judge.card)
    objections = specimen_objections(judge.card, claim)
    energy = judge.scored[0].energy_ev
    if micrograph.energy_ev is not None and abs(micrograph.energy_ev / energy - 1) > 0.01:
        objections.append(f"the energy is {micrograph.energy_ev:g} eV, and the network was studied at {energy:g} eV")
    tiles = tiles_of(micrograph, judge)
    network = Network(model)
    features = image_features(tiles, predict(network, normalize(tiles)[:, None]), judge.card.threshold)[None]
    source = next(s for s, n in reversed(list(zip(SOURCES[1:], TILES, strict=True))) if n <= _apart(micrograph, judge))
    unlike = judge.image_objections(features, source)
    of_specimen, objections = bool(objections), [*objections, *unlike]
    optics = Optics() if objections else optics_of(judge, estimate or estimated(judge, micrograph))
    objections += optics.objections
    if objections:
        empty = features[0, 2] < LEAST_SHARE
        what: Literal["condition", "specimen", "image"]
        what = "specimen" if of_specimen else "image" if unlike else "condition"
        return Verdict(
            judge.card.name,
            "cannot say",
            cannot_say=objections,
            advice="show a field with more particles" if empty else reasons.beyond(judge.card, what),
            based_on="image",
            estimated=optics.estimated,
        )
    return judge.verdict(
        judge.numbers(features, source),
        [*reasons.of_image(judge.card, judge.seen_in_training(source), features[0]), *optics.reasons],
        lambda: optics.advice,
        assumed=[
            *assumptions(judge.card, claim),
            *([] if micrograph.energy_ev else [f"electrons of {energy / 1000:g} kV (--energy)"]),
        ],
        nearest=optics.nearest,
        based_on="image",
        estimated=optics.estimated,
    )


def _apart(micrograph: Micrograph, judge: Judge) -> int:
    """Return how many tiles a micrograph holds that do not overlap, 1 at least."""
    field = judge.card.field_pixels * judge.card.pixel_size_angstrom
    h, w = (int(n * micrograph.pixel_size_angstrom / field + 0.01) for n in micrograph.intensity.shape)
    return max(h * w, 1)


def tiles_of(micrograph: Micrograph, judge: Judge) -> torch.Tensor:
    """Return up to 64 tiles of a micrograph at the network's pixel size, float32 [N, n, n].

    Raises:
        BadInputError: if it is smaller than a tile by more than a tenth.
    """
    card = judge.card
    scale, side = micrograph.pixel_size_angstrom / card.pixel_size_angstrom, card.field_pixels
    h, w = (round(n * scale) for n in micrograph.intensity.shape)
    if min(h, w) < 0.9 * side:
        raise BadInputError(
            f"{micrograph.name}: shows {h * card.pixel_size_angstrom:.3g} × {w * card.pixel_size_angstrom:.3g} Å, and a verdict needs {side * card.pixel_size_angstrom:.3g} Å a side; give a larger piece"
        )
    image = resample(micrograph.intensity, (h, w))
    image = np.pad(image, [(0, max(side - n, 0)) for n in (h, w)], mode="symmetric")
    starts = [np.linspace(0, n - side, max(-(-n // side), 1)).round().astype(int) for n in image.shape]
    corners = [(int(i), int(j)) for i in starts[0] for j in starts[1]]
    kept = np.linspace(0, len(corners) - 1, min(len(corners), _TILES)).round().astype(int)
    return torch.from_numpy(np.stack([image[i : i + side, j : j + side] for i, j in (corners[k] for k in kept)]))
