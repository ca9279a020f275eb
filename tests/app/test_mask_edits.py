"""Strokes on numbered particles, compared with what they have to leave."""

import numpy as np
import pytest
from scipy import ndimage

from passband.app.mask_edits import MaskEdits
from passband.base.errors import BadInputError

PIXEL = 0.5
Y, X = np.mgrid[:160, :200] + 0.5


def disc(x, y, radius):
    return np.hypot(X - x, Y - y) <= radius


@pytest.fixture
def edits():
    """Two discs apart, 1 and 2, and two that touch, 3 and 4."""
    numbers = np.zeros(X.shape, np.int32)
    for number, (x, y) in enumerate(((40, 40), (120, 40), (60, 110), (100, 110)), 1):
        numbers[disc(x, y, 20)] = number
    return MaskEdits(numbers, PIXEL)


def test_a_brush_that_begins_on_a_particle_enlarges_it_also_into_others(edits):
    before = edits.numbers.copy()
    window = edits.stroke("brush", [[60, 110], [95, 110]], 6)
    swept = (np.abs(Y - 110) <= 5) & (X > 60) & (X < 95)
    assert (edits.numbers[swept] == 3).all() and (edits.numbers[disc(101, 110, 0.6)] == 3).all()
    changed = np.argwhere(edits.numbers != before)
    assert [(s.start, s.stop - 1) for s in window] == [(int(c.min()), int(c.max())) for c in changed.T]
    # What the stroke leaves of the other is in one piece.
    assert ndimage.label(edits.numbers == 4)[1] == 1


def test_a_brush_on_the_background_draws_a_particle_beside_others(edits):
    before = edits.numbers.copy()
    edits.stroke("brush", [[80, 10], [80, 70]], 5)
    new = edits.numbers == 5
    assert new.sum() == pytest.approx(10 * 60 + np.pi * 25, rel=0.1)
    edits.stroke("brush", [[40, 76], [40, 40]], 6)
    assert (edits.numbers[before > 0] == before[before > 0]).all()


def test_what_an_eraser_cuts_off_is_a_particle_of_its_own_and_crumbs_go(edits):
    edits.stroke("erase", [[40, 10], [40, 70]], 3)
    halves = set(np.unique(edits.numbers[20:60, 20:60])) - {0}
    assert len(halves) == 2 and 1 in halves
    edits.stroke("erase", [[110, 110], [128, 110]], 18)
    left = np.bincount(edits.numbers.ravel())[1:]
    assert all(area == 0 or area * PIXEL**2 >= 28 for area in left)


def test_a_line_splits_a_particle_and_loses_no_pixel(edits):
    before = edits.numbers > 0
    edits.stroke("split", [[15, 36], [65, 44]], 9)
    assert np.array_equal(edits.numbers > 0, before)
    assert edits.numbers[30, 40] != edits.numbers[50, 40] and {edits.numbers[30, 40], edits.numbers[50, 40]} == {1, 5}
    assert (edits.numbers[disc(120, 40, 20)] == 2).all()


def test_merged_particles_are_connected(edits):
    edits.stroke("merge", [[40, 40], [120, 40]], 4)
    assert ndimage.label(edits.numbers == 1)[1] == 1 and not (edits.numbers == 2).any()
    assert (edits.numbers[disc(80, 40, 3)] == 1).all()
    area = int((edits.numbers == 3).sum() + (edits.numbers == 4).sum())
    edits.stroke("merge", [[60, 110], [100, 110]], 4)
    # Those that touch need no bridge.
    assert (edits.numbers == 3).sum() == area


def test_removed_particles_are_gone(edits):
    edits.stroke("remove", [[40, 40], [120, 40]], 4)
    assert set(np.unique(edits.numbers)) == {0, 3, 4}


def test_every_stroke_is_undone_and_done_again(edits):
    states = [edits.numbers.copy()]
    for tool, path in (
        ("brush", [[40, 40], [80, 60]]),
        ("split", [[100, 85], [100, 135]]),
        ("erase", [[0, 0], [200, 160]]),
        ("merge", [[40, 40], [120, 40]]),
        ("remove", [[60, 110]]),
    ):
        edits.stroke(tool, path, 5)
        states.append(edits.numbers.copy())
    for state in states[-2::-1]:
        assert edits.undo() is not None and np.array_equal(edits.numbers, state)
    assert edits.undo() is None and edits.count == 0
    for state in states[1:]:
        assert edits.redo() is not None and np.array_equal(edits.numbers, state)
    assert edits.redo() is None
    edits.undo()
    edits.stroke("remove", [[120, 40]], 5)
    assert not edits.can_redo


@pytest.mark.parametrize(
    ("tool", "path", "said"),
    [
        ("erase", [[80, 75]], "no particle under this stroke"),
        ("split", [[40, 40], [42, 40]], "cuts no particle into two"),
        ("merge", [[40, 40]], "touches fewer than two"),
        ("brush", [[80, 75]], "smaller than 28 Å²"),
        ("brush", [[40, 40]], "changes nothing"),
        ("saw", [[40, 40]], "cannot be read"),
        ("brush", [[float("nan"), 40]], "cannot be read"),
        ("brush", [], "cannot be read"),
    ],
)
def test_a_stroke_without_effect_says_why_and_changes_nothing(edits, tool, path, said):
    before = edits.numbers.copy()
    with pytest.raises(BadInputError, match=said):
        edits.stroke(tool, path, 4)
    assert np.array_equal(edits.numbers, before) and not edits.can_undo


def test_strokes_may_leave_the_image(edits):
    edits.stroke("brush", [[40, 40], [-500, 40], [40, 5000]], 6)
    assert (edits.numbers[35:45, :20] == 1).all()
    with pytest.raises(BadInputError):
        edits.stroke("erase", [[-50, -50], [5000, -50]], 6)


def test_the_oldest_strokes_are_forgotten_when_they_take_too_much(edits, monkeypatch):
    monkeypatch.setattr("passband.app.mask_edits._HISTORY_BYTES", 6_000)
    for i in range(8):
        edits.stroke("erase", [[40 + 80 * (i % 2), 40]], 2 + i)
    undone = 0
    while edits.undo() is not None:
        undone += 1
    assert 1 <= undone < 8
