"""Runs of a small study that kill themselves before or after a rename: what a power cut between any two of them leaves.

`python -m support.kills FOLDER WHEN [each]` goes on where the last run was killed, one rename later each time; with `each`, at
the first rename that leads on, so that every rename of the study has its kill. Prints the number of kills.
"""

import os
import signal
import sys
from pathlib import Path


def kill_at(number, when, once=None):
    """Kill this process before or after its rename of this number, counted from 1; of processes with one file `once`, only one."""
    count = 0

    def last():
        if once is None:
            return True
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def counted(rename):
        def renamed(source, target, **options):
            nonlocal count
            count += 1
            dies = count == number and last()
            if dies and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target, **options)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)

        return renamed

    os.rename, os.replace = counted(os.rename), counted(os.replace)


def _main(folder, when, *, each):
    # What a process has imported, a fork need not.
    from passband.studies.study import load_study
    from support.studies import run

    study = load_study(folder / "small.yaml")
    number, kills, there = 1, 0, set()
    while True:
        child = os.fork()
        if child == 0:
            kill_at(number, when)
            failed, _ = run(study, folder / "runs/small")
            os._exit(3 if failed else 0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != -signal.SIGKILL:
            print(kills)
            sys.exit(code)
        kills += 1
        before, there = there, {path for path in (folder / "runs").rglob("*") if ".tmp" not in str(path)}
        if not each or there <= before:
            number += 1


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], each="each" in sys.argv)
