"""How the sampling of atoms changes images, for passband's engine and abTEM's.

    .venv/bin/python examples/exit_wave_sampling.py

Prints the table of docs/exit_waves.md for the first specimen of the demo: difference to abTEM at 0.05 Å relative to the contrast, and
the mean intensity over the particle.
"""

from pathlib import Path

import torch

from passband.conditions import Condition
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import draw_specimen, particle_mask
from passband.specimens.recipe_files import load_recipe

CHOICES = [("native", 0.2), ("native", 0.1), ("abtem", 0.2), ("abtem", 0.1), ("abtem", 0.05)]


def main() -> None:
    """Measure and print."""
    recipe = load_recipe(Path("studies/recipes/au_on_carbon.yaml"))
    specimen = draw_specimen(recipe, 0)
    grid = image_grid(recipe.field_angstrom, 1.5, 0.4)
    mask = torch.from_numpy(particle_mask(specimen, grid.pixels))
    images = {}
    for engine, sampling in CHOICES:
        config = ExitWaveConfig.model_validate(
            {"engine": engine, "sampling_angstrom": sampling, "phonon_configurations": 1}
        )
        [wave] = specimen_exit_waves(recipe, [specimen], [0], config)
        for defocus in (0.0, 100.0):
            condition = Condition(
                energy_ev=300e3, aberrations={"C10": -defocus, "C30": -5e4}, focal_spread_angstrom=20.0
            )
            coefficients = torch.from_numpy(wave.coefficients)[None]
            images[engine, sampling, defocus] = expected_intensity(
                coefficients, transfer_on_grid(condition, grid), grid
            )[0]
    for engine, sampling in CHOICES:
        cells = []
        for defocus in (0.0, 100.0):
            truth = images["abtem", 0.05, defocus]
            found = images[engine, sampling, defocus]
            cells.append(f"{((found - truth).norm() / (truth - truth.mean()).norm()).item():.3f}")
        inside = images[engine, sampling, 0.0][mask].mean().item()
        name = {"native": "passband", "abtem": "abTEM"}[engine]
        print(f"| {name}, {sampling:g} Å | {cells[0]} | {cells[1]} | {inside:.4f} |")


if __name__ == "__main__":
    main()
