"""Means over cells, what noise leaves, and errors in the zones, on made-up losses of which the law is known."""

from dataclasses import dataclass

import numpy as np
import pytest

from passband.analysis.pairs import Pairs
from replication import averages, judging, zone_errors
from replication.outcome import Outcome


@dataclass(frozen=True)
class Made:
    """A study by its arrays."""

    loss: np.ndarray
    features: dict

    @property
    def pairs(self):
        return Pairs(self.loss.mean(-1), self.features)


def study(law, count=40, seed=0, seeds=1, noise=0.0):
    """A study whose loss and errors are law(features, rng), of conditions with random σ, Δε, film excess and rms Δχ."""
    rng = np.random.default_rng(seed)
    shape = (count, count)
    features = {
        "sigma": rng.uniform(0.2, 1, shape),
        "delta_epsilon": rng.uniform(-0.4, 0.4, shape),
        "film_excess": rng.uniform(0, 1, shape),
        "phase_rms": rng.uniform(0, 2, shape),
    }
    log_loss, fp, fn = law(features, rng)
    np.fill_diagonal(log_loss, 0)
    several = log_loss[..., None] + noise * rng.standard_normal((*shape, seeds))
    return Made(np.exp(several), features | {"fp": fp, "fn": fn})


def planar(f, rng):
    y = 1 - f["sigma"] - f["delta_epsilon"] + 1.0 * rng.standard_normal(f["sigma"].shape)
    return y, np.zeros_like(y), np.zeros_like(y)


def random(f, rng):
    y = rng.standard_normal(f["sigma"].shape)
    return y, np.zeros_like(y), np.zeros_like(y)


def test_means_are_smooth_where_the_law_is_and_pairs_are_not():
    pairs = study(planar, 128).pairs
    assert averages.of_means(pairs) > 0.9
    assert averages.other_half(pairs).low > 0.7
    # The law has variance 0.8² / 12 (σ) + 0.8² / 12 (Δε), noise 1.
    assert averages.of_pairs(pairs) == pytest.approx(0.107 / 1.107, abs=0.03)
    assert averages.between(pairs) == pytest.approx(0.107 / 1.107, abs=0.03)
    nothing = study(random, 128).pairs
    assert averages.other_half(nothing).value < 0.1
    assert averages.between(nothing) < 0.03


def test_the_ceiling_is_what_noise_leaves_and_a_rank_is_spearmans():
    made = study(planar, 80, seeds=2, noise=0.5)
    variance = judging.noise(made.loss, "log_loss")
    assert variance == pytest.approx(0.25, rel=0.05)
    one = Pairs(made.loss[..., 0], {})
    assert judging.left_by(one, "log_loss", variance) == pytest.approx(1.107 / 1.357, abs=0.03)
    assert np.isnan(judging.noise(made.loss[..., :1], "log_loss"))
    assert judging.rank(one, np.exp(one.target("log_loss")), "log_loss").value == pytest.approx(1)
    unlike = judging.rank(one, np.random.default_rng(1).standard_normal((80, 80)), "log_loss")
    assert unlike.low < 0 < unlike.high


def two_ways(f, rng):
    """Networks miss particles where the source's rule says so; they fail and call film particle where film excess is large."""
    blind = (f["sigma"] < 0.5) & (f["delta_epsilon"] < -0.2)
    calls = (f["film_excess"] > 0.92) & ~blind
    y = np.where(blind | calls, 1.2, 0.05) + 0.02 * rng.standard_normal(blind.shape)
    return y, np.where(calls, 0.8, 0.05), np.where(blind, 0.7, 0.05)


@pytest.mark.parametrize("law, gain, named", [(two_ways, "agrees", "agrees"), (random, "cannot tell", "cannot tell")])
def test_film_excess_names_exceptions_and_false_calls_where_it_is_the_law(tmp_path, monkeypatch, law, gain, named):
    monkeypatch.setattr("replication.resampling.RESAMPLES", 60)
    names = (*zone_errors.JUDGED, zone_errors.CHOSEN_ON)
    outcome = Outcome()
    zone_errors.tell({n: study(law, seed=k) for k, n in enumerate(names)}, tmp_path, outcome)
    found = {c.text: c.verdict for c in outcome.claims}

    def of(start):
        return next(v for text, v in found.items() if text.startswith(f"ours: {start}"))

    assert of("the stable zone is safer") == gain
    assert of("film excess names the networks that call film particle") == named
    assert of("σ < 0.5 and Δε < −0.2 name the networks that miss") == named
    if law is two_ways:
        assert of("networks that fail in the stable zone miss") == "differs"
    assert (tmp_path / "signatures_errors.png").stat().st_size > 5000


def test_largest_excess_names_as_many_as_the_rule():
    pairs = study(random).pairs
    named = zone_errors.largest_excess(pairs)
    assert named.sum() == (zone_errors.in_collapse(pairs) & pairs.off).sum()
    assert pairs.features["film_excess"][named].min() >= pairs.features["film_excess"][~named & pairs.off].max()
