import numpy as np
import pytest
from ase import Atoms
from pydantic import ValidationError

from passband.base.frequencies import disc_indices
from passband.simulation.hrtem import scatter
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.abtem_engine import exit_wave
from passband.simulation.particle_truth import particle_truth
from passband.simulation.wave_store import wave_id
from passband.specimens import PhaseLabel, SpecimenRecipe, draw_specimen, particle_mask

FIELD, BAND = 25.6, 0.8
CONFIG = ExitWaveConfig(sampling_angstrom=0.4, band_per_angstrom=BAND, phonon_configurations=1)
PHASE = {
    "field_angstrom": FIELD,
    "label": "phase",
    "particles": [{"shape": "sphere", "diameter_angstrom": 15.0}],
    "substrate": {"thickness_angstrom": 8.0},
}


def slow_mask(specimen, label):
    """The wave of the particles on a fine grid by abTEM, summed frequency by frequency; a Gaussian weighted pixel by pixel."""
    own = specimen.particle > 0
    alone = Atoms(specimen.atoms.numbers[own], specimen.atoms.positions[own], cell=specimen.atoms.cell, pbc=True)
    fine = ExitWaveConfig(sampling_angstrom=0.08, band_per_angstrom=BAND, phonon_configurations=1)
    wave = exit_wave(alone, fine, {"Au": 0.0}, seed=0).coefficients[0]
    x = np.arange(64) * 0.4
    psi = sum(
        c * np.exp(2j * np.pi * (kx * x[:, None] + ky * x) / FIELD)
        for c, (kx, ky) in zip(wave, disc_indices(BAND * FIELD).tolist(), strict=True)
    )
    shows = np.abs(np.angle(psi)) > label.phase_rad
    away = np.minimum(x, FIELD - x)
    weight = np.exp(-0.5 * (away[:, None] ** 2 + away**2) / label.blur_angstrom**2)
    share = np.zeros((64, 64))
    for i, j in np.argwhere(shows):
        share += np.roll(weight, (i, j), (0, 1))
    return share / weight.sum() > 0.5


@pytest.mark.parametrize("blur", [1.6, 0.8])
def test_phase_label_is_that_of_a_slow_sum(blur):
    recipe = SpecimenRecipe(**PHASE | {"label": PhaseLabel(blur_angstrom=blur)})
    specimen = draw_specimen(recipe, 3)
    mask, slow = particle_truth(recipe, specimen, CONFIG), slow_mask(specimen, recipe.label)
    assert slow.sum() > 200
    assert (mask != slow).sum() < 0.02 * slow.sum()


def test_phase_label_knows_no_film_and_lies_inside_the_outline():
    recipe = SpecimenRecipe(**PHASE)
    specimen = draw_specimen(recipe, 0)
    mask, outline = particle_truth(recipe, specimen, CONFIG), particle_mask(specimen, 64)
    bare = SpecimenRecipe(**PHASE | {"substrate": None})
    assert np.array_equal(particle_truth(bare, draw_specimen(bare, 0), CONFIG), mask)
    assert not (mask & ~outline).any()
    assert 0.1 < mask.sum() / outline.sum() < 0.95
    assert np.array_equal(scatter(recipe, [0], CONFIG)[1][0].numpy(), mask)
    none = SpecimenRecipe(**PHASE | {"particles": [{"count": [0, 1], "diameter_angstrom": 15.0}]})
    empty = next(s for s in (draw_specimen(none, i) for i in range(20)) if not s.particles)
    assert not particle_truth(none, empty, CONFIG).any()


def test_a_label_is_part_of_the_waves_id_only_where_it_is_chosen():
    usual = SpecimenRecipe(**PHASE | {"label": "outline"})
    assert "label" not in usual.model_dump(mode="json")
    phase = SpecimenRecipe(**PHASE)
    assert SpecimenRecipe(**phase.model_dump(mode="json")) == phase != usual
    wider = SpecimenRecipe(**PHASE | {"label": {"kind": "phase", "blur_angstrom": 1.0}})
    assert len({wave_id(r, CONFIG) for r in (usual, phase, wider)}) == 3
    for wrong in ("edges", {"kind": "phase", "phase_rad": 4.0}, {"kind": "phase", "blur_angstrom": -1.0}):
        with pytest.raises(ValidationError, match="label"):
            SpecimenRecipe(**PHASE | {"label": wrong})
