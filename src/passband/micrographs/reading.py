"""Micrographs from files, arrays and HyperSpy's signals, with what is known of each said in sentences."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError
from passband.micrographs.cleaning import clean
from passband.micrographs.formats import dataset, metadata, picks
from passband.micrographs.formats.picks import Frames, Picture
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.sandbox.parsing import Limits, parse


def read_micrographs(
    source: Path | str | NDArray[Any] | Any,
    *,
    pixel_size_angstrom: float | None = None,
    energy_ev: float | None = None,
    dose_per_angstrom2: float | None = None,
    frames: Frames = None,
    limits: Limits | None = None,
) -> list[Micrograph]:
    """Return the micrographs of a file, an array or a HyperSpy signal.

    Spikes and dead pixels are replaced. What is given here overrides what the file says.

    Args:
        source: path of a .dm3, .dm4, .emd, .hspy, .mrc, .mrcs, .png or .tif file; an array (h, w) or (n, h, w); or a signal.
        pixel_size_angstrom: of the images [Å]; an array and a PNG have none of their own.
        energy_ev: of the electrons [eV].
        dose_per_angstrom2: of an image [e/Å²].
        frames: which images of a stack: one by its number from 0, "sum", "each", or None: a movie's sum, and each image of
            any other stack.
        limits: what reading a file may take.

    Raises:
        BadInputError: naming file, fault and remedy; also if the pixel size is neither known nor given.
    """
    given = {
        "--pixel-size": pixel_size_angstrom,
        "--energy": energy_ev,
        "--dose": dose_per_angstrom2,
    }
    for option, value in given.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise BadInputError(f"{option} {value:g}: has to be a positive number; give it in Å, eV and e/Å²")
    if not (frames is None or frames in ("sum", "each") or (isinstance(frames, int) and not isinstance(frames, bool))):
        raise BadInputError(f"--frames {frames!r}: is neither a number from 0, sum nor each")
    if isinstance(source, str | Path):
        name, found = Path(source).name, parse(Path(source), frames, limits)
    else:
        name, data = _described(source)
        try:
            found = list(picks.pictures([data], frames, name))
        except BadInputError as error:
            raise BadInputError(f"{name}: {error}") from None
    return [_micrograph(picture, name, pixel_size_angstrom, energy_ev, dose_per_angstrom2) for picture in found]


def _described(source: Any) -> tuple[str, dataset.Dataset]:
    """Return name and data set of an array or of what looks like a HyperSpy signal."""
    if hasattr(source, "axes_manager") and hasattr(source, "data"):
        tree = source.metadata.as_dictionary() if hasattr(source, "metadata") else {}
        name = str(metadata.lookup(tree, "General.title") or "signal")[:100]
        axes = [dataset.axis(a) for a in source.axes_manager.as_dictionary().values()]
        return name, dataset.dataset(
            source.data,
            axes,
            fault=metadata.fault_of_signal(tree),
            energy_ev=metadata.beam_energy_ev({"metadata": tree}),
            dose_per_angstrom2=metadata.dose_per_angstrom2(tree),
            origin="from the signal",
        )
    if not isinstance(source, np.ndarray):
        raise BadInputError(
            f"{type(source).__name__}: cannot be read; give a path, a NumPy array of 2 or 3 dimensions, or a HyperSpy signal"
        )
    axes = [dataset.Axis(size) for size in source.shape]
    return "array", dataset.dataset(source, axes, uncalibrated="an array has none")


def _micrograph(
    picture: Picture, name: str, pixel: float | None, energy: float | None, dose: float | None
) -> Micrograph:
    if picture.number is not None:
        name = f"{name}#{picture.number}"
    if pixel is None and picture.pixel_size_angstrom is None:
        raise BadInputError(
            f"{name}: its pixel size is not known ({picture.calibration}), and none is assumed; give it with --pixel-size, in Å"
        )
    low, high = picture.intensity.min(), picture.intensity.max()
    if low == high:
        raise BadInputError(f"{name}: every pixel has the value {low:g}, so there is no image in it; export it again")
    found = list(picture.said)
    found.append(_said("pixel size", ".4f", "Å", pixel, picture.pixel_size_angstrom, picture.calibration))
    found.append(_said("energy", ".0f", "eV", energy, picture.energy_ev, "from the file's metadata"))
    found.append(_said("dose", ".4g", "e/Å²", dose, picture.dose_per_angstrom2, "from the file's metadata"))
    cleaned = clean(picture.intensity) if np.isfinite(low) and np.isfinite(high) else None
    if cleaned is not None:
        found.append(cleaned.sentence)
    return Micrograph(
        intensity=picture.intensity if cleaned is None else cleaned.intensity,
        pixel_size_angstrom=picture.pixel_size_angstrom if pixel is None else float(pixel),  # type: ignore[arg-type]
        energy_ev=picture.energy_ev if energy is None else float(energy),
        dose_per_angstrom2=picture.dose_per_angstrom2 if dose is None else float(dose),
        name=name,
        found=tuple(found),
    )


def _said(what: str, form: str, unit: str, given: float | None, own: float | None, origin: str) -> str:
    """Return the sentence on one value: where it comes from, and what it overrides."""
    if given is None:
        return f"{what} not known" if own is None else f"{what} {own:{form}} {unit}, {origin}"
    if own is None:
        return f"{what} {given:{form}} {unit}, given"
    if math.isclose(given, own, rel_tol=1e-3):
        return f"{what} {given:{form}} {unit}, given, as the file says"
    return f"{what} {given:{form}} {unit}, given; the file says {own:{form}} {unit}"
