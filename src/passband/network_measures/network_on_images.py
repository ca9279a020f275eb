"""A trained network on labelled images of one condition, and what several measures need of it, computed once."""

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from passband.base.errors import BadInputError
from passband.learning import predict, segmentation_loss
from passband.network_measures import head
from passband.network_measures.curvature import Eigenpairs, Loss, Matrix, eigenpairs, operator, trace
from passband.network_measures.deepest_features import deepest_features
from passband.network_measures.orientation_agreement import oriented_logits
from passband.network_measures.temperature import temperature

#: Eigenpairs of a dominant subspace, and images that they are computed from.
TOP, SPECTRUM_IMAGES = 5, 4
# Images of a gradient at a time: activations of more of them do not fit the cache.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class NetworkOnImages:
    """A segmentation network on images of one condition.

    Two of the same network, at home and under another condition, make a pair. What is expensive is computed at most once.

    Attributes:
        model: in evaluation mode; it maps images to logits.
        images: zero mean and unit variance each, shape [N, 1, n, n].
        masks: 0 or 1, floating, shape [N, 1, n, n].
        pixel_size_angstrom: of the images [Å].
        loss: of logits and masks, one value an image, shape [B].
        top: eigenpairs that make a dominant subspace.
        spectrum_images: images of the eigenpairs of all weights and of the trace, the first ones.
        siblings: networks of the same training that differ in their seed, in evaluation mode.
        local: the network of the same seed that was trained under this condition, in evaluation mode.

    Raises:
        BadInputError: if the network is in training mode, where batch normalisation would depend on the batch, or its weights are
            not finite.
    """

    model: nn.Module
    images: Tensor
    masks: Tensor
    pixel_size_angstrom: float
    loss: Loss = segmentation_loss
    top: int = TOP
    spectrum_images: int = SPECTRUM_IMAGES
    siblings: tuple[nn.Module, ...] = ()
    local: nn.Module | None = None

    def __post_init__(self) -> None:
        """Refuse a network whose measures would mean nothing."""
        if any(module.training for module in self.model.modules()):
            what = "the network is in training mode, in which batch normalisation depends on the batch"
            raise BadInputError(what, remedy="call model.eval() first")
        for name, value in self.model.state_dict().items():
            if not torch.isfinite(value).all():
                raise BadInputError(f"weights {name} are not all finite", remedy="train the network again")

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The weights that the loss is differentiated by, in the order of flat vectors."""
        return list(self.model.parameters())

    @cached_property
    def logits(self) -> Tensor:
        """Shape [N, 1, n, n]."""
        return predict(self.model, self.images)

    @cached_property
    def mean_loss(self) -> float:
        """Mean over images."""
        return float(self.loss(self.logits, self.masks).mean())

    @cached_property
    def layer_gradients(self) -> dict[str, Tensor]:
        """Gradient of the mean loss by the name of each weight tensor."""
        total = [torch.zeros_like(p) for p in self.parameters]
        for images, masks in zip(self.images.split(_BATCH), self.masks.split(_BATCH), strict=True):
            loss = self.loss(self.model(images), masks).sum() / len(self.images)
            for sum_, part in zip(total, torch.autograd.grad(loss, self.parameters), strict=True):
                sum_ += part
        return dict(zip((name for name, _ in self.model.named_parameters()), total, strict=True))

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the mean loss, flat, shape [P]."""
        return torch.cat([g.reshape(-1) for g in self.layer_gradients.values()])

    @cached_property
    def temperature(self) -> float:
        """Of the logits, by these labels; see `temperature.temperature`."""
        return temperature(self.logits, self.masks)

    @cached_property
    def oriented_logits(self) -> Tensor:
        """In each orientation of the images, shape [8, N, 1, n, n]."""
        return oriented_logits(self.model, self.images)

    @cached_property
    def sibling_logits(self) -> Tensor:
        """Of M ≥ 1 siblings, shape [M, N, 1, n, n]."""
        return torch.stack([predict(model, self.images) for model in self.siblings])

    @cached_property
    def deepest_features(self) -> Tensor:
        """Shape [N, C, m, m]."""
        return deepest_features(self.model, self.images)

    @cached_property
    def few(self) -> "NetworkOnImages":
        """The network on the images of spectra alone."""
        some = slice(self.spectrum_images)
        return replace(self, images=self.images[some], masks=self.masks[some])

    def operator(self, matrix: Matrix) -> Any:
        """Return a curvature matrix of the mean loss, see `curvature.operator`."""
        return operator(matrix, self.model, self.images, self.masks, self.loss)

    @cached_property
    def hessian(self) -> Eigenpairs:
        """Dominant eigenpairs of the Hessian of all weights."""
        return eigenpairs(self.few.operator("hessian"), self.top)

    @cached_property
    def fisher(self) -> Eigenpairs:
        """Dominant eigenpairs of the Fisher information of all weights."""
        return eigenpairs(self.few.operator("fisher"), self.top)

    @cached_property
    def hessian_trace(self) -> float:
        """Trace of the Hessian of all weights."""
        return trace(self.few.operator("hessian"))

    @cached_property
    def head_hessian(self) -> np.ndarray:
        """See `head.head_hessian`."""
        return head.head_hessian(self.head_inputs, self.logits, self.masks, self.loss)

    @cached_property
    def head_fisher(self) -> np.ndarray:
        """See `head.head_fisher`."""
        return head.head_fisher(self.head_inputs, self.logits)

    @cached_property
    def head_inputs(self) -> Tensor:
        """See `head.head_inputs`."""
        return head.head_inputs(self.model, self.images)

    def moved(self, step: Tensor) -> nn.Module:
        """Return a copy of the network whose weights are moved by a flat step, shape [P]."""
        model, start = copy.deepcopy(self.model), 0
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(step[start : start + weight.numel()].view(weight.shape))
                start += weight.numel()
        return model
