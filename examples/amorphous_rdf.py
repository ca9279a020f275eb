"""The radial distribution functions of the amorphous blocks, beside the distances that diffraction gives.

    .venv/bin/python examples/amorphous_rdf.py

Draws docs/images/amorphous_rdf.png from the five blocks that support films are cut from.
"""

from pathlib import Path

import numpy as np

from passband.figures import style
from passband.specimens.radial_distribution import radial_distribution

BLOCKS = Path(__file__).parent.parent / "src" / "passband" / "specimens" / "blocks"
# Half the width of a band [Å]; it stands for no error, it only makes the line visible under the curve.
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
OFFSET = 4.0
COLOURS = ["tab:orange", "tab:green"]


def main() -> None:
    """Measure and draw."""
    with style.figure(7.2, 8.0) as made:
        axes = made.subplots(3, 1, sharex=True, height_ratios=[2, 1, 1])
        for ax, (title, names, published, labels) in zip(axes, PANELS, strict=True):
            for (source, distances), colour in zip(published.items(), COLOURS, strict=False):
                for at in distances:
                    name = source if at == distances[0] else None
                    ax.axvspan(at - BAND, at + BAND, color=colour, alpha=0.35, linewidth=0, label=name)
            top = OFFSET * len(names) + 5.5
            for row, name in enumerate(names):
                with np.load(BLOCKS / f"{name}.npz", allow_pickle=False) as block:
                    edge = float(block["edge_angstrom"])
                    r, g = radial_distribution(block["fractions"] / 65536 * edge, np.full(3, edge), 10.0, 250)
                ax.plot(r, g + row * OFFSET, color="black", linewidth=1, zorder=3 - row)
                ax.axhline(1 + row * OFFSET, color="0.8", linewidth=0.6, zorder=0)
                ax.text(7.95, 1.3 + row * OFFSET, f"{name.rpartition('_')[2]} g/cm³", ha="right")
                if g.max() + row * OFFSET > top:
                    ax.text(r[g.argmax()] - 0.1, 0.9 * top, f"up to {g.max():.0f}", ha="right", fontsize=8)
                print(f"{name}: highest at {r[g.argmax()]:.2f} Å")
            for at, label in zip(next(iter(published.values())), labels, strict=True):
                ax.text(at, 1.01, label, ha="center", fontsize=7, transform=ax.get_xaxis_transform())
            ax.set(ylim=(0, top), ylabel="g(r)" + (f", each {OFFSET:g} higher" if len(names) > 1 else ""))
            ax.set_title(title, loc="left", pad=14)
            ax.legend(loc="upper right", fontsize=8)
        axes[-1].set(xlim=(0.8, 8), xlabel="r [Å]")
        style.save(made, Path("docs/images"), "amorphous_rdf", formats=("png",))


if __name__ == "__main__":
    main()
