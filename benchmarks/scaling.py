"""Estimate FLOPs, bytes and seconds of a wave, an image and a training step on three machines, and of whole studies.

    python benchmarks/scaling.py

Counts operations by formula (waves, images) and with PyTorch's counter (networks), measures the same work and the peak rates of one core,
and writes docs/scaling.md and docs/images/scaling.png. The peak rates of an H100 are from its data sheet: 67 TFLOP/s in float32, 3.35 TB/s.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rows import CORES, RESULTS, machine
from torch.utils.flop_counter import FlopCounterMode

from passband.figures import style
from passband.learning import build, segmentation_loss
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice.engine import exit_waves
from passband.specimens import draw_specimen
from passband.studies.study import load_study

ROOT = Path(__file__).parent.parent
H100 = (67e12, 3.35e12)


@dataclass(frozen=True)
class Work:
    """One unit of work: what it is, operations, bytes through memory, and seconds measured on one core."""

    name: str
    flops: float
    moved: float
    seconds: float

    def bound(self, flops: float, bandwidth: float) -> float:
        """Return the least seconds on a machine of these peaks."""
        return max(self.flops / flops, self.moved / bandwidth)


def seconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return sorted(times)[3]


def fft(n: int) -> float:
    """FLOPs of a complex transform of n² points, by the usual count."""
    return 5 * n**2 * math.log2(n**2)


def peaks() -> tuple[float, float]:
    """Return FLOP/s of a matrix product and bytes/s of a copy, on one core."""
    a, big = torch.randn(1024, 1024), torch.empty(2**26)
    out = torch.empty_like(big)
    return 2 * 1024**3 / seconds(lambda: a @ a), 2 * 4 * 2**26 / seconds(lambda: out.copy_(big))


def measure() -> list[Work]:
    study = load_study(ROOT / "studies/defocus.yaml")
    recipe, config, condition = study.recipes[""], study.exit_waves, study.test_conditions[0]
    atoms = draw_specimen(recipe, 0).atoms
    n, slices = config.grid_points(recipe.field_angstrom), math.ceil(atoms.cell[2, 2] / 2)
    one = config.model_copy(update={"phonon_configurations": 1})
    # A slice: two complex transforms of ψ, one real of each element's atoms (1.3 on average), two real ones of w, two thirds
    # of which are over the band alone; and 40 operations a point for exp, cos, sin and the products.
    slice_flops = (2 + 0.5 * 1.3 + 0.83) * fft(n) + 40 * n**2
    # Each transform reads and writes ψ twice, each product once more.
    slice_bytes = (2 * 4 + 1.3 * 2 + 2 * 2 + 6) * 8 * n**2
    wave = Work(
        f"exit wave, {n}², {slices} slices, one configuration", slices * slice_flops, slices * slice_bytes,
        seconds(lambda: exit_waves([atoms], one, recipe.displacements(), [0])),
    )  # fmt: skip
    [made] = exit_waves([atoms], config, recipe.displacements(), [0])
    coefficients = torch.from_numpy(made.coefficients)[None].expand(16, -1, -1)
    grid = image_grid(recipe.field_angstrom, config.band_per_angstrom, condition.pixel_size_angstrom)
    transfer, p = transfer_on_grid(condition, grid), config.phonon_configurations
    image = Work(
        f"image, {grid.pixels}² from {grid.fine}², {p} configurations",
        p * 0.83 * fft(grid.fine) + 4 * p * grid.fine**2 + 0.4 * fft(grid.fine) + fft(grid.pixels),
        (p * 4 * 8 + 3 * 4) * grid.fine**2,
        seconds(lambda: expected_intensity(coefficients, transfer, grid)) / 16,
    )
    model, batch = build(study.network), study.training.batch_size
    inputs, truth = torch.randn(batch, 1, grid.pixels, grid.pixels), torch.ones(batch, 1, grid.pixels, grid.pixels)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        segmentation_loss(model(inputs), truth).mean().backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    # Every layer's output is written and read by convolution, normalisation and rectifier, there and back.
    sizes: list[int] = []
    hooks = [
        m.register_forward_hook(lambda module, given, made: sizes.append(made.numel()))
        for m in model.modules()
        if isinstance(m, torch.nn.Conv2d)
    ]
    model(inputs)
    for hook in hooks:
        hook.remove()
    trained = Work(
        f"training, an image of {grid.pixels}²",
        counter.get_total_flops() / batch,
        18 * 4 * sum(sizes) / batch,
        seconds(step) / batch,
    )
    model.eval()
    with torch.no_grad():
        tested = Work(
            f"inference, an image of {grid.pixels}²",
            trained.flops / 3,
            6 * 4 * sum(sizes) / batch,
            seconds(lambda: model(inputs)) / batch,
        )
    return [wave, image, trained, tested]


def clock(value: float) -> str:
    for unit, size in (("years", 3.15e7), ("days", 86400), ("hours", 3600), ("minutes", 60), ("s", 1), ("ms", 1e-3)):
        if value >= size * (2 if size >= 60 else 1):
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def study_seconds(units: list[float], networks: int, conditions: int, images: int) -> float:
    """Return the seconds of a study: 1000 specimens, test images of 100, training and all tests."""
    wave, image, trained, tested = units
    return 1000 * 2 * wave + networks * (images * trained + 1000 * image) + networks * conditions * 100 * tested


def draw(work: list[Work], core: tuple[float, float]) -> None:
    """Draw the roofs and where the work lies under them."""
    with style.figure(6.4, 4.4) as made:
        ax = made.subplots()
        x = [10 ** (i / 20) for i in range(-20, 81)]
        for name, (flops, bandwidth), color in (
            ("one core here", core, "#4c78a8"),
            ("H100, data sheet", H100, "#d98c5f"),
        ):
            ax.plot(x, [min(flops, bandwidth * i) / 1e9 for i in x], color=color, label=name)
        for w, mark in zip(work, "osD^", strict=True):
            ax.plot(w.flops / w.moved, w.flops / w.seconds / 1e9, mark, color="black", ms=6, label=w.name)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("operations a byte")
        ax.set_ylabel("GFLOP/s")
        ax.legend(fontsize=7)
        style.save(made, ROOT / "docs/images", "scaling", formats=("png",))


def _session() -> list[str]:
    """Return lines about the studies that `tools/gpu_session` ran on a GPU."""
    session = json.loads((ROOT / "docs/results/tables/gpu_session.json").read_text(encoding="utf-8"))
    name, study = list(session["studies"].items())[-1]
    seconds, images = study["stages_s"], study["images"]
    return [
        f"On an {session['device']}, `python tools/gpu_session run replication/studies/{name}.yaml --out FOLDER` trained {study['networks']} networks in",
        f"{seconds['networks']:.0f} s ({images / seconds['networks']:,.0f} images a second, validation included, {session['group']} networks at a time) and tested each on {study['tests'] // study['networks']} conditions in {seconds['tests']:.0f} s.",
    ]


def driver() -> list[str]:
    """Return lines about the work of the driver, from the rows of `large_study.py` on this machine; none without them."""
    content = json.loads((RESULTS / f"{machine()}.json").read_text(encoding="utf-8"))
    start = "12,000 networks × 200 conditions, stubs: "
    row = {r["name"].removeprefix(start): r for r in content["rows"] if r["name"].startswith(start)}
    if not row.keys() >= {"a network through Dask", "memory of the driver", "tables", "status", "resume"}:
        return []
    task, memory = row["a network through Dask"]["ours"] / 1e3, row["memory of the driver"]["ours"]
    seen, again, merged = (row[name]["ours"] for name in ("status", "resume", "tables"))
    groups = 12_000 // 32
    return [
        "",
        "## The driver",
        "",
        f"`python benchmarks/large_study.py` ran 12,000 networks × 200 conditions with stubs for the science, on {CORES} cores that two workers, the",
        f"scheduler and the driver shared: {1e3 * task:.0f} ms of core time a network in driver and scheduler, and at most {memory:.1f} GiB in the driver. Its tables then took {merged:.0f} s,",
        f"`study status` {seen:.1f} s, and a run that was started again knew after {again:.1f} s that nothing was missing.",
        "",
        f"At that rate 64 GPUs would wait for the driver if each network were a task: {12_000 * task:.0f} s against their bound of half a minute. With `--fleet 32`",
        f"they are {groups} tasks, and {groups * task:.0f} s.",
    ]


def main() -> None:
    torch.set_num_threads(1)
    core, work = peaks(), measure()
    draw(work, core)
    lines = [
        "# Cost on paper",
        "",
        f"Made by `python benchmarks/scaling.py` on {machine()}: one core multiplies matrices at {core[0] / 1e9:.0f} GFLOP/s and copies",
        f"{core[1] / 1e9:.1f} GB/s. An H100 is its data sheet: 67 TFLOP/s in float32, 3.35 TB/s. A bound is the larger of operations over",
        "FLOP/s and bytes over bandwidth.",
        "",
        "| work | MFLOP | MB moved | measured, one core | bound, one core | bound, H100 |",
        "|---|---|---|---|---|---|",
    ]
    for w in work:
        bounds = [clock(w.bound(*core)), clock(w.bound(*H100))]
        lines.append(
            f"| {w.name} | {w.flops / 1e6:.0f} | {w.moved / 1e6:.1f} | {clock(w.seconds)} | {bounds[0]} | {bounds[1]} |"
        )
    lines += [
        "",
        "![Roofs and where the work lies](images/scaling.png)",
        "",
        "*Networks this narrow are bound by memory and by the start of each operation, not by arithmetic: on a GPU a single one leaves it",
        "idle, which is what training many at once (`--fleet`) is for. [Benchmarks](benchmarks.md) has what one GPU reached.*",
        "",
        *_session(),
        "",
        "## Whole studies",
        "",
        "Networks as the demo's, 32,000 training images each (1000 specimens), 100 test images under each condition. Measured is this",
        f"machine's core, {CORES} of them; the rest are bounds, which nothing reaches.",
        "",
        f"| networks | conditions | {CORES} cores here, measured rates | H100, bound | 64 H100, bound | disk |",
        "|---|---|---|---|---|---|",
    ]
    measured, bound = [w.seconds for w in work], [w.bound(*H100) for w in work]
    for networks, conditions in ((22, 11), (12_000, 200), (1_000_000, 1000)):
        here = study_seconds(measured, networks, conditions, 32_000) / CORES
        one = study_seconds(bound, networks, conditions, 32_000)
        disk = 1000 * 0.36e6 + networks * 0.4e6 + networks * conditions * 100 * 12
        lines.append(
            f"| {networks:,} | {conditions:,} | {clock(here)} | {clock(one)} | {clock(one / 64)} | {disk / 1e9:.3g} GB |"
        )
    lines += driver()
    (ROOT / "docs/scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
