"""Pairs of images and masks in every form that they come in, and what is wrong with some."""

import json

import numpy as np
import pytest
import roifile
import tifffile
from PIL import Image

from passband.base.errors import BadInputError
from passband.micrographs.labels import labelled_arrays, read_labelled
from passband.micrographs.reading import read_micrographs

Y, X = np.mgrid[:80, :96]
TRUTH = (X >= 20) & (X < 50) & (Y >= 10) & (Y < 30)
NAMES = "abcde"


@pytest.fixture
def folder(tmp_path):
    """Five images of 80 × 96 pixels of 0.5 Å."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        image = rng.normal(100, 10, TRUTH.shape).astype(np.float32)
        np.save(tmp_path / f"{name}.npy", image)
    (tmp_path / "masks").mkdir()
    return tmp_path


def png(path, values=TRUTH):
    Image.fromarray(values if values.dtype == np.uint8 else values.astype(np.uint8) * 255).save(path)


def packed(runs):
    """COCO's packing, written after its description: differences to the run before the last, 5 bits a character."""
    text = ""
    for i, run in enumerate(runs):
        value, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | (32 if more else 0)) + 48)
    return text


def test_masks_of_every_form_are_the_same(folder):
    masks = folder / "masks"
    png(masks / "a_mask.png")
    tifffile.imwrite(masks / "b.tif", TRUTH.astype(np.uint16) * 7)
    np.save(masks / "mask_c.npy", TRUTH)
    corners = np.array([[20, 10], [50, 10], [50, 30], [20, 30]])
    roifile.roiwrite(masks / "d_rois.zip", [roifile.ImagejRoi.frompoints(corners, name="one")])
    columns = TRUTH.T.ravel()
    runs = np.diff(np.flatnonzero(np.diff(np.r_[True, columns, not columns[-1]])))
    assert runs.sum() == TRUTH.size
    for segmentation in (
        [corners.ravel().tolist()],
        {"counts": runs.tolist(), "size": [80, 96]},
        {"counts": packed(runs.tolist()), "size": [80, 96]},
    ):
        if not isinstance(segmentation, list):
            for other in masks.glob("*"):
                other.unlink()
        content = {
            "images": [{"file_name": "run/e.tif", "id": 3, "height": 80, "width": 96}],
            "annotations": [{"image_id": 3, "id": 1, "segmentation": segmentation}],
        }
        (masks / "coco.json").write_text(json.dumps(content))
        labelled = read_labelled(folder, masks, pixel_size_angstrom=0.5)
        for item in labelled:
            np.testing.assert_array_equal(item.truth, TRUTH, err_msg=item.name)
            assert item.micrograph.pixel_size_angstrom == pytest.approx(0.5)
        assert [item.name for item in labelled] == [f"{n}.npy" for n in ("abcde" if len(labelled) > 1 else "e")]


def test_masks_beside_images_and_those_that_passband_writes(folder):
    png(folder / "a_mask.png")
    png(folder / "b_mask.png", np.where(TRUTH, 1 + (X > 30), 0).astype(np.uint8))
    tifffile.imwrite(folder / "a_probability.tif", np.ones((80, 96), np.float32))
    (folder / "a_segmentation.json").write_text("{}")
    labelled = read_labelled(folder, folder, pixel_size_angstrom=0.5)
    assert [item.name for item in labelled] == ["a.npy", "b.npy"] and labelled[1].truth.max() == 2
    assert labelled.notes == ("without a mask, left out: c.npy, d.npy, e.npy",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: png(m / "a.png", TRUTH[:, :90]), "a.png: has 90 × 80 pixels, and its image a.npy 96 × 80"),
        (lambda m: png(m / "a.png", ~TRUTH & ~TRUTH & False), r"no mask of these 1 has a particle \(a.npy\)"),
        (lambda m: (png(m / "a.png"), png(m / "a_mask.png")), "two masks for a.npy: a.png and a_mask.png"),
        (lambda m: (png(m / "a.png"), png(m / "x.png")), "masks without an image: x.png; remove"),
        (lambda m: png(m / "x.png"), "has no mask for a.npy, b.npy, c.npy, d.npy and 1 more"),
        (lambda m: png(m / "a.png", (X * 2).astype(np.uint8) + (Y % 3).astype(np.uint8)), "a.png: has .* values, where a mask has two"),
        (lambda m: png(m / "a.png", np.stack([TRUTH * 9, TRUTH, TRUTH], -1).astype(np.uint8)), "a.png: is a picture in colours"),
        (lambda m: png(m / "a.png", np.full((80, 96), 255, np.uint8)), "a.png: marks every pixel"),
        (lambda m: (m / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nhello"), "a.png: cannot be read"),
        (lambda m: np.save(m / "a.npy", np.array([{}])), "a.npy: is no array of numbers"),
        (lambda m: (m / "c.json").write_text('{"images": [{}], "annotations": []}'), "c.json: lacks 'file_name'"),
        (
            lambda m: roifile.roiwrite(m / "a.zip", [roifile.ImagejRoi.frompoints([[0, 0], [200, 0], [9, 9]], name="r")]),
            "a.zip: its region r lies outside the image",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(folder, make, message):
    make(folder / "masks")
    with pytest.raises(BadInputError, match=message) as fault:
        read_labelled(folder, folder / "masks", pixel_size_angstrom=0.5)
    assert "\n" not in str(fault.value)


def test_pixel_sizes(folder):
    png(folder / "masks" / "f.png")
    png(folder / "f.png", (X + Y).astype(np.uint8))
    with pytest.raises(BadInputError, match=r"f.png: .*pixel size.*pixel_size_angstrom"):
        read_labelled(folder, folder / "masks")
    scale = {"resolution": (20, 20), "metadata": {"unit": "nm", "axes": "YX"}}
    tifffile.imwrite(folder / "g.tif", (X + Y).astype(np.float32), imagej=True, **scale)
    (folder / "masks" / "f.png").rename(folder / "masks" / "g.png")
    [item] = read_labelled(folder, folder / "masks")
    assert item.micrograph.pixel_size_angstrom == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    shots = [read_micrographs(rng.normal(size=TRUTH.shape), pixel_size_angstrom=p)[0] for p in (0.4, 0.4, 0.8)]
    with pytest.raises(
        BadInputError, match=r"another magnification are among them: array \(0.8 Å\), and the others .* 0.4 Å"
    ):
        labelled_arrays(shots, [TRUTH] * 3)
    with pytest.raises(BadInputError, match="3 images and 2 masks are not pairs"):
        labelled_arrays(shots, [TRUTH] * 2)
