"""What is judged has no part in what was fitted."""

import pytest

from replication import predictor
from replication.__main__ import _PAGES


@pytest.mark.slow
def test_no_final_domain_is_fitted_to():
    tables = _PAGES / "tables"
    seen = {predictor._key(d) for name in predictor.FITTED for d in predictor.fitted(tables, name).domains}
    for test in predictor._tests(tables)[:2]:
        assert not seen & {predictor._key(d) for d in test.table.domains}


def test_the_set_that_is_predicted_best_is_compared_with_the_mean():
    import numpy as np

    loss = np.array([[1.0, 2.0], [2.0, 4.0], [4.0, 4.0]])
    groups, tests = [[0, 1], [1, 2]], np.arange(2)
    worst = predictor._SCORES["worst"]
    perfect = predictor._ratio(loss, loss, groups, tests, worst)
    # 2 over the geometric mean of 2 and 4, and 4 over that of 4 and 4.
    assert perfect == pytest.approx((2 / 8**0.5) ** 0.5)
    assert predictor._ratio(loss, -loss, groups, tests, worst) >= 1
