"""Measure the waiting time at the microscope: segmenting a 4096² micrograph, a verdict, an estimate; each as a whole process.

python benchmarks/microscope.py
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from rows import Row, write

MODEL = "au-300kv"
CONDITION = """
energy_ev: 300000
aberrations: {C10: -50, C30: -50000, C12: 20, phi12: 0.3}
focal_spread_angstrom: 20
pixel_size_angstrom: 0.4
dose_per_angstrom2: 500
"""


def process(*order: str) -> tuple[float, float]:
    """Return seconds and peak memory [GiB] of a command."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [str(Path(sys.executable).with_name("passband")), *order], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        assert child.stderr is not None
        raise SystemExit(child.stderr.read().decode())
    return time.perf_counter() - began, usage.ru_maxrss / 2**20


def image(path: Path, side: int, pixel: float) -> Path:
    """Write noise under a low-pass filter with a scale, and in it dark discs with fringes, some of which touch: particles take time, too."""
    spectrum = np.fft.rfft2(np.random.default_rng(0).normal(size=(side, side)).astype(np.float32))
    q = np.hypot(np.fft.fftfreq(side, pixel)[:, None], np.fft.rfftfreq(side, pixel)[None])
    smooth = np.fft.irfft2(spectrum * np.exp(-((q / 0.6) ** 2)), s=(side, side))
    draw, (y, x) = np.random.default_rng(2), np.mgrid[:side, :side].astype(np.float32) * np.float32(pixel)
    for _ in range(round((side * pixel / 60) ** 2)):
        (top, left), radius = draw.uniform(0, side, 2).astype(int), draw.uniform(10.0, 20.0)
        reach = int(radius / pixel) + 1
        part = np.s_[max(top - reach, 0) : top + reach, max(left - reach, 0) : left + reach]
        inside = np.hypot(y[part] - top * pixel, x[part] - left * pixel) < radius
        smooth[part] += inside * (0.1 * np.cos(2 * np.pi * (0.8 * y[part] + 0.6 * x[part]) / 2.355) - 0.15)
    counts = np.random.default_rng(1).poisson(20 * np.clip(1 + 2 * smooth, 0, None)).astype(np.uint16)
    tifffile.imwrite(path, counts, imagej=True, resolution=(10 / pixel, 10 / pixel), metadata={"unit": "nm"})
    return path


def main() -> None:
    """Measure each and write its row."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        condition = folder / "condition.yaml"
        condition.write_text(CONDITION)
        orders, rows = {}, []
        for pixel in (0.2, 0.8):
            file = image(folder / f"large_{pixel}.tif", 4096, pixel)
            orders[f"segment 4096² of {pixel:g} Å"] = (
                ["segment", MODEL, str(file), "--out", str(folder / "out")],
                60.0,
            )
        verdict = image(folder / "verdict.tif", 1024, 0.4)
        orders["check an image of 1024²"] = (["check", MODEL, str(verdict), "--energy", "300000"], 3.0)
        orders["check --condition"] = (["check", MODEL, "--condition", str(condition)], 2.0)
        small = image(folder / "small.tif", 2048, 0.4)
        orders["estimate 2048²"] = (["estimate", str(small), "--energy", "300000"], 5.0)
        for work, (order, aim) in orders.items():
            times, memory = zip(*[process(*order) for _ in range(3)], strict=True)
            seconds = float(np.median(times))
            note = f"whole process, {min(times):.2f} to {max(times):.2f} s; {max(memory):.2f} GiB at most"
            rows.append(Row(work, seconds, aim, "s, the most it should take", aim / seconds, 1.0, note=note))
        write(*rows)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
