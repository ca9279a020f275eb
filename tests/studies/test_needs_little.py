"""A machine that lends its GPU has PyTorch, NumPy and SciPy: simulating, training and testing there need little else."""

import subprocess
import sys

import pytest

from support.lacking import BLOCKED

WAVES_AND_TRAINING = """
sys.modules.update(dict.fromkeys(("zarr", "numcodecs", "safetensors")))
import torch
from passband.conditions import Condition
from passband.learning import NetworkConfig, TrainingConfig, train
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.image_source import ImageSource
from passband.simulation.multislice.engine import exit_waves
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe

recipe = SpecimenRecipe(field_angstrom=25.6, particles=[{"diameter_angstrom": 12.0}], substrate={"thickness_angstrom": 5.0})
waves = ExitWaveConfig(phonon_configurations=1)
stored, masks = scatter(recipe, range(3), waves)
given = Condition(energy_ev=300e3, aberrations={"C10": -80.0}, focal_spread_angstrom=20.0, pixel_size_angstrom=0.4, dose_per_angstrom2=500.0)
source = ImageSource(stored, masks, Imager(given, recipe.field_angstrom, waves))
network, history = train(NetworkConfig(widths=(4, 8)), TrainingConfig(epochs=2), source, source, seed=0)
assert len(history) == 2 and 0 < history[-1]["validation_loss"] < 5
"""

STUDIES = """
import passband.studies.jobs, passband.studies.wave_jobs, passband.execution.processes
"""


@pytest.mark.parametrize("work", [WAVES_AND_TRAINING, STUDIES], ids=["waves_and_training", "jobs_of_a_study"])
def test_a_machine_that_only_computes_needs_little(work):
    done = subprocess.run([sys.executable, "-c", BLOCKED + work], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
