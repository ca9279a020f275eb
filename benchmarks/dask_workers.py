"""Compare four Dask workers with one process, on one host and across network namespaces that act as two hosts.

    python benchmarks/dask_workers.py

The ratio is the speed-up over the ideal, which is the number of cores (four at most). Cores share caches and memory, so the note
also gives the speed-up of as many independent processes as cores, each with the whole study. Timed are the jobs of a study, from
the first to the last (exit waves, networks, images, tests), after the workers have started.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rows import CORES, Row, write

from passband.execution.base import Executor, Progress, Serial
from passband.execution.dask_cluster import Dask
from passband.studies import runner
from passband.studies.folder import StudyFolder
from passband.studies.study import load_study

WORKERS = 4
_STUDY = """
name: scaling
specimens: {seed: 5}
conditions:
  base: {energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}
  vary: {defocus_angstrom: [-200, -150, -100, -50, 50, 100, 150, 200]}
split: {train: 64, validation: 8, test: 16}
training: {epochs: 10}
seeds: 3
"""


class Silent:
    """Progress that nobody watches."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def stage(self, name: str, total: int, done: int) -> Progress:
        """Show nothing."""
        return lambda share: None


def timed(executor: Executor, folder: Path) -> float:
    """Return the seconds that the cells of the study take, tables and report left out."""
    (folder / "scaling.yaml").write_text(_STUDY)
    study = load_study(folder / "scaling.yaml")
    began = ended = 0.0

    def finish(plan: StudyFolder) -> None:
        nonlocal ended
        ended = time.perf_counter()

    try:
        began = time.perf_counter()
        runner.run(study, folder / "runs/scaling", executor, Silent(), finish=finish)
    finally:
        executor.close()
    return ended - began


def warm(executor: Dask) -> Dask:
    """Return the executor when its workers are up and have imported everything."""
    executor._client.wait_for_workers(WORKERS, timeout=120)

    executor._client.run(loader())
    return executor


def loader() -> Callable[[], None]:
    """Return what imports all that networks take seconds to import the first time; it travels to workers as code."""

    def load() -> None:
        import torch._dynamo

        import passband.studies.cross_tests

        assert passband.studies.cross_tests and torch._dynamo

    return load


def at_once(folders: list[Path]) -> float:
    """Return the seconds that as many processes as cores take, each with the whole study in a folder of its own."""
    with ProcessPoolExecutor(len(folders), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_load_here, folders))
        return max(pool.map(_serial, folders))


def _load_here(folder: Path) -> None:
    loader()()


def _serial(folder: Path) -> float:
    return timed(Serial(), folder)


def namespaces(place: Path) -> float:
    """Return the seconds with two workers in each of two network namespaces, joined by a pair of virtual interfaces."""
    names = [f"passband{os.getpid()}{end}" for end in "ab"]
    wires = [f"pb{os.getpid() % 10**6}{end}" for end in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    running: list[subprocess.Popen[bytes]] = []

    def start(namespace: str, module: str, *words: str) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", f"distributed.cli.{module}", *words]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    try:
        ip("link", "add", wires[0], "type", "veth", "peer", "name", wires[1])
        for i, (name, wire) in enumerate(zip(names, wires, strict=True)):
            ip("netns", "add", name)
            ip("link", "set", wire, "netns", name)
            ip("-n", name, "addr", "add", f"10.213.7.{i + 1}/24", "dev", wire)
            ip("-n", name, "link", "set", wire, "up")
            ip("-n", name, "link", "set", "lo", "up")
        address = "tcp://10.213.7.1:8786"
        start(names[0], "dask_scheduler", "--host", "10.213.7.1")
        for name in names:
            start(name, "dask_worker", address, "--nworkers", "2", "--nthreads", "1")
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; import dask_workers as d; "
            f"print(d.timed(d.warm(d.Dask(4, {address!r})), Path({str(place)!r})))"
        )
        done = subprocess.run(
            ["ip", "netns", "exec", names[1], sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return float(done.stdout.split()[-1])
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def main() -> None:
    ideal = min(WORKERS, CORES)
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("serial", "dask", "two")]
        alone = [Path(place) / f"alone{i}" for i in range(ideal)]
        for folder in folders + alone:
            folder.mkdir()
        loader()()
        serial = timed(Serial(), folders[0])
        together = ideal * serial / at_once(alone)
        local = timed(warm(Dask(WORKERS, None)), folders[1])
        unit = f"s, one process; ideal {ideal} times"
        note = f"{ideal} independent processes at once do {together:.2f} times the work of one"
        write(Row("4 Dask workers in 4 processes", local, serial, unit, serial / local / ideal, 0.95, note=note))
        name = "4 Dask workers across network namespaces"
        try:
            if shutil.which("ip") is None:
                raise OSError("there is no ip command")
            far = namespaces(folders[2])
        except (OSError, subprocess.CalledProcessError) as error:
            said = " ".join(str(getattr(error, "stderr", "") or error).split())[-200:]
            write(Row(name, None, None, unit, None, 0.95, note=f"not measured: {said}"))
        else:
            write(Row(name, far, serial, unit, serial / far / ideal, 0.95, note=note))


if __name__ == "__main__":
    main()
