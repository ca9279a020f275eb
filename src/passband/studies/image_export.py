"""Images of a recipe to train any network with: each under a condition of its own, with labels, a table and a split."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from passband.base.errors import BadInputError, parameter
from passband.base.identity import content_id, seed_from
from passband.base.version import __version__
from passband.conditions import AnyCondition, StemCondition
from passband.conditions.condition import by_kind, doubt_kinds, first_of
from passband.execution.base import Executor, StageProgress
from passband.figures import image_sheets, style
from passband.files import yaml_config
from passband.files.atomic import locked, remove_leftovers, require_space, write_files, write_json, write_text
from passband.files.jobs import REVISIONS, run_job
from passband.files.tables import parquet
from passband.simulation.imaging import divides
from passband.simulation.modalities import AnyConfig, config_for, modality_of
from passband.simulation.modality import Imager
from passband.simulation.wave_store import WaveSet
from passband.specimens import GivenRecipe, Recipe, draw_specimen
from passband.studies.export_job import PARTICLE, Shot, SpecimenImages
from passband.studies.export_layouts import LAYOUTS, PARTS, read_entry
from passband.studies.image_conditions import Conditions, conditions_of_images
from passband.studies.simulate import CARD, card_of
from passband.studies.wave_jobs import bytes_per_specimen, open_wave_set, warn_of_loss

#: Images of a specimen. Its exit wave takes as long as some 20 images, so that 4 images take hardly longer than one; more of them
#: would leave fewer different specimens.
IMAGES_PER_SPECIMEN = 4
#: Shares of the specimens to train on, to validate with and to test on.
SPLIT = (0.8, 0.1, 0.1)
# Images whose conditions are looked at for warnings: a millisecond each.
_LOOKED_AT = 500
# Every energy needs exit waves of its own.
_MOST_ENERGIES = 4
_TEXT = ("image", "label", "split", "coherence", "modality", "kind", "condition")
_WHOLE = ("number", "specimen", "seed", "pixels", "particles", "quadrature_nodes", "binning")
#: The table of an export, a row an image.
TABLE = "conditions.parquet"
_CSV = "conditions.csv"
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class ImageExport:
    """What to export.

    Attributes:
        conditions: what each image's condition is drawn from; several share the images.
        count: number of images.
        folder: for the images; exit waves lie beside it, shared with studies.
        images_per_specimen: each under a condition of its own.
        split: shares of train, validation and test, which add up to 1; a specimen is in one of them.
        layout: plain, nnunet or coco.
        classes: whether the labels tell crystals apart.
        labels: whether to write every label of each image, too.
    """

    recipe: Recipe
    conditions: Sequence[Conditions]
    count: int
    folder: Path
    images_per_specimen: int = IMAGES_PER_SPECIMEN
    split: tuple[float, ...] = SPLIT
    layout: str = "plain"
    classes: bool = False
    labels: bool = False

    def __post_init__(self) -> None:
        """Refuse values that make no set of images, by a BadInputError."""
        if self.count < 1:
            what = f"{parameter('count')} is {self.count}; there is no set without images"
            raise BadInputError(what, value=self.count, limit=1, remedy="give 1 or more")
        if self.images_per_specimen < 1:
            what = f"{parameter('images_per_specimen')} is {self.images_per_specimen}"
            raise BadInputError(what, value=self.images_per_specimen, limit=1, remedy="give 1 or more")
        shares = ",".join(f"{share:g}" for share in self.split)
        if len(self.split) != len(PARTS) or any(not 0 <= share <= 1 for share in self.split):
            what = f"{parameter('split')} {shares} is not three shares from 0 to 1"
            raise BadInputError(
                what, value=self.split, remedy="give those of train, validation and test, such as 0.8,0.1,0.1"
            )
        if abs(sum(self.split) - 1) > 1e-6:
            what = f"{parameter('split')} {shares} adds up to {sum(self.split):g}, not to 1"
            raise BadInputError(what, value=self.split, remedy="give shares of all specimens, such as 0.8,0.1,0.1")
        if self.layout not in LAYOUTS:
            what = f"{parameter('layout')} {self.layout!r} is not known; known are {', '.join(LAYOUTS)}"
            raise BadInputError(what, value=self.layout, limit=list(LAYOUTS))
        if not self.conditions or any(isinstance(source, tuple) and not source for source in self.conditions):
            raise BadInputError(f"{parameter('conditions')}: there is none", remedy="give one or more")

    @cached_property
    def id(self) -> str:
        """The hash of all that decides the images; the count is left out because more images only add."""
        # Texts keep the order of the values that are drawn, which decides what is drawn.
        sources = [
            [c.to_dict() for c in s] if isinstance(s, tuple) else s.model_dump_json(exclude={"count"})
            for s in self.conditions
        ]
        content: dict[str, Any] = {
            "recipe": self.recipe.model_dump(mode="json"),
            "conditions": sources,
            "split": self.split,
        }
        content |= {"images_per_specimen": self.images_per_specimen, "layout": self.layout}
        content |= {"classes": self.classes, "labels": self.labels}
        return content_id(content | {"revisions": [REVISIONS["waves"], REVISIONS["images"]]})

    @property
    def specimens(self) -> int:
        """Number of specimens."""
        return -(-self.count // self.images_per_specimen)

    @cached_property
    def shots(self) -> list[Shot]:
        """All images in their order; BadInputError if a condition that is drawn is not valid."""
        seed, each = self.recipe.seed, self.images_per_specimen
        drawn = conditions_of_images(self.conditions, self.count, seed_from("images", seed))
        parts = [self.part(specimen) for specimen in range(self.specimens)]
        return [Shot(i, parts[i // each], c, seed_from("image", seed, i)) for i, c in enumerate(drawn)]

    def part(self, specimen: int) -> str:
        """Return the part that a specimen belongs to, whatever their number.

        Multiples of the golden ratio, modulo 1, fall evenly into the shares, however many there are.
        """
        place = (0.5 + specimen * _GOLDEN) % 1
        limits = np.cumsum(self.split)
        return PARTS[int(np.searchsorted(limits[:-1], place, side="right"))]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, 1 first."""
        if not self.classes:
            return (PARTICLE,)
        if isinstance(self.recipe, GivenRecipe):
            scenes = (draw_specimen(self.recipe, i) for i in range(self.specimens))
            return tuple(dict.fromkeys(p.crystal for scene in scenes for p in scene.particles))
        return tuple(dict.fromkeys(p.crystal_used().name for p in self.recipe.particles))

    def check(self) -> None:
        """Refuse, by a BadInputError, conditions that do not fit the recipe, or a folder that holds something else or more images."""
        scanned = {isinstance(shot.condition, StemCondition) for shot in self.shots}
        if len(scanned) > 1:
            what = "the conditions mix STEM and HRTEM, whose images networks do not share"
            raise BadInputError(what, remedy="simulate each into a folder of its own")
        energies = {shot.condition.energy_ev for shot in self.shots}
        if len(energies) > _MOST_ENERGIES and not scanned.pop():
            what = f"the conditions have {len(energies)} different energies, and each needs exit waves of its own (at most {_MOST_ENERGIES})"
            raise BadInputError(what, limit=_MOST_ENERGIES, remedy="give energy_ev one value, or a few")
        self._check_pixel_sizes()
        for condition in {shot.condition.id: shot.condition for shot in self.shots}.values():
            self._imager(condition).check()
        draw_specimen(self.recipe, self.specimens - 1)
        held = card_of(self.folder, self.id, "recipe, conditions and layout").get("images", 0)
        if held > self.count:
            what = f"{self.folder}: holds {held} images of this simulation"
            raise BadInputError(
                f"{what}; give {parameter('count')} of {held} or more, or choose another {parameter('folder')}"
            )

    def _check_pixel_sizes(self) -> None:
        """Refuse pixel sizes that differ and do not all divide the field."""
        field, sizes = self.recipe.field_angstrom, sorted({s.condition.pixel_size_angstrom for s in self.shots})
        if len(sizes) == 1 or all(divides(size, field) for size in sizes):
            return
        low, high = sizes[0], sizes[-1]
        near = [float(f"{field / n:.6g}") for n in range(math.ceil(field / high), math.floor(field / low) + 1)]
        near = [size for size in near if divides(size, field)]
        what = f"pixel_size_angstrom of the conditions is {low:g} to {high:g} Å, and not all such pixels divide the field of {field:g} Å"
        example = f"pixel_size_angstrom: {{values: {near[:: max(len(near) // 3, 1)][:3]}}}"
        remedy = f"draw from sizes that do, such as {example}" if near else "give one that does"
        raise BadInputError(what, value=(low, high), limit=near, remedy=remedy)

    @cached_property
    def _stored_as(self) -> dict[float, AnyConfig]:
        """How specimens are stored for the conditions of each energy [eV]."""
        conditions = list({shot.condition.id: shot.condition for shot in self.shots}.values())
        scanned = config_for(conditions) if isinstance(conditions[0], StemCondition) else None
        return {c.energy_ev: scanned or config_for([c]) for c in conditions}

    def _imager(self, condition: AnyCondition) -> Imager:
        config = self._stored_as[condition.energy_ev]
        return modality_of(config).imager(condition, self.recipe, config)

    def _waves(self, config: AnyConfig) -> WaveSet:
        """Return what is stored of specimens, beside the folder of images, as studies keep theirs."""
        return open_wave_set(self.recipe, config, self.folder.resolve().parent)

    def warnings(self) -> list[str]:
        """Return warnings, a line each."""
        conditions = list({s.condition.id: s.condition for s in self.shots[:_LOOKED_AT]}.values())
        kinds = by_kind([line for c in conditions if (line := self._imager(c).warning())]) + doubt_kinds(conditions)
        lines = [first_of(kind) for kind in kinds]
        present = {shot.part for shot in self.shots}
        empty = [p for p, share in zip(PARTS, self.split, strict=True) if share > 0 and p not in present]
        if empty:
            lines.append(
                f"{self.specimens} specimen{'s' * (self.specimens > 1)} in all: none is for {' or '.join(empty)}; simulate more images to have some"
            )
        return lines

    def run(self, executor: Executor, progress: StageProgress, *, memory: int) -> dict[str, Any]:
        """Make what is missing, the multislice within so many bytes in a worker; return facts, JSON-like."""
        try:
            with locked(self.folder / ".lock", wait=False):
                return self._run(executor, progress, memory)
        except BlockingIOError:
            what, remedy = "another run writes its images here", f"wait for it, or choose another {parameter('folder')}"
            raise BadInputError(what, remedy=remedy, place=self.folder) from None

    def _run(self, executor: Executor, progress: StageProgress, memory: int) -> dict[str, Any]:
        remove_leftovers(self.folder, *(path for path in self.folder.rglob("*") if path.is_dir()))
        jobs = self._jobs(memory)
        before = self.count - sum(len(job.shots) for job in jobs)
        self._make_room(jobs, memory)
        # The card comes first, so that a killed run is known as one and may go on.
        card = {"id": self.id, "images": self.count}
        write_json(self.folder / CARD, card)
        advance = progress.stage("images", self.count, before)
        for failure in executor.map(run_job, jobs, advance):
            raise BadInputError(
                f"{self.folder}: {failure.task.label} could not be made in {failure.tries} tries ({failure.reason}); "
                "correct it and run the same command again, finished work is kept"
            )
        return self._finish(card, before, progress)

    def _jobs(self, memory: int) -> list[SpecimenImages]:
        """Return the jobs that make the missing images, a specimen each."""
        missing = [shot for shot in self.shots if read_entry(self.folder, shot.number) is None]
        return [
            SpecimenImages(
                self.folder,
                self.recipe,
                specimen,
                shots,
                tuple(self._stored_as[shot.condition.energy_ev] for shot in shots),
                self.layout,
                self.names,
                self.labels,
                memory,
            )
            for specimen, group in itertools.groupby(missing, lambda shot: shot.number // self.images_per_specimen)
            for shots in [tuple(group)]
        ]

    def _make_room(self, jobs: Sequence[SpecimenImages], memory: int) -> None:
        """Refuse, by a BadInputError, what does not fit the memory or the disk; prepare the exit waves' places."""
        needed = 10_000_000
        for config in dict.fromkeys(config for job in jobs for config in job.stored_as):
            waves = self._waves(config)
            modality_of(config).check_memory(self.recipe, config, memory)
            users = [job.specimen for job in jobs if config in job.stored_as]
            needed += sum(not waves.noted(specimen) for specimen in users) * bytes_per_specimen(waves)
            waves.create(self.specimens)
        pixels = [self._imager(shot.condition).pixels for job in jobs for shot in job.shots]
        # Four bytes a pixel of the image; labels are compressed, and all maps of --labels take some 15 bytes a pixel.
        require_space(self.folder, needed + sum((20 if self.labels else 5) * n**2 for n in pixels))

    def _finish(self, card: dict[str, Any], before: int, progress: StageProgress) -> dict[str, Any]:
        """Write what is about all images, and return the facts."""
        rows, lost = list[dict[str, Any]](), dict[AnyConfig, float]()
        for shot in self.shots:
            entry = read_entry(self.folder, shot.number)
            if entry is None:
                raise BadInputError("was changed while it was written", remedy="run again", place=self.folder)
            rows.append(entry["row"])
            config = self._stored_as[shot.condition.energy_ev]
            lost[config] = max(lost.get(config, 0.0), entry["lost_intensity"])
        for config in lost:
            warn_of_loss(lost[config], self._waves(config), progress)
        table = table_of(rows)
        layout, names = LAYOUTS[self.layout], self.names
        layout.finish(self.folder, rows, names)
        write_files(
            {
                self.folder / TABLE: lambda file: file.write_bytes(parquet(table)),
                self.folder / _CSV: lambda file: table.write_csv(file),
            }
        )
        self._draw(rows)
        write_text(self.folder / "recipe.yaml", yaml_config.dump(self.recipe))
        write_text(self.folder / "README.txt", self._readme())
        counts = dict(table["split"].value_counts().rows())
        facts = card | {
            "specimens": self.specimens,
            "images_per_specimen": self.images_per_specimen,
            "folder": str(self.folder),
            "layout": self.layout,
            "classes": {name: number for number, name in enumerate(names, 1)},
            "split": {part: counts.get(part, 0) for part in PARTS},
            "particles": int(table["particles"].sum()),
            "table": str(self.folder / TABLE),
            "table_csv": str(self.folder / _CSV),
            "sheet": str(self.folder / "sheet.png"),
        }
        for config in lost:
            facts.setdefault(modality_of(config).STORED.replace(" ", "_"), []).append(str(self._waves(config).folder))
        write_json(self.folder / CARD, facts)
        return facts | {"finished_before": before}

    def _draw(self, rows: Sequence[dict[str, Any]]) -> None:
        """Draw some images of one size over their masks."""
        pixel, most = rows[0]["pixel_size_angstrom"], image_sheets.MOST_SIMULATED
        alike = [row for row in rows if row["pixel_size_angstrom"] == pixel]
        shown = alike[:: max(len(alike) // most, 1)][:most]
        images = np.stack([np.asarray(Image.open(self.folder / row["image"]), np.float32) for row in shown])
        masks = np.stack([np.asarray(Image.open(self.folder / row["label"])) > 0 for row in shown])
        with style.figure(*image_sheets.simulated_size(len(shown))) as figure:
            image_sheets.draw_simulated(images, masks, pixel, figure)
            style.save(figure, self.folder, "sheet", ("png",))

    @property
    def _kind(self) -> str:
        """Name of the class of the conditions."""
        return type(self.shots[0].condition).__name__

    def _readme(self) -> str:
        classes = "; ".join(f"{number} {name}" for number, name in enumerate(self.names, 1))
        about = LAYOUTS[self.layout].about.format(classes=f"0 background; {classes}")
        return f"""{self.count} images of {self.specimens} specimen{"s" * (self.specimens > 1)}, simulated by passband {__version__}.

{about}
sheet.png                  some of the images over their masks
conditions.parquet, .csv   a row an image: file, split, specimen, seed of the noise, particles, and its condition
recipe.yaml                of the specimens
simulation.json, finished/ what a second run of the same command needs, which goes on or adds images

PART is {", ".join(PARTS)}, and a specimen is in one of them. Files carry their scale. Rows of an image run along y, columns along x.
Units in the table: Å (pixel size, aberrations C10 = −defocus, C12, …), rad (phi..), eV, mrad, e/Å². condition is the whole as JSON:

    import json, passband as pb
    condition = pb.{self._kind}(**json.loads(row["condition"]))
    pb.simulate(recipe, condition, 1, first=row["specimen"], noise_seed=row["seed"]).images[0]

makes the image of a row again, bit for bit, where recipe is pb.load_recipe("recipe.yaml").
"""


def table_of(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return the table of images, one row each."""
    kinds = dict.fromkeys(_TEXT, pl.String) | dict.fromkeys(_WHOLE, pl.Int64)
    return pl.DataFrame(list(rows), schema={name: kinds.get(name, pl.Float64) for name in rows[0]})
