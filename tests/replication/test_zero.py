"""Zeros of defocus, and what the two denominators make of networks that were trained at zero: against known laws."""

import numpy as np
import polars as pl
import pytest

from passband.simulation.least_contrast import least_contrast
from passband.studies.paths import StudyPaths
from passband.studies.study import dump_study, load_study
from replication.authors import published_defocus
from replication.denominators import Networks, of_authors, square_of
from replication.judging import ceiling
from replication.zero_places import read_places, write_places

STUDY = """
specimens: {field_angstrom: 25.6, particles: [{crystal: Si, shape: sphere, diameter_angstrom: 14.0}]}
exit_waves: {sampling_angstrom: 0.4, band_per_angstrom: 0.8, phonon_configurations: 1}
conditions:
  base: {energy_ev: 300000, focal_spread_angstrom: 10.0, dose_per_angstrom2: 400.0, aberrations: {C30: 0.0}}
  vary: {defocus_angstrom: [-100, 0, 100]}
split: {train: 8, validation: 4, test: 4}
training: {epochs: 1}
seeds: 1
"""


def test_places_are_the_least_epsilon_and_the_least_contrast(tmp_path):
    paths = StudyPaths(tmp_path)
    paths.study.write_text(STUDY)
    study = load_study(paths.study)
    paths.study.write_text(dump_study(study))
    write_places(paths)
    kept = read_places(paths)
    [place] = kept["defocus_angstrom"]
    # Without C30, |T| is a sine of C10 at every frequency: it vanishes at 0.
    assert place["least_epsilon"] == pytest.approx(0, abs=0.11)
    vacuum = least_contrast(study.recipes[""], study.test_conditions[0], study.exit_waves, range(16))
    assert place["least_contrast"] == pytest.approx(-vacuum, abs=1e-9)
    at = [kept["vacuum_contrast"][c.id] for c in study.test_conditions]
    assert at[1] < min(at[0], at[2])


def scores(names, loss):
    """A table of scores with three equal seeds."""
    n = len(names)
    rows = [(names[i], names[j], s, loss[i, j]) for i in range(n) for j in range(n) for s in range(3)]
    return pl.DataFrame(rows, schema=["train_condition", "test_condition", "seed", "loss"], orient="row")


def test_denominators_disagree_where_a_network_is_bad_at_home_only():
    """Trained at zero, a network has twice the loss of others at home and thrice theirs elsewhere: 1.5 of one and 3 of the other."""
    names, zero = [f"{d:g}" for d in range(-50, 51, 10)], np.arange(11) == 5
    loss = np.full((11, 11), 0.2)
    loss[np.diag_indices(11)] = 0.1
    loss[zero] = 0.3
    loss[5, 5] = 0.2
    found = Networks("", "", square_of(scores(names, loss), names), zero, ~zero, np.zeros(11)).measured()
    values = {name: round(s.value, 6) for name, s in found.items()}
    assert values == {
        "home": 2.0,
        "own_near": 1.5,
        "own_far": 2.0,
        "own_ratio": 0.75,
        "there_near": 3.0,
        "there_far": 2.0,
        "there_ratio": 1.5,
        "same_test": 1.5,
    }
    assert all(s.low == pytest.approx(s.value) == s.high for s in found.values())


def test_the_authors_table_is_theirs():
    table = published_defocus()
    assert len(table) == 55
    theirs = of_authors()[-1].measured()
    home = table.filter(train=0, test=0)["loss"].item()
    elsewhere = table.filter(pl.col("train") == 0, pl.col("test").abs().is_in([50, 100]))["loss"] / home
    assert theirs["own_near"].value == pytest.approx(elsewhere.median())
    assert 0.44 <= theirs["own_near"].low <= theirs["own_near"].high <= 0.53


def test_the_ceiling_is_one_less_the_share_of_noise():
    rng = np.random.default_rng(0)
    signal, noise = 0.5 * rng.standard_normal((40, 40, 1)), 0.5 * rng.standard_normal((40, 40, 4))
    loss = np.exp(signal + noise)
    assert ceiling(loss, "log_loss") == pytest.approx(1 - (0.25 / 4) / (0.25 + 0.25 / 4), abs=0.03)
    assert ceiling(loss, "log_ratio") == pytest.approx(ceiling(loss.transpose(1, 0, 2), "log_excess"))
    assert np.isnan(ceiling(loss[..., :1], "log_loss"))
