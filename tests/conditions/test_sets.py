import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from passband.base.distribution import stepped
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import load_conditions, load_distribution
from passband.conditions.sets import ConditionDraw, ConditionGrid, ConditionMixture, ConditionSet, Distribution

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


def test_conditions_that_are_no_set():
    for given in ([Condition(energy_ev=3e5)], Condition(energy_ev=3e5), "feg_200kv"):
        with pytest.raises(ValidationError, match=f"a {type(given).__name__} is no set of conditions; give base with"):
            TypeAdapter(ConditionSet).validate_python(given)


def test_bad_draws():
    with pytest.raises(BadInputError, match="cannot vary 'defokus'"):
        draw(defokus={"uniform": [0.0, 1.0]})
    with pytest.raises(BadInputError, match="cannot vary 'pixel_size'; did you mean 'pixel_size_angstrom'"):
        draw(pixel_size={"values": [0.2, 0.4]})
    with pytest.raises(BadInputError, match="same coefficient"):
        draw(C10={"uniform": [0.0, 1.0]}, defocus={"uniform": [0.0, 1.0]})
    with pytest.raises(BadInputError, match="varied condition is not valid: focal_spread_angstrom.*got -"):
        draw(focal_spread_angstrom={"normal": [0.0, 5.0]})
    with pytest.raises(BadInputError, match="fewer than 8 different conditions"):
        draw(count=8, C12={"values": [1.0, 2.0]})


SERIES = "focal_series: {start: -300, stop: 300, step: 50}\n"
MICROSCOPE = "energy_ev: 300000\nfocal_spread_angstrom: 20\ndose_per_angstrom2: 400\n"


@pytest.mark.parametrize(
    "text",
    [
        MICROSCOPE + SERIES,
        "base: {energy_ev: 300000, focal_spread_angstrom: 20, dose_per_angstrom2: 400}\n" + SERIES,
        "base: {energy_ev: 300000, focal_spread_angstrom: 20, dose_per_angstrom2: 400}\n"
        "vary: {defocus_angstrom: {start: -300, stop: 300, step: 50}}\n",
        "notation: ceos\n" + MICROSCOPE + SERIES,
        MICROSCOPE + "focal_series: [-300, -250, -200, -150, -100, -50, 0, 50, 100, 150, 200, 250, 300]\n",
    ],
)
def test_a_focal_series_is_a_set_of_conditions(tmp_path, text):
    path = tmp_path / "series.yaml"
    path.write_text(text)
    labels, conditions = zip(*load_conditions(path), strict=True)
    base = Condition(energy_ev=300e3, focal_spread_angstrom=20.0, dose_per_angstrom2=400.0)
    assert list(conditions) == [base.varied(defocus=float(d)) for d in range(-300, 301, 50)]
    assert labels[0] == "defocus -300 Å" and labels[-1] == "defocus +300 Å"
    assert load_distribution(path) == ConditionGrid(base=base, vary={"defocus_angstrom": list(range(-300, 301, 50))})


def test_a_focal_series_of_a_preset_varies_more(tmp_path):
    path = tmp_path / "series.yaml"
    path.write_text("base: feg_200kv\nfocal_series: {start: 600, stop: 700, step: 50}\nvary: {dose: [100, 200]}\n")
    with pytest.raises(BadInputError, match="cannot vary 'dose'"):
        load_conditions(path)
    path.write_text(path.read_text().replace("dose:", "dose_per_angstrom2:"))
    assert len(load_conditions(path)) == 6


def test_steps_meet_the_stop_or_end_below_it():
    assert stepped({"start": 0, "stop": 0.3, "step": 0.1}) == [0.0, 0.1, 0.2, 0.3]
    assert stepped({"start": -1, "stop": 1.5, "step": 1}) == [-1.0, 0.0, 1.0]
    assert stepped({"start": 5, "stop": 5, "step": 1}) == [5.0]


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ("{start: 300, stop: -300, step: 50}", "begin at the lower end"),
        ("{start: -300, stop: 300, step: 0}", "step above zero"),
        ("{start: -300, stop: 300}", "neither a list nor"),
        ("{start: -300, stop: .nan, step: 50}", "stop is nan, which is not a number"),
        ("{start: -300, stop: 300, step: 0.001}", "more than 10000 values"),
        ("[]", "at least 1"),
    ],
)
def test_a_focal_series_that_cannot_be_is_one_line(tmp_path, series, message):
    path = tmp_path / "series.yaml"
    path.write_text(f"energy_ev: 300000\nfocal_series: {series}\n")
    with pytest.raises(BadInputError) as caught:
        load_conditions(path)
    assert str(caught.value).startswith(f"{path}:2: ") and message in str(caught.value), str(caught.value)


def test_a_defocus_beside_a_focal_series_is_refused(tmp_path):
    path = tmp_path / "series.yaml"
    for given in ("defocus_angstrom: 30", "aberrations: {C10: 30}", "vary: {defocus_angstrom: [1]}"):
        path.write_text(f"energy_ev: 300000\n{given}\n{SERIES}")
        with pytest.raises(BadInputError, match="both give the defocus; keep one"):
            load_conditions(path)
