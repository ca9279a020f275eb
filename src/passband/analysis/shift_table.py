"""The shift table: a row per ordered pair of conditions, a column per metric."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch

from passband.conditions import ImagingCondition
from passband.shift import METRICS, measure
from passband.shift.band import Spectrum
from passband.shift.image_spectra import (
    maximum_mean_discrepancy,
    sliced_wasserstein,
    spectrum_distance,
    spectrum_divergence,
)

#: The generic measures between the conditions' images, by column.
IMAGE_MEASURES = {
    "spectrum_distance": spectrum_distance,
    "mmd": maximum_mean_discrepancy,
    "sliced_wasserstein": sliced_wasserstein,
    "spectrum_divergence": spectrum_divergence,
}


def shift_table(
    conditions: Sequence[ImagingCondition], q_max: float, spectra: np.ndarray, exit_wave: Spectrum | None = None
) -> pl.DataFrame:
    """Return train_condition, test_condition, epsilon_train, epsilon_test, delta_epsilon, sigma, sigma_reverse, and the rest.

    The rest: a column for each further metric of the registry (NAME_train and NAME_test for those of one condition),
    `defocus_difference_angstrom`, and the generic measures between the images.

    Args:
        conditions: B conditions.
        q_max: band of the metrics [1/Å].
        spectra: radial power spectra of each condition's N images, shape [B, N, bins].
        exit_wave: power spectral density of the exit waves [Å²] over |q|.
    """
    n = len(conditions)
    found = measure(list(METRICS), conditions, conditions, q_max, exit_wave=exit_wave)
    logs = torch.from_numpy(np.log(spectra.clip(1e-12))).double()
    found |= {name: function(logs) for name, function in IMAGE_MEASURES.items()}
    ids = np.array([c.id for c in conditions])
    train, test = np.repeat(np.arange(n), n), np.tile(np.arange(n), n)
    columns = {"train_condition": ids[train], "test_condition": ids[test]}
    for name in ("epsilon_train", "epsilon_test"):
        columns[name] = found.pop(name).numpy()[train if name.endswith("train") else test]
    columns["delta_epsilon"] = columns["epsilon_test"] - columns["epsilon_train"]
    columns["sigma"] = found.pop("sigma").numpy().ravel()
    columns["sigma_reverse"] = columns["sigma"].reshape(n, n).T.ravel()
    columns["defocus_difference_angstrom"] = found.pop("defocus_difference").numpy().ravel()
    for name, values in found.items():
        own = values.numpy()
        columns[name] = own.ravel() if own.ndim == 2 else own[train if name.endswith("train") else test]
    return pl.DataFrame(columns)
