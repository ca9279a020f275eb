"""The task classes the whole way: a study of two crystals, its tables and sheet, a model, maps of crystals and their scores."""

import json

import numpy as np
import polars as pl
import pytest
import tifffile

import passband as pb
from passband.base.errors import BadInputError
from passband.execution.base import Serial
from passband.learning import TASKS, NetworkConfig
from passband.micrographs.write_tiff import write_tiff
from passband.models.store import read_model
from passband.report.study_page import write_results
from passband.specimens import SpecimenRecipe, draw_specimen
from passband.studies import cost
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingGroup
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study
from passband.studies.target_jobs import read_targets
from passband.studies.wave_jobs import wave_sets
from support import made
from support.shell import run_here
from support.studies import run, study

NAMES = ("background", "CdSe-zincblende", "Pd")
POPULATION = "{{crystal: {0}, shape: sphere, count: [1, 1], diameter_angstrom: [12.5, 13.0]}}"
TWO = (
    "particles: {count: [1, 1], diameter_angstrom: [8.5, 9.5]}",
    f"particles: [{POPULATION.format('Pd')}, {POPULATION.format('CdSe-zincblende')}]\n  populations_per_field: [1, 2]",
)
CLASSES = ("seeds: 1", "seeds: 1\ntask: classes")
CHANGES = (TWO, CLASSES, ("19.2", "32.0"), ("[-100, 0, 100]", "[-100, 100]"))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """A finished study and the model that the command line makes of it."""
    folder = tmp_path_factory.mktemp("classes")
    config = study(folder, *CHANGES)
    run(config, folder / "runs/small")
    held = StudyFolder(config, StudyPaths(folder / "runs/small"))
    write_results(held)
    code, _, error = run_here("model", "pack", held.paths.folder, "--name", "crystals", "--out", folder / "model")
    assert code == 0, error
    return held, read_model(folder / "model")


def test_the_study_has_the_outputs_of_its_crystals_and_is_read_back_the_same(classes, tmp_path):
    config = classes[0].study
    assert config.network.outputs == 3 and config.learnt.classes == NAMES
    (tmp_path / "again.yaml").write_text(str(config))
    assert load_study(tmp_path / "again.yaml").id == config.id
    [job, *_] = classes[0].training_jobs
    assert job.content["network"]["outputs"] == 3 and job.content["task"] == "classes"


def test_tables_targets_and_sheet(classes):
    held, _ = classes
    scores = pl.read_parquet(held.paths.table("scores"))
    assert {"mean_dice", "dice_CdSe-zincblende", "dice_Pd", "wrong_crystal", "wrong_crystal_trivial"} <= {
        *scores.columns
    }
    counts = pl.read_parquet(held.paths.table("counts"))
    assert (counts["true_Pd"] + counts["true_CdSe-zincblende"]).min() > 0 and counts["pixels"].unique().to_list() == [
        80 * 80
    ]
    [waves] = wave_sets(held.study, held.paths)
    start, stop = held.study.split.test_range
    stored = read_targets("classes", waves, start, stop).numpy()
    expected = [
        TASKS["classes"].target(waves.recipe, draw_specimen(waves.recipe, i), waves.config) for i in range(start, stop)
    ]
    np.testing.assert_array_equal(stored, expected)
    assert (held.paths.figures / "image_sheet.png").is_file() and "Mean Dice" in held.paths.report.read_text()


def test_predictions_are_kept_as_numbers_and_made_alike(classes):
    held, _ = classes
    covered, [test, *_] = held.coverage(), held.study.tests
    image = next(job for job in held.image_jobs if job.domain.id == test.id).sample()["image"]
    kept = covered.prediction(0, test, image)
    covered.finished.clear()
    assert kept.dtype == np.uint8 and kept.shape == image.shape
    np.testing.assert_array_equal(kept, covered.prediction(0, test, image))


def test_a_group_trains_and_is_finished(tmp_path, classes):
    config = study(tmp_path, *CHANGES)
    run(config, tmp_path / "runs/small", Serial(), group=2)
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    assert TrainingGroup(tuple(held.training_jobs)).is_finished()
    together, alone = (pl.read_parquet(f.paths.table("scores"))["loss"] for f in (held, classes[0]))
    np.testing.assert_allclose(together, alone, rtol=0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ((CLASSES,), r"task classes tells 2 to 255 crystals apart, and the specimens have 1 \(Au\)"),
        ((*CHANGES, ("stem: 2", "stem: 2, outputs: 2")), "network.outputs 2 does not suit task classes, which needs 3"),
        ((("stem: 2", "stem: 2, outputs: 2"),), "network.outputs 2 does not suit task segmentation, which needs 1"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_work(tmp_path, changes, words):
    with pytest.raises(BadInputError, match=words) as info:
        study(tmp_path, *changes)
    assert "\n" not in str(info.value)


def test_the_model_names_its_classes_and_predicts_maps_of_them(classes, tmp_path):
    held, model = classes
    card = model.card
    assert card.classes == NAMES and card.learnt.outputs == 3 and card.network.outputs == 3
    trained = card.made_by["trained_on"]
    own = pl.read_parquet(held.paths.table("scores")).filter(
        pl.col("train_condition") == trained, pl.col("test_condition") == trained
    )
    assert card.task_scores["mean_dice"] == pytest.approx(own["mean_dice"][0], nan_ok=True)
    recipe = SpecimenRecipe.model_validate(card.specimens.recipe)
    shot = pb.simulate(recipe, card.conditions[0], n=1, first=held.study.split.total)
    write_tiff(tmp_path / "shot.tif", shot.images[0].astype(np.float32), shot.pixel_size_angstrom)
    code, out, _ = run_here("predict", model.folder, tmp_path / "shot.tif", "--out", tmp_path / "out", "--json")
    [image] = json.loads(out)["images"]
    found = tifffile.imread(tmp_path / "out/shot_classes.tif")
    named = image["map"]["classes"]
    assert code == 0 and found.dtype == np.uint8 and found.shape == shot.images[0].shape
    assert [(c["number"], c["name"]) for c in named] == list(enumerate(NAMES))
    areas = np.bincount(found.ravel(), minlength=3) * 0.04**2
    assert [c["area_nm2"] for c in named] == pytest.approx(areas, rel=1e-6)
    assert (tmp_path / "out/shot_classes.png").is_file()
    # In the API, the same.
    again = pb.predict(model, tmp_path / "shot.tif")
    np.testing.assert_array_equal(again.map, found)
    assert str(again).startswith("CdSe-zincblende ") and " nm², Pd " in str(again)


def test_the_model_is_scored_on_maps_and_on_recipes_of_its_crystals(classes, tmp_path, call):
    _, model = classes
    (tmp_path / "shots").mkdir()
    (tmp_path / "maps").mkdir()
    rng = np.random.default_rng(0)
    write_tiff(tmp_path / "shots/a.tif", rng.normal(0, 1, (80, 80)).astype(np.float32), 0.4)
    true = pb.predict(model, tmp_path / "shots/a.tif").map
    np.save(tmp_path / "maps/a.npy", true)
    code, out, error = call("model", "score", model.folder, "--images", "shots", "--masks", "maps", "--json")
    assert code == 0, error
    assert json.loads(out)["total"]["pixel_accuracy"] == 1
    np.save(tmp_path / "maps/a.npy", true + 3)
    code, out, error = call("model", "score", model.folder, "--images", "shots", "--masks", "maps")
    assert (code, out) == (2, "") and "numbers of classes, 0 to 2 (background, CdSe-zincblende, Pd)" in error
    (tmp_path / "gold.yaml").write_text("{field_angstrom: 32.0, particles: [{crystal: Au}, {crystal: Pd}]}")
    (tmp_path / "focus.yaml").write_text("{energy_ev: 300000, dose_per_angstrom2: 500}")
    given = ("--recipe", "gold.yaml", "--condition", "focus.yaml", "--count", 1)
    code, out, error = call("model", "score", model.folder, *given)
    assert (code, out) == (
        2,
        "",
    ) and "the recipe's crystals are Au, Pd, and crystals tells CdSe-zincblende, Pd apart" in error


def test_what_it_takes_is_measured_before_a_run(classes):
    found = cost.measure(classes[0].study, Serial())
    assert found.keys() == {*cost.PARTS} and min(found.values()) > 0


def test_a_card_whose_classes_do_not_fit_its_network_is_refused():
    three = NetworkConfig(widths=(4, 8), outputs=3)
    assert made.card(task="classes", classes=NAMES, network=three).learnt.classes == NAMES
    for changes in ({"network": three}, {"task": "classes", "network": three}, {"task": "classes", "classes": NAMES}):
        with pytest.raises(ValueError, match="network.outputs|needs the names of its classes"):
            made.card(**changes)
