import sys
import time

import pytest

from passband.base import progress, terminal


@pytest.fixture
def fresh():
    """As a process that has printed nothing."""
    terminal._printed.clear()


def test_a_long_silence_is_broken_once_on_a_terminal(fresh, capsys, monkeypatch):
    """Elsewhere bad input stays one line on stderr."""
    with terminal.working(0.0):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with terminal.working(0.0):
        time.sleep(0.2)
    assert capsys.readouterr().err == "passband: working\n"
    with terminal.working(0.0):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_a_quick_command_says_nothing_else(fresh, capsys):
    with terminal.working(0.1):
        pass
    with terminal.working(0.1):
        terminal.show("answer")
        time.sleep(0.3)
    assert capsys.readouterr() == ("answer\n", "")


def test_a_stage_has_a_line_at_its_start_and_its_end(capsys):
    with progress.TerminalProgress() as shown:
        advance = shown.stage("exit waves", 2, 0)
        assert capsys.readouterr().err == "exit waves: 0 of 2\n"
        advance(1.0)
        advance(1.0)
        assert capsys.readouterr().err == "exit waves: 2 of 2 in 0:00:00\n"
        shown.stage("networks", 5, 5)
        assert capsys.readouterr().err == "networks: 5 of 5 were finished before\n"
