"""Agreement of masks against discs, whose areas and distances are known."""

import math

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.micrographs.agreement import agreement, calibrate_edge, moved

Y, X = np.mgrid[:240, :240]
EMPTY = np.zeros((240, 240), dtype=bool)
P = 0.5


def disc(radius, x=120, y=120):
    """A disc; all lengths in pixels."""
    return (X - x) ** 2 + (Y - y) ** 2 <= radius**2


def test_discs_of_one_centre():
    ours, theirs = disc(60), disc(50)
    result = agreement(ours, theirs, P)
    assert result.dice == pytest.approx(2 * 50**2 / (50**2 + 60**2), abs=2e-3)
    assert result.distance_angstrom == result.absolute_distance_angstrom == pytest.approx(10 * P, abs=0.05)
    assert result.diameter_bias_angstrom == pytest.approx(20 * P, abs=0.05)
    assert (result.surface_dice, result.found, result.instance_f1) == (0, 1, 1)
    assert agreement(ours, theirs, P, tolerance_angstrom=6).surface_dice == 1
    assert agreement(theirs, ours, P).distance_angstrom == pytest.approx(-10 * P, abs=0.05)


def test_a_shifted_disc_has_no_signed_distance():
    shift = 4
    result = agreement(disc(60, 120 + shift), disc(60), P)
    # The distance along the outline is shift × cos φ.
    assert result.distance_angstrom == pytest.approx(0, abs=0.03)
    assert result.absolute_distance_angstrom == pytest.approx(2 / math.pi * shift * P, rel=0.03)
    within = agreement(disc(60, 120 + shift), disc(60), P, tolerance_angstrom=shift * P / 2)
    assert within.surface_dice == pytest.approx(1 - 2 / math.pi * math.acos(0.5), abs=0.02)


def test_edges_are_moved_by_an_offset_that_can_be_calibrated():
    assert moved(disc(60), -5 * P, P).sum() == pytest.approx(math.pi * 55**2, rel=0.01)
    assert moved(EMPTY, -3, P).sum() == 0 and moved(~EMPTY, -3, P).all()
    pairs = [(disc(60), disc(54.6), P), (disc(40, 100), disc(34.6, 100), P)]
    offset = calibrate_edge([*pairs, (EMPTY, disc(10), P)])
    assert offset == pytest.approx(-5.4 * P, abs=0.1)
    result = agreement(disc(70), disc(64.6), P, edge_offset_angstrom=offset)
    assert result.dice > 0.995 and abs(result.distance_angstrom) < 0.1 and result.edge_offset_angstrom == offset
    with pytest.raises(BadInputError, match="no labelled particle of these images is found"):
        calibrate_edge([(EMPTY, disc(10), P)])
    with pytest.raises(BadInputError, match="edge_offset_angstrom 11: outside"):
        agreement(disc(60), disc(60), P, edge_offset_angstrom=11)


def test_empty_masks():
    for other, value in ((EMPTY, 1.0), (disc(30), 0.0)):
        for result in (agreement(EMPTY, other, P), agreement(other, EMPTY, P)):
            assert result.dice == result.surface_dice == result.instance_f1 == value
            assert result.distance_angstrom is result.diameter_bias_angstrom is None
    assert agreement(EMPTY, disc(30), P).missed == agreement(disc(30), EMPTY, P).invented == 1
    assert agreement(~EMPTY, ~EMPTY, P).surface_dice == 1 and agreement(~EMPTY, disc(30), P).surface_dice == 0
    assert agreement(~EMPTY, disc(30), P).distance_angstrom is None


def test_particles_are_found_missed_invented_and_split():
    truth = disc(20, 50, 50) | disc(20, 190, 50) | disc(20, 50, 190)
    half = disc(20, 50, 50) & (X != 50)
    result = agreement(half | disc(20, 190, 53) | disc(15, 190, 190), truth, P)
    # A particle cut in two equal halves has no match; one that is not found is not in the distances.
    assert (result.particles, result.found, result.missed, result.invented) == (3, 1, 2, 3)
    assert result.instance_f1 == pytest.approx(2 / (2 + 2 + 3)) and abs(result.distance_angstrom) < 0.7
    uneven = disc(20, 50, 50) & (X != 60)
    result = agreement(uneven, disc(20, 50, 50), P)
    assert (result.found, result.missed, result.invented) == (1, 0, 1)
    # Numbered labels tell touching particles apart.
    numbered = np.where(X < 120, 1, 2) * disc(60)
    assert agreement(disc(60), numbered, P).particles == 2 and agreement(disc(60), numbered > 0, P).particles == 1


def test_it_shows_itself():
    result = agreement(disc(60), disc(50), P)
    assert "1 of 1 found" in str(result) and "+4.9" in result._repr_html_()
    assert result.to_dict()["missed"] == 0
    with pytest.raises(BadInputError, match=r"masks of shape \[2, 2\] do not fit"):
        agreement(disc(60), np.ones((2, 2)), P)
