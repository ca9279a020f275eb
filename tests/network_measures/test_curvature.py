"""Curvature matrices against dense ones from torch.func, and eigenpairs and traces of known matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from torch import nn

from passband.base.errors import BadInputError
from passband.learning.segmentation import cross_entropy
from passband.network_measures.curvature import eigenpairs, layer_traces, operator, trace
from passband.network_measures.network_on_images import NetworkOnImages
from support.measured_networks import PIXEL, flat_loss, flat_weights, pair


class Quadratic(nn.Module):
    """Outputs Aw for any image: with the loss ½|z|², the Hessian by w is AᵀA."""

    def __init__(self, matrix):
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-1, 1, matrix.shape[1], dtype=matrix.dtype))
        self.register_buffer("matrix", matrix)

    def forward(self, images):
        return (self.matrix @ self.w).view(1, 1, -1, 1).expand(len(images), -1, -1, -1)


def half_square(outputs, targets):
    return 0.5 * outputs.square().sum((1, 2, 3))


@pytest.fixture(scope="module")
def quadratic():
    generator = torch.Generator().manual_seed(3)
    turn, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator, dtype=torch.float64))
    values = torch.tensor([9.0, 7.0, 5.0, *[0.01] * 9], dtype=torch.float64)
    matrix = values.sqrt().diag() @ turn.T
    images = torch.zeros(2, 1, 12, 1, dtype=torch.float64)
    return NetworkOnImages(Quadratic(matrix).eval(), images, images, PIXEL, half_square, top=3), values, turn


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_of_a_quadratic_loss_all_is_known(quadratic, matrix):
    state, values, turn = quadratic
    found = eigenpairs(state.operator(matrix), 3, 1e-8)
    assert found.values == pytest.approx(values[:3].numpy(), rel=1e-6)
    assert np.abs(turn[:, :3].T.numpy() @ found.vectors) == pytest.approx(np.eye(3), abs=1e-5)
    assert trace(state.operator(matrix), 9) == pytest.approx(float(values.sum()), rel=1e-2)


def slow(state, matrix):
    """The dense matrix, from torch.func."""
    if matrix == "hessian":
        return torch.func.hessian(flat_loss(state))(flat_weights(state.model))
    logits = {}

    def outputs(weights):
        flat_loss(state, lambda z, masks: logits.setdefault("z", z))(weights)
        return logits.pop("z")

    jacobian = torch.func.jacrev(outputs)(flat_weights(state.model)).flatten(0, 3)
    loss = state.loss if matrix == "ggn" else cross_entropy
    z = outputs(flat_weights(state.model)).detach()
    by_z = torch.func.hessian(lambda v: loss(v.view_as(z), state.masks).mean())(z.flatten())
    return jacobian.T @ by_z @ jacobian


@pytest.mark.parametrize("matrix", ["hessian", "ggn", "fisher"])
def test_products_and_eigenpairs_are_those_of_the_dense_matrix(matrix):
    state, _ = pair()
    dense = slow(state, matrix)
    fast = operator(matrix, state.model, state.images, state.masks, state.loss)
    vectors = torch.randn(len(dense), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(fast @ vectors, dense @ vectors, rtol=1e-5, atol=1e-9)
    found = eigenpairs(fast, 4, 1e-8)
    values, columns = np.linalg.eigh(dense.numpy())
    order = np.argsort(-np.abs(values))[:4]
    assert found.values == pytest.approx(values[order], rel=1e-4)
    assert np.abs((found.vectors * columns[:, order]).sum(0)) == pytest.approx(np.ones(4), abs=1e-4)


def test_the_fisher_information_is_the_covariance_of_gradients_of_drawn_masks():
    state, _ = pair()
    state = replace(state, images=state.images[:1], masks=state.masks[:1])
    dense, p = slow(state, "fisher"), torch.sigmoid(state.logits)
    drawn = torch.bernoulli(p.expand(500, -1, -1, -1), generator=torch.Generator().manual_seed(0))
    gradients = [replace(state, masks=masks[None], loss=cross_entropy).gradient for masks in drawn]
    # The cross-entropy is a mean over pixels: the gradient of their log-likelihood is larger by their number.
    covariance = p.numel() * torch.stack(gradients).T.cov(correction=0)
    assert float((covariance - dense).norm() / dense.norm()) < 0.2


@pytest.mark.parametrize(("matrix", "kind"), [("hessian", HessianLinearOperator), ("ggn", GGNLinearOperator)])
def test_the_kept_graph_gives_what_curvlinops_does(matrix, kind):
    state, _ = pair()
    model = state.model
    model.channels_last = False

    class Loss(nn.Module):
        reduction = "mean"

        def forward(self, logits, masks):
            return state.loss(logits, masks).mean()

    theirs = kind(model, Loss(), list(model.parameters()), [(state.images, state.masks)])
    vector = torch.randn(theirs.shape[0], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose(state.operator(matrix) @ vector, theirs @ vector, rtol=1e-5, atol=1e-10)


def test_traces_are_those_of_the_dense_matrix():
    state, _ = pair()
    dense, hessian = slow(state, "hessian"), state.operator("hessian")
    assert trace(hessian, 90) == pytest.approx(float(dense.trace()), rel=0.1)
    blocks = layer_traces(hessian, 200)
    sizes = [p.numel() for p in state.parameters]
    slow_traces = [float(part.sum()) for part in dense.diagonal().split(sizes)]
    assert np.all(np.abs(blocks[:, 0] - slow_traces) <= 4.5 * blocks[:, 1] + 1e-9)


def test_more_eigenpairs_than_the_rank_are_refused(quadratic):
    with pytest.raises(BadInputError, match="top 12: more eigenpairs than the matrix has, 12; choose at most 12"):
        eigenpairs(quadratic[0].operator("hessian"), 12)
    low = torch.diag(torch.tensor([2.0, 1.0, *[0.0] * 10], dtype=torch.float64))
    images = torch.zeros(2, 1, 12, 1, dtype=torch.float64)
    state = NetworkOnImages(Quadratic(low).eval(), images, images, PIXEL, half_square)
    with pytest.raises(BadInputError, match="choose at most 2"):
        eigenpairs(state.operator("hessian"), 4)
