"""Analyze one micrograph step by step; a step that fails becomes one line, and the others go on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.app.html import error_text
from passband.app.views import outlines
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.estimate import Estimate, estimate
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.models.segment import Segmentation, segment
from passband.models.store import Model
from passband.verdicts.image_optics import estimate_optics
from passband.verdicts.verdict import Verdict
from passband.verdicts.verdict_model import VerdictModel


@dataclass(frozen=True)
class Request:
    """A file with the values of the fields beside it.

    Attributes:
        path: of the file on this computer.
        name: as the user knows it.
        pixel_size_angstrom, energy_ev, dose_per_angstrom2: None leaves them to the file.
        number: of the image in a stack, from 0.
    """

    path: Path
    name: str
    pixel_size_angstrom: float | None = None
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None
    number: int = 0


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results so far.

    Attributes:
        micrograph: as read.
        images: number of images in the file.
        picture: shades of grey, uint8, at most 2048 pixels a side, last row first.
        segmentation: the particles, or None.
        outlines: of the particles [nm], xs and ys of each line, y upwards.
        verdict: on the model, or None.
        estimate: of the optics, or None.
        condition: that was estimated, underfocus if the sign is unknown; or None.
        faults: why a step failed, a line each.
    """

    micrograph: Micrograph
    images: int
    picture: NDArray[np.uint8]
    segmentation: Segmentation | None = None
    outlines: dict[str, Any] | None = None
    verdict: Verdict | None = None
    estimate: Estimate | None = None
    condition: Condition | None = None
    faults: tuple[str, ...] = ()


def read(request: Request) -> Analysis:
    """Read a micrograph.

    Raises:
        BadInputError: with file, fault and remedy.
    """
    try:
        micrographs = read_micrographs(
            request.path,
            pixel_size_angstrom=request.pixel_size_angstrom,
            energy_ev=request.energy_ev,
            dose_per_angstrom2=request.dose_per_angstrom2,
        )
        if not 0 <= request.number < len(micrographs):
            raise BadInputError(f"has {len(micrographs)} images, and none is number {request.number}")
    except BadInputError as error:
        # The user knows the file by its name, not by its place among the uploads.
        error.place = request.name
        raise
    micrograph = replace(micrographs[request.number], name=request.name)
    return Analysis(micrograph, len(micrographs), np.ascontiguousarray(micrograph.grey()[0][::-1]))


def add_segmentation(analysis: Analysis, model: Model) -> Analysis:
    """Add the particles that a model finds."""
    found = segment(model, analysis.micrograph)
    width = found.probability.shape[1] * found.pixel_size_angstrom / 10
    lines = outlines(found.probability, model.card.threshold, width)
    return replace(analysis, segmentation=found, outlines=lines)


def add_estimate(analysis: Analysis, model: VerdictModel | None) -> Analysis:
    """Add the optics from the power spectrum, with the C30 and energy of a model's calibration if there is one."""
    result = None if model is None else estimate_optics(model, analysis.micrograph)
    result = result or estimate(analysis.micrograph)
    condition = result.condition(result.sign or "underfocus") if result.has_rings else None
    return replace(analysis, estimate=result, condition=condition)


def add_verdict(analysis: Analysis, model: VerdictModel) -> Analysis:
    """Add the verdict on a model."""
    return replace(analysis, verdict=model.check_image(analysis.micrograph, estimate=analysis.estimate))


def attempt(step: Callable[[Analysis], Analysis], analysis: Analysis) -> Analysis:
    """Return the analysis after a step, or with one more fault if the step fails."""
    try:
        return step(analysis)
    except BadInputError as error:
        fault = error_text(error)
    except Exception as error:  # An unforeseen error must not end the page.
        fault = f"{analysis.micrograph.name}: one step failed ({type(error).__name__}: {str(error)[:200]})"
    return replace(analysis, faults=(*analysis.faults, fault))


def histogram(particles: pl.DataFrame) -> dict[str, Any]:
    """Return bars of the equivalent diameters [nm]: left, right, whole particles, and all."""
    size = particles["equivalent_diameter_angstrom"].to_numpy() / 10
    cut = particles["touches_edge"].to_numpy().astype(bool)
    edges = np.linspace(0, 1.05 * max([*size, 1.0]), min(max(2 * int(np.sqrt(len(size))), 8), 40) + 1)
    whole, everything = (np.histogram(values, edges)[0] for values in (size[~cut], size))
    return {"left": edges[:-1], "right": edges[1:], "whole": whole, "top": everything}
