"""Train studies on a GPU that is at hand for minutes only, and bring back their tables.

python tools/gpu_session.py STUDY.yaml … --out FOLDER [--work FOLDER] [--seconds 500] [--group 128] [--device cpu]

Exit waves are made on all cores while the GPU trains, and tables of a finished study while it trains the next. Each study's
tables come back as FOLDER/<study>.tar.gz, beside session.json, which says what was made on which device in how many
seconds. A study that would not end in time is not begun. Unpacked, `passband study report` makes figures and report of the tables.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import torch

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.execution.base import Progress, Serial
from passband.execution.processes import Processes
from passband.files.atomic import write_json
from passband.files.tables import write_table
from passband.studies import cross_tests, result_tables, runner
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.stored import write_analysis
from passband.studies.study import Study, load_study
from passband.studies.wave_jobs import make_waves, wave_sets

# What comes back; counts of every image are too many.
_BACK = ("scores", "conditions", "shift", "training", "specimen_power")


def main() -> None:
    """Run the studies, or one part of it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="where tables and session.json are written")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="where the studies are run")
    parser.add_argument("--seconds", type=float, default=500.0, help="no study begins that would end later")
    parser.add_argument("--group", type=int, default=128, help="networks trained together")
    parser.add_argument("--budget", help="one of the studies' budgets")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="that make waves and tables")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", choices=["waves", "tables"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; use --device cpu to try it without")
    try:
        studies = {path.stem: load_study(path, budget=options.budget) for path in options.studies}
    except BadInputError as error:
        parser.error(str(error))
    if options.only == "waves":
        _waves(studies, options)
    elif options.only == "tables":
        for name, study in studies.items():
            _tables(name, study, options)
    else:
        _session(studies, options)


class _StageTimes:
    """Progress that is not shown: when each stage began."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def note(self, text: str) -> None:
        print(text, flush=True)

    def stage(self, name: str, total: int, done: int) -> Progress:
        self._began[name] = time.perf_counter()
        return lambda share: None

    def seconds(self) -> dict[str, float]:
        """Return the seconds from the beginning of each stage to that of the next, or until now."""
        times = [*self._began.values(), time.perf_counter()]
        return {name: later - at for name, at, later in zip(self._began, times, times[1:], strict=False)}


def _session(studies: dict[str, Study], options: argparse.Namespace) -> None:
    began = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    report: dict[str, Any] = {"device": device, "torch": torch.__version__, "group": options.group, "studies": {}}
    helpers = [_helper("waves", options.studies, options)]
    rate = None
    for path, (name, study) in zip(options.studies, studies.items(), strict=True):
        paths = StudyPaths(options.work / name)
        images = study.training.epochs * (study.split.train + study.split.validation)
        work = len(study.trainings) * study.seeds * images
        left = options.seconds - (time.perf_counter() - began)
        if rate is not None and work / rate > left:
            print(f"{name}: {work / rate:.0f} s of {left:.0f} s left; not begun", flush=True)
            continue
        while any(waves.missing(study.split.total) for waves in wave_sets(study, paths)):
            if helpers[0].poll() not in (None, 0):
                raise SystemExit(f"the exit waves failed with code {helpers[0].returncode}")
            time.sleep(0.5)
        start, waited = time.perf_counter(), time.perf_counter() - began
        stages = _StageTimes()
        failed = runner.run(study, paths.folder, Serial(), stages, finish=lambda held: None, group=options.group)
        seconds = time.perf_counter() - start
        rate = work / seconds
        row = {
            "networks": len(study.trainings) * study.seeds,
            "tests": len(study.trainings) * study.seeds * len(study.tests),
            "failed": failed,
            "began_after_s": waited,
            "seconds": seconds,
            "stages_s": stages.seconds(),
            "images": work,
        }
        report["studies"][name] = row
        write_json(options.out / "session.json", report)
        print(name, json.dumps(row), flush=True)
        _scores(name, study, options)
        helpers.append(_helper("tables", [path], options))
    for helper in helpers:
        try:
            helper.wait(max(options.seconds - (time.perf_counter() - began), 1))
        except subprocess.TimeoutExpired:
            helper.terminate()
    print(f"{time.perf_counter() - began:.0f} s in all")


def _helper(what: str, studies: list[Path], options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start making waves or tables in a process of its own, away from the GPU."""
    command = [sys.executable, __file__, *map(str, studies), "--only", what, "--out", str(options.out)]
    command += ["--work", str(options.work), "--cores", str(options.cores), "--device", "cpu"]
    command += ["--budget", options.budget] if options.budget else []
    return subprocess.Popen(command, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})  # noqa: S603


def _waves(studies: dict[str, Study], options: argparse.Namespace) -> None:
    executor = Processes(options.cores)
    try:
        with TerminalProgress(quiet=True) as progress:
            for name, study in studies.items():
                for waves in wave_sets(study, StudyPaths(options.work / name)):
                    if indices := waves.missing(study.split.total):
                        make_waves(waves, study.split.total, indices, executor, progress)
    finally:
        executor.close()


def _tables(name: str, study: Study, options: argparse.Namespace) -> None:
    held = StudyFolder(study, StudyPaths(options.work / name))
    tables = result_tables.write_tables(held)
    content = {"failed": held.failures(), "provenance": result_tables.provenance(held)}
    write_analysis(held.paths, content, [table for table in tables if table in _BACK])
    _archive(name, held, [held.paths.analysis, *map(held.paths.table, _BACK)], options)


def _scores(name: str, study: Study, options: argparse.Namespace) -> None:
    """Bring the scores at once, should the other tables not be ready in time."""
    held = StudyFolder(study, StudyPaths(options.work / name))
    scores, _ = cross_tests.tables(study, held.coverage())
    write_table(held.paths.table("scores"), scores)
    _archive(name, held, [held.paths.table("scores")], options)


def _archive(name: str, held: StudyFolder, files: list[Path], options: argparse.Namespace) -> None:
    temporary = options.out / f"{name}.partial"
    with tarfile.open(temporary, "w:gz", compresslevel=1) as archive:
        for path in [held.paths.study, *files]:
            archive.add(path, f"{name}/{path.name}")
    temporary.rename(options.out / f"{name}.tar.gz")


if __name__ == "__main__":
    main()
