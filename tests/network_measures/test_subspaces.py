"""Distances of subspaces turned by known angles, alignments against dense matrices."""

import numpy as np
import pytest

from passband.network_measures.curvature import Eigenpairs
from passband.network_measures.subspaces import alignment, grassmann, head_alignment, head_grassmann
from support.measured_networks import pair


def basis(size, count, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, count)))[0]


@pytest.mark.parametrize("angles", [(0.0, 0.0), (0.3, 0.0), (0.3, 1.2), (np.pi / 2, np.pi / 2)])
def test_a_subspace_turned_by_known_angles(angles):
    q = basis(9, 4)
    turned = q[:, :2] * np.cos(angles) + q[:, 2:] * np.sin(angles)
    assert grassmann(q[:, :2], turned) == pytest.approx(np.hypot(*angles), abs=1e-7)
    # A distance of subspaces, whatever their bases.
    assert grassmann(q[:, :2] @ basis(2, 2, 1), turned @ basis(2, 2, 2)) == pytest.approx(np.hypot(*angles), abs=1e-7)


def test_the_alignment_of_eigenpairs_is_that_of_the_matrices():
    pairs = [Eigenpairs(np.array(v), basis(7, 3, i)) for i, v in enumerate(([3.0, -2.0, 1.0], [5.0, 1.0, 0.5]))]
    a, b = ((p.vectors * p.values) @ p.vectors.T for p in pairs)
    assert alignment(*pairs) == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    assert alignment(pairs[0], pairs[0]) == pytest.approx(1)


def test_heads_at_home_and_away():
    home, away = pair()
    assert head_alignment(home, home) == pytest.approx(1)
    assert head_grassmann(home, home) == pytest.approx(0, abs=1e-6)
    assert head_alignment(home, away) < 0.9999
    values, vectors = np.linalg.eigh(home.head_hessian), np.linalg.eigh(away.head_hessian)
    slow = [v[1][:, np.argsort(-np.abs(v[0]))[: home.top]] for v in (values, vectors)]
    cosines = np.linalg.svd(slow[0].T @ slow[1])[1].clip(-1, 1)
    assert head_grassmann(home, away) == pytest.approx(np.linalg.norm(np.arccos(cosines)), rel=1e-5)
