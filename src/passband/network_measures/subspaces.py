"""How alike two curvature matrices of the same weights are: their dominant subspaces, and the matrices themselves."""

import numpy as np
from scipy.linalg import subspace_angles

from passband.network_measures.curvature import Eigenpairs
from passband.network_measures.network_on_images import NetworkOnImages


def grassmann(a: np.ndarray, b: np.ndarray) -> float:
    """Return the geodesic distance of two subspaces [rad], the norm of their principal angles; orthonormal columns, shape [P, k].

    Edelman, Arias and Smith, SIAM J. Matrix Anal. Appl. 20, 303 (1998).
    """
    return float(np.linalg.norm(subspace_angles(a, b)))


def alignment(a: Eigenpairs, b: Eigenpairs) -> float:
    """Return the cosine between two symmetric matrices in the Frobenius inner product, given their eigenpairs."""
    overlap = (a.vectors.T @ b.vectors) ** 2
    return float(a.values @ overlap @ b.values / np.linalg.norm(a.values) / np.linalg.norm(b.values))


def hessian_grassmann(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Grassmann distance [rad] of the Hessians' dominant subspaces."""
    return grassmann(home.hessian.vectors, away.hessian.vectors)


def hessian_alignment(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Frobenius cosine of the Hessians, from their dominant eigenpairs."""
    return alignment(home.hessian, away.hessian)


def fisher_grassmann(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Grassmann distance [rad] of the dominant subspaces of the Fisher information."""
    return grassmann(home.fisher.vectors, away.fisher.vectors)


def fisher_alignment(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Frobenius cosine of the Fisher information, from dominant eigenpairs."""
    return alignment(home.fisher, away.fisher)


def head_alignment(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Frobenius cosine of the head's Hessians."""
    return _cosine(home.head_hessian, away.head_hessian)


def head_fisher_alignment(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Frobenius cosine of the head's Fisher information."""
    return _cosine(home.head_fisher, away.head_fisher)


def head_grassmann(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Grassmann distance [rad] of the dominant subspaces of the head's Hessians."""
    return grassmann(*(_dominant(state.head_hessian, state.top) for state in (home, away)))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


def _dominant(matrix: np.ndarray, count: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors[:, np.argsort(-np.abs(values))[:count]]
