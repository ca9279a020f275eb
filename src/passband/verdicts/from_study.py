"""Make a model from a network that a study has trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from passband.base.errors import BadInputError, parameter
from passband.base.identity import seed_from
from passband.base.version import __version__
from passband.conditions import Condition
from passband.execution.base import Executor, StageProgress
from passband.models.card import ModelCard, Specimens, pixel_band
from passband.models.store import WEIGHTS, Model, write_model
from passband.specimens import Recipe, SpecimenRecipe
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingJob
from passband.studies.stored import read_tables
from passband.studies.study import TrainDomain
from passband.studies.wave_jobs import open_wave_set
from passband.verdicts.calibration import Named, score_model


@dataclass(frozen=True)
class Chosen:
    """A network of a study: its training job, and its mean loss over the study's test conditions."""

    job: TrainingJob
    loss: float

    @property
    def training(self) -> TrainDomain:
        """The training domain."""
        return self.job.domain


def choose(study_folder: StudyFolder, training: str | None, seed: int | None) -> Chosen:
    """Return a network of a finished study: of those that match, the one with the lowest mean loss over the study's tests.

    `training` is the name of a training set, its beginning (`uniform-32`), or the id of a condition; None, also as seed, matches all.

    Raises:
        BadInputError: if the study is not finished, or has no such network.
    """
    if not study_folder.paths.table("scores").is_file() or not study_folder.paths.jobs.is_dir():
        folder = study_folder.paths.folder
        raise BadInputError("has no networks", remedy="run the study first", place=folder)
    scores = read_tables(study_folder.paths, ["scores"])["scores"]
    candidates = []
    for job in study_folder.training_jobs:
        subject = job.domain
        if training is not None and subject.id != training and not subject.id.startswith(f"{training}-"):
            continue
        if (seed is None or job.seed == seed) and job.weights_digest() is not None:
            mean_loss = scores.filter((pl.col("train_condition") == subject.id) & (pl.col("seed") == job.seed))[
                "loss"
            ].mean()
            if isinstance(mean_loss, float):
                candidates.append(Chosen(job, mean_loss))
    if not candidates:
        names = sorted({t.id for t in study_folder.study.trainings})
        raise BadInputError(
            f"no network of {study_folder.paths.folder} has {parameter('training')} {training} and {parameter('seed')} {seed}; "
            f"it was trained on {', '.join(names[:8])}{' …' if len(names) > 8 else ''}, with seeds 0 to {study_folder.study.seeds - 1}"
        )
    return min(candidates, key=lambda chosen: chosen.loss)


def divide(conditions: Sequence[Condition], share: float) -> tuple[list[Condition], list[Condition]]:
    """Return conditions to calibrate on, and a random share of them to hold out, by a fixed seed."""
    order = np.random.default_rng(seed_from("held out")).permutation(len(conditions))
    held_out = {int(i) for i in order[: round(share * len(conditions))]}
    parts: tuple[list[Condition], list[Condition]] = ([], [])
    for i, condition in enumerate(conditions):
        parts[i in held_out].append(condition)
    return parts


def use_of(chosen: Chosen, conditions: Sequence[Condition]) -> str:
    """Return the intended use of a network, in a sentence: its specimens, and the range of the conditions it is scored under."""
    known = specimens_of(chosen.training.recipe)
    size = (
        ""
        if known.diameter_angstrom is None
        else " of {:.3g} to {:.3g} nm".format(*(d / 10 for d in known.diameter_angstrom))
    )
    defoci = [c.defocus_angstrom for c in conditions]
    doses = [c.dose_per_angstrom2 for c in conditions if c.dose_per_angstrom2 is not None]
    dose = f" and doses of {min(doses):.0f} to {max(doses):.0f} e/Å²" if doses else ""
    return (
        f"Particles of {', '.join(known.elements)}{size} on {known.support or 'nothing'} in HRTEM images at "
        f"{conditions[0].energy_ev / 1000:g} kV, defocus {min(defoci):+.0f} to {max(defoci):+.0f} Å{dose}."
    )


def pack(
    study_folder: StudyFolder,
    chosen: Chosen,
    folder: Path,
    calibration: Sequence[Condition],
    held_out: Sequence[Condition],
    executor: Executor,
    progress: StageProgress,
    *,
    name: str,
    intended_use: str = "",
    memory: int,
) -> Model:
    """Write a model from a network of a study, scored under conditions, and return it.

    An unfinished model of the same name in the folder is replaced. Verdicts are calibrated on some conditions and evaluated on those held
    out. The intended use is `use_of` by default. Exit waves in work take at most `memory` bytes in a worker.

    Raises:
        BadInputError: if the folder holds something else, or the study's specimens cannot be read.
    """
    study = study_folder.study
    recipe = chosen.training.recipe
    first = chosen.training.conditions[0]
    pixel = first.pixel_size_angstrom
    side = round(recipe.field_angstrom / pixel)
    card = ModelCard(
        name=name,
        intended_use=intended_use or use_of(chosen, calibration),
        limits=_limits(recipe, first),
        licence="GPL-3.0-or-later",
        made_by={
            "study": study.name,
            "study_id": study.id,
            "trained_on": chosen.training.id,
            "seed": chosen.job.seed,
            "mean_loss_over_tests": round(chosen.loss, 4),
            "versions": {"passband": __version__, "torch": torch.__version__},
        },
        network=study.network,
        pixel_size_angstrom=pixel,
        pixel_band_angstrom=pixel_band(pixel),
        field_pixels=side,
        divisor=study.network.divisor,
        q_max_per_angstrom=study.q_max_per_angstrom,
        specimens=specimens_of(recipe),
        conditions=chosen.training.conditions,
    )
    bare = write_model(folder, card, {WEIGHTS: chosen.job.weights()}, replace=_is_bare(folder, name))
    conditions: list[Named] = [("trained", c) for c in chosen.training.conditions]
    conditions += [("calibration", c) for c in calibration] + [("held_out", c) for c in held_out]
    return score_model(
        bare,
        open_wave_set(recipe, study.exit_waves, study_folder.paths.root),
        study.split.test_range,
        conditions,
        study_folder.paths.folder,
        executor,
        progress,
        memory=memory,
    )


def check_free(folder: Path, name: str) -> None:
    """Refuse a folder that already holds a finished model or something else."""
    if folder.exists() and not _is_bare(folder, name):
        raise BadInputError(
            "exists", remedy=f"choose another {parameter('name')}, or delete the folder first", place=folder
        )


def _is_bare(folder: Path, name: str) -> bool:
    """Whether a folder holds a model of this name that has not been scored."""
    from passband.models.store import read_model

    try:
        card = read_model(folder).card
    except BadInputError:
        return False
    return card.name == name and card.own_loss is None


def specimens_of(recipe: Recipe) -> Specimens:
    """Return the facts of a recipe's specimens that verdicts need."""
    if not isinstance(recipe, SpecimenRecipe):
        raise BadInputError("a model's specimens have to come from a recipe, not from given scenes; train on a recipe")
    from ase.data import chemical_symbols

    elements = {chemical_symbols[z] for p in recipe.particles for z in p.crystal_used().numbers}
    elements |= {e for p in recipe.particles for spread in p.alloy.values() for e in spread}
    bounds = [p.diameter_angstrom.bounds() for p in recipe.particles]
    film = recipe.substrate
    return Specimens(
        elements=tuple(sorted(elements)),
        support=None if film is None else film.material,
        thickness_angstrom=None if film is None else film.thickness_angstrom.bounds(),
        diameter_angstrom=(min(b[0] for b in bounds), max(b[1] for b in bounds)),
        recipe=recipe.model_dump(mode="json"),
    )


def _limits(recipe: Recipe, condition: Condition) -> tuple[str, ...]:
    return (
        "Trained and scored on simulated images alone, without contamination, damage, drift in steps, or a camera's fixed pattern.",
        f"One energy, {condition.energy_ev / 1000:g} keV, and one kind of specimen; for another element, support or thickness its verdict is: cannot say.",
        "It marks particles against their support, and does not tell one kind of particle from another.",
    )
