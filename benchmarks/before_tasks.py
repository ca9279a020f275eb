"""A study of segmentation on one core, by the current code and by the last commit before there were tasks and other modalities.

    python benchmarks/before_tasks.py

Both make the same networks. CPU seconds of whole processes, the two sides taking turns; the earlier code is checked out in a git worktree
and run by the same Python.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from earlier import ROOT, checked_out
from rows import alternate, compared, write

#: The commit that introduced tasks other than segmentation.
TASKS = "6696e92"
_ROUNDS = 4


def cpu_seconds() -> float:
    """Return the CPU seconds of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(tree: Path, study: Path) -> float:
    """Run a study from an empty folder by the code of a tree, and return 1."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "passband", "study", "run", str(study), "--out", "run", "--workers", "1"]
        environment = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    return 1.0


def main() -> None:
    with tempfile.TemporaryDirectory() as place, checked_out(f"{TASKS}^") as earlier:
        study = Path(place) / "study.yaml"
        larger = yaml.safe_load((ROOT / "studies/quick.yaml").read_text())
        larger |= {
            "specimens": str(ROOT / "studies/recipes/au_on_carbon.yaml"),
            "split": {"train": 48, "validation": 8, "test": 16},
            "network": {},
            "training": {"epochs": 12},
        }
        study.write_text(yaml.safe_dump(larger))
        rates = alternate(lambda: run(ROOT, study), lambda: run(earlier, study), _ROUNDS, cpu_seconds)
    unit = f"studies per CPU s; the last commit before tasks ({TASKS}^)"
    write(compared("segmentation study of five networks, one core", unit, rates, 0.98))


if __name__ == "__main__":
    main()
