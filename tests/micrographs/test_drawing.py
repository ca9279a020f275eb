"""What programs draw into images is refused, or noted."""

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.micrographs.drawing import flat_note
from passband.micrographs.reading import read_micrographs


@pytest.fixture
def counts():
    return np.random.default_rng(0).poisson(40.0, (256, 256))


def discs():
    y, x = np.mgrid[:256, :256]
    return sum(i * (np.hypot(y - cy, x - cx) < 25) for i, (cy, cx) in enumerate([(60, 60), (60, 180), (180, 120)], 1))


def read(image):
    return read_micrographs(image, pixel_size_angstrom=0.5)[0]


def test_masks_and_labels_are_no_micrographs():
    for drawn in (np.uint8(255) * (discs() > 0), discs().astype(np.uint16), (discs() > 0).astype(np.float32)):
        with pytest.raises(BadInputError, match=r"mask or a picture of labels.*give the micrograph"):
            read(drawn)


def test_few_counts_are_no_mask():
    for dose in (0.003, 0.05, 1.0):
        image = np.random.default_rng(1).poisson(dose, (256, 256)).astype(np.uint8)
        assert not any("areas of one value" in note for note in read(image).notes)


def test_areas_of_one_value_are_noted_with_their_share(counts):
    assert flat_note(counts.astype(np.float32)) is None
    barred = np.minimum(counts, 255)
    barred[200:220, 20:148] = 255
    [note] = [n for n in read(barred.astype(np.uint8)).notes if n.startswith("areas")]
    assert f"{20 * 128 / 256**2:.1%}" in note
