import numpy as np
import pytest

from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.simulation.least_contrast import least_contrast
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.particle_truth import vacuum_wave
from passband.specimens import GivenRecipe, SpecimenRecipe, draw_specimen
from passband.specimens.families import pack
from support import reference

FIELD = 25.6
CONFIG = ExitWaveConfig(
    sampling_angstrom=0.4, band_per_angstrom=0.8, phonon_configurations=1, slice_thickness_angstrom=0.5
)
CONDITION = Condition(energy_ev=300e3, focal_spread_angstrom=10.0, dose_per_angstrom2=400.0)


def test_a_thin_object_has_least_contrast_in_its_own_plane():
    """Contrast of a plane of carbon vanishes, to first order, where the microscope is focused on it; a film changes nothing."""

    def zero(before):
        atoms = np.array([[6.0, 7.0, 20.0], [14.0, 9.0, 20.0], [9.0, 17.0, 20.0], [3.0, 3.0, 2.0]])
        scene = pack("plane", 20.0 + before, np.full(4, 6), np.array([1, 1, 1, 0]), atoms)
        return least_contrast(GivenRecipe(field_angstrom=FIELD, scenes=[scene]), CONDITION, CONFIG, [0])

    near, far = zero(5.0), zero(31.5)
    assert (near, far) == pytest.approx((-5.0, -31.5), abs=1.5)
    # Vacuum between object and exit plane is exactly a change of focus.
    assert far - near == pytest.approx(-26.5, abs=0.11)


def test_no_focus_has_less_contrast_by_a_slow_sum():
    recipe = SpecimenRecipe(
        field_angstrom=FIELD, particles=[{"crystal": "Si", "shape": "sphere", "diameter_angstrom": 16.0}]
    )
    found = least_contrast(recipe, CONDITION, CONFIG, [0, 1])
    k, n = disc_indices(0.8 * FIELD), 96
    waves = [vacuum_wave(draw_specimen(recipe, i), CONFIG)[0] for i in (0, 1)]

    def variance(c10):
        at = CONDITION.varied({"C10": c10})
        t = np.array([reference.t(at, kx / FIELD, ky / FIELD) for kx, ky in k.tolist()])
        total = 0.0
        for wave in waves:
            spectrum = np.zeros((n, n), dtype=complex)
            spectrum[k[:, 0] % n, k[:, 1] % n] = wave.numpy() * t
            total += (np.abs(np.fft.ifft2(spectrum) * n**2) ** 2).var()
        return total

    assert -16 < found < -3
    # A camera of 0.4 Å cuts what little intensity has finer detail.
    assert min(np.arange(-60, 61, 4).tolist(), key=variance) == pytest.approx(found, abs=2.5)
    assert variance(found) < min(variance(found - 2), variance(found + 2))
