"""A segmentation whose particles a user has corrected: its table, and its labels as files that `model tune` reads."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from passband.app.downloads import Offer, stem
from passband.learning.particle_scores import number_particles
from passband.micrographs.lattice import particle_spacings, spacing_columns
from passband.micrographs.measure_particles import measured
from passband.micrographs.write_labels import particle_outlines, write_coco, write_rois
from passband.micrographs.write_tiff import write_tiff
from passband.models.segment import Segmentation
from passband.specimens.crystals import Crystal


def corrected(
    found: Segmentation, numbers: NDArray[np.int32], crystals: Sequence[Crystal] | None = None
) -> Segmentation:
    """Return a segmentation with other particles, numbered at each pixel, int32 [h, w].

    Confidence and lattice of particles that have not changed stay, those of others are null. With crystals to compare with, the lattices of
    all are measured again.
    """
    pixel = found.pixel_size_angstrom
    instances = number_particles(numbers, pixel)
    table = measured(instances, pixel, found.probability)
    count = len(table)
    # A particle has not changed if its pixels are those of a former one.
    former = np.zeros(count + 1, np.int32)
    former[instances] = found.instances
    mixed = np.bincount(instances[found.instances != former[instances]], minlength=count + 1)
    areas, before = np.bincount(instances.ravel()), np.bincount(found.instances.ravel())
    same = (mixed == 0) & (former > 0) & (areas == before[former])
    regions = np.zeros(count + 1, np.int64)
    regions[instances] = ndimage.label(instances > 0)[0]
    table = table.with_columns(
        region=regions[1:],
        former=pl.Series([int(n) if s else None for n, s in zip(former, same, strict=True)][1:], dtype=pl.Int64),
    )
    kept = [c for c in found.particles.columns if c not in table.columns]
    old = found.particles.select(pl.col("particle").cast(pl.Int64).alias("former"), *kept)
    table = table.join(old, on="former", how="left", maintain_order="left").select(found.particles.columns)
    if crystals is not None:
        spacings = particle_spacings(found.micrograph.intensity, instances, pixel)
        table = table.with_columns(spacing_columns(spacings, crystals))
    return replace(found, mask=instances > 0, instances=instances, particles=table)


def numbered(instances: NDArray[np.int32]) -> NDArray[np.uint16 | np.float32]:
    """Return numbers of particles in a type that ImageJ reads."""
    return instances.astype(np.uint16 if instances.max(initial=0) < 65536 else np.float32)


def label_files(found: Segmentation) -> list[Offer]:
    """Return the labels as a TIFF of numbers, ImageJ's regions and a COCO file; without particles as a TIFF alone."""
    name, pixel = found.micrograph.name, found.pixel_size_angstrom
    start = stem(name)

    def coco(path: Path) -> None:
        confidence = found.particles["confidence"].to_list()
        write_coco(path, found.instances, particle_outlines(found.instances), name, confidence)

    offers = [
        Offer(
            "labels (TIFF)",
            f"{start}_labels.tif",
            _written(lambda path: write_tiff(path, numbered(found.instances), pixel)),
        )
    ]
    if len(found.particles):
        regions = _written(lambda path: write_rois(path, particle_outlines(found.instances)))
        offers.append(Offer("ImageJ regions", f"{start}_rois.zip", regions))
        offers.append(Offer("COCO", f"{start}_coco.json", _written(coco)))
    return offers


def _written(write: Callable[[Path], object]) -> Callable[[], bytes]:
    """Return a function that returns the content of a file that another writes."""

    def content() -> bytes:
        with TemporaryDirectory(prefix="passband-") as folder:
            path = Path(folder) / "file"
            write(path)
            return path.read_bytes()

    return content
