"""Measure what an afternoon's commands take as whole processes: a design of a training set, and tuning a model on labelled images.

python benchmarks/workflows.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from microscope import MODEL, process
from rows import CORES, Row, write

ROOT = Path(__file__).parent.parent
DESIGN, TUNE = "design of 16 training conditions", "tune a model on 8 images of 256²"


def main() -> None:
    """Measure each once and write its row."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        example = ROOT / "examples/eight_labelled_images.py"
        subprocess.run([sys.executable, str(example), str(folder / "shots")], check=True)
        recipe = str(ROOT / "studies/recipes/au_on_carbon.yaml")
        design = ["design", "titan_corrected_300kv:residuals", "--recipe", recipe, "--out", str(folder / "design.yaml")]
        tune = ["model", "tune", MODEL, "--images", str(folder / "shots"), "--masks", str(folder / "shots")]
        for work, order in ((DESIGN, design), (TUNE, tune)):
            seconds, memory = process(*order)
            note = f"whole process, {CORES} cores, once; {memory:.2f} GiB at most; nothing to compare with"
            write(Row(work, seconds, None, "s", None, note=note))


if __name__ == "__main__":
    main()
