"""Run a command line: every fault is one line on stderr and an exit code."""

import atexit
import gc
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from passband.base.errors import BadInputError, lacks_memory
from passband.base.terminal import plain
from passband.cli.options import RENAMED, option
from passband.execution.allocator import keep_freed_memory

# Newer Typer carries its own copy of click, so its exceptions are reached through Typer: BadParameter, UsageError, then this.
_ClickException: Any = typer.BadParameter.__mro__[2]
_INTERRUPTED = 130


class _Terminated(BaseException):
    """SIGTERM, as batch systems send it."""


def run_app(app: typer.Typer) -> None:
    """Run a command line and exit: 0 success, 1 the answer is no, 2 bad input or a fault, 130 interrupted, 143 SIGTERM."""
    signal.signal(signal.SIGTERM, _terminate)
    keep_freed_memory()
    # A command draws into files; only here is a backend chosen, unless the user has chosen one.
    os.environ.setdefault("MPLBACKEND", "Agg")
    # The system takes back what is left faster than a last search for garbage does, by half a second.
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        # No encoding has all characters: file names may not even be text.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    command = typer.main.get_command(app)
    known = _options(command, sys.argv[1:])
    words = [_present(word, known) for word in sys.argv[1:]]
    if "--help" in words:
        _tidy_help(command)
    atexit.register(_drop_unwritten)
    with _one_line_errors(command, words):
        code = command.main(words, standalone_mode=False)
        if code == _INTERRUPTED:
            # Newer Typer catches Ctrl-C itself.
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)


def _drop_unwritten() -> None:
    """Discard messages that could not be written, which Python would otherwise make a fault of at its end."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _options(command: Any, words: list[str]) -> set[str]:
    """Return the options of the verb that the words name."""
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    return {name for parameter in command.params for name in parameter.opts}


def _present(word: str, known: set[str]) -> str:
    """Return an option by its present name; one that the verb knows stays."""
    name, equals, value = word.partition("=")
    return word if name in known else f"{RENAMED.get(name, name)}{equals}{value}"


def _tidy_help(command: Any) -> None:
    """Let the help break lines where the terminal does, and of a flag name no type: there is no value to give."""
    command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", command.help or "")
    for parameter in command.get_params(typer.Context(command)):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _tidy_help(inner)


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


@contextmanager
def _one_line_errors(command: Any, words: list[str]) -> Iterator[None]:
    try:
        yield
    except BadInputError as fault:
        _fail(fault.text(option))
    except _ClickException as fault:
        if not fault.format_message():
            # The help has been printed: no verb was given.
            sys.exit(2)
        _fail(_usage(fault, words))
    except (KeyboardInterrupt, typer.Abort):
        _fail(f"stopped{_resumed(command, words)}", code=_INTERRUPTED)
    except _Terminated:
        _fail(f"ended by SIGTERM{_resumed(command, words)}", code=143)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as fault:
        if lacks_memory(fault):
            _fail("too little memory; close other programs, or use fewer --workers, smaller images or another computer")
        if isinstance(fault, OSError):
            remedy = "; ask its owner for the right to read it" if isinstance(fault, PermissionError) else ""
            _fail(f"{fault.filename or 'a file'}: {fault.strerror or fault}{remedy}")
        if "PASSBAND_TRACEBACK" in os.environ:
            raise
        where = fault.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = "" if where is None else f" ({Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno})"
        _fail(
            f"a fault of passband: {type(fault).__name__}: {str(fault)[:300]}{place}; "
            "please report it with the traceback that PASSBAND_TRACEBACK=1 shows"
        )


def _usage(fault: Any, words: list[str]) -> str:
    """Return a fault of the command line with the value at fault and where the help is."""
    names = getattr(getattr(fault, "param", None), "opts", [])
    given = [value for name, value in pairwise(words) if name in names]
    given += [value for name, _, value in (word.partition("=") for word in words) if name in names and value]
    text = fault.format_message().rstrip(".")
    text = text.replace("Input should", "it should").replace(", unable to parse string as a number", "")
    path = fault.ctx.command_path if getattr(fault, "ctx", None) else "passband"
    got = f", got {given[-1]!r}" if given and repr(given[-1]) not in text else ""
    return f"{text}{got}; see {path} --help"


def _resumed(command: Any, words: list[str]) -> str:
    """Return what remains of a stopped command: its help says whether it can be resumed."""
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    resumes = "resume" in (command.help or "")
    return "; run the same command again to go on, finished work is kept" if resumes else ""


def _fail(message: str, code: int = 2) -> None:
    # The reason may be the disk that stderr is written to.
    with suppress(OSError):
        print(f"passband: {plain(' '.join(message.split()))}", file=sys.stderr, flush=True)
    sys.exit(code)
