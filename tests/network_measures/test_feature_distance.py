import numpy as np
import pytest
import torch
from scipy import linalg

from passband.network_measures.feature_distance import (
    feature_frechet_distance,
    feature_mmd,
    frechet_distance,
    spectral_frechet_distance,
)
from support.logits import calibrated


def samples(count=50, *, mean=0.0, scale=1.0, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(size, size, generator=torch.Generator().manual_seed(9)).double()
    return torch.randn(count, size, generator=generator).double() @ mixed * scale + mean


def test_slow_reference():
    a, b = samples(), samples(80, mean=0.5, scale=2, seed=1)
    (mean, covariance), (other_mean, other) = ((x.mean(0).numpy(), np.cov(x.numpy().T, bias=True)) for x in (a, b))
    root = np.trace(linalg.sqrtm(covariance @ other).real)
    distance = ((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other) - 2 * root
    assert frechet_distance(a, b).item() == pytest.approx(distance / np.trace(covariance), rel=1e-6)


def test_known_distances():
    """Of scaled and moved samples, also where there are fewer samples than dimensions; the unit of the features does not matter."""
    for a in (samples(), samples(5, size=20)):
        spread = a.var(0, correction=0).sum().item()
        assert frechet_distance(a, a).item() == pytest.approx(0, abs=1e-5)
        assert frechet_distance(a, a + 2).item() == pytest.approx(4 * a.shape[1] / spread, rel=1e-5)
        centred = a - a.mean(0)
        assert frechet_distance(centred, 3 * centred).item() == pytest.approx(4, rel=1e-5)
        assert frechet_distance(7 * a, 7 * a + 14).item() == pytest.approx(frechet_distance(a, a + 2).item(), rel=1e-5)


def test_features_of_positions():
    home, other = torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    rows = [torch.stack([x[n, :, i, j] for n in range(5) for i in range(4) for j in range(4)]) for x in (home, other)]
    assert feature_frechet_distance(home, other).item() == pytest.approx(frechet_distance(*rows).item(), rel=1e-6)


def test_mmd_slow_reference():
    home, other = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    other = other[:5] + 0.4
    x, y = (values[:5].mean((2, 3)).numpy() for values in (home, other))
    every = np.concatenate([x, y])
    # PyTorch's median of an even number of values is the lower of the two in the middle.
    width = np.sort([np.linalg.norm(a - b) for a in every for b in every])[49]

    def kernel(a, b):
        return np.exp(-0.5 * ((a - b) ** 2).sum() / width**2)

    own = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(5) for j in range(5) if i != j) / 20
    across = np.mean([kernel(a, b) for a in x for b in y])
    assert feature_mmd(home, other).item() == pytest.approx(own - 2 * across, abs=1e-9)


def test_spectra_tell_noise_from_smooth_images():
    smooth, again = calibrated(6)[0], calibrated(6, seed=1)[0]
    noise = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    assert spectral_frechet_distance(smooth, smooth).item() == pytest.approx(0, abs=1e-5)
    assert spectral_frechet_distance(smooth, noise) > 10 * spectral_frechet_distance(smooth, again)
    # Neither unit nor offset of the images matters.
    assert spectral_frechet_distance(smooth, 5 * smooth + 3).item() == pytest.approx(0, abs=1e-4)
