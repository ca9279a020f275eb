"""The reader against scikit-learn, made-up data of known law, and features computed another way."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from passband.metrics import reader

SHARE = 0.3


def made(n, seed, distance=1.5, features=4, shift=0.0):
    """Gaussian features whose mean lies `distance` further in each for particles; and truth."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(n, generator=generator) < SHARE
    noise = torch.randn(n, features, generator=generator)
    return noise + distance / features**0.5 * truth[:, None] + shift, truth


def chance(share):
    """Loss of a reader that gives every pixel the share of particles."""
    return -share * math.log(share) - (1 - share) * math.log(1 - share) + 1 - share


@pytest.mark.parametrize("distance", [0.3, 2.0, 30.0], ids=["hard", "usual", "separable"])
def test_the_fit_is_that_of_scikit_learn(distance):
    x, y = made(2000, 0, distance)
    fitted = reader.fit_reader(x, y)
    standard = ((x.double() - fitted.mean) / fitted.deviation).clamp(-4, 4).numpy()
    other = LogisticRegression(C=1 / (len(y) * 1e-3), tol=1e-10, max_iter=10_000).fit(standard, y.numpy())
    np.testing.assert_allclose(fitted.weights[:-1], other.coef_[0], rtol=1e-4, atol=1e-5)
    assert fitted.weights[-1].item() == pytest.approx(other.intercept_[0], rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(fitted.logits(x.double()), other.decision_function(standard), rtol=1e-4, atol=1e-4)


def test_what_is_distributed_alike_is_read_alike():
    (x, y), (x2, y2) = made(40_000, 1), made(40_000, 2)
    fitted = reader.fit_reader(x, y)
    assert reader.score(fitted.logits(x2), y2).loss == pytest.approx(reader.score(fitted.logits(x), y).loss, rel=0.02)
    moved, same = made(40_000, 3, shift=1.0)
    assert reader.score(fitted.logits(moved), same).loss > 1.5 * reader.score(fitted.logits(x2), y2).loss


def test_of_noise_a_reader_knows_the_share_alone():
    x, y = made(40_000, 4, distance=0.0)
    x2, y2 = made(40_000, 5, distance=0.0)
    result = reader.score(reader.fit_reader(x, y).logits(x2), y2)
    assert result.loss == pytest.approx(chance(SHARE), abs=0.01)
    assert (result.false_positive, result.false_negative) == (0, pytest.approx(SHARE, abs=0.01))


def test_false_positives_and_negatives_are_shares_of_all_pixels():
    truth = torch.tensor([True, True, False, False, False, False, False, False])
    logits = torch.tensor([3.0, -1.0, 2.0, 1.0, 1.0, -4.0, -4.0, -4.0])
    result = reader.score(logits, truth)
    assert (result.false_positive, result.false_negative) == (3 / 8, 1 / 8)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t = truth.numpy()
    entropy = -(np.log(p[t]).sum() + np.log(1 - p[~t]).sum()) / 8
    assert result.loss == pytest.approx(entropy + 1 - 2 * p[t].sum() / (p.sum() + 2), rel=1e-6)


def test_units_and_order_of_the_features_do_not_matter():
    (x, y), (x2, y2) = made(3000, 6), made(3000, 7, shift=0.5)
    scale, offset, order = torch.tensor([0.1, 3.0, 50.0, 1.0]), torch.tensor([5.0, 0.0, -20.0, 1.0]), [2, 0, 3, 1]
    plain = reader.score(reader.fit_reader(x, y).logits(x2), y2)
    other = reader.fit_reader((x * scale + offset)[:, order], y).logits((x2 * scale + offset)[:, order])
    assert reader.score(other, y2).loss == pytest.approx(plain.loss, rel=1e-4)


def test_a_feature_beyond_the_training_is_clipped():
    x, y = made(3000, 8)
    fitted = reader.fit_reader(x, y)
    far = x[:1].clone()
    far[0, 0] = fitted.mean[0] + 4 * fitted.deviation[0]
    farther = far.clone()
    farther[0, 0] += 1000
    torch.testing.assert_close(fitted.logits(farther), fitted.logits(far))


def test_all_pairs_are_fits_and_scores_of_each():
    x, y = made(2800, 9)
    features = torch.stack([x, x + 1.0, x * torch.tensor([1.0, 1.0, 0.0, 3.0])])
    losses = reader.reader_losses(features, y)
    assert losses.shape == (3, 3) and losses.dtype == torch.float64
    for i in range(3):
        fitted = reader.fit_reader(features[i, :1600], y[:1600])
        for j in range(3):
            expected = reader.score(fitted.logits(features[j, 1600:]), y[1600:]).loss
            assert losses[i, j].item() == pytest.approx(expected, rel=1e-6)
    assert losses[0, 2] != losses[2, 0]
    assert reader.reader_losses(features[:1], y, fitted=2000).item() != losses[0, 0].item()


def test_pixels_of_one_kind_are_refused():
    x, y = made(280, 10)
    for truth in (torch.ones_like(y), torch.zeros_like(y)):
        for call in (
            lambda t: reader.fit_reader(x, t),
            lambda t: reader.score(x[:, 0], t),
            lambda t: reader.reader_losses(x[None], t),
        ):
            with pytest.raises(ValueError, match="a reader needs both"):
                call(truth)


def reference(image, pixel):
    """The features by NumPy's full transforms, one row a feature."""
    qy, qx = (np.fft.fftfreq(n, pixel) for n in image.shape)
    q = np.sqrt(qy[:, None] ** 2 + qx[None] ** 2)

    def passed(values, factor):
        return np.fft.ifft2(np.fft.fft2(values) * factor).real

    def gaussian(width):
        return np.exp(-2 * (np.pi * width * q) ** 2)

    rows = [passed(image, gaussian(w)) for w in (0.8, 1.6, 3.2, 6.4, 12.8)]
    for k in range(11):
        centre, half = 0.05 + 0.95 / 11 * (k + 0.5), 0.95 / 22
        energy = passed(image, np.exp(-((q - centre) ** 2) / (2 * half**2))) ** 2
        rows += [np.log(np.maximum(passed(energy, gaussian(w)), 0) + 0.01) for w in (2.0, 5.0)]
    for w in (1.6, 3.2):
        rows.append(np.hypot(*np.gradient(passed(image, gaussian(w)))) * w / pixel)
    return [((row - row.mean()) / max(row.std(ddof=1), 1e-3)).ravel() for row in rows]


def image(rows=24, columns=40, seed=0):
    noise = torch.randn(1, rows, columns, generator=torch.Generator().manual_seed(seed))
    return (noise - noise.mean()) / noise.std(correction=0)


def test_features_are_those_of_full_transforms():
    one = image()
    places = torch.arange(24 * 40)[None]
    features = reader.pixel_features(one, 0.4, places)
    assert features.shape == (1, 960, reader.FEATURES)
    np.testing.assert_allclose(features[0].T, reference(one[0].double().numpy(), 0.4), atol=2e-3)
    some = torch.tensor([[5, 900, 17]])
    torch.testing.assert_close(reader.pixel_features(one, 0.4, some), features[:, some[0]])


def test_features_turn_with_the_image():
    one = image(32, 32)
    places = torch.arange(32 * 32)
    turned = places.view(32, 32).rot90().flatten()
    torch.testing.assert_close(
        reader.pixel_features(one.rot90(dims=(1, 2)), 0.4, places[None]),
        reader.pixel_features(one, 0.4, turned[None]),
        atol=1e-3,
        rtol=1e-3,
    )


def test_rings_beyond_nyquist_are_empty():
    features = reader.pixel_features(image(48, 48), 0.8, torch.arange(48 * 48)[None])[0]
    assert features[:, 5:19].abs().amax(0).min() > 1
    assert not features[:, 19:27].any()


def test_stripes_in_half_the_image_show_in_their_ring():
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    left = x < 64
    # 27 periods over 51.2 Å: 0.527 1/Å, in the ring from 0.482 to 0.568.
    stripes = torch.where(left, 0.5 * torch.cos(2 * torch.pi * 27 / 51.2 * 0.4 * y), 0.0) + image(128, 128)[0]
    stripes = ((stripes - stripes.mean()) / stripes.std())[None]
    features = reader.pixel_features(stripes, 0.4, torch.arange(128 * 128)[None])[0]
    contrast = features[left.flatten()].mean(0) - features[~left.flatten()].mean(0)
    assert contrast[5:27:2].argmax() == 5
