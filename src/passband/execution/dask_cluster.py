"""Tasks over the workers of a Dask cluster: one on this machine, or a scheduler's with workers on many."""

import logging
import os
import queue
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import dask.config
import distributed
from distributed import Client, Future, LocalCluster, wait

from passband.base.errors import MORE_MEMORY, BadInputError, parameter
from passband.base.terminal import error, warn
from passband.base.version import __version__
from passband.execution.allocator import keep_freed_memory
from passband.execution.base import Executor, Failure, Fault, Progress, Tries, Work, attempt, one_thread

# Seconds to wait for a scheduler.
_PATIENCE = 10
# Seconds without an answer after which a scheduler counts as lost, as long as it waits for a worker.
_SILENCE = 300
# A worker has one task at a time and its death is reported at once, so no task is blamed for another's fault.
_OWN_CLUSTER = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 0,
    # Sampling the stack of a training thread a hundred times a second slows it by a few percent.
    "distributed.worker.profile.enabled": False,
}
# Tasks submitted per thread: one that runs and one that waits, so that no worker idles.
_AHEAD = 2
# Seconds between looks at which workers there are.
_PAUSE = 0.5
_SCRATCH = "passband-dask-"


class Dask(Executor):
    """Tasks on a Dask cluster. Workers may die, join late and leave; a task that ends its worker again and again fails."""

    def __init__(self, workers: int, scheduler: str | None):
        """Connect to a scheduler, by a BadInputError if none answers, or start a cluster of so many processes on this machine."""
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._cluster: LocalCluster | None = None
        self._known: dict[str, str | None] = {}
        self._folder: Path | None = None
        self._working = False
        self._scratch = None if scheduler else _scratch_folder()
        try:
            if self._scratch is not None:
                with dask.config.set(_OWN_CLUSTER):
                    # The dashboard has no password, so only this machine may reach it.
                    self._cluster = LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        dashboard_address="127.0.0.1:0",
                        local_directory=self._scratch.name,
                        silence_logs=logging.CRITICAL,
                    )
            self._client = Client(self._cluster or scheduler, timeout=_PATIENCE)
            self._address = self._client.scheduler_info()["address"]
        except (OSError, TimeoutError, ValueError) as fault:
            self._clear()
            raise BadInputError(
                f"no Dask scheduler answers there within {_PATIENCE} s ({' '.join(str(fault).split())[:120]})",
                value=scheduler,
                remedy="check the address and that `dask scheduler` runs",
                place=f"{parameter('scheduler')} {scheduler}",
            ) from None

    @property
    def workers(self) -> int:
        """Threads of the cluster, as it is now."""
        return sum(self._look().values())

    def share(self, folder: Path) -> None:
        """Check that every worker runs this passband and sees this folder; one that joins later and does not is dismissed."""
        self._folder = folder
        self._known.clear()
        self._look()
        for reason in filter(None, self._known.values()):
            raise BadInputError(reason)
        self._working = True

    def map(self, work: Work, tasks: Sequence[Any], progress: Progress) -> list[Failure]:
        """Call work(task, progress) for every task and return those that failed; without workers, wait for some."""
        topic = f"passband-{uuid.uuid4().hex}"
        shares: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._client.subscribe_topic(topic, lambda event: shares.put(event[1]))
        waiting, flying, tries = deque(range(len(tasks))), dict[Future[Any], int](), Tries()
        # Tasks that ended a worker; each is tried again alone on the cluster.
        suspects: deque[int] = deque()
        announced, threads, looked = False, 0, 0.0
        try:
            while waiting or flying or suspects:
                if not threads or time.monotonic() - looked > _PAUSE:
                    threads, looked = sum(self._look().values()), time.monotonic()
                if not threads and not announced and self._cluster is None:
                    error.print(f"passband: waiting for workers; they join with: dask worker {self._address}")
                    announced = True
                room = _AHEAD * threads - len(flying)
                chosen = [waiting.popleft() for _ in range(min(room, len(waiting)))]
                if suspects and not flying and not waiting and not chosen:
                    chosen = [suspects.popleft()]
                resources = {"GPU": 1} if self._gpus else None
                for index in chosen:
                    future = self._client.submit(_call, work, tasks[index], topic, pure=False, resources=resources)
                    flying[future] = index
                finished = self._finished(list(flying))
                while not shares.empty():
                    progress(shares.get())
                for future in finished:
                    index = flying.pop(future)
                    if future.status == "cancelled":
                        waiting.append(index)
                        continue
                    # There is no result to fetch, which would be another question to a worker.
                    if future.status != "error":
                        continue
                    raised = self._answer(future.exception, _SILENCE)
                    if isinstance(raised, BadInputError):
                        raise raised
                    killed = isinstance(raised, distributed.KilledWorker)
                    if killed:
                        fault = Fault(f"it ended the workers that it ran on, perhaps out of memory: {MORE_MEMORY}")
                    else:
                        fault = raised.fault if isinstance(raised, _FailedError) else Fault.of(raised)
                    if tries.failed(index, tasks[index], fault):
                        (suspects if killed else waiting).append(index)
        finally:
            self._client.cancel(list(flying))
            self._client.unsubscribe_topic(topic)
        while not shares.empty():
            progress(shares.get())
        return tries.failures

    def close(self) -> None:
        """Let go of the scheduler; a cluster on this machine ends."""
        self._client.close(timeout=_PATIENCE)
        self._clear()

    def _clear(self) -> None:
        if self._cluster is not None:
            self._cluster.close(timeout=_PATIENCE)
        if self._scratch is not None:
            self._scratch.cleanup()

    def _finished(self, flying: list[Future[Any]]) -> list[Future[Any]]:
        if not flying:
            time.sleep(_PAUSE)
            return []
        try:
            return list(wait(flying, timeout=1.0, return_when="FIRST_COMPLETED").done)
        except (TimeoutError, CancelledError):
            return [future for future in flying if future.done()]

    def _answer(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """Return what the scheduler answers; a BadInputError if it has ended or is silent."""
        try:
            return ask(*arguments)
        except (OSError, CancelledError, AttributeError):
            raise BadInputError(
                f"has ended, or does not answer within {_SILENCE} s",
                remedy="start it again, then run the same command again, finished work is kept",
                place=f"Dask scheduler {self._address}",
            ) from None

    def _look(self) -> dict[str, int]:
        """Return the number of threads of each usable worker; new ones are queried."""
        # Without a limit it would wait for ever; a lost connection has no scheduler.
        client, scheduler, limit = self._client, cast(Any, self._client.scheduler), _SILENCE
        known = self._answer(lambda: client.sync(scheduler.identity, n_workers=-1, callback_timeout=limit))
        workers = known["workers"]
        self._gpus = any(w.get("resources", {}).get("GPU") for w in workers.values())
        self._known = {address: reason for address, reason in self._known.items() if address in workers}
        if new := sorted(set(workers) - set(self._known)):
            answers = self._ask(new)
            self._known |= answers
            if bad := {address: reason for address, reason in answers.items() if reason and self._working}:
                warn([f"{reason}; it was dismissed" for reason in bad.values()])
                self._client.retire_workers(list(bad), close_workers=True)
        return {a: int(w["nthreads"]) for a, w in workers.items() if a in self._known and not self._known[a]}

    def _ask(self, workers: list[str]) -> dict[str, str | None]:
        """Return for each worker why it cannot be used, or None; one that has left is omitted."""
        place = None
        with ExitStack() as stack:
            if self._folder is not None:
                place = stack.enter_context(
                    tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", suffix=".tmp")
                ).name
            answers = self._client.run(_question(place), workers=workers, on_error="return")
        reasons: dict[str, str | None] = {}
        for address, answer in answers.items():
            if isinstance(answer, OSError):
                continue
            if isinstance(answer, BaseException):
                fault = f"cannot import passband ({answer}); install passband {__version__} there"
            elif answer[0] != __version__:
                fault = f"runs passband {answer[0]}, and this is {__version__}; install the same version on both"
            elif not answer[1]:
                fault = f"does not see {self._folder}; the study must lie on a disk that all workers share, under the same path"
            else:
                fault = None
            reasons[address] = fault and f"worker {address}: {fault}"
        return reasons


def _scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder for the workers' temporary files, named by this process; those of processes that are gone are deleted."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        number = left.name.removeprefix(_SCRATCH).partition("-")[0]
        if number.isdecimal() and not Path("/proc", number).exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{os.getpid()}-", ignore_cleanup_errors=True)


def _question(place: str | None) -> Callable[[], tuple[str, bool]]:
    # A nested function is sent as code, so that a worker without this module can still answer.
    def answer() -> tuple[str, bool]:
        import importlib
        import os

        return importlib.import_module("passband").__version__, place is None or os.path.exists(place)  # noqa: PTH110

    return answer


class _FailedError(Exception):
    """Takes the fault of an attempt to the driver."""

    def __init__(self, fault: Fault):
        super().__init__(fault)
        self.fault = fault


def _call(work: Work, task: Any, topic: str) -> None:
    worker = distributed.get_worker()
    # Dask lets its workers return freed memory to the system at once.
    keep_freed_memory()
    with one_thread():
        fault = attempt(work, task, lambda share: worker.log_event(topic, share))
    if fault is not None:
        raise _FailedError(fault)
