"""Resampling of images to another pixel size."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def resample(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image with another number of pixels over the same field and the same mean.

    Cosine coefficients are truncated or padded with zeros: frequencies below both Nyquist limits stay exact, as in the camera of the
    simulation, and mirrored edges avoid ringing. One axis at a time limits the memory for large images.

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
        low = [slice(None), slice(None)]
        low[axis] = slice(min(wanted, have))
        spectrum = spectrum[tuple(low)] * np.float32(np.sqrt(wanted / have))
        if wanted > have:
            wide = [(0, 0), (0, 0)]
            wide[axis] = (0, wanted - have)
            spectrum = np.pad(spectrum, wide)
        result = fft.idct(spectrum, axis=axis, norm="ortho", overwrite_x=True)
    return np.ascontiguousarray(result, dtype=np.float32)
