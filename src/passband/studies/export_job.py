"""The job of an export: the images of one specimen, each under a condition of its own, with its labels."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from passband.conditions import AnyCondition, StemCondition
from passband.conditions.condition import SYMBOLS
from passband.execution.base import Progress
from passband.files.atomic import write_checked
from passband.files.jobs import Job
from passband.simulation.modalities import AnyConfig, modality_of
from passband.specimens import Recipe, Specimen, draw_specimen, particle_instances
from passband.specimens.exchange import export_labels
from passband.studies.export_layouts import LAYOUTS, TrainingImage, Truth, entry_file, read_entry
from passband.studies.wave_jobs import open_wave_set, store_waves

#: Name of the class of all particles where they are not told apart.
PARTICLE = "particle"
# Fields of a condition and its detector that are no columns of the table.
_NO_COLUMNS = {"aberrations", "detector", "mtf", "dqe", "quadrants"}


@dataclass(frozen=True)
class Shot:
    """One image: its number, the part that it belongs to, how it is imaged, and the seed of its noise."""

    number: int
    part: str
    condition: AnyCondition
    seed: int


@dataclass(frozen=True)
class SpecimenImages(Job):
    """Make the images of one specimen, and its exit waves where they are missing.

    Attributes:
        stored_as: how the specimen is stored for each of the shots.
        names: of the classes, 1 first; `PARTICLE` alone tells no crystals apart.
        labels: whether to write every label of the specimen, too.
        memory: of the multislice [bytes].
    """

    folder: Path
    recipe: Recipe
    specimen: int
    shots: tuple[Shot, ...]
    stored_as: tuple[AnyConfig, ...]
    layout: str
    names: tuple[str, ...]
    labels: bool
    memory: int

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"images of specimen {self.specimen}"

    def is_finished(self) -> bool:
        """Tell whether all images are there."""
        return all(read_entry(self.folder, shot.number) is not None for shot in self.shots)

    def run(self, progress: Progress) -> None:
        """Make what is missing; each image is noted as finished after its files."""
        began, scene = time.perf_counter(), draw_specimen(self.recipe, self.specimen)
        truths: dict[int, Truth] = {}
        for config in dict.fromkeys(self.stored_as):
            waves = open_wave_set(self.recipe, config, self.folder.resolve().parent)
            if not waves.has(self.specimen):
                store_waves(waves, [self.specimen], [scene], began, memory=self.memory)
            coefficients, masks = map(torch.from_numpy, waves.read(self.specimen, self.specimen + 1))
            lost = waves.facts(self.specimen + 1, self.specimen)[0]["lost_intensity"]
            for shot, own in zip(self.shots, self.stored_as, strict=True):
                if own == config and read_entry(self.folder, shot.number) is None:
                    imager = modality_of(config).imager(shot.condition, self.recipe, config)
                    [image], [mask] = imager.images(coefficients, masks, seed=shot.seed).arrays()
                    if len(mask) not in truths:
                        truths[len(mask)] = truth_of(scene, mask, self.names)
                    self._write(shot, scene, image, truths[len(mask)], lost)
                    progress(1.0)

    def _write(self, shot: Shot, scene: Specimen, image: np.ndarray, truth: Truth, lost: float) -> None:
        pixel, scanned = shot.condition.pixel_size_angstrom, isinstance(shot.condition, StemCondition)
        labelled = TrainingImage(shot.part, shot.number, image, truth, pixel, scanned)
        written = LAYOUTS[self.layout].write(self.folder, labelled)
        files = list(written.files)
        if self.labels:
            files.append(Path("labels", f"{shot.number:06d}.npz"))
            export_labels(scene, len(image), self.folder / files[-1])
        row = {
            "number": shot.number,
            "image": str(written.files[0]),
            "label": str(written.files[1]),
            "split": shot.part,
            "specimen": self.specimen,
            "seed": shot.seed,
            "pixels": len(image),
            "particles": int(truth.instances.max()),
            "particle_share": float(truth.mask.mean()),
            **condition_columns(shot.condition),
        }
        sizes = {str(file): (self.folder / file).stat().st_size for file in files}
        entry = {"files": sizes, "row": row, "lost_intensity": lost}
        write_checked(
            entry_file(self.folder, shot.number), entry if written.coco is None else entry | {"coco": written.coco}
        )


def condition_columns(condition: AnyCondition) -> dict[str, Any]:
    """Return a condition as columns of a table: all aberrations, zero where there is none, other values, and all of it as JSON."""
    row = {name: value for name, value in condition if name not in _NO_COLUMNS}
    row["defocus_angstrom"] = condition.defocus_angstrom
    row |= {symbol: float(condition.aberrations.get(symbol, 0.0)) for symbol in SYMBOLS}
    row |= {name: value for name, value in condition.detector if name not in _NO_COLUMNS}
    return row | {"condition": json.dumps(condition.to_dict())}


def truth_of(scene: Specimen, mask: np.ndarray, names: tuple[str, ...]) -> Truth:
    """Return the labels of an image from its mask [rows, columns], bool, that of the recipe.

    Instances are those of the outlines within the mask. The field repeats, the image does not: where a particle crosses its edge, the
    piece on the opposite side is a particle of its own.
    """
    owners = particle_instances(scene, len(mask)).T
    if owners.any():
        # A mask by the phase may reach beyond the outlines.
        nearest = ndimage.distance_transform_edt(owners == 0, return_distances=False, return_indices=True)
        owners = np.where(mask, owners[tuple(nearest)], 0)
    else:
        owners = np.zeros(mask.shape, np.uint16)
    if names == (PARTICLE,):
        classes = mask.astype(np.uint8)
    else:
        classes = np.array([0] + [1 + names.index(p.crystal) for p in scene.particles], np.uint8)[owners]
    instances, count = np.zeros(mask.shape, np.uint16), 0
    for number in np.unique(owners[owners > 0]):
        own = owners == number
        across = (own[0].any() and own[-1].any()) or (own[:, 0].any() and own[:, -1].any())
        pieces, found = ndimage.label(own, np.ones((3, 3))) if across else (own, 1)
        instances[own] = pieces[own] + count
        count += found
    return Truth(mask, instances, classes, names)
