"""What an executor is, and the simplest: one task after the other in this process."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from passband.base.errors import MORE_MEMORY, BadInputError, JobFailedError, lacks_memory

#: Called with the units of work just done: specimens for waves, shares of one cell elsewhere.
Progress = Callable[[float], None]
Work = Callable[[Any, Progress], None]
Given = TypeVar("Given")
Made = TypeVar("Made")
#: Attempts at a task that ends its worker, or fails for an unknown reason, before it counts as failed.
TRIES = 3
# Seconds between two questions for a task that has not arrived.
_TICK = 0.1


@dataclass(frozen=True)
class Failure:
    """A task that failed, the cause in one line, and the number of attempts."""

    task: Any
    reason: str
    tries: int


class StageProgress(Protocol):
    """Shows the progress of stages."""

    def note(self, text: str) -> None:
        """Show a line of text."""

    def stage(self, name: str, total: int, done: int) -> Progress:
        """Begin a stage of `total` units with `done` finished before; return the function that advances it."""


class Executor:
    """Runs tasks in any order. A failed task does not stop the others; bad input does."""

    @property
    def workers(self) -> int:
        """Tasks that can be in work at the same time."""
        return 1

    def start(self, module: str) -> None:
        """Let workers that have to start do so now, and import a module that tasks will need."""

    def map(self, work: Work, tasks: Sequence[Any], progress: Progress) -> list[Failure]:
        """Call work(task, progress), which can be pickled, for every task and return those that failed.

        `progress` is called in this process as parts of tasks are done.

        Raises:
            BadInputError: if a fault would stop the other tasks too, such as a full disk, or workers cannot start.
        """
        raise NotImplementedError

    def stream(self, work: Work, tasks: Iterator[Any]) -> Iterator[tuple[Any, Failure | None] | None]:
        """Call work(task, progress) for tasks that arrive one by one; yield each as it ends, with its failure or None.

        `tasks` yields None as long as no task has arrived; then, and at least every half second, None is yielded, too.

        Raises:
            BadInputError: as `map`.
        """
        for task in tasks:
            if task is None:
                time.sleep(_TICK)
                yield None
            else:
                yield task, next(iter(self.map(work, [task], lambda share: None)), None)

    def share(self, folder: Path) -> None:
        """Check that every worker, now and later, runs this passband and sees this folder, as all on this machine do.

        Raises:
            BadInputError: naming the worker that does not.
        """

    def close(self) -> None:
        """Stop; unfinished tasks are abandoned."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()


class Serial(Executor):
    """One task after the other, in this process."""

    def map(self, work: Work, tasks: Sequence[Any], progress: Progress) -> list[Failure]:
        """Call work(task, progress) for every task and return those that failed."""
        import torch

        tries = Tries()
        # The caller's random numbers go on as if nothing had been computed.
        with one_thread(), torch.random.fork_rng(devices=()):
            for index, task in enumerate(tasks):
                again = True
                while again:
                    fault = attempt(work, task, progress)
                    again = fault is not None and tries.failed(index, task, fault)
        return tries.failures


@dataclass(frozen=True)
class Fault:
    """Why an attempt failed, and whether another attempt cannot succeed."""

    reason: str
    final: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "Fault":
        """Return the fault of an error of any kind, with a remedy if memory ran out."""
        text = f"{type(error).__name__}: {error}"
        return cls(f"too little memory ({text}): {MORE_MEMORY}" if lacks_memory(error) else text)


class Tries:
    """Counts the attempts at each task, and collects those that failed for good."""

    def __init__(self) -> None:
        """Start without failures."""
        self._count: Counter[int] = Counter()
        self.failures: list[Failure] = []

    def failed(self, index: int, task: Any, fault: Fault) -> bool:
        """Record a failed attempt at the task of this number; return whether to try again."""
        self._count[index] += 1
        if not fault.final and self._count[index] < TRIES:
            return True
        self.failures.append(Failure(task, " ".join(fault.reason.split()), self._count[index]))
        return False


def attempt(work: Work, task: Any, progress: Progress) -> Fault | None:
    """Call work(task, progress); return the fault of this task, or None. Bad input, which would stop every task, is raised."""
    try:
        work(task, progress)
    except BadInputError:
        raise
    except JobFailedError as error:
        return Fault(str(error), final=True)
    except Exception as error:
        return Fault.of(error)
    return None


def in_threads(work: Callable[[Given], Made], given: Iterable[Given], threads: int) -> Iterator[Made]:
    """Yield work(item) of each item, in order, done in this thread or in several."""
    if threads == 1:
        yield from map(work, given)
    else:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, given)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: sums are split between threads, so their number would change the last digits."""
    # It takes a second, and a command that starts workers does so first.
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
