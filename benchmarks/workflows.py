"""Measure what an afternoon's commands take as whole processes: a design of a training set, and tuning a model on labelled images.

python benchmarks/workflows.py
"""

import resource
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
            before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            seconds, memory = process(*order)
            core = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
            # Other work on the machine lengthens the first, hardly the second.
            note = f"whole process, once; {seconds:.0f} s by the clock on {CORES} cores; {memory:.2f} GiB at most; nothing to compare with"
            write(Row(work, core, None, "s of one core", None, note=note))


if __name__ == "__main__":
    main()
