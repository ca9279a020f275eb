"""The defocus as a task, on made-up errors of which the law is known."""

import functools
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from passband.metrics.shift_table import set_shift_table
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import condition_row
from passband.studies.study import load_study
from replication import task_defocus
from replication.outcome import Outcome, StudyTables

FILE = Path(task_defocus.__file__).with_name("studies") / "task_defocus.yaml"


@functools.cache
def small():
    """The study in small, with the table of its sets and tests."""
    study = load_study(FILE, budget="quick")
    sets, tests = [(t.id, t.conditions) for t in study.trainings], [(t.id, t.condition) for t in study.tests]
    return study, sets, tests, set_shift_table(sets, tests, 1.0)


def tables(folder, error_of, loss_of):
    """Tables of the study in small, of errors [Å] and losses that are functions of a row of shift, the set and the test condition."""
    (study, sets, tests, shift), rng = small(), np.random.default_rng(0)
    rows = []
    for row in shift.to_dicts():
        members, test = dict(sets)[row["train_condition"]], dict(tests)[row["test_condition"]]
        error = error_of(members, test) * np.exp(0.05 * rng.standard_normal())
        rows.append(
            {key: row[key] for key in ("train_condition", "test_condition")}
            | {"seed": 0, "loss": loss_of(row, error), "mean_absolute_error_angstrom": error}
            | {"rms_error_angstrom": error, "bias_angstrom": 0.5 * error}
        )
    paths = StudyPaths(folder)
    members = [condition_row(c, t.label, t.id) for t in study.trainings for c in t.conditions]
    for name, table in {
        "scores": pl.DataFrame(rows),
        "shift": shift,
        "conditions": pl.DataFrame([condition_row(t.condition, t.label, t.id) for t in study.tests]),
        "training_sets": pl.DataFrame(members),
    }.items():
        table.write_parquet(paths.table(name))
    return StudyTables(paths)


def met(members, test):
    return any(m.varied(defocus=0) == test.varied(defocus=0) for m in members)


def of_overlap(row, error):
    return float(np.exp(-3 * row["sigma"] + 2 * row["delta_epsilon"]))


@pytest.mark.parametrize(
    ("error_of", "loss_of", "predicted", "reads"),
    [
        (lambda members, test: 5.0, lambda row, error: (error / 100) ** 2, "differs", "agrees"),
        (lambda members, test: 5.0 if met(members, test) else 300.0, of_overlap, "agrees", "differs"),
    ],
)
def test_what_networks_read_and_what_predicts_it(tmp_path, error_of, loss_of, predicted, reads):
    outcome = Outcome()
    _, *text = task_defocus.evaluate(tables(tmp_path, error_of, loss_of), tmp_path, outcome)
    first, second = outcome.claims
    assert first.text.endswith("defocus") and (first.verdict, second.verdict) == (predicted, reads)
    assert (tmp_path / "task_defocus.png").is_file()
    [plain] = [line for line in text[0].splitlines() if line.startswith("| plain ")]
    # Inside lie the tests of −120, −40, 40 and 120 Å: 80 Å from their mean on average; outside ±200 Å.
    assert plain.startswith("| plain | 9 from −120 to 120 Å | 5 (80) |") and plain.endswith(" (200) |")
    [varied] = [line for line in text[0].splitlines() if line.startswith("| varied ")]
    assert varied.count("–") == 3


def test_distances_of_a_test_from_a_set(tmp_path):
    found = task_defocus.errors(tables(tmp_path, lambda *given: 1.0, lambda row, error: 1.0))
    assert len(found) == 8 * 48
    row = found.filter(
        pl.col("kind") == "underfocus", pl.col("defocus") == -40, pl.col("changed") == 2, "new_C30", "new_C12"
    )
    [one] = row.to_dicts()
    assert (one["nearest_defocus"], one["baseline"], one["inside"]) == (40, 100, False)
