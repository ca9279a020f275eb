"""
From the alignment screen to ε and σ
====================================

You trained a network on images taken (or simulated) at about 50 Å underfocus on a corrected 300 kV microscope. Today the corrector's software shows other
numbers. How much of the information that the network learned from is in today's images?
"""

from pathlib import Path

import passband as pb
from passband.conditions.condition_files import export
from passband.metrics import dataset_information, dataset_overlap

out = Path("runs/tutorial")
out.mkdir(parents=True, exist_ok=True)

# %%
# 1. What the screen shows, in its own notation: a length and an angle with their units. B2 and S3 are the corrector's, with its prefactors;
# passband converts. What the screen does not show (focal spread, dose, pixel) comes from the instrument.
screen = """
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
(out / "today.yaml").write_text(screen, encoding="utf-8")
today = pb.load_condition(out / "today.yaml")
for name, value in today.aberrations.items():
    print(f"{name:<6}{value:>12.4g} {'rad' if name.startswith('phi') else 'Å'}")
print(f"B2 in the notation of the screen: {export(today, 'ceos')['B2']!r}")

# %%
# 2. What does it transfer? The training condition is a preset, whose sources ``passband ctf presets`` lists.
trained = pb.Condition.preset("titan_corrected_300kv")
print(
    f"ε, the share of the band up to 1 1/Å that is transferred: trained {trained.ctf().epsilon:.3f}, today {today.ctf().epsilon:.3f}"
)
today.ctf().plot()
today.ctf().save(out / "today.svg")

# %%
# 3. Is it the same information? σ is the share of what the training condition transfers that today transfers, too.
comparison = pb.compare(trained, today)
signed = comparison.metrics["signed_overlap"]
print(comparison.verdict)
print(f"σ = {comparison.sigma:.3f}, signed σ = {signed:.3f}, Δε = {comparison.delta_epsilon:+.3f}")
comparison.plot()
comparison.save(out / "trained_and_today.svg")

# %%
# 4. What would help at the microscope? Change the defocus and the astigmatism until today is like the training.
goal = pb.optimize(today, "defocus", "C12", "phi12", target=trained)
print(f"nearest: defocus {goal.defocus_angstrom:+.0f} Å, C12 {abs(goal.aberrations.get('C12', 0)):.1f} Å")
print(f"σ {comparison.sigma:.3f} → {pb.compare(trained, goal).sigma:.3f}")

# %%
# 5. What would help in training? A range of defoci instead of one.
several = pb.sweep(trained, defocus=range(-100, 101, 20)).conditions()
print(f"training set of {len(several)} defoci from −100 to +100 Å: mean ε {dataset_information(several):.3f},")
print(f"σ(training set, today) {dataset_overlap(several, [today]):.3f} instead of {comparison.sigma:.3f}")
print(f"Figures: {out}/today.svg and {out}/trained_and_today.svg")
