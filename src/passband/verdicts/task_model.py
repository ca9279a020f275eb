"""Make a model without verdicts, for another task than segmentation or for STEM without conditions, of a study's network; calibrate the interval of its values."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from passband.analysis.conformal import LEVEL, coverage_table, half_width, with_value_errors
from passband.base.version import __version__
from passband.conditions import AnyCondition, StemCondition
from passband.learning import SEGMENTATION, predict
from passband.learning.task import Task
from passband.models.card import ModelCard, Specimens, ValueInterval, pixel_band
from passband.models.store import WEIGHTS, Model, write_model
from passband.simulation.imaging import normalize
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingJob, test_images, test_targets
from passband.studies.study import Study
from passband.studies.wave_jobs import device
from passband.verdicts.calibration import specimens_of


def pack_task(
    folder: StudyFolder, chosen: tuple[TrainingJob, float], target: Path, *, name: str, intended_use: str = ""
) -> Model:
    """Write a model from a network of a study that `from_study.choose` returns, with its in-domain scores, and return it.

    The interval of its values is calibrated on the test specimens under its training condition, or under several in turn, and the study's
    tests tell how often it holds under others.

    Raises:
        BadInputError: if the model's folder exists, or exit waves are missing.
    """
    study, (job, mean_loss) = folder.study, chosen
    task, trained, recipe = study.learnt, job.domain.conditions, job.domain.recipe
    pixel, specimens = trained[0].pixel_size_angstrom, specimens_of(recipe)
    counts = _in_domain(folder, job)
    # Of polars' columns 0/0 is NaN, of Python's numbers an error.
    [scores] = counts.select(**task.scores({name: pl.col(name).sum() for name in task.counts})).rows(named=True)
    card = ModelCard(
        name=name,
        task=task.name,
        classes=task.classes,
        modality="stem" if isinstance(trained[0], StemCondition) else "hrtem",
        intended_use=intended_use or _use_of_task(task, use_of(specimens, trained)),
        limits=(
            "Trained and scored on simulated images alone, without damage, drift in steps, or absorption in thick particles.",
            f"Scores and intervals are those under its training condition{'s' * (len(trained) > 1)}; no verdict tells how well it works under another.",
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
        pixel_size_angstrom=pixel,
        pixel_band_angstrom=pixel_band(pixel),
        field_pixels=study.training.crop_pixels or round(recipe.field_angstrom / pixel),
        divisor=study.network.divisor,
        q_max_per_angstrom=study.q_max_per_angstrom,
        specimens=specimens,
        conditions=trained,
        task_scores={column: _finite(value) for column, value in scores.items()},
        value_interval=_interval(folder, job, counts) if task.value else None,
    )
    return write_model(target, card, {WEIGHTS: job.weights()})


def _in_domain(folder: StudyFolder, job: TrainingJob) -> pl.DataFrame:
    """Return the counts of a network's task on the test specimens under its training condition, or under several in turn, a row an image."""
    study, paths, conditions = folder.study, folder.paths, job.domain.conditions
    if job.domain.centre is None and len(conditions) > study.split.test:
        # Those of a set lie by falling ε.
        places = np.linspace(0, len(conditions) - 1, study.split.test).round().astype(int)
        conditions = tuple(conditions[i] for i in places)
    home = replace(job.domain, conditions=conditions)
    images = normalize(test_images(study, paths, home)[0])[:, None].to(device())
    targets = test_targets(study, paths, home)
    truth = study.learnt.truth(targets.numpy(), conditions[0].pixel_size_angstrom)
    columns = study.learnt.score(predict(job.network(), images), targets[:, None].float().to(images.device), truth)
    keys = {"train_condition": job.domain.id, "test_condition": job.domain.id, "seed": job.seed}
    return pl.DataFrame(
        keys | {"specimen": range(*study.split.test_range)} | {k: np.asarray(v) for k, v in columns.items()}
    )


def _interval(folder: StudyFolder, job: TrainingJob, in_domain: pl.DataFrame) -> ValueInterval | None:
    """Return the interval of a value; None if there are too few images."""
    calibration = with_value_errors(in_domain)
    width = half_width(calibration["error"])
    if width is None:
        return None
    elsewhere: dict[str, Any] = {}
    if (table := folder.paths.table("counts")).is_file():
        home = [job.domain.id, *(condition.id for condition in job.domain.conditions)]
        tests = pl.read_parquet(table).filter(
            pl.col("train_condition") == job.domain.id,
            pl.col("seed") == job.seed,
            ~pl.col("test_condition").is_in(home),
        )
        shares = coverage_table(with_value_errors(tests), calibration)["coverage"]
        if len(shares):
            elsewhere = {
                "conditions_elsewhere": len(shares),
                "coverage_elsewhere": shares.mean(),
                "least_coverage_elsewhere": shares.min(),
            }
    return ValueInterval(level=LEVEL, half_width_angstrom=width, images=len(calibration), **elsewhere)


def _use_of_task(task: Task, use: str) -> str:
    """Return the intended use of a network, in a sentence that begins with what it predicts; segmentation marks the particles themselves."""
    if task.name == SEGMENTATION.name:
        return use
    return f"{task.quantity[0].upper()}{task.quantity[1:]}: {use[0].lower()}{use[1:]}"


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _ends(values: Sequence[float], form: str) -> str:
    ends = dict.fromkeys(f"{value:{form}}" for value in (min(values), max(values)))
    return " to ".join(ends)


def _images(condition: AnyCondition) -> str:
    return f"{condition.detector.kind.upper()} STEM" if isinstance(condition, StemCondition) else "HRTEM"


def has_verdicts(study: Study) -> bool:
    """Tell whether verdicts know the models of a study: those of segmentation."""
    return study.task == SEGMENTATION.name


def use_of(known: Specimens, conditions: Sequence[AnyCondition]) -> str:
    """Return the intended use of a network, in a sentence: its specimens, and the range of the conditions it is calibrated on."""
    size = known.diameter_angstrom
    across = "" if size is None else f" of {size[0] / 10:.3g} to {size[1] / 10:.3g} nm"
    defoci = [c.defocus_angstrom for c in conditions]
    doses = [c.dose_per_angstrom2 for c in conditions if c.dose_per_angstrom2 is not None]
    dose = f" and doses of {_ends(doses, '.0f')} e/Å²" if doses else ""
    energies = " and ".join(f"{energy / 1000:g}" for energy in sorted({c.energy_ev for c in conditions}))
    return (
        f"Particles of {', '.join(known.elements)}{across} on {known.support or 'nothing'} in {_images(conditions[0])} images at "
        f"{energies} kV, defocus {_ends(defoci, '+.0f')} Å{dose}."
    )
