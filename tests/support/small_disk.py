"""A study on a real disk of 16 MB that is full when a stage begins, again and again; run as a program, it prints each fault.

unshare --map-root-user --mount python -m support.small_disk FOLDER EXECUTOR
"""

import os
import subprocess
import sys
from pathlib import Path

from passband.base.errors import BadInputError
from passband.execution.choose import make_executor
from passband.report.study_page import write_results
from passband.studies import runner
from support.studies import Quiet, study

#: Stages, and the bytes that are free when they begin: nothing, or too little for what they write.
MOMENTS = [
    ("exit waves", 0), ("exit waves", 150_000), ("networks", 0), ("networks", 20_000), ("images", 0), ("images", 12_000),
    ("tests", 0), ("tests", 8_192), ("tables", 0), ("tables", 8_192), ("tables", 40_000), ("tables", 500_000), ("tables", 1_800_000),
]  # fmt: skip


def moments(kind):
    """Return the moments of an executor; the driver alone writes tables, so that once is enough for one with workers."""
    return MOMENTS if kind == "serial" else MOMENTS[:9]


class Filling(Quiet):
    """Progress that fills the disk when a stage begins."""

    def __init__(self, ballast, stage, leave):
        super().__init__()
        self.ballast, self.at, self.leave, self.happened = ballast, stage, leave, False

    def stage(self, name, total, done):
        if name == self.at:
            self.happened = True
            disk = os.statvfs(self.ballast.parent)
            self.ballast.write_bytes(bytes(disk.f_bavail * disk.f_frsize - self.leave))
        return super().stage(name, total, done)


def main(folder, kind):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], check=True)
    config, runs, ballast = study(folder), folder / "runs", folder / "ballast"
    for stage, leave in moments(kind):
        progress = Filling(ballast, stage, leave)

        def finish(held, progress=progress):
            progress.stage("tables", 1, 0)
            write_results(held)

        try:
            with make_executor(kind, 2) as executor:
                failed = runner.run(config, runs / "small", executor, progress, finish=finish)
            raise AssertionError(f"{stage}, {leave}: no fault, and failed are {failed}")
        except BadInputError as fault:
            print(f"{stage}: {fault}")
        assert progress.happened
        ballast.unlink()
        left = list(runs.rglob("*.tmp*"))
        assert not left, left
    with make_executor(kind, 2) as executor:
        assert not runner.run(config, runs / "small", executor, Quiet(), finish=write_results)
    # The disk is gone with this process.
    (folder.parent / "tables").mkdir()
    for path in (runs / "small").glob("*.parquet"):
        (folder.parent / "tables" / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
