"""Write docs/what_it_takes.md: what each job takes on a laptop, a workstation with one GPU, and a cluster.

    python benchmarks/what_it_takes.py

Every figure follows from benchmarks/results and from the studies that were trained on a GPU (docs/results/tables/gpu_session.json):
measured, or computed from measured rates and marked as such. Nothing is measured here, but where a row is missing, the page says so.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import RESULTS

from passband.studies.study import Study, load_study

ROOT = Path(__file__).parent.parent
CPU = "amd-epyc-2-cores"
#: Cores of the machine that measured, of a laptop, and of a cluster; GPUs of a cluster.
HERE, LAPTOP, CLUSTER, GPUS = 2, 4, 512, 64
NONE = "not measured"
# What a session measures of networks as the demo's.
SESSION = "GPU: a study (gpu_defocus)"


@dataclass(frozen=True)
class Work:
    """A study's size: networks, conditions each is tested under, images that train one, test images a condition, and specimens."""

    networks: int
    conditions: int
    training_images: int
    test_images: int
    specimens: int


def rows(machine: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a machine by name."""
    content = json.loads((RESULTS / f"{machine}.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in content["rows"]}


def gpu_rows() -> dict[str, dict[str, Any]]:
    """Return the rows of the GPU that was measured last."""
    dates = {path.stem: json.loads(path.read_text(encoding="utf-8"))["date"] for path in RESULTS.glob("nvidia-*.json")}
    return rows(max(dates, key=lambda machine: (dates[machine], machine)))


def first(found: dict[str, dict[str, Any]], start: str) -> dict[str, Any] | None:
    """Return the row whose name begins so, if there is one."""
    return next((row for name, row in found.items() if name.startswith(start)), None)


def seconds(value: float | None, mark: str = "") -> str:
    """Return a time to two or three figures; marks: ≈ computed from measured rates, ≤ on one core, ≥ a bound."""
    if value is None:
        return NONE
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{mark}{value / size:.{1 if value < 10 * size else 0}f} {unit}"
    return f"{mark}{value:.{1 if value < 10 else 0}f} s"


class Cores:
    """Core-seconds of studies, from what one core was measured to do."""

    def __init__(self, found: dict[str, dict[str, Any]]):
        """Take the rates: training on one core, tests on one core, and exit waves of 8 configurations on all cores."""
        self.training = _rate(first(found, "training, one core"))
        self.tests = _rate(first(found, "a test with scores of particles, 128²"))
        waves = _rate(first(found, "exit waves, 256²"))
        self.waves = None if waves is None else waves * 8 / HERE
        dask = first(found, "4 Dask workers in 4 processes")
        self.share = None if dask is None else dask["ratio"]

    def seconds(self, work: Work, phonons: int = 2) -> float | None:
        """Return core-seconds of a study."""
        if self.training is None or self.tests is None or self.waves is None:
            return None
        tested = work.networks * work.conditions * work.test_images / self.tests
        return work.specimens * phonons / self.waves + work.networks * work.training_images / self.training + tested


def _rate(row: dict[str, Any] | None) -> float | None:
    return None if row is None else row["ours"]


class Gpu:
    """Seconds of studies on one GPU: those of a session (`tools/gpu_session`), or else of the studies that were trained before there were any."""

    def __init__(self, found: dict[str, dict[str, Any]]):
        """Take the rates of training and of tests, in images a second."""
        rows = [first(found, f"{SESSION}, {what}") for what in ("training", "tests")]
        if rows[0] is not None and rows[1] is not None:
            self.training, self.testing = (float(row["ours"]) for row in rows if row is not None)
            self.source = f"A session trained and tested networks as the demo's: {rows[0]['note'].partition(';')[0]}"
            return
        session = json.loads((ROOT / "docs/results/tables/gpu_session.json").read_text(encoding="utf-8"))
        whole = {name: study for name, study in session["studies"].items() if "stages_s" in study}
        name = max(whole, key=lambda n: whole[n]["images"] / whole[n]["stages_s"]["networks"])
        study, stages = whole[name], whole[name]["stages_s"]
        images = load_study(ROOT / f"replication/studies/{name}.yaml").split.test
        self.training, self.testing = study["images"] / stages["networks"], study["tests"] * images / stages["tests"]
        self.source = (
            f"An {session['device']} trained {study['networks']} such networks in {seconds(stages['networks'])} and tested each on "
            f"{study['tests'] // study['networks']} conditions of {images} images in {seconds(stages['tests'])} (`{name}`)"
        )

    def seconds(self, work: Work) -> float:
        """Return the seconds of training and tests; exit waves are made on the cores meanwhile."""
        tested = work.networks * work.conditions * work.test_images / self.testing
        return work.networks * work.training_images / self.training + tested


def of(study: Study, networks: int, conditions: int) -> Work:
    """Return the size of a study whose networks are trained and tested as this one's, validation not counted."""
    split = study.split
    return Work(networks, conditions, study.training.epochs * split.train, split.test, split.total)


def table(cores: Cores, gpu: Gpu, found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of jobs."""
    lines = [
        f"| job | 2 cores | laptop, {LAPTOP} cores | workstation, one GPU | cluster, {CLUSTER} cores | cluster, {GPUS} GPUs |",
        "|---|---|---|---|---|---|",
    ]
    single = {
        "segment an image of 4096² (0.2 Å)": "segment 4096² of 0.2",
        "check an image of 1024²": "check an image",
        "check a condition": "check --condition",
        "estimate the optics of an image of 2048²": "estimate 2048²",
        "predict the loss of 1000 × 1000 pairs": "predicted loss, 1000",
        "choose 16 training conditions (`design`)": "design of 16",
        "tune a model on 8 images of 256²": "tune a model on 8",
    }
    for job, start in single.items():
        row = first(found, start)
        # A row has seconds, or conditions a second of a thousand.
        value = None if row is None else row["ours"] if row["unit"].startswith("s") else 1000 / row["ours"]
        mark = "≤ " if row is not None and "one core" in row["unit"] + row["note"] else ""
        lines.append(f"| {job} | {seconds(value, mark)} | as on 2 cores | as on 2 cores | – | – |")
    demo, row = load_study(ROOT / "studies/defocus.yaml"), first(found, "demo study, end to end")
    works = {
        "the demo: 22 networks × 11 conditions": of(demo, 22, 11),
        "100 networks × 10 conditions, trained as the demo's": of(demo, 100, 10),
        "12,000 networks × 200 conditions, 32,000 training images each": Work(12_000, 200, 32_000, 100, 1000),
    }
    for job, work in works.items():
        core, one = cores.seconds(work), gpu.seconds(work)
        here = seconds(row["ours"]) if row and job.startswith("the demo") else _share(core, HERE)
        scaled = None if core is None or cores.share is None else core / (CLUSTER * cores.share)
        small = work.networks < 1000
        many = "too small" if small else seconds(scaled, "≈ ")
        most = "too small" if small else seconds(one / GPUS, "≥ ")
        lines.append(
            f"| {job} | {here} | {_share(core, LAPTOP)} | {seconds(one, '≈ ')}{', and the start' * small} | {many} | {most} |"
        )
    analysis = first(found, "analysis of 12,000 networks")
    lines.append(
        f"| tables and fits of 12,000 networks × 200 conditions | {seconds(_rate(analysis))} | as on 2 cores | as on 2 cores | – | – |"
    )
    return lines


def _share(core_seconds: float | None, cores: int) -> str:
    return seconds(None if core_seconds is None else core_seconds / cores, "≈ ")


def page() -> str:
    """Return the page."""
    found, device = rows(CPU), gpu_rows()
    cores, gpu = Cores(found), Gpu(device)
    demo = first(found, "demo study, end to end")
    computed = cores.seconds(of(load_study(ROOT / "studies/defocus.yaml"), 22, 11))
    check = ""
    if demo is not None and computed is not None:
        check = f"Computed this way, the demo takes {seconds(computed / HERE)} on {HERE} cores; measured are {seconds(demo['ours'])}, with tables and report. "
    fleet = first(device, "GPU: fleets")
    large = ""
    if fleet is not None:
        days = 12_000 * 32_000 / fleet["ours"]
        large = (
            f"Networks of 16 channels on images of 256² are trained at {fleet['ours']:,.0f} images a second on the card of the "
            f"[benchmarks](benchmarks.md): 12,000 of them take ≈ {seconds(days)} for training alone. "
        )
    share = NONE if cores.share is None else f"{cores.share:.0%}"
    rates = ", ".join(
        f"{what} {value:,.0f} {unit}" if value is not None else f"{what} {NONE}"
        for what, value, unit in (
            ("training", cores.training, "images/s"),
            ("tests", cores.tests, "images/s"),
            ("exit waves", cores.waves, "configurations/s"),
        )
    )
    lines = [
        "# What each job takes",
        "",
        f"Made by `python benchmarks/what_it_takes.py` from the [benchmarks](benchmarks.md). Without a mark: measured, on {CPU}. **≈** is computed from",
        "rates that were measured, **≤** the time of one core, **≥** a bound: as if nothing were lost between GPUs.",
        "",
        *table(cores, gpu, found),
        "",
        "## How the computed ones follow",
        "",
        f"- **Cores.** One core: {rates}; networks as the demo's, on images of 128². Cores multiply that; on a cluster times {share}, the share of the ideal that four Dask workers reach on",
        f"  2 cores. {check}".rstrip(),
        f"- **One GPU.** {gpu.source}: {gpu.training:,.0f} training images and {gpu.testing:,.0f} test images a second. Exit waves",
        f"  are made on the cores meanwhile. {large}".rstrip(),
        "- **Not counted.** Start, tables and report, some tens of seconds each, but for the demo and for single commands, which were timed as whole processes.",
        "",
        "`passband study plan STUDY --cores N` measures your machine and tells what a study takes there; [on a cluster](cluster.md) says how to run it. Bounds by",
        "arithmetic and bandwidth are in [cost on paper](scaling.md).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    (ROOT / "docs/what_it_takes.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
