"""A small picture of a micrograph with the outlines of its particles and a scale bar."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from passband.figures import style
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import Segmentation

#: Longer side [pixels].
SIDE = 320
# Outlines are drawn this much larger, and then made smaller, so that they are smooth.
_FINER = 3
_PERCENTILES = (0.5, 99.5)


def jpeg(micrograph: Micrograph, segmentation: Segmentation | None) -> bytes:
    """Return the picture as a JPEG of at most 320 pixels a side."""
    # Imported here because it takes a second.
    from skimage.segmentation import find_boundaries

    h, w = micrograph.intensity.shape
    scale = SIDE / max(h, w)
    size = (max(round(w * scale), 1), max(round(h * scale), 1))
    grey = np.asarray(Image.fromarray(micrograph.intensity).resize(size, Image.Resampling.BOX))
    low, high = np.percentile(grey, _PERCENTILES)
    shades = np.clip((grey - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(shades).convert("RGB")
    if segmentation is not None:
        fine = (size[0] * _FINER, size[1] * _FINER)
        numbers = Image.fromarray(segmentation.instances).resize(fine, Image.Resampling.NEAREST)
        lines = find_boundaries(np.asarray(numbers), mode="thick").astype(np.uint8) * 255
        # A line two fine pixels wide would come out pale.
        cover = Image.fromarray(lines).resize(size, Image.Resampling.BOX).point(lambda v: min(2 * v, 255))
        picture.paste(Image.new("RGB", size, style.PREDICTION), mask=cover)
    _scale_bar(picture, micrograph.pixel_size_angstrom / scale)
    content = BytesIO()
    # Without subsampling colours keep the sharpness of grey.
    picture.save(content, format="JPEG", quality=75, subsampling=0)
    return content.getvalue()


def _scale_bar(picture: Image.Image, pixel_angstrom: float) -> None:
    length = style.bar_length(picture.width * pixel_angstrom)
    draw, font, h = ImageDraw.Draw(picture), ImageFont.load_default(14), picture.height
    width = length / pixel_angstrom
    draw.rectangle([8, h - 14, 10 + width, h - 8], fill="black")
    draw.rectangle([9, h - 13, 9 + width, h - 9], fill="white")
    edge: dict[str, Any] = {"stroke_width": 2, "stroke_fill": "black"}
    draw.text((9, h - 18), f"{length / 10:g} nm", fill="white", font=font, anchor="ls", **edge)
