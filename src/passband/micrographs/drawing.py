"""What programs draw, and no camera records: masks and labels given as images, and areas of one value in them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from passband.base.errors import BadInputError

# Side of a square of one value [pixels]; independent pixels make less than this number of them by chance.
_SIDE, _BY_CHANCE = 7, 0.01
# Most values of a mask or of labels, and how often neighbours differ there, relative to independent pixels.
_FEW_VALUES, _DIFFER = 256, 0.1


def refuse_mask(intensity: NDArray[np.float32], name: str) -> None:
    """Raise BadInputError for an image of a few values in large areas: a mask, or labels."""
    values, counts = np.unique(intensity[:: max(len(intensity) // 256, 1)], return_counts=True)
    if len(values) > _FEW_VALUES:
        return
    differ = max(float((np.diff(intensity, axis=axis) != 0).mean()) for axis in (0, 1))
    independent = 1 - float(((counts / counts.sum()) ** 2).sum())
    if differ < _DIFFER * independent:
        what = f"is a mask or a picture of labels: {len(values)} values in areas of one value, of which only {differ:.1%} of the neighbouring pixels differ"
        raise BadInputError(what, value=differ, remedy="give the micrograph", place=name)


def flat_note(intensity: NDArray[np.float32]) -> str | None:
    """Return a note on areas of the least or the greatest value, as scale bars, text, margins and saturation leave them; None without."""
    share = 0.0
    for value in (intensity.min(), intensity.max()):
        alike = intensity == value
        part = float(alike.mean())
        # Where a low dose leaves most pixels empty, areas of zeros are no drawing.
        if part ** (_SIDE**2) * alike.size < _BY_CHANCE:
            square = np.ones((_SIDE, _SIDE), dtype=bool)
            share += float(ndimage.binary_opening(alike, square).mean()) if part * alike.size >= _SIDE**2 else 0.0
    if not share:
        return None
    return f"areas of one value cover {share:.1%} (a scale bar, text, a margin or saturation): crop the image to what the camera recorded"
