"""Segment a micrograph: resample it to the network's pixel size, predict tile by tile, resample back."""

import base64
import html
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional

from passband.base.errors import BadInputError, parameter
from passband.learning import task_of
from passband.learning.instances import separated
from passband.learning.particle_scores import number_particles
from passband.micrographs.lattice import MOST, particle_spacings, spacing_columns
from passband.micrographs.measure_particles import measured, particle_table
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.resample import resample
from passband.micrographs.split_particles import meeting, split_touching
from passband.models.card import ModelCard, Specimens
from passband.models.confidence import Confidence, finite_or_none, particle_features
from passband.models.store import SEGMENTING, Model, require_task
from passband.simulation.imaging import normalize
from passband.specimens.crystals import Crystal, check_element, crystal_names, library_crystal

#: Overlap of neighbouring tiles, as a share of a tile.
OVERLAP = 0.25
# Tiles at a time.
_BATCH = 8
# Shortest longer side of an overlay [pixels].
_SIDE = 1024
_OUTLINE = (255, 140, 0)
_UNSURE = (86, 180, 233)
# Particles of less confidence have outlines of another colour.
_DOUBTFUL = 0.5
_LEGEND = "particle, with its number in the table"
# Rows of the table in a page or notebook; `particles` has all of them.
_ROWS = 200


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The particles that a network finds in a micrograph.

    Attributes:
        micrograph: that was segmented, shape [h, w].
        probability: of particle at each pixel, float32 [h, w]; of a model of instances 1 / (1 + exp(−d)) at a predicted distance d [Å]
            inside the outline.
        mask: pixels that are particle, bool [h, w].
        instances: number of the particle at each pixel, from 1; 0 is none; int32 [h, w]. Particles that touch are split, where
            they are narrow (`split_touching`), or where a model of instances predicts an outline between them.
        particles: one row a particle (`measure_particles.measured`), with the number of its region of connected pixels, which particles that
            touch share, and the region's confidence: the probability that it matches a true one with an intersection of more than half the
            union; null if the model was not calibrated for it, or calibrated on no such region.
    """

    micrograph: Micrograph
    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]
    instances: NDArray[np.int32]
    particles: pl.DataFrame

    @property
    def pixel_size_angstrom(self) -> float:
        """Pixel size of the arrays [Å]."""
        return self.micrograph.pixel_size_angstrom

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: counts, sizes and the share of the image that is particle."""
        whole = self.particles.filter(~pl.col("touches_edge"))["equivalent_diameter_angstrom"]
        return {
            "image": self.micrograph.name,
            "found": list(self.micrograph.notes),
            "pixel_size_angstrom": self.pixel_size_angstrom,
            "particles": len(self.particles),
            "particles_whole": len(whole),
            "median_diameter_angstrom": whole.median(),
            "particle_share": float(self.mask.mean()),
            "touching_particles": int(self.particles["region"].is_duplicated().sum()),
            "crystalline_particles": self._count("crystalline"),
            "doubtful_particles": len(self._doubtful) if self.particles["confidence"].count() else None,
        }

    def _count(self, name: str) -> int | None:
        """Return the number of particles for which a column is true; None if it is known of none."""
        column = self.particles.get_column(name, default=None)
        return None if column is None or not column.count() else int(column.sum())

    @property
    def _doubtful(self) -> pl.Series:
        """Numbers of the particles of low confidence."""
        return self.particles.filter(pl.col("confidence") < _DOUBTFUL)["particle"]

    def __str__(self) -> str:
        """Return one line: the number of particles and their median size."""
        facts = self.to_dict()
        count, median = facts["particles"], facts["median_diameter_angstrom"]
        text = f"{count} particle{'s' * (count != 1)} on {facts['particle_share']:.1%} of the image"
        if median is None:
            return text
        return f"{text}, median diameter {median / 10:.2f} nm ({facts['particles_whole']} not cut by the edge)"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the overlay, the line and a table of the largest particles."""
        content = BytesIO()
        self.overlay().save(content, format="PNG")
        data = base64.b64encode(content.getvalue()).decode("ascii")
        image = f'<img alt="outlines of the particles" width="512" src="data:image/png;base64,{data}">'
        return image + self.table_html()

    def table_html(self) -> str:
        """Return the line and a table of the largest particles as HTML."""
        largest = self.particles.sort("equivalent_diameter_angstrom", descending=True).head(_ROWS)
        rows = "".join(
            f"<tr><td>{row['particle']}</td><td>{row['equivalent_diameter_angstrom']:.1f}</td><td>{row['circularity']:.2f}</td>"
            f"<td>{row['mean_probability']:.2f}</td><td>{'–' if row['confidence'] is None else format(row['confidence'], '.2f')}</td>"
            f"<td>{html.escape(lattice_text(row))}</td><td>{'cut by the edge' if row['touches_edge'] else ''}</td></tr>"
            for row in largest.iter_rows(named=True)
        )
        head = "<tr><th>no.</th><th>diameter [Å]</th><th>circularity</th><th>probability</th><th>confidence</th><th>lattice</th><th></th></tr>"
        omitted = f"<p>the largest {_ROWS} of {len(self.particles)}</p>" if len(self.particles) > _ROWS else ""
        return f"<p>{html.escape(str(self))}</p><div class='scroll'><table>{head}{rows}</table></div>{omitted}"

    def overlay(self) -> Image.Image:
        """Return the micrograph in grey with the outlines of the particles, their numbers in the table, a scale bar and a legend.

        Its longer side has 1024 to 2048 pixels; a notebook shows it.
        """
        from skimage.measure import find_contours

        from passband.figures.style import bar_length

        grey, step = self.micrograph.grey()
        zoom = max(-(-_SIDE // max(grey.shape)), 1)
        size = max(max(grey.shape) * zoom // 45, 14)
        picture = Image.fromarray(grey).resize((grey.shape[1] * zoom, grey.shape[0] * zoom)).convert("RGB")
        draw = ImageDraw.Draw(picture)
        font = ImageFont.load_default(size)
        # Pieces too small for the table have no outline. Outside the image nothing is particle, so that outlines close; nor is it between particles.
        numbers, doubtful = np.pad(self.instances[::step, ::step], 1), self._doubtful.to_numpy()
        numbers[meeting(numbers)] = 0
        unsure = np.isin(numbers, doubtful)
        for inside, colour in (((numbers > 0) & ~unsure, _OUTLINE), (unsure, _UNSURE)):
            for line in find_contours(inside.astype(float), 0.5):
                draw.line([(x, y) for y, x in (line - 0.5) * zoom], fill=colour, width=max(size // 6, 2), joint="curve")
        black: dict[str, Any] = {"font": font, "stroke_width": max(size // 9, 2), "stroke_fill": "black"}
        per_pixel = zoom / step / self.pixel_size_angstrom
        for row in self.particles.iter_rows(named=True):
            x, y = ((row[f"{axis}_angstrom"]) * per_pixel + zoom / 2 for axis in "xy")
            draw.text((x, y), str(row["particle"]), fill="white", anchor="mm", **black)
        bar = bar_length(picture.width / per_pixel)
        h, width = picture.height, bar * per_pixel
        draw.rectangle([size - 2, h - size - 2, size + width + 2, h - size * 2 // 3 + 2], fill="black")
        draw.rectangle([size, h - size, size + width, h - size * 2 // 3], fill="white")
        draw.text((size, h - size * 1.2), f"{bar / 10:g} nm", fill="white", anchor="ls", **black)
        draw.text((size, size / 2), f"{_LEGEND} ({len(self.particles)})", fill=_OUTLINE, anchor="lt", **black)
        if len(doubtful):
            text = f"confidence below {_DOUBTFUL:g} ({len(doubtful)})"
            draw.text((size, size * 1.9), text, fill=_UNSURE, anchor="lt", **black)
        return picture


def lattice_text(row: dict[str, Any]) -> str:
    """Return the spacings of a particle's row as a text: 2.36 ± 0.02 Å Au {111} +0.4 %."""
    if row.get("crystalline") is None:
        return "–"
    texts = []
    for k in range(1, MOST + 1):
        d, error, name = (
            row[f"{n}_{k}{end}"]
            for n, end in (("spacing", "_angstrom"), ("spacing", "_uncertainty_angstrom"), ("reflection", ""))
        )
        if d is not None:
            texts.append(f"{d:.2f} ± {error:.2f} Å {name or ''}".strip())
    return "; ".join(texts) or "none seen"


def check_fits(micrograph: Micrograph, card: ModelCard) -> None:
    """Raise BadInputError for a micrograph of another mode of the microscope than the model's, or with a pixel size outside its range."""
    if micrograph.scanned and card.modality != "stem":
        what = (
            f"was recorded by scanning (STEM or SEM), whose contrast {card.name} does not know: it is for HRTEM images"
        )
        remedy = "give an HRTEM image, or a model for STEM"
        raise BadInputError(what, value="stem", limit=card.modality, remedy=remedy, place=micrograph.name)
    (low, high), pixel = card.pixel_band_angstrom, micrograph.pixel_size_angstrom
    if not low <= pixel <= high:
        what = f"its pixel size of {pixel:g} Å is outside the {low:g} to {high:g} Å of {card.name}"
        remedy = f"bin the image, or correct a wrong calibration with {parameter('pixel_size_angstrom')}"
        if pixel > high:
            remedy = "record at a higher magnification, or use another model"
        raise BadInputError(what, value=pixel, limit=(low, high), remedy=remedy, place=micrograph.name)


def segment(
    model: Model,
    micrograph: Micrograph,
    *,
    elements: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Segmentation:
    """Segment a micrograph with a model; `progress` is called with the number of tiles done and their total.

    Each tile is normalised to zero mean and unit variance, like the training images, so uneven illumination matters little.
    Logits of overlapping tiles are blended with Gaussian weights. Lattice spacings are compared with those of the library's crystals of
    `elements`, or with the crystals that the model was trained on.

    Raises:
        BadInputError: if the model does not segment, there is no such element or crystal, mode or pixel size are not the model's, or the image is smaller than a quarter of a tile.
    """
    require_task(model.card, *SEGMENTING)
    crystals = known_crystals(model.card.specimens, elements)
    found = segment_with(model.network, model.card, micrograph, progress=progress, confidence=model.confidence)
    spacings = particle_spacings(micrograph.intensity, found.instances, micrograph.pixel_size_angstrom)
    return replace(found, particles=found.particles.with_columns(spacing_columns(spacings, crystals)))


def known_crystals(specimens: Specimens, elements: Sequence[str] | None = None) -> list[Crystal]:
    """Return the library's crystals of some elements, or those of a model's recipe, or of its elements without one.

    Raises:
        BadInputError: if the elements that are given are none, or no crystal of the library consists of them.
    """
    if elements is None and specimens.recipe is not None:
        from passband.specimens import SpecimenRecipe

        particles = SpecimenRecipe.model_validate(specimens.recipe).particles
        return list({p.crystal_used().name: p.crystal_used() for p in particles}.values())
    wanted = set(specimens.elements if elements is None else elements)
    for element in elements or ():
        check_element(element)
    found = [c for c in map(library_crystal, crystal_names()) if wanted.issuperset(c.symbols)]
    if elements is not None and not found:
        what = f"{parameter('elements')} {', '.join(elements)}: the library has no crystal of them"
        raise BadInputError(
            what, value=list(elements), limit=crystal_names(), remedy="leave it away, or give elements of another"
        )
    return found


def segment_with(
    network: nn.Module,
    card: ModelCard,
    micrograph: Micrograph,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    confidence: Confidence | None = None,
) -> Segmentation:
    """Segment a micrograph with a network that is as a card describes; see `segment`. Particles have a confidence if it is given."""
    # Interpolate logits, not probabilities, back to the micrograph's pixels.
    [fine] = on_image(outputs_of(network, card, micrograph, progress), micrograph)
    distance = None
    if card.task == "instances":
        distance = task_of(card.task).shown(fine[None, None])[0]
        fine = torch.from_numpy(distance)
    probability = fine.sigmoid().numpy()
    mask = probability >= card.threshold
    instances, particles = _particles(mask, probability, micrograph.pixel_size_angstrom, confidence, distance)
    return Segmentation(micrograph, probability, mask, instances, particles)


def outputs_of(
    network: nn.Module, card: ModelCard, micrograph: Micrograph, progress: Callable[[int, int], None]
) -> Tensor:
    """Return the outputs of a network that is as a card describes, on its own pixels, shape [K, h, w]; BadInputError as `segment`."""
    pixel = micrograph.pixel_size_angstrom
    check_fits(micrograph, card)
    h, w = micrograph.intensity.shape
    shape = network_shape((h, w), pixel, card)
    if min(shape) < card.field_pixels / 4:
        field = card.field_pixels * card.pixel_size_angstrom
        what = f"shows {h * pixel:.3g} × {w * pixel:.3g} Å, less than a quarter of the field of {card.name} ({field:.3g} Å a side)"
        raise BadInputError(what, remedy="give a larger piece", place=micrograph.name)
    return _logits(network, card, resample(micrograph.intensity, shape), progress)


def on_image(outputs: Tensor, micrograph: Micrograph) -> Tensor:
    """Return outputs [K, h, w] interpolated to the pixels of a micrograph."""
    shape = micrograph.intensity.shape
    return functional.interpolate(outputs[None], shape, mode="bilinear", align_corners=False)[0]


def _particles(
    mask: NDArray[np.bool_],
    probability: NDArray[np.float32],
    pixel: float,
    confidence: Confidence | None,
    distance: NDArray[np.float32] | None,
) -> tuple[NDArray[np.int32], pl.DataFrame]:
    """Return the number of the particle at each pixel, and the table of particles; those that touch are split after a region's confidence is known."""
    regions, table = particle_table(mask, pixel, probability)
    known: list[float | None] = [None] * len(table)
    if confidence is not None:
        known = finite_or_none(confidence.of(particle_features(regions, probability, table, pixel)))
    instances = split_touching(regions, pixel) if distance is None else number_particles(separated(distance), pixel)
    region = np.zeros(int(instances.max(initial=0)) + 1, dtype=np.int64)
    region[instances] = regions
    if len(region) > len(table) + 1 or distance is not None:
        table = measured(instances, pixel, probability)
    values = pl.Series("confidence", [known[r - 1] for r in region[1:]], dtype=pl.Float64)
    return instances, table.with_columns(values, region=region[1:])


def network_shape(shape: tuple[int, ...], pixel_size_angstrom: float, card: ModelCard) -> tuple[int, int]:
    """Return the shape of an image on the network's pixels."""
    scale = pixel_size_angstrom / card.pixel_size_angstrom
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


@torch.no_grad()
def _logits(
    network: nn.Module, card: ModelCard, image: NDArray[np.float32], progress: Callable[[int, int], None]
) -> Tensor:
    """Return logits [K, h, w] of an image [h, w] at the network's pixel size."""
    # Imported here because it takes a second.
    with warnings.catch_warnings(action="ignore"):
        from monai.inferers import SlidingWindowInferer

    side = card.field_pixels
    steps = [max(-(-(n - side) // max(int(side * (1 - OVERLAP)), 1)) + 1, 1) for n in image.shape]
    done, total = 0, steps[0] * steps[1]
    progress(0, total)

    def predict(tiles: Tensor) -> Tensor:
        nonlocal done
        result = network(normalize(tiles))
        done = min(done + len(tiles), total)
        progress(done, total)
        return result

    inferer = SlidingWindowInferer(
        (side, side), sw_batch_size=_BATCH, overlap=OVERLAP, mode="gaussian", padding_mode="reflect", cval=0.0
    )
    # An image smaller than a tile is mirrored first: the inferer can reflect less than its own size only.
    missing = [max(side - n, 0) for n in image.shape]
    padded = np.pad(image, [(m // 2, m - m // 2) for m in missing], mode="symmetric")
    with warnings.catch_warnings(action="ignore"):
        logits = inferer(torch.from_numpy(padded)[None, None], predict)
    top, left = (m // 2 for m in missing)
    return logits[0, :, top : top + image.shape[0], left : left + image.shape[1]]
