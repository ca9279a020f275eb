import re

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from passband import analysis
from passband.analysis.fits import DEFAULT_PREDICTOR, PREDICTORS, _features, _held_out, model
from passband.conditions import Condition
from passband.metrics.shift_table import shift_table
from passband.metrics.transfer_curves import epsilon_over_defocus, first_zero, transfer_curves


def pairs_from(loss, n=8, seeds=2, noise=0.0):
    """Pairs of n conditions whose loss is a known function of the shift columns."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        shifts = np.random.default_rng(1)
        for i in range(n):
            for j in range(n):
                sigma, delta, defocus = shifts.uniform(0.2, 1), shifts.uniform(-0.4, 0.4), 50.0 * abs(i - j)
                rows.append(
                    {
                        "train_condition": f"c{i}", "test_condition": f"c{j}", "train_label": f"l{i}", "test_label": f"l{j}",
                        "seed": seed, "sigma": sigma, "delta_epsilon": delta, "defocus_difference_angstrom": defocus,
                        "spectrum_distance": shifts.uniform(), "train_zero": i == 0, "test_zero": j == 0,
                        "loss": loss(sigma, delta, defocus) + noise * rng.standard_normal(), "dice": 0.9, "own_loss": 0.1,
                    }
                )  # fmt: skip
    return pl.DataFrame(rows)


def fit(fits, name, subset="all"):
    return next(f for f in fits if f["predictor"] == name and f["pairs"] == subset)


def test_linear_loss_is_found_by_the_linear_fit_only_from_the_right_columns():
    fits = analysis.fit_all(pairs_from(lambda s, d, f: 1 - s + 0.5 * d))
    # Those whose columns this table has; on it the doses do not differ.
    known = {"sigma", "delta_epsilon", "defocus_difference_angstrom", "spectrum_distance"}
    assert len(fits) == 2 * sum(set(p.columns) <= known for p in PREDICTORS) == 14
    assert DEFAULT_PREDICTOR in {p.name for p in PREDICTORS} and not any(f["default"] for f in fits)
    right = fit(fits, "σ and Δε, linear")
    assert right["r2_in_sample"] == pytest.approx(1)
    assert right["r2_held_out"] == pytest.approx(1)
    assert right["n_pairs"] == 56 and right["n_train_conditions"] == 8
    assert fit(fits, "σ and Δε, linear", "without_zero_defocus")["n_pairs"] == 42
    assert fit(fits, "|Δdefocus|, linear")["r2_held_out"] < 0.1
    assert fit(fits, "mean loss")["r2_in_sample"] == pytest.approx(0)
    assert fit(fits, "mean loss")["r2_held_out"] < 0


def test_smooth_fit_finds_products():
    fits = analysis.fit_all(pairs_from(lambda s, d, f: s * d + d * d))
    assert fit(fits, "σ and Δε, smooth")["r2_held_out"] == pytest.approx(1)
    assert fit(fits, "σ and Δε, linear")["r2_held_out"] < 0.9


def test_held_out_is_by_train_condition_against_a_slow_reference():
    pairs = pairs_from(lambda s, d, f: 0.002 * f + s * s, noise=0.05)
    mean = (
        pairs.filter(pl.col("train_condition") != pl.col("test_condition"))
        .group_by("train_condition", "test_condition", maintain_order=True)
        .agg(pl.col("loss").mean(), pl.col("defocus_difference_angstrom").first())
    )
    x, y, g = (
        mean["defocus_difference_angstrom"].to_numpy(),
        mean["loss"].to_numpy(),
        mean["train_condition"].to_numpy(),
    )
    predicted = np.empty_like(y)
    for name in set(g):
        slope, offset = np.polyfit(x[g != name], y[g != name], 1)
        predicted[g == name] = slope * x[g == name] + offset
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    fitted = fit(analysis.fit_all(pairs), "|Δdefocus|, linear")
    assert fitted["r2_held_out"] == pytest.approx(expected)
    low, high = fitted["r2_held_out_interval"]
    assert low < expected < high
    assert len(fitted["r2_held_out_seeds"]) == 2


def test_too_few_pairs_give_no_number_and_a_constant_loss_none():
    assert all(f["r2_held_out"] is None for f in analysis.fit_all(pairs_from(lambda s, d, f: s, n=3)))
    assert all(f["r2_in_sample"] is None for f in analysis.fit_all(pairs_from(lambda s, d, f: 0.5)))


def test_a_condition_that_transfers_nothing_leaves_its_pairs_out():
    pairs = pairs_from(lambda s, d, f: 1 - s).with_columns(
        sigma=pl.when(pl.col("train_condition") == "c3").then(float("nan")).otherwise(pl.col("sigma"))
    )
    fits = analysis.fit_all(pairs)
    assert fit(fits, "σ and Δε, linear")["r2_held_out"] == pytest.approx(1)
    assert (fit(fits, "σ and Δε, linear")["n_pairs"], fit(fits, "σ and Δε, linear")["n_undefined"]) == (49, 7)
    assert fit(fits, "|Δdefocus|, linear")["n_pairs"] == 56
    assert analysis.smooth_surface(pairs)["loss"].is_finite().any()
    assert len(analysis.held_out_predictions(pairs, "σ and Δε, linear")) == 49


def test_no_spread_gives_no_surface():
    flat = pairs_from(lambda s, d, f: f).with_columns(sigma=pl.lit(1.0), delta_epsilon=pl.lit(0.0))
    assert len(analysis.smooth_surface(flat)) == 0
    # What does not vary is no predictor here, and what is all at zero defocus is not set apart by it.
    fits = analysis.fit_all(flat.with_columns(train_zero=pl.lit(False), test_zero=pl.lit(False)))
    assert {f["pairs"] for f in fits} == {"all"}
    assert not [f for f in fits if "σ" in f["predictor"]]
    sentences = " ".join(analysis.findings(flat, training_table(0.0), analysis.fit_all(flat))["sentences"])
    assert (
        "left out of the fit, over all off-diagonal pairs: |Δdefocus| 1.00" in sentences and "σ and Δε" not in sentences
    )


def test_a_study_without_defocus_speaks_of_none():
    conditions = pl.DataFrame({"condition": ["a", "b"], "label": ["A", "B"], "defocus_angstrom": [0.0, 0.0]})
    scores = pl.DataFrame(
        {
            "train_condition": ["a", "a", "b", "b"],
            "test_condition": ["a", "b", "a", "b"],
            "seed": 0,
            "loss": [0.1, 0.2, 0.3, 0.4],
            "dice": 0.9,
        }
    )
    pairs = analysis.join_pairs(
        scores, scores.select("train_condition", "test_condition", sigma=pl.lit(1.0)), conditions
    )
    assert not pairs["train_zero"].any() and not pairs["test_zero"].any()


def test_both_held_out_against_a_slow_reference():
    pairs = pairs_from(lambda s, d, f: 0.002 * f + s * s, noise=0.05)
    mean = (
        pairs.filter(pl.col("train_condition") != pl.col("test_condition"))
        .group_by("train_condition", "test_condition", maintain_order=True)
        .agg(pl.col("loss").mean(), pl.col("defocus_difference_angstrom").first())
    )
    rows = mean.rows()
    predicted = []
    for a, b, _, shift in rows:
        seen = [(x, y) for c, d, y, x in rows if not {a, b} & {c, d}]
        slope, offset = np.polyfit(*zip(*seen, strict=True), 1)
        predicted.append(slope * shift + offset)
    y = mean["loss"].to_numpy()
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert fit(analysis.fit_all(pairs), "|Δdefocus|, linear")["r2_both_held_out"] == pytest.approx(expected)


def training_table(slope):
    return pl.DataFrame(
        {
            "condition": [f"c{i}" for i in range(8)],
            "epoch": 1,
            "seed": 0,
            "train_loss": [0.5 + slope * i for i in range(8)],
            "epsilon": [0.1 * i for i in range(8)],
        }
    )


def test_findings_speak_from_the_numbers():
    pairs = pairs_from(lambda s, d, f: 0.002 * f, noise=0.001).with_columns(
        loss=pl.when(pl.col("test_zero")).then(0.7).otherwise(pl.col("loss"))
    )
    result = analysis.findings(pairs, training_table(-0.05), analysis.fit_all(pairs))
    text = " ".join(result["sentences"])
    assert result["zero_defocus_test_ratio"]["median"] == pytest.approx(7)
    assert "7.0 to 7.0 times their in-domain loss" in text
    assert "|Δdefocus| predicts the loss without zero defocus; σ and Δε do not." in text
    assert "as expected" in text
    assert "against expectation" in " ".join(
        analysis.findings(pairs, training_table(0.05), analysis.fit_all(pairs))["sentences"]
    )
    assert result["best_held_out"]["without_zero_defocus"].startswith("|Δdefocus|")


def test_join_marks_zero_defocus_and_own_loss():
    scores = pl.DataFrame(
        {
            "train_condition": ["a", "a", "b", "b"],
            "test_condition": ["a", "b", "a", "b"],
            "seed": 0,
            "loss": [0.1, 0.2, 0.3, 0.4],
            "dice": 0.9,
        }
    )
    shift = scores.select("train_condition", "test_condition", sigma=pl.lit(1.0))
    conditions = pl.DataFrame({"condition": ["a", "b"], "label": ["A", "B"], "defocus_angstrom": [0.0, 50.0]})
    pairs = analysis.join_pairs(scores, shift, conditions)
    assert pairs["own_loss"].to_list() == [0.1, 0.1, 0.4, 0.4]
    assert pairs["train_zero"].to_list() == [True, True, False, False]
    assert pairs["test_zero"].to_list() == [True, False, True, False]
    assert pairs["train_label"].to_list() == ["A", "A", "B", "B"]


def test_shift_table_rows_are_ordered_pairs():
    conditions = [
        Condition(energy_ev=300e3, defocus_angstrom=d, focal_spread_angstrom=20.0) for d in (-50.0, 0.0, 100.0)
    ]
    table = shift_table(conditions, 1.0, np.exp(np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 0.0]]])))
    assert len(table) == 9
    row = table.filter(
        (pl.col("train_condition") == conditions[2].id) & (pl.col("test_condition") == conditions[1].id)
    ).row(0, named=True)
    assert row["defocus_difference_angstrom"] == 100
    assert row["spectrum_distance"] == pytest.approx(np.sqrt(12.5))
    assert row["delta_epsilon"] == pytest.approx(row["epsilon_test"] - row["epsilon_train"])
    back = table.filter(
        (pl.col("train_condition") == conditions[1].id) & (pl.col("test_condition") == conditions[2].id)
    ).row(0, named=True)
    assert back["sigma"] == pytest.approx(row["sigma_reverse"], nan_ok=True)


def test_epsilon_over_defocus_agrees_with_compare():
    base = Condition(energy_ev=300e3, aberrations={"C30": -5e4}, focal_spread_angstrom=20.0)
    sweep = epsilon_over_defocus(base, -100.0, 100.0, 1.0, points=3)
    from passband.metrics import information

    direct = [
        information([base.model_copy(update={"aberrations": {"C30": -5e4, "C10": -d}})]).item()
        for d in (-100.0, 0.0, 100.0)
    ]
    assert sweep["epsilon"].to_list() == pytest.approx(direct, abs=1e-3)


def test_first_zero_is_the_lowest_in_any_direction_however_the_frame_is_turned():
    zeros = []
    for angle in (0.0, 0.4, 1.2, -2.0):
        condition = Condition(energy_ev=300e3, aberrations={"C10": -100.0, "C12": 40.0, "phi12": angle})
        zeros.append(first_zero(condition, 1.0))
    from passband.base.electron import wavelength

    # Along the strongest direction C10 − C12 = −140 Å: π λ 140 q² = π.
    assert zeros == pytest.approx([(wavelength(300e3) * 140) ** -0.5] * 4, rel=2e-3)
    assert first_zero(Condition(energy_ev=300e3, defocus_angstrom=10.0), 1.0) is None


def test_coma_turns_phases_but_moves_no_zero():
    base = {"C10": -50.0, "C30": -5e4}
    plain, coma = (Condition(energy_ev=300e3, aberrations=base | more) for more in ({}, {"C21": 8000.0, "phi21": 0.3}))
    curves = transfer_curves([plain, coma], 1.0, points=101)
    a, b = (curves.filter(pl.col("condition") == c.id)["transfer"].to_numpy() for c in (plain, coma))
    assert np.allclose(a, b, atol=1e-9)


def test_transfer_curve_of_pure_defocus():
    condition = Condition(energy_ev=300e3, defocus_angstrom=100.0)
    curve = transfer_curves([condition], 1.0, points=11)
    from passband.base.electron import wavelength

    expected = np.sin(-np.pi * wavelength(300e3) * 100 * curve["q_per_angstrom"].to_numpy() ** 2)
    assert np.allclose(curve["transfer"], expected, atol=1e-12)
    assert np.allclose(curve["magnitude"], abs(expected), atol=1e-12)


@pytest.mark.parametrize("name", ["mean loss", "σ and Δε, linear", "σ and Δε, smooth"])
def test_held_out_predictions_are_those_of_a_fit_per_condition(name):
    """scikit-learn fits anew for each condition left out; one column says nothing until its condition is left out."""
    predictor = next(p for p in PREDICTORS if p.name == name)
    table = pairs_from(lambda s, d, f: 1 - s + 0.5 * d**2, seeds=1, noise=0.1)
    lone = table.with_columns(
        delta_epsilon=pl.when(pl.col("train_condition") == "c3").then("delta_epsilon").otherwise(0.2)
    )
    for given in (table, lone) if predictor.form == "linear" else (table,):
        slow = cross_val_predict(
            model(predictor), _features(predictor, given), given["loss"].to_numpy(),
            groups=given["train_condition"].to_numpy(), cv=LeaveOneGroupOut(),
        )  # fmt: skip
        assert np.allclose(_held_out(predictor, given), slow, atol=1e-9)


@pytest.mark.parametrize(
    ("n", "reason"), [(3, "6 pairs .* at least 10"), (4, "fewer than 10 pairs are left"), (9, None)]
)
def test_what_is_not_fitted_says_why(n, reason):
    rng, names = np.random.default_rng(n), [f"c{i}" for i in range(n)]
    pairs = pl.DataFrame(
        {"train_condition": [a for a in names for _ in names], "test_condition": names * n, "seed": 0, "train_zero": False, "test_zero": False}
        | {name: rng.uniform(0.1, 1, n * n) for name in ("loss", "sigma", "delta_epsilon")}
    )  # fmt: skip
    row = analysis.fit_all(pairs)[-1]
    why = analysis.why_undefined(row)
    assert (why is None) == (row["r2_both_held_out"] is not None) and (why is None) == (reason is None)
    assert reason is None or re.search(reason, why)
