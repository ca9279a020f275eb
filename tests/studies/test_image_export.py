"""Training images on disk: what lies in the folder, resuming, round trips to other programs, bad input."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import tifffile
from skimage import io
from skimage.draw import polygon2mask
from skimage.measure import label

import passband as pb
from passband.base.errors import BadInputError
from passband.conditions.sets import ConditionDraw
from passband.files import yaml_config
from passband.micrographs.labels import read_labelled
from passband.report.simulated_folder import SimulatedFolder
from passband.studies import export_job
from support.exports import BASE, DRAWN, RECIPE, export, plan


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "r.yaml"
    path.write_text(RECIPE)
    return pb.load_recipe(path)


@pytest.fixture(scope="module")
def plain(recipe, tmp_path_factory):
    return export(recipe, tmp_path_factory.mktemp("runs") / "plain", classes=True)


@pytest.fixture(scope="module")
def nnunet(recipe, plain):
    return export(recipe, plain.folder.parent / "nnunet", layout="nnunet", classes=True)


@pytest.fixture(scope="module")
def coco(recipe, plain):
    return export(recipe, plain.folder.parent / "coco", layout="coco", classes=True)


def test_every_image_has_its_files_and_its_row(plain):
    table = plain.table
    assert table["number"].to_list() == list(range(20)) and len(plain) == 20
    assert len({plain.condition(i).id for i in range(20)}) == 20
    # 500 e/Å² on 0.16 Å².
    for row in table.iter_rows(named=True):
        image, mask = (tifffile.imread(plain.folder / row[kind]) for kind in ("image", "label"))
        assert image.shape == mask.shape == (64, 64) and image.dtype == np.float32
        assert image.mean() == pytest.approx(80, rel=0.03) and {*np.unique(mask)} <= {0, 255}
        assert (mask > 0).mean() == pytest.approx(row["particle_share"])
        name = row["image"].removeprefix("images")
        instances, classes = (tifffile.imread(plain.folder / f"{kind}{name}") for kind in ("instances", "classes"))
        assert ((instances > 0) == (mask > 0)).all() and ((classes > 0) == (mask > 0)).all()
        assert {*np.unique(instances)} - {0} == {*range(1, row["particles"] + 1)}
        assert (
            row["C10"] == -row["defocus_angstrom"] and row["C12"] == plain.condition(row["number"]).aberrations["C12"]
        )
    csv = pl.read_csv(plain.folder / "conditions.csv")
    assert csv["seed"].to_list() == table["seed"].to_list() and csv.columns == table.columns
    assert "split" in (plain.folder / "README.txt").read_text() and (plain.folder / "sheet.png").stat().st_size > 1000


def test_no_specimen_is_in_two_parts(plain, recipe, tmp_path):
    assert plain.table.group_by("specimen").agg(pl.col("split").n_unique())["split"].max() == 1
    assert plain.facts["split"] == {"train": 16, "validation": 2, "test": 2}
    shares = plan(recipe, tmp_path, split=(0.7, 0.2, 0.1))
    parts = [shares.part(i) for i in range(1000)]
    assert [parts.count(p) for p in ("train", "validation", "test")] == pytest.approx([700, 200, 100], abs=2)
    assert [shares.part(i) for i in range(50)] == parts[:50]
    assert {plan(recipe, tmp_path, split=(1, 0, 0)).part(i) for i in range(200)} == {"train"}


def test_instances_end_at_the_edge_of_the_image(plain):
    """A particle across the periodic boundary is two in the image: no instance has pieces at opposite edges."""
    crossing = 0
    for row in plain.table.iter_rows(named=True):
        instances = tifffile.imread(plain.folder / row["image"].replace("images", "instances", 1))
        for number in range(1, row["particles"] + 1):
            own = instances == number
            pieces = label(own, connectivity=2).max()
            opposite = (own[0].any() and own[-1].any()) or (own[:, 0].any() and own[:, -1].any())
            assert pieces == 1 or not opposite
        edges = (instances[0] > 0) & (instances[-1] > 0)
        crossing += (instances[0] != instances[-1])[edges].any()
    assert crossing


def test_a_row_of_the_table_makes_its_image_again(plain):
    recipe = pb.load_recipe(plain.folder / "recipe.yaml")
    for number in (0, 7, 19):
        row = plain.table.row(number, named=True)
        condition = pb.Condition(**json.loads(row["condition"]))
        again = pb.simulate(recipe, condition, 1, first=row["specimen"], noise_seed=row["seed"])
        np.testing.assert_array_equal(again.images[0], tifffile.imread(plain.folder / row["image"]))
        np.testing.assert_array_equal(again.masks[0], tifffile.imread(plain.folder / row["label"]) > 0)
    with pytest.raises(BadInputError, match="first is -1"):
        pb.simulate(recipe, condition, 1, first=-1)


def test_more_images_only_add_and_nothing_is_made_twice(recipe, plain, tmp_path, monkeypatch):
    made = []
    draw = export_job.draw_specimen
    monkeypatch.setattr(export_job, "draw_specimen", lambda r, i: made.append(i) or draw(r, i))
    first = export(recipe, tmp_path / "grown", 5, classes=True)
    assert made == [0, 1, 2] and first.facts["split"]["train"] == 5
    more = export(recipe, tmp_path / "grown", 20, classes=True)
    assert made == [0, 1, 2, *range(2, 10)]
    assert more.table.equals(plain.table)
    for name in plain.table["image"]:
        assert (tmp_path / "grown" / name).read_bytes() == (plain.folder / name).read_bytes()
    # One file is lost: that image is made again, and no other.
    (tmp_path / "grown" / plain.table["label"][9]).unlink()
    times = {name: (tmp_path / "grown" / name).stat().st_mtime_ns for name in plain.table["image"]}
    export(recipe, tmp_path / "grown", 20, classes=True)
    changed = [name for name, time in times.items() if (tmp_path / "grown" / name).stat().st_mtime_ns != time]
    assert changed == [plain.table["image"][9]] and made[-1] == 4
    with pytest.raises(BadInputError, match="holds 20 images of this simulation; give count of 20 or more"):
        export(recipe, tmp_path / "grown", 8, classes=True)


def test_a_killed_run_goes_on(recipe, plain, tmp_path):
    """Killed at a rename, again and again: the folder is that of a run that nobody stopped."""
    words = [
        sys.executable,
        "-m",
        "support.exports",
        tmp_path / "killed",
        tmp_path / "r.yaml",
        *["3", "9", "14", "5"],
    ]
    (tmp_path / "r.yaml").write_text(RECIPE)
    subprocess.run(words, check=True, timeout=300, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    whole = export(recipe, tmp_path / "killed", 6, classes=True)
    assert whole.table.equals(plain.table.head(6))
    for name in (*whole.table["image"], *whole.table["label"]):
        assert (tmp_path / "killed" / name).read_bytes() == (plain.folder / name).read_bytes()
    assert not list((tmp_path / "killed").rglob(".*.tmp*"))


def test_nnunet_finds_what_it_checks(nnunet, plain):
    """The checks of nnU-Net's verify_dataset_integrity, and its reader's way to read."""
    folder = nnunet.folder
    content = json.loads((folder / "dataset.json").read_text())
    assert {"labels", "channel_names", "numTraining", "file_ending"} <= content.keys()
    assert list(content["channel_names"]) == ["0"] and list(content["labels"].values()) == [0, 1, 2]
    ending = content["file_ending"]
    cases = sorted(p.name.removesuffix(f"_0000{ending}") for p in (folder / "imagesTr").iterdir())
    assert cases == sorted(p.name.removesuffix(ending) for p in (folder / "labelsTr").iterdir())
    assert len(cases) == content["numTraining"] == 18
    for case in cases:
        image, truth = io.imread(folder / f"imagesTr/{case}_0000.tif"), io.imread(folder / f"labelsTr/{case}.tif")
        assert image.ndim == truth.ndim == 2 and image.shape == truth.shape and np.isfinite(image).all()
        assert {*np.unique(truth)} <= {0, 1, 2}
    [fold] = json.loads((folder / "splits_final.json").read_text())
    assert sorted(fold["train"] + fold["val"]) == cases and len(fold["val"]) == 2
    assert len(list((folder / "imagesTs").iterdir())) == len(list((folder / "labelsTs").iterdir())) == 2
    # The same images and classes as in the other layout.
    for ours, theirs in zip(plain.table["image"], nnunet.table.iter_rows(named=True), strict=True):
        np.testing.assert_array_equal(tifffile.imread(plain.folder / ours), tifffile.imread(folder / theirs["image"]))
        classes = tifffile.imread(plain.folder / ours.replace("images", "classes", 1))
        np.testing.assert_array_equal(classes, tifffile.imread(folder / theirs["label"]))


def decoded(segmentation, shape):
    if isinstance(segmentation, dict):
        runs = segmentation["counts"]
        return np.repeat(np.arange(len(runs)) % 2, runs).reshape(shape[::-1]).T == 1
    return sum(polygon2mask(shape, np.reshape(p, (-1, 2))[:, ::-1] - 0.5) for p in segmentation) % 2 == 1


def test_coco_gives_the_same_particles(coco, plain):
    seen = 0
    for part in ("train", "validation", "test"):
        content = json.loads((coco.folder / f"annotations/{part}.json").read_text())
        assert [c["name"] for c in content["categories"]] == ["Au", "Cu"]
        assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"])
        for image in content["images"]:
            name = f"{part}/{image['file_name']}"
            grey = tifffile.imread(coco.folder / "images" / name)
            assert grey.dtype == np.uint8 and grey.shape == (image["height"], image["width"]) and np.ptp(grey) == 255
            instances, classes = (tifffile.imread(plain.folder / kind / name) for kind in ("instances", "classes"))
            own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert len(own) == instances.max()
            for number, annotation in enumerate(own, 1):
                mask = decoded(annotation["segmentation"], instances.shape)
                np.testing.assert_array_equal(mask, instances == number)
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert annotation["bbox"] == box and annotation["area"] == mask.sum()
                assert {*classes[mask]} == {annotation["category_id"]}
            seen += 1
    assert seen == 20


def test_labels_of_the_plain_layout_are_read_back(plain):
    """What `model tune` and `model score` read."""
    labelled = read_labelled(plain.folder / "images/validation", plain.folder / "masks/validation")
    assert len(labelled) == 2 and labelled[0].micrograph.pixel_size_angstrom == pytest.approx(0.4)
    numbered = read_labelled(plain.folder / "images/test", plain.folder / "instances/test")
    assert [item.truth.max() for item in numbered] == plain.table.filter(split="test")["particles"].to_list()


def test_energies_pixels_and_given_scenes(recipe, tmp_path):
    """Images of one specimen at two energies, with pixels of two sizes: each has the waves of its energy."""
    values = {"energy_ev": {"values": [80e3, 300e3]}, "pixel_size_angstrom": {"values": [0.4, 0.8]}}
    mixed = ConditionDraw(base=BASE, draw=values, count=4)
    made = export(recipe, tmp_path / "mixed", 8, mixed, images_per_specimen=4, labels=True)
    assert {*made.table["energy_ev"]} == {80e3, 300e3} and {*made.table["pixels"]} == {32, 64}
    assert len(list((tmp_path / "exit_waves").iterdir())) == len(made.facts["exit_waves"]) == 2
    row = made.table.row(3, named=True)
    again = pb.simulate(recipe, made.condition(3), 1, first=row["specimen"], noise_seed=row["seed"])
    np.testing.assert_array_equal(again.images[0], tifffile.imread(made.folder / row["image"]))
    with np.load(made.folder / "labels/000003.npz") as every:
        assert every["mask"].shape == again.masks[0].shape
    many = ConditionDraw(base=BASE, draw={"energy_ev": [80e3, 300e3]}, count=4)
    with pytest.raises(BadInputError, match="8 different energies.*at most 4.*give energy_ev one value"):
        export(recipe, tmp_path / "many", 8, many)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0; there is no set without images"),
        ({"images_per_specimen": 0}, "images_per_specimen is 0"),
        ({"split": (0.8, 0.1, 0.2)}, "split 0.8,0.1,0.2 adds up to 1.1, not to 1"),
        ({"split": (0.5, 0.5)}, "split 0.5,0.5 is not three shares"),
        ({"split": (1.5, -0.5, 0)}, "split 1.5,-0.5,0 is not three shares"),
        ({"layout": "yolo"}, "layout 'yolo' is not known; known are plain, nnunet, coco"),
        ({"conditions": []}, "conditions: there is none"),
        (
            {"conditions": ConditionDraw(base=BASE, draw={"pixel_size_angstrom": [0.3, 0.5]})},
            r"is 0\.3\d+ to 0\.4\d+ Å, and not all .* divide the field of 25.6 Å; .* such as pixel_size_angstrom: \{values: \[0\.4\d*, 0\.\d+, 0\.\d+\]\}",
        ),
        (
            {"conditions": ConditionDraw(base=BASE, draw={"focal_spread_angstrom": {"normal": [1, 20]}}, count=1)},
            "a varied condition is not valid: focal_spread_angstrom",
        ),
    ],
)
def test_bad_input_is_one_line_before_any_work(recipe, tmp_path, settings, message):
    with pytest.raises(BadInputError, match=message):
        export(recipe, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_folders_of_others_stay(recipe, plain, tmp_path, monkeypatch):
    with pytest.raises(BadInputError, match="holds another simulation.*choose another folder"):
        export(recipe, plain.folder, 20, layout="coco", classes=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match="something other than a simulation"):
        export(recipe, tmp_path / "mine")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 10**6})())
    with pytest.raises(BadInputError, match="MB are needed and 1 MB are free"):
        export(recipe, tmp_path / "full")
    with pytest.raises(BadInputError, match="holds no finished set of simulated images"):
        SimulatedFolder.open(tmp_path / "full")


def test_the_command_line(call, recipe, tmp_path):
    (tmp_path / "r.yaml").write_text(yaml_config.dump(recipe))
    words = ("simulate", "r.yaml", "--conditions", "titan_corrected_300kv:residuals", "--workers", 1)
    code, out, err = call(*words, "--count", 3, "--split", "1,0,0", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["split"] == {"train": 3, "validation": 0, "test": 0} and "images: 3 of 3" in err
    assert facts["folder"] == "runs/r" and pl.read_parquet(facts["table"]).height == 3
    code, out, err = call(*words, "--count", 3, "--split", "1,0,0")
    assert code == 0 and out.startswith("3 images of 1 specimen,") and "3 of 3 were finished before" in err
    for more, message in [
        (("--split", "1,2"), "--split 1,2 is not three shares"),
        (("--split", "a"), "--split 'a': give three shares"),
        (("--condition", "feg_200kv"), "--condition and --conditions are given"),
        (("--layout", "voc"), "--layout 'voc' is not known"),
        (("--count", 0), "--count"),
    ]:
        code, out, err = call(*words, *more)
        assert (code, out) == (2, "") and message in err and len(err.splitlines()) == 1
    code, _, err = call("simulate", "r.yaml", "--layout", "coco")
    assert code == 2 and "--layout: is for training images; name --conditions" in err
    # Elsewhere it is the former name of --condition.
    code, _, err = call("specimen", "preview", "r.yaml", "--conditions", "nothing")
    assert code == 2 and "nothing: neither a file nor a preset" in err


def test_in_python(recipe, tmp_path):
    with pytest.warns(UserWarning, match="1 specimen in all: none is for validation or test"):
        made = pb.simulate_folder(recipe, [pb.Condition(**BASE), DRAWN], tmp_path / "out", 4, workers=1)
    assert len(made) == 4 and str(made).startswith("4 images of 1 specimen,") and "<img" in made._repr_html_()
    assert sum(made.condition(i) == pb.Condition(**BASE) for i in range(4)) == 2
    assert made.to_dict()["layout"] == "plain"
