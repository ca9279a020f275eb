"""
Envelopes and exact partial coherence
=====================================

Envelopes are an approximation: they damp the transfer as if focus and tilt averaged amplitudes. ``coherence: quadrature`` averages images instead,
which is exact. This example images one gold particle on carbon under growing focal spread and convergence in both ways, and shows the difference relative
to the contrast.
"""

import torch
from matplotlib import pyplot as plt

from passband.conditions import Condition
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import draw_specimen
from passband.specimens.recipe_files import load_recipe

# %%
# The exit wave of one specimen. An image of it takes milliseconds.
recipe = load_recipe("gold_on_carbon")
config = ExitWaveConfig(energy_ev=300e3, phonon_configurations=1)
[exit_wave] = specimen_exit_waves(recipe, [draw_specimen(recipe, 0)], [0], config)
wave = torch.from_numpy(exit_wave.coefficients)[None]
grid = image_grid(recipe.field_angstrom, config.band_per_angstrom, 0.4)


def contrast(condition: Condition) -> torch.Tensor:
    """Return the expected intensity less that of the beam, shape [n, n]."""
    return expected_intensity(wave, transfer_on_grid(condition, grid), grid)[0] - 1


# %%
# Both ways under each condition. The number of nodes grows with the phases that they average: one axis suffices for the focus, the tilt needs two.
panels = [
    ("focal_spread_angstrom", "focal spread [Å]", [0.0, 10.0, 20.0, 30.0, 40.0, 60.0], 61),
    ("convergence_mrad", "convergence [mrad]", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 15),
]
figure, axes = plt.subplots(1, 2, sharey=True, figsize=(7.2, 3.2), layout="constrained")
for ax, (field, label, widths, nodes) in zip(axes, panels, strict=True):
    for defocus in (60.0, 250.0):
        differences = []
        for width in widths:
            envelopes = Condition(energy_ev=300e3, aberrations={"C10": -defocus, "C30": -5e4}).varied({field: width})
            exact = contrast(envelopes.model_copy(update={"coherence": "quadrature", "quadrature_nodes": nodes}))
            differences.append(float((contrast(envelopes) - exact).norm() / exact.norm()))
            print(f"{label} {width:g}, defocus {defocus:g} Å: {differences[-1]:.2%} of the contrast")
        ax.plot(widths, differences, marker="o", markersize=3, label=f"defocus {defocus:g} Å")
    ax.set(xlabel=f"{label}, standard deviation")
    ax.legend(fontsize=8, frameon=False)
axes[0].set_ylabel("difference, share of the contrast")
