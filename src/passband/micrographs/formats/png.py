"""PNG, .png: grey values without any calibration."""

import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from passband.base.errors import BadInputError
from passband.micrographs.formats.dataset import Axis, Dataset
from passband.micrographs.micrograph import SIDE_PIXELS

NAME = "a PNG image"
SIGNATURES = (b"\x89PNG\r\n\x1a\n",)

# Kinds of pixels with several channels.
_COLOURED = (2, 4, 6)


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the one image of a file.

    Read by Pillow: RosettaSciIO compares two of the three channels and drops the first.
    """
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or head[12:16] != b"IHDR":
        raise BadInputError("is incomplete; copy it again")
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    if kind == 3:
        raise BadInputError("stores its values by a palette; save it as grey values")
    if kind != 0 and depth == 16:
        raise BadInputError("has colours of 16 bits, which would be cut to 8; save it as 16-bit grey values")
    # `decode` checks the sides before decoding, so Pillow's lower limit is not needed.
    Image.MAX_IMAGE_PIXELS = SIDE_PIXELS[1] ** 2

    def frame(along: int | None, index: int) -> NDArray[Any]:
        with Image.open(path, formats=("PNG",)) as image:
            if (images := getattr(image, "n_frames", 1)) > 1:
                raise BadInputError(f"is an animation of {images} images; save it as a TIFF stack")
            return np.asarray(image)

    axes, dtype = (Axis(height, "y"), Axis(width, "x")), np.dtype("u2" if depth == 16 else "u1")
    why = "a PNG has none, but for the resolution of a screen or printer"
    return [Dataset(axes, dtype, frame, colour=kind in _COLOURED, uncalibrated=why)]
