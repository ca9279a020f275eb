"""Rows of the first author's tables find our loss, by the committed tables."""

import math

import polars as pl
import pytest

from passband.studies.study import load_study
from replication import authors

FAMILIES = [
    f"{name}_small"
    for name in ("w_ZnS", "w_CdSe", "fcc_Cu", "fcc_Ag", "dc_C", "dc_Si", "spinel_Fe3O4", "spinel_Co3O4", "bcc_Fe")
]
DOSES = [30, 75, 150, 300, 600]
ROWS = {
    "defocus": ([-100, -50, 0, 50, 100], [-250, -200, -150, -100, -50, 0, 50, 100, 150, 200, 250]),
    "dose": (DOSES, DOSES),
    "families": (FAMILIES, FAMILIES),
}
HELD = [kind for kind in ROWS if authors._PATHS.study(f"authors_{kind}").study.is_file()]


@pytest.mark.parametrize("kind", HELD)
def test_every_row_of_theirs_has_a_loss_of_ours(kind):
    trained, tested = ROWS[kind]
    ours = {(a, b): authors.reproduced(kind, a, b) for a in trained for b in tested}
    assert authors.losses(kind).keys() == ours.keys()
    assert all(loss is not None and 0 < loss < 1 for loss in ours.values())
    # Each network has learnt: hardly any other does better where it was trained.
    for a in trained:
        assert ours[a, a] <= 1.2 * min(ours[b, a] for b in trained)
    assert authors.reproduced(kind, 7, 7) is None


@pytest.mark.skipif("defocus" not in HELD, reason="the study has not been run")
def test_a_row_is_of_the_conditions_that_it_names():
    study = load_study(authors._PATHS.study("authors_defocus").study)
    scores = pl.read_parquet(authors._PATHS.study("authors_defocus").table("scores"))
    zero = study.zero_c10_angstrom
    [test] = [t for t in study.tests if math.isclose(t.condition.aberrations["C10"], zero - 150)]
    [training] = [t for t in study.trainings if math.isclose(_mean_c10(t), zero + 50, abs_tol=0.1)]
    one = scores.filter(train_condition=training.id, test_condition=test.id)
    assert authors.reproduced("defocus", -50, 150) == pytest.approx(one["loss"].mean())


def _mean_c10(domain):
    return sum(c.aberrations["C10"] for c in domain.conditions) / len(domain.conditions)
