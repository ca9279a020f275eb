"""The shift table: a row per ordered pair of conditions."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from passband.conditions import ImagingCondition
from passband.shift import compare


def shift_table(conditions: Sequence[ImagingCondition], q_max: float, log_spectra: np.ndarray) -> pl.DataFrame:
    """Return train_condition, test_condition, epsilon_train, epsilon_test, delta_epsilon, sigma, sigma_reverse and baselines.

    Args:
        conditions: B conditions.
        q_max: band of the metrics [1/Å].
        log_spectra: radial log power spectra of each condition's images, shape [B, bins], for the generic baseline.
    """
    n = len(conditions)
    shift = compare(conditions, conditions, q_max)
    ids = np.array([c.id for c in conditions])
    epsilon = shift.epsilon_train.numpy()
    train, test = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    return pl.DataFrame(
        {
            "train_condition": ids[train],
            "test_condition": ids[test],
            "epsilon_train": epsilon[train],
            "epsilon_test": epsilon[test],
            "delta_epsilon": epsilon[test] - epsilon[train],
            "sigma": shift.sigma.numpy().ravel(),
            "sigma_reverse": shift.sigma_reverse.numpy().ravel(),
            "defocus_difference_angstrom": shift.defocus_difference.numpy().ravel(),
            "spectrum_distance": np.sqrt(((log_spectra[train] - log_spectra[test]) ** 2).mean(1)),
        }
    )
