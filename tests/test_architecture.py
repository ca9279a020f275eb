"""The rooms of the package, ground first: a room imports only from the rooms before it, and no two files import each other."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "passband"
FILES = sorted(SOURCE.rglob("*.py"))
#: CONTRIBUTING.md says what each is for.
ROOMS = (
    "base",
    "files",
    "execution",
    "conditions",
    "optics",
    "metrics",
    "specimens",
    "simulation",
    "learning",
    "network_measures",
    "analysis",
    "figures",
    "micrographs",
    "estimation",
    "models",
    "studies",
    "report",
    "verdicts",
    "sessions",
    "api",
    "app",
    "napari_plugin",
    "cli",
    "__main__",
)


def module(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imports(path):
    """All modules that a file imports anywhere, as dotted names: of ours the file that is meant, of others what is written."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else node.module)
    return names


IMPORTS = {name: {i for i in imports(path) if i in MODULES} for name, path in MODULES.items()}


def data(path):
    """Rooms whose files are opened as data of the package, such as files("passband.verdicts")."""
    return set(re.findall(r'files\("(passband\.\w+)', path.read_text(encoding="utf-8")))


def room(name):
    """The room of a file; the package's own list of names is in none."""
    return name.split(".")[1] if "." in name else None


def test_every_file_is_in_a_room():
    assert {room(name) for name in MODULES if name != "passband"} == set(ROOMS)
    assert {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(ROOMS)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "passband"])
def test_a_room_imports_from_the_rooms_before_it(name):
    after = ROOMS[ROOMS.index(room(name)) + 1 :]
    above = {i for i in IMPORTS[name] | data(MODULES[name]) if room(i) in (None, *after)}
    assert not above, f"{name} imports from rooms above its own"


def test_no_circles():
    open_, done = [], set()

    def visit(name):
        assert name not in open_, " → ".join([*open_[open_.index(name) :], name])
        if name not in done:
            open_.append(name)
            # A package's list of names is not a reason to import the package.
            for other in sorted(IMPORTS[name]):
                visit(other)
            done.add(open_.pop())

    for name in MODULES:
        if name != "passband":
            visit(name)


@pytest.mark.parametrize("folder", ["optics", "metrics", "specimens", "simulation/multislice", "simulation/imaging.py"])
def test_physics_opens_no_files(folder):
    for path in (path for path in FILES if path.is_relative_to(SOURCE / folder)):
        if path.name in ("recipe_files.py", "exchange.py"):
            continue
        calls = {
            n.func.id
            for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert "open" not in calls, path
        assert "pathlib" not in imports(path), path


def test_images_are_made_in_one_place():
    """Transfer, camera, intensity and counts are put together by an imager of `simulation/`, and by nobody else."""
    chain = re.compile(r"\b(image_grid|transfer_on_grid|camera_on_grid|expected_intensity|record)\(")
    assert chain.search((SOURCE / "simulation" / "hrtem.py").read_text(encoding="utf-8"))
    for name, path in MODULES.items():
        if room(name) != "simulation":
            assert not chain.search(path.read_text(encoding="utf-8")), path


def test_reports_load_no_network():
    for name in MODULES:
        if room(name) == "report":
            assert not {i for i in IMPORTS[name] if room(i) == "learning"}, name


def test_networks_know_no_optics():
    for name in MODULES:
        if room(name) == "learning":
            assert not {i for i in IMPORTS[name] if room(i) in ("optics", "metrics")}, name


def test_figures_read_tables_only():
    for name in MODULES:
        if room(name) == "figures":
            assert {room(i) for i in IMPORTS[name]} <= {"figures", "files"}, name


def test_no_scheduler_in_the_science():
    for name, path in MODULES.items():
        if room(name) not in ("execution", "cli") and path.name != "abtem_engine.py":
            assert not imports(path) & {"multiprocessing", "concurrent.futures", "dask", "distributed"}, path


def test_only_paths_builds_paths():
    names = re.compile(r'/ f?"(study\.yaml|analysis\.json|report\.html|figures|cells|exit_waves|[{a-z]*\.parquet")')
    assert names.search('folder / "cells" / x')
    for path in FILES:
        if path.name not in ("paths.py",):
            assert not names.search(path.read_text(encoding="utf-8")), path


def test_tests_import_helpers_from_support_only():
    tests = Path(__file__).parent
    ours = {path.stem for path in tests.rglob("*.py") if "support" not in path.parts}
    for path in tests.rglob("*.py"):
        names = {name for name in imports(path) if name.split(".")[0] in {*ours, "tests"}}
        assert not names, f"{path} imports {names}; what several modules need belongs in tests/support"
