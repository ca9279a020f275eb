"""Work that only the newest request deserves: while one is worked on, those that come are forgotten but for the last."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from passband.base.errors import BadInputError


@dataclass(frozen=True)
class Step:
    """What is done on a request.

    Attributes:
        work: done in a thread.
        show: called with its result where the page may be changed.
        pause: seconds that a request has to be the newest before it is worked on.
    """

    work: Callable[[Any], Any]
    show: Callable[[Any], None]
    pause: float = 0.0


@dataclass(eq=False)
class Latest:
    """A queue of length one.

    Attributes:
        step: what is done.
        refuse: called with the one line of what is wrong with a request.
        later: calls a function where the page may be changed.
    """

    step: Step
    refuse: Callable[[str], None]
    later: Callable[[Callable[[], None]], Any]
    _waiting: list[Any] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    def ask(self, request: Any) -> None:
        """Have a request worked on, in the place of any that waits."""
        self._waiting = [request]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            if self.step.pause:
                asked = self._waiting
                await asyncio.sleep(self.step.pause)
                if self._waiting is not asked:
                    continue
            request = self._waiting.pop()
            try:
                result = await asyncio.to_thread(self.step.work, request)
            except BadInputError as error:
                self.later(lambda line=str(error): self.refuse(line))  # type: ignore[misc]
            else:
                self.later(lambda result=result: self.step.show(result))  # type: ignore[misc]
