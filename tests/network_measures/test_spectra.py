"""Measures of spectra against dense matrices of the images that they are computed from."""

import numpy as np
import pytest
import torch

from passband.network_measures import spectra
from support.measured_networks import flat_loss, flat_weights, pair


def test_measures_of_the_whole_network():
    _, state = pair(spectrum_images=2)
    few, weights = state.few, flat_weights(state.model)
    assert len(few.images) == 2
    values = np.linalg.eigvalsh(torch.func.hessian(flat_loss(few))(weights).numpy())
    assert spectra.hessian_top(state) == pytest.approx(values[-1], rel=1e-3)
    assert spectra.hessian_trace(state) == pytest.approx(values.sum(), rel=0.3)
    assert spectra.hessian_soft_rank(state) == spectra.hessian_trace(state) / spectra.hessian_top(state)
    # Along the gradient the GGN is that of a quadratic whose lowest point is found in one step.
    product = few.operator("ggn") @ few.gradient
    steps = torch.linspace(0, 2, 2001, dtype=torch.float64) * float(few.gradient.norm() ** 2 / (few.gradient @ product))
    fall = steps * few.gradient.norm() ** 2 - steps**2 / 2 * (few.gradient @ product)
    assert spectra.step_gain(state) == pytest.approx(float(fall.max()), rel=1e-5)


def test_measures_of_the_head():
    _, state = pair()
    values, fisher = (np.linalg.eigvalsh(m) for m in (state.head_hessian, state.head_fisher))
    assert spectra.head_top(state) == pytest.approx(values.max())
    assert spectra.head_trace(state) == pytest.approx(values.sum())
    assert spectra.head_fisher_trace(state) == pytest.approx(fisher.sum())
    assert spectra.head_soft_rank(state) == pytest.approx(fisher.sum() / fisher.max())
    assert 1 <= spectra.head_soft_rank(state) <= len(fisher)
