"""What the page is about: a model, and a sample specimen whose exit wave is in memory, imaged under any condition."""

import os
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passband.app import html
from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.conditions import Condition
from passband.models.store import Model, require_hrtem
from passband.simulation.hrtem import Imager
from passband.simulation.modality import camera_masks
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, SpecimenRecipe, draw_specimen
from passband.studies.wave_jobs import open_wave_set, prepare_waves
from passband.verdicts.verdict_model import VerdictModel

#: Pixels along a side of the picture.
PIXELS = 256
# Shown without a model, or if the card has no recipe.
_GOLD_ON_CARBON: dict[str, Any] = {
    "field_angstrom": 102.4,
    "particles": [
        {"crystal": "Au", "count": [3, 5], "shape": {"kind": "wulff", "variation": 0.1}, "diameter_angstrom": [16.0, 34.0], "twins": [0, 1]}
    ],
    "substrate": {"material": "carbon", "density_g_per_cm3": 2.0, "thickness_angstrom": [20.0, 40.0]},
}  # fmt: skip
# Number of specimens drawn to find one that is neither empty nor crowded, and its particles.
_TRIES, _PARTICLES = 30, range(3, 6)
_MEMORY = 1_000_000_000


@dataclass(frozen=True)
class Scene:
    """One specimen at one energy.

    Attributes:
        recipe: its family.
        waves: coefficients of its exit wave, complex64, shape [1, P, K].
        mask: of the particles, bool, shape [rows, columns], both PIXELS.
        config: multislice settings of the wave.
    """

    recipe: Recipe
    waves: Tensor
    mask: NDArray[np.bool_]
    config: ExitWaveConfig

    @property
    def pixel_size_angstrom(self) -> float:
        """Pixel size of the picture [Å]."""
        return self.recipe.field_angstrom / PIXELS

    def imager(self, condition: Condition) -> Imager:
        """Return the imager of a condition."""
        return Imager(condition, self.recipe.field_angstrom, self.config)

    def image(self, condition: Condition) -> NDArray[np.float32]:
        """Return the picture under a condition of the scene's energy and pixel size, float32 [rows, columns]: counts, or mean intensities.

        The seed of the shot noise is fixed: a picture changes only with its condition.

        Raises:
            BadInputError: if the aperture exceeds the band of the exit wave.
        """
        mask = torch.from_numpy(self.mask)[None]
        return self.imager(condition).images(self.waves, mask, seed=seed_from("app", "noise")).arrays()[0][0]


class Scenes:
    """The sample specimen at each requested energy; computed once and stored in the user's cache."""

    def __init__(self, model: Model | None, cache: Path | None = None):
        """Choose a specimen from the model's recipe that is not among its training specimens, or gold on carbon."""
        content = None if model is None else model.card.specimens.recipe
        if content is None or "particles" not in content:
            content = _GOLD_ON_CARBON
        self.recipe = SpecimenRecipe.model_validate(content | {"seed": seed_from("app", "scene") % 2**31})
        self._cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passband"
        self._scenes: dict[float, Scene] = {}
        self._lock = threading.Lock()

    @cached_property
    def _index(self) -> int:
        fits = (i for i in range(_TRIES) if len(draw_specimen(self.recipe, i).particles) in _PARTICLES)
        return next(fits, 0)

    def at(self, energy_ev: float) -> Scene:
        """Return the scene at an energy [eV]; the first time takes about ten seconds.

        Raises:
            BadInputError: if its exit wave cannot be computed or stored.
        """
        with self._lock:
            if energy_ev not in self._scenes:
                self._scenes[energy_ev] = self._make(energy_ev)
            return self._scenes[energy_ev]

    def any(self) -> Scene:
        """Return the scene at any energy."""
        return next(iter(self._scenes.values())) if self._scenes else self.at(300e3)

    def ready(self, energy_ev: float) -> bool:
        """Whether the scene at an energy is in memory."""
        return energy_ev in self._scenes

    def _make(self, energy_ev: float) -> Scene:
        config, index = ExitWaveConfig(energy_ev=energy_ev), self._index
        kept = open_wave_set(self.recipe, config, self._cache)
        try:
            coefficients, masks = kept.read(index, index + 1)
        except BadInputError:
            [job] = prepare_waves(kept, index + 1, [index], _MEMORY)
            job.run(lambda done: None)
            coefficients, masks = kept.read(index, index + 1)
        mask = camera_masks(torch.from_numpy(masks), PIXELS)[0].T.numpy()
        return Scene(self.recipe, torch.from_numpy(coefficients), mask, config)


@dataclass(frozen=True)
class Subject:
    """The model and the specimen of the page, shared by all tabs.

    Attributes:
        scenes: the sample specimen.
        model: to predict with, or None.
        judge: of its verdicts, or None if it has not been scored.
        absent: why there is no model or no verdict, in a line; empty if there are both.
    """

    scenes: Scenes
    model: Model | None = None
    judge: VerdictModel | None = None
    absent: str = ""

    @property
    def sees_waves(self) -> bool:
        """Whether there is a model for the HRTEM images of the sample specimen."""
        return self.model is not None and self.model.card.modality == "hrtem"

    @property
    def name(self) -> str:
        """The model with its specimens, to read."""
        if self.model is None:
            return "no model"
        known = self.model.card.specimens
        return f"{self.model.card.name}, {', '.join(known.elements)} on {known.support or 'nothing'}"


def subject_of(model: Model | None, absent: str, cache: Path | None = None) -> Subject:
    """Return model and specimen of the page, with the exit wave in memory; `absent` says why there is no model.

    Raises:
        BadInputError: if the network cannot be run here.
    """
    # Transforms this small are slower with several threads.
    torch.set_num_threads(1)
    judge = None
    if model is not None:
        # Load the network before the page opens: it may be unusable.
        _ = model.network
        try:
            require_hrtem(model.card)
            judge = VerdictModel(model)
        except BadInputError as error:
            absent = error.text(html.field)
    subject = Subject(Scenes(model, cache), model, judge, absent)
    subject.scenes.at(judge.domain.energy_ev if judge is not None else 300e3)
    return subject
