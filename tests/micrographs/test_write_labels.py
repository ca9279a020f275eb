"""Regions and COCO files that are written have the mask that was written, holes and touching particles included."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from roifile import ROI_TYPE, roiread
from scipy import ndimage

from passband.base.errors import BadInputError
from passband.micrographs.labels import read_labelled
from passband.micrographs.write_labels import outlines, particle_outlines, write_coco, write_rois

Y, X = np.mgrid[:80, :110]


def rings():
    """A disc, a ring, two discs that touch, one cut by the edge, and a ring with an island."""
    numbers = np.zeros(Y.shape, np.int32)
    for i, (x, y, inner, outer) in enumerate(
        [(15, 15, 0, 9), (45, 20, 6, 14), (75, 20, 0, 10), (96, 20, 0, 11), (30, 76, 0, 12), (80, 60, 8, 15)], 1
    ):
        away = np.hypot(X - x, Y - y)
        numbers[(away <= outer) & (away >= inner) & (numbers == 0)] = i
    numbers[58:62, 78:82] = 6
    return numbers


def filled(drawn, shape):
    """Pixels inside an odd number of outlines: slowly, by the sides to the left of each pixel."""
    inside = np.zeros(shape, dtype=int)
    for points, _ in drawn:
        for (x, y), (u, v) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if x == u:
                inside[min(y, v) : max(y, v), x:] ^= 1
    return inside.astype(bool)


@settings(max_examples=200, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_outlines_enclose_the_mask(mask):
    drawn = outlines(mask)
    assert np.array_equal(filled(drawn, mask.shape), mask)
    # As many outlines as regions and holes: what shares a corner alone is not connected, and background is.
    _, holes = ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))
    assert sum(not hole for _, hole in drawn) == ndimage.label(mask)[1]
    assert sum(hole for _, hole in drawn) == holes - 1
    # Seen with y downwards, a positive area is clockwise.
    for points, hole in drawn:
        x, y = points.T
        assert (((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0) != hole) and (np.diff(points, axis=0) == 0).any(
            1
        ).all()


@pytest.mark.parametrize("kind", ["rois", "coco"])
def test_what_is_written_is_read_back(tmp_path, kind):
    numbers = rings()
    Image.fromarray(np.where(numbers > 0, 60, 100).astype(np.uint8) + (X % 7).astype(np.uint8)).save(tmp_path / "i.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    if kind == "rois":
        write_rois(masks / "i_rois.zip", particle_outlines(numbers))
        rois = roiread(masks / "i_rois.zip")
        assert [r.name for r in rois] == [f"{i:04d}" for i in range(1, 7)]
        assert [r.roitype for r in rois] == [ROI_TYPE.TRACED if i not in (2, 6) else ROI_TYPE.RECT for i in range(1, 7)]
        assert (rois[0].left, rois[0].top, rois[0].right, rois[0].bottom) == (6, 6, 25, 25)
    else:
        write_coco(masks / "i_coco.json", numbers, particle_outlines(numbers), "i.png", [0.5, *[None] * 5])
    [item] = read_labelled(tmp_path, masks, pixel_size_angstrom=0.8)
    assert np.array_equal(item.truth, numbers)


def test_what_segment_writes_beside_a_mask_is_no_second_mask(tmp_path):
    numbers = rings()
    Image.fromarray((X % 7).astype(np.uint8)).save(tmp_path / "i.png")
    tifffile.imwrite(tmp_path / "i_mask.tif", (numbers > 0).astype(np.uint8) * np.uint8(255))
    write_rois(tmp_path / "i_rois.zip", particle_outlines(numbers))
    write_coco(tmp_path / "i_coco.json", numbers, particle_outlines(numbers), "i.png", [None] * 6)
    [item] = read_labelled(tmp_path, tmp_path, pixel_size_angstrom=0.8)
    assert np.array_equal(item.truth > 0, numbers > 0)
    # Without the mask they are two, of which one has to go.
    (tmp_path / "i_mask.tif").unlink()
    with pytest.raises(BadInputError, match="has two masks for i.png"):
        read_labelled(tmp_path, tmp_path, pixel_size_angstrom=0.8)
