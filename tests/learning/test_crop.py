"""Windows of fields: pieces of the image and mask of the same wave, everywhere equally often."""

import pytest
import torch

from passband.base.errors import BadInputError
from passband.learning import TrainingConfig
from passband.learning.crop import cropped
from passband.simulation.imaging import normalize
from passband.studies.study import load_study
from support.studies import TINY


def test_a_window_is_a_piece_of_the_image_and_of_its_mask():
    place = torch.arange(40 * 40, dtype=torch.float32).view(1, 40, 40).expand(500, -1, -1)
    images, masks = cropped(place, place, 16, torch.Generator().manual_seed(1))
    first = masks[:, 0, 0].long()
    rows, columns = first // 40, first % 40
    for image, mask, row, column in zip(images, masks, rows.tolist(), columns.tolist(), strict=True):
        piece = place[0, row : row + 16, column : column + 16]
        assert torch.equal(mask, piece)
        torch.testing.assert_close(image, normalize(piece))
    for first_pixel in (rows, columns):
        counts = torch.bincount(first_pixel, minlength=25)
        assert len(counts) == 25 and counts.min() >= 5 and counts.max() <= 40


def test_a_whole_field_is_its_own_window():
    images = normalize(torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0)))
    windows, _ = cropped(images, images, 20, torch.Generator())
    torch.testing.assert_close(windows, images)


def test_a_training_without_windows_is_written_as_before():
    assert "crop_pixels" not in TrainingConfig().model_dump()
    assert TrainingConfig(crop_pixels=64).model_dump()["crop_pixels"] == 64


@pytest.mark.parametrize(
    ("pixels", "message"), [(96, "more than the field's 48 pixels"), (17, "an image of 17 pixels")]
)
def test_windows_that_a_field_or_network_cannot_have(tmp_path, pixels, message):
    (tmp_path / "study.yaml").write_text(TINY.replace("epochs: 2,", f"epochs: 2, crop_pixels: {pixels},"))
    with pytest.raises(BadInputError, match=message):
        load_study(tmp_path / "study.yaml")
