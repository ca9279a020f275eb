"""Run the network of a model, and score its predictions."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from passband.base.errors import BadInputError, parameter
from passband.learning import NetworkConfig, build, count_pixels
from passband.micrographs.resample import resample
from passband.models.card import External, ModelCard, plain
from passband.simulation.imaging import normalize

_BATCH = 16
# Smallest side that an image is resampled to [pixels].
_LEAST_SIDE = 8
_DTYPES = dict.fromkeys(("F16", "BF16", "F32", "F64"), torch.float32) | {"I64": torch.int64}


class OnPictures(nn.Module):
    """A network of passband as it takes pictures, whose x runs along the columns: it sees them as in training, x along the rows.

    The direction of an astigmatism depends on it.
    """

    def __init__(self, module: nn.Module):
        """Take a network as it was trained."""
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, h, w] of pictures [B, 1, h, w]."""
        logits: Tensor = self.module(images.mT.contiguous())
        return logits.mT


class Network(nn.Module):
    """The network of a model: normalised pictures [B, 1, h, w], x along the columns, to logits [B, K, h, w] of K outputs, on the CPU.

    An external network gets pictures as they are.
    """

    def __init__(self, model: Any):
        """Load the network of a `store.Model`, an external one in a process with limits; BadInputError if it cannot be run."""
        super().__init__()
        self.process = None
        if model.card.runs == "passband":
            assert model.card.network is not None
            self._module = OnPictures(load_weights(model.weights, model.card.network))
            self.eval()
            return
        from passband.models.onnx_process import OnnxProcess

        card = model.checked_card()
        self.process = OnnxProcess(model.weights, card.external or External())
        if self.process.digest != card.files[model.weights.name]:
            raise BadInputError("has changed while it was read", remedy="get the model again", place=model.weights)

    def close(self) -> None:
        """End the process of an external network."""
        if self.process is not None:
            self.process.close()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, h, w] of pictures [B, 1, h, w]."""
        if self.process is not None:
            return torch.from_numpy(self.process(images.numpy()))
        return self._module(images)


def load_weights(path: Path, config: NetworkConfig, described: str = "that its card describes") -> nn.Module:
    """Return a network with the weights of a safetensors file, for evaluation; BadInputError if they are not exactly those that it needs."""
    # Compare names and shapes on the meta device before allocating anything.
    with torch.device("meta"):
        wanted = {k: (list(v.shape), v.dtype) for k, v in build(config).state_dict().items()}
    try:
        with safe_open(path, "pt") as opened:
            slices = {k: opened.get_slice(k) for k in opened.keys()}  # noqa: SIM118 not a mapping
            stored = {k: (v.get_shape(), _DTYPES.get(v.get_dtype())) for k, v in slices.items()}
        if stored != wanted:
            odd = sorted({*stored} ^ {*wanted} or {k for k in wanted if stored[k] != wanted[k]})
            raise ValueError(f"{plain(odd[0], 100)} differs")
        weights = load_file(path)
        if odd := [k for k, v in weights.items() if not v.isfinite().all()]:
            raise ValueError(f"{odd[0]} contains values that are no numbers")
        network = build(config)
        network.load_state_dict(weights)
    except (RuntimeError, SafetensorError, OSError, ValueError) as error:
        what = f"does not hold the weights {described}: {plain(str(error))}"
        raise BadInputError(what, remedy="get the model again", place=path) from None
    return network.eval()


class Prediction:
    """Predicted particles in a stack of images; a pixel is particle from the probability `threshold` on."""

    def __init__(self, logits: Tensor, threshold: float):
        """Take logits, float32, shape [N, h, w]."""
        self._logits, self.threshold = logits, threshold

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """Probability of particle at each pixel, float32, shape [N, h, w]."""
        return self._logits.sigmoid().numpy()

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Pixels that are particle, bool, shape [N, h, w]."""
        return self.probability >= self.threshold

    def score(self, masks: Any) -> pl.DataFrame:
        """Return loss, Dice and pixel counts (tp, fp, fn, tn), one row an image, as `learning.count_pixels` defines them.

        `masks` are the true particles, bool or 0 and 1, shape [N, h, w] or [h, w].

        Raises:
            BadInputError: if the shape is not that of the images.
        """
        truth = _stack(masks, "masks")
        if truth.shape != self._logits.shape:
            shape, limit = tuple(truth.shape), tuple(self._logits.shape)
            raise BadInputError(
                f"{parameter('masks')} of shape {shape} do not fit images of shape {limit}", value=shape, limit=limit
            )
        counts = count_pixels(self._logits[:, None], truth[:, None], self.threshold)
        found, positives = pl.col("tp") * 2, pl.col("tp") * 2 + pl.col("fp") + pl.col("fn")
        dice = pl.when(positives > 0).then(found / positives)
        return pl.DataFrame(counts).select("loss", dice.alias("dice"), "tp", "fp", "fn", "tn")

    def __str__(self) -> str:
        n, h, w = self._logits.shape
        return f"{n} prediction{'s' * (n != 1)} of {h} × {w} pixels, {self.masks.mean():.1%} particle"

    __repr__ = __str__


@torch.no_grad()
def predict(network: nn.Module, card: ModelCard, images: Any, pixel_size_angstrom: float | None = None) -> Prediction:
    """Predict particles in images, counts or intensities [N, h, w] or [h, w], each as a whole (see `store.Model.predict`).

    Images are resampled to the network's pixels, padded by their mirror image to a multiple of its divisor, and brought to zero mean and
    unit variance; logits are interpolated back.
    """
    stack, pixel = _stack(images, "images"), pixel_size_angstrom or card.pixel_size_angstrom
    low, high = card.pixel_band_angstrom
    # Images of the network's own pixel size may differ from it by rounding.
    if not low * (1 - 1e-6) <= pixel <= high * (1 + 1e-6):
        what = f"a pixel size of {pixel:g} Å is outside the {low:g} to {high:g} Å of {card.name}"
        remedy = f"use another model, or correct {parameter('pixel_size_angstrom')}"
        raise BadInputError(what, value=pixel, limit=(low, high), remedy=remedy)
    size = (int(stack.shape[1]), int(stack.shape[2]))
    scale = pixel / card.pixel_size_angstrom
    h, w = (max(round(side * scale), _LEAST_SIDE) for side in size)
    seen = np.stack([resample(image, (h, w)) for image in stack.numpy()])
    padded = np.pad(seen, [(0, 0), (0, -h % card.divisor), (0, -w % card.divisor)], mode="symmetric")
    ready = torch.from_numpy(padded)[:, None]
    logits = torch.cat([network(normalize(chunk)) for chunk in ready.split(_BATCH)])[:, :, :h, :w]
    if size != (h, w):
        logits = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    return Prediction(logits[:, 0], card.threshold)


def _stack(images: Any, name: str) -> Tensor:
    stack = torch.from_numpy(np.array(images, dtype=np.float32))
    if stack.ndim == 2:
        stack = stack[None]
    if stack.ndim != 3 or 0 in stack.shape:
        shape = tuple(stack.shape)
        what = f"{parameter(name)} of shape {shape} are no stack of images; give [N, h, w] or [h, w]"
        raise BadInputError(what, value=shape)
    return stack
