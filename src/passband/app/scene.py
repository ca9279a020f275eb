"""The sample specimen: one scene's exit wave in memory, imaged under any condition at its energy, and what a network makes of that."""

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
from torch.nn import functional

from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.conditions import Condition
from passband.micrographs.resample import resample
from passband.models.network import Network
from passband.models.store import Model
from passband.simulation.hrtem import Imager
from passband.simulation.imaging import normalize
from passband.simulation.modality import camera_masks
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, SpecimenRecipe, draw_specimen
from passband.studies.wave_jobs import open_wave_set, prepare_waves

#: Pixels along a side of the picture.
PIXELS = 256
# What is shown without a model that says what it was trained on.
_GOLD_ON_CARBON: dict[str, Any] = {
    "field_angstrom": 102.4,
    "particles": [
        {"crystal": "Au", "count": [3, 5], "shape": {"kind": "wulff", "variation": 0.1}, "diameter_angstrom": [16.0, 34.0], "twins": [0, 1]}
    ],
    "substrate": {"material": "carbon", "density_g_per_cm3": 2.0, "thickness_angstrom": [20.0, 40.0]},
}  # fmt: skip
# Scenes looked at for one that is neither empty nor crowded.
_TRIES, _PARTICLES = 30, range(3, 6)
_MEMORY = 1_000_000_000


@dataclass(frozen=True)
class Scene:
    """One specimen as the microscope sees it.

    Attributes:
        recipe: its family.
        energy_ev: of the electrons [eV].
        waves: coefficients of its exit wave, complex64, shape [1, P, K].
        mask: where it is particle, bool, shape [PIXELS, PIXELS].
        config: multislice settings of the wave.
    """

    recipe: Recipe
    energy_ev: float
    waves: Tensor
    mask: NDArray[np.bool_]
    config: ExitWaveConfig

    @property
    def pixel_size_angstrom(self) -> float:
        """Of the picture [Å]."""
        return self.recipe.field_angstrom / PIXELS

    def imager(self, condition: Condition) -> Imager:
        """Return what makes the picture under a condition."""
        return Imager(condition, self.recipe.field_angstrom, self.config)

    def image(self, condition: Condition) -> NDArray[np.float32]:
        """Return the picture under a condition: counts, or the expected intensity if it has no dose; float32 [PIXELS, PIXELS].

        The shot noise is drawn from one seed, so that a picture changes only where its condition does.

        Args:
            condition: at the scene's energy and pixel size.

        Raises:
            BadInputError: if the condition opens beyond what is kept of the exit wave.
        """
        mask = torch.from_numpy(self.mask)[None]
        return self.imager(condition).images(self.waves, mask, seed=seed_from("app", "noise")).counts[0].numpy()


class Viewer:
    """A model's network, kept ready for pictures of any pixel size."""

    def __init__(self, model: Model):
        """Load the network.

        Raises:
            BadInputError: if it cannot be run here.
        """
        self.card = model.card
        self._network = Network(model)

    @torch.no_grad()
    def probability(self, image: NDArray[np.float32], pixel_size_angstrom: float) -> NDArray[np.float32]:
        """Return the probability of particle at each pixel, float32, of the shape of the image.

        Args:
            image: of a periodic or mirrored field, shape [n, n].
            pixel_size_angstrom: of the image [Å].
        """
        n, card = image.shape[0], self.card
        side = max(round(n * pixel_size_angstrom / card.pixel_size_angstrom), 8)
        seen = resample(image, (side, side))
        padded = np.pad(seen, (0, -side % card.divisor), mode="symmetric")
        logits = self._network(normalize(torch.from_numpy(padded))[None, None])[:, :, :side, :side]
        return functional.interpolate(logits, (n, n), mode="bilinear", align_corners=False)[0, 0].sigmoid().numpy()


class Scenes:
    """The sample specimen at each energy that is asked for; made once and kept among the user's caches."""

    def __init__(self, model: Model | None, cache: Path | None = None):
        """Choose the specimen: of the model's own kind, and unlike any that it was trained on.

        Args:
            model: whose specimens are shown; gold on carbon without.
            cache: folder to keep exit waves in; the user's own if left out.
        """
        self.recipe = recipe_of(model)
        self._cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passband"
        self._made: dict[float, Scene] = {}
        self._turn = threading.Lock()

    @cached_property
    def _index(self) -> int:
        for index in range(_TRIES):
            if len(draw_specimen(self.recipe, index).particles) in _PARTICLES:
                return index
        return 0

    def at(self, energy_ev: float) -> Scene:
        """Return the scene at an energy [eV]; the first time takes some ten seconds.

        Raises:
            BadInputError: if its exit wave cannot be made or kept.
        """
        with self._turn:
            if energy_ev not in self._made:
                self._made[energy_ev] = self._make(energy_ev)
            return self._made[energy_ev]

    def any(self) -> Scene:
        """Return the scene at whichever energy it has been made at; the first, if at none."""
        return next(iter(self._made.values())) if self._made else self.at(300e3)

    def ready(self, energy_ev: float) -> bool:
        """Whether the scene at an energy is in memory."""
        return energy_ev in self._made

    def _make(self, energy_ev: float) -> Scene:
        config, index = ExitWaveConfig(energy_ev=energy_ev), self._index
        kept = open_wave_set(self.recipe, config, self._cache)
        try:
            coefficients, masks = kept.read(index, index + 1)
        except BadInputError:
            [job] = prepare_waves(kept, index + 1, [index], _MEMORY)
            job.run(lambda done: None)
            coefficients, masks = kept.read(index, index + 1)
        return Scene(
            self.recipe,
            energy_ev,
            torch.from_numpy(coefficients),
            camera_masks(torch.from_numpy(masks), PIXELS)[0].numpy(),
            config,
        )


def recipe_of(model: Model | None) -> SpecimenRecipe:
    """Return what the sample specimen is drawn from: the recipe on a model's card with another seed, or gold on carbon."""
    content = None if model is None else model.card.specimens.recipe
    if content is None or "particles" not in content:
        content = _GOLD_ON_CARBON
    return SpecimenRecipe.model_validate(content | {"seed": seed_from("app", "scene") % 2**31})
