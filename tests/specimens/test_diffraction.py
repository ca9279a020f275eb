"""Lattice spacings measured from multislice diffraction patterns of particles, beside tabulated ones."""

import numpy as np
import pytest

from passband.base.frequencies import disc_indices
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.abtem_engine import exit_wave
from passband.specimens import ParticleRecipe, SpecimenRecipe, draw_specimen

FIELD = 64.0
CONFIG = ExitWaveConfig(phonon_configurations=1, sampling_angstrom=0.25, band_per_angstrom=0.8)
# Zone axis, and the spacing of the strongest reflection [Å] as the powder diffraction file has it.
CASES = {
    "Au": ((0, 0, 1), 2.039),  # 200
    "W": ((0, 0, 1), 2.238),  # 110
    "Si": ((1, 1, 0), 3.1355),  # 111
    "PbS": ((0, 0, 1), 2.969),  # 200
    "CeO2": ((0, 0, 1), 1.913),  # 220
    "CdS-wurtzite": ((0, 0, 1), 2.068),  # 110
    "CdSe-zincblende": ((0, 0, 1), 2.139),  # 220
    "TiO2-rutile": ((0, 0, 1), 3.247),  # 110
    "TiO2-anatase": ((0, 0, 1), 1.892),  # 200
}


def strongest_spacing(recipe):
    """Return 1/|q| of the four brightest spots of the strongest ring: the mean over each spot's centre of gravity."""
    specimen = draw_specimen(recipe, 0)
    still = dict.fromkeys(recipe.displacements(), 0.0)
    wave = exit_wave(specimen.atoms, CONFIG, still, seed=0).coefficients[0]
    k = disc_indices(CONFIG.band_per_angstrom * FIELD).numpy()
    q, power = k / FIELD, np.abs(wave) ** 2
    power = np.where(np.linalg.norm(q, axis=1) > 0.15, power, 0)
    ring = np.linalg.norm(q[power.argmax()])
    power = np.where(np.abs(np.linalg.norm(q, axis=1) - ring) < 0.05, power, 0)
    found = []
    for _ in range(4):
        middle = q[power.argmax()]
        near = np.linalg.norm(q - middle, axis=1) < 0.035
        found.append(np.linalg.norm((power[near, None] * q[near]).sum(0) / power[near].sum()))
        power[np.linalg.norm(q - middle, axis=1) < 0.1] = 0
    return 1 / np.mean(found)


def family(name, scale=1.0):
    axis, _ = CASES[name]
    particle = ParticleRecipe(
        crystal=name, shape="sphere", diameter_angstrom=40.0, lattice_scale=scale,
        orientation={"zone_axes": [axis], "tilt_rad": 0.0},
    )  # fmt: skip
    return SpecimenRecipe(field_angstrom=FIELD, substrate=None, particles=[particle])


@pytest.mark.parametrize("name", list(CASES))
def test_spacings_are_those_of_the_tables(name):
    assert strongest_spacing(family(name)) == pytest.approx(CASES[name][1], rel=0.005)


def test_a_scaled_lattice_scatters_at_scaled_angles():
    ratio = strongest_spacing(family("Au", 1.05)) / strongest_spacing(family("Au"))
    assert ratio == pytest.approx(1.05, rel=0.002)
