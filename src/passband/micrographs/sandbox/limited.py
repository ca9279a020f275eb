"""Run a module of our own in a process that is ended in time: what foreign files are opened in."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_limited(
    module: str, arguments: Sequence[str], folder: Path, seconds: float, environment: Mapping[str, str] | None = None
) -> int:
    """Run `python -m module` and return its exit status: negative for the signal that ended it, −SIGXCPU if it took too long.

    The module sets the limits of its own memory and time; here it gets twice the time on the wall, one thread, no input, and
    nobody reads what it prints.

    Args:
        module: name of the module.
        arguments: of it.
        folder: private, which it works in and leaves its answer in.
        seconds: of processor time that it may take.
        environment: variables besides those of this process.
    """
    # -P: no module is imported from the folder the user happens to be in.
    process = subprocess.Popen(  # noqa: S603 our own module, by this Python
        [sys.executable, "-P", "-W", "ignore", "-m", module, *arguments],
        cwd=folder,
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(folder)}
        | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=2 * seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGXCPU
    finally:
        process.kill()
        process.wait()
