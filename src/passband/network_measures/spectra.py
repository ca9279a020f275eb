"""Measures of one network on images of one condition from its curvature: eigenvalues, traces, soft ranks, the gain of a step."""

import numpy as np

from passband.network_measures.network_on_images import NetworkOnImages


def hessian_top(network: NetworkOnImages) -> float:
    """Return the largest eigenvalue of the Hessian."""
    return float(network.hessian.values.max())


def hessian_trace(network: NetworkOnImages) -> float:
    """Return the trace of the Hessian."""
    return network.hessian_trace


def hessian_soft_rank(network: NetworkOnImages) -> float:
    """Return the trace of the Hessian over its largest eigenvalue."""
    return network.hessian_trace / hessian_top(network)


def fisher_top(network: NetworkOnImages) -> float:
    """Return the largest eigenvalue of the Fisher information."""
    return float(network.fisher.values.max())


def head_top(network: NetworkOnImages) -> float:
    """Return the largest eigenvalue of the head's Hessian."""
    return float(np.linalg.eigvalsh(network.head_hessian)[-1])


def head_trace(network: NetworkOnImages) -> float:
    """Return the trace of the head's Hessian."""
    return float(np.trace(network.head_hessian))


def head_fisher_trace(network: NetworkOnImages) -> float:
    """Return the trace of the head's Fisher information."""
    return float(np.trace(network.head_fisher))


def head_soft_rank(network: NetworkOnImages) -> float:
    """Return the trace of the head's Fisher information over its largest eigenvalue."""
    return head_fisher_trace(network) / float(np.linalg.eigvalsh(network.head_fisher)[-1])


def step_gain(network: NetworkOnImages) -> float:
    """Return how much the best step against the gradient lowers the mean loss, in a quadratic expansion with the GGN: (gᵀg)² / 2gᵀGg."""
    few = network.few
    product = few.operator("ggn") @ few.gradient
    return float((few.gradient @ few.gradient) ** 2 / (2 * few.gradient @ product))
