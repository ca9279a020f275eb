"""Rows of the benchmark table: alternating measurements, stored in one file per machine.

benchmarks/results/<machine>.json contains {"machine", "date", "versions", "rows"}; a row has name, ours, yardstick (the comparison),
unit, ratio (above 1: passband is better; null if not measured), aim, and the date when it was measured. A script replaces its own rows and leaves the others.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from passband.files.atomic import write_json

RESULTS = Path(__file__).with_name("results")
CORES = len(os.sched_getaffinity(0))
_PACKAGES = ("passband", "torch", "abtem", "dask", "distributed", "numpy", "scipy", "monai")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is done.
        ours: how passband fares, in `unit`; None where not measured.
        yardstick: how the other side fares.
        unit: of both; what is compared with what.
        ratio: how many times better ours is.
        aim: what the ratio should reach, or None.
        ratios: of each round, lowest first.
        note: what else to know, such as how far the two sides agree.
    """

    name: str
    ours: float | None
    yardstick: float | None
    unit: str
    ratio: float | None
    aim: float | None = None
    ratios: list[float] = dataclasses.field(default_factory=list)
    note: str = ""


def alternate(
    ours: Callable[[], float],
    theirs: Callable[[], float],
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Return items per second of both sides, taking turns after one warm-up each; a side returns its number of items.

    The clock of what works on one core in this process is `time.process_time`, which neighbours on the machine do not slow down.
    """
    rates: tuple[list[float], list[float]] = ([], [])
    for side in (ours, theirs):
        side()
    for _ in range(rounds):
        for rate, side in zip(rates, (ours, theirs), strict=True):
            began = clock()
            items = side()
            rate.append(items / (clock() - began))
    return rates


def compared(
    name: str, unit: str, rates: tuple[list[float], list[float]], aim: float | None = None, note: str = ""
) -> Row:
    """Return a row from rates; ratios are of rounds, for both sides of a round met the machine in the same mood."""
    ratios = sorted(a / b for a, b in zip(*rates, strict=True))
    return Row(
        name,
        statistics.median(rates[0]),
        statistics.median(rates[1]),
        unit,
        statistics.median(ratios),
        aim,
        ratios,
        note,
    )


def machine() -> str:
    """Return a name for this machine, such as amd-epyc-2-cores, or the GPU's."""
    if torch.cuda.is_available():
        text = torch.cuda.get_device_name()
    else:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        text = f"{found.group(1) if found else platform.machine()} {CORES} cores"
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("(r)", "").replace("processor", "")).strip("-")


def write(*rows: Row) -> None:
    """Print rows and put them into this machine's file."""
    for row in rows:
        said = f"{row.ours or 0:.4g} {row.unit}" if row.ours else "not measured"
        if row.ratio is not None:
            said = f"{row.ours:.4g} and {row.yardstick:.4g} {row.unit}: {row.ratio:.2f}"
        aim = "" if row.aim is None else f" (aim {row.aim:g})"
        print(f"{row.name}: {said}{aim}\n    {row.note}", flush=True)
    store([dataclasses.asdict(row) for row in rows], machine(), versions(), RESULTS)


def versions() -> dict[str, str]:
    """Return the versions of what is measured and of what it is compared with."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def store(rows: list[dict[str, Any]], machine: str, versions: dict[str, str], folder: Path, date: str = "") -> None:
    """Put rows into a machine's file in a folder, each in place of the one of its name; without a date, it is today's."""
    path = folder / f"{machine}.json"
    former = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    date = date or datetime.date.today().isoformat()
    kept = {row["name"]: {"date": former["date"]} | row for row in former["rows"]}
    kept |= {row["name"]: row | {"date": date} for row in rows}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"machine": machine, "date": date, "versions": versions, "rows": list(kept.values())})
