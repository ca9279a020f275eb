"""The canvas on which particles are corrected: the browser draws strokes at once, the server applies them and answers with what has changed."""

import base64
from collections.abc import Callable
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import param
from numpy.typing import NDArray
from panel.custom import JSComponent
from PIL import Image
from scipy import ndimage

from passband.app.parts import STYLE, WIDE, script
from passband.micrographs.micrograph import Micrograph

# Neighbours in numbers differ, also for the colour-blind.
_COLOURS = ("#ff9d2e", "#4dd4ff", "#ffe14d", "#ff8fc7", "#7ddc6f", "#b69cff")
_FILL = 70
# A picture this wide has outlines one pixel wide to each side [pixels].
_FINE = 700


class MaskEditor(JSComponent):
    """The canvas and its tools.

    Attributes:
        scene: width and height of the image and its pixel size, what is shown of it, and whether strokes can be undone; empty without an image.
    """

    scene = param.Dict(default={})

    _stylesheets: ClassVar[list[str]] = [STYLE]
    _esm = script("mask_editor.js")

    def __init__(self, received: Callable[[dict[str, Any]], None]):
        """`received` is called with each stroke, undo and redo of the browser."""
        super().__init__(margin=(0, 10), **WIDE)
        self._received = received

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, dict):
            self._received(data)

    def tell(self, **news: Any) -> None:
        """Tell the canvas what has changed."""
        self._send_msg(news)


def opening(micrograph: Micrograph, numbers: NDArray[np.int32]) -> dict[str, Any]:
    """Return the scene of a micrograph and its numbered particles [h, w]."""
    grey, step = micrograph.grey()
    h, w = grey.shape
    content = BytesIO()
    Image.fromarray(grey).save(content, format="JPEG", quality=90)
    return {
        "width": w * step,
        "height": h * step,
        "pixel": micrograph.pixel_size_angstrom,
        "shown": [w, h],
        "image": _address(content.getvalue(), "jpeg"),
        "labels": _address(_drawn(numbers[step // 2 :: step, step // 2 :: step][:h, :w]), "png"),
    }


def patch(numbers: NDArray[np.int32], window: tuple[slice, slice], step: int) -> dict[str, Any]:
    """Return what is drawn of a window of numbered particles [h, w], of which each `step`-th pixel is shown."""
    shown = tuple(n // step for n in numbers.shape)
    margin = _margin(max(shown))
    low = [max(s.start // step - margin, 0) for s in window]
    high = [min(-(-s.stop // step) + margin, n) for s, n in zip(window, shown, strict=True)]
    # Outlines in the patch depend on numbers beside it.
    before = [min(margin, n) for n in low]
    rows, columns = (slice(a - b, c + margin) for a, b, c in zip(low, before, high, strict=True))
    small = numbers[step // 2 :: step, step // 2 :: step][: shown[0], : shown[1]][rows, columns]
    inner = tuple(slice(b, b + c - a) for a, b, c in zip(low, before, high, strict=True))
    return {"x": low[1], "y": low[0], "url": _address(_drawn(small, inner, max(shown)), "png")}


def _margin(side: int) -> int:
    return max(round(side / _FINE), 1)


def _drawn(small: NDArray[np.int32], inner: Any = ..., side: int = 0) -> bytes:
    """Return a PNG of particles in colours, see-through, with their outlines; `side` is the longer one of the whole picture."""
    size = 2 * _margin(side or max(small.shape)) - 1 + 2
    near = ndimage.minimum_filter(small, size) != ndimage.maximum_filter(small, size)
    index = np.where(small > 0, 1 + small % len(_COLOURS) + len(_COLOURS) * near, 0).astype(np.uint8)[inner]
    picture = Image.fromarray(np.ascontiguousarray(index), mode="P")
    colours = [int(c[i : i + 2], 16) for c in _COLOURS for i in (1, 3, 5)]
    picture.putpalette([0, 0, 0, *colours, *colours])
    content = BytesIO()
    alpha = bytes([0, *[_FILL] * len(_COLOURS), *[255] * len(_COLOURS)])
    picture.save(content, format="PNG", transparency=alpha, compress_level=1)
    return content.getvalue()


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
