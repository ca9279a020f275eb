"""Analyze one micrograph step by step; a step that fails becomes one line, and the others go on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.app import html
from passband.app.scene import Subject
from passband.app.uploads import Upload, Uploads
from passband.app.views import outlines
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.estimate import Estimate, estimate
from passband.figures import size_histogram
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.micrographs.split_particles import meeting
from passband.micrographs.write_tiff import write_tiff
from passband.models.segment import Segmentation, segment
from passband.models.store import Model
from passband.verdicts.image_optics import estimate_optics
from passband.verdicts.verdict import Verdict
from passband.verdicts.verdict_model import VerdictModel

# A number fits on a particle that is as large as this share of the picture.
_NUMBERED = 30


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results so far.

    Attributes:
        micrograph: as read.
        images: number of images in the file.
        picture: shades of grey, uint8, at most 2048 pixels a side, last row first.
        model: that segmented, or None.
        segmentation: the particles, or None.
        outlines: of the particles [nm], xs and ys of each line, y upwards.
        corrected: whether a user has corrected them.
        verdict: on the model, or None.
        estimate: of the optics, or None.
        condition: that was estimated, underfocus if the sign is unknown; or None.
        faults: why a step failed, a line each.
    """

    micrograph: Micrograph
    images: int
    picture: NDArray[np.uint8]
    model: Model | None = None
    segmentation: Segmentation | None = None
    corrected: bool = False
    outlines: dict[str, Any] | None = None
    verdict: Verdict | None = None
    estimate: Estimate | None = None
    condition: Condition | None = None
    faults: tuple[str, ...] = ()


def read(upload: Upload, number: int = 0, **given: Any) -> Analysis:
    """Read one image of a file, with the values of the fields beside it; None leaves them to the file.

    Raises:
        BadInputError: with file, fault and remedy.
    """
    try:
        micrographs = read_micrographs(upload.path, **given)
        if not 0 <= number < len(micrographs):
            raise BadInputError(f"has {len(micrographs)} images, and none is number {number}")
    except BadInputError as error:
        # The user knows the file by its name, not by its place among the uploads.
        error.place = upload.name
        raise
    micrograph = replace(micrographs[number], name=upload.name)
    return Analysis(micrograph, len(micrographs), np.ascontiguousarray(micrograph.grey()[0][::-1]))


def without_scale(upload: Upload, number: int, fault: BadInputError) -> NDArray[np.uint8] | None:
    """Return the picture of a file whose only fault is that its pixel size is not known, last row first; else None."""
    if fault.parameters[:1] != ("pixel_size_angstrom",) or fault.value is not None:
        return None
    try:
        return read(upload, number, pixel_size_angstrom=1.0).picture
    except BadInputError:
        return None


def add_segmentation(analysis: Analysis, model: Model) -> Analysis:
    """Add the particles that a model finds."""
    found = segment(model, analysis.micrograph)
    # Only what is in the table has an outline; particles that touch have one each.
    outside = (found.mask & (found.instances == 0)) | meeting(found.instances)
    lines = outlines(np.where(outside, 0, found.probability), model.card.threshold, _width(found))
    return replace(analysis, model=model, segmentation=found, outlines=lines)


def with_particles(analysis: Analysis, corrected: Segmentation) -> Analysis:
    """Return an analysis with particles that a user has corrected."""
    inside = (corrected.instances > 0) & ~meeting(corrected.instances)
    return replace(analysis, segmentation=corrected, corrected=True, outlines=outlines(inside, 0.5, _width(corrected)))


def _width(found: Segmentation) -> float:
    return found.probability.shape[1] * found.pixel_size_angstrom / 10


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
        fault = error.text(html.field)
    except Exception as error:  # An unforeseen error must not end the page.
        fault = f"{analysis.micrograph.name}: one step failed ({type(error).__name__}: {str(error)[:200]})"
    return replace(analysis, faults=(*analysis.faults, fault))


def histogram(particles: pl.DataFrame) -> dict[str, Any]:
    """Return bars of the equivalent diameters [nm]: left, right, whole particles, and all."""
    whole, cut, edges = size_histogram.diameters(particles)
    counts = [np.histogram(values, edges)[0] for values in (whole, cut)]
    return {"left": edges[:-1], "right": edges[1:], "whole": counts[0], "top": counts[0] + counts[1]}


def numbers(particles: pl.DataFrame, width: float, height: float) -> dict[str, Any]:
    """Return the numbers of particles in the table and their places [nm], y upwards, in an image of some width and height [nm].

    Particles that are too small for a number have none.
    """
    shown = particles.filter(pl.col("equivalent_diameter_angstrom") / 10 > max(width, height) / _NUMBERED)
    x, y = (shown[f"{axis}_angstrom"].to_numpy() / 10 for axis in "xy")
    return {"x": x, "y": height - y, "text": shown["particle"].cast(pl.String).to_list()}


def example(subject: Subject, uploads: Uploads) -> tuple[str, Condition]:
    """Write the sample specimen as a micrograph with its scale; return its key among the uploads, and its condition."""
    judge = subject.judge
    condition = Condition.preset("team05_300kv") if judge is None else judge.usual_training_condition()
    scene = subject.scenes.at(condition.energy_ev)
    pixel = scene.pixel_size_angstrom
    condition = condition.varied(defocus=180.0, C12=10.0, pixel_size_angstrom=pixel)
    key, path = uploads.reserve("example.tif")
    write_tiff(path, scene.image(condition), pixel)
    uploads.add(key, path, "example.tif (simulated, unseen by the model)")
    return key, condition
