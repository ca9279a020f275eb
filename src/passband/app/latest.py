"""Work on the newest request only: requests that arrive meanwhile replace each other."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from passband.base.errors import BadInputError


@dataclass(frozen=True)
class Step:
    """The work on a request.

    Attributes:
        work: runs in a thread.
        show: called with its result while the document is locked.
        pause: seconds that a request must be the newest before work starts.
    """

    work: Callable[[Any], Any]
    show: Callable[[Any], None]
    pause: float = 0.0


@dataclass(eq=False)
class Latest:
    """A queue of length one.

    Attributes:
        step: the work.
        refuse: called with the error of a request.
        later: calls a function while the document is locked.
    """

    step: Step
    refuse: Callable[[BadInputError], None]
    later: Callable[[Callable[[], None]], Any]
    _waiting: list[Any] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    def submit(self, request: Any) -> None:
        """Queue a request in place of any that waits."""
        self._waiting = [request]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            if self.step.pause:
                newest = self._waiting
                await asyncio.sleep(self.step.pause)
                if self._waiting is not newest:
                    continue
            request = self._waiting.pop()
            try:
                result = await asyncio.to_thread(self.step.work, request)
            except BadInputError as error:
                self.later(lambda error=error: self.refuse(error))  # type: ignore[misc]
            else:
                self.later(lambda result=result: self.step.show(result))  # type: ignore[misc]
