"""A command line in this process."""

import io
import signal
from contextlib import redirect_stderr, redirect_stdout

import pytest
from typer import Typer

from passband.cli.main import app
from passband.cli.run_app import run_app


def run_here(*words, app: Typer = app):
    """Run a command line in this process and return exit code, stdout and stderr."""
    ending = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error, pytest.MonkeyPatch.context() as patch:  # fmt: skip
        patch.setattr("sys.argv", ["passband", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            run_app(app)
    signal.signal(signal.SIGTERM, ending)
    return stop.value.code, out.getvalue(), error.getvalue()
