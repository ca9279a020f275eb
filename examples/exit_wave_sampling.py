"""
Sampling of the potential
=========================

How the grid of the multislice changes images, for passband's engine and for abTEM's (``pip install 'passband[abtem]'``). Prints the table of the page
on exit waves for the first specimen of the demo: the difference from abTEM at 0.05 Å relative to the contrast, and the mean intensity over the particle.

It takes about ten minutes, so it does not run when this site is built.
"""

import torch

from passband.conditions import Condition
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import draw_specimen, particle_mask
from passband.specimens.recipe_files import load_recipe

CHOICES = [("native", 0.2), ("native", 0.1), ("abtem", 0.2), ("abtem", 0.1), ("abtem", 0.05)]
DEFOCI = (0.0, 100.0)

recipe = load_recipe("gold_on_carbon")
specimen = draw_specimen(recipe, 0)
grid = image_grid(recipe.field_angstrom, 1.5, 0.4)
mask = torch.from_numpy(particle_mask(specimen, grid.pixels))

# %%
# Images of the same atoms, with each engine and sampling.
images = {}
for engine, sampling in CHOICES:
    config = ExitWaveConfig.model_validate(
        {"engine": engine, "sampling_angstrom": sampling, "phonon_configurations": 1}
    )
    [wave] = specimen_exit_waves(recipe, [specimen], [0], config)
    for defocus in DEFOCI:
        condition = Condition(energy_ev=300e3, aberrations={"C10": -defocus, "C30": -5e4}, focal_spread_angstrom=20.0)
        coefficients = torch.from_numpy(wave.coefficients)[None]
        images[engine, sampling, defocus] = expected_intensity(coefficients, transfer_on_grid(condition, grid), grid)[0]

# %%
# The finest grid of abTEM is the reference.
for engine, sampling in CHOICES:
    cells = []
    for defocus in DEFOCI:
        reference = images["abtem", 0.05, defocus]
        difference = images[engine, sampling, defocus] - reference
        cells.append(f"{(difference.norm() / (reference - reference.mean()).norm()).item():.3f}")
    inside = images[engine, sampling, 0.0][mask].mean().item()
    name = {"native": "passband", "abtem": "abTEM"}[engine]
    print(f"| {name}, {sampling:g} Å | {' | '.join(cells)} | {inside:.4f} |")
