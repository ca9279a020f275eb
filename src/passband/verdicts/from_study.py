"""Make a model from a network that a study has trained."""

from collections.abc import Sequence
from pathlib import Path

import torch

from passband.base.errors import BadInputError, parameter
from passband.base.version import __version__
from passband.conditions import AnyCondition
from passband.execution.base import Executor, StageProgress
from passband.models.card import ModelCard, pixel_band
from passband.models.store import SECOND, WEIGHTS, Model, read_model, write_model
from passband.simulation.modalities import modality_name
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingJob
from passband.studies.stored import read_tables
from passband.studies.wave_jobs import open_wave_set
from passband.verdicts.calibration import roles, score_model, specimens_of
from passband.verdicts.task_model import has_verdicts, pack_task, use_of


def choose(study_folder: StudyFolder, training: str | None, seed: int | None) -> tuple[TrainingJob, float]:
    """Return the job of a network of a finished study, and its mean loss over the study's tests: the lowest of those that match.

    `training` is the name of a training set, its beginning (`uniform-32`), or the id of a condition; None, also as seed, matches all.

    Raises:
        BadInputError: if the study is not finished, or has no such network.
    """
    paths, study = study_folder.paths, study_folder.study
    if not paths.table("scores").is_file() or not paths.jobs.is_dir():
        raise BadInputError("has no networks", remedy="run the study first", place=paths.folder)
    scores = read_tables(paths, ["scores"])["scores"]
    candidates = []
    for job in study_folder.training_jobs:
        if training is not None and job.domain.id != training and not job.domain.id.startswith(f"{training}-"):
            continue
        if (seed is None or job.seed == seed) and job.weights_digest() is not None:
            tests = scores.filter(train_condition=job.domain.id, seed=job.seed)
            if isinstance(loss := tests["loss"].mean(), float):
                candidates.append((job, loss))
    if not candidates:
        names = sorted({t.id for t in study.trainings})
        raise BadInputError(
            f"no network of {paths.folder} has {parameter('training')} {training} and {parameter('seed')} {seed}; "
            f"it was trained on {', '.join(names[:8])}{' …' if len(names) > 8 else ''}, with seeds 0 to {study.seeds - 1}"
        )
    return min(candidates, key=lambda candidate: candidate[1])


def check_conditions(study_folder: StudyFolder, *, given: bool) -> None:
    """Refuse conditions that a model of a study is not scored under, and the lack of those that it needs."""
    study = study_folder.study
    if has_verdicts(study) and not given and study.stored_as is study.exit_waves:
        what, remedy = "its model gives verdicts, which need conditions to score it under", "give them with"
        raise BadInputError(what, remedy=f"{remedy} {parameter('conditions')}", place=study_folder.paths.folder)
    if given and not has_verdicts(study):
        what = f"{parameter('conditions')} is of segmentation, and this study of {study.task}"
        raise BadInputError(what, value=study.task, remedy="leave it out", place=study_folder.paths.folder)


def pack(
    study_folder: StudyFolder,
    chosen: tuple[TrainingJob, float],
    folder: Path,
    conditions: Sequence[AnyCondition],
    held_out: float,
    executor: Executor,
    progress: StageProgress,
    *,
    name: str,
    intended_use: str = "",
    second: TrainingJob | None = None,
    memory: int,
) -> Model:
    """Write a model from a network of a study that `choose` returns, scored under conditions, and return it.

    Of a study of another task than segmentation, or of STEM without conditions, it is `task_model.pack_task`: it gives no verdicts.
    `second` is a network of a study of other specimens on the same pixels: where both disagree, verdicts on images say so. An unfinished model of the same name in the folder is replaced. Verdicts are evaluated on the share `held_out` of the conditions and
    calibrated on the others. Exit waves in work take at most `memory` bytes in a worker.

    Raises:
        BadInputError: if the folder holds something else, the study's specimens cannot be read, or the second network takes other images.
    """
    study, (job, mean_loss) = study_folder.study, chosen
    bare = not conditions and study.stored_as is not study.exit_waves
    if bare or not has_verdicts(study):
        return pack_task(study_folder, chosen, folder, name=name, intended_use=intended_use)
    if second is not None:
        _check_second(job, second)
    recipe, trained = job.domain.recipe, job.domain.conditions
    modality = modality_name(trained[0])
    for condition in conditions:
        if (given := modality_name(condition)) != modality:
            what = f"{parameter('conditions')} has one of {given.upper()}, and the study is of {modality.upper()}"
            raise BadInputError(
                what, value=given, limit=modality, remedy="give others", place=study_folder.paths.folder
            )
    energies = sorted({c.energy_ev / 1000 for c in trained})
    pixel = trained[0].pixel_size_angstrom
    specimens, named = specimens_of(recipe), roles(trained, conditions, held_out)
    card = ModelCard(
        name=name,
        intended_use=intended_use or use_of(specimens, [c for role, c in named if role == "calibration"]),
        limits=(
            "Trained and scored on simulated images alone, without damage, drift in steps, or absorption in thick particles.",
            f"{'One energy' if len(energies) == 1 else 'Energies'}, {' and '.join(f'{e:g}' for e in energies)} keV, and such specimens; for another element, support or thickness its verdict is: cannot say.",
            "It marks particles against their support, and does not tell one kind of particle from another.",
        ),
        licence="GPL-3.0-or-later",
        made_by={
            "study": study.name,
            "study_id": study.id,
            "trained_on": job.domain.id,
            "seed": job.seed,
            "mean_loss_over_tests": round(mean_loss, 4),
            "versions": {"passband": __version__, "torch": torch.__version__},
        },
        network=study.network,
        second_network=None if second is None else second.study.network,
        pixel_size_angstrom=pixel,
        pixel_band_angstrom=pixel_band(pixel),
        field_pixels=study.training.crop_pixels or round(recipe.field_angstrom / pixel),
        divisor=study.network.divisor,
        q_max_per_angstrom=study.q_max_per_angstrom,
        specimens=specimens,
        modality=modality,
        conditions=trained,
    )
    contents = {WEIGHTS: job.weights()} | ({} if second is None else {SECOND: second.weights()})
    return score_model(
        write_model(folder, card, contents, replace=_is_bare(folder, name)),
        open_wave_set(recipe, study.stored_as, study_folder.paths.root),
        study.split.test_range,
        named,
        study_folder.paths.folder,
        executor,
        progress,
        memory=memory,
    )


def _check_second(first: TrainingJob, second: TrainingJob) -> None:
    """Refuse a second network that does not take the images of the first: of other pixels, or in multiples of other sides."""
    pixel, other = (job.domain.conditions[0].pixel_size_angstrom for job in (first, second))
    divisor, others = (job.study.network.divisor for job in (first, second))
    if pixel != other:
        what = f"{parameter('second')} {second.study.name}: has pixels of {other:g} Å, and {first.study.name} of {pixel:g} Å"
        raise BadInputError(what, value=other, limit=pixel, remedy="give a study on the same pixels")
    if divisor % others:
        what = f"{parameter('second')} {second.study.name}: its network takes fields of multiples of {others} pixels, and that of {first.study.name} of {divisor}"
        raise BadInputError(
            what, value=others, limit=divisor, remedy="give a study of a network that takes the same fields"
        )


def check_free(folder: Path, name: str) -> None:
    """Refuse a folder that already holds a finished model or something else."""
    if folder.exists() and not _is_bare(folder, name):
        remedy = f"choose another {parameter('name')}, or delete the folder first"
        raise BadInputError("exists", remedy=remedy, place=folder)


def _is_bare(folder: Path, name: str) -> bool:
    """Whether a folder holds a model of this name that has not been scored."""
    try:
        card = read_model(folder).card
    except BadInputError:
        return False
    return card.name == name and card.own_loss is None
