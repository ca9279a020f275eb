"""Particles of known identity, on paths that cross, grow, end and have gaps."""

import numpy as np
import polars as pl

from passband.micrographs.tracks import MOST_MISSING, follow


def tables(sightings, count):
    """One table an image from (image, x, y, diameter) of each particle, in random order, and the true numbers in the same order."""
    rng, result, truth = np.random.default_rng(0), [], []
    for image in range(count):
        rows = [(n, *s[1:]) for n, track in enumerate(sightings) for s in track if s[0] == image]
        rng.shuffle(rows)
        truth += [int(row[0]) for row in rows]
        columns = {"x_angstrom": 1, "y_angstrom": 2, "equivalent_diameter_angstrom": 3}
        result.append(
            pl.DataFrame(
                {n: [float(r[i]) for r in rows] for n, i in columns.items()},
                schema_overrides=dict.fromkeys(columns, pl.Float64),
            )
        )
    return result, truth


def same(found, truth):
    """Whether two numberings divide the sightings alike."""
    return len(set(zip(found, truth, strict=True))) == len(set(found)) == len(set(truth))


def test_particles_that_move_and_grow_keep_their_number():
    rng = np.random.default_rng(1)
    places, speeds = rng.uniform(0, 800, (12, 2)), rng.normal(0, 2, (12, 2))
    sightings = [
        [(i, *(place + speed * i + rng.normal(0, 0.5, 2)), 20 + 0.4 * i + rng.normal(0, 0.5)) for i in range(15)]
        for place, speed in zip(places, speeds, strict=True)
    ]
    found, truth = tables(sightings, 15)
    assert same(follow(found).to_list(), truth)


def test_a_fast_particle_is_expected_where_it_goes():
    # Each step is longer than the reach; only the first one, from rest, is short.
    fast = [(i, 2.5 * i * (i + 1) if i < 4 else 30 + 20 * (i - 3), 50.0, 20.0) for i in range(10)]
    found, truth = tables([fast, [(i, 400.0, 50.0, 20.0) for i in range(10)]], 10)
    assert same(follow(found).to_list(), truth)


def test_gaps_are_bridged_up_to_their_limit():
    short = [(i, 50.0, 50.0, 20.0) for i in (0, 1, 1 + MOST_MISSING + 1)]
    found, _ = tables([short], 2 + MOST_MISSING + 1)
    assert follow(found).to_list() == [1, 1, 1]
    long = [(i, 50.0, 50.0, 20.0) for i in (0, 1, 1 + MOST_MISSING + 2)]
    found, _ = tables([long], 2 + MOST_MISSING + 2)
    assert follow(found).to_list() == [1, 1, 2]


def test_another_particle_in_the_same_place_is_told_by_its_size():
    found, _ = tables([[(0, 50.0, 50.0, 20.0)], [(1, 50.0, 50.0, 40.0)]], 2)
    assert follow(found).to_list() == [1, 2]


def test_neighbours_are_assigned_together():
    # The nearest of each alone would be the same one.
    found, truth = tables([[(0, 0.0, 0.0, 20.0), (1, 7.0, 0.0, 20.0)], [(0, 10.0, 0.0, 20.0), (1, 17.0, 0.0, 20.0)]], 2)
    assert same(follow(found).to_list(), truth)


def test_no_particles_no_tracks():
    found, _ = tables([[]], 2)
    assert follow(found).to_list() == []
