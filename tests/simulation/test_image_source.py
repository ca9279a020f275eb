import math

import pytest
import torch

from passband.base.frequencies import disc_indices
from passband.conditions import Condition, Detector
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import AlternatingSource, ImageSource, JointSource, MixedSource
from passband.simulation.modality import camera_masks
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.symmetry import ORIENTATIONS, matrix

FIELD, BAND, N = 12.8, 1.0, 32
ROUND = Condition(energy_ev=300e3, defocus_angstrom=60.0, dose_per_angstrom2=1e4)
ASTIGMATIC = ROUND.model_copy(
    update={"aberrations": {"C10": -60.0, "C12": 50.0, "phi12": 0.4, "C21": 900.0, "phi21": 1.0}}
)
K = disc_indices(BAND * FIELD)


def waves(specimens=3):
    generator = torch.Generator().manual_seed(3)
    result = torch.randn(specimens, 2, len(K), generator=generator, dtype=torch.complex64) * 0.03
    result[..., (K == 0).all(1)] = 1.0
    return result


def source(condition, coefficients):
    masks = torch.zeros(len(coefficients), 64, 64, dtype=torch.bool)
    masks[:, 10:30, 20:50] = True
    return ImageSource(coefficients, masks, Imager(condition, FIELD, ExitWaveConfig(band_per_angstrom=BAND)))


@pytest.mark.parametrize("condition", [ROUND, ASTIGMATIC])
@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_a_turned_specimen_is_imaged_under_the_same_condition(condition, orientation):
    """The source's turned image is the image of the turned wave, ψ̂(R⁻¹ k), shifted by whole pixels where it was flipped."""
    coefficients = waves(1)
    images = source(condition, coefficients)
    ours = images.intensity(torch.tensor([0]), torch.tensor([orientation]))[0]
    index = {tuple(k): i for i, k in enumerate(K.tolist())}
    back = (K.double() @ torch.linalg.inv(matrix(orientation)).double().T).round().long()
    turned = coefficients[..., [index[tuple(k)] for k in back.tolist()]]
    theirs = source(condition, turned).intensity(torch.tensor([0]), torch.tensor([0]))[0]
    # torch.flip sends pixel i to n − 1 − i, the turned wave sends it to −i.
    shift = (matrix(orientation).sum(1) < 0).int() * -1
    assert torch.allclose(ours, torch.roll(theirs, shift.tolist(), (0, 1)), atol=1e-5)


def test_turning_the_image_alone_would_turn_the_aberrations():
    images = source(ASTIGMATIC, waves(1))
    upright, turned = (images.intensity(torch.tensor([0]), torch.tensor([o]))[0] for o in (0, 4))
    assert (turned - upright.T).abs().max() > 0.02


@pytest.mark.parametrize("condition", [ROUND, ASTIGMATIC])
def test_batch_is_normalised_and_noise_is_fresh_but_seeded(condition):
    images = source(condition, waves())
    chosen = torch.tensor([2, 0])
    a, masks = images.batch(chosen, generator=torch.Generator().manual_seed(1))
    b, _ = images.batch(chosen, generator=torch.Generator().manual_seed(1))
    c, _ = images.batch(chosen, generator=torch.Generator().manual_seed(2))
    assert a.shape == masks.shape == (2, 1, N, N)
    assert torch.equal(a, b)
    assert not torch.allclose(a, c, atol=1e-2)
    assert a.mean((1, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert torch.equal(masks[0, 0] > 0, images.masks[2])


def test_masks_turn_with_the_images():
    images = source(ROUND, waves())
    _, masks = images.batch(torch.tensor([0, 0]), torch.tensor([0, 5]), generator=torch.Generator())
    assert torch.equal(masks[1, 0], torch.flip(masks[0, 0], [0]).T)


def test_camera_masks_sample_at_pixel_positions():
    masks = torch.rand(2, 60, 60) > 0.5
    assert torch.equal(camera_masks(masks, 30), masks[:, ::2, ::2])
    assert torch.equal(camera_masks(masks, 60), masks)
    assert camera_masks(masks, 40).shape == (2, 40, 40)


CLEAN = [c.model_copy(update={"dose_per_angstrom2": None}) for c in (ROUND, ASTIGMATIC)] + [
    ROUND.model_copy(update={"aberrations": {"C10": 90.0}, "dose_per_angstrom2": None})
]


def mixed(**options):
    coefficients = waves()
    sources = [source(c, coefficients) for c in CLEAN]
    return sources, MixedSource(sources, **options)


def test_each_image_of_a_mixture_is_that_of_one_of_its_conditions():
    sources, mixture = mixed()
    chosen, turns = torch.arange(3).repeat(8), torch.arange(24) % ORIENTATIONS
    images, masks = mixture.batch(chosen, turns, generator=torch.Generator().manual_seed(1))
    pure = [s.batch(chosen, turns, generator=torch.Generator()) for s in sources]
    alike = torch.stack([(images - own).abs().amax((1, 2, 3)) < 1e-5 for own, _ in pure])
    assert torch.equal(alike.sum(0), torch.ones(24))
    # 24 images over three conditions: none is left out, and none has all.
    assert alike.sum(1).min() > 1
    assert torch.equal(masks, pure[0][1])


def test_specimens_take_turns_under_the_conditions():
    coefficients = waves(5)
    clear = [c.varied({"dose_per_angstrom2": None}) for c in (ROUND, ASTIGMATIC)]
    turns = AlternatingSource([source(c, coefficients[i::2]) for i, c in enumerate(clear)])
    assert len(turns) == 5
    chosen, orientations = torch.tensor([4, 1, 3, 0]), torch.tensor([0, 5, 2, 7])
    images, masks = turns.batch(chosen, orientations, generator=torch.Generator())
    for i, (specimen, orientation) in enumerate(zip(chosen, orientations, strict=True)):
        alone = source(clear[int(specimen) % 2], coefficients)
        image, mask = alone.batch(specimen[None], orientation[None], generator=torch.Generator())
        assert torch.allclose(images[i], image[0], atol=1e-4)
        assert torch.equal(masks[i], mask[0])


def test_a_mixture_repeats_itself_with_its_generator():
    _, mixture = mixed()
    first, again, other = (
        mixture.batch(torch.arange(3), generator=torch.Generator().manual_seed(s))[0] for s in (1, 1, 5)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_conditions_join_one_by_one_over_the_first_half():
    sources, mixture = mixed(curriculum=True)
    chosen = torch.zeros(60, dtype=torch.int64)
    pure = [s.batch(chosen[:1], generator=torch.Generator())[0] for s in sources]

    def met():
        images, _ = mixture.batch(chosen, generator=torch.Generator().manual_seed(2))
        return {i for i, own in enumerate(pure) if ((images - own).abs().amax((1, 2, 3)) < 1e-5).any()}

    seen = []
    for share in (0.0, 0.2, 0.4, 0.5, 0.9):
        mixture.begin(share)
        seen.append(met())
    assert seen == [{0}, {0, 1}, {0, 1, 2}, {0, 1, 2}, {0, 1, 2}]


DRIFTING = ASTIGMATIC.model_copy(update={"drift_angstrom": 1.0, "dose_per_angstrom2": 3e3})


def joint_of_four(dose, **recording):
    """Sources of four networks, two of one condition each, a mixture and turns, with what one pass makes of them and what each makes."""
    coefficients = waves(4)
    conditions = [c.model_copy(update={"dose_per_angstrom2": dose, **recording}) for c in (ROUND, ASTIGMATIC, DRIFTING)]
    a, b, c = (source(condition, coefficients) for condition in conditions)
    turned = AlternatingSource([source(c, coefficients[i::2]) for i, c in enumerate(conditions[1:])])
    return beside_each([a, source(conditions[1], coefficients.flip(0)), MixedSource([b, c, a]), turned])


def beside_each(sources):
    """What one pass makes for four networks of their sources, and what each source makes."""
    chosen = torch.tensor([[0, 3, 1], [2, 2, 0], [1, 3, 2], [3, 0, 2]])
    turns = torch.tensor([[0, 5, 7], [1, 6, 2], [3, 4, 0], [7, 2, 5]])

    def generators():
        return [torch.Generator().manual_seed(i) for i in range(4)]

    ours = JointSource(sources).batch(chosen, turns, generators())
    rows = zip(sources, chosen, turns, generators(), strict=True)
    return ours, [s.batch(specimens, turned, generator=g) for s, specimens, turned, g in rows]


def test_one_pass_for_many_networks_makes_the_images_of_each():
    (images, masks), each = joint_of_four(None)
    assert images.shape == masks.shape == (3, 4, N, N)
    for member, (theirs, truth) in enumerate(each):
        assert torch.allclose(images[:, member], theirs[:, 0], atol=1e-4)
        assert torch.equal(masks[:, member], truth[:, 0])


@pytest.mark.parametrize("conditions", [CLEAN, [CLEAN[0], CLEAN[2], CLEAN[2].varied(defocus_angstrom=-40.0)]])
def test_one_pass_gives_each_image_the_value_of_its_condition(conditions):
    """One set of specimens under three conditions, with a value of each; the second list is round, so that intensities are kept."""
    coefficients = waves(4)

    def valued(condition, some=slice(None)):
        stored = coefficients[some]
        values = torch.full((len(stored), 1, 1), condition.defocus_angstrom)
        return ImageSource(stored, values, Imager(condition, FIELD, ExitWaveConfig(band_per_angstrom=BAND)))

    a, b, c = map(valued, conditions)
    turned = AlternatingSource([valued(each, slice(i, None, 2)) for i, each in enumerate(conditions[1:])])
    (images, truth), each = beside_each([a, c, MixedSource([a, b, c]), turned])
    assert images.shape == truth.shape == (3, 4, N, N)
    for member, (theirs, values) in enumerate(each):
        assert torch.allclose(images[:, member], theirs[:, 0], atol=1e-4)
        assert torch.equal(truth[:, member], values[:, 0]) and torch.equal(
            values.amin((1, 2, 3)), values.amax((1, 2, 3))
        )
    first, second, mixture, turns = truth[..., 0, 0].T
    assert set(first.tolist()) == {conditions[0].defocus_angstrom}
    assert set(second.tolist()) == {conditions[2].defocus_angstrom}
    assert len(set(mixture.tolist())) > 1
    # Specimens 3, 0 and 2.
    assert turns.tolist() == pytest.approx([conditions[2 - (i % 2 == 0)].defocus_angstrom for i in (3, 0, 2)])


def test_one_pass_draws_on_intensities_that_all_sources_hold():
    """Round conditions, two sets of specimens: no wave is imaged again, and images are those of each source."""
    coefficients = waves(4)
    clear = [ROUND.varied({"dose_per_angstrom2": None, "defocus_angstrom": f}) for f in (60.0, 90.0, 150.0)]
    a, b, c = (source(condition, coefficients) for condition in clear)
    sources = [
        b,
        source(clear[0], coefficients.flip(0)),
        a,
        AlternatingSource([source(clear[2], coefficients[::2]), c]),
    ]
    for each in (a, b, c, *sources[1].parts, *sources[3].parts):
        each._stored = each._stored * math.nan
    (images, masks), alone = beside_each(sources)
    for member, (theirs, truth) in enumerate(alone):
        assert torch.equal(images[:, member], theirs[:, 0])
        assert torch.equal(masks[:, member], truth[:, 0])


@pytest.mark.parametrize(
    "recording",
    [
        {},
        {
            "background": 0.1,
            "contrast": 0.6,
            "detector": Detector(
                mtf=0.3, correlated_noise=0.8, readout_electrons=1.0, gain_residue=0.02, bad_pixels=0.01
            ),
        },
    ],
)
def test_one_pass_for_many_networks_has_the_noise_of_each(recording):
    """Single conditions draw the same noise; a mean that differs in its last digit may cost a count of a few pixels."""
    (images, _), each = joint_of_four(400.0, **recording)
    for member, (theirs, _) in enumerate(each[:2]):
        assert ((images[:, member] - theirs[:, 0]).abs() < 1e-3).float().mean() > 0.99


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_size_angstrom": 0.2},
        {"dose_per_angstrom2": None},
        {"background": 0.1},
        {"coherence": "quadrature", "focal_spread_angstrom": 20.0},
    ],
)
def test_conditions_that_one_pass_cannot_image_are_refused(change):
    coefficients = waves()
    sources = [source(c, coefficients) for c in (ROUND, ROUND.model_copy(update=change))]
    with pytest.raises(ValueError, match="one by one"):
        JointSource(sources)
