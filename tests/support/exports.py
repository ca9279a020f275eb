"""A small set of training images, and runs of it that kill themselves.

`python -m support.exports FOLDER RECIPE NUMBER ...` makes six images, killed at the renames of these numbers, one run after the other.
"""

import os
import signal
import sys
from pathlib import Path

from passband.conditions.sets import ConditionDraw
from passband.execution.base import Serial
from passband.report.simulated_folder import SimulatedFolder
from passband.specimens.recipe_files import load_recipe
from passband.studies.image_conditions import given_conditions
from passband.studies.image_export import ImageExport
from support.kills import kill_at
from support.studies import Quiet

RECIPE = """
seed: 3
field_angstrom: 25.6
particles:
  - {crystal: Au, count: [1, 2], diameter_angstrom: [10, 13]}
  - {crystal: Cu, count: [1, 1], diameter_angstrom: [9, 11]}
overlap: projected
boundary: across
substrate: {thickness_angstrom: [4, 6]}
"""
BASE = {"energy_ev": 300000, "pixel_size_angstrom": 0.4, "focal_spread_angstrom": 20, "dose_per_angstrom2": 500}
DRAWN = ConditionDraw(base=BASE, draw={"defocus_angstrom": [-50, 100], "C12": [0, 40]})


def plan(recipe, folder, count=20, conditions=DRAWN, **settings):
    return ImageExport(recipe, given_conditions(conditions), count, folder, **({"images_per_specimen": 2} | settings))


def export(*arguments, **settings):
    made = plan(*arguments, **settings)
    made.check()
    made.run(Serial(), Quiet(), memory=10**9)
    return SimulatedFolder.open(made.folder)


def main(folder, recipe, *numbers):
    # A fork of a process that has used Zarr, whose threads it lacks, would wait for them.
    for number in map(int, numbers):
        child = os.fork()
        if child == 0:
            kill_at(number, "before")
            export(load_recipe(Path(recipe)), Path(folder), 6, classes=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


if __name__ == "__main__":
    main(*sys.argv[1:])
