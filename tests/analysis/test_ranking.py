"""The ranking's shortcuts against fits made one after the other."""

import numpy as np
import polars as pl
import pytest

from passband.analysis import rank
from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs
from passband.base.errors import BadInputError


def made_up(n=14, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, n, n))
    y = x**2 + 0.3 * z + 0.3 * rng.normal(size=(n, n))
    return Pairs(y, {"x": x, "z": z}), x, y, z


@pytest.mark.parametrize("repeated", [False, True])
def test_against_least_squares_without_each_condition(repeated):
    pairs, x, y, z = made_up()
    n = len(y)
    times = np.random.default_rng(1).integers(0, 3, n).astype(float) if repeated else np.ones(n)
    weight = pairs.used * times[:, None] * times
    design = np.stack([np.ones_like(x), x, z, x * x, x * z, z * z], -1)
    i, j = np.indices((n, n))
    predicted = {kind: np.zeros((n, n)) for kind in ("train", "test", "both")}
    for a in range(n):
        for b in range(n):
            free = (i != a) & (i != b) & (j != a) & (j != b)
            for kind, kept in (("train", i != a), ("test", j != b), ("both", free)):
                w = np.sqrt(weight * kept)[pairs.used]
                fit = np.linalg.lstsq(design[pairs.used] * w[:, None], y[pairs.used] * w, rcond=None)[0]
                predicted[kind][a, b] = design[a, b] @ fit
    mean = (weight * y).sum() / weight.sum()
    fit = Fit(pairs, ["x", "z"], "loss")
    found = fit.r2(times) | {"r2_both": fit.both(times)}
    for kind, values in predicted.items():
        expected = 1 - (weight * (y - values) ** 2).sum() / (weight * (y - mean) ** 2).sum()
        assert found[f"r2_{kind}"] == pytest.approx(expected, abs=1e-6), kind
        if not repeated and kind != "test":
            assert np.allclose(fit.predictions()[kind][pairs.used], values[pairs.used], atol=1e-6)


def tables(n=12):
    """Scores in which the loss follows the phase difference alone."""
    rng = np.random.default_rng(2)
    names = [f"c{i:02d}" for i in range(n)]
    place = rng.uniform(-2, 2, n)
    train, test = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    loss = np.exp(-2 + 0.8 * np.abs(place[train] - place[test]) + 0.05 * rng.normal(size=n * n))
    keys = {"train_condition": np.array(names)[train], "test_condition": np.array(names)[test]}
    epsilon = rng.uniform(0.2, 0.6, n)
    epsilon[:2] = 0.05
    shift = pl.DataFrame(
        keys
        | {
            "epsilon_train": epsilon[train], "epsilon_test": epsilon[test], "delta_epsilon": epsilon[test] - epsilon[train],
            "sigma": rng.uniform(0, 1, n * n), "phase_rms": np.abs(place[train] - place[test]),
            "defocus_difference_angstrom": rng.uniform(0, 1, n * n),
        }
    )  # fmt: skip
    scores = pl.concat([pl.DataFrame(keys | {"seed": s, "loss": loss}) for s in (0, 1)])
    return scores, shift


def test_the_metric_that_made_the_loss_comes_first():
    ranked = rank(*tables())
    for pairs, count in (("all", 132), ("without_low_epsilon", 90)):
        rows = ranked.filter((pl.col("pairs") == pairs) & (pl.col("target") == "log_loss") & (pl.col("metrics") == 1))
        best = rows.sort("r2_both", descending=True).to_dicts()[0]
        assert best["predictor"] == "phase_rms" and best["n_pairs"] == count
        assert best["r2_both"] > 0.97 and best["r2_both_low"] <= best["r2_both"] <= best["r2_both_high"] + 0.01
        assert best["spearman"] > 0.97
        rest = rows.filter(pl.col("predictor") != "phase_rms")["r2_both"]
        assert rest.max() < 0.2
    nothing = ranked.filter((pl.col("predictor") == "mean") & (pl.col("pairs") == "all"))
    assert nothing["r2_both"].max() < 0


def few(n):
    """Scores and shift of n conditions with made-up losses."""
    rng, names = np.random.default_rng(n), [f"c{i}" for i in range(n)]
    keys = {"train_condition": [a for a in names for _ in names], "test_condition": names * n}
    loss, sigma, delta = rng.uniform(0.5, 2, n * n), rng.uniform(0, 1, n * n), rng.normal(size=n * n)
    shift = {"epsilon_train": 0.5, "epsilon_test": 0.5, "delta_epsilon": delta, "sigma": sigma}
    return pl.DataFrame(keys | {"seed": 0, "loss": loss}), pl.DataFrame(keys | shift)


@pytest.mark.filterwarnings("error")
def test_a_small_study_is_ranked_without_nan_or_refused_with_the_limit():
    with pytest.raises(BadInputError, match="has 20 tested pairs of different conditions.*at least 30") as fault:
        rank(*few(5))
    assert (fault.value.value, fault.value.limit) == (20, 30)
    ranked = rank(*few(6))
    numbers = ranked.select(pl.col(pl.Float64)).to_numpy()
    assert len(ranked) and not np.isnan(numbers[~ranked.select(pl.col(pl.Float64).is_null()).to_numpy()]).any()
