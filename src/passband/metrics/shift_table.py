"""The shift table: a row per ordered pair of conditions, a column per metric."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import torch

from passband.conditions import AnyCondition
from passband.metrics import METRICS, information, measure, profile_overlaps
from passband.metrics.band import Spectrum
from passband.metrics.image_spectra import IMAGE_MEASURES

# Columns that come first; the others follow in the registry's order.
_KEYS = ["train_condition", "test_condition"]
_FIRST = [*_KEYS, "epsilon_train", "epsilon_test", "delta_epsilon", "sigma", "sigma_reverse"]
_FIRST += [METRICS["defocus_difference"].column]
#: Metrics that the analysis of every study uses; the others take ten times as long as these.
USUAL = (
    *("epsilon", "image_snr", "sigma", "phase_rms", "shared_information"),
    *("defocus_difference", "dose_difference", "coefficient_distance", "spectrum_distance"),
)
#: All metrics: the registry's, and the generic distances between images.
EVERY = (*METRICS, *IMAGE_MEASURES)


def shift_table(
    conditions: Sequence[AnyCondition],
    q_max: float,
    spectra: np.ndarray,
    exit_wave: Spectrum | None = None,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] = USUAL,
) -> pl.DataFrame:
    """Return a row per pair: ids, epsilon_train, epsilon_test, delta_epsilon, sigma, sigma_reverse, and the rest.

    The rest: a column for each further metric, NAME_train and NAME_test for those of one condition (`registry.column` has symbol and
    unit of every column).

    Args:
        conditions: B conditions; one may occur several times, under different names (by default their ids).
        q_max: band of the metrics [1/Å].
        spectra: radial power spectra of each condition's N images, shape [B, N, bins].
        exit_wave: power spectral density of the exit waves [Å²] over |q|.
        names: for the columns of conditions.
        metrics: `USUAL`, or more of `EVERY`, in that order.
    """
    values_of = _measured(conditions, metrics, q_max, spectra, exit_wave)
    values_of["sigma_reverse"] = values_of["sigma"].T
    ids = [c.id for c in conditions] if names is None else names
    columns = _pairs(values_of, ids)
    columns["delta_epsilon"] = columns["epsilon_test"] - columns["epsilon_train"]
    return pl.DataFrame(columns).select(*_FIRST, pl.exclude(_FIRST))


def with_metrics(
    table: pl.DataFrame,
    metrics: Sequence[str],
    conditions: Sequence[AnyCondition],
    q_max: float,
    spectra: np.ndarray,
    exit_wave: Spectrum | None = None,
    names: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return a shift table with the columns of further metrics; the arguments are those of `shift_table`."""
    measured = _measured(conditions, metrics, q_max, spectra, exit_wave)
    more = pl.DataFrame(_pairs(measured, [c.id for c in conditions] if names is None else names))
    return table.join(more, on=_KEYS, how="left", maintain_order="left")


def lacking(table: pl.DataFrame, metrics: Sequence[str] = EVERY) -> list[str]:
    """Return the metrics of which a shift table has no column; names that are no metric are passed over."""
    columns = {name: METRICS[name].column if name in METRICS else name for name in metrics if name in EVERY}
    return [name for name, column in columns.items() if not {column, f"{column}_test"} & set(table.columns)]


def _measured(
    conditions: Sequence[AnyCondition],
    metrics: Sequence[str],
    q_max: float,
    spectra: np.ndarray,
    exit_wave: Spectrum | None,
) -> dict[str, torch.Tensor]:
    """Return metrics by name, those of one condition as NAME_train and NAME_test, of B conditions of which some may be equal."""
    distinct = list({c.id: c for c in conditions}.values())
    optical = [name for name in metrics if name in METRICS]
    measured = measure(optical, distinct, distinct, q_max, exit_wave=exit_wave) if optical else {}
    place = {c.id: i for i, c in enumerate(distinct)}
    spread = torch.tensor([place[c.id] for c in conditions])
    values = {name: v[spread] if v.ndim == 1 else v[spread][:, spread] for name, v in measured.items()}
    logs = torch.from_numpy(np.log(spectra.clip(1e-12))).double()
    return values | {name: IMAGE_MEASURES[name].compute(logs) for name in metrics if name in IMAGE_MEASURES}


def _pairs(values_of: Mapping[str, torch.Tensor], ids: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of a table of pairs, training by training: the ids of both conditions, and values of one or of pairs."""
    names, n = np.array(ids), len(ids)
    train, test = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    columns = {"train_condition": names[train], "test_condition": names[test]}
    for name, values in values_of.items():
        side = train if name.endswith("train") else test
        column = METRICS[name].column if name in METRICS else name
        columns[column] = values.numpy().ravel() if values.ndim == 2 else values.numpy()[side]
    return columns


def set_shift_table(
    sets: Sequence[tuple[str, Sequence[AnyCondition]]], tests: Sequence[tuple[str, AnyCondition]], q_max: float
) -> pl.DataFrame:
    """Return the shift table of training sets and tests, given by name, with sigma_best and phase_rms.

    ε of a set is its mean, σ that of its mean |T| (`profile_overlaps`); sigma_best is of the member with the highest
    σ(member, test), phase_rms of the one with the smallest phase difference.
    """
    tested = [c for _, c in tests]
    epsilon = information(tested, q_max).numpy()
    own_sets, single = [members for _, members in sets], [[c] for c in tested]
    sigma = profile_overlaps(own_sets, single, q_max).numpy()
    reverse = profile_overlaps(single, own_sets, q_max).numpy()
    parts = []
    for s, (name, members) in enumerate(sets):
        own = float(information(members, q_max).mean())
        pairs = measure(["sigma", "phase_rms"], members, tested, q_max)
        columns = {
            "train_condition": name,
            "test_condition": [test for test, _ in tests],
            "epsilon_train": own,
            "epsilon_test": epsilon,
            "delta_epsilon": epsilon - own,
            "sigma": sigma[s],
            "sigma_reverse": reverse[:, s],
            "sigma_best": pairs["sigma"].nan_to_num(0).amax(0).numpy(),
            "phase_rms": pairs["phase_rms"].amin(0).numpy(),
        }
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts)
