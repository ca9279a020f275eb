"""Statistics of `benchmarks/image_statistics.py` on made-up images whose answer is known."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[1] / "benchmarks" / "image_statistics.py"
spec = importlib.util.spec_from_file_location("image_statistics", FILE)
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)

N = ours.WINDOW


def noise(seed=0):
    return np.random.default_rng(seed).standard_normal((N, N))


def disc(radius=30.0):
    x = (np.arange(N) - N / 2) * ours.PIXEL
    return np.hypot(x[:, None], x) < radius


def test_white_noise_has_the_same_power_in_each_ring():
    power = np.mean([ours.ring_power(noise(i)).mean((1, 2)) for i in range(8)], axis=0)
    assert power == pytest.approx(1, abs=0.06)


def test_a_fringe_shows_in_its_ring_alone_where_it_is():
    x = np.arange(N) * ours.PIXEL
    fringe = np.where(disc(), np.sqrt(2) * np.sin(2 * np.pi * 0.375 * x), 0.0)
    power = ours.ring_power(fringe)
    ring = int(np.searchsorted(ours.EDGES, 0.375)) - 1
    inside = power[:, disc(20.0)].mean(1)
    assert inside.argmax() == ring and inside[ring] > 30 * np.delete(inside, [ring - 1, ring, ring + 1]).max()
    assert power[ring, ~disc(50.0)].mean() < 0.01 * inside[ring]


def test_contrast_deviation_rim_and_skewness_of_a_disc():
    mask, x = disc(), noise(1)
    image = np.where(mask, 0.5 * x - 2.0, x)
    image[disc(34.0) & ~disc(32.0)] += 1.5
    found = ours.statistics(image, mask)
    assert found["contrast"] == pytest.approx(-2.0, abs=0.1)
    assert found["deviation"] == pytest.approx(0.5, abs=0.05)
    assert found["rim"] == pytest.approx(1.5, abs=0.2)
    assert found["skewness_film"] == pytest.approx(0, abs=0.15)
    assert ours.statistics(np.exp(0.2 * noise(2)), mask)["skewness_film"] == pytest.approx(0.61, abs=0.15)
    assert "contrast" not in ours.statistics(noise(), np.zeros((N, N), dtype=bool))


def test_a_slow_background_is_told_from_noise():
    slow = np.sin(2 * np.pi * np.arange(N) / N)
    flat, uneven = (ours.statistics(noise() + s * slow, np.zeros((N, N), dtype=bool))["slow"] for s in (0.0, 1.0))
    assert flat < 0.06 and uneven == pytest.approx(np.sqrt(0.5 / 1.5), abs=0.08)


def test_share_inside_of_made_up_values():
    rng = np.random.default_rng(0)
    simulated, same, other = ([rng.normal(m, 1, 20) for _ in range(30)] for m in (0.0, 0.0, 9.0))
    share, low, high = ours.share_inside(same, simulated)
    assert share == pytest.approx(0.9, abs=0.04) and low < share < high and high - low < 0.15
    assert ours.share_inside(other, simulated) == (0.0, 0.0, 0.0)
