"""Run all benchmarks one after the other and draw the table.

    python benchmarks/all.py [--construction-zone PYTHON]

Takes about 40 minutes on 2 cores. Each script writes its rows to benchmarks/results/<machine>.json when they are measured;
docs/benchmarks.md and docs/images/benchmarks.png are made from these files.
"""

import subprocess
import sys
from pathlib import Path

SCRIPTS = (
    "waves",
    "images",
    "stem",
    "training",
    "precision",
    "optics",
    "specimens",
    "dask_workers",
    "large_study",
    "first_version",
    "before_tasks",
    "plain_pipeline",
    "gather",
    "scores",
    "curvature",
    "microscope",
    "folder",
    "training_images",
    "workflows",
    "gpu",
)


def main() -> None:
    here = Path(__file__).parent
    for name in SCRIPTS:
        options = sys.argv[1:] if name == "specimens" else []
        subprocess.run([sys.executable, str(here / f"{name}.py"), *options], check=True)
    subprocess.run([sys.executable, str(here / "draw.py")], check=True)


if __name__ == "__main__":
    main()
