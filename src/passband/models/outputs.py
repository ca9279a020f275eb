"""Write a segmentation: masks and probabilities with their calibration, an overlay, a table, a histogram."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.base.version import __version__
from passband.figures import size_histogram, style
from passband.files.atomic import write_file
from passband.files.tables import write_table
from passband.models.segment import Segmentation


def names(stem: str) -> dict[str, str]:
    """Return the names of the files of a segmentation by their content."""
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


def check_folder(folder: str | Path) -> None:
    """Create a folder for results.

    Raises:
        BadInputError: if it is a file or cannot be created.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{parameter('folder')} {folder}: is a file; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"{parameter('folder')} {folder}: cannot be created: {error.strerror}; choose another"
        ) from None


def write_outputs(folder: str | Path, stem: str, segmentation: Segmentation) -> dict[str, str]:
    """Write all files of a segmentation, replacing those of these names, and return their paths by content.

    Args:
        folder: an existing one.
        stem: start of the files' names.
        segmentation: to write.

    Raises:
        BadInputError: if the disk is full or the folder cannot be written.
    """
    paths = {what: Path(folder) / name for what, name in names(stem).items()}
    pixel = segmentation.pixel_size_angstrom
    _tiff(paths["mask"], segmentation.mask.astype(np.uint8) * np.uint8(255), pixel)
    _tiff(
        paths["instances"],
        segmentation.instances.astype(np.uint16 if segmentation.instances.max() < 65536 else np.float32),
        pixel,
    )
    _tiff(paths["probability"], segmentation.probability, pixel)
    write_file(paths["hspy"], lambda path: _hspy(path, segmentation))
    write_file(paths["overlay"], lambda path: segmentation.overlay().save(path, format="PNG"))
    write_table(paths["particles"], segmentation.particles)
    write_file(paths["particles_csv"], lambda path: segmentation.particles.write_csv(path))
    with style.figure(5.2, 3.4) as figure:
        size_histogram.draw(segmentation.particles, figure.subplots())
        write_file(paths["sizes"], lambda path: figure.savefig(path, format="png"))
    return {what: str(path) for what, path in paths.items()}


def _tiff(path: Path, image: NDArray[Any], pixel: float) -> None:
    """Write a TIFF with a scale that ImageJ and HyperSpy read."""
    import tifffile

    per_nm = 10 / pixel
    write_file(
        path,
        lambda temporary: tifffile.imwrite(
            temporary, image, imagej=True, resolution=(per_nm, per_nm), metadata={"unit": "nm", "axes": "YX"}
        ),
    )


def _hspy(path: Path, segmentation: Segmentation) -> None:
    from rsciio.hspy import file_writer

    axes = [
        {
            "name": name,
            "size": size,
            "scale": segmentation.pixel_size_angstrom / 10,
            "offset": 0.0,
            "units": "nm",
            "navigate": False,
        }
        for name, size in zip(("y", "x"), segmentation.probability.shape, strict=True)
    ]
    signal = {
        "data": segmentation.probability,
        "axes": axes,
        "metadata": {
            "General": {"title": f"probability of a particle, {segmentation.micrograph.name}"},
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
