"""Write images as TIFF with their scale, as ImageJ and passband read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from passband.files.atomic import write_file


def write_stack(
    path: Path, stack: np.ndarray, pixel_size_angstrom: float, *, compress: bool = False, scanned: bool = False
) -> None:
    """Write [N, h, w] as a TIFF of N pages, 32-bit floats or 8- or 16-bit integers, with its scale as ImageJ notes it.

    `compress` is for labels (deflate, without loss); `scanned` notes that the images are of STEM. Raises as `write_file` does.
    """
    first, *rest = (Image.fromarray(page) for page in stack)
    about = f"ImageJ=1.54f\nimages={len(stack)}\nslices={len(stack)}\nunit=Angstrom\n{'modality=STEM' * scanned}\n"
    options: dict[str, Any] = {"x_resolution": 1 / pixel_size_angstrom, "y_resolution": 1 / pixel_size_angstrom}
    options |= {"resolution_unit": 1, "format": "TIFF", "save_all": True, "append_images": rest, "description": about}
    options |= {"compression": "tiff_adobe_deflate"} if compress else {}
    write_file(path, lambda temporary: first.save(temporary, **options))


def write_tiff(
    path: Path, image: np.ndarray, pixel_size_angstrom: float, facts: Mapping[str, object] | None = None
) -> None:
    """Write an image [h, w] with its scale as ImageJ and HyperSpy read it, and facts of it by name as ImageJ's Info."""
    import tifffile

    metadata = {"unit": "nm", "axes": "YX"}
    if facts:
        metadata["Info"] = "".join(f"{name} = {value}\n" for name, value in facts.items())
    per_nm = 10 / pixel_size_angstrom
    tifffile.imwrite(path, image, imagej=True, resolution=(per_nm, per_nm), metadata=metadata)
