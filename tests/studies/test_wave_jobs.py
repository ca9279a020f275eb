import numpy as np

from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe
from passband.studies.wave_jobs import WavesJob, open_wave_set, prepare_waves


def test_specimens_computed_at_once_are_stored_as_one_by_one(tmp_path):
    """A GPU computes a job's specimens at once; so here, where the same waves must come out."""
    recipe = SpecimenRecipe(field_angstrom=51.2, seed=3)
    stored = []
    for how in ("one by one", "at once"):
        waves = open_wave_set(recipe, ExitWaveConfig(phonon_configurations=1), tmp_path / how)
        [job] = prepare_waves(waves, 3, [0, 1, 2])
        units: list[float] = []
        if how == "at once":
            assert isinstance(job, WavesJob)
            job._make(job.specimens, units.append)
        else:
            job.run(units.append)
        assert job.is_finished() and sum(units) == 3
        stored.append(waves.read(0, 3))
    for first, second in zip(*stored, strict=True):
        np.testing.assert_array_equal(first, second)
