"""Measure scenes per second of one core's time and their memory, and compare films with Construction Zone's amorphous generator.

    python benchmarks/specimens.py [--construction-zone PYTHON]

Construction Zone needs its own environment, because its pinned dependencies conflict with passband's:

    python3.11 -m venv cz && cz/bin/pip install "pip<24.1" && cz/bin/pip install --no-deps czone==2022.9.20
    cz/bin/pip install numpy scipy ase wulffpack pymatgen

Without --construction-zone cz/bin/python the comparison is left out.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import json
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rows import Row, compared, write
from scipy.spatial import cKDTree

from passband.specimens import SpecimenRecipe, draw_specimen, make_labels
from passband.specimens.substrates import SubstrateRecipe, draw_film

LARGE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 100.0,
        "particles": [{"diameter_angstrom": 50.0}],
        "substrate": {"thickness_angstrom": 50.0},
    }
)


def timed(work: Callable[[int], object], count: int) -> list[float]:
    """Return seconds of the core in each of `count` calls, after one to warm up."""
    work(count)
    seconds = []
    for i in range(count):
        began = time.process_time()
        work(i)
        seconds.append(time.process_time() - began)
    return seconds


def thousand_scenes() -> dict[str, float]:
    """Return seconds and peak memory [GiB] of the process after a thousand scenes of the default recipe, one after the other.

    Called first: the peak is the process's so far.
    """
    began = time.process_time()
    atoms = sum(len(draw_specimen(SpecimenRecipe(), i).atoms) for i in range(1000))
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "atoms": atoms,
    }


def films(python: str, rounds: int = 5) -> Row:
    """Compare carbon films of 100 × 100 × 50 Å, a film of each side in turn."""
    recipe, found = SubstrateRecipe(thickness_angstrom=50.0), {}
    draw_film(recipe, 100.0, np.random.default_rng(0))
    rates: tuple[list[float], list[float]] = ([], [])
    script = Path(__file__).with_name("construction_zone_film.py")
    for seed in range(rounds):
        began = time.process_time()
        film, _, _ = draw_film(recipe, 100.0, np.random.default_rng(seed))
        rates[0].append(1 / (time.process_time() - began))
        # Its own process, which does not count its start.
        done = subprocess.run(
            [python, str(script), "100", "100", "50", str(seed)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        rates[1].append(1 / found["seconds"])
    closest = float(cKDTree(film).query(film, k=2)[0][:, 1].min())
    return compared(
        "carbon film of 100 × 100 × 50 Å, one core",
        f"films/s, Construction Zone {found['version']}",
        rates,
        note=f"closest atoms {closest:.2f} and {found['smallest_distance']:.2f} Å; {len(film)} and {found['atoms']} atoms",
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--construction-zone", help="python of the environment that has it")
    options = parser.parse_args()
    many = thousand_scenes()
    scenes = timed(lambda i: draw_specimen(LARGE, i), 20)
    specimens = [draw_specimen(SpecimenRecipe(), i) for i in range(9)]
    labels = timed(lambda i: make_labels(specimens[i], 256), 8)
    rows = [
        _alone(
            "scene, 100 Å field, one core", statistics.median(scenes), f"s ({min(scenes):.3f} to {max(scenes):.3f})"
        ),
        _alone("labels of a scene, 256² pixels, one core", statistics.median(labels), "s"),
        _alone("1000 scenes, 51 Å field, one core", many["seconds"], f"s; {many['peak_gib']:.2f} GiB at most"),
    ]
    if options.construction_zone:
        rows.append(films(options.construction_zone))
    else:
        print("carbon film beside Construction Zone: left out; see --construction-zone at the top of this file")
    write(*rows)


def _alone(name: str, ours: float, unit: str) -> Row:
    return Row(name, ours, None, unit, None, note="nothing to compare with")


if __name__ == "__main__":
    main()
