"""The columns of the table of pairs: symbol, unit, and whether it is a baseline without contrast transfer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from passband.metrics.image_spectra import IMAGE_MEASURES
from passband.metrics.registry import METRICS, Metric


@dataclass(frozen=True)
class Column:
    """Symbol and unit of a column of the table of pairs; trivial if it does not depend on contrast transfer."""

    symbol: str
    unit: str = ""
    trivial: bool = False


def column(name: str) -> Column:
    """Return symbol, unit and triviality of a column; KeyError for a name that is none.

    It is a metric; one of one condition, followed by _train or _test, or after delta_ (test less train); sigma_reverse;
    or a distance between the conditions' images.
    """
    if name in IMAGE_MEASURES:
        return Column(IMAGE_MEASURES[name].symbol, trivial=True)
    if name == "sigma_reverse":
        return Column("σ reversed")
    by_column = {metric.column: metric for metric in METRICS.values()}
    if name in by_column:
        return _of(by_column[name], "{}")
    if name.startswith("delta_"):
        symbol = "Δ{}" if name == "delta_epsilon" else "Δ {}"
        return _of(by_column[name.removeprefix("delta_")], symbol)
    base, _, side = name.rpartition("_")
    if side not in ("train", "test"):
        raise KeyError(name)
    return _of(by_column[base], f"{{}} {side}")


def differences(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return delta_NAME, test less train, of each metric of one condition whose NAME_train and NAME_test are given."""
    names = [metric.column for metric in METRICS.values() if metric.form == "condition"]
    return {
        f"delta_{name}": features[f"{name}_test"] - features[f"{name}_train"]
        for name in names
        if f"{name}_train" in features
    }


def _of(metric: Metric, symbol: str) -> Column:
    return Column(symbol.format(metric.symbol), metric.unit, metric.trivial)
