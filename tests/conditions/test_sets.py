import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.sets import ConditionDraw, ConditionMixture, ConditionSet, Distribution

BASE = {"energy_ev": 300e3, "focal_spread_angstrom": 20.0}


def draw(count=256, method="sobol", seed=0, **spreads):
    return ConditionDraw(base=BASE, draw=spreads, count=count, method=method, seed=seed)


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_each_distribution_has_its_moments(method):
    d = draw(
        count=1024, method=method,
        defocus_angstrom={"uniform": [-100.0, 300.0]}, C30={"normal": [1e5, 2e4]},
        dose_per_angstrom2={"log_uniform": [10.0, 1000.0]}, C12={"values": [0.0, 10.0, 20.0, 50.0]},
    )  # fmt: skip
    conditions = d.conditions()
    defocus = np.array([c.defocus_angstrom for c in conditions])
    assert defocus.min() >= -100 and defocus.max() <= 300
    assert defocus.mean() == pytest.approx(100, abs=12) and defocus.std() == pytest.approx(
        400 / math.sqrt(12), rel=0.05
    )
    cs = np.array([c.aberrations["C30"] for c in conditions])
    assert cs.mean() == pytest.approx(1e5, rel=0.02) and cs.std() == pytest.approx(2e4, rel=0.06)
    dose = np.log10([c.dose_per_angstrom2 for c in conditions])
    assert dose.mean() == pytest.approx(2, abs=0.06) and dose.std() == pytest.approx(2 / math.sqrt(12), rel=0.05)
    c12 = np.array([c.aberrations.get("C12", 0.0) for c in conditions])
    assert [(c12 == v).mean() for v in (0, 10, 20, 50)] == pytest.approx([0.25] * 4, abs=0.05)


@pytest.mark.parametrize("method", ["sobol", "random"])
def test_more_conditions_keep_the_first(method):
    short, long = (
        draw(count=n, method=method, defocus={"uniform": [0.0, 100.0]}, C12={"uniform": [0.0, 9.0]}) for n in (5, 40)
    )
    assert long.conditions()[:5] == short.conditions()
    assert (
        draw(
            count=5, method=method, seed=1, defocus={"uniform": [0.0, 100.0]}, C12={"uniform": [0.0, 9.0]}
        ).conditions()
        != short.conditions()
    )


def test_sobol_covers_evenly():
    places = np.sort([c.defocus_angstrom for c in draw(count=64, defocus={"uniform": [0.0, 64.0]}).conditions()])
    assert (np.floor(places) == np.arange(64)).all()


def test_mixture_keeps_its_proportions():
    part = {"base": BASE, "draw": {"defocus": {"uniform": [0.0, 10.0]}}}
    other = {"base": BASE, "draw": {"defocus": {"uniform": [100.0, 110.0]}}}
    mixture = ConditionMixture(mixture=[{"weight": 3.0, **part}, {"weight": 1.0, **other}], count=10)
    far = sum(c.defocus_angstrom > 50 for c in mixture.conditions())
    assert far in (2, 3) and len(mixture.conditions()) == 10
    assert len(set(mixture.labels())) == 10 and mixture.labels()[0].startswith("01: defocus +")


def test_read_back_and_told_apart():
    adapter = TypeAdapter(ConditionSet)
    for content in (
        {"base": BASE, "vary": {"C12": [0.0, 5.0]}},
        {"base": BASE, "draw": {"C12": {"uniform": [0.0, 5.0]}}, "count": 4},
        {"mixture": [{"weight": 1.0, "base": BASE, "draw": {"C12": {"uniform": [0.0, 5.0]}}}], "count": 4},
    ):
        found = adapter.validate_python(content)
        assert adapter.validate_python(found.model_dump(mode="json")) == found
        assert all(isinstance(c, Condition) for c in found.conditions())


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        ({}, "give one of"),
        ({"uniform": [1.0, 2.0], "values": [1.0]}, "got uniform, values"),
        ({"uniform": [2.0, 1.0]}, "swap them"),
        ({"log_uniform": [0.0, 1.0]}, "above zero"),
        ({"normal": [0.0, 0.0]}, "above zero"),
    ],
)
def test_bad_spreads(spread, message):
    with pytest.raises(ValidationError, match=message):
        Distribution(**spread)


def test_bad_draws():
    with pytest.raises(BadInputError, match="cannot vary 'defokus'"):
        draw(defokus={"uniform": [0.0, 1.0]})
    with pytest.raises(BadInputError, match="same coefficient"):
        draw(C10={"uniform": [0.0, 1.0]}, defocus={"uniform": [0.0, 1.0]})
    with pytest.raises(BadInputError, match="varied condition is not valid: focal_spread_angstrom.*got -"):
        draw(focal_spread_angstrom={"normal": [0.0, 5.0]})
    with pytest.raises(BadInputError, match="fewer than 8 different conditions"):
        draw(count=8, C12={"values": [1.0, 2.0]})
