"""The rules of the design that an import can break."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "passband"
FILES = sorted(SOURCE.rglob("*.py"))


def imports(path):
    """All modules that a file imports anywhere, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path):
    return {".".join(name.split(".")[:2]) for name in imports(path) if name.startswith("passband.")}


def test_the_foundations_import_nothing_of_ours():
    for name in ("electron", "frequencies", "seeds", "errors", "detectors"):
        assert not packages(SOURCE / f"{name}.py")
    # A condition's id is a hash, which is what seeds is for.
    assert packages(SOURCE / "conditions.py") <= {"passband.seeds", "passband.detectors", "passband.electron"}


@pytest.mark.parametrize("folder", ["optics", "shift", "specimen", "multislice", "imaging"])
def test_physics_opens_no_files_and_knows_no_networks(folder):
    for path in (SOURCE / folder).rglob("*.py"):
        assert not packages(path) & {
            "passband.store",
            "passband.networks",
            "passband.analysis",
            "passband.report",
            "passband.study",
        }, path
        calls = {
            n.func.id
            for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert "open" not in calls, path
        assert "pathlib" not in imports(path), path


def test_networks_and_optics_never_meet():
    for path in (SOURCE / "networks").rglob("*.py"):
        assert not packages(path) & {"passband.optics", "passband.shift"}, path
    for path in (SOURCE / "optics").rglob("*.py"):
        assert "passband.networks" not in packages(path), path


def test_figures_read_tables_only():
    allowed = {"passband.report", "passband.store"}
    for path in (SOURCE / "report").glob("*.py"):
        if path.name not in ("page.py", "__init__.py"):
            assert packages(path) <= allowed, path


def test_no_scheduler_in_the_science():
    for path in FILES:
        if path.parent != SOURCE and path.name != "abtem_engine.py":
            assert not imports(path) & {"multiprocessing", "concurrent.futures", "dask", "distributed"}, path


def test_only_paths_builds_paths():
    names = re.compile(r'/ f?"(study\.yaml|analysis\.json|report\.html|figures|cells|exit_waves|[{a-z]*\.parquet")')
    assert names.search('folder / "cells" / x')
    for path in FILES:
        if path.name not in ("paths.py",):
            assert not names.search(path.read_text(encoding="utf-8")), path


def test_files_can_be_read_in_one_sitting():
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
