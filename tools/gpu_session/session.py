"""The steps of a session: checks, benchmark rows, a study; each has a budget, and what is finished is on disk after every step."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from accelerator import Accelerator
from gpu import ROWS, arrangements
from rows import Row, versions

from passband.base.errors import BadInputError
from passband.base.version import __version__
from passband.files.atomic import read_json, write_json
from passband.studies.paths import StudyPaths
from passband.studies.study import Study, load_study
from tools.gpu_session import fleet, pack
from tools.gpu_session.cases import Size
from tools.gpu_session.checks import CHECKS

#: Seconds that each step may take on a GPU. A study takes what is left if that is less.
BUDGET = {
    **{
        "check waves": 20,
        "check images": 15,
        "check noise": 10,
        "check network": 20,
        "check fleet": 30,
        "check tests": 15,
    },
    **{"row waves": 30, "row images": 15, "arrangements": 20, "row fleets": 40},
    "study": 240,
}
#: The same on a CPU, where all is small and takes seconds, if nobody else works there.
ON_CPU = 90
#: Share of a row's budget in which it is measured; the rest is for starting, warming up, and what the device takes longer.
MEASURED = {"cuda": 0.35, "cpu": 0.005}
#: Seconds of starting Python and the device, and of ending.
START, END = 15, 8
#: The file that a session writes.
REPORT = "session.json"
STUDY_ROW = "GPU: a study"


class OutOfTimeError(Exception):
    """A step took longer than its budget."""


class Options(NamedTuple):
    """What a session is asked to do: see `__main__.py`."""

    pack: Path
    out: Path
    work: Path
    studies: list[Path]
    seconds: float
    group: int
    cores: int
    device: Accelerator
    began: float


def budget(device: Accelerator) -> dict[str, float]:
    """Return the seconds of each step."""
    return {name: float(ON_CPU if device.kind == "cpu" else seconds) for name, seconds in BUDGET.items()}


def plan(device: Accelerator, seconds: float) -> str:
    """Return the budget as text."""
    steps = {"start": float(START)} | budget(device) | {"end": float(END)}
    lines = [f"{name:<14} {value:5.0f} s" for name, value in steps.items()]
    lines.append(f"{'together':<14} {sum(steps.values()):5.0f} s, of {seconds:.0f} s; a study takes what is left")
    return "\n".join(lines)


class Report:
    """What a session has found so far; its file is written after every step."""

    def __init__(self, path: Path, device: Accelerator):
        """Begin, or go on with what a session on the same device with the same versions has written."""
        self._path = path
        head = {
            "device": device.name,
            "kind": device.kind,
            "date": date.today().isoformat(),
            "versions": versions() | {"passband": __version__} | device.versions(),
        }
        former = read_json(path)
        same = isinstance(former, dict) and all(former.get(k) == head[k] for k in ("device", "versions"))
        self.content: dict[str, Any] = former if same else {**head, "steps": {}, "rows": [], "studies": {}}
        self.write()

    def write(self) -> None:
        """Write the file, whole."""
        write_json(self._path, self.content)

    def is_done(self, name: str) -> bool:
        """Tell whether a step has been done."""
        return self.content["steps"].get(name, {}).get("state") == "done"

    @property
    def agrees(self) -> bool:
        """Whether every step was done and every check agrees."""
        steps = self.content["steps"].values()
        return all(step["state"] == "done" and step.get("facts", {}).get("agrees", True) for step in steps)

    def step(self, name: str, seconds: float, work: Callable[[], dict[str, Any]]) -> None:
        """Do a step within a budget, and write what it found, or why it failed; a step that is done is not done again."""
        if self.is_done(name):
            return
        began = time.monotonic()
        entry: dict[str, Any] = {"state": "begun", "budget_s": round(seconds, 1)}
        self.content["steps"][name] = entry
        self.write()
        try:
            if seconds < 1:
                raise OutOfTimeError("no time is left")
            with _within(seconds):
                entry["facts"] = work()
            entry["state"] = "done"
        except OutOfTimeError as error:
            entry |= {"state": "cut", "reason": str(error)}
        except Exception as error:
            entry |= {
                "state": "failed",
                "reason": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
        entry["seconds"] = round(time.monotonic() - began, 2)
        self.write()
        verdict = {True: ", agrees", False: ", DISAGREES"}.get(entry.get("facts", {}).get("agrees"), "")
        print(f"{name}: {entry['state']}{verdict}, {entry['seconds']} s {entry.get('reason', '')}", flush=True)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise an OutOfTimeError in the block once some seconds have passed."""

    def stop(*_: object) -> None:
        raise OutOfTimeError(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(options: Options) -> bool:
    """Do all steps, one after the other; tell whether all were done and agree.

    Raises:
        BadInputError: before any work, if the pack or a study cannot be used.
    """
    device, ends = options.device, options.began + options.seconds
    reference = pack.read(options.pack)
    files = options.studies or [fleet.write_study(options.work, small=device.kind == "cpu")]
    studies = {path.stem: load_study(path) for path in files}
    options.out.mkdir(parents=True, exist_ok=True)
    report = Report(options.out / REPORT, device)
    report.content["free_bytes"] = device.free_bytes()
    helpers = {
        name: fleet.start_waves(path, options.work, options.cores) for name, path in zip(studies, files, strict=True)
    }
    watchdog = threading.Timer(max(ends - time.monotonic(), 0), _give_up, (helpers,))
    watchdog.daemon = True
    watchdog.start()
    try:
        seconds, size = budget(device), Size(*reference["size"].tolist())
        # Ended early, each step leaves its time to the study.
        for name, check in CHECKS.items():
            allowed = min(seconds[f"check {name}"], ends - END - time.monotonic())
            report.step(f"check {name}", allowed, partial(check, device.kind, reference, size))
            device.clear()
        for name, row in ROWS.items():
            allowed = min(seconds[f"row {name}"], ends - END - time.monotonic())
            if name == "fleets":
                allowed = min(seconds["arrangements"], ends - END - time.monotonic())
                report.step("arrangements", allowed, partial(_arrangements, device))
                allowed = min(seconds[f"row {name}"], ends - END - time.monotonic())
            measuring = MEASURED[device.kind] * allowed
            report.step(f"row {name}", allowed, lambda row=row, s=measuring: _measured(report, row(device, s)))
            device.clear()
        for name, study in studies.items():
            allowed = min(seconds["study"], ends - END - time.monotonic()) / (len(studies) - list(studies).index(name))
            work = partial(_study, report, name, study, options, helpers[name], time.monotonic() + allowed)
            # The step ends by itself; what stops it from outside has a little more.
            report.step(f"study {name}", allowed + END / 2, work)
    finally:
        watchdog.cancel()
        for helper in helpers.values():
            helper.terminate()
            helper.wait()
    report.content["seconds"] = round(time.monotonic() - options.began, 1)
    report.write()
    print(f"{report.content['seconds']} s in all; {options.out / REPORT}")
    return report.agrees


def _give_up(helpers: dict[str, subprocess.Popen[bytes]]) -> None:
    """End at once, whatever the device is at; what is finished is on disk."""
    for helper in helpers.values():
        with suppress(OSError):
            helper.kill()
    print("the time is over", file=sys.stderr, flush=True)
    os._exit(1)


def _arrangements(device: Accelerator) -> dict[str, Any]:
    """Return what each arrangement of a fleet does without imaging."""
    return {"images_per_second": {name: round(rate, 1) for name, rate in arrangements(device).items()}}


def _measured(report: Report, row: Row) -> dict[str, Any]:
    """Add a row to the report, in place of one of its name."""
    content = dataclasses.asdict(row)
    report.content["rows"] = [r for r in report.content["rows"] if r["name"] != row.name] + [content]
    return {name: content[name] for name in ("ours", "yardstick", "unit", "ratio")}


def _study(
    report: Report, name: str, study: Study, options: Options, waves: "subprocess.Popen[bytes]", ends: float
) -> dict[str, Any]:
    """Train and test a study's networks until a time, once its exit waves are there."""
    began = time.monotonic()
    if waves.wait(max(ends - began, 1)):
        raise BadInputError(f"the exit waves of {name} failed with code {waves.returncode}")
    waited = time.monotonic() - began
    found = fleet.run(study, StudyPaths(options.work / name), options.out / f"{name}.npz", ends, options.group)
    report.content["studies"][name] = facts = {"waited_for_waves_s": round(waited, 2), **found}
    if found["networks"]:
        for row in _study_rows(name, study, found):
            _measured(report, row)
    return facts


def _study_rows(name: str, study: Study, found: dict[str, Any]) -> list[Row]:
    """Return networks an hour, and what training and tests alone do, validation counted as training."""
    note = f"{found['networks']} networks, {found['tests']} tests in {found['seconds']:.0f} s; {found['group']} networks at a time, {found['arrangement']}; nothing to compare with"
    rates = {
        "networks trained and tested": (found["networks"] / found["seconds"] * 3600, "networks/hour"),
        "training": (found["images_per_second"], "images/s"),
        "tests": (found["tests"] * study.split.test / found["test_seconds"], "images/s"),
    }
    return [
        Row(f"{STUDY_ROW} ({name}), {what}", value, None, unit, None, note=note)
        for what, (value, unit) in rates.items()
    ]
