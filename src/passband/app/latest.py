"""Work on the newest request only: requests that arrive meanwhile replace each other."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from passband.base.errors import BadInputError


@dataclass(eq=False)
class Latest:
    """A queue of length one.

    Attributes:
        work: on a request; runs in a thread.
        show: called with its result while the document is locked.
        refuse: called with its error, likewise.
        later: calls a function while the document is locked.
        pause: seconds that a request must be the newest before work starts.
    """

    work: Callable[[Any], Any]
    show: Callable[[Any], None]
    refuse: Callable[[BadInputError], None]
    later: Callable[[Callable[[], None]], Any]
    pause: float = 0.0
    _waiting: list[Any] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    def submit(self, request: Any) -> None:
        """Queue a request in place of any that waits."""
        self._waiting = [request]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            if self.pause:
                newest = self._waiting
                await asyncio.sleep(self.pause)
                if self._waiting is not newest:
                    continue
            request = self._waiting.pop()
            try:
                result = await asyncio.to_thread(self.work, request)
            except BadInputError as error:
                self.later(partial(self.refuse, error))
            else:
                self.later(partial(self.show, result))
