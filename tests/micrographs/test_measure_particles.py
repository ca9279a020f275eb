"""Tables of particles against shapes of known size."""

import math

import numpy as np
import pytest

from passband.micrographs.measure_particles import particle_table

Y, X = np.mgrid[:200, :300]


def ellipse(x, y, a, b, angle):
    """Half axes a and b in pixels, the first at an angle from x towards y."""
    u, v = X - x, Y - y
    along, across = u * math.cos(angle) + v * math.sin(angle), -u * math.sin(angle) + v * math.cos(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def test_an_ellipse_is_measured():
    mask = ellipse(120, 80, 40, 20, 0.6)
    probability = np.where(mask, 0.9, 0.2).astype(np.float32)
    instances, table = particle_table(mask, 0.5, probability)
    [row] = table.to_dicts()
    assert (row["x_angstrom"], row["y_angstrom"]) == (pytest.approx(60, abs=0.1), pytest.approx(40, abs=0.1))
    assert row["area_angstrom2"] == pytest.approx(math.pi * 20 * 10, rel=0.01)
    assert row["equivalent_diameter_angstrom"] == pytest.approx(2 * math.sqrt(200), rel=0.01)
    assert (row["major_axis_angstrom"], row["minor_axis_angstrom"]) == (
        pytest.approx(40, rel=0.02),
        pytest.approx(20, rel=0.02),
    )
    assert row["orientation_rad"] == pytest.approx(0.6, abs=0.02)
    # Ramanujan's perimeter of the ellipse.
    h = (20 - 10) ** 2 / 30**2
    perimeter = math.pi * 30 * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert row["circularity"] == pytest.approx(4 * math.pi * row["area_angstrom2"] / perimeter**2, rel=0.04)
    assert row["mean_probability"] == pytest.approx(0.9)
    assert not row["touches_edge"]
    assert (instances == mask).all()


def test_a_disc_is_round_and_the_edge_is_noticed():
    mask = ellipse(30, 100, 20, 20, 0) | ellipse(299, 100, 20, 20, 0)
    _, table = particle_table(mask, 1.0, mask.astype(np.float32))
    assert table["touches_edge"].to_list() == [False, True]
    assert table["circularity"][0] == pytest.approx(1, abs=0.04)


def test_specks_are_no_particles_and_nothing_is_an_empty_table():
    mask = ellipse(30, 100, 20, 20, 0)
    mask[0, 0] = True
    instances, table = particle_table(mask, 1.0, mask.astype(np.float32))
    assert len(table) == 1 and instances[0, 0] == 0
    instances, table = particle_table(np.zeros_like(mask), 1.0, mask.astype(np.float32))
    assert table.columns[0] == "particle" and len(table) == 0 and not instances.any()
