"""Simulation without a study: exit waves of a recipe, and images of them under one condition as TIFF stacks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from passband.base.errors import BadInputError, parameter
from passband.base.identity import content_id, seed_from
from passband.conditions import AnyCondition, StemCondition
from passband.execution.base import Executor, StageProgress
from passband.figures import image_sheets, style
from passband.files.atomic import read_json, remove_leftovers, require_space, write_json
from passband.micrographs.write_tiff import write_stack
from passband.simulation.modalities import AnyConfig, config_for, modality_of
from passband.simulation.modality import Imager
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, draw_specimen
from passband.specimens.exchange import export_labels
from passband.studies.wave_jobs import bytes_per_specimen, make_waves, open_wave_set

#: Says what a folder of images holds, from the beginning of its simulation on.
CARD = "simulation.json"


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Attributes:
        condition: how to image the specimens; None makes exit waves only, at 300 kV.
        folder: for the images; exit waves lie beside it, shared with studies.
        labels: whether to write every label of each specimen too.
    """

    recipe: Recipe
    condition: AnyCondition | None
    count: int
    folder: Path
    labels: bool = False

    @property
    def stored_as(self) -> AnyConfig:
        """How specimens are stored: by default settings, at the condition's energy."""
        return ExitWaveConfig() if self.condition is None else config_for([self.condition])

    def imager(self, condition: AnyCondition) -> Imager:
        """Return what makes the images under a condition; a BadInputError if the field is not a whole number of pixels."""
        return modality_of(self.stored_as).imager(condition, self.recipe, self.stored_as)

    def warnings(self) -> list[str]:
        """Return warnings, a line each."""
        if self.condition is None:
            return []
        line = self.imager(self.condition).warning()
        return self.condition.doubts() + ([] if line is None else [line])

    def check(self) -> None:
        """Refuse, by a BadInputError, a condition that does not fit the recipe, or a folder that holds something else."""
        if self.condition is not None:
            self.imager(self.condition).check()
        draw_specimen(self.recipe, self.count - 1)
        card_of(self.folder, self.id, "recipe and condition")

    @property
    def id(self) -> str:
        """The hash of recipe and condition; the count is left out because more specimens only add."""
        condition = None if self.condition is None else self.condition.to_dict()
        return content_id({"recipe": self.recipe.model_dump(mode="json"), "condition": condition})

    def run(self, executor: Executor, progress: StageProgress, *, memory: int) -> dict[str, Any]:
        """Make exit waves and images, the multislice within so many bytes in a worker; return facts about them, JSON-like."""
        waves = open_wave_set(self.recipe, self.stored_as, self.folder.resolve().parent)
        missing = waves.missing(self.count)
        require_space(self.folder, len(missing) * bytes_per_specimen(waves) + 10_000_000)
        # The card comes first, so that a killed simulation is known as one and may go on.
        write_json(self.folder / CARD, {"id": self.id})
        remove_leftovers(self.folder)
        make_waves(waves, self.count, missing, executor, progress, memory=memory)
        stored = modality_of(waves.config).STORED
        facts: dict[str, Any] = {
            "id": self.id,
            "specimens": self.count,
            stored.replace(" ", "_"): str(waves.folder),
            "stored": stored,
            "bytes_per_specimen": bytes_per_specimen(waves),
            "manifest": waves.facts(self.count),
            "images": None,
            "condition": None,
        }
        if self.condition is not None:
            coefficients, masks = waves.read(0, self.count)
            facts |= self._write_images(self.condition, torch.from_numpy(coefficients), torch.from_numpy(masks))
        if self.labels and self.condition is not None:
            folder, advance = self.folder / "labels", progress.stage("labels", self.count, 0)
            for i in range(self.count):
                export_labels(draw_specimen(self.recipe, i), facts["pixels"], folder / f"{i:06d}.npz")
                advance(1.0)
            facts["labels"] = str(folder)
        write_json(self.folder / CARD, facts)
        return facts

    def _write_images(self, condition: AnyCondition, coefficients: torch.Tensor, masks: torch.Tensor) -> dict[str, Any]:
        seed = seed_from("simulate", self.recipe.seed, condition.id)
        images, truth = self.imager(condition).images(coefficients, masks, seed=seed).arrays()
        scanned = isinstance(condition, StemCondition)
        write_stack(self.folder / "images.tif", images, condition.pixel_size_angstrom, scanned=scanned)
        write_stack(self.folder / "masks.tif", truth.astype(np.uint8) * 255, condition.pixel_size_angstrom)
        with style.figure(*image_sheets.simulated_size(self.count)) as figure:
            image_sheets.draw_simulated(images, truth, condition.pixel_size_angstrom, figure)
            style.save(figure, self.folder, "sheet", ("png",))
        files = {"images": "images.tif", "masks": "masks.tif", "sheet": "sheet.png"}
        names = {name: str(self.folder / file) for name, file in files.items()}
        return {"images": names, "pixels": images.shape[-1], "condition": condition.to_dict() | {"id": condition.id}}


def card_of(folder: Path, identity: str, what: str) -> dict[str, Any]:
    """Return what the folder of a simulation says of itself, empty if it is new.

    Raises:
        BadInputError: if it holds something else, or a simulation of another id; `what` says what decides the id.
    """
    card, another = read_json(folder / CARD), f"choose another {parameter('folder')}"
    if not isinstance(card, dict):
        if folder.exists() and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())):
            raise BadInputError(f"{folder}: exists and holds something other than a simulation; {another}")
        return {}
    if card.get("id") != identity:
        raise BadInputError(
            f"{folder}: holds another simulation ({card.get('id')}), not this {what} ({identity}); {another}, or delete this one"
        )
    return card
