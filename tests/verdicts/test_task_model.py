"""A model of another task than segmentation, the whole way: study, model, prediction of a simulated micrograph with an interval."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import tifffile
import torch

import passband as pb
from passband.analysis.conformal import half_width
from passband.micrographs.write_tiff import write_tiff
from passband.models.store import read_model
from passband.report.study_page import rebuild_report, write_results
from passband.sessions.image_files import find_images
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe, draw_specimen
from passband.studies import jobs
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.verdicts import from_study, task_model
from support.shell import run_here
from support.studies import run, study

FIELD = ("field_angstrom: 19.2", "field_angstrom: 25.6")
SIZES = ("diameter_angstrom: [8.5, 9.5]", "diameter_angstrom: [9.0, 16.0]")
IMAGES = ("{train: 6, validation: 2, test: 3}", "{train: 12, validation: 2, test: 20}")
TWO = ("[-100, 0, 100]", "[-100, 100]")


def made(folder, task):
    config = study(folder, FIELD, SIZES, IMAGES, TWO, ("seeds: 1", f"seeds: 1\ntask: {task}"))
    run(config, folder / "runs/small")
    return StudyFolder(config, StudyPaths(folder / "runs/small"))


@pytest.fixture(scope="module")
def diameter(tmp_path_factory):
    """A study of mean diameters, and the model that the command line makes of it."""
    folder = tmp_path_factory.mktemp("diameter")
    held = made(folder, "mean_diameter")
    code, out, _ = run_here("model", "pack", held.paths.folder, "--name", "sizes", "--out", folder / "model", "--json")
    assert code == 0
    return held, read_model(folder / "model"), json.loads(out)


def shot(held, card, path, index):
    """Write a simulated micrograph of the training condition, of a specimen that the study does not have."""
    recipe = SpecimenRecipe.model_validate(card.specimens.recipe)
    images = pb.simulate(recipe, card.conditions[0], n=1, first=held.study.split.total + index)
    write_tiff(path, images.images[0].astype(np.float32), images.pixel_size_angstrom)


def test_the_card_has_the_task_its_scores_and_the_interval(diameter):
    held, model, shown = diameter
    card, scores = model.card, pl.read_parquet(held.paths.table("scores"))
    trained = card.made_by["trained_on"]
    own = scores.filter(pl.col("train_condition") == trained, pl.col("test_condition") == trained)
    assert card.task == "mean_diameter" and model.scores is None
    assert card.intended_use.startswith("Mean diameter [Å]: particles of Au of ")
    assert card.task_scores["mean_absolute_error_angstrom"] == pytest.approx(own["mean_absolute_error_angstrom"][0])
    counts = pl.read_parquet(held.paths.table("counts")).filter(pl.col("train_condition") == trained)
    home = counts.filter(pl.col("test_condition") == trained)
    interval = card.value_interval
    assert interval.half_width_angstrom == pytest.approx(half_width(home["errors"]), rel=1e-5) and interval.images == 20
    coverage = pl.read_parquet(held.paths.table("coverage"))
    elsewhere = coverage.filter(pl.col("train_condition") == trained, pl.col("test_condition") != trained)
    assert interval.conditions_elsewhere == 1
    assert interval.coverage_elsewhere == interval.least_coverage_elsewhere == pytest.approx(elsewhere["coverage"][0])
    assert shown["task"] == "mean_diameter" and shown["value_interval"]["images"] == 20
    code, out, _ = run_here("model", "show", model.folder)
    assert code == 0 and "under its training condition: a mean diameter error of" in out
    assert f"mean diameter: ± {interval.half_width_angstrom:.2f} Å is the 90% interval" in out


def test_the_study_reports_how_often_intervals_hold(diameter):
    held, _, _ = diameter
    coverage = pl.read_parquet(held.paths.table("coverage"))
    assert (
        len(coverage) == 4 and coverage["coverage"].is_between(0, 1).all() and coverage["images"].to_list() == [20] * 4
    )
    write_results(held)
    findings = json.loads(held.paths.analysis.read_text())["findings"]
    home = coverage.filter(pl.col("train_condition") == pl.col("test_condition"))["coverage"].mean()
    assert findings["interval_coverage"]["in_domain"] == pytest.approx(home)
    said = next(s for s in findings["sentences"] if s.startswith("90% intervals of the mean diameter"))
    assert f"contain {home:.0%} of the true values there" in said
    assert said in held.paths.report.read_text(encoding="utf-8").replace("−", "-")
    assert (held.paths.figures / "matrix_coverage.png").is_file()
    rebuild_report(held)
    assert "interval_coverage" in json.loads(held.paths.analysis.read_text())["findings"]


def test_a_micrograph_file_gets_a_value_with_its_interval(diameter, tmp_path, call):
    held, model, _ = diameter
    shot(held, model.card, tmp_path / "shot.tif", 0)
    code, out, _ = call("predict", model.folder, "shot.tif", "--json")
    [image] = json.loads(out)["images"]
    width = model.card.value_interval.half_width_angstrom
    assert code == 0 and image["unit"] == "Å" and image["quantity"] == "mean diameter"
    assert (image["low"], image["high"]) == pytest.approx((image["value"] - width, image["value"] + width))
    assert "holds for such images only" in image["notes"][0]
    assert pb.predict(model, "shot.tif").value == pytest.approx(image["value"], rel=1e-6)
    code, out, _ = call("predict", model.folder, "shot.tif")
    assert f"shot.tif: mean diameter {image['value']:.2f} ± {width:.2f} Å" in out


def test_values_are_those_of_the_studys_tests(diameter):
    held, model, _ = diameter
    trained = model.card.made_by["trained_on"]
    test = next(t for t in held.study.tests if t.id == trained)
    recipe = SpecimenRecipe.model_validate(model.card.specimens.recipe)
    task, start = held.study.learnt, held.study.split.test_range[0]
    counts = pl.read_parquet(held.paths.table("counts"))
    row = counts.filter(
        pl.col("train_condition") == trained, pl.col("test_condition") == trained, pl.col("specimen") == start
    )
    # A picture has x along its columns.
    image = jobs.test_images(held.study, held.paths, test)[0][0].numpy().T
    found = pb.predict(model, image, pixel_size_angstrom=test.condition.pixel_size_angstrom)
    truth = task.target(recipe, draw_specimen(recipe, start), ExitWaveConfig()).mean()
    assert found.value - truth == pytest.approx(row["errors"][0], abs=1e-3)


def test_several_files_get_a_table_and_a_second_run_makes_nothing(diameter, tmp_path, call):
    held, model, _ = diameter
    (tmp_path / "session").mkdir()
    for i in range(2):
        shot(held, model.card, tmp_path / f"session/{i}.tif", i)
    tifffile.imwrite(tmp_path / "session/small.tif", np.zeros((8, 8), np.float32))
    code, out, _ = call("predict", model.folder, "session", "--json", "--pixel-size", 0.4)
    answer = json.loads(out)
    assert code == 1 and answer["failed"] == 1 and "64 to 16384 pixels" in answer["images"][-1]["error"]
    table = pl.read_csv(tmp_path / "predicted/predictions.csv")
    assert table["file"].to_list() == ["session/0.tif", "session/1.tif", "session/small.tif"]
    assert table["value"].null_count() == 1
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "predicted").glob("*.json")}
    call("predict", model.folder, "session", "--pixel-size", 0.4)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "predicted").glob("*.json")} and len(before) == 2
    # Another file under a name that has results is new work.
    shot(held, model.card, tmp_path / "session/0.tif", 5)
    call("predict", model.folder, "session", "--pixel-size", 0.4)
    changed = {p.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert changed == {"0_prediction.json"}


def test_predictions_of_a_second_model_lie_in_a_folder_of_its_name(diameter, tmp_path, call):
    held, model, _ = diameter
    other = next(t.id for t in held.study.trainings if t.id != model.card.made_by["trained_on"])
    pb.pack_model(held.paths.folder, "second", training=other, folder=tmp_path / "second", workers=1)
    for i in range(2):
        shot(held, model.card, tmp_path / f"{i}.tif", i)
    files = {}
    for name in (model.folder, "second", model.folder):
        code, out, _ = call("predict", name, "0.tif", "--json")
        assert code == 0
        files[name] = json.loads(out)["table"]
    assert files == {model.folder: "predicted/predictions.csv", "second": "predicted/second/predictions.csv"}
    # Also of an image that the first model has not seen, so that its table stays.
    call("predict", "second", "1.tif")
    tables = [pl.read_csv(tmp_path / file)["file"].to_list() for file in files.values()]
    assert tables == [["0.tif"], ["1.tif"]]


def test_a_map_is_written_with_its_scale_and_an_overlay(tmp_path, call):
    held = made(tmp_path, "thickness")
    assert call("model", "pack", "runs/small", "--name", "map", "--out", "model")[0] == 0
    model = read_model(tmp_path / "model")
    shot(held, model.card, tmp_path / "shot.tif", 0)
    assert call("predict", "model", "shot.tif", "--out", "out")[0] == 0
    with tifffile.TiffFile(tmp_path / "out/shot_thickness.tif") as file:
        written = file.asarray()
        assert file.imagej_metadata["unit"] == "nm"
        assert file.pages[0].tags["XResolution"].value[0] / file.pages[0].tags["XResolution"].value[1] == 25
    np.testing.assert_allclose(written, pb.predict(model, tmp_path / "shot.tif").map, atol=1e-4)
    assert (tmp_path / "out/shot_thickness.png").read_bytes()[1:4] == b"PNG"
    # Results are no micrographs.
    assert find_images([tmp_path], None).paths == (tmp_path / "shot.tif",)
    # Results of another image stay.
    (tmp_path / "other").mkdir()
    shot(held, model.card, tmp_path / "other/shot.tif", 1)
    code, _, error = call("predict", "model", "other/shot.tif", "--out", "out")
    assert code == 2 and "has results of another image or model named shot" in error and "--out" in error


def test_a_model_is_scored_under_conditions_by_its_headline(diameter, tmp_path, call):
    _, model, _ = diameter
    recipe = dict(model.card.specimens.recipe)
    (tmp_path / "same.yaml").write_text(json.dumps(recipe))
    (tmp_path / "other.yaml").write_text(json.dumps(recipe | {"seed": 99}))
    base = model.card.conditions[0]
    defoci = [base.defocus_angstrom, base.defocus_angstrom + 50]
    content = {"base": base.to_dict(), "vary": {"defocus_angstrom": defoci}}
    (tmp_path / "set.yaml").write_text(json.dumps(content))
    words = ("model", "score", model.folder, "--condition", "set.yaml", "--count", 4, "--workers", 1)
    code, out, error = call(*words, "--recipe", "same.yaml")
    assert (
        code == 2
        and "was trained on specimens of this very recipe, of seed 3" in error
        and "--seed, such as 4" in error
    )
    assert not (tmp_path / "runs").exists()
    code, out, _ = call(*words, "--recipe", "same.yaml", "--seed", 99, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["headline"]["title"] == "Mean diameter error" and answer["total"]["images"] == 8
    table = pl.read_parquet(tmp_path / answer["table"])
    assert len(table) == 2 and table["within"].is_between(0, 1).all()
    assert answer["total"]["mean_absolute_error_angstrom"] == pytest.approx(
        table["mean_absolute_error_angstrom"].mean()
    )
    code, out, error = call(*words, "--recipe", "other.yaml")
    assert "sizes on 8 images under 2 conditions: a mean diameter error of" in out and "2 of 2 were finished" in error


def test_wrong_verbs_and_options_are_one_line(diameter, tmp_path, call):
    _, model, _ = diameter
    (tmp_path / "a").mkdir()
    write_tiff(tmp_path / "a/b.tif", np.random.default_rng(0).random((64, 64), dtype=np.float32), 0.4)
    for words in (
        ("segment", model.folder, "a/b.tif"),
        ("segment", model.folder, "a"),
        ("check", model.folder, "a/b.tif"),
        ("watch", "a", "--model", model.folder),
        ("plan-session", model.folder),
        ("model", "export", model.folder, "x.onnx"),
    ):
        code, out, error = call(*words)
        assert (code, out) == (2, "") and error.count("\n") == 1, words
        assert "is a model of the task mean_diameter" in error and "passband predict sizes IMAGE" in error
    code, _, error = call("predict", "au-300kv", "a/b.tif")
    assert code == 2 and "passband segment au-300kv IMAGE" in error
    assert not {"segmented", "predicted", "checked"} & {p.name for p in tmp_path.iterdir()}


def test_a_study_of_a_task_is_packed_without_conditions(diameter, tiny, tmp_path, call):
    held, _, _ = diameter
    code, _, error = call("model", "pack", held.paths.folder, "--name", "x", "--condition", "team_300kv")
    assert code == 2 and "--condition is of segmentation, and this study of mean_diameter" in error
    code, _, error = call("model", "pack", tiny[1], "--name", "x")
    assert code == 2 and "give them with --condition" in error
    code, _, error = call("model", "pack", held.paths.folder, "--name", "x", "--second", tiny[1])
    assert code == 2 and "--second: is for verdicts" in error
    with pytest.raises(pb.BadInputError, match="give them with conditions"):
        pb.pack_model(tiny[1], "x", folder=tmp_path / "x")
    other = next(t.id for t in held.study.trainings if t.id != diameter[1].card.made_by["trained_on"])
    packed = pb.pack_model(held.paths.folder, "other", training=other, folder=tmp_path / "other", workers=1)
    assert packed.card.made_by["trained_on"] == other and packed.card.value_interval.images == 20
    code, _, error = call("model", "pack", held.paths.folder, "--name", "x", "--out", tmp_path)
    assert code == 2 and "exists" in error


def test_a_network_that_finds_nothing_is_packed(tiny, tmp_path, monkeypatch):
    config, folder = tiny
    held = StudyFolder(config, StudyPaths(folder))
    monkeypatch.setattr(task_model, "predict", lambda network, images: torch.full_like(images, -1.0))
    model = task_model.pack_task(held, from_study.choose(held, None, None), tmp_path / "blind", name="blind")
    scores = model.card.task_scores
    assert (scores["dice"], scores["instance_f1"], scores["surface_dice"], scores["found"]) == (0, 0, 0, 0)
    assert scores["missed"] == scores["particles"] > 0
    # Of nothing there is no mean.
    assert scores["distance_angstrom"] is None and scores["diameter_bias_angstrom"] is None


SET = (
    "  vary: {defocus_angstrom: [-100, 100]}",
    "  vary: {defocus_angstrom: [-100, 30, 100]}\n"
    "training_sets:\n"
    "  few: {conditions: {base: {energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}, "
    "vary: {defocus_angstrom: [30, 60, 90]}}}\n"
    "  many: {conditions: {base: {energy_ev: 300000}, vary: {defocus_angstrom: {start: -60, stop: 60, step: 5}}}}",
)


def test_a_model_of_the_defocus(tmp_path, call):
    """A target of the condition, the whole way: training set, model with an interval over its conditions, prediction, scores."""
    config = study(tmp_path, FIELD, SIZES, IMAGES, TWO, SET, ("seeds: 1", "seeds: 1\ntask: defocus"))
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    assert call("model", "pack", "runs/small", "--name", "focus", "--training", "few", "--out", "model")[0] == 0
    card = read_model(tmp_path / "model").card
    assert [c.defocus_angstrom for c in card.conditions] == [c.defocus_angstrom for c in config.trainings[0].conditions]
    # One of the three tests is a training condition.
    assert card.value_interval.images == 20 and card.value_interval.conditions_elsewhere == 2
    home = jobs.test_images(config, held.paths, config.trainings[0])[0]
    found = [pb.predict(tmp_path / "model", image.numpy().T, pixel_size_angstrom=0.4).value for image in home]
    turns = [card.conditions[i % 3].defocus_angstrom for i in range(20)]
    errors = np.array(found) - turns
    assert card.value_interval.half_width_angstrom == pytest.approx(half_width(errors), abs=0.01)
    expected = 1 - np.sum(errors**2) / np.sum((turns - np.mean(turns)) ** 2)
    assert card.task_scores["r2"] == pytest.approx(expected, rel=1e-3)
    shot(held, card, tmp_path / "shot.tif", 0)
    code, out, _ = call("predict", "model", "shot.tif")
    assert (
        code == 0
        and "shot.tif: defocus " in out
        and "of the training conditions, and holds for such images only" in out
    )
    code, out, _ = call("model", "show", "model")
    assert code == 0 and "under its training conditions: a defocus error of" in out
    # More conditions than test images: evenly spaced ones.
    assert call("model", "pack", "runs/small", "--name", "wide", "--training", "many", "--out", "wide")[0] == 0
    assert read_model(tmp_path / "wide").card.value_interval.images == 20
    # One of them transfers nothing.
    code, out, _ = call("model", "show", "wide", "--json")
    assert code == 0 and json.loads(out)["epsilon"]["least"] == 0 and 0 < json.loads(out)["sigma"]["mean"] < 1
    (tmp_path / "other.yaml").write_text(json.dumps(dict(card.specimens.recipe) | {"seed": 99}))
    (tmp_path / "set.yaml").write_text(json.dumps({"base": card.conditions[0].to_dict(), "vary": {"C12": [0, 40]}}))
    words = (
        "model",
        "score",
        "model",
        "--condition",
        "set.yaml",
        "--recipe",
        "other.yaml",
        "--count",
        4,
        "--workers",
        1,
    )
    code, out, _ = call(*words, "--json")
    answer = json.loads(out)
    table = pl.read_parquet(tmp_path / answer["table"])
    assert code == 0 and answer["total"]["r2"] is None and table["r2"].null_count() == 2
    assert answer["total"]["mean_absolute_error_angstrom"] == pytest.approx(
        table["mean_absolute_error_angstrom"].mean()
    )
    # Labels of one's own are a table of values.
    (tmp_path / "values.csv").write_text("image,value\nshot.tif,90\n")
    code, out, _ = call("model", "score", "model", "--images", ".", "--masks", "values.csv", "--json")
    [image] = json.loads(out)["images"]
    assert code == 0 and image["bias_angstrom"] == pytest.approx(pb.predict("model", "shot.tif").value - 90, abs=0.01)


STEM = (
    "{energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}",
    "{modality: stem, energy_ev: 300000, convergence_semiangle_mrad: 20, source_size_angstrom: 0.4, pixel_size_angstrom: 0.4, "
    "dose_per_angstrom2: 5000, detector: {kind: haadf, inner_mrad: 60, outer_mrad: 200}}",
)


def test_a_model_for_stem_segments_and_gives_no_verdict(tmp_path):
    """Dark field, the whole way: study, model, particles of a simulated scan; a scan that HRTEM's models refuse is no fault here."""
    config = study(
        tmp_path,
        FIELD,
        SIZES,
        IMAGES,
        TWO,
        STEM,
        ("exit_waves: {phonon_configurations: 1}\n", ""),
        ("epochs: 2", "epochs: 12"),
    )
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    code, out, _ = run_here("model", "pack", held.paths.folder, "--name", "dark", "--out", tmp_path / "dark", "--json")
    card = read_model(tmp_path / "dark").card
    assert code == 0 and card.modality == "stem" and isinstance(card.conditions[0], pb.StemCondition)
    assert card.intended_use.startswith("Particles of Au of ")
    assert "HAADF STEM images at 300 kV" in card.intended_use and card.task_scores["dice"] > 0.8
    recipe = SpecimenRecipe.model_validate(card.specimens.recipe)
    images = pb.simulate(recipe, card.conditions[0], n=1, first=config.split.total)
    path = tmp_path / "scan.tif"
    write_tiff(path, images.images[0].astype(np.float32), images.pixel_size_angstrom)
    code, out, _ = run_here("segment", tmp_path / "dark", path, "--out", tmp_path / "seg", "--json")
    mask = tifffile.imread(json.loads(out)["images"][0]["files"]["mask"]) > 0
    assert code == 0 and 2 * (mask & images.masks[0]).sum() / (mask.sum() + images.masks[0].sum()) > 0.75
    assert pb.segment(tmp_path / "dark", replace(pb.read_micrographs(path)[0], scanned=True)).mask.any()
    for words in (
        ["check", tmp_path / "dark", path],
        ["check", tmp_path / "dark", "--condition", "titan_corrected_300kv"],
    ):
        code, _, err = run_here(*words)
        assert code == 2 and "no verdict can be given; pack it with conditions to score it under" in err
    code, _, err = run_here("model", "pack", held.paths.folder, "--name", "x", "--condition", "titan_corrected_300kv")
    assert code == 2 and "--condition has one of HRTEM, and the study is of STEM; give others" in err
    code, out, _ = run_here("model", "show", tmp_path / "dark", "--json")
    assert code == 0 and 0 < json.loads(out)["epsilon"]["mean"] < 1
    (tmp_path / "other.yaml").write_text(json.dumps(dict(card.specimens.recipe) | {"seed": 99}))
    (tmp_path / "stem.yaml").write_text(json.dumps({"modality": "stem"} | card.conditions[0].to_dict()))
    words = ("model", "score", tmp_path / "dark", "--recipe", tmp_path / "other.yaml", "--count", 4, "--workers", 1)
    code, out, _ = run_here(*words, "--condition", tmp_path / "stem.yaml", "--out", tmp_path / "scores", "--json")
    assert code == 0 and json.loads(out)["total"]["dice"] > 0.6
    assert json.loads(out)["notes"][0].startswith(
        "these scores give a model for STEM no verdicts: only one that is made"
    )
    code, _, err = run_here(*words, "--condition", "titan_corrected_300kv", "--out", tmp_path / "none")
    assert code == 2 and "is of HRTEM, and dark is for STEM" in err and not (tmp_path / "none").exists()
