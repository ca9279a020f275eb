"""Run one of passband's modules in a process with a time limit, to open files from elsewhere."""

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

    The module limits its own memory and processor time. The process gets twice that time on the clock, one thread and no input; its
    output is discarded.

    Args:
        module: name of the module.
        arguments: of it.
        folder: private, for its work and its answer.
        seconds: limit on processor time.
        environment: variables besides those of this process.
    """
    # -P: import no module from the current folder.
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
