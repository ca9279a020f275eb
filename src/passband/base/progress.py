"""Progress on stderr: a bar with an estimate on a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from passband.base.terminal import error, note, plain

_LINE_EVERY = 10.0


class TerminalProgress(Progress):
    """A bar a stage on a terminal; elsewhere a line at each stage's start and end, and every ten seconds."""

    def __init__(self, *, quiet: bool = False):
        """Show progress on stderr, or nowhere."""
        console = Console(quiet=True) if quiet else error
        super().__init__(
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.1f} of {task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
            disable=not console.is_terminal,
        )

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        note(text, self.console)

    def stage(self, name: str, total: int, done: int) -> "_Stage":
        """Begin a stage; the returned function advances it."""
        return _Stage(self, plain(name), total, done)


class _Stage:
    def __init__(self, bars: Progress, name: str, total: int, done: int):
        self._bars, self._name, self._total = bars, name, total
        self._task = bars.add_task(name, total=total, completed=done)
        self._first, self._done = done, float(done)
        self._began = self._last_line = time.monotonic()
        self._print(f"{name}: {done} of {total}{' were finished before' * (done > 0)}")

    def __call__(self, share: float) -> None:
        """Advance by a share of one unit."""
        self._done += share
        self._bars.update(self._task, completed=min(self._done, self._total))
        now = time.monotonic()
        if self._done > self._total - 1e-6:
            self._print(f"{self._name}: {self._total} of {self._total} in {clock(now - self._began)}")
        elif now - self._last_line > _LINE_EVERY:
            self._last_line = now
            left = (now - self._began) * (self._total - self._done) / max(self._done - self._first, 1e-9)
            self._print(
                f"{self._name}: {round(self._done, 1):.15g} of {self._total}, {clock(now - self._began)} elapsed, about {clock(left)} left"
            )

    def _print(self, text: str) -> None:
        if not self._bars.console.is_terminal:
            self._bars.console.print(text, highlight=False, soft_wrap=True, markup=False)


def clock(seconds: float) -> str:
    """Return h:mm:ss."""
    return f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02}:{int(seconds) % 60:02}"
