"""Map a function over tasks: in this process, or over processes. Science files know of neither."""

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

import torch

from passband.errors import BadInputError

Task = TypeVar("Task")
#: Called with the units of work just done: specimens for waves, shares of one cell elsewhere.
Progress = Callable[[float], None]
Work = Callable[[Task, Progress], None]

_progress_queue: Any = None


class Executor(Protocol):
    """Runs tasks in any order; stops at the first error."""

    def map(self, work: Work[Any], tasks: Sequence[Any], progress: Progress) -> None:
        """Call work(task, progress) for every task.

        Args:
            work: a function that can be pickled.
            tasks: its arguments.
            progress: called in this process as parts of tasks are done.
        """
        ...


class Serial:
    """One task after the other, in this process."""

    def map(self, work: Work[Task], tasks: Sequence[Task], progress: Progress) -> None:
        """Call work(task, progress) for every task."""
        _single_thread()
        for task in tasks:
            work(task, progress)

    def close(self) -> None:
        """Do nothing; there is nothing to stop."""


class Processes:
    """Tasks spread over worker processes with one thread each, so that results do not depend on their number."""

    def __init__(self, workers: int):
        """Start the pool lazily.

        Args:
            workers: number of processes.
        """
        context = multiprocessing.get_context("spawn")
        self._queue = context.Queue()
        self._pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start_worker, initargs=(self._queue, os.getpid())
        )

    def map(self, work: Work[Task], tasks: Sequence[Task], progress: Progress) -> None:
        """Call work(task, progress) for every task.

        Raises:
            BadInputError: if a worker process was killed.
        """
        pending: set[Future[None]] = {self._pool.submit(_call, work, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                self._drain(progress)
            self._drain(progress, patience=0.2)
        except BrokenProcessPool:
            raise BadInputError(
                "a worker process was killed, perhaps for want of memory; run the same command again with fewer --workers, finished work is kept"
            ) from None
        except BaseException:
            for future in pending:
                future.cancel()
            raise

    def close(self) -> None:
        """Stop the workers; tasks that have begun are abandoned."""
        for process in list(getattr(self._pool, "_processes", None) or {}):
            self._pool._processes[process].terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drain(self, progress: Progress, patience: float = 0.0) -> None:
        while True:
            try:
                progress(self._queue.get(timeout=patience) if patience else self._queue.get_nowait())
            except queue.Empty:
                return


def make_executor(workers: int) -> Serial | Processes:
    """Return the executor for a number of workers."""
    return Serial() if workers == 1 else Processes(workers)


def _single_thread() -> None:
    # Sums are split between threads, so their number would change the last digits of every result.
    torch.set_num_threads(1)


def _start_worker(progress_queue: Any, parent: int) -> None:
    global _progress_queue
    _progress_queue = progress_queue
    _single_thread()
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()


def _follow_parent(parent: int) -> None:
    """End this worker when the parent is gone, even if it was killed: nobody would collect the results."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _call(work: Work[Task], task: Task) -> None:
    work(task, _progress_queue.put)
