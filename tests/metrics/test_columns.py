"""Every column of the table of pairs says how it reads."""

import numpy as np
import pytest

from passband.analysis.fits import PREDICTORS
from passband.conditions import Condition
from passband.metrics import METRICS
from passband.metrics import shift_table as shift_tables
from passband.metrics.image_spectra import IMAGE_MEASURES
from passband.metrics.registry import TEXTURE_COLUMNS, column, differences
from passband.metrics.shift_table import EVERY, USUAL, lacking, shift_table, with_metrics


def test_every_column_of_the_table_has_a_symbol_of_its_own():
    given = [Condition(energy_ev=300e3, aberrations={"C10": c}, focal_spread_angstrom=20.0) for c in (0.0, -50.0)]
    table = shift_table(given, 0.5, np.random.default_rng(0).uniform(1, 2, (2, 3, 8)), metrics=EVERY)
    names = table.columns[2:]
    symbols = {name: column(name).symbol for name in names}
    assert len(set(symbols.values())) == len(names)
    assert symbols["delta_epsilon"] == "Δε" and symbols["epsilon_train"] == "ε train"
    known = {"defocus_difference_angstrom", "dose_difference", "coefficient_distance", *IMAGE_MEASURES}
    marked = {metric.column for metric in METRICS.values() if metric.trivial} | set(IMAGE_MEASURES)
    assert known <= {name for name in names if column(name).trivial} == marked
    assert not any(column(name).trivial for name in names if name.startswith(("sigma", "epsilon", "delta_epsilon")))
    assert column("defocus_difference_angstrom").unit == "Å"


def test_only_what_is_asked_for_is_computed(monkeypatch):
    given = [Condition(energy_ev=300e3, aberrations={"C10": c}, focal_spread_angstrom=20.0) for c in (0.0, -50.0, 90.0)]
    spectra = np.random.default_rng(0).uniform(1, 2, (3, 4, 8))
    every = shift_table(given, 0.5, spectra, names=list("abc"), metrics=EVERY)
    computed = []
    for name, measure in IMAGE_MEASURES.items():
        counted = measure._replace(compute=lambda logs, n=name, f=measure.compute: computed.append(n) or f(logs))
        monkeypatch.setitem(IMAGE_MEASURES, name, counted)
    real = shift_tables.measure
    monkeypatch.setattr(
        shift_tables, "measure", lambda names, *rest, **more: computed.extend(names) or real(names, *rest, **more)
    )
    usual = shift_table(given, 0.5, spectra, names=list("abc"))
    assert computed == list(USUAL)
    # What every report fits the loss by is there; texture columns are added by the study.
    used = {c for p in PREDICTORS for c in p.columns} - set(TEXTURE_COLUMNS)
    assert used <= set(usual.columns)
    asked = lacking(usual)
    assert set(asked) == set(EVERY) - set(USUAL) and lacking(usual, ["mmd", "sigma", "nonsense"]) == ["mmd"]
    computed.clear()
    full = with_metrics(usual, asked, given, 0.5, spectra, names=list("abc"))
    assert computed == asked and lacking(full) == []
    for name in every.columns[2:]:
        assert full[name].to_numpy() == pytest.approx(every[name].to_numpy(), abs=1e-9, nan_ok=True), name


def test_differences_are_test_less_train():
    found = differences({"epsilon_train": np.array([1.0]), "epsilon_test": np.array([3.0]), "sigma": np.array([0.5])})
    assert set(found) == {"delta_epsilon"} and found["delta_epsilon"] == 2
    assert column("delta_image_snr").symbol == f"Δ {METRICS['image_snr'].symbol}"


@pytest.mark.parametrize("name", ["nonsense", "delta_nonsense", "sigma_sideways"])
def test_other_names_are_refused(name):
    with pytest.raises(KeyError):
        column(name)
