"""Segmentation of micrographs of any size, with a network whose answer is known: it calls bright what stands out of its tile."""

import json

import numpy as np
import pytest
import tifffile
import torch
from rsciio.hspy import file_reader

from passband.base.errors import BadInputError
from passband.cli.main import app
from passband.micrographs.micrograph import Micrograph
from passband.models import segment as module
from passband.models.outputs import names, overlay, write_outputs
from passband.models.segment import segment
from support import made


class Bright(torch.nn.Module):
    """Logit is how far the mean of 3 × 3 pixels of a normalised tile lies above 1."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        assert images.shape[-2:] == (64, 64)
        return 8 * (torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) - 1.0)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Bright)
    return made.bare_model(tmp_path / "made")


def discs(shape, pixel, centres, radius=12.0):
    """Bright discs [Å] on a noisy grey ground."""
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel
    truth = np.zeros(shape, dtype=bool)
    for cx, cy in centres:
        truth |= (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    noise = np.random.default_rng(0).normal(0, 8, shape)
    return (100 + 40 * truth + noise).astype(np.float32), truth


@pytest.mark.parametrize(
    ("shape", "pixel"), [((128, 128), 0.8), ((300, 260), 0.4), ((131, 90), 0.7), ((700, 900), 0.2), ((64, 64), 0.8)]
)
def test_particles_are_found_where_they_are(model, shape, pixel):
    field = min(shape) * pixel
    truth_at = [(0.3 * field, 0.3 * field), (0.75 * field, 0.7 * field)]
    image, truth = discs(shape, pixel, truth_at, radius=0.1 * field)
    seen = []
    found = segment(model, Micrograph(image, pixel), progress=lambda done, total: seen.append((done, total)))
    assert found.mask.shape == found.probability.shape == shape
    both = 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum())
    assert both > 0.9
    assert len(found.particles) == 2
    places = sorted(zip(found.particles["x_angstrom"], found.particles["y_angstrom"], strict=True))
    for place, expected in zip(places, truth_at, strict=True):
        assert place == pytest.approx(expected, abs=1.5 * 0.8)
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1]


def test_refusals(model):
    image, _ = discs((128, 128), 0.8, [(50, 50)])
    with pytest.raises(
        BadInputError, match=r"pixels of 1.2 Å are beyond what made takes \(0.1 to 0.9 Å\); record at a higher"
    ):
        segment(model, Micrograph(image, 1.2))
    with pytest.raises(BadInputError, match="less than a quarter of the field"):
        segment(model, Micrograph(image[:100, :100], 0.1))


def test_outputs_carry_the_calibration(model, tmp_path):
    image, _ = discs((128, 200), 0.4, [(25, 25), (60, 30)], radius=7)
    micrograph = Micrograph(image, 0.4, name="discs")
    found = segment(model, micrograph)
    files = write_outputs(tmp_path, "discs", micrograph, found)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != "") >= sorted(names("discs").values())
    with tifffile.TiffFile(files["mask"]) as file:
        assert file.imagej_metadata["unit"] == "nm"
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(25.0)
        np.testing.assert_array_equal(file.asarray() > 0, found.mask)
    np.testing.assert_array_equal(tifffile.imread(files["instances"]), found.instances)
    [signal] = file_reader(files["hspy"])
    np.testing.assert_allclose(signal["data"], found.probability)
    assert [(a["scale"], a["units"]) for a in signal["axes"]] == [(pytest.approx(0.04), "nm")] * 2
    assert len((tmp_path / "discs_particles.csv").read_text().splitlines()) == 1 + len(found.particles)
    picture = np.asarray(overlay(image, found.mask)).astype(int)
    outlined = picture[..., 0] - picture[..., 2] > 200
    assert outlined.any() and found.mask[outlined].all()


def test_the_verb(model, tmp_path, capsys):
    image, _ = discs((128, 128), 0.8, [(50, 50)])
    file = tmp_path / "one.tif"
    tifffile.imwrite(file, image, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "nm"})
    out = tmp_path / "out"
    assert not app(["segment", str(model.folder), str(file), "--out", str(out), "--json"], standalone_mode=False)
    [answer] = json.loads(capsys.readouterr().out)["images"]
    assert answer["particles"] == 1 and answer["pixel_size_angstrom"] == pytest.approx(0.8)
    assert sorted(p.name for p in out.iterdir()) == sorted(names("one").values())
    with pytest.raises(BadInputError, match="two images have this name"):
        app(["segment", str(model.folder), str(file), str(file), "--out", str(out)], standalone_mode=False)
