"""Many networks of one kind as one module, which a GPU runs in few operations: three arrangements, and which is the fastest."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from passband.learning.networks import NetworkConfig, UNet, build, join_states, split_state

#: Side by side in the channels of grouped convolutions; weights stacked along a dimension of their own; or one network after another.
Arrangement = Literal["grouped", "stacked", "separate"]
State = Mapping[str, Tensor]
ARRANGEMENTS: tuple[Arrangement, ...] = get_args(Arrangement)


class Fleet(nn.Module):
    """Networks that see images of their own: maps [B, M, n, n] to logits [B, M, n, n] for M networks."""

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
    """PyTorch's `vmap` over networks: it makes grouped convolutions, too, but of other memory formats."""

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
            return logits[:, 0]

        logits: Tensor = torch.vmap(one, in_dims=(0, 1), out_dims=1)(self._state(), images)
        return logits

    def states(self) -> list[dict[str, Tensor]]:
        state = self._state()
        return [{name: values.detach()[i] for name, values in state.items()} for i in range(len(self._weights[0]))]
