"""Simulated images with their truth, in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from passband.base.identity import seed_from
from passband.conditions import AnyCondition, Condition, StemCondition
from passband.execution.base import one_thread
from passband.figures import image_sheets, style
from passband.micrographs.micrograph import Micrograph
from passband.report import pages
from passband.simulation import stem
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.modality import Images
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, draw_specimen


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedImages:
    """Images of specimens under one condition, with the truth.

    Attributes:
        images: electron counts, or mean intensities without a dose (of iCOM the phase [rad]), float32, shape [N, rows, columns]; x runs along the columns.
        masks: where particles are, bool, shape [N, rows, columns].
        condition: how the specimens are imaged.
        notes: what is allowed but may surprise, a line each.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.bool_]
    condition: AnyCondition
    notes: tuple[str, ...] = ()

    @property
    def pixel_size_angstrom(self) -> float:
        """Pixel of images and masks [Å]."""
        return self.condition.pixel_size_angstrom

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Micrograph:
        """Return one image as a micrograph, with its energy, dose and pixel size."""
        c, name = self.condition, f"simulated {range(len(self))[index]}"
        scanned = isinstance(c, StemCondition)
        return Micrograph(
            self.images[index], c.pixel_size_angstrom, c.energy_ev, c.dose_per_angstrom2, name, scanned=scanned
        )

    def __iter__(self) -> Iterator[Micrograph]:
        """Go through the images as micrographs."""
        return (self[i] for i in range(len(self)))

    def show(self) -> NDArray[Any]:
        """Draw the first eight images over their masks; return the axes, shape [2, columns]."""
        with style.shown(*image_sheets.simulated_size(len(self))) as figure:
            self._draw(figure)
        return np.array(figure.axes).reshape(2, -1)

    def to_dict(self) -> dict[str, Any]:
        """Return what the images are, without them."""
        return {"images": list(self.images.shape), "condition": self.condition.to_dict(), "notes": list(self.notes)}

    def __str__(self) -> str:
        """Return what the images are, in a line and one for each note."""
        n, side = self.images.shape[:2]
        what = "counts" if self.condition.dose_per_angstrom2 is not None else "intensities without noise"
        first = f"{n} images of {side} × {side} pixels of {self.pixel_size_angstrom:g} Å, {what}, {self.masks.mean():.0%} particle"
        return "\n".join([first, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the lines and the picture of `show`."""
        lines = "".join(f"<p>{escape(line)}</p>" for line in str(self).splitlines())
        sheet = style.png(*image_sheets.simulated_size(len(self)), self._draw)
        return lines + pages.picture(sheet, "images over their masks")

    def _draw(self, figure: Figure) -> None:
        image_sheets.draw_simulated(self.images, self.masks, self.pixel_size_angstrom, figure)


def simulate(
    recipe: Recipe, condition: AnyCondition, n: int, first: int = 0, noise_seed: int | None = None
) -> SimulatedImages:
    """Return images of `n` specimens of a recipe, the same as `passband simulate` writes.

    Raises:
        BadInputError: if the condition does not fit the recipe.
    """
    seed = seed_from("simulate", recipe.seed, condition.id) if noise_seed is None else noise_seed
    with one_thread():
        if isinstance(condition, StemCondition):
            made, warnings = _scanned(recipe, condition, range(first, first + n), seed)
        else:
            made, warnings = _in_tem(recipe, condition, range(first, first + n), seed)
    counts, truth = made.arrays()
    return SimulatedImages(counts, truth, condition, (*condition.doubts(), *warnings))


def _in_tem(recipe: Recipe, condition: Condition, indices: range, seed: int) -> tuple[Images, list[str]]:
    """Return HRTEM images of some specimens, and warnings."""
    config = ExitWaveConfig(energy_ev=condition.energy_ev)
    imager = Imager(condition, recipe.field_angstrom, config)
    imager.check()
    warning = imager.warning()
    waves, masks = scatter(recipe, indices, config)
    return imager.images(waves, masks, seed=seed), [] if warning is None else [warning]


def _scanned(recipe: Recipe, condition: StemCondition, indices: range, seed: int) -> tuple[Images, list[str]]:
    """Return STEM images of some specimens, and warnings."""
    atoms = [draw_specimen(recipe, index).atoms for index in indices]
    config = stem.StemConfig.of([condition], max(float(one.cell[2, 2]) for one in atoms))
    stored, masks = stem.scatter(recipe, indices, config)
    made = stem.imager(condition, recipe, config).images(stored, masks, seed=seed)
    return made, stem.warnings(condition, atoms)
