"""Many networks of one kind as one module, which a GPU runs in few operations: three arrangements, and which is the fastest."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from passband.learning.networks import NetworkConfig, UNet, build, fast_convolutions, join_states, predict, split_state

#: Side by side in the channels of grouped convolutions; weights stacked along a dimension of their own; or one network after another.
Arrangement = Literal["grouped", "stacked", "separate"]
State = Mapping[str, Tensor]
# Images times networks in work at once.
_AT_ONCE = 128
ARRANGEMENTS: tuple[Arrangement, ...] = get_args(Arrangement)


class Fleet(nn.Module):
    """Networks that see images of their own: maps [B, M, n, n] to logits [B, M K, n, n] for M networks of K outputs, the first network's first."""

    def states(self) -> list[dict[str, Tensor]]:
        """Return the state of each network."""
        raise NotImplementedError


def fleet(config: NetworkConfig, states: Sequence[State], arrangement: Arrangement = "grouped") -> Fleet:
    """Return networks of one kind in these states as one module, on the CPU; families that do not train in groups stay separate."""
    if arrangement == "separate" or not config.trains_in_groups:
        return _Separate(config, states)
    return _Grouped(config, states) if arrangement == "grouped" else _Stacked(config, states)


class _Grouped(Fleet):
    def __init__(self, config: NetworkConfig, states: Sequence[State]):
        super().__init__()
        self._count, self._network = len(states), build(config, len(states))
        self._network.load_state_dict(join_states(states))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(images)
        return logits

    def states(self) -> list[dict[str, Tensor]]:
        return split_state(self._network.state_dict(), self._count)


class _Separate(Fleet):
    def __init__(self, config: NetworkConfig, states: Sequence[State]):
        super().__init__()
        self._networks = nn.ModuleList(build(config) for _ in states)
        for network, state in zip(self._networks, states, strict=True):
            network.load_state_dict(state)

    def forward(self, images: Tensor) -> Tensor:
        parts = zip(self._networks, images.split(1, 1), strict=True)
        return torch.cat([network(own) for network, own in parts], 1)

    def states(self) -> list[dict[str, Tensor]]:
        return [network.state_dict() for network in self._networks]


class _Stacked(Fleet):
    """PyTorch's `vmap` over networks: it makes grouped convolutions, too, but of other memory formats, in float32."""

    def __init__(self, config: NetworkConfig, states: Sequence[State]):
        super().__init__()
        network = build(config)
        assert isinstance(network, UNet)
        network.channels_last = False
        # It lends its code, not its weights; in a list, so that these are none of the fleet's.
        self._network = [network]
        stacked = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        self._trained = [name for name, _ in network.named_parameters()]
        self._weights = nn.ParameterList(nn.Parameter(stacked[name].contiguous()) for name in self._trained)
        self._others = [name for name, _ in network.named_buffers()]
        for i, name in enumerate(self._others):
            self.register_buffer(f"_buffer{i}", stacked[name])

    def _state(self) -> dict[str, Tensor]:
        buffers = {name: getattr(self, f"_buffer{i}") for i, name in enumerate(self._others)}
        return dict(zip(self._trained, self._weights, strict=True)) | buffers

    def forward(self, images: Tensor) -> Tensor:
        network = self._network[0].train(self.training)

        def one(state: dict[str, Tensor], own: Tensor) -> Tensor:
            logits: Tensor = torch.func.functional_call(network, state, own[:, None])
            return logits

        # Batch normalisation under `vmap` does not mix precisions, so autocast, which would halve only the convolutions', is off.
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = torch.vmap(one, in_dims=(0, 1), out_dims=1)(self._state(), images)
        return logits.flatten(1, 2)

    def states(self) -> list[dict[str, Tensor]]:
        state = self._state()
        return [{name: values.detach()[i] for name, values in state.items()} for i in range(len(self._weights[0]))]


class Predictors:
    """Trained networks of one kind that see the same images, one by one or in an arrangement."""

    def __init__(
        self,
        config: NetworkConfig,
        models: Sequence[nn.Module],
        device: torch.device,
        arrangement: Arrangement | None = None,
    ):
        """Move networks to a device; None runs one by one what others would run together."""
        self._count, self._fleet = len(models), None
        self._models = [model.eval().to(device) for model in models]
        if arrangement is not None and len(models) > 1:
            self._fleet = fleet(config, [model.state_dict() for model in models], arrangement).eval().to(device)
            self._models = []

    def logits(self, images: Tensor) -> Iterable[Tensor]:
        """Return the logits of normalised images [B, 1, n, n] in parts, [B, m K, n, n] for the next m networks of K outputs: one, or all of a fleet."""
        if self._fleet is None:
            return (predict(model, images) for model in self._models)
        with fast_convolutions(images.device):
            seen = images.expand(-1, self._count, -1, -1)
            return [predict(self._fleet, seen, max(_AT_ONCE // self._count, 1))]
