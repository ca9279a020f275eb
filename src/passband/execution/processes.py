"""Tasks over worker processes of one thread each. A worker that dies costs its task one attempt, and nothing else."""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from passband.base.errors import MORE_MEMORY, BadInputError
from passband.execution.allocator import keep_freed_memory
from passband.execution.base import TRIES, Executor, Failure, Fault, Progress, Tries, Work, attempt, one_thread

# Seconds for workers to finish their current write when they are stopped.
_GRACE = 10.0
# Seconds between two questions for a task that has not arrived.
_TICK = 0.5
_CONTEXT = multiprocessing.get_context("spawn")
_stopping = threading.Event()


class _Stopped(BaseException):
    """The worker was asked to stop; raised between writes."""


class _Worker:
    """A process with a pipe, and its current task."""

    def __init__(self, module: str | None = None) -> None:
        self.pipe, far = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(far, os.getpid(), module), daemon=True)
        with _without_main():
            self.process.start()
        far.close()
        self.task: int | None = None
        self.ready = False


class Processes(Executor):
    """Worker processes with one thread each; results do not depend on their number."""

    def __init__(self, workers: int):
        """Processes start with the first tasks, or by `start`."""
        self._most = workers
        self._workers: list[_Worker] = []

    @property
    def workers(self) -> int:
        """Processes at most."""
        return self._most

    def start(self, module: str) -> None:
        """Start all processes, which import a module, while this one goes on."""
        self._workers += [_Worker(module) for _ in range(self._most - len(self._workers))]

    def map(self, work: Work, tasks: Sequence[Any], progress: Progress) -> list[Failure]:
        """Call work(task, progress) for every task and return those that failed."""
        ended = [end for end in self._stream(work, iter(tasks), progress) if end is not None]
        return [failure for _, failure in ended if failure is not None]

    def stream(self, work: Work, tasks: Iterator[Any]) -> Iterator[tuple[Any, Failure | None] | None]:
        """Call work(task, progress) for tasks that arrive one by one; yield each as it ends, and None while nothing does."""
        return self._stream(work, tasks, lambda share: None)

    def _stream(
        self, work: Work, tasks: Iterator[Any], progress: Progress
    ) -> Iterator[tuple[Any, Failure | None] | None]:
        given: dict[int, Any] = {}
        waiting, tries, count, stillborn, more = deque[int](), Tries(), 0, 0, True
        while more or given:
            while more and len(given) < self._most:
                try:
                    task = next(tasks)
                except StopIteration:
                    more = False
                    break
                if task is None:
                    break
                given[count] = task
                waiting.append(count)
                count += 1
            while len(self._workers) < min(self._most, len(given)):
                self._workers.append(_Worker())
            for worker in self._workers:
                if worker.task is None and waiting:
                    worker.task = waiting.popleft()
                    # If the worker died, `wait` reports it next.
                    with suppress(OSError):
                        worker.pipe.send((work, given[worker.task]))
            ended: list[tuple[Any, Failure | None]] = []
            for pipe in wait([w.pipe for w in self._workers], timeout=_TICK):
                worker = next(w for w in self._workers if w.pipe is pipe)
                try:
                    kind, content = worker.pipe.recv()
                except (EOFError, OSError):
                    kind, content = "dead", None
                if kind == "ready":
                    worker.ready, stillborn = True, 0
                    continue
                if kind == "progress":
                    progress(content)
                    continue
                index, worker.task = worker.task, None
                if kind == "dead":
                    self._workers.remove(worker)
                    content = Fault(f"its worker process ended with {_cause(worker)}")
                    if not worker.ready:
                        stillborn += 1
                        if stillborn > TRIES:
                            raise BadInputError(
                                f"worker processes cannot start: the last one ended with {_cause(worker)}"
                            )
                        if index is not None:
                            waiting.append(index)
                        continue
                if kind == "stop":
                    # The others are still at tasks of this call, and would report them to the next.
                    self.close()
                    raise content
                if index is None:
                    continue
                if content is not None and tries.failed(index, given[index], content):
                    waiting.append(index)
                else:
                    ended.append((given.pop(index), None if content is None else tries.failures[-1]))
            if ended:
                yield from ended
            else:
                yield None

    def close(self) -> None:
        """Stop the workers: each finishes its current write, then abandons its task."""
        for worker in self._workers:
            # One that still starts has nothing to finish.
            worker.process.terminate() if worker.ready else worker.process.kill()
        deadline = time.monotonic() + _GRACE
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script: a new process would run it again, and no task needs it."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _cause(worker: _Worker) -> str:
    worker.process.join()
    code = worker.process.exitcode or 0
    if code >= 0:
        return f"exit code {code}"
    # The system kills what takes too much, and libraries in C++ abort where they get no more.
    perhaps = f", perhaps out of memory: {MORE_MEMORY}" if -code in (signal.SIGKILL, signal.SIGABRT) else ""
    return f"signal {-code} ({signal.Signals(-code).name}){perhaps}"


def _serve(pipe: Connection, parent: int, module: str | None) -> None:
    """Do tasks until the pipe closes: the main function of a worker, which may import a module first."""
    # Ctrl-C reaches the whole group of processes; the parent says what is to be done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: _stop(pipe))
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
    keep_freed_memory()

    def progress(share: float) -> None:
        if _stopping.is_set():
            raise _Stopped
        pipe.send(("progress", share))

    try:
        with one_thread():
            if module is not None:
                importlib.import_module(module)
            pipe.send(("ready", None))
            while not _stopping.is_set():
                work, task = pipe.recv()
                try:
                    pipe.send(("ended", attempt(work, task, progress)))
                except BadInputError as error:
                    pipe.send(("stop", error))
    except (EOFError, OSError, _Stopped):
        pass
    os._exit(0)


def _stop(pipe: Connection) -> None:
    # No task in hand: the worker waits for one, so closing the pipe ends it. A task in hand ends at its next progress.
    _stopping.set()
    pipe.close()


def _follow_parent(parent: int) -> None:
    """End this worker when the parent is gone, even if it was killed: nobody would collect the results."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
