"""Resampling of images to another pixel size."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def resample(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image, float32 [h, w], with another number of pixels over the same field and the same mean.

    Cosine coefficients are truncated or padded with zeros: frequencies below both Nyquist limits stay exact, as in the camera of the
    simulation, and mirrored edges avoid ringing. One axis at a time limits the memory for large images.
    """
    result = image
    for axis, wanted in enumerate(shape):
        have = result.shape[axis]
        if wanted != have:
            spectrum = fft.dct(result, axis=axis, norm="ortho") * np.float32(np.sqrt(wanted / have))
            # The inverse truncates, or pads with zeros.
            result = fft.idct(spectrum, n=wanted, axis=axis, norm="ortho", overwrite_x=True)
    return np.ascontiguousarray(result, dtype=np.float32)
