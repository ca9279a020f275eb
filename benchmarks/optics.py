"""CTFs for many conditions beside abTEM's, and a large matrix of σ within its memory: both measured here, in one run.

Run with `make bench`. The CTF rows compare complex t(q) at 512 × 512 frequencies in the precision that each uses by default.
"""

import json
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import abtem
import numpy as np
import torch
from scipy.spatial.distance import cdist

from passband.conditions import ImagingCondition
from passband.distributions import ConditionDraw
from passband.optics import stack, wave_transfer
from passband.optics.notations import abtem as notation
from passband.shift.band import Band, View
from passband.shift.registry import measure
from passband.spreads import Spread

N, EXTENT = 512, 200.0
_CHUNK = 8


def conditions(count: int) -> list[ImagingCondition]:
    """Return conditions with every aberration to third order and both envelopes."""
    draw = {
        "defocus_angstrom": Spread(uniform=[-300.0, 300.0]),
        "C12": Spread(uniform=[0.0, 50.0]),
        "phi12": Spread(uniform=[-1.5, 1.5]),
        "C21": Spread(uniform=[0.0, 1000.0]),
        "phi21": Spread(uniform=[-3.0, 3.0]),
        "C23": Spread(uniform=[0.0, 1000.0]),
        "C30": Spread(uniform=[-1e5, 1e5]),
        "focal_spread_angstrom": Spread(uniform=[10.0, 40.0]),
        "convergence_mrad": Spread(uniform=[0.05, 0.3]),
    }
    return ConditionDraw(base=ImagingCondition(energy_ev=300e3), draw=draw, count=count, method="random").conditions()


def ctf(count: int = 1000, rounds: int = 3) -> dict[str, Any]:
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
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "unit": "conditions/s",
        "other": "abTEM CTF",
        "passband": statistics.median(ours),
        "other_rate": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def sigma_matrix(count: int = 1000, n: int = 256) -> dict[str, Any]:
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
    return {
        "unit": "seconds",
        "other": "scipy cdist (cityblock), extrapolated from 16 rows",
        "passband": seconds,
        "other_rate": per_row * count,
        "ratio": per_row * count / seconds,
        "ratios": [per_row * count / seconds],
        "peak_gib_of_the_process": peak,
    }


def main() -> None:
    """Measure, print and write results_optics.json."""
    results = {}
    print(f"{'what':<42}{'passband':>12}{'other':>12}  {'ratio':>6}  unit, other side")
    results["σ, 1000 × 1000 pairs, 256² frequencies"] = matrix = sigma_matrix()
    results["CTF at 512², 1000 conditions"] = ctf()
    for name, row in results.items():
        print(
            f"{name:<42}{row['passband']:>12.1f}{row['other_rate']:>12.1f}  {row['ratio']:>6.2f}  {row['unit']}, {row['other']}"
        )
    print(f"peak memory of the σ process: {matrix['peak_gib_of_the_process']:.2f} GiB")
    machine = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "abtem": abtem.__version__,
        "threads": torch.get_num_threads(),
    }
    Path(__file__).with_name("results_optics.json").write_text(
        json.dumps({"machine": machine, "results": results}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
