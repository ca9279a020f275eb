"""Between napari's layers and micrographs: what is read, what is shown, what is saved."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError
from passband.files.atomic import write_file
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.micrographs.write_tiff import write_tiff
from passband.models.segment import Segmentation

#: A layer as plugins give it to napari: data, attributes, kind.
LayerData = tuple[Any, dict[str, Any], str]
# What is known of a micrograph beside its pixels, in a layer's metadata.
_KNOWN = "passband"
_MOST_LABELS = 65535


def reader_of(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]]:
    """Return the function that reads files of the endings in the manifest."""
    return read


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Return the images of one or several files as layers [h, w], or [n, h, w] of a stack, with their scale in nm.

    Raises:
        BadInputError: if a file cannot be read or has no pixel size.
    """
    return [_layer(file) for file in ([path] if isinstance(path, str | Path) else path)]


def _layer(file: str | Path) -> LayerData:
    images = read_micrographs(file, frames="each")
    first = images[0]
    if any(image.intensity.shape != first.intensity.shape for image in images):
        raise BadInputError("holds images of several sizes", remedy="open them one by one", place=Path(file).name)
    known = {"energy_ev": first.energy_ev, "dose_per_angstrom2": first.dose_per_angstrom2, "notes": list(first.notes)}
    pixels = first.intensity if len(images) == 1 else np.stack([image.intensity for image in images])
    attributes = {
        "name": Path(file).name,
        "metadata": {_KNOWN: known},
        **_scale(pixels.ndim, first.pixel_size_angstrom),
    }
    return pixels, attributes, "image"


def _scale(dimensions: int, pixel_size_angstrom: float) -> dict[str, Any]:
    """Return scale and units of a layer; the first axis of a stack counts images."""
    images = dimensions - 2
    nm = pixel_size_angstrom / 10
    return {"scale": (1.0,) * images + (nm, nm), "units": ("pixel",) * images + ("nm", "nm")}


def pixel_size(scale: Sequence[float], units: Sequence[Any]) -> float | None:
    """Return the pixel size of a layer [Å], given its scale and units; None if it is in pixels.

    Raises:
        BadInputError: if pixels are not square, or their size is no length.
    """
    if any(abs(step / scale[-1] - 1) > 1e-3 for step in scale[-2:]):
        sizes = " × ".join(f"{step:g}" for step in scale[-2:])
        raise BadInputError(f"its pixels of {sizes} are not square", value=sizes, remedy="resample it first")
    unit = units[-1]
    if unit.is_compatible_with("pixel"):
        return None
    if not unit.is_compatible_with("nm"):
        raise BadInputError(f"its scale is in {unit}, which is no length", remedy="give the pixel size in Å")
    return float((float(scale[-1]) * unit).to("angstrom").magnitude)


def micrograph_of(layer: Any, position: Sequence[int], pixel_size_angstrom: float | None) -> Micrograph:
    """Return the image of a layer at a position of the viewer's sliders as a micrograph.

    Args:
        layer: an image layer of napari, [..., h, w].
        position: of each axis of the layer [pixels]; the last two do not matter.
        pixel_size_angstrom: instead of the layer's [Å].

    Raises:
        BadInputError: if the layer is in colour, or neither it nor the user gives a pixel size.
    """
    if layer.rgb:
        raise BadInputError("is a picture in colour", remedy="open the micrograph itself", place=layer.name)
    size = pixel_size_angstrom or pixel_size(layer.scale, layer.units)
    if size is None:
        what, remedy = "has no scale", "give the pixel size in Å"
        raise BadInputError(what, remedy=remedy, place=layer.name)
    pixels = np.asarray(layer.data[tuple(position[: layer.data.ndim - 2])])
    known = layer.metadata.get(_KNOWN, {})
    calibration = {name: known.get(name) for name in ("energy_ev", "dose_per_angstrom2")}
    [image] = read_micrographs(pixels, pixel_size_angstrom=size, **calibration)
    return replace(image, name=str(layer.name))


def particles_layer(segmentation: Segmentation) -> LayerData:
    """Return the particles as a layer of labels, with the table of particles as its features."""
    table = segmentation.particles
    features = {"index": table["particle"].to_list()} | table.to_dict(as_series=False)
    attributes = {"name": f"{segmentation.micrograph.name}: particles", "features": features, "opacity": 0.5}
    return segmentation.instances, attributes | _scale(2, segmentation.pixel_size_angstrom), "labels"


def write_labels(path: str, data: NDArray[Any], attributes: dict[str, Any]) -> list[str]:
    """Write a layer of labels [h, w] as a TIFF with its scale, as `passband model tune` takes it.

    Raises:
        BadInputError: if it is a stack, has no scale, or has more than 65,535 labels.
    """
    name, labels = attributes.get("name", "labels"), np.asarray(data)
    if labels.ndim != 2:
        what = f"has the shape {labels.shape}, not that of one image"
        raise BadInputError(what, value=labels.shape, remedy="save the labels of one image", place=name)
    if labels.max() > _MOST_LABELS:
        what = f"its label {labels.max()} is beyond {_MOST_LABELS}"
        raise BadInputError(what, value=int(labels.max()), limit=_MOST_LABELS, remedy="number them anew", place=name)
    size = pixel_size(attributes["scale"], attributes["units"])
    if size is None:
        raise BadInputError("has no scale", remedy="set the layer's scale and units first", place=name)
    write_file(Path(path), lambda file: write_tiff(file, labels.astype(np.uint16), size))
    return [path]
