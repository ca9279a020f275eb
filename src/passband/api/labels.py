"""Labelled images: score a model, tune one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from passband.api.micrographs import micrograph
from passband.api.models import as_model
from passband.base.errors import BadInputError

if TYPE_CHECKING:
    from passband.micrographs.labels import LabelledSet
    from passband.models.label_scores import LabelScores
    from passband.models.learning_curve import LearningCurve
    from passband.models.store import Model
    from passband.models.task_scores import TaskScores
    from passband.models.tuning import Tuning


def score(
    model: str | Path | Model,
    images: Any,
    masks: Any = None,
    *,
    pixel_size_angstrom: float | None = None,
    edge_offset_angstrom: float | None = None,
    calibrate_edge: int = 0,
    tolerance_angstrom: float = 2.0,
) -> LabelScores | TaskScores:
    """Compare the masks of a model with labels, image by image: Dice, outlines, particles.

    A model of another task is scored by the headline of its task (`TaskScores`); `masks` are then a folder of maps (TIFF or npy), a CSV file
    with the columns image and value, of a task with a value of the image, or a list of maps or values.

    Args:
        model: by name, folder, or loaded.
        images: a folder; a list of images, each as `micrograph` takes it; or what `simulate` returns, which has its masks.
        masks: a folder, or a list of arrays [h, w], bool or with a number for each particle.
        pixel_size_angstrom: of the images, if their files lack it [Å].
        edge_offset_angstrom: the labels' outlines relative to the model's, negative if inside [Å].
        calibrate_edge: calibrate that offset on so many images, which are not scored.
        tolerance_angstrom: distance within which outlines agree [Å].

    Raises:
        BadInputError: with the names, if images and masks are not pairs, or one cannot be used.

    Example:
        >>> import passband as pb
        >>> images = pb.simulate("gold_on_carbon", "titan_corrected_300kv", n=2)
        >>> pb.score("au-300kv", images).mean["dice"]["mean"] > 0.8
        True
    """
    from passband.models.label_scores import score_labels
    from passband.models.store import SEGMENTING

    chosen = as_model(model)
    if chosen.card.task not in SEGMENTING:
        return _score_task(chosen, images, masks, pixel_size_angstrom)
    return score_labels(
        chosen,
        _labelled(images, masks, pixel_size_angstrom),
        edge_offset_angstrom=edge_offset_angstrom,
        calibrate_edge_on=calibrate_edge,
        tolerance_angstrom=tolerance_angstrom,
    )


def _score_task(model: Model, images: Any, masks: Any, pixel_size_angstrom: float | None) -> TaskScores:
    import numpy as np

    from passband.models.task_scores import read_targets, score_targets

    if isinstance(images, str | Path):
        if not isinstance(masks, str | Path):
            raise BadInputError("a folder of images needs a folder of maps, or a CSV file of values")
        micrographs, targets, notes = read_targets(model.card, Path(images), Path(masks), pixel_size_angstrom)
        return score_targets(model, micrographs, targets, notes=notes)
    micrographs = [micrograph(image, pixel_size_angstrom=pixel_size_angstrom) for image in images]
    if masks is None or len(masks) != len(micrographs):
        raise BadInputError("images and labels are not pairs", remedy="give one map or value for each image")
    given = [np.asarray(mask, dtype=np.float32) for mask in masks]
    shapes = [m.intensity.shape for m in micrographs]
    if odd := [g.shape for g, shape in zip(given, shapes, strict=True) if g.shape not in ((), shape)]:
        raise BadInputError(
            "a map has another shape than its image", value=odd[0], remedy="give it on the image's pixels"
        )
    return score_targets(model, micrographs, [np.broadcast_to(g, s) for g, s in zip(given, shapes, strict=True)])


def tune(
    model: str | Path | Model,
    images: Any,
    masks: Any = None,
    *,
    name: str | None = None,
    pixel_size_angstrom: float | None = None,
    edge: Literal["labels", "model"] = "labels",
    folds: int = 4,
    steps: int = 300,
    curve: bool = False,
    anyway: bool = False,
) -> Tuning:
    """Fine-tune a model on a few labelled images, with simulated ones mixed in, and measure on held-out images what that gains.

    Args:
        model: by name, folder, or loaded; one that passband trained.
        images: as `score` takes them.
        masks: as `score` takes them.
        name: of the tuned model, which is written to your folder of models; without it, nothing is written.
        pixel_size_angstrom: of the images, if their files lack it [Å].
        edge: whose outlines the tuned model marks: those of the labels, or the model's.
        folds: parts of the images, each held out once.
        steps: of the optimiser, for each network.
        curve: measure the learning curve, too, as `learning_curve` does.
        anyway: write the model even if it is worse on held-out or simulated images.

    Returns:
        An object with the scores before and after, `worse`, `curve`, and `tuned`, the model if it was written.

    Raises:
        BadInputError: if images and masks are not pairs, the model cannot be tuned, or the name is taken.

    Example:
        >>> import passband as pb
        >>> pb.tune("au-300kv", "shots", "masks", name="mine")  # doctest: +SKIP
    """
    from passband.base.progress import TerminalProgress
    from passband.models.store import user_folder
    from passband.verdicts.tuned_model import tune_and_write

    chosen, labelled = as_model(model), _labelled(images, masks, pixel_size_angstrom)
    folder = None if name is None else user_folder() / name
    with TerminalProgress(quiet=True) as progress:
        return tune_and_write(
            chosen,
            labelled,
            folder,
            name or "",
            progress,
            anyway=anyway,
            edge=edge,
            folds=folds,
            steps=steps,
            curve=curve,
        )


def learning_curve(
    model: str | Path | Model,
    images: Any,
    masks: Any = None,
    *,
    pixel_size_angstrom: float | None = None,
    edge: Literal["labels", "model"] = "labels",
    folds: int = 4,
    steps: int = 300,
    folder: str | Path = "runs",
    workers: int = 1,
) -> LearningCurve:
    """How many images must be labelled: tune a model on 1, 2, 4, … of the images, and score each network on images held out.

    Args:
        model: by name, folder, or loaded; one that passband trained.
        images: as `score` takes them; at least four.
        masks: as `score` takes them.
        pixel_size_angstrom: of the images, if their files lack it [Å].
        edge: whose outlines the tuned networks mark: those of the labels, or the model's.
        folds: parts of the images, each held out once.
        steps: of the optimiser, for each network.
        folder: of finished work, which the next run continues.
        workers: processes that tune.

    Returns:
        An object with `points`, `estimates` for all images and twice as many, and `plot()`.

    Raises:
        BadInputError: if images and masks are not pairs, there are too few, or the model cannot be tuned.

    Example:
        >>> import passband as pb
        >>> pb.learning_curve("au-300kv", "shots", "masks").plot()  # doctest: +SKIP
    """
    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.models.tuning_jobs import measure_curve

    chosen, labelled = as_model(model), _labelled(images, masks, pixel_size_angstrom)
    settings: Any = {"edge": edge, "folds": folds, "steps": steps}
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        return measure_curve(chosen, labelled, Path(folder), executor, progress, **settings)


def _labelled(images: Any, masks: Any, pixel_size_angstrom: float | None) -> LabelledSet:
    from passband.micrographs.labels import labelled_arrays, read_labelled

    if isinstance(images, str | Path) and isinstance(masks, str | Path):
        return read_labelled(images, masks, pixel_size_angstrom=pixel_size_angstrom)
    if masks is None and hasattr(images, "masks"):
        masks = images.masks
    if masks is None or isinstance(images, str | Path) or isinstance(masks, str | Path):
        raise BadInputError("give images and masks both as folders, or both as arrays")
    shots = [micrograph(image, pixel_size_angstrom=pixel_size_angstrom) for image in images]
    return labelled_arrays(shots, masks)
