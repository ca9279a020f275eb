"""A prediction corrected by networks of our own: the residual of some pairs, carried to others that look like them."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

# What leave-one-out chooses from: length in standard deviations of the places, noise over the residual's variance.
_LENGTHS, _NOISES = (0.5, 1.0, 2.0), (0.1, 0.5)


def corrected(
    predicted: np.ndarray, places: np.ndarray, train: Sequence[int], test: Sequence[int], known: np.ndarray
) -> np.ndarray:
    """Return predictions of all pairs of N domains, corrected by a Gaussian process on the residuals of known ones.

    The covariance of two pairs is that of their trainings times that of their tests; its length and noise are those whose predictions
    of pairs left out, with all of both domains, have the highest rank correlation with what is known.

    Args:
        predicted: ln loss, shape [N, N].
        places: what domains look like, shape [N, F].
        train: which domains were trained on.
        test: which domains were tested on.
        known: ln loss of these trainings and tests, shape [len(train), len(test)].
    """
    standard = (places - places.mean(0)) / (places.std(0) + 1e-9)
    squares = ((standard[:, None] - standard[None]) ** 2).mean(-1)
    everything = list(range(len(predicted)))

    def carried(
        rows: Sequence[int],
        columns: Sequence[int],
        to: tuple[Sequence[int], Sequence[int]],
        length: float,
        noise: float,
    ) -> np.ndarray:
        """Return the predictions of pairs `to`, corrected by the known trainings `rows` and tests `columns`."""
        covariance = np.exp(-0.5 * squares / length**2)
        a, b = [train[i] for i in rows], [test[j] for j in columns]
        residual = known[np.ix_(rows, columns)] - predicted[np.ix_(a, b)]
        left, right = (
            covariance[np.ix_(wanted, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)] + noise * np.eye(len(seen)))
            for wanted, seen in zip(to, (a, b), strict=True)
        )
        return np.asarray(predicted[np.ix_(*to)] + left @ (residual - residual.mean()) @ right.T)

    def left_out(length: float, noise: float) -> float:
        said = np.zeros_like(known)
        for i, j in np.ndindex(*known.shape):
            pair = {train[i], test[j]}
            rows = [k for k, domain in enumerate(train) if domain not in pair]
            columns = [k for k, domain in enumerate(test) if domain not in pair]
            said[i, j] = carried(rows, columns, ([train[i]], [test[j]]), length, noise).item()
        return float(spearmanr(said.ravel(), known.ravel()).statistic)

    best = max(itertools.product(_LENGTHS, _NOISES), key=lambda choice: left_out(*choice))
    return carried(range(len(train)), range(len(test)), (everything, everything), *best)
