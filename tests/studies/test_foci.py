"""Where a study counts the defocus from, how it varies over images, and sets of conditions given by hand."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from passband.conditions import Condition
from passband.report.study_page import write_results
from passband.simulation.least_contrast import least_contrast
from passband.simulation.modality import camera_masks
from passband.studies import jobs
from passband.studies.paths import StudyPaths
from passband.studies.study import dump_study, load_study
from passband.studies.wave_jobs import open_wave_set
from support.studies import TINY, run, study

BY_HAND = TINY.replace("vary: {defocus_angstrom: [-100, 0, 100]}", "vary: {defocus_angstrom: [80]}").replace(
    "split:",
    """zero_c10_angstrom: -12.5
defocus_spread_angstrom: 15.0
training_sets:
  C1+100: {conditions: [{energy_ev: 300000, focal_spread_angstrom: 20.0, dose_per_angstrom2: 500.0, defocus_angstrom: 100}]}
  C1-100: {conditions: [{energy_ev: 300000, focal_spread_angstrom: 20.0, dose_per_angstrom2: 500.0, defocus_angstrom: -100}]}
split:""",
)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by_hand")
    (folder / "small.yaml").write_text(BY_HAND)
    config = load_study(folder / "small.yaml")
    run(config, folder / "runs/small", finish=write_results)
    return config, folder / "runs/small"


def test_defocus_counts_from_zero_and_spreads_about_it(by_hand):
    config, _ = by_hand
    [test] = config.tests
    assert test.condition.defocus_angstrom == pytest.approx(92.5)
    assert test.id == test.condition.id
    assert [t.id for t in config.trainings] == ["C1+100-1-0", "C1-100-1-0"]
    for domain, centre in zip([test, *config.trainings], (92.5, 112.5, -87.5), strict=True):
        foci = np.array([c.defocus_angstrom for c in domain.conditions])
        assert foci.mean() == pytest.approx(centre, abs=0.01)
        # Twelve quantiles lack the tails.
        assert 0.9 < foci.std() / 15.0 < 1.0
        assert len({c.varied(defocus=0) for c in domain.conditions}) == 1


def test_sets_by_hand_are_tested_under_one_condition(by_hand):
    config, folder = by_hand
    scores = pl.read_parquet(folder / "scores.parquet")
    assert scores.select("train_condition", "test_condition").rows() == [
        ("C1+100-1-0", config.tests[0].id),
        ("C1-100-1-0", config.tests[0].id),
    ]
    found = json.loads((folder / "analysis.json").read_text())["findings"]
    assert {(row["kind"], row["size"]) for row in found["sets"]} == {("C1+100", 1), ("C1-100", 1)}
    assert (folder / "report.html").is_file()
    # The folder's copy is read back as it was.
    assert load_study(folder / "study.yaml") == config


def test_a_test_image_is_of_its_specimen_under_its_condition(tmp_path):
    config = study(tmp_path, ("split:", "defocus_spread_angstrom: 15.0\nsplit:"))
    run(config, tmp_path / "runs/small")
    paths, test = StudyPaths(tmp_path / "runs/small"), config.tests[0]
    counts, masks = jobs.test_images(config, paths, test)
    waves = open_wave_set(test.recipe, config.exit_waves, paths.root)
    stored, truth = (torch.from_numpy(a) for a in waves.read(*config.split.test_range))
    assert len(counts) == 3 < len(test.conditions)
    for i in range(3):
        alone = jobs.imager(waves, test.conditions[i])
        expected = alone.intensity(stored[i : i + 1])[0] * 500 * 0.4**2
        assert ((counts[i] - expected).square().mean() / expected.mean()).sqrt() < 1.1
        other = jobs.imager(waves, test.conditions[9]).intensity(stored[i : i + 1])[0] * 500 * 0.4**2
        assert (counts[i] - expected).square().mean() < (counts[i] - other).square().mean()
        assert (masks[i, 0] > 0).equal(camera_masks(truth[i : i + 1], len(counts[i]))[0])


def test_specimens_are_trained_on_as_they_are_tested(tmp_path):
    """Each under one focus only, so that an image's intensity is formed once; sets of several conditions are mixed."""
    config = study(tmp_path, ("split:", "defocus_spread_angstrom: 15.0\nsplit:"))
    run(config, tmp_path / "runs/small")
    job = jobs.TrainingJob(config, StudyPaths(tmp_path / "runs/small"), config.trainings[0])
    member = job.member()
    assert [len(member.train_images), len(member.validation_images)] == [6, 2]
    assert [len(part) for part in member.train_images.parts] == [1] * 6
    assert [part.condition for part in member.train_images.parts] == list(config.trainings[0].conditions[:6])


def test_least_contrast_is_found_once_and_written_down(tmp_path):
    config = study(tmp_path, ("split:", "zero: least_contrast\nsplit:"))
    zero = least_contrast(config.recipes[""], config.test_conditions[0], config.exit_waves, range(8))
    assert config.zero_c10_angstrom == zero != 0
    assert [t.condition.aberrations["C10"] for t in config.tests] == pytest.approx([100 + zero, zero, zero - 100])
    assert config.test_conditions[1] == Condition(**config.test_conditions[1].to_dict() | {"defocus_angstrom": 0.0})
    (tmp_path / "study.yaml").write_text(dump_study(config))
    assert load_study(tmp_path / "study.yaml") == config


def test_each_family_has_its_own_zero(tmp_path):
    specimens = TINY[TINY.index("specimens:") : TINY.index("exit_waves:")]
    recipe = "".join(f"  {line}\n" for line in specimens.splitlines()[1:])
    families = f"structures:\n  low+:\n{recipe}  high:\n{recipe}zero_c10_angstrom: {{low+: -20.0, high: 5.0}}\n"
    config = study(tmp_path, (specimens, families), ("[-100, 0, 100]", "[100]"))
    assert [t.id.split("/")[0] for t in config.tests] == ["low+", "high"]
    assert [t.condition.defocus_angstrom for t in config.trainings] == [120.0, 95.0]
