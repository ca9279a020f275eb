"""Texture: the analytic form against simulated images, and its laws."""

import json

import pytest
import torch

from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.metrics.texture import (
    Scattering,
    Texture,
    film_excess,
    mean_contrast,
    measured_texture,
    scattering,
    set_texture,
    speckle,
    texture,
)
from passband.simulation import hrtem
from passband.simulation.imaging import normalize
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.recording import record
from passband.specimens.recipe_files import load_recipe

CONFIG = ExitWaveConfig(phonon_configurations=1)


@pytest.fixture(scope="module")
def gold():
    recipe = load_recipe("gold_on_carbon")
    stored, masks = hrtem.scatter(recipe, range(6), CONFIG)
    frequencies = disc_indices(CONFIG.band_per_angstrom * recipe.field_angstrom)
    return recipe, stored, masks, scattering(stored, frequencies, masks, recipe.field_angstrom)


def at(**fields):
    return Condition(energy_ev=300_000, focal_spread_angstrom=20.0, dose_per_angstrom2=500.0, **fields)


def test_analytic_texture_is_that_of_images_where_films_scatter_weakly(gold):
    recipe, stored, masks, specimens = gold
    conditions = [at(aberrations={"C10": c}) for c in (-200.0, -100.0, -50.0, 60.0, 150.0)]
    analytic = texture(conditions, specimens)
    measured = []
    for condition in conditions:
        images = hrtem.Imager(condition, recipe.field_angstrom, CONFIG).images(stored, masks, seed=1)
        measured.append(measured_texture(normalize(images.counts), images.masks, condition.pixel_size_angstrom))
    measured = Texture.joined(measured)
    # The first ring is an edge of particles, and particles scatter lattice fringes of 0.31 to 0.57 1/Å into the film beside them.
    plain = [1, 2, 6, 7, 8, 9, 10]
    assert (analytic.film - measured.film)[:, plain].abs().max() < 0.5
    assert (analytic.film - measured.film)[:, plain].abs().mean() < 0.12
    # What particles show more than once scattered is beyond a linear form.
    assert (analytic.particle - measured.particle)[:, 1:].abs().mean() < 0.4


def test_without_scattering_a_texture_is_that_of_shot_noise(gold):
    none = Scattering(torch.zeros(2, 60), torch.zeros(2, 60), torch.tensor([0.9, 0.1]))
    seen = texture([at(), at(aberrations={"C10": -300.0})], none)
    torch.testing.assert_close(seen.film, seen.particle)
    torch.testing.assert_close(seen.film[0], seen.film[1])
    images = normalize(torch.poisson(torch.full((8, 128, 128), 80.0), generator=torch.Generator().manual_seed(1)))
    masks = torch.zeros(8, 128, 128, dtype=torch.bool)
    masks[:, :64] = True
    noise = measured_texture(images, masks, 0.4)
    assert (noise.film - seen.film[:1]).abs().max() < 0.35


def test_without_scattering_a_texture_is_that_of_the_cameras_noise_and_the_background(gold):
    none = Scattering(torch.zeros(2, 60), torch.zeros(2, 60), torch.tensor([0.5, 0.5]))
    camera = {"mtf": 0.2, "correlated_noise": 0.8, "readout_electrons": 4.0, "gain_residue": 0.05}
    masks = torch.zeros(8, 128, 128, dtype=torch.bool)
    masks[:, :64] = True
    for c in (at(detector=camera), at(background=0.1, background_length_angstrom=1.5)):
        seen = texture([c], none)
        images = normalize(record(torch.ones(8, 128, 128), c, generator=torch.Generator().manual_seed(1)))
        noise = measured_texture(images, masks, 0.4)
        assert (noise.film - seen.film).abs().max() < 0.35


def test_a_weak_phase_object_is_seen_by_sin_squared(gold):
    # i φ_q for a phase object: ψ_q ψ_−q = −|ψ_q|², and the image has 4 sin²χ |ψ_q|².
    power = torch.ones(2, 60, dtype=torch.float64)
    weak = Scattering(power, -power.to(torch.complex128), torch.tensor([0.5, 0.5]))
    condition = Condition(energy_ev=300_000, aberrations={"C10": -80.0}, dose_per_angstrom2=None)
    q = (torch.arange(60, dtype=torch.float64) + 0.5) * 0.02
    chi = torch.pi * 0.0196875 * q**2 * -80.0
    expected = 4 * torch.sin(chi) ** 2
    centre, half = torch.linspace(0.05, 1, 12)[:-1] + 0.95 / 22, 0.95 / 22
    rings = torch.exp(-(((q - centre[:, None]) / half) ** 2)) @ expected / expected.sum() / 1.0
    torch.testing.assert_close(texture([condition], weak).film[0], (rings + 0.01).log(), atol=2e-3, rtol=0)


def test_a_set_is_the_mean_power_of_its_conditions(gold):
    specimens = gold[3]
    both = [at(aberrations={"C10": -100.0}), at(aberrations={"C10": 100.0})]
    same = set_texture([both[:1], both[1:]], specimens)
    torch.testing.assert_close(same.film, texture(both, specimens).film)
    mixed = set_texture([both], specimens).film[0]
    assert (mixed <= same.film.amax(0) + 1e-9).all()
    assert (mixed >= same.film.amin(0) - 1e-9).all()


def test_excess_is_directed_and_nothing_of_a_condition_on_itself(gold):
    seen = texture([at(aberrations={"C10": 0.0}), at(aberrations={"C10": -150.0})], gold[3])
    excess = film_excess(seen, seen)
    assert torch.equal(excess.diagonal(), torch.zeros(2, dtype=torch.float64))
    assert excess[0, 1] > 0.5  # a film that the training hardly showed
    assert (mean_contrast(seen) > 0).all()


def test_a_camera_damps_what_it_does_not_pass(gold):
    plain = at(aberrations={"C10": -100.0}).varied({"dose_per_angstrom2": None})
    blurred = Condition(**plain.to_dict() | {"detector": {"mtf": 0.1}})
    seen = texture([plain, blurred], gold[3])
    assert seen.particle[1, -1] < seen.particle[0, -1] - 0.1
    assert seen.film[1, 1] > seen.film[0, 1]


def test_texture_differentiates_and_needs_both_parts(gold):
    _, stored, masks, _ = gold
    with pytest.raises(ValueError, match="particles and with film"):
        scattering(stored, disc_indices(CONFIG.band_per_angstrom * 51.2), torch.ones_like(masks), 51.2)
    with pytest.raises(ValueError, match="particles and of film"):
        measured_texture(torch.zeros(1, 64, 64), torch.zeros(1, 64, 64, dtype=torch.bool), 0.4)


def test_scattering_is_restored_and_speckle_counts_the_film_over_the_noise(gold):
    *_, specimens = gold
    restored = Scattering.from_dict(json.loads(json.dumps(specimens.to_dict())))
    for name, value in vars(specimens).items():
        torch.testing.assert_close(getattr(restored, name), value)
    conditions = [at(aberrations={"C10": -150.0}, pixel_size_angstrom=0.4).varied(dose=d) for d in (100.0, 400.0)]
    once, four_times = speckle(conditions, specimens)
    torch.testing.assert_close(four_times, 4 * once)
    with pytest.raises(KeyError):
        Scattering.from_dict({"power": specimens.power.tolist()})
