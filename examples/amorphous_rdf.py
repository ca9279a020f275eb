"""
Radial distribution of the amorphous films
==========================================

Support films are cut from five blocks that come with passband. This example compares their radial distribution functions g(r) with interatomic
distances from diffraction (shaded).
"""

from importlib import resources

import numpy as np
from matplotlib import pyplot as plt

from passband.specimens.radial_distribution import radial_distribution

BLOCKS = resources.files("passband.specimens").joinpath("blocks")
#: Half the width of a band [Å]. It is no error bar; it only makes the line visible under the curve.
BAND = 0.03
CARBON = {
    "neutrons, sputtered (Li & Lannin 1990)": [1.46, 2.49],
    "electrons, evaporated (Kakinoki et al. 1960)": [1.50, 2.53],
}
SILICA = {"X-ray, glass (Mozzi & Warren 1969)": [1.62, 2.65, 3.12]}
NITRIDE = {"neutrons, deposited from vapour (Misawa et al. 1979)": [1.73, 2.83, 3.01]}
PANELS = [
    ("carbon", ["carbon_1.8", "carbon_2.0", "carbon_2.2"], CARBON, ["C–C", "second"]),
    ("silica", ["silica_2.2"], SILICA, ["Si–O", "O–O", "Si–Si"]),
    ("silicon nitride", ["silicon_nitride_3.0"], NITRIDE, ["Si–N", "N–N   ", "   Si–Si"]),
]
#: Between the curves of one panel.
OFFSET = 4.0
COLOURS = ["tab:orange", "tab:green"]

figure, axes = plt.subplots(3, 1, sharex=True, height_ratios=[2, 1, 1], figsize=(7.2, 8.0), layout="constrained")
for ax, (title, names, published, labels) in zip(axes, PANELS, strict=True):
    for (source, distances), colour in zip(published.items(), COLOURS, strict=False):
        for distance in distances:
            label = source if distance == distances[0] else None
            ax.axvspan(distance - BAND, distance + BAND, color=colour, alpha=0.35, linewidth=0, label=label)
    top = OFFSET * len(names) + 5.5
    for row, name in enumerate(names):
        with BLOCKS.joinpath(f"{name}.npz").open("rb") as file:
            block = np.load(file, allow_pickle=False)
            edge = float(block["edge_angstrom"])
            r, g = radial_distribution(block["fractions"] / 65536 * edge, np.full(3, edge), 10.0, 250)
        ax.plot(r, g + row * OFFSET, color="black", linewidth=1, zorder=3 - row)
        ax.axhline(1 + row * OFFSET, color="0.8", linewidth=0.6, zorder=0)
        ax.text(7.95, 1.3 + row * OFFSET, f"{name.rpartition('_')[2]} g/cm³", ha="right")
        if g.max() + row * OFFSET > top:
            ax.text(r[g.argmax()] - 0.1, 0.9 * top, f"up to {g.max():.0f}", ha="right", fontsize=8)
        print(f"{name}: maximum at {r[g.argmax()]:.2f} Å")
    for distance, label in zip(next(iter(published.values())), labels, strict=True):
        ax.text(distance, 1.01, label, ha="center", fontsize=7, transform=ax.get_xaxis_transform())
    ax.set(ylim=(0, top), ylabel="g(r)" + (f", offset by {OFFSET:g} each" if len(names) > 1 else ""))
    ax.set_title(title, loc="left", pad=14)
    ax.legend(loc="upper right", fontsize=8, frameon=False)
axes[-1].set(xlim=(0.8, 8), xlabel="r [Å]")
