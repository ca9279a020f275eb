"""Steps of a training: optimiser, schedule, and forward and backward pass, which a GPU replays as one graph."""

import functools
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from passband.base.gpu import aside
from passband.learning.classes import Classes
from passband.learning.fleets import ARRANGEMENTS, Arrangement, fleet
from passband.learning.networks import NetworkConfig, build, fast_convolutions
from passband.learning.segmentation import SEGMENTATION
from passband.learning.task import Task
from passband.learning.training_config import TrainingConfig

# Steps before a graph is captured, in which cuDNN chooses its algorithms and the optimiser makes its state.
_EAGER = 3
# Steps by which arrangements are compared, after as many and the capture.
_TIMED = 8


def reduced_precision(device: torch.device) -> bool:
    """Return whether networks are evaluated in bfloat16 while they train: losses stay the same, within the noise between seeds.

    Tensor cores and the tiles of AMX multiply it several times as fast as float32. Without these the gain is small and depends on the version
    of PyTorch: with AVX-512 a step took nine times as long with one, and five sixths of the time with another (`benchmarks/training.py`).
    """
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_amx_tile_supported())


def losses(model: nn.Module, images: Tensor, masks: Tensor, task: Task, bfloat16: bool | None = None) -> Tensor:
    """Return the loss of each image and network, [B, M], given images and masks, [B, M, n, n]; None leaves the precision to the device."""
    device = images.device
    reduced = reduced_precision(device) if bfloat16 is None else bfloat16
    # No copies of weights outlive a call: a graph would take them for its own.
    with torch.autocast(device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
        outputs = model(images)
    outputs = outputs.float()
    own = outputs.unflatten(1, (images.shape[1], -1)).flatten(0, 1)
    return task.loss(own, masks.flatten(0, 1)[:, None]).view(len(outputs), -1)


class Steps:
    """Takes the steps of a training.

    On a GPU those of one shape are captured as a graph and replayed: one start instead of hundreds. Only Adam can be captured.
    """

    def __init__(
        self, model: nn.Module, training: TrainingConfig, count: int, task: Task, bfloat16: bool | None = None
    ):
        """Prepare so many steps of a model on its device; None leaves the precision to the device."""
        self._model, self._task, self._bfloat16 = model, task, bfloat16
        device = next(model.parameters()).device
        self._captures = device.type == "cuda" and training.optimizer == "adam"
        self._optimizer = _optimizer(training, model, device if self._captures else None)
        self._schedule = _schedule(training, self._optimizer, count)
        self._taken = 0
        self._shape: torch.Size | None = None
        self._graph: _Graph | None = None

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        """Take a step on images and masks, [B, M, n, n]; return the loss of each, [B, M]."""
        result = self._captured(images, masks) if self._captures else self._step(images, masks)
        self._schedule.step()
        return result

    def _step(self, images: Tensor, masks: Tensor) -> Tensor:
        loss = losses(self._model, images, masks, self._task, self._bfloat16)
        self._optimizer.zero_grad()
        # The mean over a batch for each network, and the sum of those.
        loss.mean(0).sum().backward()
        self._optimizer.step()
        return loss.detach()

    def _captured(self, images: Tensor, masks: Tensor) -> Tensor:
        self._taken += 1
        self._shape = self._shape or images.shape
        if self._taken <= _EAGER:
            return aside(lambda: self._step(images, masks))
        # The last batch of an epoch may be smaller.
        if images.shape != self._shape:
            return self._step(images, masks)
        if self._graph is None:
            self._optimizer.zero_grad()
            try:
                self._graph = _Graph(self._step, images, masks)
            except RuntimeError as error:
                warnings.warn(
                    f"training steps are not replayed as a graph, which makes them slower: {error}", stacklevel=2
                )
                self._captures = False
                return self._step(images, masks)
        return self._graph(images, masks)


class _Graph:
    """A step that was captured, not taken: a call takes it on other images of the same shape."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], images: Tensor, masks: Tensor):
        self._images, self._masks = images.contiguous().clone(), masks.contiguous().clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._losses = step(self._images, self._masks)

    def __call__(self, images: Tensor, masks: Tensor) -> Tensor:
        self._images.copy_(images)
        self._masks.copy_(masks)
        self._graph.replay()
        return self._losses.clone()


@functools.cache
def fastest(
    network: NetworkConfig, training: TrainingConfig, count: int, pixels: int, device: torch.device
) -> Arrangement:
    """Return the arrangement in which a GPU trains `count` networks on images of this side fastest, measured once a process.

    On a CPU, where they differ little, "grouped"; for families that do not train in groups, "separate".
    """
    if not network.trains_in_groups:
        return "separate"
    if device.type == "cpu" or count == 1:
        return "grouped"
    return min(ARRANGEMENTS, key=lambda a: seconds_per_step(network, training, count, pixels, device, a))


def seconds_per_step(
    network: NetworkConfig,
    training: TrainingConfig,
    count: int,
    pixels: int,
    device: torch.device,
    arrangement: Arrangement,
) -> float:
    """Return the time [s] of a training step of `count` networks in an arrangement, without the imaging; infinite if it fails."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    try:
        with fast_convolutions(device):
            model = (
                fleet(network, [build(network, seed=i).state_dict() for i in range(count)], arrangement)
                .to(device)
                .train()
            )
            task = SEGMENTATION if network.outputs == 1 else Classes()
            steps = Steps(model, training, 2 * _TIMED, task)
            images = torch.randn(training.batch_size, count, pixels, pixels, device=device)
            for i in range(2 * _TIMED):
                if i == _TIMED:
                    wait()
                    began = time.perf_counter()
                steps(images, (images > 1).float())
            wait()
        return (time.perf_counter() - began) / _TIMED
    # What does not run on this GPU, or does not fit, is not the fastest.
    except RuntimeError:
        return float("inf")
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _optimizer(training: TrainingConfig, model: nn.Module, captured_on: torch.device | None) -> torch.optim.Optimizer:
    """Return the optimiser; for a graph on a device its rate is a tensor there, which the schedule fills."""
    weights, rate, decay = model.parameters(), training.learning_rate, training.weight_decay
    if training.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)
    if captured_on is None:
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=True)
    varied = torch.tensor(rate, device=captured_on)
    return torch.optim.Adam(weights, lr=varied, weight_decay=decay, fused=True, capturable=True)


def _schedule(
    training: TrainingConfig, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    # The schedule divides by the lengths of its rise and fall: at least two steps each.
    planned = max(steps, 4)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=planned, pct_start=max(0.3, 2 / planned), cycle_momentum=False
    )
