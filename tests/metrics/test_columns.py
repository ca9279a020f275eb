"""Every column of the table of pairs says how it reads."""

import numpy as np
import pytest

from passband.conditions import Condition
from passband.metrics import METRICS
from passband.metrics.image_spectra import IMAGE_MEASURES
from passband.metrics.registry import column, differences
from passband.metrics.shift_table import shift_table


def test_every_column_of_the_table_has_a_symbol_of_its_own():
    given = [Condition(energy_ev=300e3, aberrations={"C10": c}, focal_spread_angstrom=20.0) for c in (0.0, -50.0)]
    table = shift_table(given, 0.5, np.random.default_rng(0).uniform(1, 2, (2, 3, 8)))
    names = table.columns[2:]
    symbols = {name: column(name).symbol for name in names}
    assert len(set(symbols.values())) == len(names)
    assert symbols["delta_epsilon"] == "Δε" and symbols["epsilon_train"] == "ε train"
    known = {"defocus_difference_angstrom", "dose_difference", "coefficient_distance", *IMAGE_MEASURES}
    marked = {metric.column for metric in METRICS.values() if metric.trivial} | set(IMAGE_MEASURES)
    assert known <= {name for name in names if column(name).trivial} == marked
    assert not any(column(name).trivial for name in names if name.startswith(("sigma", "epsilon", "delta_epsilon")))
    assert column("defocus_difference_angstrom").unit == "Å"


def test_differences_are_test_less_train():
    found = differences({"epsilon_train": np.array([1.0]), "epsilon_test": np.array([3.0]), "sigma": np.array([0.5])})
    assert set(found) == {"delta_epsilon"} and found["delta_epsilon"] == 2
    assert column("delta_image_snr").symbol == f"Δ {METRICS['image_snr'].symbol}"


@pytest.mark.parametrize("name", ["nonsense", "delta_nonsense", "sigma_sideways"])
def test_other_names_are_refused(name):
    with pytest.raises(KeyError):
        column(name)
