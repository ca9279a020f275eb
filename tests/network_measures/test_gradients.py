"""Measures of the gradient against torch.func on flat weights."""

import pytest
import torch

from passband.network_measures.gradients import SHARPNESS_RADIUS, gradient_alignment, gradient_norm, sharpness
from support.measured_networks import flat_loss, flat_weights, pair


def test_the_gradient_is_that_of_the_mean_loss():
    home, away = pair()
    weights = flat_weights(home.model)
    slow = [torch.func.grad(flat_loss(state))(weights) for state in (home, away)]
    assert torch.allclose(home.gradient, slow[0], rtol=1e-8, atol=1e-12)
    assert gradient_norm(away) == pytest.approx(float(slow[1].norm()), rel=1e-8)
    cosine = float(slow[0] @ slow[1] / slow[0].norm() / slow[1].norm())
    assert gradient_alignment(home, away) == pytest.approx(cosine, abs=1e-8)
    assert gradient_alignment(home, home) == pytest.approx(1)


def test_sharpness_is_the_loss_at_the_end_of_a_step():
    state, _ = pair()
    weights, loss = flat_weights(state.model), flat_loss(state)
    step = SHARPNESS_RADIUS * state.gradient / state.gradient.norm()
    assert sharpness(state) == pytest.approx(float(loss(weights + step) - loss(weights)), rel=1e-8)
    assert torch.equal(flat_weights(state.model), weights)
