"""Resampling of images to another pixel size."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def resample(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image on another number of pixels over the same field, with its mean kept.

    Cosine coefficients are cut off or filled up with zeros: what both pixel sizes can hold is kept exactly, as in the camera of the
    simulation, and edges are mirrored, so that they do not ring. One axis at a time, so that a large image is never held at
    double its size in both.

    Args:
        image: float32, shape [h, w].
        shape: of the result.
    """
    result = image
    for axis, wanted in enumerate(shape):
        have = result.shape[axis]
        if wanted == have:
            continue
        spectrum = fft.dct(result, axis=axis, norm="ortho")
        kept = [slice(None), slice(None)]
        kept[axis] = slice(min(wanted, have))
        spectrum = spectrum[tuple(kept)] * np.float32(np.sqrt(wanted / have))
        if wanted > have:
            wide = [(0, 0), (0, 0)]
            wide[axis] = (0, wanted - have)
            spectrum = np.pad(spectrum, wide)
        result = fft.idct(spectrum, axis=axis, norm="ortho", overwrite_x=True)
    return np.ascontiguousarray(result, dtype=np.float32)
