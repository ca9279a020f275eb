"""Pack what a GPU machine without network lacks: wheels, and what a CPU makes of the cases that the GPU is checked on."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np

from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.base.version import __version__
from passband.files.atomic import read_json, write_json
from tools.gpu_session import ROOT, cases

#: Packages that a machine with PyTorch, NumPy and SciPy lacks, and a session needs.
PACKAGES = (
    *("ase", "gemmi", "spglib", "wulffpack", "safetensors", "pyyaml"),
    *("pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection"),
    *("zarr", "numcodecs", "google-crc32c", "donfig", "packaging"),
)
#: Bytes that wheels, reference and the repository's files may have together.
MOST = 60_000_000
WHEELS, REFERENCE, FACTS = "wheels", "reference.npz", "pack.json"
# The machine's Python, and the platforms that its C library can run.
_PYTHON = "3.12"
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")  # fmt: skip


def pack(folder: Path, *, small: bool = False, wheels: bool = True) -> dict[str, int]:
    """Write wheels and reference into a folder; return the bytes of what travels.

    Raises:
        BadInputError: if pip cannot get a wheel, or all is more than `MOST` bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if wheels:
        download(folder / WHEELS)
    arrays = cases.reference(cases.SMALL if small else cases.FULL)
    with (folder / f"{REFERENCE}.partial").open("wb") as file:
        np.savez_compressed(file, **arrays)
    (folder / f"{REFERENCE}.partial").rename(folder / REFERENCE)
    sizes = {path.name: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    sizes["the repository"] = repository_bytes()
    check(sizes)
    write_json(folder / FACTS, {"passband": __version__, "code": code(), "python": _PYTHON, "bytes": sizes})
    return sizes


def download(folder: Path) -> None:
    """Download the wheels that this environment has, for the machine's Python; older ones in the folder are removed."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.whl"):
        path.unlink()
    wanted = [f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={_PYTHON}", f"--dest={folder}"]
    command += [f"--platform={name}" for name in _PLATFORMS] + [f"--constraint={ROOT / 'constraints.txt'}"]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        raise BadInputError(
            f"pip cannot get the wheels ({last}); install what it names in this environment, or go online"
        )


def repository_bytes() -> int:
    """Return the bytes of the repository's files, as git lists them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607
    return sum((ROOT / name).stat().st_size for name in listed.split("\0") if name and (ROOT / name).is_file())


def check(sizes: dict[str, int]) -> None:
    """Refuse, by a BadInputError, more than `MOST` bytes."""
    total = sum(sizes.values())
    if total > MOST:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:6]
        named = ", ".join(f"{name} {sizes[name] / 1e6:.1f}" for name in largest)
        raise BadInputError(
            f"the pack and the repository have {total / 1e6:.1f} MB, more than {MOST / 1e6:.0f}; leave something out; the largest, in MB: {named}"
        )


def code() -> str:
    """Return a hash of the code that decides the reference."""
    files = [path for place in ("src", "tools/gpu_session") for path in sorted((ROOT / place).rglob("*.py"))]
    return content_id({str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}, 16)


def read(pack: Path) -> dict[str, np.ndarray]:
    """Return the reference; a BadInputError if it is missing, or was made by other code."""
    facts = read_json(pack / FACTS)
    if not isinstance(facts, dict) or facts.get("code") != code():
        raise BadInputError(
            f"{pack}: was not made by this code; run `python tools/gpu_session pack --out {pack}` in this checkout"
        )
    with np.load(pack / REFERENCE) as stored:
        return dict(stored)
