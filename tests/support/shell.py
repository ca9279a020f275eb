"""The command line in this process."""

import sys

import pytest

from passband.cli import main


def caller(monkeypatch, capsys, folder):
    """Return a function that runs the command line in a folder and returns exit code, stdout and stderr."""
    monkeypatch.chdir(folder)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["passband", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main.main()
        out = capsys.readouterr()
        return stop.value.code, out.out, out.err

    return run
