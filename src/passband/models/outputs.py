"""Write a segmentation: masks and probabilities with their calibration, regions for other programs, an overlay, a table, a histogram, and a record of its origin."""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from passband.base.errors import BadInputError, parameter, plain
from passband.base.version import __version__
from passband.figures import size_histogram, style
from passband.files.atomic import json_text, write_files
from passband.files.tables import parquet
from passband.micrographs.write_labels import particle_outlines, write_coco, write_rois
from passband.micrographs.write_tiff import write_tiff
from passband.models.card import ModelCard
from passband.models.segment import Segmentation

# Digits after the decimal point in the CSV: 0.001 Å, rad, or of a probability.
_DIGITS = 3


def names(stem: str) -> dict[str, str]:
    """Return the names of the files of a segmentation by their content."""
    tiffs = {what: f"{stem}_{what}.tif" for what in ("mask", "instances", "probability")}
    return tiffs | {
        "hspy": f"{stem}_probability.hspy",
        "overlay": f"{stem}_overlay.png",
        "particles": f"{stem}_particles.parquet",
        "particles_csv": f"{stem}_particles.csv",
        "rois": f"{stem}_rois.zip",
        "coco": f"{stem}_coco.json",
        "sizes": f"{stem}_sizes.png",
        "record": f"{stem}_segmentation.json",
    }


def start(record: str) -> str:
    """Return what the names of a segmentation's files start with, from that of its record."""
    return record.removesuffix(names("")["record"])


def places(images: Sequence[Path]) -> list[Path]:
    """Return where the results of images go, relative to one folder: folder and start of the files' names, different for each image.

    Images of one name in different folders get a subfolder each; images that differ in their ending alone keep it.
    """
    whole = [path.absolute() for path in images]
    parents: dict[str, list[Path]] = {}
    for path in whole:
        parents.setdefault(path.stem, []).append(path.parent)
    common = {stem: os.path.commonpath(found) for stem, found in parents.items()}
    count = Counter((path.parent, path.stem) for path in whole)
    result = []
    for path in whole:
        alone = count[path.parent, path.stem] == 1
        place = path.parent.relative_to(common[path.stem]) / (path.stem if alone else path.name)
        # A name that is no text, or controls a terminal, is not passed on.
        result.append(Path(*(part if plain(part) == part else plain(part).replace("\\", "_") for part in place.parts)))
    return result


def origin(card: ModelCard, image: Path, frame: str) -> dict[str, str]:
    """Return the origin of a segmentation: model with its digest, version of passband, image and frame."""
    return {
        "model": card.name,
        "model_digest": str(card.digest),
        "passband": __version__,
        "image": plain(image.absolute()),
        "frame": frame,
    }


def free_place(folder: Path, place: Path, made_by: dict[str, str]) -> Path:
    """Return where in a folder to write results so that those of another model or image stay: the place, or one in the model's subfolder.

    Results of the same image by the same model are replaced. `place` is of `places`, `made_by` of `origin`. BadInputError if both places are
    taken, or the folder is a file or cannot be created.
    """
    for path in (folder / place, folder / made_by["model"] / place):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"{parameter('folder')} {path.parent}: cannot be created: {error.strerror}; choose another"
            raise BadInputError(what) from None
        files = [path.parent / name for name in names(path.name).values()]
        if not any(file.exists() for file in files) or _same(files[-1], made_by):
            return path
    remedy = f"choose another {parameter('folder')}, or delete them first"
    raise BadInputError(f"has results of another image or model named {place.name}", remedy=remedy, place=folder)


def _same(record: Path, made_by: dict[str, str]) -> bool:
    """Whether the record of results names the same image and model; the version of passband may differ."""
    try:
        written = json.loads(record.read_text(encoding="utf-8"))
        return all(written[key] == value for key, value in made_by.items() if key != "passband")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_outputs(path: Path, segmentation: Segmentation, made_by: dict[str, str]) -> dict[str, str]:
    """Write all files of a segmentation, replacing those of these names, and return their paths by content; BadInputError if the disk is full.

    `path` is the folder, which exists, and the start of the files' names; `made_by` is of `origin`.
    """
    paths = {what: path.parent / name for what, name in names(path.name).items()}
    pixel, instances = segmentation.pixel_size_angstrom, segmentation.instances
    numbered = instances.astype(np.uint16 if instances.max() < 65536 else np.float32)
    rounded = segmentation.particles.with_columns(pl.selectors.float().round(_DIGITS))
    outlines = particle_outlines(instances)
    confidence = segmentation.particles["confidence"].to_list()
    record = made_by | segmentation.to_dict() | {"image": made_by["image"]}
    with style.figure(5.2, 3.4) as figure:
        size_histogram.draw(segmentation.particles, figure.subplots())
        writers: dict[str, Callable[[Path], object]] = {
            "mask": lambda file: write_tiff(file, segmentation.mask.astype(np.uint8) * np.uint8(255), pixel),
            "instances": lambda file: write_tiff(file, numbered, pixel),
            "probability": lambda file: write_tiff(file, segmentation.probability, pixel),
            "hspy": lambda file: _hspy(file, segmentation),
            "overlay": lambda file: segmentation.overlay().save(file, format="PNG", compress_level=3),
            "particles": lambda file: file.write_bytes(parquet(segmentation.particles)),
            "particles_csv": lambda file: rounded.write_csv(file),
            "rois": lambda file: write_rois(file, outlines),
            "coco": lambda file: write_coco(file, instances, outlines, Path(made_by["image"]).name, confidence),
            "sizes": lambda file: figure.savefig(file, format="png"),
            "record": lambda file: file.write_text(json_text(record), encoding="utf-8"),
        }
        write_files({paths[what]: write for what, write in writers.items()})
    return {what: str(file) for what, file in paths.items()}


def _hspy(path: Path, segmentation: Segmentation) -> None:
    from rsciio.hspy import file_writer

    data = segmentation.probability
    scale = {"scale": segmentation.pixel_size_angstrom / 10, "offset": 0.0, "units": "nm", "navigate": False}
    title = f"probability of a particle, {segmentation.micrograph.name}"
    signal = {
        "data": data,
        "axes": [{"name": name, "size": size} | scale for name, size in zip("yx", data.shape, strict=True)],
        "metadata": {"General": {"title": title}, "Signal": {"signal_type": "", "quantity": "probability"}},
        "package_info": {"package": "passband", "package_version": __version__},
        "attributes": {"_lazy": False},
        **{name: {} for name in ("original_metadata", "learning_results", "models", "tmp_parameters")},
    }
    file_writer(str(path), signal)
