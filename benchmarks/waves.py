"""Compare exit waves with abTEM, used as in its manual.

python benchmarks/waves.py
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import abtem
import torch
from ase import Atoms
from rows import CORES, alternate, compared, write

from passband.conditions import Condition
from passband.execution.allocator import keep_freed_memory
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWave, ExitWaveConfig, abtem_engine
from passband.simulation.multislice.engine import exit_waves
from passband.specimens import SpecimenRecipe, draw_specimen

CONFIG = ExitWaveConfig(phonon_configurations=8)
# 44 Å high: 22 slices of 2 Å, 256² samples of 0.2 Å.
RECIPE = SpecimenRecipe()
CONDITION = Condition(energy_ev=300e3, aberrations={"C10": -50.0, "C30": -5e4}, focal_spread_angstrom=20.0)


def specimens(count: int) -> list[tuple[int, Atoms]]:
    """Return specimens cut or filled to 44 Å with vacuum at the entrance, which changes nothing."""
    found = []
    for index in range(200):
        atoms = draw_specimen(RECIPE, index).atoms
        if atoms.cell[2, 2] <= 44.0:
            atoms.positions[:, 2] += 44.0 - atoms.cell[2, 2]
            atoms.cell[2, 2] = 44.0
            found.append((index, atoms))
        if len(found) == count:
            break
    return found


def image(wave: ExitWave) -> torch.Tensor:
    grid = image_grid(RECIPE.field_angstrom, CONFIG.band_per_angstrom, 0.2)
    return expected_intensity(torch.from_numpy(wave.coefficients)[None], transfer_on_grid(CONDITION, grid), grid)[0]


def ours_one(task: tuple[int, Atoms]) -> ExitWave:
    index, atoms = task
    torch.set_num_threads(1)
    keep_freed_memory()
    return exit_waves([atoms], CONFIG, RECIPE.displacements(), [index])[0]


def agreement(index: int, atoms: Atoms) -> str:
    """Return how far images agree, with abTEM on a fine grid and on the same one."""
    shaking = RECIPE.displacements()
    one = CONFIG.model_copy(update={"phonon_configurations": 1})
    fine = one.model_copy(update={"sampling_angstrom": 0.05})
    mine, same, truth = (
        image(w)
        for w in (
            exit_waves([atoms], one, shaking, [index])[0],
            abtem_engine.exit_wave(atoms, one, shaking, index),
            abtem_engine.exit_wave(atoms, fine, shaking, index),
        )
    )
    to_truth, theirs, between = (
        ((a - b).norm() / b.norm()).item() for a, b in ((mine, truth), (same, truth), (mine, same))
    )
    return (
        f"images, relative L2: ours to abTEM at 0.05 Å {to_truth:.1e}, abTEM at 0.2 Å to abTEM at 0.05 Å {theirs:.1e}, "
        f"ours to abTEM at 0.2 Å {between:.1e}; with abTEM's sampling of atoms the waves agree to 2e-5 (tests)"
    )


def main() -> None:
    # As passband's own processes do; it makes either side faster.
    keep_freed_memory()
    chosen = specimens(4)
    note = agreement(*chosen[0])
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:

        def ours() -> float:
            return len(list(pool.map(ours_one, chosen)))

        def theirs() -> float:
            with abtem.config.set({"diagnostics.progress_bar": False}):
                for index, atoms in chosen:
                    phonons = abtem.FrozenPhonons(atoms, 8, RECIPE.displacements(), seed=index)
                    potential = abtem.Potential(
                        phonons, gpts=256, slice_thickness=2.0, parametrization="lobato", projection="infinite"
                    )
                    abtem.PlaneWave(energy=300e3).multislice(potential).compute()
            return len(chosen)

        rates = alternate(ours, theirs)
    write(compared("exit waves, 256², 22 slices of 2 Å, 8 phonons", "specimens/s, abTEM", rates, 5, note))


if __name__ == "__main__":
    main()
