"""Reader loss of simulated and of labelled images, on a small family."""

import numpy as np
import pytest
import torch

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.simulation import reader_loss as module
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.reader_loss import LabelledImages, reader_loss
from passband.specimens import SpecimenRecipe

SMALL = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 25.6,
        "particles": {"count": [1, 1], "diameter_angstrom": [10.0, 12.0]},
        "substrate": {"thickness_angstrom": [4.0, 5.0]},
    }
)
BASE = Condition(
    energy_ev=300e3, aberrations={"C10": -50.0, "C30": -5e4}, focal_spread_angstrom=20.0, dose_per_angstrom2=1000.0
)
POOR = BASE.varied(dose=30)


def labelled(n=7, seed=0, pixel=0.4):
    """Squares on noise, in images of any scale."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 48, 64), dtype=bool)
    for mask in masks:
        i, j = rng.integers(0, 30, 2)
        mask[i : i + 16, j : j + 16] = True
    return LabelledImages(rng.normal(100, 5, masks.shape) - 12 * masks, masks, pixel)


@pytest.fixture(scope="module", autouse=True)
def _waves_are_kept():
    """Simulate what several tests need once."""
    kept = {}

    def remembered(recipe, indices, config):
        key = recipe.model_dump_json(), tuple(indices), config
        if key not in kept:
            kept[key] = scatter(recipe, indices, config)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "scatter", remembered)
        yield


@pytest.fixture(scope="module")
def poor():
    return reader_loss([BASE], [POOR], SMALL)


def test_a_condition_with_itself_is_in_domain():
    answer = reader_loss([BASE], [BASE], SMALL)
    assert answer.loss == answer.in_domain_loss and answer.relative_loss == 1
    assert 0 < answer.loss < 1
    assert answer == reader_loss([BASE], [BASE], SMALL)


def test_a_poorer_dose_costs_more_than_where_it_is_trained(poor):
    assert poor.relative_loss > 1.1
    assert reader_loss([BASE, POOR], [POOR], SMALL).loss < poor.loss


def test_the_test_may_have_other_specimens():
    thick = SMALL.model_copy(update={"substrate": SMALL.substrate.model_validate({"thickness_angstrom": [60.0, 80.0]})})
    answer = reader_loss([BASE], [BASE], SMALL, thick)
    assert answer.in_domain_loss == reader_loss([BASE], [BASE], thick).loss != answer.loss
    assert reader_loss([BASE], [BASE], SMALL, SMALL) == reader_loss([BASE], [BASE], SMALL)


def test_simulated_and_labelled_images_are_read_alike(poor):
    waves, masks = scatter(SMALL, range(module.SPECIMENS), module._settings(300e3))
    sides = []
    for condition in (BASE, POOR):
        images = Imager(condition, SMALL.field_angstrom, module._settings(300e3)).images(
            waves, masks, seed=module.seed_from("reader", SMALL.seed)
        )
        sides.append(LabelledImages(images.counts.numpy(), images.masks.numpy(), 0.4))
    answer = reader_loss(*sides, SMALL)
    for name in ("loss", "in_domain_loss", "false_positive", "false_negative"):
        assert getattr(answer, name) == pytest.approx(getattr(poor, name), rel=1e-5)


def test_gain_and_offset_of_images_do_not_matter():
    plain, other = labelled(), labelled(seed=1)
    brighter = LabelledImages(3 * other.images - 50, other.masks.astype(int), 0.4)
    expected = reader_loss(plain, other, SMALL)
    assert reader_loss(plain, brighter, SMALL).loss == pytest.approx(expected.loss, rel=1e-4)
    assert expected.relative_loss == pytest.approx(1, abs=0.5)


def test_inverted_contrast_of_what_is_seen_by_its_level_is_misread():
    plain, other = labelled(), labelled(seed=1)
    answer = reader_loss(plain, LabelledImages(-other.images, other.masks, 0.4), SMALL)
    assert answer.loss > 5 * answer.in_domain_loss
    assert answer.false_negative == pytest.approx(other.masks[4:].mean(), abs=1e-9)


def test_every_image_gives_as_many_pixels_and_the_same_places():
    images = module.Images(torch.rand(4, 32, 32), torch.rand(4, 32, 32) > 0.5)
    features, truth = module.sample_pixels(images, 0.4, 400)
    assert features.shape == (4, 100, 29) and truth.shape == (4, 100)
    again, _ = module.sample_pixels(images, 0.4, 400)
    assert torch.equal(features, again)
    assert module.sample_pixels(images, 0.4)[1].sum() == images.masks.sum()


def test_progress_counts_each_energy_once():
    done = []
    other = BASE.varied(energy=200e3)
    reader_loss([BASE], [other, BASE], SMALL, progress=done.append)
    assert sum(done) == module.specimens_needed([BASE], [other, BASE]) == 2 * module.SPECIMENS


def test_exact_coherence_is_imaged_as_such():
    exact = POOR.model_copy(update={"coherence": "quadrature"})
    alike = reader_loss([POOR], [exact], SMALL)
    assert 0.5 < alike.relative_loss < 1.3 and alike.loss != reader_loss([POOR], [POOR], SMALL).loss


def test_no_dose_is_said_where_the_other_side_has_one():
    answer = reader_loss([BASE], [BASE.varied(dose=None)], SMALL)
    assert answer.notes == ("test: images without a dose have no shot noise, and the others have",)
    assert str(answer).endswith(answer.notes[0]) and answer._repr_html_().startswith("<pre>reader loss")
    assert reader_loss([BASE.varied(dose=None)], [BASE.varied(dose=None)], SMALL).notes == ()


def test_a_band_that_cuts_beams_is_said():
    [note] = reader_loss([BASE], [BASE.varied(focal_spread=0)], SMALL).notes
    assert note.startswith("test: the exit waves end at 1.48 1/Å, where this condition")


def test_of_many_conditions_some_are_pooled(monkeypatch):
    monkeypatch.setattr(module, "POOLED", 2)
    answer = reader_loss([BASE.varied(defocus=float(d)) for d in range(5)], [BASE], SMALL)
    assert answer.notes == ("train: 2 of its 5 conditions are pooled, evenly spaced in their order",)


def one_line(match, *arguments):
    with pytest.raises(BadInputError, match=match) as caught:
        reader_loss(*arguments)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


def test_what_cannot_be_compared_is_refused_before_the_simulation(monkeypatch):
    monkeypatch.setattr(module, "scatter", None)
    coarse = BASE.varied(pixel_size_angstrom=0.8)
    one_line("pixels of 0.4 Å in train and 0.8 Å in test differ", [BASE], [coarse], SMALL)
    one_line("train has conditions of several pixel sizes", [BASE, coarse], [BASE], SMALL)
    one_line("pixels of 0.4 Å in train and 0.5 Å in test", labelled(), labelled(pixel=0.5), SMALL)
    one_line("0.3 does not divide the field", [BASE.varied(pixel_size_angstrom=0.3)], [BASE], SMALL)
    one_line("aperture_mrad 60 opens to", [BASE], [BASE.varied(aperture_mrad=60.0)], SMALL)
    slow = BASE.varied(convergence_mrad=0.1).model_copy(update={"coherence": "quadrature", "quadrature_nodes": 21})
    one_line(
        "test: coherence quadrature sums 9261 coherent images of each specimen, more than 5000", [BASE], [slow], SMALL
    )
    one_line("train holds no condition", [], [BASE], SMALL)
    vacuum = SMALL.model_copy(update={"substrate": None})
    one_line("recipe of test has no film", [BASE], [BASE], SMALL, vacuum)
    one_line("test_recipe is for conditions", [BASE], labelled(), SMALL, SMALL)


def test_specimens_without_particles_are_refused():
    empty = SMALL.model_copy(update={"particles": [SMALL.particles[0].model_copy(update={"count": (0, 0)})]})
    one_line("train: the first 16 of 28 images show no particles", [BASE], [BASE], empty)


def test_masks_of_one_kind_are_refused():
    good = labelled()
    full = LabelledImages(good.images, np.ones_like(good.masks), 0.4)
    one_line("train: the first 4 of 7 images show no background", full, good, SMALL)
    late = good.masks.copy()
    late[4:] = False
    one_line("test: the last 3 of 7 images show no particles", good, LabelledImages(good.images, late, 0.4), SMALL)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": np.zeros((48, 64))}, r"images of shape \[48, 64\]"),
        ({"images": np.zeros((1, 48, 64))}, r"shape \[1, 48, 64\] are not two or more"),
        ({"images": np.zeros((7, 8, 64))}, "sides of at least 16 pixels"),
        ({"masks": np.zeros((7, 48, 63))}, r"masks of shape \[7, 48, 63\] do not fit images of shape \[7, 48, 64\]"),
        ({"images": np.full((7, 48, 64), np.nan)}, "not finite"),
        ({"pixel_size_angstrom": 0.0}, "pixel_size_angstrom 0 is not positive"),
    ],
)
def test_labelled_images_are_checked(change, match):
    good = labelled()
    values = {"images": good.images, "masks": good.masks, "pixel_size_angstrom": 0.4} | change
    with pytest.raises(BadInputError, match=match) as caught:
        LabelledImages(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_gold_on_carbon_is_read_and_worse_at_low_dose():
    from passband.specimens.recipe_files import load_recipe

    recipe = load_recipe("gold_on_carbon")
    answer = reader_loss([BASE], [BASE.varied(dose=50)], recipe)
    assert answer.in_domain_loss < 0.5 and answer.relative_loss > 1.2


@pytest.mark.parametrize(
    ("images", "pixel", "message"),
    [
        ([[1, 2], [3]], 0.4, "no arrays of numbers"),
        (np.full((2, 32, 32), "a"), 0.4, "no arrays of numbers"),
        (np.random.default_rng(0).normal(size=(2, 32, 32)), "wide", "no arrays of numbers"),
        (np.ones((2, 32, 32)), 0.4, "one value everywhere"),
    ],
)
def test_labelled_images_that_are_no_images_are_refused(images, pixel, message):
    with pytest.raises(BadInputError, match=message):
        LabelledImages(images, np.zeros((2, 32, 32), bool), pixel)
