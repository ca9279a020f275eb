"""What a segmentation leaves on disk: masks and probabilities with their calibration, an overlay, a table, a histogram."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from passband.base.errors import BadInputError
from passband.base.version import __version__
from passband.figures import size_histogram, style
from passband.files.atomic import write_file
from passband.files.tables import write_table
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import Segmentation

# Longest side of the overlay [pixels]; screens show no more.
_OVERLAY = 2048
_OUTLINE = (255, 90, 0)


def names(stem: str) -> dict[str, str]:
    """Return the files that a segmentation writes, by what they hold."""
    return {
        "mask": f"{stem}_mask.tif",
        "instances": f"{stem}_instances.tif",
        "probability": f"{stem}_probability.tif",
        "hspy": f"{stem}_probability.hspy",
        "overlay": f"{stem}_overlay.png",
        "particles": f"{stem}_particles.parquet",
        "particles_csv": f"{stem}_particles.csv",
        "sizes": f"{stem}_sizes.png",
    }


def check_folder(folder: Path) -> None:
    """Refuse a folder that nothing can be written into, before any work.

    Raises:
        BadInputError: if it is a file, or cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"--out {folder}: is a file; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"--out {folder}: cannot be made: {error.strerror}; choose another") from None


def write_outputs(folder: Path, stem: str, micrograph: Micrograph, found: Segmentation) -> dict[str, str]:
    """Write everything and return the paths, by what they hold. What lies there under these names is replaced.

    Args:
        folder: that exists.
        stem: that the files' names begin with.
        micrograph: that was segmented.
        found: in it.

    Raises:
        BadInputError: if the disk is full or the folder cannot be written.
    """
    paths = {what: folder / name for what, name in names(stem).items()}
    pixel = found.pixel_size_angstrom
    _tiff(paths["mask"], found.mask.astype(np.uint8) * np.uint8(255), pixel)
    _tiff(paths["instances"], found.instances.astype(np.uint16 if found.instances.max() < 65536 else np.float32), pixel)
    _tiff(paths["probability"], found.probability, pixel)
    write_file(paths["hspy"], lambda path: _hspy(path, found, micrograph))
    write_file(paths["overlay"], lambda path: overlay(micrograph.intensity, found.mask).save(path, format="PNG"))
    write_table(paths["particles"], found.particles)
    write_file(paths["particles_csv"], lambda path: found.particles.write_csv(path))
    with style.figure(5.2, 3.4) as made:
        size_histogram.draw(found.particles, made.subplots())
        write_file(paths["sizes"], lambda path: made.savefig(path, format="png"))
    return {what: str(path) for what, path in paths.items()}


def overlay(intensity: NDArray[np.float32], mask: NDArray[np.bool_]) -> Image.Image:
    """Return the micrograph in grey, from its 1st to its 99th percentile, with outlines of what was found."""
    from skimage.segmentation import find_boundaries

    step = max(-(-max(intensity.shape) // _OVERLAY), 1)
    h, w = (n // step * step for n in intensity.shape)
    small = intensity[:h, :w].reshape(h // step, step, w // step, step).mean((1, 3))
    low, high = np.percentile(small, [1, 99])
    grey = np.clip((small - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[find_boundaries(mask[:h:step, :w:step], mode="inner")] = _OUTLINE
    return Image.fromarray(picture)


def _tiff(path: Path, image: NDArray[Any], pixel: float) -> None:
    """Write a TIFF that ImageJ and HyperSpy read with its scale."""
    import tifffile

    per_nm = 10 / pixel
    write_file(
        path,
        lambda temporary: tifffile.imwrite(
            temporary, image, imagej=True, resolution=(per_nm, per_nm), metadata={"unit": "nm", "axes": "YX"}
        ),
    )


def _hspy(path: Path, found: Segmentation, micrograph: Micrograph) -> None:
    from rsciio.hspy import file_writer

    axes = [
        {
            "name": name,
            "size": size,
            "scale": found.pixel_size_angstrom / 10,
            "offset": 0.0,
            "units": "nm",
            "navigate": False,
        }
        for name, size in zip(("y", "x"), found.probability.shape, strict=True)
    ]
    signal = {
        "data": found.probability,
        "axes": axes,
        "metadata": {
            "General": {"title": f"probability of a particle, {micrograph.name}"},
            "Signal": {"signal_type": "", "quantity": "probability"},
        },
        "original_metadata": {},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "passband", "package_version": __version__},
        "tmp_parameters": {},
        "attributes": {"_lazy": False},
    }
    file_writer(str(path), signal)
