"""The Python API: `import passband as pb`. Paths are str or Path, images NumPy arrays, signals, files or micrographs.

    import passband as pb

    train = pb.Condition.preset("titan_corrected_300kv")
    today = train.varied(defocus=80, C12=30)
    pb.compare(train, today)

Lengths are in Å, spatial frequencies in 1/Å, energies in eV, angles in rad or mrad, doses in e/Å²; a parameter's name ends in its
unit. Bad input raises `BadInputError`, a ValueError with the fields value, limit, remedy and place.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition import METHODS, doubt_kinds, field_name

if TYPE_CHECKING:
    from passband.analysis.loss_prediction import LossPrediction
    from passband.conditions.sets import ConditionGrid, ConditionSet
    from passband.estimation.estimate import Estimate
    from passband.micrographs.labels import LabelledSet
    from passband.micrographs.micrograph import Micrograph
    from passband.models.label_scores import LabelScores
    from passband.models.learning_curve import LearningCurve
    from passband.models.segment import Segmentation
    from passband.models.store import Model
    from passband.models.tuning import Tuning
    from passband.report.ctf_page import Comparison, Ctf, SetComparison
    from passband.report.simulated_images import SimulatedImages
    from passband.report.study_run import Study, StudyRun
    from passband.sessions.image_run import ImageRun
    from passband.simulation.reader_loss import LabelledImages, ReaderLoss
    from passband.specimens import Recipe
    from passband.verdicts.domain import SpecimenInfo
    from passband.verdicts.verdict import Verdict


def list_presets() -> list[str]:
    """Return the names of the instruments' conditions.

    Example:
        >>> import passband as pb
        >>> "titan_corrected_300kv" in pb.list_presets()
        True
    """
    from passband.conditions.condition import PRESETS

    return list(PRESETS)


def list_recipes() -> list[str]:
    """Return the names of the bundled recipes of specimens.

    Example:
        >>> import passband as pb
        >>> "gold_on_carbon" in pb.list_recipes()
        True
    """
    from passband.files import bundled

    return list(bundled.recipes())


def list_studies() -> list[str]:
    """Return the names of the bundled studies.

    Example:
        >>> import passband as pb
        >>> pb.list_studies()
        ['defocus', 'quick']
    """
    from passband.files import bundled

    return list(bundled.studies())


def list_models() -> list[str]:
    """Return the names of the models: those that come with passband and your own.

    Example:
        >>> import passband as pb
        >>> "au-300kv" in pb.list_models()
        True
    """
    from passband.models.store import installed

    return sorted(installed())


def load_condition(source: str | Path) -> Condition:
    """Return a condition from a file (YAML, or STAR or CSV with one row), or a preset by name.

    Args:
        source: path or name.

    Raises:
        BadInputError: with file, line, value and remedy; also if the file holds several conditions.

    Example:
        >>> import passband as pb
        >>> pb.load_condition("feg_200kv").energy_ev
        200000.0
    """
    from passband.conditions.condition_files import load_condition

    condition = load_condition(source)
    _warn(source, [condition])
    return condition


def load_conditions(source: str | Path) -> list[Condition]:
    """Return the conditions of a file (YAML distribution, STAR or CSV), or of a preset's residual aberrations.

    Args:
        source: path, preset, or PRESET:residuals.

    Raises:
        BadInputError: with file, line, value and remedy.

    Example:
        >>> import passband as pb
        >>> len(pb.load_conditions("feg_200kv:residuals"))
        64
    """
    from passband.conditions.condition_files import load_conditions

    conditions = [condition for _, condition in load_conditions(source)]
    _warn(source, conditions)
    return conditions


def load_recipe(source: str | Path) -> Recipe:
    """Return a recipe of random specimens.

    Args:
        source: a YAML file, or the name of a bundled recipe.

    Raises:
        BadInputError: with file, line, value and remedy.

    Example:
        >>> import passband as pb
        >>> pb.load_recipe("gold_on_carbon").field_angstrom
        51.2
    """
    from passband.specimens.recipe_files import load_recipe

    return load_recipe(source)


def sweep(base: Condition | str | Path, **values: float | Iterable[float]) -> ConditionGrid:
    """Return all combinations of some values, on top of a base condition; a study trains and tests under each.

    Args:
        base: a condition, its file, or a preset.
        **values: values by name, as `Condition.varied` takes them, such as defocus=range(-200, 201, 50) [Å].

    Raises:
        BadInputError: if a name is unknown, a value invalid, or there are too many combinations.

    Example:
        >>> import passband as pb
        >>> grid = pb.sweep("titan_corrected_300kv", defocus=range(-100, 101, 50), dose=[200, 1000])
        >>> len(grid.conditions())
        10
    """
    from passband.conditions.sets import ConditionGrid

    vary: dict[str, list[float]] = {}
    for name, given in values.items():
        if _field(name) in vary:
            raise BadInputError(f"{name} is given twice, also without or with its unit; keep one of them", value=name)
        try:
            vary[_field(name)] = [float(value) for value in (given if isinstance(given, Iterable) else [given])]
        except (TypeError, ValueError):
            raise BadInputError(f"{name} is {given!r}, which is neither a number nor a list of them") from None
    return ConditionGrid(base=_condition(base), vary=vary)


def compare(
    train: Condition | ConditionSet | Iterable[Condition] | str | Path,
    test: Condition | ConditionSet | Iterable[Condition] | str | Path,
    *,
    q_max_per_angstrom: float = 1.0,
) -> Comparison | SetComparison:
    """Compare a training with a test condition: ε, σ, every other shift metric, and where information is lost or reversed.

    Args:
        train: a condition, its file or preset; or several: a set, a list, a file of many.
        test: the same.
        q_max_per_angstrom: radius of the band that counts [1/Å].

    Returns:
        A `Comparison` of two single conditions, with `sigma`, `delta_epsilon`, `metrics`, `verdict` and `plot()`; a
        `SetComparison` if either is several.

    Raises:
        BadInputError: if a condition cannot be read, or the band is out of range.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> result = pb.compare(train, train.varied(defocus=80))
        >>> 0 < result.sigma < 1
        True
    """
    from passband.report import ctf_page

    trains, tests = _conditions(train), _conditions(test)
    if len(trains) == len(tests) == 1:
        return ctf_page.compare(trains[0], tests[0], q_max_per_angstrom)
    return ctf_page.compare_sets(trains, tests, q_max_per_angstrom)


def reader_loss(
    train: Condition | ConditionSet | Iterable[Condition] | str | Path | LabelledImages | SimulatedImages,
    test: Condition | ConditionSet | Iterable[Condition] | str | Path | LabelledImages | SimulatedImages,
    recipe: Recipe | str | Path = "gold_on_carbon",
    *,
    test_recipe: Recipe | str | Path | None = None,
) -> ReaderLoss:
    """Return how badly a pixel classifier that is fitted to the training's images does on the test's; some seconds.

    It stands for a network. Specimens are simulated: 16 fit the classifier, 12 others test it. A condition without a dose has no shot
    noise.

    Args:
        train: a condition, its file or preset; several of them, which are pooled; or labelled images.
        test: the same.
        recipe: of the specimens, its file, or the name of a bundled one; labelled images need none.
        test_recipe: of the specimens of the test, if they are others.

    Returns:
        An object with `loss` (cross-entropy + 1 − Dice), `in_domain_loss`, `relative_loss`, `false_positive` and `false_negative`.

    Raises:
        BadInputError: if pixel sizes differ, a condition does not fit its recipe, or there is no film or no particle to tell apart.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> pb.reader_loss(train, train.varied(dose=50)).relative_loss  # doctest: +SKIP
        1.6
    """
    from passband.simulation import reader_loss as simulation

    def side(given: Any) -> list[Condition] | LabelledImages:
        if isinstance(given, simulation.LabelledImages):
            return given
        if hasattr(given, "masks"):
            return simulation.LabelledImages(given.images, given.masks, given.pixel_size_angstrom)
        return _conditions(given)

    other = None if test_recipe is None else _recipe(test_recipe)
    return simulation.reader_loss(side(train), side(test), _recipe(recipe), other)


def predict_loss(
    train: Condition | ConditionSet | Iterable[Condition] | str | Path,
    test: Condition | ConditionSet | Iterable[Condition] | str | Path,
    recipe: Recipe | str | Path = "gold_on_carbon",
    *,
    test_recipe: Recipe | str | Path | None = None,
) -> LossPrediction:
    """Return the loss of a network trained under some conditions and tested under others, with an interval; no network is trained.

    It is predicted from the texture of film and particles, by laws fitted to passband's studies (docs/results/predictor.md).

    Args:
        train: a condition, its file or preset; or several of them, on which one network is trained.
        test: the same.
        recipe: of the specimens, its file, or the name of a bundled one.
        test_recipe: of the specimens of the test, if they are others.

    Returns:
        An object with `loss` (cross-entropy + 1 − Dice) and `relative_loss`, each with `predicted`, `low` and `high`, and `known`.

    Raises:
        BadInputError: if pixel sizes differ, a condition does not fit its recipe, or there is no film or no particle.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> pb.predict_loss(train, train.varied(defocus=0)).relative_loss.predicted > 1
        True
    """
    from passband.analysis import loss_prediction

    other = None if test_recipe is None else _recipe(test_recipe)
    return loss_prediction.predict_loss(_conditions(train), _conditions(test), _recipe(recipe), other)


def optimize(
    condition: Condition | str | Path,
    *names: str,
    target: Condition | str | Path | None = None,
    q_max_per_angstrom: float = 1.0,
) -> Condition:
    """Return a condition with some values changed so that it transfers most, or most like a target.

    Args:
        condition: where to begin, and all that is not changed.
        *names: what may change: defocus, aberrations, angles; with a target focal_spread and convergence too.
        target: whose azimuthal mean of |T| to match; without it ε is maximised.
        q_max_per_angstrom: radius of the band that counts [1/Å].

    Raises:
        BadInputError: if a name cannot be optimised.

    Example:
        >>> import passband as pb
        >>> best = pb.optimize("feg_200kv", "defocus")
        >>> best.ctf().epsilon > pb.load_condition("feg_200kv").ctf().epsilon
        True
    """
    from passband.metrics.optimize import fit_condition

    wanted = None if target is None else _condition(target)
    try:
        return fit_condition(_condition(condition), [_field(n) for n in names], q_max_per_angstrom, target=wanted)
    except ValueError as fault:
        raise BadInputError(str(fault)) from None


def simulate(
    recipe: Recipe | str | Path, condition: Condition | str | Path, n: int = 16, *, seed: int | None = None
) -> SimulatedImages:
    """Return images of the first specimens of a recipe with their truth, in memory; about half a second each.

    Args:
        recipe: a recipe, its file, or the name of a bundled one.
        condition: a condition, its file, or a preset.
        n: number of specimens.
        seed: of specimens and noise, instead of the recipe's.

    Returns:
        An object with `images` (counts, float32 [n, h, h]), `masks` (bool), `condition`, `pixel_size_angstrom` and `show()`;
        `images[i]` is a micrograph.

    Raises:
        BadInputError: if the condition does not fit the recipe, or a specimen cannot be drawn.

    Example:
        >>> import passband as pb
        >>> images = pb.simulate("gold_on_carbon", "titan_corrected_300kv", n=1)
        >>> images.images.shape, images.masks.dtype
        ((1, 128, 128), dtype('bool'))
    """
    from passband.report import simulated_images

    if n < 1:
        raise BadInputError(f"{n} specimens cannot be simulated; give n of at least 1", value=n)
    family = _recipe(recipe)
    if seed is not None:
        family = family.model_copy(update={"seed": seed})
    return simulated_images.simulate(family, _condition(condition), n)


def load_study(source: str | Path, *, budget: str | None = None, variant: str | None = None) -> Study:
    """Return a study, ready to run.

    Args:
        source: its YAML file, or the name of a bundled study.
        budget: which of the file's `budgets` to apply.
        variant: which of its `variants` to apply.

    Raises:
        BadInputError: with file, line, value and remedy.

    Example:
        >>> import passband as pb
        >>> len(pb.load_study("defocus").test_conditions)
        11
    """
    from passband.report.study_run import Study
    from passband.studies.study import load_study

    return Study(**load_study(source, budget=budget, variant=variant).model_dump(mode="json"))


def open_study(folder: str | Path) -> StudyRun:
    """Return the results of a study that has been run: scores, shift metrics, matrix, fits, report.

    Args:
        folder: of the study.

    Raises:
        BadInputError: if the folder holds no study.

    Example:
        >>> import passband as pb
        >>> pb.open_study("runs/mine").matrix().plot()  # doctest: +SKIP
    """
    from passband.report.study_run import open_study

    return open_study(folder)


def load_model(source: str | Path) -> Model:
    """Return a trained network with its card and scores.

    Args:
        source: name, or folder.

    Raises:
        BadInputError: if there is none, or it is damaged.

    Example:
        >>> import passband as pb
        >>> pb.load_model("au-300kv").card.pixel_size_angstrom
        0.8
    """
    from passband.models.store import load_model

    return load_model(source)


def micrograph(
    image: Any,
    *,
    pixel_size_angstrom: float | None = None,
    energy_ev: float | None = None,
    dose_per_angstrom2: float | None = None,
) -> Micrograph:
    """Return the one micrograph of a path, a NumPy array [h, w] or a HyperSpy signal; of a micrograph, with the values that are given.

    Args:
        image: what holds it.
        pixel_size_angstrom: if the file lacks it, or has it wrong [Å].
        energy_ev: of the electrons [eV].
        dose_per_angstrom2: [e/Å²].

    Raises:
        BadInputError: if it cannot be read, has no pixel size, or holds several images.

    Example:
        >>> import numpy as np, passband as pb
        >>> pb.micrograph(np.random.default_rng(0).normal(size=(128, 128)), pixel_size_angstrom=0.4).pixel_size_angstrom
        0.4
    """
    from passband.micrographs.micrograph import Micrograph
    from passband.micrographs.reading import read_micrographs

    if isinstance(image, Micrograph):
        return replace(
            image,
            pixel_size_angstrom=image.pixel_size_angstrom if pixel_size_angstrom is None else pixel_size_angstrom,
            energy_ev=image.energy_ev if energy_ev is None else energy_ev,
            dose_per_angstrom2=image.dose_per_angstrom2 if dose_per_angstrom2 is None else dose_per_angstrom2,
        )
    if isinstance(image, str | Path) and Path(image).is_dir():
        remedy = "use segment_folder, check_folder or estimate_folder"
        raise BadInputError("is a folder", value=image, remedy=remedy, place=image)
    images = read_micrographs(
        image, pixel_size_angstrom=pixel_size_angstrom, energy_ev=energy_ev, dose_per_angstrom2=dose_per_angstrom2
    )
    if len(images) != 1:
        raise BadInputError(
            f"{images[0].name}: holds {len(images)} images; take one of passband.read_micrographs, which returns all of them"
        )
    return images[0]


def segment(
    model: str | Path | Model, image: Any, *, elements: Sequence[str] | None = None, **calibration: float | None
) -> Segmentation:
    """Segment an image: probability, mask, instances and a table of particles.

    Args:
        model: by name, folder, or loaded.
        image: as `micrograph` takes it.
        elements: of the particles, to name their lattice spacings; by default those of the model's crystals.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Raises:
        BadInputError: if model or image cannot be used.

    Example:
        >>> import passband as pb
        >>> images = pb.simulate("gold_on_carbon", "titan_corrected_300kv", n=1)
        >>> pb.segment("au-300kv", images[0]).mask.shape
        (128, 128)
    """
    from passband.models.segment import segment

    return segment(_model(model), micrograph(image, **calibration), elements=elements)


def segment_folder(
    model: str | Path | Model,
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "segmented",
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> ImageRun:
    """Segment many images and judge each, with its optics; a stopped run continues when it is called again.

    Args:
        model: by name, folder, or loaded.
        images: a folder (with its subfolders), a pattern such as ``session/*.dm4``, a file, or several of them.
        folder: of the results: masks and tables of each image, summary.parquet and .csv, summary.html, contact_sheet.png.
        specimen: what is known of it: a `SpecimenInfo`, or its fields by name.
        frames: of stacks, as `read_micrographs` takes them.
        workers: processes; one for each core by default. Each holds one file at a time.
        **calibration: pixel_size_angstrom [Å], energy_ev [eV], dose_per_angstrom2 [e/Å²], instead of what the files say.

    Returns:
        An object with `table` (one row an image: optics in Å, verdict, Dice, particles, diameters in Å, reasons, fault), `images` (the
        same in full, a dictionary each) and `failed`; a notebook shows the contact sheet. An image that cannot be used is a row with its
        fault. What is finished, by the content of file and model, is not done again.

    Raises:
        BadInputError: if there is no image, none can be used, the model cannot be used, or the folder cannot be written.

    Example:
        >>> import passband as pb
        >>> pb.segment_folder("au-300kv", "session").table["file", "verdict", "dice"]  # doctest: +SKIP
    """
    return _of_many("segment", images, folder, _model(model), workers, calibration, frames, specimen=_known(specimen))


def check_folder(
    model: str | Path | Model,
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "checked",
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> ImageRun:
    """Predict on which of many images a model works, without masks; arguments and answer are those of `segment_folder`.

    Raises:
        BadInputError: as `segment_folder`; also if the model has not been scored.

    Example:
        >>> import passband as pb
        >>> pb.check_folder("au-300kv", "session/*.dm4").answer  # doctest: +SKIP
        'yes'
    """
    from passband.verdicts.verdict_model import VerdictModel

    chosen = VerdictModel(_model(model)).model
    return _of_many("check", images, folder, chosen, workers, calibration, frames, specimen=_known(specimen))


def estimate_folder(
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "estimated",
    spherical_angstrom: float = 0.0,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> ImageRun:
    """Estimate the optics of many images; arguments and answer are those of `segment_folder`.

    Args:
        images: as `segment_folder` takes them.
        folder: of summary and contact sheet.
        spherical_angstrom: C30 [Å].
        frames: of stacks.
        workers: processes; one for each core by default.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `segment_folder` takes them.

    Example:
        >>> import passband as pb
        >>> pb.estimate_folder("session", energy_ev=300e3).table["file", "defocus_angstrom"]  # doctest: +SKIP
    """
    return _of_many(
        "estimate", images, folder, None, workers, calibration, frames, spherical_angstrom=spherical_angstrom
    )


def score(
    model: str | Path | Model,
    images: Any,
    masks: Any = None,
    *,
    pixel_size_angstrom: float | None = None,
    edge_offset_angstrom: float | None = None,
    calibrate_edge: int = 0,
    tolerance_angstrom: float = 2.0,
) -> LabelScores:
    """Compare the masks of a model with labels, image by image: Dice, outlines, particles.

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

    return score_labels(
        _model(model),
        _labelled(images, masks, pixel_size_angstrom),
        edge_offset_angstrom=edge_offset_angstrom,
        calibrate_edge_on=calibrate_edge,
        tolerance_angstrom=tolerance_angstrom,
    )


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

    chosen, labelled = _model(model), _labelled(images, masks, pixel_size_angstrom)
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

    chosen, labelled = _model(model), _labelled(images, masks, pixel_size_angstrom)
    settings: Any = {"edge": edge, "folds": folds, "steps": steps}
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        return measure_curve(chosen, labelled, Path(folder), executor, progress, **settings)


def check(
    model: str | Path | Model,
    condition: Condition | str | Path | None = None,
    *,
    image: Any = None,
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    **calibration: float | None,
) -> Verdict:
    """Predict whether a model works under a condition, or on an image, with reasons and advice.

    Args:
        model: by name, folder, or loaded.
        condition: a condition, its file, or a preset.
        image: instead, as `micrograph` takes it.
        specimen: what is known of it: a `SpecimenInfo`, or its fields by name.
        **calibration: of the image: pixel_size_angstrom, energy_ev, dose_per_angstrom2.

    Raises:
        BadInputError: if neither or both are given, or one cannot be used.

    Example:
        >>> import passband as pb
        >>> pb.check("au-300kv", pb.Condition.preset("titan_corrected_300kv").varied(defocus=80)).answer in ("yes", "no", "cannot say")
        True
    """
    from passband.verdicts.verdict_model import VerdictModel

    if (condition is None) == (image is None):
        raise BadInputError("give either a condition or an image, and not both")
    known = _known(specimen)
    if image is not None:
        return VerdictModel(_model(model)).check_image(micrograph(image, **calibration), known)
    if calibration:
        raise BadInputError(f"{', '.join(calibration)} describe an image; put them into the condition")
    return VerdictModel(_model(model)).check(_condition(condition), known)


def estimate(image: Any, *, spherical_angstrom: float = 0.0, **calibration: float | None) -> Estimate:
    """Estimate defocus, astigmatism and information limit from the Thon rings of an image.

    Args:
        image: as `micrograph` takes it.
        spherical_angstrom: C30 [Å].
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Raises:
        BadInputError: if the image cannot be used, or its energy is not known.

    Example:
        >>> import passband as pb
        >>> pb.estimate("image.dm4").plot()  # doctest: +SKIP
    """
    from passband.estimation.estimate import estimate

    return estimate(micrograph(image, **calibration), C30=spherical_angstrom)


def to_signal(segmentation: Segmentation) -> Any:
    """Return the probability of a segmentation as a HyperSpy signal with its scale.

    Args:
        segmentation: from `segment`.

    Raises:
        BadInputError: if HyperSpy is not installed.

    Example:
        >>> import passband as pb
        >>> pb.to_signal(pb.segment("au-300kv", "image.dm4")).plot()  # doctest: +SKIP
    """
    try:
        from hyperspy.signals import Signal2D
    except ImportError:
        raise BadInputError("HyperSpy is not installed; pip install hyperspy") from None
    signal = Signal2D(segmentation.probability)
    for axis, name in zip(signal.axes_manager.signal_axes, ("x", "y"), strict=True):
        axis.name, axis.units, axis.scale = name, "nm", segmentation.pixel_size_angstrom / 10
    signal.metadata.General.title = "probability of a particle"
    return signal


def _model(model: str | Path | Model) -> Model:
    return load_model(model) if isinstance(model, str | Path) else model


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


def _of_many(
    verb: Literal["segment", "check", "estimate"],
    images: str | Path | Iterable[str | Path],
    folder: str | Path,
    model: Model | None,
    workers: int | None,
    calibration: Mapping[str, float | None],
    frames: Any,
    **settings: Any,
) -> ImageRun:
    import os

    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.micrographs.micrograph import Calibration
    from passband.sessions.image_files import find_images
    from passband.sessions.image_job import Settings
    from passband.sessions.image_run import run_images

    files = find_images([images] if isinstance(images, str | Path) else list(images), Path(folder))
    given = Calibration(**calibration)
    chosen = Settings.of(verb, Path(folder), model, given=given, frames=frames, **settings)
    count = min(workers or len(os.sched_getaffinity(0)), len(files.paths))
    name = None if model is None else model.card.name
    with make_executor("processes", count) as executor, TerminalProgress() as progress:
        return run_images(chosen, files, executor, progress, model=name)


def _field(name: str) -> str:
    return "defocus_angstrom" if name == "defocus" else field_name(name)


def _warn(source: str | Path, conditions: list[Condition]) -> None:
    """Warn of what is doubtful about conditions from a file."""
    for kind in doubt_kinds(conditions):
        warnings.warn(f"{source}: {kind[0]}", stacklevel=3)


def _known(given: Any) -> SpecimenInfo:
    from passband.verdicts.domain import SpecimenInfo

    if isinstance(given, SpecimenInfo):
        return given
    names = [field.name for field in fields(SpecimenInfo)]
    if given is not None and not isinstance(given, Mapping):
        raise BadInputError(f"specimen is a {type(given).__name__}; give a SpecimenInfo, or {', '.join(names)} by name")
    for name in given or {}:
        if name not in names:
            raise BadInputError(f"specimen has no {name!r}; known are {', '.join(names)}", value=name, limit=names)
    return SpecimenInfo(**(given or {}))


def _recipe(recipe: Recipe | str | Path) -> Recipe:
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe


def _condition(condition: Any) -> Condition:
    if isinstance(condition, Condition):
        return condition
    if isinstance(condition, str | Path):
        return load_condition(condition)
    raise BadInputError(
        f"a {type(condition).__name__} is no condition; give a Condition, its file or a preset", value=condition
    )


def _conditions(conditions: Any) -> list[Condition]:
    if isinstance(conditions, str | Path):
        return load_conditions(conditions)
    if hasattr(conditions, "conditions"):
        return list(conditions.conditions())
    if isinstance(conditions, Condition):
        return [conditions]
    return [_condition(condition) for condition in conditions]


def _ctf(condition: Condition, q_max_per_angstrom: float = 1.0) -> Ctf:
    from passband.report import ctf_page

    return ctf_page.ctf(condition, q_max_per_angstrom)


# Conditions lie below the optics, so the method comes from here.
METHODS["ctf"] = _ctf
