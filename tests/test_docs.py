"""README and documentation link to what exists; `make docs` builds the site, where a broken link is an error."""

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

import passband
from passband.cli.main import app

ROOT = Path(__file__).parent.parent
INDEX = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/index.md"])
def test_links_lead_somewhere(name):
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists() and link != "gallery/index"]


def test_every_page_is_in_the_index():
    pages = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    listed = {line.strip() for line in INDEX.splitlines()}
    generated = {page for page in pages if page.startswith(("_build", "gallery"))}
    assert not pages - generated - listed - {"index"}


def test_the_readme_is_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 70


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_session_uses_public_names(name):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, name, "exec")
        assert set(re.findall(r"\bpb\.(\w+)", block)) <= {*passband.__all__}


WITH_EXAMPLES = [path for path in sorted((ROOT / "src").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_of_docstrings(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed


def commands():
    """Every command line of passband in README and pages: where it is, and its words."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("    passband "):
                yield pytest.param(shlex.split(line, comments=True)[1:], id=f"{page.stem}: {line.strip()[:60]}")


@pytest.mark.parametrize("words", list(commands()))
def test_commands_of_the_pages_exist(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options


def test_the_reference_names_what_exists():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in re.findall(r"auto(?:class|function|exception):: (\S+)", text):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
