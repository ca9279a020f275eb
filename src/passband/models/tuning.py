"""Fine-tune a model on a few labelled micrographs, with simulated images mixed in so that it keeps what it knew.

Held-out images tell what is gained: the images are divided into folds, and each is segmented by a network that was tuned on the others.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from passband.base.errors import BadInputError, parameter
from passband.base.identity import seed_from
from passband.execution.base import Progress, StageProgress, one_thread
from passband.learning import SEGMENTATION, count_pixels, predict
from passband.learning.segmentation import segmentation_loss
from passband.micrographs.agreement import Agreement, agreement, calibrate_edge, dice_of, moved, signed
from passband.micrographs.labels import LabelledMicrograph, LabelledSet
from passband.micrographs.resample import resample
from passband.models.card import ModelCard
from passband.models.label_scores import COVERAGE, check_order, html_table, mean_interval
from passband.models.learning_curve import LearningCurve
from passband.models.network import OnPictures, load_weights
from passband.models.segment import check_fits, network_shape, segment_with
from passband.models.store import Model, require_task
from passband.simulation.imaging import normalize
from passband.simulation.modalities import AnyConfig, config_for, modality_of
from passband.simulation.modality import camera_masks
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.symmetry import ORIENTATIONS, turn
from passband.specimens import SpecimenRecipe

Edge = Literal["labels", "model"]
#: A tuned model is worse if its error on simulated images, 1 − Dice, is more than this times that of the untuned one.
MOST_SIMULATED = 1.15
# An image is worse if its Dice falls by more.
_WORSE = 0.005
#: Simulated scenes that are mixed in, and that are held out.
SCENES = 48, 24
# Each is imaged under so many of the model's training conditions.
_CONDITIONS = 2
# Frozen phonons of a scene: more change an image less than its shot noise does.
_PHONONS = 1
# Labelled and simulated images of a step.
_BATCH = 4, 4
_LEARNING_RATE = 2e-3
_FEWEST = 2
# Neighbouring numbers of images on the learning curve differ by at least this factor.
_APART = 1.5

Mask = NDArray[np.bool_]
#: An image on the network's pixels, and where its particles are.
Example = tuple[NDArray[np.float32], Mask]


@dataclass(frozen=True, eq=False, repr=False)
class Tuning:
    """What tuning a model on labelled images gives, measured on images held out.

    Attributes:
        model: name of the untuned model.
        names: of the labelled images.
        edge: whose outlines the tuned model marks: those of the labels, or the model's own.
        edge_offset_angstrom: the labels' outlines relative to the model's, calibrated on all images [Å].
        folds: parts that the images are divided into; each is held out once.
        before: agreement of the untuned model, of each image.
        before_at_edge: the same with the edge offset calibrated on the images of the other folds.
        after: agreement of the tuned models, each image held out.
        simulated_loss: of the untuned and the tuned model on simulated images that neither was trained on, shape [2, N]; each at the
            outlines that it marks. Smaller particles have a larger loss, so that the labels' edge alone changes it.
        simulated_dice: the same for the Dice, of masks with the model's own edge.
        steps: of the optimiser.
        curve: scores against the number of images, if it was measured.
        tuned: the model that was written, if any.
        networks: the network tuned on all images but those of a fold, of each image; for calibrating verdicts.
        network: tuned on all images.
    """

    model: str
    names: tuple[str, ...]
    edge: Edge
    edge_offset_angstrom: float
    folds: int
    before: tuple[Agreement, ...]
    before_at_edge: tuple[Agreement, ...]
    after: tuple[Agreement, ...]
    simulated_loss: NDArray[np.float64]
    simulated_dice: NDArray[np.float64]
    steps: int
    networks: tuple[nn.Module, ...]
    network: OnPictures
    curve: LearningCurve | None = None
    tuned: Model | None = None

    @property
    def gain(self) -> dict[str, float | None]:
        """Mean difference of the Dice of held-out images, tuned less untuned as drawn, with its 95 % interval over images."""
        return mean_interval([b.dice - a.dice for a, b in zip(self.before, self.after, strict=True)])

    @property
    def gain_at_edge(self) -> dict[str, float | None]:
        """The same against the untuned model with its edge calibrated."""
        return mean_interval([b.dice - a.dice for a, b in zip(self.before_at_edge, self.after, strict=True)])

    @property
    def worse(self) -> tuple[str, ...]:
        """What makes the tuned model worse than the untuned one, in sentences; empty if nothing does."""
        (before, after), gain, result = self.simulated_dice.mean(1), self.gain["mean"] or 0.0, []
        if gain < 0:
            result.append(f"the Dice of images held out changes by {gain:+.3f}")
        if 1 - after > MOST_SIMULATED * (1 - before):
            result.append(
                f"the Dice of simulated images falls from {before:.3f} to {after:.3f} (limit: {MOST_SIMULATED:g} × the error)"
            )
        return tuple(result)

    @property
    def worse_images(self) -> tuple[str, ...]:
        """Held-out images whose Dice falls by more than 0.005 against the untuned model as drawn."""
        rows = zip(self.names, self.before, self.after, strict=True)
        return tuple(f"{name} ({a.dice:.3f} → {b.dice:.3f})" for name, a, b in rows if b.dice < a.dice - _WORSE)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        stages = {"before": self.before, "before_at_edge": self.before_at_edge, "after": self.after}
        keys = ("dice", "surface_dice", "instance_f1", "distance_angstrom", "absolute_distance_angstrom")
        return {
            "model": self.model,
            "tuned": None if self.tuned is None else {"name": self.tuned.card.name, "folder": str(self.tuned.folder)},
            "images": list(self.names),
            "edge": self.edge,
            "edge_offset_angstrom": self.edge_offset_angstrom,
            "folds": self.folds,
            "steps": self.steps,
            "coverage": COVERAGE,
            **{s: {k: mean_interval([getattr(a, k) for a in rows]) for k in keys} for s, rows in stages.items()},
            "dice_of_images": {s: [a.dice for a in rows] for s, rows in stages.items()},
            "gain": self.gain,
            "gain_at_edge": self.gain_at_edge,
            **{
                f"simulated_{key}": dict(zip(("before", "after"), values.mean(1).tolist(), strict=True))
                for key, values in (("loss", self.simulated_loss), ("dice", self.simulated_dice))
            },
            "worse": list(self.worse),
            "worse_images": list(self.worse_images),
            **self._curve(),
        }

    def _curve(self) -> dict[str, Any]:
        if self.curve is None:
            return {"curve": [], "doubling": None}
        dice = {n: point["dice"] for n, point in self.curve.points.items()}
        twice = self.curve.estimates.get(2 * len(self.names))
        return {
            "curve": [{"images": n, "dice": e.value, "low": e.low, "high": e.high} for n, e in dice.items()],
            "doubling": None if twice is None else list(vars(twice["dice"]).values()),
        }

    def _cells(self) -> list[list[str]]:
        rows = [["held out", "Dice", "surface Dice", "F1", "outlines [Å]"]]
        for title, images in (
            ("untuned, edges as drawn", self.before),
            ("untuned, edge calibrated", self.before_at_edge),
            ("tuned", self.after),
        ):
            means = [mean_interval([getattr(i, k) for i in images]) for k in ("dice", "surface_dice", "instance_f1")]
            away = mean_interval([i.distance_angstrom for i in images])["mean"]
            rows.append([title, *(_with_ends(m) for m in means), "–" if away is None else f"{away:+.2f}"])
        return rows

    def _remarks(self) -> list[str]:
        (before, after), dice = self.simulated_loss.mean(1), self.simulated_dice.mean(1)
        whose = "the labels'" if self.edge == "labels" else "the model's own"
        lines = [
            f"Dice {_gain(self.gain)} against the untuned model as drawn, {_gain(self.gain_at_edge)} against it with its edge calibrated",
            f"each of {len(self.names)} images is held out once, in {self.folds} folds; the tuned model marks {whose} edge, {signed(self.edge_offset_angstrom)}",
            f"simulated images: loss {before:.3f} untuned, {after:.3f} tuned; Dice at one edge {dice[0]:.3f} untuned, {dice[1]:.3f} tuned",
            f"got worse: {', '.join(self.worse_images) or 'no image'}",
        ]
        lines += [f"worse: {sentence}" for sentence in self.worse]
        lines += [] if self.tuned is None else [f"{self.tuned.card.name} installed in {self.tuned.folder}"]
        return lines

    def __str__(self) -> str:
        """Return the table and remarks as lines."""
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        table = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        lines = [f"{self.model} tuned on {len(self.names)} labelled images", *table, *self._remarks()]
        return "\n".join([*lines, *([] if self.curve is None else [str(self.curve)])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        remarks = "".join(f"<p>{html.escape(line)}</p>" for line in self._remarks())
        curve = "" if self.curve is None else self.curve._repr_html_()
        return f"{html_table(self._cells())}{remarks}{curve}"


@dataclass(frozen=True)
class Split:
    """Images to tune a network on, and those of a fold, which are held out from it.

    Attributes:
        fold: number of the fold.
        size: of the point of a learning curve that the network belongs to.
        chosen: numbers of the images to tune on.
        held_out: numbers of the images of the fold.
        whole: all other images are tuned on.
    """

    fold: int
    size: int
    chosen: tuple[int, ...]
    held_out: tuple[int, ...]
    whole: bool

    @property
    def seed(self) -> tuple[str | int, ...]:
        """Names of the network's random numbers."""
        return ("fold", self.fold) if self.whole else ("curve", self.fold, self.size)


def splits(count: int, folds: int, *, curve: bool = False) -> list[Split]:
    """Return the splits of so many images: one a fold; for a curve those of 1, 2, 4, … of its images, too, each within the next."""
    part = np.random.default_rng(seed_from("folds of labels")).permutation(count) % folds
    sizes = [1 << k for k in range(count.bit_length()) if _APART * (1 << k) <= count - -(-count // folds)]
    result = []
    for fold in range(folds):
        held_out, rest = (tuple(np.flatnonzero(chosen).tolist()) for chosen in (part == fold, part != fold))
        order = np.random.default_rng(seed_from("subsets of labels", fold)).permutation(rest)
        result += [Split(fold, n, tuple(order[:n].tolist()), held_out, False) for n in sizes if curve]
        result.append(Split(fold, round(count * (1 - 1 / folds)), rest, held_out, True))
    return result


def tune(
    model: Model,
    labelled: LabelledSet,
    progress: StageProgress,
    *,
    edge: Edge = "labels",
    folds: int = 4,
    steps: int = 300,
    curve: bool = False,
    scenes: tuple[int, int] | None = None,
) -> Tuning:
    """Fine-tune a model on labelled images, and measure on held-out ones what that gives. Nothing is written.

    Crops of the labelled images on the network's pixels, turned and flipped, and as many simulated ones make a step. With the labels' edge,
    the outlines of the simulated particles are moved by the edge offset, so that both say the same; with the model's, those of the labels.

    Args:
        model: with a network of passband's and a card with recipe and conditions.
        labelled: two or more labelled micrographs.
        progress: shows stages.
        edge: labels, or model: whose outlines the tuned model marks.
        folds: parts of the images for holding out; at most as many as images.
        steps: of the optimiser, for each network.
        curve: measure the Dice against the number of images, too.
        scenes: simulated scenes that are mixed in, and those that are held out; SCENES by default.

    Raises:
        BadInputError: if the model cannot be tuned, images do not fit it, or labels are shifted by an image.
    """
    recipe, masks = check(model, labelled, edge=edge, folds=folds, steps=steps)
    card, count = model.card, len(labelled)
    tuner = Tuner(model, labelled, masks, edge, steps)
    folds = min(folds, count)
    parts = splits(count, folds, curve=curve)
    with one_thread():
        scenes = scenes or SCENES
        mixed_in, held_out = simulated(recipe, card, scenes, progress.stage("simulated scenes", sum(scenes), 0))
        advance = progress.stage("steps", (len(parts) + 1) * steps, 0)
        networks: list[nn.Module] = [nn.Identity()] * count
        at_edge: dict[int, Agreement] = {}
        tuned: dict[int, Agreement] = {}
        rows = tuner.untuned_rows(parts)
        for split in parts:
            result = tuner.held_out(split, mixed_in, advance)
            rows += tuner.rows(split, result)
            if split.whole:
                at_edge |= result.at_edge
                tuned |= result.tuned
                for i in split.held_out:
                    networks[i] = result.network
        offset, network = tuner.run(np.arange(count), mixed_in, ("all",), advance)
        losses = tuner.on_simulated(tuner.untuned(), held_out, 0.0), tuner.on_simulated(network, held_out, offset)
    names = tuple(item.name for item in labelled)
    return Tuning(
        card.name,
        names,
        edge,
        offset,
        folds,
        tuple(tuner.agreement(i, masks[i], 0.0) for i in range(count)),
        tuple(at_edge[i] for i in range(count)),
        tuple(tuned[i] for i in range(count)),
        np.array([loss for loss, _ in losses]),
        np.array([dice for _, dice in losses]),
        steps,
        tuple(networks),
        network,
        LearningCurve(card.name, names, pl.DataFrame(rows)) if curve else None,
    )


def check(
    model: Model, labelled: LabelledSet, *, edge: Edge, folds: int, steps: int
) -> tuple[SpecimenRecipe, list[Mask]]:
    """Return the recipe of a model, and its masks of labelled images, if it can be tuned on them; BadInputError as `tune`."""
    recipe = _tunable(model)
    if len(labelled) < _FEWEST:
        raise BadInputError(f"{len(labelled)} labelled image cannot be tuned on and held out; give two or more")
    if edge not in ("labels", "model"):
        raise BadInputError(f"{parameter('edge')} {edge!r}: is neither labels nor model", value=edge)
    for name, value in (("folds", folds), ("steps", steps)):
        if value < 2:
            raise BadInputError(f"{parameter(name)} {value}: has to be two or more", value=value)
    for item in labelled:
        check_fits(item.micrograph, model.card)
    masks = [segment_with(model.network, model.card, item.micrograph).mask for item in labelled]
    check_order(masks, labelled)
    return recipe, masks


@dataclass(frozen=True)
class HeldOut:
    """A network tuned on some images, and for images held out the agreement of the untuned model at that edge, and its own."""

    network: nn.Module
    at_edge: dict[int, Agreement]
    tuned: dict[int, Agreement]


@dataclass(frozen=True)
class Tuner:
    """What all networks of a tuning share: the model, the labelled images, the untuned model's masks of them, and settings."""

    model: Model
    labelled: LabelledSet
    masks: Sequence[Mask]
    edge: Edge
    steps: int

    def untuned(self) -> OnPictures:
        """Return the network with the model's weights, for evaluation."""
        assert self.model.card.network is not None
        return OnPictures(load_weights(self.model.weights, self.model.card.network)).eval()

    def run(
        self, chosen: NDArray[Any], simulated: Sequence[Example], seed: tuple[str | int, ...], advance: Progress
    ) -> tuple[float, OnPictures]:
        """Return the edge offset calibrated on some of the labelled images, and a network tuned on them."""
        card = self.model.card
        items = [self.labelled[int(i)] for i in chosen]
        pixels = [item.micrograph.pixel_size_angstrom for item in items]
        pairs = [(self.masks[int(i)], item.truth, p) for i, item, p in zip(chosen, items, pixels, strict=True)]
        # Without a particle in both there is no edge.
        offset = calibrate_edge(pairs) if any((m & (t > 0)).any() for m, t, _ in pairs) else 0.0
        examples = [_example(item, card, -offset if self.edge == "model" else 0.0) for item in items]
        mixed = self.at_edge(simulated, offset)
        return offset, _trained(self.untuned(), card.field_pixels, examples, mixed, self.steps, seed, advance)

    def held_out(self, split: Split, simulated: Sequence[Example], advance: Progress) -> HeldOut:
        """Return a network that was tuned on the chosen images of a split, and how it does on those held out."""
        offset, network = self.run(np.array(split.chosen), simulated, split.seed, advance)
        return HeldOut(
            network,
            {i: self.agreement(i, self.masks[i], offset) for i in split.held_out},
            {i: self.score(i, network, offset) for i in split.held_out},
        )

    def rows(self, split: Split, result: HeldOut) -> list[dict[str, Any]]:
        """Return the rows of a learning curve's table for the images held out in a split."""
        return [self._row(split.size, split.fold, i, result.tuned[i], result.at_edge[i].dice) for i in split.held_out]

    def untuned_rows(self, parts: Sequence[Split]) -> list[dict[str, Any]]:
        """Return the same for the untuned model, edges as drawn."""
        rows = []
        for split in parts:
            for i in split.held_out if split.whole else ():
                drawn = self.agreement(i, self.masks[i], 0.0)
                rows.append(self._row(0, split.fold, i, drawn, drawn.dice))
        return rows

    def _row(self, images: int, fold: int, index: int, result: Agreement, edge_dice: float) -> dict[str, Any]:
        scores = {key: getattr(result, key) for key in ("dice", "surface_dice", "instance_f1")}
        return {"images": images, "fold": fold, "image": self.labelled[index].name, **scores, "edge_dice": edge_dice}

    def at_edge(self, simulated: Sequence[Example], offset: float) -> list[Example]:
        """Return simulated images with the outlines of their particles where the tuned model marks them."""
        if self.edge == "model":
            return list(simulated)
        return [(image, moved(mask, offset, self.model.card.pixel_size_angstrom)) for image, mask in simulated]

    def score(self, index: int, network: nn.Module, offset: float) -> Agreement:
        """Return the agreement of a tuned network with the labels of an image."""
        mask = segment_with(network, self.model.card, self.labelled[index].micrograph).mask
        return self.agreement(index, mask, offset if self.edge == "model" else 0.0)

    def on_simulated(
        self, network: nn.Module, examples: Sequence[Example], offset: float
    ) -> tuple[list[float], list[float]]:
        """Return the loss of a network on simulated images of one size, at the outlines that it marks, and the Dice at the model's own."""
        card, moved_by = self.model.card, offset if self.edge == "labels" else 0.0
        images, masks = (
            torch.from_numpy(np.stack(a).astype(np.float32))
            for a in zip(*self.at_edge(examples, moved_by), strict=True)
        )
        logits = predict(network, normalize(images)[:, None])
        called = (logits[:, 0].sigmoid() >= card.threshold).numpy()
        pixel = card.pixel_size_angstrom
        dice = [
            dice_of(moved(mask, -moved_by, pixel), truth) for mask, (_, truth) in zip(called, examples, strict=True)
        ]
        return count_pixels(logits, masks[:, None])["loss"], dice

    def agreement(self, index: int, mask: Mask, offset: float) -> Agreement:
        """Return the agreement of a mask, moved by an offset, with the labels of an image."""
        item = self.labelled[index]
        return agreement(mask, item.truth, item.micrograph.pixel_size_angstrom, edge_offset_angstrom=offset)


def _tunable(model: Model) -> SpecimenRecipe:
    """Return the recipe that a model was trained on; BadInputError if the model cannot be tuned."""
    card = model.card
    require_task(card, SEGMENTATION.name)
    if card.runs != "passband" or card.network is None:
        what = f"{card.name} is an ONNX network, whose weights cannot be tuned here"
        raise BadInputError(what, remedy="tune it where it was trained, or tune a network of passband's")
    if card.specimens.recipe is None or not card.conditions:
        what = f"the card of {card.name} lacks the recipe or the conditions of its training, which tuning mixes in"
        raise BadInputError(what, remedy="tune a model that passband trained")
    return SpecimenRecipe.model_validate(card.specimens.recipe)


def simulated(
    recipe: SpecimenRecipe, card: ModelCard, scenes: tuple[int, int], advance: Progress
) -> tuple[list[Example], list[Example]]:
    """Return simulated images to mix in and to hold out: scenes that the model was not trained on, each under two of its conditions."""
    others = recipe.model_copy(update={"seed": seed_from("tuning", recipe.seed)})
    # Large particles scatter too much beyond the band limit of the usual sampling.
    config: AnyConfig = ExitWaveConfig(
        energy_ev=card.conditions[0].energy_ev,
        sampling_angstrom=0.16,
        slice_thickness_angstrom=4.0,
        phonon_configurations=_PHONONS,
    )
    if card.modality == "stem":
        config = config_for(card.conditions)
    modality = modality_of(config)
    rng = np.random.default_rng(seed_from("conditions of tuning"))
    examples: list[list[Example]] = [[], []]
    for index in range(sum(scenes)):
        stored, masks = modality.scatter(others, [index], config)
        for number in rng.choice(len(card.conditions), min(_CONDITIONS, len(card.conditions)), replace=False):
            imager = modality.imager(card.conditions[number], recipe, config)
            made = imager.images(stored, masks, seed=seed_from("image of tuning", index, int(number)))
            # Pictures, as the labelled ones are: x runs along the columns.
            image, truth = made.counts[0].T, camera_masks(masks, imager.pixels)[0].T
            examples[index >= scenes[0]].append((image.numpy(), truth.numpy().astype(bool)))
        advance(1.0)
    return examples[0], examples[1]


def _example(item: LabelledMicrograph, card: ModelCard, offset: float) -> Example:
    """Return a labelled image on the network's pixels, with the labels' outlines moved by an offset [Å]."""
    micrograph, pixel = item.micrograph, item.micrograph.pixel_size_angstrom
    shape = network_shape(micrograph.intensity.shape, pixel, card)
    truth = moved(item.truth > 0, offset, pixel).astype(np.float32)
    return resample(micrograph.intensity, shape), resample(truth, shape) >= 0.5


def _trained(
    network: OnPictures,
    side: int,
    labelled: Sequence[Example],
    simulated: Sequence[Example],
    steps: int,
    seed: tuple[str | int, ...],
    advance: Progress,
) -> OnPictures:
    """Return a network trained further on crops of examples, half labelled and half simulated, with Adam and a cosine."""
    rng = np.random.default_rng(seed_from("tuning", *seed))
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=max(steps, 4))
    # Batch normalisation keeps the statistics of the training: those of half a dozen images would be others'.
    network.eval()
    for _ in range(steps):
        crops = [
            _crop(examples[int(rng.integers(len(examples)))], side, rng)
            for examples, count in zip((labelled, simulated), _BATCH, strict=True)
            for _ in range(count)
        ]
        images, masks = (torch.stack(tensors) for tensors in zip(*crops, strict=True))
        loss = segmentation_loss(network(normalize(images)[:, None]), masks[:, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        advance(1.0)
    return network


def _crop(example: Example, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a random piece of an example, turned or flipped at random; smaller images are mirrored."""
    image, mask = (np.pad(a, [(0, max(side - n, 0)) for n in a.shape], mode="symmetric") for a in example)
    top, left = (int(rng.integers(n - side + 1)) for n in image.shape)
    orientation = int(rng.integers(ORIENTATIONS))
    piece = slice(top, top + side), slice(left, left + side)
    turned = (turn(torch.from_numpy(a[piece].astype(np.float32)), orientation) for a in (image, mask))
    first, second = turned
    return first, second


def _with_ends(mean: dict[str, float | None]) -> str:
    return "–" if mean["mean"] is None else f"{mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]"


def _gain(mean: dict[str, float | None]) -> str:
    return f"{mean['mean']:+.3f} [{mean['low']:+.3f}, {mean['high']:+.3f}]"
