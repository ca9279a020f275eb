"""
Axes and angles
===============

In every image, mask, label, table and angle that passband reads or writes, x runs along the columns, to the right, and y along the rows, downwards;
angles count from x towards y. So the same numbers describe a specimen, its image, the particles found in it and the astigmatism estimated from it.
"""

import math

import numpy as np
from matplotlib import pyplot as plt

import passband as pb
from passband.metrics.transfer_curves import transfer_map
from passband.specimens import draw_specimen

# %%
# An astigmatic condition: the focus is longest along phi12.
condition = pb.Condition.preset("titan_corrected_300kv").varied(
    defocus=300, C12=120, phi12=0.5, dose_per_angstrom2=5000
)
recipe = pb.load_recipe("gold_on_carbon")
images = pb.simulate(recipe, condition, n=1)

# %%
# The specimen's particles, at (x, y) in Å, lie on the image's particles. On the right the rings (the square of T) that an amorphous film would show.
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.9), layout="constrained")
side = recipe.field_angstrom
left.imshow(images.images[0], cmap="gray", extent=(0, side, side, 0))
for particle in draw_specimen(recipe, 0).particles:
    x, y, _ = particle.centre
    left.plot(x, y, "+", color="tab:orange", markersize=12)
    left.annotate(
        f"({x:.0f}, {y:.0f})", (x, y), (-22, 34), textcoords="offset points", color="tab:orange", weight="bold"
    )
left.set(title="an image and the centres of its particles", xlabel="x [Å]", ylabel="y [Å]")

q = 0.5
right.imshow(transfer_map(condition, q).T ** 2, cmap="gray", extent=(-q, q, q, -q))
phi = condition.aberrations["phi12"]
right.axline((0, 0), (math.cos(phi), math.sin(phi)), color="tab:orange", label=f"phi12 = {phi:g} rad")
turn = np.linspace(0, phi, 30)
right.plot(0.2 * np.cos(turn), 0.2 * np.sin(turn), color="tab:orange")
right.axhline(0, color="tab:blue", linewidth=1, label="x")
right.set(title="its rings", xlim=(-q, q), ylim=(q, -q), xlabel="qx [1/Å]", ylabel="qy [1/Å]")
right.legend(loc="lower left", fontsize=8)
plt.show()
