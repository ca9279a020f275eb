"""Exit waves of specimens: which are missing, making them, and reading them on the device that computes."""

import functools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from passband.base import gpu
from passband.base.errors import BadInputError
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import Job, run_job
from passband.learning import SEGMENTATION
from passband.metrics.texture import Texture
from passband.simulation import hrtem
from passband.simulation.modalities import AnyConfig, modality_of
from passband.simulation.multislice.engine import MEMORY
from passband.simulation.wave_store import WaveSet, wave_id
from passband.specimens import Recipe, Specimen, draw_specimen
from passband.studies.paths import StudyPaths, exit_waves
from passband.studies.study import Study

#: Specimens of one job.
BLOCK = 4
# Share of the beam lost beyond the band limit from which the user is warned; from 5 % the multislice refuses.
_LOST_INTENSITY = 0.01


@dataclass(frozen=True)
class WavesJob(Job):
    """Make the exit waves of some specimens of a wave set, by their indices, in so many bytes of memory."""

    waves: WaveSet
    specimens: tuple[int, ...]
    memory: int

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"{modality_of(self.waves.config).STORED} of specimens {self.specimens[0]} to {self.specimens[-1]}"

    def is_finished(self) -> bool:
        """Tell whether all waves are there and undamaged."""
        return all(self.waves.has(index) for index in self.specimens)

    def run(self, progress: Progress) -> None:
        """Draw the specimens, run the multislice, and store waves, targets and manifest entries.

        A GPU computes all specimens of the job at once, a CPU one after the other.
        """
        at_once = len(self.specimens) if device().type == "cuda" else 1
        for first in range(0, len(self.specimens), at_once):
            self._make(self.specimens[first : first + at_once], progress)

    def _make(self, indices: tuple[int, ...], progress: Progress) -> None:
        began = time.perf_counter()
        specimens = [draw_specimen(self.waves.recipe, index) for index in indices]
        store_waves(self.waves, indices, specimens, began, memory=self.memory)
        for _ in indices:
            progress(1.0)


def store_waves(
    waves: WaveSet, indices: Sequence[int], specimens: Sequence[Specimen], began: float, *, memory: int
) -> None:
    """Make what is stored of specimens within a memory [bytes]; store it, targets and manifest entries, with the time since `began` [s]."""
    modality = modality_of(waves.config)
    made = modality.store(waves.recipe, specimens, indices, waves.config, device=device(), memory=memory)
    masks = [SEGMENTATION.target(waves.recipe, specimen, waves.config.targets) for specimen in specimens]
    seconds = (time.perf_counter() - began) / len(indices)
    for index, specimen, wave, mask in zip(indices, specimens, made, masks, strict=True):
        facts = {
            "atoms": len(specimen.atoms),
            "particles": len(specimen.particles),
            "mask_share": float(mask.mean()),
            "lost_intensity": wave.lost_intensity,
            "dropped_intensity": wave.dropped_intensity,
            "seconds": seconds,
        }
        waves.write(index, wave.values, mask, facts)


def device() -> torch.device:
    """Return where this process computes: the GPU that PyTorch sees, else the CPU. CUDA_VISIBLE_DEVICES= hides it."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_memory() -> int | None:
    """Return the free bytes of the GPU that this process computes on, None without one."""
    return gpu.free_memory(device()) if device().type == "cuda" else None


def wave_sets(study: Study, paths: StudyPaths) -> list[WaveSet]:
    """Return the wave sets of a study, one for each family of specimens, beside its folder."""
    return [open_wave_set(recipe, study.stored_as, paths.root) for recipe in study.all_recipes]


def open_wave_set(recipe: Recipe, config: AnyConfig, root: Path) -> WaveSet:
    """Return the wave set of a recipe and settings under a root folder."""
    return WaveSet(exit_waves(root, wave_id(recipe, config)), recipe, config)


def prepare_waves(waves: WaveSet, specimens: int, missing: list[int], memory: int = MEMORY) -> list[WavesJob]:
    """Make room for a number of specimens and return the jobs that make the missing ones, within a memory [bytes].

    A BadInputError if the recipe cannot be drawn, a wave does not fit in memory, or the folder cannot be written.
    """
    if missing:
        modality_of(waves.config).check_memory(waves.recipe, waves.config, memory)
        draw_specimen(waves.recipe, missing[-1])
    waves.create(specimens)
    return [WavesJob(waves, tuple(missing[i : i + BLOCK]), memory) for i in range(0, len(missing), BLOCK)]


def make_waves(
    waves: WaveSet, total: int, missing: list[int], executor: Executor, progress: StageProgress, *, memory: int = MEMORY
) -> None:
    """Make the missing ones of `total` exit waves, or raise a BadInputError; warn if much of the beam was lost."""
    jobs = prepare_waves(waves, total, missing, memory)
    advance = progress.stage(modality_of(waves.config).STORED, total, total - len(missing))
    for failure in executor.map(run_job, jobs, advance):
        raise BadInputError(
            f"{waves.folder}: {failure.task.label} could not be made in {failure.tries} tries ({failure.reason}); "
            "correct it and run the same command again, finished work is kept"
        )
    warn_of_loss(max(facts["lost_intensity"] for facts in waves.facts(total)), waves, progress)


def warn_of_loss(lost: float, waves: WaveSet, progress: StageProgress) -> None:
    """Warn if this share of the beam, the largest of the specimens, is much to lose beyond the multislice's band limit."""
    if lost > _LOST_INTENSITY:
        progress.note(
            f"warning: up to {lost:.1%} of the beam is scattered beyond the multislice's band limit; "
            f"lower exit_waves.sampling_angstrom from {waves.config.targets.sampling_angstrom:g} to keep it"
        )


# Two parts: training and validation; a worker that then tests drops the larger one.
@functools.lru_cache(maxsize=2)
def read_waves(waves: WaveSet, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return what is stored, complex64 [N, ...], and masks [N, m, m] of specimens start to stop − 1; each worker reads them once."""
    coefficients, masks = waves.read(start, stop)
    return torch.from_numpy(coefficients).to(device()), torch.from_numpy(masks)


def specimen_power(study: Study, paths: StudyPaths) -> tuple[np.ndarray, np.ndarray]:
    """Return |q| [1/Å] and the power spectral density [Å²] of what is stored of the test specimens, averaged over families."""
    spectra = []
    for waves in wave_sets(study, paths)[: len(study.recipes)]:
        stored, _ = waves.read(*study.split.test_range)
        power_of = modality_of(waves.config).power
        q, power = power_of(torch.from_numpy(stored), study.test_conditions, waves.recipe, waves.config)
        spectra.append((q.numpy(), power.numpy()))
    q_first = spectra[0][0]
    return q_first, np.mean([np.interp(q_first, q, power) for q, power in spectra], axis=0)


def textures(study: Study, paths: StudyPaths) -> Texture | None:
    """Return the textures of the test domains; None if some family's specimens have no particle, or no film between them.

    They are those of specimens to train on, so that no test specimen has a part in what predicts its loss.
    """
    parts: dict[str, Texture] = {}
    for waves in wave_sets(study, paths):
        stored, masks = (torch.from_numpy(array) for array in waves.read(0, min(hrtem.FAMILY, study.split.train)))
        if not hrtem.has_texture(waves.recipe, masks):
            return None
        tests = [test for test in study.tests if test.recipe == waves.recipe]
        if tests:
            sets = [test.conditions for test in tests]
            seen = modality_of(waves.config).textures(sets, stored, masks.bool(), waves.recipe, waves.config)
            parts |= {test.id: seen.chosen(torch.tensor([i])) for i, test in enumerate(tests)}
    return Texture.joined([parts[test.id] for test in study.tests])


def bytes_per_specimen(waves: WaveSet) -> int:
    """Return what one specimen takes on disk at most: its complex64 band and one byte a mask pixel."""
    return 8 * math.prod(waves.stored_shape) + waves.mask_pixels**2
