"""Do networks of the task instances part particles that overlap better than masks do? A small study of crowds of gold, two minutes on 2 cores.

    python benchmarks/instances.py [--folder FOLDER]

Prints the instance F1 of the networks under their own condition, and beside it what the true masks give: connected pixels, and these split at
necks as `passband segment` does. The truth is the particle of each pixel, the upper one where two overlap.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from scipy import ndimage

from passband.base.progress import TerminalProgress
from passband.execution.choose import make_executor
from passband.learning import task_of
from passband.learning.instances import separated
from passband.learning.particle_scores import compare, particle_scores, regions_of
from passband.micrographs.split_particles import split_touching
from passband.report.study_page import write_results
from passband.studies import runner
from passband.studies.jobs import test_targets
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study

_STUDY = """
name: crowds
specimens:
  seed: 4
  field_angstrom: 102.4
  overlap: projected
  particles:
    - {crystal: Au, count: [8, 11], diameter_angstrom: [18, 28]}
  substrate: {thickness_angstrom: [15, 25]}
exit_waves: {phonon_configurations: 1}
conditions:
  base: {energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500, pixel_size_angstrom: 0.8}
  vary: {defocus_angstrom: [80, 150]}
split: {train: 160, validation: 8, test: 40}
training: {epochs: 30}
q_max_per_angstrom: 0.6
task: instances
"""


def main() -> None:
    """Run the study and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the study stays; a temporary folder if left out")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "crowds.yaml"
        file.write_text(_STUDY, encoding="utf-8")
        study, paths = load_study(file), StudyPaths(folder / "crowds")
        with make_executor("processes", 2) as executor, TerminalProgress() as progress:
            runner.run(study, paths.folder, executor, progress, finish=write_results)
        scores = pl.read_parquet(paths.table("scores"))
        own = scores.filter(pl.col("train_condition") == pl.col("test_condition"))
        print(f"networks: {', '.join(f'{f1:.2f}' for f1 in own['instance_f1'])}")
        test, task = study.tests[0], task_of("instances")
        targets = test_targets(study, paths, test).numpy()
        pixel = test.condition.pixel_size_angstrom
        ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "connected pixels of the true masks": lambda distance: ndimage.label(distance > 0)[0],
            "true masks, split at necks": lambda distance: split_touching(ndimage.label(distance > 0)[0], pixel),
            "the target itself": separated,
        }
        truth = task.truth(targets, pixel)
        for name, parted in ways.items():
            called = regions_of(np.stack([parted(one) for one in targets]).astype(np.int32), pixel)
            counted = particle_scores({key: np.sum(values) for key, values in compare(called, truth).items()})
            print(f"{name}: {counted['instance_f1']:.2f}")


if __name__ == "__main__":
    main()
