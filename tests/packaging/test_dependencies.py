"""What is imported is declared in pyproject.toml: the core's imports as dependencies, an extra's in the extra."""

import ast
import functools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Which distributions a module comes from; reading them takes a second.
DISTRIBUTIONS = packages_distributions()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: A signal of HyperSpy is returned only to who has HyperSpy; loguru comes with bioimageio.
UNDECLARED = {"hyperspy", "loguru"}

#: Beginnings of the names of modules that only an extra runs.
OF_AN_EXTRA = (
    "passband.app",
    "passband.cli.run_app",
    "passband.execution.dask_cluster",
    "passband.napari_plugin.panel",
    "passband.simulation.multislice.abtem",
)


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower() for line in requirements}


CORE = names(PROJECT["dependencies"])
EXTRAS = {key: names(lines) for key, lines in PROJECT["optional-dependencies"].items()}
OPTIONAL = (
    set().union(*(EXTRAS[key] for key in ("app", "cluster", "abtem", "exchange", "diversity", "curvature", "napari")))
    - CORE
)


@functools.cache
def imported():
    """Top-level names of every module that the source imports, also inside functions."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"passband"}


def distribution(module):
    return {name.lower() for name in DISTRIBUTIONS.get(module, [module])}


def test_every_import_is_declared():
    undeclared = {module for module in imported() - UNDECLARED if not distribution(module) & (CORE | OPTIONAL)}
    assert not undeclared


def test_every_core_dependency_is_imported():
    used = set().union(*(distribution(module) for module in imported()))
    assert not CORE - used


def optional_modules():
    modules = sorted(m for m in imported() if distribution(m) & OPTIONAL and not distribution(m) & CORE)
    # rosettasciio, in the core, brings Dask's arrays.
    modules.remove("dask")
    assert {"abtem", "panel", "bokeh", "tornado", "param", "distributed", "onnx"} <= set(modules)
    return modules


def at_import(body):
    """Top-level names of what a module imports when it is imported: not inside functions, nor for the type checker alone."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif (
            not isinstance(node, ast.FunctionDef) and getattr(getattr(node, "test", None), "id", "") != "TYPE_CHECKING"
        ):
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from at_import(getattr(node, part, None) or [])


def test_the_core_names_nothing_of_an_extra():
    optional = set(optional_modules())
    for path in (ROOT / "src").rglob("*.py"):
        name = path.relative_to(ROOT / "src").with_suffix("").as_posix().replace("/", ".")
        if not name.startswith(OF_AN_EXTRA):
            assert not optional & set(at_import(ast.parse(path.read_text(encoding="utf-8")).body)), name


@pytest.mark.slow
def test_the_core_imports_nothing_of_an_extra():
    code = (
        "import importlib, sys, pkgutil, passband\n"
        f"sys.modules.update(dict.fromkeys({optional_modules()!r}))\n"
        "for module in pkgutil.walk_packages(passband.__path__, 'passband.', onerror=lambda name: None):\n"
        f"    if not module.name.startswith({OF_AN_EXTRA!r}):\n"
        "        importlib.import_module(module.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_dev_brings_every_extra():
    assert "passband[all,docs]" in PROJECT["optional-dependencies"]["dev"]
    [line] = PROJECT["optional-dependencies"]["all"]
    # napari is large, and its users have it: `make test-plugins` installs it.
    assert set(re.search(r"\[(.*)\]", line)[1].split(",")) == set(EXTRAS) - {"all", "dev", "docs", "napari"}
