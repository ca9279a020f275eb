"""Micrographs with labelled particles: pairs of images and masks from two folders, or arrays."""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from passband.base.errors import BadInputError
from passband.micrographs import formats
from passband.micrographs.formats import decode
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.micrographs.sandbox.parsing import placed

#: Files of masks: pictures, arrays, ImageJ's regions, and COCO's descriptions of many images.
MASK_ENDINGS = (".png", ".tif", ".tiff", ".npy", ".zip", ".roi", ".json")
IMAGE_ENDINGS = (*formats.READERS, ".npy")
# What people add to an image's name for its mask.
_ADDED = re.compile(
    r"^(masks?|labels?|roiset)[_\-. ]|[_\-. ](masks?|labels?|gt|truth|seg|segmentation|rois?|roiset|annotations?)$",
    re.IGNORECASE,
)
# What passband writes beside a mask.
_BESIDE = re.compile(r"_(instances|probability|overlay|sizes|particles)$")
# Largest relative difference of pixel sizes that are of one magnification.
_MAGNIFICATION = 1.2
# Share of an image above which its labels may be inverted.
_MUCH = 0.7
_MOST_JSON = 500_000_000
# ImageJ's kinds of regions that enclose nothing.
_OPEN_ROIS = ("LINE", "FREELINE", "POLYLINE", "NOROI", "ANGLE", "POINT")

Numbers = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class LabelledMicrograph:
    """A micrograph, and the number of the labelled particle at each pixel, int32 [h, w]; 0 is none, and a plain mask has 1 alone."""

    micrograph: Micrograph
    truth: Numbers

    @property
    def name(self) -> str:
        """Name of the image."""
        return self.micrograph.name


@dataclass(frozen=True, eq=False)
class LabelledSet(Sequence[LabelledMicrograph]):
    """Labelled micrographs in the order of their names, of one magnification, at least one with a particle; and notes, in sentences.

    Raises:
        BadInputError: if there are none, all labels are empty, or pixel sizes differ by more than a fifth.
    """

    items: tuple[LabelledMicrograph, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the labels together."""
        empty = [item.name for item in self.items if not item.truth.any()]
        if len(empty) == len(self.items):
            raise BadInputError(f"no mask of these {len(empty)} has a particle ({_some(empty)}); give other masks")
        usual = statistics.median(item.micrograph.pixel_size_angstrom for item in self.items)
        odd = [
            f"{item.name} ({item.micrograph.pixel_size_angstrom:.3g} Å)"
            for item in self.items
            if not 1 / _MAGNIFICATION < item.micrograph.pixel_size_angstrom / usual < _MAGNIFICATION
        ]
        if odd:
            what = f"images of another magnification are among them: {_some(odd)}, and the others have pixels of {usual:.3g} Å"
            raise BadInputError(what, remedy="put them into a folder of their own")
        notes = [f"without a particle: {_some(empty)}"] if empty else []
        full = [item.name for item in self.items if (item.truth > 0).mean() > _MUCH]
        if full:
            notes.append(f"the labels cover more than {_MUCH:.0%} of {_some(full)}; particles are the brighter value")
        object.__setattr__(self, "notes", tuple(dict.fromkeys((*self.notes, *notes))))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def part(self, indices: Iterable[int]) -> tuple[LabelledMicrograph, ...]:
        """Return some of the micrographs."""
        return tuple(self.items[i] for i in indices)


def read_labelled(images: str | Path, masks: str | Path, *, pixel_size_angstrom: float | None = None) -> LabelledSet:
    """Read the pairs of images and masks of two folders, which may be one; a mask has the name of its image, or that and `_mask`.

    Masks are PNG, TIFF or NumPy files with two values, of which the higher is particle, or with a number for each particle; `.zip` or
    `.roi` files of ImageJ's regions; or COCO `.json` files with polygons or runs for many images. Images without a mask are left out.

    Args:
        images: folder of the micrographs.
        masks: folder of the masks.
        pixel_size_angstrom: of all images, instead of what their files say [Å].

    Raises:
        BadInputError: with the names: for a mask without an image, two masks for one image, a mask of another size or type, only empty
            masks, an unknown pixel size, and images of another magnification.
    """
    folder, truths = Path(images), Path(masks)
    for path in (folder, truths):
        if not path.is_dir():
            raise BadInputError("is no folder; give the folder of the images, and that of the masks", place=path)
    same = folder.resolve() == truths.resolve()
    found = image_files(folder, masks_too=same)
    of_image = _masks(truths, found, same=same)
    if not of_image:
        raise BadInputError(
            f"has no mask for {_some([p.name for p in found.values()])}",
            remedy="name masks as their images",
            place=truths,
        )
    items = []
    for name, sources in of_image.items():
        micrograph = read_image(found[name], pixel_size_angstrom)
        items.append(LabelledMicrograph(micrograph, _truth(sources[0], micrograph)))
    without = [found[name].name for name in found if name not in of_image]
    return LabelledSet(tuple(items), (f"without a mask, left out: {_some(without)}",) if without else ())


def labelled_arrays(micrographs: Sequence[Micrograph], masks: Sequence[Any]) -> LabelledSet:
    """Return micrographs with their masks, arrays [h, w] as `read_labelled` takes them; BadInputError as there."""
    if len(micrographs) != len(masks) or not len(masks):
        what = f"{len(micrographs)} images and {len(masks)} masks are not pairs"
        raise BadInputError(what, remedy="give one mask for each image")
    items = []
    for micrograph, mask in zip(micrographs, masks, strict=True):
        values = np.asarray(mask)
        _check_shape(values.shape, micrograph, micrograph.name)
        items.append(LabelledMicrograph(micrograph, _numbered(values, micrograph.name)))
    return LabelledSet(tuple(items))


def _some(names: Sequence[str]) -> str:
    """Return up to four names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in endings and p.is_file() and p.name[0] != ".")


def image_files(folder: Path, *, masks_too: bool) -> dict[str, Path]:
    """Return the images of a folder by their names without ending."""
    found: dict[str, Path] = {}
    files = _files(folder, IMAGE_ENDINGS)
    stems = {path.stem for path in files}
    for path in files:
        beside = _BESIDE.sub("", path.stem)
        if masks_too and any(stem != path.stem and stem in stems for stem in (_ADDED.sub("", path.stem), beside)):
            continue
        if path.stem in found:
            what = f"has two images of one name, {found[path.stem].name} and {path.name}"
            raise BadInputError(what, remedy="remove one", place=folder)
        found[path.stem] = path
    if not found:
        raise BadInputError(f"has no images; known are {', '.join(IMAGE_ENDINGS)}", place=folder)
    return found


# A file of a mask, or an image's entry in a COCO file: the file, its content, and the image's id there.
_Source = tuple[Path, Any, Any]


def _masks(folder: Path, images: dict[str, Path], *, same: bool) -> dict[str, list[_Source]]:
    """Return the sources of masks by the names of their images, in the order of the images."""
    sources: dict[str, list[_Source]] = {}
    alone = []
    for path in _files(folder, MASK_ENDINGS):
        if (same and path == images.get(path.stem)) or _repeats_mask(path):
            continue
        entries: list[tuple[str, _Source]]
        if path.suffix.lower() == ".json":
            content = _coco(path)
            entries = [(PurePosixPath(str(i["file_name"])).stem, (path, content, i["id"])) for i in content["images"]]
        else:
            entries = [(path.stem, (path, None, 0))]
        for stem, source in entries:
            name = stem if stem in images and not same else _ADDED.sub("", stem)
            if name in images:
                sources.setdefault(name, []).append(source)
            elif _BESIDE.sub("", stem) not in images:
                alone.append(stem if source[1] else path.name)
    if alone and sources:
        raise BadInputError(
            f"has masks without an image: {_some(alone)}", remedy="remove them, or add the images", place=folder
        )
    for name, several in sources.items():
        if len(several) > 1:
            what = f"has two masks for {images[name].name}: {several[0][0].name} and {several[1][0].name}"
            raise BadInputError(what, remedy="remove one", place=folder)
    return {name: sources[name] for name in images if name in sources}


def _repeats_mask(path: Path) -> bool:
    """Whether a file has the particles of a mask beside it, as `segment` writes them."""
    stem, what, _ = path.name.rpartition("_rois.zip" if path.suffix == ".zip" else "_coco.json")
    return bool(what) and path.with_name(f"{stem}_mask.tif").is_file()


def read_image(path: Path, pixel_size_angstrom: float | None) -> Micrograph:
    """Return the one micrograph of a file; BadInputError if it cannot be read or holds several."""
    if path.suffix.lower() == ".npy":
        with placed(path.name):
            [image] = read_micrographs(np.array(_array(path)), pixel_size_angstrom=pixel_size_angstrom)
        return Micrograph(image.intensity, image.pixel_size_angstrom, name=path.name, notes=image.notes)
    images = read_micrographs(path, pixel_size_angstrom=pixel_size_angstrom)
    if len(images) != 1:
        raise BadInputError(f"holds {len(images)} images; save each as a file of its own", place=path.name)
    return images[0]


def _truth(source: _Source, micrograph: Micrograph) -> Numbers:
    path, content, number = source
    shape = micrograph.intensity.shape
    with placed(path.name), decode.faults():
        if content is not None:
            return _of_coco(content, number, micrograph)
        if path.suffix.lower() in (".zip", ".roi"):
            return _of_rois(path, shape)
        return _numbered(_values(path, micrograph), path.name)


def _check_shape(shape: tuple[int, ...], micrograph: Micrograph, place: str) -> None:
    (h, w), wanted = shape[:2], micrograph.intensity.shape
    if (h, w) != wanted:
        what = f"has {w} × {h} pixels, and its image {micrograph.name} {wanted[1]} × {wanted[0]}"
        raise BadInputError(what, value=shape, limit=wanted, remedy="export it in the image's size", place=place)


def _values(path: Path, micrograph: Micrograph) -> NDArray[Any]:
    """Return the values of a mask file, of the image's size, which is checked before anything is decoded."""
    ending = path.suffix.lower()
    if ending == ".png":
        with Image.open(path, formats=("PNG",)) as image:
            _check_shape(image.size[::-1], micrograph, path.name)
            return np.asarray(image)
    if ending == ".npy":
        values = _array(path)
        if values.ndim != 2:
            raise BadInputError(f"has shape {list(values.shape)}; a mask has rows and columns", place=path.name)
        _check_shape(values.shape, micrograph, path.name)
        return np.asarray(values)
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        colours = series.axes[-1:] == "S"
        if series.ndim != 2 + colours:
            raise BadInputError(f"holds a stack of shape {list(series.shape)}; save one mask a file", place=path.name)
        _check_shape(series.shape, micrograph, path.name)
        return series.asarray(maxworkers=1)


def _array(path: Path) -> NDArray[Any]:
    """Return the array of a NumPy file, not yet read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BadInputError("is no array of numbers", remedy="write it with numpy.save", place=path.name) from None


def _numbered(values: NDArray[Any], place: str) -> Numbers:
    """Return the numbers of particles of the values of a mask: with two values, of a mask; with more, as they are."""
    # Imported here because it takes a second.
    from skimage.measure import label

    if values.ndim == 3:
        # Grey as colours, perhaps with an opacity.
        first = values[..., 0]
        if any((values[..., i] != first).any() for i in range(1, min(values.shape[-1], 3))):
            raise BadInputError("is a picture in colours, not a mask; save it with two grey values", place=place)
        values = first
    if values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and not np.isfinite(values).all()):
        raise BadInputError("holds values that are no numbers; save the mask with two grey values", place=place)
    levels = np.unique(values)
    if len(levels) == 1 and levels[0] != 0:
        raise BadInputError("marks every pixel; save the particles as one value and the rest as another", place=place)
    if len(levels) <= 2:
        return (values == levels[-1]).astype(np.int32) if len(levels) == 2 else np.zeros(values.shape, np.int32)
    what = f"has {len(levels)} values, where a mask has two, or numbers its particles"
    remedy = "save it with two values (a threshold, no smooth edges)"
    whole = levels[0] >= 0 and levels[-1] < 2**31 and (levels == np.round(levels)).all()
    # Each number of a particle is one region; grey values of a picture and smooth edges are many.
    if not whole or label(values.astype(np.int64), connectivity=2).max() > 1.2 * len(levels):
        raise BadInputError(what, value=len(levels), limit=2, remedy=remedy, place=place)
    return values.astype(np.int32)


def _of_rois(path: Path, shape: tuple[int, ...]) -> Numbers:
    """Return the particles of ImageJ's regions, one a region; a later one lies on an earlier one."""
    from roifile import roiread

    rois = roiread(path)
    truth = np.zeros(shape, np.int32)
    for i, roi in enumerate(rois if isinstance(rois, list) else [rois], 1):
        if roi.roitype.name in _OPEN_ROIS:
            what = f"holds a region that encloses nothing ({roi.roitype.name.lower()})"
            raise BadInputError(what, remedy="draw polygons, ovals or freehand selections")
        truth[_filled(roi.coordinates(multi=True), shape, roi.name or str(i))] = i
    return truth


def _filled(outlines: Sequence[NDArray[Any]], shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    """Return the pixels inside outlines [N, 2] of x and y, whose whole numbers are corners of pixels; inside two is outside."""
    from skimage.draw import polygon2mask

    inside = np.zeros(shape, dtype=bool)
    for outline in outlines:
        points = np.asarray(outline, dtype=float).reshape(-1, 2)
        if len(points) and ((points < -1).any() or (points > np.array(shape[::-1]) + 1).any()):
            raise BadInputError(f"its region {name[:60]} lies outside the image; it is of another image or size")
        inside ^= polygon2mask(shape, points[:, ::-1] - 0.5)
    return inside


def _coco(path: Path) -> dict[str, Any]:
    """Return the content of a COCO file; without images if the file is of something else."""
    try:
        if path.stat().st_size > _MOST_JSON:
            raise BadInputError("is larger than any description of masks", place=path.name)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"cannot be read as JSON ({str(error)[:100]}); export it again", place=path.name) from None
    if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
        return {"images": [], "annotations": []}
    try:
        for entry in content["images"]:
            _ = entry["file_name"], entry["id"]
        for entry in content["annotations"]:
            _ = entry["image_id"], entry["segmentation"]
    except (KeyError, TypeError) as error:
        raise BadInputError(
            f"lacks {error} in an entry, which COCO files have; export it again", place=path.name
        ) from None
    return content


def _of_coco(content: dict[str, Any], number: Any, micrograph: Micrograph) -> Numbers:
    """Return the particles of an image in a COCO file, one an annotation."""
    shape = micrograph.intensity.shape
    [entry] = [e for e in content["images"] if e["id"] == number][:1]
    if {"height", "width"} <= set(entry):
        _check_shape((int(entry["height"]), int(entry["width"])), micrograph, f"entry {entry['file_name']}")
    truth = np.zeros(shape, np.int32)
    for i, annotation in enumerate((a for a in content["annotations"] if a["image_id"] == number), 1):
        drawn = annotation["segmentation"]
        if isinstance(drawn, dict):
            truth[_of_runs(drawn, shape)] = i
        else:
            # Pieces of one particle.
            for piece in drawn:
                truth[_filled([np.reshape(piece, (-1, 2))], shape, f"{annotation.get('id', i)}")] = i
    return truth


def _of_runs(drawn: dict[str, Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of COCO's runs: lengths of 0, 1, 0, … down the columns, as numbers or packed in a text."""
    counts = drawn["counts"]
    if isinstance(counts, str):
        counts = _unpacked(counts)
    runs = np.asarray(counts, dtype=np.int64)
    if list(drawn["size"]) != list(shape) or runs.sum() != shape[0] * shape[1] or (runs < 0).any():
        raise BadInputError(f"its runs are of an image of {list(drawn['size'])} pixels, not of {list(shape)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape[::-1]).T


def _unpacked(text: str) -> list[int]:
    """Return the runs of COCO's packed text: 5 bits a character, lowest first, bit 6 continues; from the third on less the one before the last."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs
