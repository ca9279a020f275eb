"""Compare CTFs of many conditions with abTEM's, and measure a large matrix of σ within bounded memory.

Run with `make bench`. The CTF rows compare complex t(q) at 512 × 512 frequencies in the default precision of each program. One core
on both sides, and its time: on a busy machine, clocks on the wall measure the neighbours.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import resource
import time
from typing import Any

import abtem
import numpy as np
import torch
from rows import Row, alternate, compared, write
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


def ctf(count: int = 1000, rounds: int = 5) -> Row:
    """Return conditions per second of both sides, round by round; abTEM computes a tenth of them a round."""
    wanted = conditions(count)
    q = torch.fft.fftfreq(N, EXTENT / N)
    qx, qy = torch.meshgrid(q, q, indexing="ij")
    last: dict[str, Any] = {}

    def ours() -> float:
        for i in range(0, count // 4, _CHUNK):
            last["t"] = wave_transfer(stack(wanted[i : i + _CHUNK], torch.float32), qx, qy)
        return count // 4

    def theirs() -> float:
        for c in wanted[: count // 10]:
            last["kernel"] = abtem.CTF(**notation.write(c), extent=EXTENT, gpts=N)._evaluate_kernel()
        return count // 10

    rates = alternate(ours, theirs, rounds, time.process_time)
    # The last kernels of each are the same function, to single precision.
    exact = wave_transfer(stack([wanted[count // 10 - 1]]), qx.double(), qy.double())[0].numpy()
    error = float(np.linalg.norm(exact - np.asarray(last["kernel"])) / np.linalg.norm(exact))
    assert error < 2e-3 and last["t"].shape[-1] == N, error
    note = f"one core; the last kernels agree to {error:.1e} relative L2"
    return compared("CTFs at 512², 1000 conditions", "conditions/s, abTEM CTF", rates, note=note)


def sigma_matrix(count: int = 1000, n: int = 256, rows: int = 16) -> Row:
    """Return pairs per second of σ between all pairs at n² frequencies, and peak memory, beside SciPy's on some rows."""
    wanted = conditions(count)
    q = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1
    qx, qy = (x.flatten() for x in torch.meshgrid(q, q, indexing="ij"))
    band = Band(qx, qy, (torch.hypot(qx, qy) <= 1).double(), torch.ones_like(qx))
    some = wanted[: count // 4]
    found = measure(["sigma"], some, wanted, band=band)["sigma"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    magnitude = View(stack(wanted), band, torch.zeros(count, 3, dtype=torch.float64)).magnitude * band.weight
    values = magnitude.numpy()
    apart = torch.from_numpy(cdist(values[:rows], values, "cityblock"))
    total = magnitude.sum(1)
    plain = 0.5 * (total[:rows, None] + total - apart) / total[:rows, None]
    assert torch.allclose(plain, found[:rows], atol=1e-9)

    def ours() -> float:
        measure(["sigma"], some, wanted, band=band)
        return len(some) * count

    def theirs() -> float:
        cdist(values[:rows], values, "cityblock")
        return rows * count

    note = f"one core; peak of the process {peak:.2f} GiB; SciPy on CTFs already made, {rows} rows of {count} a round, ours {len(some)}"
    return compared(
        "σ, 1000 × 1000 pairs at 256² frequencies",
        "pairs/s, SciPy cdist (cityblock)",
        alternate(ours, theirs, 3, time.process_time),
        note=note,
    )


def predicted_losses(count: int = 1000, imaged: int = 8) -> Row:
    """Return seconds for the predicted loss of every pair: from analytic texture, and from that of images of a few conditions."""
    recipe, waves = load_recipe("gold_on_carbon"), ExitWaveConfig(phonon_configurations=1)
    stored, masks = hrtem.scatter(recipe, range(16), waves)
    specimens = hrtem.stored_scattering(stored, masks, recipe, waves)
    wanted = [c.varied({"focal_spread_angstrom": 20.0, "dose_per_angstrom2": 500.0}) for c in conditions(count)]

    def ours() -> float:
        seen = texture(wanted, specimens)
        assert law("log_loss").predict(seen, seen).log_loss.shape == (count, count)
        return count

    def theirs() -> float:
        for condition in wanted[:imaged]:
            images = hrtem.Imager(condition, recipe.field_angstrom, waves).images(stored, masks, seed=1)
            measured_texture(normalize(images.counts), images.masks, condition.pixel_size_angstrom)
        return imaged

    rates = alternate(ours, theirs, 3, time.process_time)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = f"one core; peak of the process {peak:.2f} GiB; images of {imaged} conditions"
    unit = "conditions/s, texture of images of 16 specimens a condition"
    return compared("predicted loss, 1000 × 1000 pairs", unit, rates, note=note)


if __name__ == "__main__":
    for measured in (ctf, predicted_losses, sigma_matrix):
        write(measured())
