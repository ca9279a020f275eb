"""
From the alignment screen to ε and σ
====================================

You trained a network on images taken (or simulated) at about 50 Å underfocus on a corrected 300 kV microscope. Today the corrector's software shows the table
below. How much of the information that the network learned from is in today's images? The figures go to ``runs/tutorial/``.
"""

import tempfile
from pathlib import Path

from passband.conditions import Condition
from passband.conditions.condition_files import export, load_condition
from passband.metrics import dataset_information, dataset_overlap, information, measure
from passband.metrics.optimize import fit_condition
from passband.report.ctf_page import compare, ctf

OUT = Path("runs/tutorial")

# 1. What the screen shows, in its own notation: a length and an angle with their units. B2 and S3 are the corrector's, with
#    its prefactors; passband converts. What the screen does not show (focal spread, dose, pixel) comes from the instrument.
SCREEN = """
notation: ceos
energy_ev: 300000
C1: -8.4 nm
A1: 3.1 nm, 47 deg
A2: 38 nm, -112 deg
B2: 21 nm, 160 deg
C3: -4.2 um
S3: 0.8 um, 25 deg
focal_spread_angstrom: 20.7
convergence_mrad: 0.1
pixel_size_angstrom: 0.4
dose_per_angstrom2: 400
"""


def main() -> None:
    """Follow the steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "today.yaml"
        path.write_text(SCREEN, encoding="utf-8")
        today = load_condition(path)
    print("1. Today, in passband's notation:")
    for name, value in today.aberrations.items():
        print(f"   {name:<6}{value:>12.4g} {'rad' if name.startswith('phi') else 'Å'}")
    print(f"   and back to the screen's: {export(today, 'ceos')['B2']!r} for B2\n")

    # 2. The network's condition: a preset, whose sources `passband ctf presets` names.
    trained = load_condition(Path("titan_corrected_300kv"))
    epsilon = information([trained, today]).tolist()
    print(
        f"2. ε, the share of the band up to 1 1/Å that reaches the image: trained {epsilon[0]:.3f}, today {epsilon[1]:.3f}\n"
    )

    # 3. The two together. σ is what today keeps of what the network learnt from; the verdict says where it is lost.
    answer = compare(trained, today, 1.0)
    print(f"3. {answer.verdict}")
    print(
        f"   σ = {answer.sigma:.3f}, signed σ = {answer.metrics['signed_overlap']:.3f}, Δε = {answer.delta_epsilon:+.3f}\n"
    )
    ctf(today).save(OUT / "today.svg")
    answer.save(OUT / "trained_and_today.svg")

    # 4. What can be done at the microscope: change the defocus, and perhaps the astigmatism, until today is like the training.
    goal = fit_condition(today, ["defocus_angstrom", "C12", "phi12"], target=trained)
    overlap = measure(["sigma"], [trained], [today, goal])["sigma"][0].tolist()
    print(
        f"4. Nearest that defocus and stigmator reach: defocus {goal.defocus_angstrom:+.0f} Å, C12 {abs(goal.aberrations.get('C12', 0)):.1f} Å;"
    )
    print(f"   σ {overlap[0]:.3f} → {overlap[1]:.3f}\n")

    # 5. And had the network been trained on a range of defoci instead of one?
    several = [trained.varied({"defocus_angstrom": float(d)}) for d in range(-100, 101, 20)]
    print(f"5. A training set of {len(several)} defoci from −100 to +100 Å: mean ε {dataset_information(several):.3f},")
    print(f"   σ(training set, today) {dataset_overlap(several, [today]):.3f} instead of {overlap[0]:.3f}\n")
    assert isinstance(goal, Condition)
    print(f"Figures: {OUT}/today.svg and {OUT}/trained_and_today.svg")


if __name__ == "__main__":
    main()
