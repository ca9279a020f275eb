"""Segment a micrograph: to the network's pixel size, tile by tile, and back."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from passband.base.errors import BadInputError
from passband.micrographs.measure_particles import particle_table
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.resample import resample
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.store import Model
from passband.simulation.imaging import normalize

#: Share of a tile that it has in common with its neighbour.
OVERLAP = 0.25
# Tiles at a time.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a network finds in a micrograph.

    Attributes:
        probability: that a pixel is particle, float32, of the micrograph's shape [h, w].
        mask: where it reaches the network's threshold, bool [h, w].
        instances: number of the particle that a pixel belongs to, from 1; 0 is none; int32 [h, w].
        particles: a row per particle (`particles.particle_table`).
        pixel_size_angstrom: of these arrays [Å].
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]
    instances: NDArray[np.int32]
    particles: pl.DataFrame
    pixel_size_angstrom: float


def check_pixel_size(micrograph: Micrograph, card: ModelCard) -> None:
    """Refuse a micrograph whose pixels a model cannot be brought to.

    Raises:
        BadInputError: saying pixel size, limits and remedy.
    """
    low, high = card.pixel_band_angstrom
    if not low <= micrograph.pixel_size_angstrom <= high:
        raise BadInputError(
            f"{micrograph.name}: its pixels of {micrograph.pixel_size_angstrom:g} Å are beyond what {card.name} takes ({low:g} to {high:g} Å); "
            + (
                "record at a higher magnification, or use another model"
                if micrograph.pixel_size_angstrom > high
                else "bin the image, or correct a wrong calibration with --pixel-size"
            )
        )


def segment(
    model: Model, micrograph: Micrograph, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> Segmentation:
    """Return what a model finds in a micrograph.

    Each tile is brought to zero mean and unit variance, as each training image was, so that uneven illumination matters little;
    where tiles overlap, their logits are blended with Gaussian weights.

    Args:
        model: the network and its card.
        micrograph: of any size.
        progress: called with the tiles done and their total.

    Raises:
        BadInputError: if the micrograph's pixels are beyond the model's band, or it is smaller than a tenth of a tile.
    """
    card = model.card
    check_pixel_size(micrograph, card)
    scale = micrograph.pixel_size_angstrom / card.pixel_size_angstrom
    h, w = micrograph.intensity.shape
    shape = (max(round(h * scale), 1), max(round(w * scale), 1))
    if min(shape) < card.field_pixels / 4:
        raise BadInputError(
            f"{micrograph.name}: shows {h * micrograph.pixel_size_angstrom:.3g} × {w * micrograph.pixel_size_angstrom:.3g} Å, less than a quarter of the field that {card.name} "
            f"knows ({card.field_pixels * card.pixel_size_angstrom:.3g} Å a side); give a larger piece"
        )
    logits = _logits(model, resample(micrograph.intensity, shape), progress)
    # Linear between pixel centres, back on the micrograph's own pixels; probabilities last, for they do not add up.
    fine = functional.interpolate(logits[None, None], (h, w), mode="bilinear", align_corners=False)[0, 0]
    probability = fine.sigmoid_().numpy()
    mask = probability >= card.threshold
    instances, particles = particle_table(mask, micrograph.pixel_size_angstrom, probability)
    return Segmentation(probability, mask, instances, particles, micrograph.pixel_size_angstrom)


@torch.no_grad()
def _logits(model: Model, image: NDArray[np.float32], progress: Callable[[int, int], None]) -> Tensor:
    """Return logits [h, w] of an image [h, w] at the network's pixel size."""
    # MONAI takes a second to import.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.inferers import SlidingWindowInferer

    network, side = Network(model), model.card.field_pixels
    steps = [max(-(-(n - side) // max(int(side * (1 - OVERLAP)), 1)) + 1, 1) for n in image.shape]
    done, total = 0, steps[0] * steps[1]
    progress(0, total)

    def predict(tiles: Tensor) -> Tensor:
        nonlocal done
        result = network(normalize(tiles))
        done = min(done + len(tiles), total)
        progress(done, total)
        return result

    inferer = SlidingWindowInferer(
        (side, side), sw_batch_size=_BATCH, overlap=OVERLAP, mode="gaussian", padding_mode="reflect", cval=0.0
    )
    # Mirrored edges need at least half of what they fill.
    missing = [max(side - n, 0) for n in image.shape]
    padded = np.pad(image, [(m // 2, m - m // 2) for m in missing], mode="symmetric")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = inferer(torch.from_numpy(padded)[None, None], predict)
    top, left = (m // 2 for m in missing)
    return found[0, 0, top : top + image.shape[0], left : left + image.shape[1]]
