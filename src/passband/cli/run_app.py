"""Run a command line: every fault is one line on stderr and an exit code."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from passband.base.errors import BadInputError
from passband.cli.options import option

# Newer Typer carries its own copy of click, so its exceptions are reached through Typer: BadParameter, UsageError, then this.
_ClickException: Any = typer.BadParameter.__mro__[2]


class _Terminated(BaseException):
    """SIGTERM, as batch systems send it."""


def run_app(app: typer.Typer) -> None:
    """Run a command line and exit: 0 success, 1 the answer is no, 2 bad input, 130 interrupted, 143 SIGTERM."""
    signal.signal(signal.SIGTERM, _terminate)
    # A command draws into files; only here is a backend chosen, unless the user has chosen one.
    os.environ.setdefault("MPLBACKEND", "Agg")
    # The system takes back what is left faster than a last search for garbage does, by half a second.
    atexit.register(gc.freeze)
    with _one_line_errors():
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except BadInputError as fault:
        _fail(fault.text(option))
    except _ClickException as fault:
        _fail(f"{fault.format_message()} Try --help.")
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped; run the same command again to go on, finished work is kept", code=130)
    except _Terminated:
        _fail("ended by SIGTERM; run the same command again to go on, finished work is kept", code=143)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as fault:
        _fail(f"{fault.filename or 'a file'}: {fault.strerror or fault}")


def _fail(message: str, code: int = 2) -> None:
    print(f"passband: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
