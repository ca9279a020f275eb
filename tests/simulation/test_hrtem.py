"""Images of exit waves by the one function that everybody calls."""

import pytest
import torch

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.simulation.hrtem import Imager, scatter, stored_shape
from passband.simulation.imaging import (
    camera_on_grid,
    expected_intensity,
    image_grid,
    pixels_across,
    transfer_on_grid,
)
from passband.simulation.modality import camera_masks
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.recording import record
from passband.specimens import SpecimenRecipe
from support.samples import BAND, FIELD, random_waves

CONFIG = ExitWaveConfig(band_per_angstrom=BAND)
ROUND = Condition(energy_ev=300e3, defocus_angstrom=60.0, pixel_size_angstrom=0.5, dose_per_angstrom2=800.0)
TURNED = ROUND.varied({"C12": 40.0, "phi12": 0.3, "drift_angstrom": 1.5})
BINNED = Condition(**ROUND.to_dict() | {"detector": {"binning": 2, "mtf": 0.4}, "pixel_size_angstrom": 1.0})


@pytest.mark.parametrize("condition", [ROUND, TURNED, BINNED])
def test_an_image_is_transfer_camera_intensity_and_counts(condition):
    waves, masks = random_waves(5, 2), torch.rand(5, 64, 64) > 0.5
    counts, truth = Imager(condition, FIELD, CONFIG).images(waves, masks, seed=11)
    grid = image_grid(FIELD, BAND, condition.pixel_size_angstrom, condition.detector.binning)
    intensity = expected_intensity(waves, transfer_on_grid(condition, grid), grid, camera_on_grid(condition, grid))
    assert torch.equal(counts, record(intensity, condition, generator=torch.Generator().manual_seed(11)))
    assert torch.equal(truth, camera_masks(masks, grid.pixels))
    assert counts.shape == truth.shape == (5, grid.pixels, grid.pixels)


@pytest.mark.parametrize("condition", [ROUND, TURNED, BINNED])
def test_the_last_digit_does_not_depend_on_what_is_imaged_together(condition):
    waves, imager = random_waves(5, 2), Imager(condition, FIELD, CONFIG)
    together = imager.intensity(waves)
    assert torch.equal(together, torch.cat([imager.intensity(wave) for wave in waves.split(1)]))
    assert torch.equal(together, imager.intensity(waves, torch.zeros(5, dtype=torch.int64)))


def test_specimens_are_scattered_one_by_one():
    recipe = SpecimenRecipe(
        field_angstrom=16.0, particles=[{"count": [1, 1], "diameter_angstrom": [8.5, 9.5]}], substrate=None
    )
    waves, masks = scatter(recipe, [0, 2], CONFIG)
    assert waves.shape == (2, *stored_shape(recipe, CONFIG)) and masks.shape == (2, 80, 80)
    alone, mask = scatter(recipe, [2], CONFIG)
    assert torch.equal(waves[1:], alone) and torch.equal(masks[1:], mask)
    assert masks.any((1, 2)).all() and not masks.all((1, 2)).any()


def test_an_aperture_beyond_the_band_is_refused_before_any_image():
    imager = Imager(ROUND.model_copy(update={"aperture_mrad": 60.0}), FIELD, CONFIG)
    with pytest.raises(BadInputError, match="beyond the exit waves' band"):
        imager.check()
    with pytest.raises(BadInputError, match="does not divide the field"):
        Imager(ROUND.model_copy(update={"pixel_size_angstrom": 0.31}), FIELD, CONFIG)


@pytest.mark.parametrize("pixel", [0.163, 0.31, 0.7, 9.0])
def test_the_pixel_size_that_is_suggested_divides_the_field(pixel):
    for field in (51.2, 76.8, 153.7):
        with pytest.raises(BadInputError) as refused:
            pixels_across(field, pixel)
        assert pixels_across(field, float(str(refused.value).rsplit("use ", 1)[1])) >= 8
