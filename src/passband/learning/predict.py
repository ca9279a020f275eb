"""Predictions of trained networks."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from passband.learning.families import build
from passband.learning.network_config import NetworkConfig
from passband.learning.unet import fast_convolutions, join_states


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int = 16) -> Tensor:
    """Return logits [B, 1, n, n] of normalised images [B, 1, n, n].

    Args:
        model: network in evaluation mode.
        images: zero mean and unit variance each.
        batch_size: images at a time.
    """
    return torch.cat([model(chunk) for chunk in images.split(batch_size)])


class Predictors:
    """Trained networks of one kind that see the same images; a GPU runs them as one grouped network."""

    def __init__(
        self, config: NetworkConfig, models: Sequence[nn.Module], device: torch.device, *, joint: bool | None = None
    ):
        """Move networks to a device; `joint` says whether they run as one, None only on a GPU."""
        self._models, self._group = [model.eval().to(device) for model in models], None
        joint = device.type == "cuda" if joint is None else joint
        if joint and config.trains_in_groups and len(models) > 1:
            self._group = build(config, len(models))
            self._group.load_state_dict(join_states([model.state_dict() for model in models]))
            self._group.eval().to(device)

    def logits(self, images: Tensor) -> Iterable[Tensor]:
        """Return the logits of normalised images [B, 1, n, n] in parts, [B, m, n, n] for the next m networks: one, or all on a GPU."""
        if self._group is None:
            return (predict(model, images) for model in self._models)
        with fast_convolutions(images.device):
            return [predict(self._group, images.expand(-1, len(self._models), -1, -1))]
