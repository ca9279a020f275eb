"""Micrographs from files, arrays and HyperSpy signals, with notes on their metadata."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.micrographs import formats
from passband.micrographs.cleaning import clean
from passband.micrographs.drawing import flat_note, refuse_mask
from passband.micrographs.formats import dataset, decode, metadata
from passband.micrographs.formats.decode import Frames
from passband.micrographs.micrograph import Calibration, Micrograph
from passband.micrographs.sandbox.parsing import Limits, check_file, parse, placed


def read_micrographs(
    source: Path | str | NDArray[Any] | Any,
    *,
    pixel_size_angstrom: float | None = None,
    energy_ev: float | None = None,
    dose_per_angstrom2: float | None = None,
    frames: Frames = None,
    limits: Limits | None = None,
    sandbox: bool = True,
) -> list[Micrograph]:
    """Read the micrographs of a file, an array or a HyperSpy signal, and replace their spikes and dead pixels.

    Args:
        source: path of a file (`formats.READERS` lists the endings); an array (h, w) or (n, h, w); or a signal.
        pixel_size_angstrom: of the images, instead of what the file says [Å]; an array and a PNG have none of their own.
        energy_ev: of the electrons, instead of what the file says [eV].
        dose_per_angstrom2: of an image, instead of what the file says [e/Å²].
        frames: images of a stack: one by its number from 0, "sum", "each", or None: the sum of a movie, each image of any other stack.
        limits: on the time and memory that reading a file may take.
        sandbox: parse a file in a process of its own, with little memory and no rights. False is for trusted files only: they are
            parsed in this process, without `limits`.

    Raises:
        BadInputError: with file, fault and remedy; also if the pixel size is neither known nor given, or the image is a mask.
    """
    given = Calibration(pixel_size_angstrom, energy_ev, dose_per_angstrom2)
    if not (frames is None or frames in ("sum", "each") or (isinstance(frames, int) and not isinstance(frames, bool))):
        what = f"{parameter('frames')} {frames!r}: is neither a number from 0, sum nor each"
        raise BadInputError(what, value=frames, limit=("sum", "each"))
    if isinstance(source, str | Path) and sandbox:
        return [_cleaned(image) for image in parse(Path(source), frames, given, limits)]
    if isinstance(source, str | Path):
        path = Path(source)
        check_file(path)
        with placed(path.name), ExitStack() as closing, decode.faults():
            data = formats.datasets(path, closing)
            return [_cleaned(image) for _, image in decode.micrographs(data, frames, path.name, given)]
    name, one = _described(source)
    with placed(name):
        return [_cleaned(image) for _, image in decode.micrographs([one], frames, name, given)]


def _described(source: Any) -> tuple[str, dataset.Dataset]:
    if hasattr(source, "axes_manager") and hasattr(source, "data"):
        tree = source.metadata.as_dictionary() if hasattr(source, "metadata") else {}
        entry = {"data": source.data, "axes": source.axes_manager.as_dictionary().values(), "metadata": tree}
        name = str(metadata.lookup(tree, "General.title") or "signal")[:100]
        return name, metadata.of_signal(entry, origin="from the signal")
    if not isinstance(source, np.ndarray):
        remedy = "give a path, a NumPy array of 2 or 3 dimensions, or a HyperSpy signal"
        raise BadInputError("cannot be read", remedy=remedy, place=type(source).__name__)
    axes = [dataset.Axis(size) for size in source.shape]
    return "array", dataset.dataset(source, axes, uncalibrated="an array has none")


def _cleaned(image: Micrograph) -> Micrograph:
    refuse_mask(image.intensity, image.name)
    cleaned, flat = clean(image.intensity), flat_note(image.intensity)
    return replace(
        image, intensity=cleaned.intensity, notes=(*image.notes, cleaned.sentence, *([flat] if flat else []))
    )
