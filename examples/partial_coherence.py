"""Where the envelopes of the quasi-coherent approximation part from the exact average over focus and tilt.

    .venv/bin/python examples/partial_coherence.py

Images one gold particle on carbon under growing focal spread and convergence, both ways, and draws the relative difference
of the contrast into docs/images/partial_coherence.{png,svg}.
"""

from pathlib import Path

import torch

from passband.conditions import Condition
from passband.figures import style
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import draw_specimen
from passband.specimens.recipe_files import load_recipe

SPREADS = [0.0, 10.0, 20.0, 30.0, 40.0, 60.0]
CONVERGENCES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def main() -> None:
    """Measure and draw."""
    recipe = load_recipe(Path("studies/recipes/au_on_carbon.yaml"))
    config = ExitWaveConfig(energy_ev=300e3, phonon_configurations=1)
    [exit_wave] = specimen_exit_waves(recipe, [draw_specimen(recipe, 0)], [0], config)
    wave = torch.from_numpy(exit_wave.coefficients)[None]
    grid = image_grid(recipe.field_angstrom, config.band_per_angstrom, 0.4)

    def contrast(condition: Condition) -> torch.Tensor:
        return expected_intensity(wave, transfer_on_grid(condition, grid), grid)[0] - 1

    rows: dict[str, list[tuple[float, float]]] = {}
    # The nodes grow with the phases that they average; one axis needs them for the focus, two for the tilt.
    for field, widths, nodes in (("focal_spread_angstrom", SPREADS, 61), ("convergence_mrad", CONVERGENCES, 15)):
        for defocus in (60.0, 250.0):
            points = []
            for width in widths:
                base = Condition(energy_ev=300e3, aberrations={"C10": -defocus, "C30": -5e4}).varied({field: width})
                exact = contrast(base.model_copy(update={"coherence": "quadrature", "quadrature_nodes": nodes}))
                points.append((width, float((contrast(base) - exact).norm() / exact.norm())))
                print(f"{field} {width:g}, defocus {defocus:g} Å: {points[-1][1]:.2%} of the contrast")
            rows[f"{field}|defocus {defocus:g} Å"] = points
    with style.figure(7.2, 3.2) as made:
        for ax, field, label in zip(
            made.subplots(1, 2, sharey=True),
            ("focal_spread_angstrom", "convergence_mrad"),
            ("focal spread [Å]", "convergence [mrad]"),
            strict=True,
        ):
            for name, points in rows.items():
                if name.startswith(field):
                    ax.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name.partition("|")[2])
            ax.set(xlabel=f"{label}, standard deviation")
            ax.legend(fontsize=8)
        made.axes[0].set_ylabel("difference, share of the contrast")
        style.save(made, Path("docs/images"), "partial_coherence")


if __name__ == "__main__":
    main()
