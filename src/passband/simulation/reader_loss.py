"""Reader loss between conditions, specimens or labelled images: a classifier of pixels stands for a network, in seconds.

`metrics.reader` has the classifier. Sixteen specimens of a recipe fit it, twelve others test it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passband.base.errors import BadInputError, parameter
from passband.base.identity import seed_from
from passband.conditions import Condition
from passband.execution.base import one_thread
from passband.metrics.reader import FITTED, fit_reader, pixel_features, score
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.imaging import normalize
from passband.simulation.modality import Images
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, draw_specimen

#: Specimens of a recipe that are simulated: 16 fit, 12 test.
SPECIMENS = 28
#: Conditions of a set that are pooled at most.
POOLED = 64
#: Pixels of a side, spread evenly over its images.
PIXELS = 28_000
# Frozen-phonon configurations: two or four change ln loss by 0.08 (standard deviation), as other shot noise does.
_PHONONS = 1
# Coherent images that are formed of a specimen under all conditions of a side at most: two minutes for fields of 51 Å.
_COHERENT_PARTS = 5000
# Specimens simulated at once.
_AT_ONCE = 7
# The smoothest feature averages over 12.8 Å, and slopes need neighbours.
_LEAST_SIDE = 16


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of which every pixel's truth is known; those that cannot be used are refused.

    Attributes:
        images: of any scale, shape [N, rows, columns], at least two.
        masks: where particles are, bool, of the same shape.
        pixel_size_angstrom: of the images [Å].

    Raises:
        BadInputError: if shapes differ, an image is not finite, or the pixel size is not positive.
    """

    images: NDArray[Any]
    masks: NDArray[Any]
    pixel_size_angstrom: float

    def __post_init__(self) -> None:
        """Check the arrays."""
        try:
            images, masks = np.asarray(self.images), np.asarray(self.masks)
            pixel = float(self.pixel_size_angstrom)
            np.isfinite(images)
        except (TypeError, ValueError) as error:
            raise BadInputError(
                f"images, masks or pixel size are no arrays of numbers and a number ({error})"
            ) from error
        if images.ndim != 3 or len(images) < 2 or min(images.shape[1:]) < _LEAST_SIDE:
            what = (
                f"images of shape {list(images.shape)} are not two or more with sides of at least {_LEAST_SIDE} pixels"
            )
            raise BadInputError(what, value=images.shape, remedy="stack them into an array [N, rows, columns]")
        if masks.shape != images.shape:
            what = f"masks of shape {list(masks.shape)} do not fit images of shape {list(images.shape)}"
            raise BadInputError(what, value=masks.shape, limit=images.shape, remedy="give one mask for each image")
        if not np.isfinite(images).all():
            raise BadInputError("images have pixels that are not finite; replace or cut them")
        if not np.ptp(images, axis=(1, 2)).all():
            raise BadInputError("an image has one value everywhere; leave it out")
        if not 0 < pixel < np.inf:
            what = f"{parameter('pixel_size_angstrom')} {self.pixel_size_angstrom:g} is not positive"
            raise BadInputError(what, value=self.pixel_size_angstrom, remedy="give the pixel in Å")
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "masks", masks.astype(bool))


@dataclass(frozen=True)
class ReaderLoss:
    """What a pixel classifier fitted to the training's images gets wrong on the test's.

    Attributes:
        loss: cross-entropy + 1 − Dice.
        in_domain_loss: loss of a reader fitted to other images of the test.
        false_positive: share of the test's pixels called particle that are none.
        false_negative: share of the test's pixels that are particle and are missed.
        notes: what is allowed but may surprise, a line each.
    """

    loss: float
    in_domain_loss: float
    false_positive: float
    false_negative: float
    notes: tuple[str, ...] = ()

    @property
    def relative_loss(self) -> float:
        """Loss over the in-domain loss."""
        return self.loss / self.in_domain_loss

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name, with the relative loss, and the notes."""
        content = asdict(self)
        return {**content, "notes": list(content.pop("notes")), "relative_loss": self.relative_loss}

    def __str__(self) -> str:
        lines = [
            f"reader loss            {self.loss:.4f}   of a pixel classifier fitted to the training's images, on the test's",
            f"in-domain loss         {self.in_domain_loss:.4f}   of one fitted to images of the test; relative loss {self.relative_loss:.2f}",
            f"false positives        {self.false_positive:.4f}   share of the pixels called particle that are none",
            f"false negatives        {self.false_negative:.4f}   share of the pixels that are particle and are missed",
        ]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


#: One side of a reader loss: conditions, pooled, or labelled images.
Side = Sequence[Condition] | LabelledImages


def reader_loss(
    train: Side,
    test: Side,
    recipe: Recipe,
    test_recipe: Recipe | None = None,
    *,
    progress: Callable[[float], None] = lambda specimens: None,
) -> ReaderLoss:
    """Return the reader loss between two sides, each conditions or labelled images.

    Every specimen is imaged under every condition of a side, without shot noise where there is no dose. The first four sevenths of
    the specimens, or of the labelled images, fit and the others test. The answer is the same at every call.

    Args:
        train: what the reader is fitted to.
        test: what it is tested on.
        recipe: specimens of the sides that are conditions.
        test_recipe: those of the test, if they are others.
        progress: called with 0, and then with the number of specimens just simulated; in all there are `specimens_needed`.

    Raises:
        BadInputError: if pixel sizes differ, a condition does not fit its recipe, or its quadrature takes too long, or there is no film or no
            particle to tell apart.
    """
    if test_recipe is not None and isinstance(test, LabelledImages):
        name = parameter("test_recipe")
        raise BadInputError(f"{name} is for conditions, and the test is labelled images; leave it out")
    sides = {"train": _prepared("train", train, recipe), "test": _prepared("test", test, test_recipe or recipe)}
    _check_pixels(sides)
    progress(0.0)
    waves: dict[tuple[str, float], tuple[Tensor, Tensor]] = {}
    with one_thread():
        parts = {name: _parts(name, *_images(side, waves, progress)) for name, side in sides.items()}
        _, tested = parts["test"]
        other, own = (score(fit_reader(*fitted).logits(tested[0]), tested[1]) for fitted, _ in parts.values())
    return ReaderLoss(other.loss, own.loss, other.false_positive, other.false_negative, _notes(sides))


def specimens_needed(train: Side, test: Side) -> int:
    """Return how many specimens of one recipe `reader_loss` simulates: each anew for every electron energy."""
    sides = [side for side in (train, test) if not isinstance(side, LabelledImages)]
    return SPECIMENS * len({condition.energy_ev for side in sides for condition in side})


def sample_pixels(images: Images, pixel_size_angstrom: float, pixels: int = PIXELS) -> tuple[Tensor, Tensor]:
    """Return features, float32 [N, P, 29], and truth, bool [N, P], of random pixels, equally many of each of N images.

    The places depend only on the number of images and their shape. P is `pixels` / N, or all pixels if there are fewer.
    """
    generator = torch.Generator().manual_seed(seed_from("reader"))
    n, everywhere = len(images.masks), images.masks[0].numel()
    each = min(max(pixels // n, 1), everywhere)
    places = torch.stack([torch.randperm(everywhere, generator=generator)[:each] for _ in range(n)])
    features = [
        pixel_features(normalize(counts[None].float()), pixel_size_angstrom, place[None])[0]
        for counts, place in zip(images.counts, places, strict=True)
    ]
    return torch.stack(features), images.masks.flatten(1).gather(1, places)


@dataclass(frozen=True)
class _Simulation:
    """Specimens of a recipe, the imagers of the conditions under which they are seen, and how many conditions were given."""

    recipe: Recipe
    imagers: Sequence[Imager]
    given: int

    @property
    def pixel_size_angstrom(self) -> float:
        return self.imagers[0].condition.pixel_size_angstrom


def _prepared(name: str, side: Side, recipe: Recipe) -> LabelledImages | _Simulation:
    """Return a side, or refuse it before anything is simulated."""
    if isinstance(side, LabelledImages):
        return side
    if not side:
        raise BadInputError(f"{name} holds no condition; give one or more")
    if len({condition.pixel_size_angstrom for condition in side}) > 1:
        raise BadInputError(f"{name} has conditions of several pixel sizes; a reader sees one, so give each alone")
    if draw_specimen(recipe, 0).film is None:
        raise BadInputError(f"the recipe of {name} has no film to tell particles from; add a substrate")
    pooled = side[:: -(-len(side) // POOLED)]
    parts = sum(_coherent_parts(condition) for condition in pooled)
    if parts > _COHERENT_PARTS:
        what = (
            f"{name}: coherence quadrature sums {parts} coherent images of each specimen, more than {_COHERENT_PARTS}"
        )
        remedy = "lower quadrature_nodes, give fewer conditions, or set coherence to quasi"
        raise BadInputError(what, value=parts, limit=_COHERENT_PARTS, remedy=remedy)
    imagers = [Imager(c, recipe.field_angstrom, _settings(c.energy_ev)) for c in pooled]
    for imager in imagers:
        imager.check()
    return _Simulation(recipe, imagers, len(side))


def _coherent_parts(condition: Condition) -> int:
    """Return how many coherent images make one image under a condition."""
    if condition.coherence == "quasi":
        return 1
    axes = (condition.focal_spread_angstrom > 0) + 2 * (condition.convergence_mrad > 0)
    return int(condition.quadrature_nodes**axes)


def _settings(energy_ev: float) -> ExitWaveConfig:
    return ExitWaveConfig(energy_ev=energy_ev, phonon_configurations=_PHONONS)


def _check_pixels(sides: dict[str, LabelledImages | _Simulation]) -> None:
    train, test = (side.pixel_size_angstrom for side in sides.values())
    if abs(train - test) > 1e-3 * train:
        what = f"pixels of {train:g} Å in train and {test:g} Å in test differ, and a reader sees sizes in pixels"
        raise BadInputError(what, value=test, limit=train, remedy="use one pixel size, or rescale the images")


def _images(
    side: LabelledImages | _Simulation,
    waves: dict[tuple[str, float], tuple[Tensor, Tensor]],
    progress: Callable[[float], None],
) -> tuple[Images, float]:
    """Return the images of a side and their pixel size [Å]; `waves` keeps exit waves and masks by recipe and energy."""
    pixel = side.pixel_size_angstrom
    if isinstance(side, LabelledImages):
        return Images(torch.from_numpy(side.images.astype(np.float32)), torch.from_numpy(side.masks)), pixel
    made = []
    for imager in side.imagers:
        energy = imager.condition.energy_ev
        key = side.recipe.model_dump_json(), energy
        if key not in waves:
            scattered = []
            for start in range(0, SPECIMENS, _AT_ONCE):
                scattered.append(scatter(side.recipe, range(start, start + _AT_ONCE), _settings(energy)))
                progress(_AT_ONCE)
            waves[key] = torch.cat([stored for stored, _ in scattered]), torch.cat([masks for _, masks in scattered])
        # One seed: conditions of one dose and contrast differ in optics only, not in luck.
        made.append(imager.images(*waves[key], seed=seed_from("reader", side.recipe.seed)))
    # Specimen by specimen, each under all conditions, so that the first images are of the first specimens.
    counts = torch.stack([images.counts for images in made], 1).flatten(0, 1)
    return Images(counts, torch.stack([images.masks for images in made], 1).flatten(0, 1)), pixel


def _parts(name: str, images: Images, pixel_size_angstrom: float) -> list[tuple[Tensor, Tensor]]:
    """Return features [P, 29] and truth [P] of the pixels that fit, and of those that test."""
    n = len(images.masks)
    first = min(max(round(n * FITTED), 1), n - 1)
    features, truth = sample_pixels(images, pixel_size_angstrom)
    parts = [
        (features[:first].flatten(0, 1), truth[:first].flatten()),
        (features[first:].flatten(0, 1), truth[first:].flatten()),
    ]
    for (_, seen), which in zip(parts, ("first", "last"), strict=True):
        if not seen.any() or seen.all():
            lacking = "background" if seen.any() else "particles"
            what = f"{name}: the {which} {first if which == 'first' else n - first} of {n} images show no {lacking}"
            raise BadInputError(
                what, remedy="a reader needs particles and background in both parts; use other specimens or images"
            )
    return parts


def _notes(sides: dict[str, LabelledImages | _Simulation]) -> tuple[str, ...]:
    simulated = {name: side for name, side in sides.items() if isinstance(side, _Simulation)}
    notes = [
        f"{name}: {len(side.imagers)} of its {side.given} conditions are pooled, evenly spaced in their order"
        for name, side in simulated.items()
        if len(side.imagers) < side.given
    ]
    for name, side in simulated.items():
        notes += [f"{name}: {warning}" for imager in side.imagers if (warning := imager.warning())][:1]
    noiseless = {
        name: {i.condition.dose_per_angstrom2 is None for i in side.imagers} for name, side in simulated.items()
    }
    if len(set().union(*noiseless.values())) > 1:
        names = " and ".join(name for name, kinds in noiseless.items() if True in kinds)
        notes.append(f"{names}: images without a dose have no shot noise, and the others have")
    return tuple(notes)
