import pytest
import torch

from passband.conditions import ImagingCondition
from passband.frequencies import disc_indices
from passband.imaging import image_grid
from passband.networks import ImageSource, camera_masks
from passband.networks.augment import ORIENTATIONS, matrix

FIELD, BAND, N = 12.8, 1.0, 32
ROUND = ImagingCondition(energy_ev=300e3, defocus_angstrom=60.0, dose_per_angstrom2=1e4)
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
    return ImageSource(coefficients, masks, condition, image_grid(FIELD, BAND, 0.4))


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
