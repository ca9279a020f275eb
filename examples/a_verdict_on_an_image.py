"""
A verdict on an image
=====================

Does the bundled model work on this image? A simulated image stands for a micrograph here, so that the answer can be compared with the ground truth.
For your own, use ``shot = pb.read_micrographs("image.dm4")[0]``.
"""

from matplotlib import pyplot as plt

import passband as pb

# %%
# The imaging condition of the day, and an image under it.
today = pb.Condition(
    energy_ev=300e3,
    aberrations={"C10": -100.0, "C30": -5e4},
    focal_spread_angstrom=25.0,
    pixel_size_angstrom=0.4,
    dose_per_angstrom2=600.0,
)
images = pb.simulate("gold_on_carbon_wide", today, n=1)
shot = images[0]

# %%
# Segment it: particles are outlined.
model = pb.load_model("au-300kv")
segmentation = pb.segment(model, shot)
print(segmentation)
plt.imshow(segmentation.overlay())
_ = plt.axis("off")

# %%
# Ask whether the model works on this image, with the reasons.
verdict = pb.check(model, image=shot)
print(verdict)

# %%
# Here the truth is known.
mask = images.masks[0]
both = (segmentation.mask & mask).sum()
print(f"Dice {2 * both / (segmentation.mask.sum() + mask.sum()):.3f}")

# %%
# The model can also be asked about the condition, without an image.
print(pb.check(model, today))
