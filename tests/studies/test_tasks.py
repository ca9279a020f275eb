"""A study of another task: targets beside the waves, its scores in every table, and a task that is made here as the manual says."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from passband.base.errors import BadInputError
from passband.learning import SEGMENTATION, TASKS, Headline
from passband.learning.regression import ConditionValue, ImageValue
from passband.report.study_page import rebuild_report, write_results
from passband.simulation.image_source import JointSource
from passband.simulation.particle_truth import particle_truth
from passband.specimens import draw_specimen
from passband.studies import cross_tests, jobs, target_jobs
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.target_jobs import TargetsJob, read_targets
from passband.studies.wave_jobs import wave_sets
from support.studies import SCORE_COLUMNS, run, study

THICKNESS = ("seeds: 1", "seeds: 1\ntask: thickness")


@pytest.fixture(scope="module")
def thickness(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thickness")
    config = study(folder, THICKNESS)
    run(config, folder / "runs/small")
    held = StudyFolder(config, StudyPaths(folder / "runs/small"))
    write_results(held)
    return held


def test_tables_have_the_tasks_scores(thickness):
    scores = pl.read_parquet(thickness.paths.table("scores"))
    assert scores.columns == [
        *("train_condition", "test_condition", "seed", "loss", "n_images"),
        *("mean_absolute_error_angstrom", "rms_error_angstrom", "bias_angstrom", "r2"),
    ]
    # Three images calibrate no interval.
    assert not thickness.paths.table("coverage").exists()
    counts = pl.read_parquet(thickness.paths.table("counts"))
    one = counts.filter(pl.col("train_condition") == scores["train_condition"][0]).filter(
        pl.col("test_condition") == scores["test_condition"][0]
    )
    assert scores["mean_absolute_error_angstrom"][0] == pytest.approx(
        one["absolute_errors"].sum() / one["values"].sum(), rel=1e-6
    )


def test_the_truth_of_a_test_is_the_specimens_thickness(thickness):
    [waves] = wave_sets(thickness.study, thickness.paths)
    start, stop = thickness.study.split.test_range
    stored = read_targets("thickness", waves, start, stop).numpy()
    for i, index in enumerate(range(start, stop)):
        specimen = draw_specimen(waves.recipe, index)
        np.testing.assert_array_equal(stored[i], TASKS["thickness"].target(waves.recipe, specimen, waves.config))


def test_report_and_findings_speak_of_the_headline(thickness):
    findings = json.loads(thickness.paths.analysis.read_text())["findings"]
    assert "median_diagonal_mean_absolute_error_angstrom" in findings
    assert "reaches a thickness error of " in findings["sentences"][0]
    page = thickness.paths.report.read_text(encoding="utf-8")
    assert "Thickness error [Å]" in page and ">Dice<" not in page
    assert (thickness.paths.figures / "matrix_mean_absolute_error_angstrom.png").is_file()
    rebuild_report(thickness)


def test_predictions_are_kept_and_made_alike(thickness):
    covered, [test, *_] = thickness.coverage(), thickness.study.tests
    image = next(job for job in thickness.image_jobs if job.domain.id == test.id).sample()["image"]
    kept = covered.prediction(0, test, image)
    covered.finished.clear()
    made = covered.prediction(0, test, image)
    assert kept.shape == image.shape
    np.testing.assert_allclose(kept, made, atol=0.02)


def test_a_second_run_makes_nothing_and_damage_is_mended(thickness):
    before = {p: p.stat().st_mtime_ns for p in thickness.paths.root.rglob("targets.npy")}
    _, progress = run(thickness.study, thickness.paths.folder)
    assert progress.new["targets: thickness"] == 0 and progress.new["networks"] == 0
    [file] = before
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    [waves] = wave_sets(thickness.study, thickness.paths)
    with pytest.raises(BadInputError, match="missing or damaged"):
        TargetsJob(waves, "thickness", 0).read()
    run(thickness.study, thickness.paths.folder)
    assert TargetsJob(waves, "thickness", 0).read().shape[0] == 32


def test_the_task_is_part_of_an_id_unless_it_is_the_first(tmp_path):
    usual = study(tmp_path)
    other = study(tmp_path, THICKNESS)
    assert "task" not in usual.model_dump(mode="json") and other.id != usual.id
    paths = StudyPaths(tmp_path / "runs/small")
    first, second = (jobs.TrainingJob(s, paths, s.trainings[0], 0) for s in (usual, other))
    assert "task" not in first.content and second.content == first.content | {"task": "thickness"}
    assert not usual.extends(other)


def test_segmentation_reads_the_masks_of_the_waves(tiny):
    config, folder = tiny
    held = StudyFolder(config, StudyPaths(folder))
    [waves] = wave_sets(config, held.paths)
    start, stop = config.split.test_range
    stored = read_targets(SEGMENTATION.name, waves, start, stop).numpy()
    expected = [particle_truth(waves.recipe, draw_specimen(waves.recipe, i), waves.config) for i in range(start, stop)]
    np.testing.assert_array_equal(stored, expected)
    assert not (waves.folder / "targets").exists()
    assert pl.read_parquet(folder / "scores.parquet").columns == SCORE_COLUMNS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds: 1", "seeds: 1\ntask: depth"), "task 'depth' is unknown; known are segmentation"),
        (("epochs: 2", "loss: cross_entropy, epochs: 2"), "training.loss cross_entropy is of segmentation"),
    ],
)
def test_tasks_that_cannot_be(tmp_path, change, words):
    with pytest.raises(BadInputError, match=words) as info:
        study(tmp_path, THICKNESS if "loss" in change[1] else change, *([change] if "loss" in change[1] else []))
    assert "\n" not in str(info.value)


def test_targets_that_do_not_vary_are_refused_before_any_work(tmp_path):
    along = "orientation: {zone_axes: [[3, 2, 1]], tilt_rad: 0.0}"
    off_axis = ("diameter_angstrom: [8.5, 9.5]}", f"diameter_angstrom: [8.5, 9.5], {along}}}")
    with pytest.raises(BadInputError, match="task columns: its target is 0 in all of the first 4") as info:
        run(study(tmp_path, off_axis, ("seeds: 1", "seeds: 1\ntask: columns")), tmp_path / "runs/small")
    assert "\n" not in str(info.value) and not (tmp_path / "runs").exists()


class Area(ImageValue):
    """The area of the particles, as the side of a square of it [Å]: a task that is added as docs/extending.md says."""

    name = "area"
    quantity = "side [Å]"
    headline = Headline("mean_absolute_error_angstrom", "Error of the side", "Å", definition="is the mean")
    scale_angstrom = 10.0

    def of_specimen(self, specimen):
        """Return the side of a square whose area is that of the particles' atoms, 5 Å² each."""
        return float(np.sqrt(5.0 * (specimen.particle > 0).sum()))


def test_a_task_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "area", Area())
    monkeypatch.setattr(target_jobs, "_BLOCK", 4)
    config = study(tmp_path, ("seeds: 1", "seeds: 1\ntask: area"))
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    write_results(held)
    scores = pl.read_parquet(held.paths.table("scores"))
    assert scores["mean_absolute_error_angstrom"].is_finite().all()
    assert "Error of the side [Å]" in held.paths.report.read_text(encoding="utf-8")
    [waves] = wave_sets(config, held.paths)
    assert len(list((waves.folder / "targets").iterdir())) == 3
    assert cross_tests.shown_tests(config)


DEFOCI = (
    "  vary: {defocus_angstrom: [-100, 0, 100]}",
    "  vary: {defocus_angstrom: [-100, 0, 100]}\n"
    "training_sets:\n"
    "  under: {conditions: [{energy_ev: 300000, defocus_angstrom: 40, dose_per_angstrom2: 500}, {energy_ev: 300000, defocus_angstrom: 90, dose_per_angstrom2: 500}]}\n"
    "  over: {conditions: {base: {energy_ev: 300000, dose_per_angstrom2: 500}, vary: {defocus_angstrom: [-90, -60, -20]}}}",
)


def test_a_task_of_the_condition_learns_its_value(tmp_path):
    """Each training image has its condition's defocus, alone and in a group; R² under one defocus is undefined, and no targets are stored."""
    config = study(tmp_path, DEFOCI, ("seeds: 1", "seeds: 1\ntask: defocus"))
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    write_results(held)
    scores = pl.read_parquet(held.paths.table("scores"))
    assert len(scores) == 6 and scores["r2"].dtype == pl.Float64 and scores["r2"].null_count() == 6
    counts = pl.read_parquet(held.paths.table("counts"))
    tested = {t.id: t.condition.defocus_angstrom for t in config.tests}
    true = counts["test_condition"].replace_strict(tested, return_dtype=pl.Float64)
    np.testing.assert_allclose(counts["truths"], true, rtol=1e-6)
    assert "Defocus error [Å]" in held.paths.report.read_text(encoding="utf-8")
    [waves] = wave_sets(config, held.paths)
    assert not (waves.folder / "targets").exists()
    for job, defoci in zip(held.training_jobs, ([40, 90], [-90, -60, -20]), strict=True):
        images = job.member().train_images
        chosen, turns = torch.arange(6).repeat(6), torch.zeros(36, dtype=torch.int64)
        _, values = images.batch(chosen, turns, generator=torch.Generator().manual_seed(2))
        assert set(values[:, 0, 0, 0].tolist()) == set(defoci)
        generators = [torch.Generator().manual_seed(2) for _ in range(2)]
        _, of_group = JointSource([images, images]).batch(chosen.expand(2, -1), turns.expand(2, -1), generators)
        assert torch.equal(of_group[:, 1], values[:, 0])


def test_a_spread_of_the_defocus_gives_each_specimen_its_own(tmp_path):
    config = study(tmp_path, ("seeds: 1", "seeds: 1\ntask: defocus\ndefocus_spread_angstrom: 30"))
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    scores = pl.read_parquet(held.paths.table("scores"))
    assert scores["r2"].is_finite().all()
    [test, *_] = config.tests
    targets = jobs.test_targets(config, held.paths, test)
    assert targets[:, 0, 0].tolist() == pytest.approx([c.defocus_angstrom for c in test.conditions[:3]])
    counts = pl.read_parquet(held.paths.table("counts")).filter(pl.col("test_condition") == test.id)
    assert counts["truths"].to_list()[:3] == pytest.approx(targets[:, 0, 0].tolist())
    images = held.training_jobs[0].member().train_images
    _, values = images.batch(torch.tensor([4, 1]), generator=torch.Generator())
    assert values[:, 0, 0, 0].tolist() == pytest.approx([test.conditions[i].defocus_angstrom for i in (4, 1)])


@pytest.mark.parametrize(
    ("changes", "where", "value"),
    [
        ((), "defocus −100 Å", "-100"),
        ((DEFOCI, ("defocus_angstrom: 90, dose", "defocus_angstrom: 40, background: 0.1, dose")), "under-2-0", "40"),
    ],
)
def test_a_value_that_training_conditions_share_is_refused(tmp_path, changes, where, value):
    with pytest.raises(BadInputError, match=f"task defocus: its target is {value} in all training images of ") as info:
        study(tmp_path, *changes, ("seeds: 1", "seeds: 1\ntask: defocus"))
    assert "\n" not in str(info.value) and where in str(info.value).replace("-100 Å", "−100 Å")
    assert "give training_sets of conditions that differ in it" in str(info.value)


class Dose(ConditionValue):
    """The dose of an image [e/Å²]: a task of the condition that is added as docs/extending.md says."""

    name = "dose"
    quantity = "dose [e/Å²]"
    headline = Headline("mean_absolute_error_angstrom", "Error of the dose", "e/Å²", definition="is the mean")
    scale_angstrom = 500.0

    def of_condition(self, condition):
        """Return the dose."""
        return condition.dose_per_angstrom2


def test_a_task_of_the_condition_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "dose", Dose())
    doses = ("defocus_angstrom: 90, dose_per_angstrom2: 500", "defocus_angstrom: 90, dose_per_angstrom2: 900")
    over = ("vary: {defocus_angstrom: [-90, -60, -20]}", "vary: {dose_per_angstrom2: [100, 200]}")
    config = study(tmp_path, DEFOCI, doses, over, ("seeds: 1", "seeds: 1\ntask: dose"))
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    write_results(held)
    assert set(pl.read_parquet(held.paths.table("counts"))["truths"]) == {500.0}
    assert "Error of the dose [e/Å²]" in held.paths.report.read_text(encoding="utf-8")


def test_scans_have_the_defocus_of_their_probe(tmp_path):
    """STEM, with scans that are distorted: the value of the condition is not."""
    probe = (
        "modality: stem, energy_ev: 300000, convergence_semiangle_mrad: 20, pixel_size_angstrom: 0.4, dose_per_angstrom2: 5000, "
        "drift_angstrom: 3, detector: {kind: haadf, inner_mrad: 60, outer_mrad: 200}"
    )
    hrtem = "energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500"
    sets = (
        f"  vary: {{defocus_angstrom: [-100, 0, 100]}}\ntraining_sets:\n  some: {{conditions: {{base: {{{probe}}}, "
        "vary: {defocus_angstrom: [-80, 50]}}}"
    )
    config = study(
        tmp_path,
        (hrtem, probe),
        ("  vary: {defocus_angstrom: [-100, 0, 100]}", sets),
        ("exit_waves: {phonon_configurations: 1}\n", ""),
        ("seeds: 1", "seeds: 1\ntask: defocus"),
    )
    run(config, tmp_path / "runs/small")
    held = StudyFolder(config, StudyPaths(tmp_path / "runs/small"))
    counts = pl.read_parquet(held.paths.table("counts"))
    tested = {t.id: t.condition.defocus_angstrom for t in config.tests}
    np.testing.assert_allclose(
        counts["truths"], counts["test_condition"].replace_strict(tested, return_dtype=pl.Float64), rtol=1e-6
    )
    _, values = held.training_jobs[0].member().train_images.batch(torch.arange(6), generator=torch.Generator())
    assert torch.equal(values.amin((1, 2, 3)), values.amax((1, 2, 3))) and set(values.unique().tolist()) == {-80, 50}
