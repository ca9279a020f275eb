"""Run a model's network, whatever it is made of."""

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from passband.base.errors import BadInputError
from passband.learning import build
from passband.models.store import Model


class Network(nn.Module):
    """A model's network as a function of normalised images [B, 1, n, n] to logits of the same shape, on the CPU."""

    def __init__(self, model: Model):
        """Load the network.

        Raises:
            BadInputError: if its weights do not fit its card, or what runs a foreign one is not installed.
        """
        super().__init__()
        self._session = None
        if model.card.runs == "onnx":
            from passband.models.external import open_session

            self._session = open_session(model.weights)
            return
        assert model.card.network is not None
        try:
            network = build(model.card.network)
            network.load_state_dict(load_file(model.weights))
        except (RuntimeError, SafetensorError, OSError) as error:
            raise BadInputError(
                f"{model.weights}: does not hold the weights that its card describes: {str(error).splitlines()[0]}; get the model again"
            ) from None
        self._module = network
        self.eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images, both [B, 1, n, n]."""
        if self._session is not None:
            return torch.from_numpy(self._session(images.numpy()))
        return self._module(images)
