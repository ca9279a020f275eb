"""Everything that is said of one micrograph, worked out step by step; what fails is one line, and the rest goes on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.app.views import outlines
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.estimate import Estimate, estimate
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.models.segment import segment
from passband.models.store import Model
from passband.verdicts.image_optics import estimate_optics
from passband.verdicts.verdict import Verdict
from passband.verdicts.verdict_model import VerdictModel


@dataclass(frozen=True)
class Given:
    """A file and what the user says of it.

    Attributes:
        path: where it lies.
        name: as the user knows it.
        pixel_size_angstrom, energy_ev, dose_per_angstrom2: None is what the file says.
        number: which image of a stack, from 0.
    """

    path: Path
    name: str
    pixel_size_angstrom: float | None = None
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None
    number: int = 0


@dataclass(frozen=True, eq=False)
class Looked:
    """What has been found so far.

    Attributes:
        micrograph: as it was read.
        images: how many the file holds.
        picture: shades of grey, uint8, at most 2048 pixels a side, last row first.
        outlines: of the particles [nm], xs and ys of each line, y upwards.
        particles: a row per particle, or None.
        verdict: on the model, or None.
        estimate: of the condition, or None.
        estimated: the same in sentences.
        condition: that was estimated, as if underfocused where the sign is not known; or None.
        faults: what could not be done, a line each.
    """

    micrograph: Micrograph
    images: int
    picture: NDArray[np.uint8]
    outlines: dict[str, Any] | None = None
    particles: pl.DataFrame | None = None
    verdict: Verdict | None = None
    estimate: Estimate | None = None
    estimated: tuple[str, ...] = ()
    condition: Condition | None = None
    faults: tuple[str, ...] = ()


def read(given: Given) -> Looked:
    """Return a micrograph as it was read.

    Raises:
        BadInputError: naming file, fault and remedy.
    """
    try:
        found = read_micrographs(
            given.path,
            pixel_size_angstrom=given.pixel_size_angstrom,
            energy_ev=given.energy_ev,
            dose_per_angstrom2=given.dose_per_angstrom2,
        )
    except BadInputError as error:
        # The user knows the file by its name, not by where it has been put; and fills in fields, not options.
        said = str(error).replace(str(given.path), given.name).replace(given.path.name, given.name)
        raise BadInputError(_on_page(said)) from None
    if not 0 <= given.number < len(found):
        raise BadInputError(f"{given.name}: has {len(found)} images, and none is number {given.number}")
    micrograph = replace(found[given.number], name=given.name)
    return Looked(micrograph, len(found), _picture(micrograph))


def segmented(looked: Looked, model: Model) -> Looked:
    """Add the particles that a model finds."""
    found = segment(model, looked.micrograph)
    width = found.probability.shape[1] * found.pixel_size_angstrom / 10
    lines = outlines(found.probability, model.card.threshold, width)
    return replace(looked, outlines=lines, particles=found.particles)


def judged(looked: Looked, model: VerdictModel) -> Looked:
    """Add the verdict on a model."""
    return replace(looked, verdict=model.check_image(looked.micrograph, estimate=looked.estimate))


def estimated(looked: Looked, model: VerdictModel | None) -> Looked:
    """Add what the power spectrum says of the condition, with the C30 and energy of a model's calibration if there is one."""
    found = None if model is None else estimate_optics(model, looked.micrograph)
    found = found or estimate(looked.micrograph)
    condition = found.condition(found.sign or "underfocus") if found.has_rings else None
    return replace(looked, estimate=found, estimated=tuple(found.sentences), condition=condition)


def attempt(step: Callable[[Looked], Looked], looked: Looked) -> Looked:
    """Return what a step finds, or what was there with one line more on why it could not."""
    try:
        return step(looked)
    except BadInputError as error:
        return replace(looked, faults=(*looked.faults, _on_page(str(error))))
    except Exception as error:  # what no one foresaw must not end the page
        kind = type(error).__name__
        return replace(
            looked, faults=(*looked.faults, f"{looked.micrograph.name}: one step failed ({kind}: {str(error)[:200]})")
        )


def histogram(particles: pl.DataFrame) -> dict[str, Any]:
    """Return bars of the equivalent diameters [nm]: left, right, whole particles, and all."""
    size = particles["equivalent_diameter_angstrom"].to_numpy() / 10
    cut = particles["touches_edge"].to_numpy().astype(bool)
    edges = np.linspace(0, 1.05 * max([*size, 1.0]), min(max(2 * int(np.sqrt(len(size))), 8), 40) + 1)
    whole, everything = (np.histogram(values, edges)[0] for values in (size[~cut], size))
    return {"left": edges[:-1], "right": edges[1:], "whole": whole, "top": everything}


def _picture(micrograph: Micrograph) -> NDArray[np.uint8]:
    return np.ascontiguousarray(micrograph.grey()[0][::-1])


def _on_page(line: str) -> str:
    """Return a line that speaks of the page's fields where it spoke of options."""
    for option, field in (
        ("--pixel-size", "the field “pixel size”"),
        ("--energy", "the field “energy”"),
        ("--dose", "the field “dose”"),
    ):
        line = line.replace(f"with {option}", f"in {field}").replace(option, field)
    return line
