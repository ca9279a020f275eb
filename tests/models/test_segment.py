"""Segmentation of micrographs of any size, with a network whose answer is known: it calls bright what stands out of its tile."""

import base64
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from roifile import roiread
from rsciio.hspy import file_reader
from scipy import ndimage

from passband.base.errors import BadInputError
from passband.cli.main import app
from passband.learning.particle_scores import number_particles
from passband.micrographs.micrograph import Micrograph
from passband.models import network as module
from passband.models.card import Specimens
from passband.models.outputs import free_place, names, origin, places, write_outputs
from passband.models.segment import known_crystals, segment, segment_with
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


def test_touching_particles_are_split_and_share_their_region(model):
    image, _ = discs((128, 200), 0.8, [(40, 40), (58, 40), (110, 60)], radius=10)
    found = segment(model, Micrograph(image, 0.8))
    assert found.particles["region"].to_list() == [1, 1, 2] and found.to_dict()["touching_particles"] == 2
    assert np.array_equal(found.instances > 0, number_particles(found.mask, 0.8) > 0)
    assert found.particles["x_angstrom"].to_list() == pytest.approx([40, 58, 110], abs=2)
    # On the line where they meet, half way, nothing of the overlay is inside.
    y, x = 40 / 0.8, 49 / 0.8
    zoom = found.overlay().width // 200
    pixels = np.asarray(found.overlay()).astype(int)[int((y - 4) * zoom) : int(y * zoom)]
    orange = (pixels[..., 0] > 200) & (pixels[..., 2] < 50)
    assert orange[:, int((x - 3) * zoom) : int((x + 3) * zoom)].any(1).all()


def test_a_region_has_the_confidence_that_was_calibrated(model):
    image, _ = discs((128, 200), 0.8, [(40, 40), (58, 40)], radius=10)
    seen = []

    class Fixed:
        def of(self, features):
            seen.append(features)
            return np.linspace(0.9, 0.3, len(features))

    found = segment_with(model.network, model.card, Micrograph(image, 0.8), confidence=Fixed())
    assert len(found.particles) == 2 and [len(f) for f in seen] == [1]
    assert found.particles["confidence"].to_list() == [0.9, 0.9]


def test_lattices_are_named_by_the_model_or_by_the_elements_given(model):
    image, _ = discs((300, 300), 0.4, [(30, 30), (85, 80)], radius=15)
    y, x = np.mgrid[:300, :300] * 0.4
    image += (20 * np.cos(2 * np.pi * (0.9 * x + 0.4359 * y) / 2.355) * (np.hypot(x - 30, y - 30) < 15)).astype(
        np.float32
    )
    found = segment(model, Micrograph(image, 0.4))
    assert found.particles["crystalline"].to_list() == [True, False] and found.to_dict()["crystalline_particles"] == 1
    assert found.particles["spacing_1_angstrom"][0] == pytest.approx(2.355, rel=0.02)
    assert found.particles["reflection_1"][0].startswith("Au {111} ")
    assert "Au {111}" in found.table_html() and "<td>none seen</td>" in found.table_html()
    named = segment(model, Micrograph(image, 0.4), elements=["Fe"]).particles["reflection_1"]
    assert named.to_list() == [None, None]
    assert [c.name for c in known_crystals(Specimens(elements=("Au", "Pt")))] == ["Au", "Pt"]
    with pytest.raises(BadInputError, match="the library has no crystal of them"):
        segment(model, Micrograph(image, 0.4), elements=["He"])
    with pytest.raises(BadInputError, match="is not a chemical element; did you mean Au"):
        segment(model, Micrograph(image, 0.4), elements=["gold"])


def test_refusals(model):
    image, _ = discs((128, 128), 0.8, [(50, 50)])
    with pytest.raises(
        BadInputError, match=r"pixel size of 1.2 Å is outside the 0.1 to 0.9 Å of made; record at a higher"
    ):
        segment(model, Micrograph(image, 1.2))
    with pytest.raises(BadInputError, match="less than a quarter of the field"):
        segment(model, Micrograph(image[:100, :100], 0.1))


def test_outputs_carry_the_calibration(model, tmp_path):
    image, _ = discs((128, 200), 0.4, [(25, 25), (60, 30)], radius=7)
    micrograph = Micrograph(image, 0.4, name="discs")
    found = segment(model, micrograph)
    files = write_outputs(tmp_path / "discs", found, origin(model.card, tmp_path / "discs.tif", ""))
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != "") >= sorted(names("discs").values())
    with tifffile.TiffFile(files["mask"]) as file:
        assert file.imagej_metadata["unit"] == "nm"
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(25.0)
        np.testing.assert_array_equal(file.asarray() > 0, found.mask)
    np.testing.assert_array_equal(tifffile.imread(files["instances"]), found.instances)
    assert [r.name for r in roiread(files["rois"])] == ["0001", "0002"]
    coco = json.loads(Path(files["coco"]).read_text())
    assert coco["images"] == [{"id": 1, "file_name": "discs.tif", "width": 200, "height": 128}]
    assert [a["area"] * 0.4**2 for a in coco["annotations"]] == pytest.approx(
        found.particles["area_angstrom2"].to_list()
    )
    [signal] = file_reader(files["hspy"])
    np.testing.assert_allclose(signal["data"], found.probability)
    assert [(a["scale"], a["units"]) for a in signal["axes"]] == [(pytest.approx(0.04), "nm")] * 2
    assert len((tmp_path / "discs_particles.csv").read_text().splitlines()) == 1 + len(found.particles)
    cells = (tmp_path / "discs_particles.csv").read_text().replace("\n", ",").split(",")
    assert all(len(cell.partition(".")[2]) <= 3 for cell in cells)
    record = json.loads((tmp_path / "discs_segmentation.json").read_text())
    assert (record["model"], record["model_digest"]) == ("made", model.card.digest) and record["particles"] == 2


def test_the_overlay_has_outlines_where_the_mask_ends_and_a_scale_bar(model):
    image, _ = discs((128, 200), 0.4, [(25, 25), (60, 30)], radius=7)
    found = segment(model, Micrograph(image, 0.4, name="discs"))
    picture = np.asarray(found.overlay()).astype(int)
    zoom = picture.shape[0] // 128
    assert picture.shape[:2] == (128 * zoom, 200 * zoom) and 1024 <= max(picture.shape) <= 2048
    orange = (picture[..., 0] - picture[..., 2] > 200)[100:]
    near = ndimage.binary_dilation(found.mask, iterations=2) & ~ndimage.binary_erosion(found.mask, iterations=2)
    assert orange.any() and np.kron(near, np.ones((zoom, zoom), bool))[100:][orange].all()
    # The bar: the longest white row of the lower left corner, 1, 2 or 5 × 10ⁿ nm long.
    white = (picture[-60:, : picture.shape[1] // 3] > 250).all(-1)
    bar = white.sum(1).max() / zoom * 0.4 / 10
    assert min(abs(bar - n) for n in (0.5, 1, 2)) < 0.05


def test_text_data_and_table_say_the_same(model):
    image, _ = discs((128, 200), 0.4, [(25, 25), (60, 30)], radius=7)
    found = segment(model, Micrograph(image, 0.4, name="discs", notes=("noted",)))
    facts = found.to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["image"], facts["found"], facts["particles"]) == ("discs", ["noted"], 2)
    assert facts["particle_share"] == pytest.approx(found.mask.mean())
    assert str(found).startswith("2 particles on ") and f"{facts['median_diameter_angstrom'] / 10:.2f} nm" in str(found)
    assert found._repr_html_().count("<tr>") == 3
    # A notebook shows the overlay above the table, and echoes no arrays.
    shown = Image.open(BytesIO(base64.b64decode(found._repr_html_().partition("base64,")[2].partition('"')[0])))
    assert np.array_equal(np.asarray(shown), np.asarray(found.overlay()))
    assert repr(found) == str(found) and "array" not in repr(found)


def test_a_stack_of_micrographs_loads_the_network_once(model, monkeypatch):
    loaded = []
    monkeypatch.setattr(module, "Network", lambda m: loaded.append(m) or Bright(m))
    image, _ = discs((128, 128), 0.8, [(50, 50)])
    for _ in range(3):
        segment(model, Micrograph(image, 0.8))
    assert len(loaded) == 1


class Mean(torch.nn.Module):
    """Logit is how far a pixel of a normalised image lies above 0.5, four times."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        assert not any(side % 2 for side in images.shape[-2:])
        return 4 * (images - 0.5)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_predictions_are_scored_as_networks_are(tmp_path, monkeypatch, threshold):
    monkeypatch.setattr(module, "Network", Mean)
    model = made.bare_model(tmp_path / "made", threshold=threshold)
    pairs = [discs((64, 64), 0.8, [(20, 20)]), discs((64, 64), 0.8, [(30, 35)], radius=8)]
    images, truth = (np.stack(parts) for parts in zip(*pairs, strict=True))
    predicted = model.predict(images)
    assert predicted.probability.shape == predicted.masks.shape == images.shape
    assert np.array_equal(predicted.masks, predicted.probability >= threshold)
    z = (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)
    expected = 1 / (1 + np.exp(-4 * (z - 0.5)))
    np.testing.assert_allclose(predicted.probability, expected, atol=1e-3)
    table = predicted.score(truth)
    assert table.columns == ["loss", "dice", "tp", "fp", "fn", "tn"] and len(table) == 2
    for row, mask, p, true in zip(table.to_dicts(), predicted.masks, expected, truth, strict=True):
        counts = [(mask & true).sum(), (mask & ~true).sum(), (~mask & true).sum(), (~mask & ~true).sum()]
        assert [row[name] for name in ("tp", "fp", "fn", "tn")] == counts
        assert row["dice"] == pytest.approx(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))
        entropy = -np.where(true, np.log(p), np.log1p(-p)).mean()
        soft = (2 * (p * true).sum() + 1) / (p.sum() + true.sum() + 1)
        assert row["loss"] == pytest.approx(entropy + 1 - soft, rel=1e-3)
    assert str(predicted).startswith("2 predictions of 64 × 64 pixels")


def test_images_of_other_pixels_and_stacks_that_know_theirs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Mean)
    model = made.bare_model(tmp_path / "made")
    image, truth = discs((126, 131), 0.4, [(25, 25)])

    class Images:
        images, masks, pixel_size_angstrom = image[None], truth[None], 0.4

    coarse = model.predict(Images)
    assert coarse.masks.shape == (1, 126, 131) and coarse.score(Images.masks)["dice"][0] > 0.9
    assert np.array_equal(coarse.probability, model.predict(image, pixel_size_angstrom=0.4).probability)
    with pytest.raises(BadInputError, match=r"a pixel size of 2 Å is outside the 0.1 to 0.9 Å of made"):
        model.predict(image, pixel_size_angstrom=2.0)
    with pytest.raises(BadInputError, match=r"images of shape \(3,\) are no stack"):
        model.predict(np.ones(3))
    with pytest.raises(BadInputError, match=r"masks of shape \(1, 5, 5\) do not fit images of shape \(1, 126, 131\)"):
        coarse.score(np.ones((5, 5)))


def test_the_verb(model, tmp_path, capsys):
    image, _ = discs((128, 128), 0.8, [(50, 50)])
    file = tmp_path / "one.tif"
    tifffile.imwrite(file, image, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "nm"})
    out = tmp_path / "out"
    assert not app(["segment", str(model.folder), str(file), "--out", str(out), "--json"], standalone_mode=False)
    [answer] = json.loads(capsys.readouterr().out)["images"]
    assert answer["particles"] == 1 and answer["pixel_size_angstrom"] == pytest.approx(0.8)
    assert sorted(p.name for p in out.iterdir()) == sorted(names("one").values())


def tiff(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image, _ = discs((128, 128), 0.8, [(50 + 3 * seed, 50)])
    tifffile.imwrite(path, image, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "nm"})
    return path


def test_images_of_one_name_get_a_folder_each(model, tmp_path, capsys):
    files = [str(tiff(tmp_path / name, i)) for i, name in enumerate(("a/i.tif", "b/i.tif"))]
    out = tmp_path / "out"

    app(["segment", str(model.folder), *files, files[0], "--out", str(out), "--json"], standalone_mode=False)
    written = [i["files"] for i in json.loads(capsys.readouterr().out)["images"]]
    assert [Path(f["mask"]) for f in written] == [out / "a/i_mask.tif", out / "b/i_mask.tif"]
    records = [json.loads(Path(f["record"]).read_text()) for f in written]
    assert [(r["image"], r["model"]) for r in records] == [(file, "made") for file in files]


def test_results_of_another_image_or_model_stay(model, tmp_path):
    def place(image, card=model.card, frame=""):
        made_by = origin(card, tmp_path / image, frame)
        path = free_place(tmp_path, Path("i"), made_by)
        (path.parent / names("i")["record"]).write_text(json.dumps(made_by))
        return path.relative_to(tmp_path).as_posix()

    other = model.card.model_copy(update={"name": "other"})
    assert [place("i.tif"), place("i.tif"), place("i.tif", other), place("b/i.tif")] == ["i", "i", "other/i", "made/i"]
    with pytest.raises(BadInputError, match="has results of another image or model named i; choose another"):
        place("c/i.tif")
    (tmp_path / "i_segmentation.json").unlink()
    (tmp_path / "i_mask.tif").touch()
    with pytest.raises(BadInputError, match="has results of another image"):
        place("i.tif")


def test_names_that_would_collide_are_told_apart():
    given = ["/x/a/i.dm4", "/x/b/i.dm4", "/x/b/i.tif", "/x/b/c/i.dm4", "/y/k.dm4"]
    found = [path.as_posix() for path in places([Path(name) for name in given])]
    assert found == ["a/i", "b/i.dm4", "b/i.tif", "b/c/i", "k"]
    # One name further down is not a common folder.
    given = ["/x/monday/run/i.dm4", "/x/tuesday/run/i.dm4"]
    assert [path.as_posix() for path in places([Path(name) for name in given])] == ["monday/run/i", "tuesday/run/i"]


def test_the_place_of_a_file_depends_on_those_of_its_name_alone():
    names = [f"/x/{day}/{name}{ending}" for day in ("a", "a/b", "c") for name in "ijk" for ending in (".tif", ".mrc")]
    files = [Path(name) for name in names[:-1]]
    for path, place in zip(files, places(files), strict=True):
        alike = [other for other in files if other.stem == path.stem]
        assert place == places(alike)[alike.index(path)]


def test_pieces_too_small_for_the_table_have_no_outline(model):
    image, _ = discs((128, 128), 0.8, [(50.0, 50.0)])
    found = segment(model, Micrograph(image, 0.8))
    speck = found.mask.copy()
    speck[120, 120] = True
    assert not found.instances[115:, 115:].any()
    assert np.array_equal(np.asarray(replace(found, mask=speck).overlay()), np.asarray(found.overlay()))


def test_a_scanned_image_is_refused_unless_the_model_is_for_stem(model):
    image, _ = discs((128, 128), 0.8, [(50.0, 50.0)])
    scanned = Micrograph(image, 0.8, name="scan", scanned=True)
    with pytest.raises(
        BadInputError, match=r"^scan: was recorded by scanning \(STEM or SEM\), whose contrast made does not know"
    ):
        segment(model, scanned)
    for_stem = replace(model, card=model.card.model_copy(update={"modality": "stem"}))
    assert segment(for_stem, scanned).mask.any()
    # A card of before has the digest that it had.
    assert "modality" not in model.card.model_dump() and for_stem.card.model_dump()["modality"] == "stem"
    assert for_stem.card.own_digest() != model.card.own_digest()


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e30, "offset"])
def test_the_particles_are_those_of_any_scale_and_offset(model, scale):
    image, _ = discs((128, 128), 0.8, [(30.0, 30.0), (75.0, 70.0)])
    changed = image.astype(np.float64) + 1e8 if scale == "offset" else image * np.float32(scale)
    first, second = (segment(model, Micrograph(pixels, 0.8)) for pixels in (image, changed))
    assert len(first.particles) == len(second.particles) == 2
    assert abs(first.probability - second.probability).max() < 1e-3


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3), st.booleans())
def test_a_turned_image_has_the_same_particles_turned(model, quarters, flip):
    image, _ = discs((128, 128), 0.8, [(30.0, 34.0), (75.0, 62.0)])

    def turn(array):
        return np.rot90(array[:, ::-1] if flip else array, quarters)

    first, second = (segment(model, Micrograph(pixels, 0.8)) for pixels in (image, turn(image)))
    # But for where the tiles begin.
    assert (turn(first.mask) != second.mask).mean() < 0.005 and len(first.particles) == len(second.particles) == 2
    areas = [sorted(one.particles["area_angstrom2"]) for one in (first, second)]
    assert areas[0] == pytest.approx(areas[1], rel=0.1)
