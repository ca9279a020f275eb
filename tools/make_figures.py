"""Make the figures of README and documentation with the code as it is (`make figures`).

    python tools/make_figures.py [--study FOLDER] [--committed]

The matrix of losses comes from the demo's study, which is run if FOLDER does not hold it (5 minutes on 2 cores). With --committed a missing
study is not run, and the committed figure stays. Screenshots of the app need a browser: tools/app_screenshots.py.
"""

import argparse
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

# The work is too small to share between threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
#: Scripts of examples/ whose last figure is shown in a page.
EXAMPLES = ("amorphous_rdf", "axes", "partial_coherence")


def run(*arguments: str) -> None:
    """Run Python in the project's folder."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)  # noqa: S603


def loss_matrix(folder: Path, committed: bool) -> None:
    """Copy the matrix of losses from the report of the demo's study."""
    figure = folder / "figures" / "matrix_loss.png"
    if not figure.is_file():
        if committed:
            print(f"{folder} holds no finished study: docs/images/matrix_loss.png stays as committed")
            return
        run("-m", "passband.cli", "study", "run", "studies/defocus.yaml", "--out", str(folder))
    shutil.copyfile(figure, IMAGES / "matrix_loss.png")


def specimen() -> None:
    """Draw a scene from its atoms to its labels."""
    out = ROOT / "runs" / "figures"
    recipe = "studies/recipes/catalyst_on_ceria.yaml"
    run("-m", "passband.cli", "specimen", "preview", recipe, "--index", "1", "--out", str(out))
    shutil.copyfile(out / "catalyst_on_ceria-1.png", IMAGES / "specimen.png")


def example(name: str) -> None:
    """Run an example and save its last figure."""
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    plt.savefig(IMAGES / f"{name}.png", dpi=160)
    plt.close("all")


def main() -> None:
    """Make all figures."""
    parser = argparse.ArgumentParser(description="Make the figures of README and documentation.")
    parser.add_argument("--study", type=Path, default=ROOT / "runs" / "defocus", help="folder of the demo's study")
    parser.add_argument("--committed", action="store_true", help="keep the committed figure if the study is missing")
    options = parser.parse_args()
    loss_matrix(options.study, options.committed)
    specimen()
    for name in EXAMPLES:
        example(name)
    run("benchmarks/draw.py")


if __name__ == "__main__":
    main()
