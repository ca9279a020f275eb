"""Reader loss: how badly a pixel classifier fitted to images under one condition does on images under another.

Ours. The classifier, a logistic regression on features of single pixels, stands for a network: its optimum is unique and takes
seconds. Images are made elsewhere (`simulation.reader_loss`); here are pure functions of arrays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

#: Share of the specimens, the first ones, that a reader is fitted to: 16 of 28; the others test it.
FITTED = 16 / 28
#: Features of a pixel.
FEATURES = 29
# Gaussians [Å], standard deviations: of the smoothed images, over which energies are averaged, of the slopes.
_SMOOTHED = (0.8, 1.6, 3.2, 6.4, 12.8)
_AVERAGED = (2.0, 5.0)
_SLOPES = (1.6, 3.2)
# Edges of the rings of spatial frequency [1/Å].
_EDGES = torch.linspace(0.05, 1.0, 12).tolist()
# Added to energies before the logarithm; images have unit variance.
_LEAST = 1e-2
# A feature that varies less than this over an image is not stretched to unit deviation.
_STILL = 1e-3
# Features are clipped at this many deviations of the training condition.
_CLIP = 4.0
_RIDGE = 1e-3
_STEPS, _TOLERANCE = 60, 1e-9


def pixel_features(images: Tensor, pixel_size_angstrom: float, pixels: Tensor) -> Tensor:
    """Return features of some pixels of each image, each with mean 0 and deviation 1 over the pixels of its image.

    They are the image smoothed by five Gaussians (0.8 to 12.8 Å), the log local energy in eleven rings from 0.05 to 1.0 1/Å,
    averaged over 2 and 5 Å, and the slope at 1.6 and 3.2 Å. The two features of a ring whose centre lies beyond the Nyquist
    frequency are 0. Images are taken as periodic.

    Args:
        images: zero mean and unit variance each, float32, shape [N, h, w].
        pixel_size_angstrom: of the images [Å].
        pixels: flat places in each image, shape [N, P].

    Returns:
        float32, shape [N, P, 29].
    """
    spectrum, q = torch.fft.rfft2(images), _radii(images, pixel_size_angstrom)

    def taken(values: Tensor) -> Tensor:
        return standardised(values).flatten(1).gather(1, pixels)

    smooth = {width: torch.fft.irfft2(spectrum * _gaussian(q, width), s=images.shape[-2:]) for width in _SMOOTHED}
    features = [taken(values) for values in smooth.values()]
    features += [taken(values) for values in ring_energies(images, pixel_size_angstrom, _AVERAGED)]
    for width in _SLOPES:
        slopes = torch.gradient(smooth[width], dim=(-2, -1))
        features.append(taken(torch.hypot(*slopes) * (width / pixel_size_angstrom)))
    return torch.stack(features, -1)


def ring_energies(images: Tensor, pixel_size_angstrom: float, averaged: Sequence[float]) -> Iterator[Tensor]:
    """Yield the log local energy of images in each of eleven rings, averaged over Gaussians of these deviations [Å], [N, h, w] each.

    Images, [N, h, w], have zero mean and unit variance each and are taken as periodic. A ring whose centre lies beyond the Nyquist
    frequency has 0 everywhere.
    """
    spectrum, q, shape = torch.fft.rfft2(images), _radii(images, pixel_size_angstrom), images.shape[-2:]
    blurs = [_gaussian(q, width) for width in averaged]
    for low, high in pairwise(_EDGES):
        centre, half = (low + high) / 2, (high - low) / 2
        if centre > 0.5 / pixel_size_angstrom:
            yield from [torch.zeros_like(images)] * len(averaged)
            continue
        ring = torch.exp(-0.5 * ((q - centre) / half) ** 2)
        energy = torch.fft.rfft2(torch.fft.irfft2(spectrum * ring, s=shape) ** 2)
        for blur in blurs:
            yield (torch.fft.irfft2(energy * blur, s=shape).clamp_min(0) + _LEAST).log()


def standardised(values: Tensor) -> Tensor:
    """Return values, [N, h, w], less the mean of their image, over its deviation; what hardly varies is not stretched."""
    deviation, mean = torch.std_mean(values, (1, 2), keepdim=True)
    return (values - mean) / deviation.clamp_min(_STILL)


def _radii(images: Tensor, pixel_size_angstrom: float) -> Tensor:
    """Return |q| [1/Å] of the half spectrum of images, shape [h, w // 2 + 1]."""
    height, width = images.shape[-2:]
    qy = torch.fft.fftfreq(height, pixel_size_angstrom, device=images.device)
    return torch.hypot(qy[:, None], torch.fft.rfftfreq(width, pixel_size_angstrom, device=images.device))


def _gaussian(q: Tensor, deviation: float) -> Tensor:
    """Return the spectrum of a Gaussian of unit sum and this standard deviation [Å]."""
    return torch.exp(-2 * (torch.pi * deviation * q) ** 2)


@dataclass(frozen=True, eq=False)
class Reader:
    """A fitted pixel classifier.

    Attributes:
        mean: of the training features, float64, shape [F].
        deviation: of the training features, float64, shape [F].
        weights: of the standardised features, and last the constant, float64, shape [F + 1].
    """

    mean: Tensor
    deviation: Tensor
    weights: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return the log odds of particle, shape [P], of pixels with features [P, F], in their precision."""
        weights = self.weights.to(features.dtype)
        return _standard(features, self.mean, self.deviation) @ weights[:-1] + weights[-1]


def fit_reader(features: Tensor, truth: Tensor) -> Reader:
    """Return the classifier of least mean log loss + ½ ridge |w|² (ridge 1e-3, the constant free), by Newton's method.

    Args:
        features: of the training pixels, shape [P, F].
        truth: whether each is particle, bool, shape [P].

    Raises:
        ValueError: if all pixels are particle, or none.
    """
    _check_both(truth)
    deviation, mean = (values.double() for values in torch.std_mean(features, 0))
    x, y = _standard(features.double(), mean, deviation), truth.double()
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    ridge = torch.full((x.shape[1],), _RIDGE, dtype=torch.float64)
    ridge[-1] = 0.0

    def objective(weights: Tensor) -> float:
        loss = functional.binary_cross_entropy_with_logits(x @ weights, y)
        return (loss + 0.5 * (ridge * weights**2).sum()).item()

    weights = torch.zeros_like(ridge)
    for _ in range(_STEPS):
        p = torch.sigmoid(x @ weights)
        gradient = x.T @ (p - y) / len(y) + ridge * weights
        if gradient.abs().max() < _TOLERANCE:
            break
        hessian = (x * (p * (1 - p))[:, None]).T @ x / len(y) + torch.diag(ridge.clamp_min(1e-12))
        step, before = torch.linalg.solve(hessian, gradient), objective(weights)
        # Far from the optimum a whole step may lead uphill.
        while objective(weights - step) > before + 1e-12:
            step = step / 2
        weights = weights - step
    return Reader(mean, deviation, weights)


class ReaderScore(NamedTuple):
    """What a reader gets wrong: cross-entropy + soft Dice loss; shares of all pixels called particle, or film, wrongly."""

    loss: float
    false_positive: float
    false_negative: float


def score(logits: Tensor, truth: Tensor) -> ReaderScore:
    """Return the score of log odds on pixels with a truth, bool, both of shape [P]; particle is what has log odds above 0.

    Raises:
        ValueError: if all pixels are particle, or none.
    """
    _check_both(truth)
    called = logits > 0
    wrong = ((called & ~truth).double().mean().item(), (~called & truth).double().mean().item())
    return ReaderScore(_loss(logits, truth.to(logits.dtype)).item(), *wrong)


def reader_losses(features: Tensor, truth: Tensor, *, fitted: int | None = None) -> Tensor:
    """Return the reader loss of every pair of B conditions, float64, shape [B, B]: row trained, column tested.

    The first pixels fit the readers, the others test them: order pixels by specimen.

    Args:
        features: of `pixel_features`, shape [B, P, F].
        truth: whether each pixel is particle, bool, shape [P] if all conditions image the same specimens, or [B, P].
        fitted: number of pixels that fit; if left out, 16 of 28.

    Raises:
        ValueError: if the pixels that fit, or the others, are all particle, or none.
    """
    truth = truth.expand(len(features), -1)
    first = round(truth.shape[1] * FITTED) if fitted is None else fitted
    for part in (truth[:, :first], truth[:, first:]):
        for one in part:
            _check_both(one)
    readers = [fit_reader(one[:first], true[:first]) for one, true in zip(features, truth, strict=True)]
    columns = [
        [_loss(reader.logits(test[first:]), true[first:].to(features.dtype)).item() for reader in readers]
        for test, true in zip(features, truth, strict=True)
    ]
    return torch.tensor(columns, dtype=torch.float64).T


def _standard(features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return features in deviations from the training's mean; one that did not vary in training is zero or clipped."""
    centred = features - mean.to(features.dtype)
    return centred.div_(deviation.clamp_min(1e-6).to(features.dtype)).clamp_(-_CLIP, _CLIP)


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    dice = 2 * (p * truth).sum() / (p.sum() + truth.sum())
    return functional.binary_cross_entropy_with_logits(logits, truth) + 1 - dice


def _check_both(truth: Tensor) -> None:
    if not truth.any() or truth.all():
        raise ValueError("these pixels are all particle, or none is; a reader needs both")
