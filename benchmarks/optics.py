"""Compare CTFs of many conditions with abTEM's, and measure a large matrix of σ within bounded memory.

Run with `make bench`. The CTF rows compare complex t(q) at 512 × 512 frequencies in the default precision of each program.
"""

import resource
import time

import abtem
import numpy as np
import torch
from rows import Row, compared, write
from scipy.spatial.distance import cdist

from passband.analysis.loss_prediction import law
from passband.base.distribution import Distribution
from passband.conditions import Condition
from passband.conditions.notations import abtem as notation
from passband.conditions.sets import ConditionDraw
from passband.metrics.band import Band, View
from passband.metrics.registry import measure
from passband.metrics.texture import measured_texture, texture
from passband.optics import stack, wave_transfer
from passband.simulation import hrtem
from passband.simulation.imaging import normalize
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens.recipe_files import load_recipe

N, EXTENT = 512, 200.0
_CHUNK = 8


def conditions(count: int) -> list[Condition]:
    """Return conditions with every aberration to third order and both envelopes."""
    draw = {
        "defocus_angstrom": Distribution(uniform=[-300.0, 300.0]),
        "C12": Distribution(uniform=[0.0, 50.0]),
        "phi12": Distribution(uniform=[-1.5, 1.5]),
        "C21": Distribution(uniform=[0.0, 1000.0]),
        "phi21": Distribution(uniform=[-3.0, 3.0]),
        "C23": Distribution(uniform=[0.0, 1000.0]),
        "C30": Distribution(uniform=[-1e5, 1e5]),
        "focal_spread_angstrom": Distribution(uniform=[10.0, 40.0]),
        "convergence_mrad": Distribution(uniform=[0.05, 0.3]),
    }
    return ConditionDraw(base=Condition(energy_ev=300e3), draw=draw, count=count, method="random").conditions()


def ctf(count: int = 1000, rounds: int = 3) -> Row:
    """Return conditions per second of both sides, round by round; abTEM computes a tenth of them a round."""
    wanted = conditions(count)
    q = torch.fft.fftfreq(N, EXTENT / N)
    qx, qy = torch.meshgrid(q, q, indexing="ij")
    ours, theirs = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        for i in range(0, count, _CHUNK):
            t = wave_transfer(stack(wanted[i : i + _CHUNK], torch.float32), qx, qy)
        ours.append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        for c in wanted[: count // 10]:
            kernel = abtem.CTF(**notation.write(c), extent=EXTENT, gpts=N)._evaluate_kernel()
        theirs.append(count // 10 / (time.perf_counter() - began))
    # The last kernels of each are the same function, to single precision.
    last = wave_transfer(stack([wanted[count // 10 - 1]]), qx.double(), qy.double())[0].numpy()
    error = float(np.linalg.norm(last - np.asarray(kernel)) / np.linalg.norm(last))
    assert error < 2e-3 and t.shape[-1] == N, error
    note = f"the last kernels agree to {error:.1e} relative L2"
    return compared("CTFs at 512², 1000 conditions", "conditions/s, abTEM CTF", (ours, theirs), note=note)


def sigma_matrix(count: int = 1000, n: int = 256) -> Row:
    """Return seconds and peak memory of σ between all pairs at n² frequencies, beside SciPy's on a sample of rows."""
    wanted = conditions(count)
    q = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1
    qx, qy = (x.flatten() for x in torch.meshgrid(q, q, indexing="ij"))
    band = Band(qx, qy, (torch.hypot(qx, qy) <= 1).double(), torch.ones_like(qx))
    began = time.perf_counter()
    found = measure(["sigma"], wanted, wanted, band=band)["sigma"]
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = 16
    magnitude = View(stack(wanted), band, torch.zeros(count, 3, dtype=torch.float64)).magnitude * band.weight
    values = magnitude.numpy()
    began = time.perf_counter()
    apart = torch.from_numpy(cdist(values[:rows], values, "cityblock"))
    per_row = (time.perf_counter() - began) / rows
    total = magnitude.sum(1)
    plain = 0.5 * (total[:rows, None] + total - apart) / total[:rows, None]
    assert torch.allclose(plain, found[:rows], atol=1e-9)
    note = f"peak of the process {peak:.2f} GiB; SciPy on one core, on CTFs already made, extrapolated from {rows} rows"
    ratio = per_row * count / seconds
    return Row(
        "σ, 1000 × 1000 pairs at 256² frequencies",
        seconds,
        per_row * count,
        "s, SciPy cdist (cityblock)",
        ratio,
        note=note,
    )


def predicted_losses(count: int = 1000, imaged: int = 8) -> Row:
    """Return seconds for the predicted loss of every pair: from analytic texture, and from that of images of a few conditions."""
    recipe, waves = load_recipe("gold_on_carbon"), ExitWaveConfig(phonon_configurations=1)
    stored, masks = hrtem.scatter(recipe, range(16), waves)
    specimens = hrtem.stored_scattering(stored, masks, recipe, waves)
    wanted = [c.varied({"focal_spread_angstrom": 20.0, "dose_per_angstrom2": 500.0}) for c in conditions(count)]
    began = time.perf_counter()
    seen = texture(wanted, specimens)
    predicted = law("log_loss").predict(seen, seen).log_loss
    seconds = time.perf_counter() - began
    assert predicted.shape == (count, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    began = time.perf_counter()
    for condition in wanted[:imaged]:
        images = hrtem.Imager(condition, recipe.field_angstrom, waves).images(stored, masks, seed=1)
        measured_texture(normalize(images.counts), images.masks, condition.pixel_size_angstrom)
    per_condition = (time.perf_counter() - began) / imaged
    return Row(
        "predicted loss, 1000 × 1000 pairs",
        seconds,
        per_condition * count,
        "s, texture of images of 16 specimens a condition",
        per_condition * count / seconds,
        note=f"peak of the process {peak:.2f} GiB; images extrapolated from {imaged} conditions",
    )


if __name__ == "__main__":
    write(sigma_matrix(), ctf(), predicted_losses())
