"""Curvature of the loss: Hessian, generalised Gauss–Newton matrix (GGN) and Fisher information of a network on images.

With one logit z a pixel and p = sigmoid(z), the Fisher information of the predicted masks is the GGN of the cross-entropy, which needs
no labels (Martens, JMLR 21, 2020). Matrices are curvlinops operators (Dangel et al., arXiv:2501.19183), which multiply vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn
from torch.autograd import grad

from passband.base.errors import BadInputError, parameter, require
from passband.base.identity import seed_from
from passband.learning.segmentation import cross_entropy

Loss = Callable[[Tensor, Tensor], Tensor]
Matrix = Literal["hessian", "ggn", "fisher"]
# Eigenvalues below this share of the largest are rounding.
_RANK = {torch.float32: 1e-6, torch.float64: 1e-12}
#: Products of a trace by Hutch++, and random vectors of the traces of layers.
TRACE_PRODUCTS = 30


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues of largest magnitude, descending by magnitude, shape [k], and their eigenvectors, shape [P, k]."""

    values: np.ndarray
    vectors: np.ndarray


class _MeanLoss(nn.Module):
    """A loss as curvlinops takes it."""

    reduction = "mean"

    def __init__(self, loss: Loss):
        super().__init__()
        self._loss = loss

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        return self._loss(logits, masks).mean()


def operator(matrix: Matrix, model: nn.Module, images: Tensor, masks: Tensor, loss: Loss) -> Any:
    """Return a curvature matrix of the mean loss by all weights: a curvlinops operator of shape [P, P].

    The Fisher information takes neither masks nor loss into account. A BadInputError if curvlinops is not installed.

    Args:
        matrix: which one.
        model: in evaluation mode.
        images: shape [N, 1, n, n].
        masks: shape [N, 1, n, n].
        loss: of logits and masks, shape [B].
    """
    curvlinops = require("curvature", "the curvature of a loss", "curvlinops")
    if matrix == "fisher":
        loss, masks = cross_entropy, torch.zeros_like(images)
    kind, product_of = curvlinops.GGNLinearOperator, _ggn_product
    if matrix == "hessian":
        kind, product_of = curvlinops.HessianLinearOperator, _hessian_product

    class KeptGraph(kind):  # type: ignore[misc, valid-type]
        """Its own product computes the gradient anew for every vector: 2.5 times as slow."""

        def _matmat(self, columns: list[Tensor]) -> list[Tensor]:
            if not hasattr(self, "_product"):
                self._product = product_of(model, images, masks, self._loss_func, self._params)
            vectors = zip(*(block.unbind(-1) for block in columns), strict=True)
            return [torch.stack(blocks, -1) for blocks in zip(*map(self._product, vectors), strict=True)]

    weights, data = list(model.parameters()), [(images, masks)]
    return KeptGraph(model, _MeanLoss(loss), weights, data, check_deterministic=False, num_data=len(images))


_Product = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def _hessian_product(
    model: nn.Module, images: Tensor, masks: Tensor, loss: Loss, weights: list[nn.Parameter]
) -> _Product:
    gradient = grad(loss(model(images), masks), weights, create_graph=True)
    return lambda vector: grad(gradient, weights, vector, retain_graph=True)


def _ggn_product(model: nn.Module, images: Tensor, masks: Tensor, loss: Loss, weights: list[nn.Parameter]) -> _Product:
    logits = model(images)
    # Jᵀu is linear in u, and so its derivative along v is Jv.
    u = torch.zeros_like(logits, requires_grad=True)
    pulled = grad(logits, weights, u, create_graph=True)
    z = logits.detach().requires_grad_()
    [slope] = grad(loss(z, masks), z, create_graph=True)

    def product(vector: Sequence[Tensor]) -> tuple[Tensor, ...]:
        pushed = grad(pulled, u, vector, retain_graph=True)
        curved = grad(slope, z, pushed, retain_graph=True)
        return grad(logits, weights, curved, retain_graph=True)

    return product


def eigenpairs(matrix: Any, count: int, tolerance: float = 1e-2) -> Eigenpairs:
    """Return the eigenpairs of largest magnitude of a symmetric curvlinops operator, by Lanczos iteration (ARPACK).

    Args:
        matrix: of shape [P, P].
        count: how many, at most the rank of the matrix.
        tolerance: of the residuals, relative to the eigenvalues.

    Raises:
        BadInputError: if `count` is larger than the rank.
    """
    size = rank = matrix.shape[0]
    if count < size:
        start = np.random.default_rng(seed_from("lanczos")).standard_normal(size)
        # Spectra decay fast: few Lanczos vectors are enough.
        basis = min(2 * count + 2, size)
        values, vectors = eigsh(matrix.to_scipy(), count, which="LM", v0=start, tol=tolerance, ncv=basis)
        order = np.argsort(-np.abs(values))
        values, vectors = values[order], vectors[:, order]
        rank = int((np.abs(values) > _RANK[matrix.dtype] * np.abs(values[0])).sum())
        if rank == count:
            return Eigenpairs(values, vectors)
    what = f"{parameter('top')} {count}: more eigenpairs than the matrix has, {rank}"
    raise BadInputError(what, value=count, limit=rank, remedy=f"choose at most {rank}")


def trace(matrix: Any, products: int = TRACE_PRODUCTS) -> float:
    """Return the trace of a curvlinops operator by Hutch++ (Meyer et al., SOSA 2021), from so many products, a multiple of three."""
    hutchpp = require("curvature", "the trace of a curvature", "curvlinops").hutchpp_trace
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed_from("hutch++"))
        return float(hutchpp(matrix, products))


def layer_traces(matrix: Any, vectors: int = TRACE_PRODUCTS) -> np.ndarray:
    """Return the trace of the block of each weight tensor of a curvlinops operator, by Hutchinson's estimator, and its standard error.

    Shape [tensors, 2], in the order of the network's parameters.
    """
    generator = torch.Generator().manual_seed(seed_from("layers"))
    estimates = []
    for _ in range(vectors):
        signs = [
            (2 * torch.randint(2, shape, generator=generator) - 1).to(matrix.device, matrix.dtype)
            for shape in matrix._in_shape
        ]
        estimates.append([float((s * product).sum()) for s, product in zip(signs, matrix @ signs, strict=True)])
    values = np.array(estimates)
    return np.stack([values.mean(0), values.std(0, ddof=1) / np.sqrt(vectors)], -1)
