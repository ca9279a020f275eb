"""The loss of a network trained under one condition and tested under another, as a law of the textures of the two.

A Gaussian process over pairs: the covariance of two pairs is that of their training textures times that of their test textures,
so the law has an effect of the training, one of the test, and one of both together. Every study adds its square of losses; the
process is reduced to some inducing textures (Snelson and Ghahramani, NIPS 2005), which leaves a matrix of weights.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from sklearn.cluster import KMeans
from sklearn.linear_model import QuantileRegressor
from torch import Tensor

from passband.base.errors import BadInputError
from passband.metrics.texture import Texture

# Chosen before the final conditions were looked at; docs/results/tables/predictor/log.md says how.
_COMPONENTS = 12
_INDUCING = 48
_WIDTH = 3.0
_NOISE = 0.3
# Share of held-out losses in the interval, and of held-out pairs that count as known; parts of the domains that are left out in turn.
_SHARE, _COVERED, _PARTS = 0.90, 0.99, 4


class LossSquare(NamedTuple):
    """The losses of a study: every training against every test.

    Attributes:
        train: textures of B training domains.
        test: textures of B′ test domains.
        log_loss: natural logarithm of the loss, mean over seeds, shape [B, B′]; no value is missing.
    """

    train: Texture
    test: Texture
    log_loss: Tensor

    def chosen(self, part: int, *, left_out: bool) -> "LossSquare":
        """Return the losses among every fourth domain, or among all others, in both roles."""
        rows, columns = ((torch.arange(n) % _PARTS == part) == left_out for n in self.log_loss.shape)
        return LossSquare(self.train.chosen(rows), self.test.chosen(columns), self.log_loss[rows][:, columns])


class Predicted(NamedTuple):
    """What a law says of B trainings and B′ tests.

    Attributes:
        log_loss: natural logarithm of the loss, shape [B, B′].
        low: lower limit of its 90 % interval, shape [B, B′].
        high: upper limit, shape [B, B′].
        known: whether both textures are like some that the law was fitted to, bool, shape [B, B′].
    """

    log_loss: Tensor
    low: Tensor
    high: Tensor
    known: Tensor


@dataclass(frozen=True)
class LossLaw:
    """A fitted law. Lengths are in standard deviations of the first principal component of the textures.

    Attributes:
        centre: mean of the numbers of textures, shape [33].
        axes: from their difference to principal components, shape [33, C].
        inducing: components of the inducing textures, shape [M, C].
        weights: shape [M + 1, M + 1], by training and by test; the first of each is a constant.
        mean: mean ln loss of what was fitted.
        spread: half the width of a 90 % interval of ln loss where both textures are known, and what novelty adds, shape [2].
        widest: half the width of an interval where nothing is known: of 90 % of all losses that were fitted.
        furthest: novelty of the training or test beyond which nothing is known, in [0, 1].
    """

    centre: Tensor
    axes: Tensor
    inducing: Tensor
    weights: Tensor
    mean: float
    spread: tuple[float, float] = (0.0, 0.0)
    widest: float = 0.0
    furthest: float = 1.0

    def predict(self, train: Texture, test: Texture) -> Predicted:
        """Return the loss of networks trained on B domains and tested on B′."""
        a, b = self._features(train), self._features(test)
        log_loss, novelty = self._of_features(a, b), _larger(_novelty(a), _novelty(b))
        width = (self.spread[0] + self.spread[1] * novelty).clamp_max(self.widest)
        return Predicted(log_loss, log_loss - width, log_loss + width, novelty <= self.furthest)

    def _of_features(self, train: Tensor, test: Tensor) -> Tensor:
        return train @ self.weights @ test.T + self.mean

    def save(self, path: Path) -> None:
        """Write the law as JSON."""
        content = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | Traversable) -> "LossLaw":
        """Read a law that `save` wrote; a BadInputError if the file is none."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            tensors = {
                n: torch.tensor(content[n], dtype=torch.float64) for n in ("centre", "axes", "inducing", "weights")
            }
            return cls(
                **tensors,
                mean=content["mean"],
                spread=tuple(content["spread"]),
                widest=content["widest"],
                furthest=content["furthest"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"{path} holds no law of the loss ({error}); build it again") from error

    def _features(self, texture: Texture) -> Tensor:
        components = (texture.numbers - self.centre) @ self.axes
        return _features(components, self.inducing)


def fit_law(squares: Sequence[LossSquare], *, calibrate: bool = True) -> LossLaw:
    """Fit a law to studies; its interval is calibrated on the losses of domains that were left out, or of no width without.

    Raises:
        BadInputError: if the studies have fewer than three domains together, or a loss is missing.
    """
    if any(not s.log_loss.isfinite().all() for s in squares) or sum(len(s.log_loss) for s in squares) < 3:
        raise BadInputError("a law needs every loss of at least three trainings; finish the studies first")
    whole = _fit(squares)
    if not calibrate:
        return whole
    errors, novelties = [], []
    for part in range(_PARTS):
        fold = _fit([s.chosen(part, left_out=False) for s in squares])
        for held_out in (s.chosen(part, left_out=True) for s in squares):
            a, b = fold._features(held_out.train), fold._features(held_out.test)
            errors.append((held_out.log_loss - fold._of_features(a, b)).abs().flatten())
            novelties.append(_larger(_novelty(a), _novelty(b)).flatten())
    error, novelty = torch.cat(errors).numpy(), torch.cat(novelties).numpy()
    line = QuantileRegressor(quantile=_SHARE, alpha=0.0).fit(novelty[:, None], error)
    widest = 1.645 * float(_all_losses(squares).std())
    slope = max(float(line.coef_[0]), 0.0)
    level = float(np.quantile(error - slope * novelty, _SHARE))
    # Where nothing is known, any loss of the studies is possible.
    slope = max(slope, widest - level)
    return replace(whole, spread=(level, slope), widest=widest, furthest=float(np.quantile(novelty, _COVERED)))


def _fit(squares: Sequence[LossSquare]) -> LossLaw:
    numbers = torch.cat([t.numbers for s in squares for t in (s.train, s.test)])
    centre, scale = numbers.mean(0), numbers.std(0).clamp_min(1e-6)
    axes = torch.linalg.svd((numbers - centre) / scale, full_matrices=False).Vh[:_COMPONENTS].T / scale[:, None]
    components = (numbers - centre) @ axes
    axes, components = axes / components[:, 0].std(), components / components[:, 0].std()
    distinct = np.unique(components.numpy().round(6), axis=0)
    clusters = KMeans(min(_INDUCING, len(distinct)), n_init=1, random_state=0).fit(distinct)
    law = LossLaw(
        centre,
        axes,
        torch.from_numpy(clusters.cluster_centers_),
        torch.empty(0),
        float(_all_losses(squares).mean()),
    )
    size = len(law.inducing) + 1
    normal, moment = np.zeros((size**2, size**2)), np.zeros((size, size))
    for square in squares:
        a, b = law._features(square.train).numpy(), law._features(square.test).numpy()
        normal += np.kron(a.T @ a, b.T @ b)
        moment += a.T @ (square.log_loss.numpy() - law.mean) @ b
    normal[np.diag_indices_from(normal)] += _NOISE
    weights = cho_solve(cho_factor(normal, overwrite_a=True), moment.ravel())
    return replace(law, weights=torch.from_numpy(weights.reshape(size, size)))


def _features(components: Tensor, inducing: Tensor) -> Tensor:
    """Return features whose inner products are 1 + a Gaussian covariance, shape [B, M + 1]."""
    values, vectors = torch.linalg.eigh(_covariance(inducing, inducing))
    whitened = _covariance(components, inducing) @ vectors / values.clamp_min(1e-6).sqrt()
    return torch.cat([torch.ones_like(whitened[:, :1]), whitened], 1)


def _covariance(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-0.5 * torch.cdist(a, b).square() / _WIDTH**2)


def _novelty(features: Tensor) -> Tensor:
    """Return which part of the variance the inducing textures do not explain, in [0, 1], shape [B]."""
    return (1 - features[:, 1:].square().sum(1)).clamp(0, 1)


def _larger(train: Tensor, test: Tensor) -> Tensor:
    return torch.maximum(train[:, None], test[None])


def _all_losses(squares: Sequence[LossSquare]) -> Tensor:
    return torch.cat([square.log_loss.flatten() for square in squares])
