"""Exit waves of a recipe's specimens, by the engine that the settings name."""

from collections.abc import Sequence

import torch

from passband.base.errors import require
from passband.base.identity import seed_from
from passband.simulation.multislice.engine import MEMORY, exit_waves
from passband.simulation.multislice.exit_wave import ExitWave, ExitWaveConfig
from passband.specimens import Recipe, Specimen


def specimen_exit_waves(
    recipe: Recipe,
    specimens: Sequence[Specimen],
    indices: Sequence[int],
    config: ExitWaveConfig,
    *,
    device: torch.device | str = "cpu",
    memory: int = MEMORY,
) -> list[ExitWave]:
    """Return the exit waves of specimens of a recipe, with thermal displacements seeded by recipe and index.

    The native engine computes on a device, within a memory [bytes].

    Raises:
        BadInputError: if a wave does not fit in memory or too much of the beam is scattered beyond the band limit.
    """
    seeds = [seed_from("phonons", recipe.seed, index) for index in indices]
    atoms = [specimen.atoms for specimen in specimens]
    if config.engine == "native":
        return exit_waves(atoms, config, recipe.displacements(), seeds, device=device, memory=memory)
    # abTEM takes seconds to import and is in an extra.
    require("abtem", "exit_waves.engine: abtem", "abtem")
    from passband.simulation.multislice.abtem_engine import exit_wave

    return [exit_wave(one, config, recipe.displacements(), seed) for one, seed in zip(atoms, seeds, strict=True)]
