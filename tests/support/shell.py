"""A command line in this process."""

import pytest
from typer import Typer

from passband.cli.main import app
from passband.cli.run_app import run_app


def caller(monkeypatch, capsys, folder, app: Typer = app):
    """Return a function that runs a command line in a folder and returns exit code, stdout and stderr."""
    monkeypatch.chdir(folder)

    def call(*words):
        monkeypatch.setattr("sys.argv", ["passband", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            run_app(app)
        out = capsys.readouterr()
        return stop.value.code, out.out, out.err

    return call
