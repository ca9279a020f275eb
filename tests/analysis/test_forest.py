import numpy as np
import pytest

from passband.analysis.pairs import Pairs
from replication import forest, judging


def table(target, **features):
    return Pairs(np.exp(target), features)


def test_what_depends_on_the_features_is_predicted_on_conditions_not_seen():
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 1, 24)
    gap = place[None] - place[:, None]
    pairs = table(np.abs(gap) ** 0.5, gap=gap)
    predicted = forest.predictions(pairs, ["gap"], "log_loss")
    assert np.isfinite(predicted[pairs.used]).all()
    found = judging.r2(pairs, predicted, "log_loss")
    assert 0.8 < found.low < found.value < found.high < 1


@pytest.mark.slow
def test_what_belongs_to_a_condition_alone_is_not():
    """Each condition has a loss of its own and a feature that names it: to learn it by heart must not help."""
    rng = np.random.default_rng(1)
    own = rng.standard_normal(24)
    name = np.broadcast_to(np.arange(24.0), (24, 24))
    pairs = table(np.broadcast_to(own, (24, 24)).copy(), name=name)
    predicted = forest.predictions(pairs, ["name"], "log_loss")
    assert judging.r2(pairs, predicted, "log_loss").value < 0.2
