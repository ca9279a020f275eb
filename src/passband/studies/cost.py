"""The cost of a study: work, disk, memory and time, estimated from a short calibration, and compared with the run."""

import json
import math
import shutil
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from passband.base.progress import clock
from passband.execution.base import Executor, Progress
from passband.files.atomic import existing
from passband.learning import SEGMENTATION, Task, build, predict, train
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import normalize
from passband.studies.cross_tests import test_jobs
from passband.studies.folder import StudyFolder, missing_units
from passband.studies.paths import StudyPaths
from passband.studies.study import Study
from passband.studies.wave_jobs import BLOCK

#: Parts whose seconds `measure` returns.
PARTS = ("wave", "train_image", "image", "inference", "score")
# Bytes of an idle worker: Python, PyTorch and the libraries.
_WORKER = 450_000_000
# Seconds that each part of the calibration is repeated for, at least.
_SHORTEST = 1.0
# Seconds to start a worker, to make tables, fits and report, and what each pair of domains adds to these.
_START, _REPORT, _REPORT_PAIR = 6.0, 15.0, 5e-4
# Seconds of this process for each task, to hand it out, to see that it is finished and to read its tables.
_TASK = 0.02
# Specimens that the calibration makes; training is timed on copies of them.
_SPECIMENS = 3


def calibrate(task: tuple[Study, Path], progress: Progress) -> None:
    """Measure the seconds of one exit wave, training step, test image, inference and its scores; write them into a JSON file."""
    study, path = task
    first = study.trainings[0]
    recipe, config, condition = first.recipe, study.stored_as, first.conditions[0]
    imager = study.modality.imager(condition, recipe, config)
    parts, began = [], [time.perf_counter()]
    for index in range(_SPECIMENS):
        parts.append(study.modality.scatter(recipe, [index], config))
        began.append(time.perf_counter())
    waves, masks = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    training = study.training
    count = min(max(2 * training.batch_size, 2), study.split.train)
    chosen = torch.arange(count) % _SPECIMENS
    alone = len(first.conditions) == 1
    source = ImageSource(waves[chosen], masks[chosen], imager, cache=alone)
    epochs = training.model_copy(update={"epochs": 2})
    validation = ImageSource(waves[:1], masks[:1], imager)
    model, images = build(study.network).eval(), torch.zeros(16, 1, imager.pixels, imager.pixels)
    _, targets = imager.images(waves[:1], masks[:1], seed=0)
    targets = targets[:, None].float().expand_as(images)
    # Masks are numbers of classes, too; tasks with one output take as long as the first.
    learnt: Task = study.learnt if study.network.outputs > 1 else SEGMENTATION
    called = (targets - 0.5).expand(-1, study.network.outputs, -1, -1)
    truth = learnt.truth(targets[:, 0].numpy(), condition.pixel_size_angstrom)
    result = {
        # The first specimen takes longer, for tables that are made once.
        "wave": float(np.diff(began)[1:].min()),
        "train_image": _seconds(lambda: train(study.network, epochs, source, validation, seed=0, task=learnt))
        / (2 * count),
        "image": _seconds(lambda: normalize(imager.intensity(waves[:1]))),
        "inference": _seconds(lambda: learnt.loss(predict(model, images), targets)) / len(images),
        # An untrained network marks noise; a trained one has outlines like the truth's.
        "score": _seconds(lambda: learnt.score(called, targets, truth)) / len(images),
    }
    path.write_text(json.dumps(result), encoding="utf-8")
    progress(1.0)


def _seconds(do: Callable[[], object]) -> float:
    do()
    once = timeit.timeit(do, number=1)
    return min(timeit.repeat(do, number=1, repeat=max(2, math.ceil(_SHORTEST / once))))


def measure(study: Study, executor: Executor) -> dict[str, float]:
    """Return the mean seconds of each part, measured by all workers at once because they share caches and memory.

    Workers of a cluster must share this machine's folder for temporary files.
    """
    with tempfile.TemporaryDirectory() as folder:
        tasks = [(study, Path(folder) / f"{i}.json") for i in range(min(executor.workers, 16))]
        if failures := executor.map(calibrate, tasks, lambda share: None):
            raise RuntimeError(failures[0].reason)
        measured = [json.loads(path.read_text(encoding="utf-8")) for _, path in tasks]
    return {name: sum(m[name] for m in measured) / len(measured) for name in PARTS}


def estimate(study: Study, paths: StudyPaths, seconds: dict[str, float], workers: int) -> dict[str, Any]:
    """Return finished and missing work, core-seconds of each stage, wall time, disk and memory.

    The folder need not exist; the seconds are from `measure`.
    """
    counts = StudyFolder(study, paths).counts()
    todo, split, training = missing_units(counts), study.split, study.training
    # Images are made once if the one training condition is round, else anew for every batch.
    once = [len(t.conditions) == 1 and t.conditions[0].is_round for t in study.trainings]
    round_share = sum(once) / len(once)
    imaging = (split.train + split.validation) * seconds["image"] * (round_share + 8 * (1 - round_share))
    validation = training.epochs * split.validation * seconds["inference"]
    core = {
        "waves": todo["waves"] * seconds["wave"],
        "train": todo["train"] * (training.epochs * split.train * seconds["train_image"] + imaging + validation),
        "images": todo["images"] * split.test * seconds["image"],
        "tests": todo["tests"]
        * split.test
        * (seconds["inference"] + seconds["score"] + seconds["image"] / min(32, max(study.seeds, 1))),
    }
    return {
        "study": study.name,
        "id": study.id,
        "cells": counts,
        "stored": study.modality.STORED,
        "workers": workers,
        "seconds": seconds,
        "core_seconds": core,
        "wall_seconds": wall_seconds(core, todo, study, workers),
        "disk_bytes": disk_needed(study, todo["waves"]),
        "disk_free_bytes": shutil.disk_usage(existing(paths.folder)).free,
        "memory_bytes_per_worker": _memory(study),
    }


def _memory(study: Study) -> int:
    """Return the bytes that one worker takes at most, with waves and cached images of training and test specimens."""
    field = max(recipe.field_angstrom for recipe in study.all_recipes)
    pixels = max(round(field / c.pixel_size_angstrom) for c in study.test_conditions)
    specimen = _stored_bytes(study) + 10 * pixels**2
    return _WORKER + study.split.total * specimen + 1500 * study.training.batch_size * pixels**2


def disk_needed(study: Study, absent: int) -> int:
    """Return the bytes that a study takes at most on disk, given how many exit waves are missing."""
    network = 1e6 if study.network.family == "unet" else 1e8
    return int(absent * _stored_bytes(study) + 5e6 + network * len(study.trainings) * study.seeds)


def _stored_bytes(study: Study) -> int:
    """Return the bytes of what is stored of a specimen at most, with its mask."""
    shapes = [study.modality.stored_shape(recipe, study.stored_as) for recipe in study.all_recipes]
    field = max(recipe.field_angstrom for recipe in study.all_recipes)
    return 8 * max(map(math.prod, shapes)) + study.stored_as.targets.grid_points(field) ** 2


def wall_seconds(core: dict[str, float], todo: dict[str, int], study: Study, workers: int) -> float:
    """Return the wall time [s]: each stage waits for the last of its tasks, and a task runs on one worker."""
    total = _REPORT + _REPORT_PAIR * len(study.trainings) * len(study.tests) + (_START if any(todo.values()) else 0.0)
    tasks = todo | {"waves": -(-todo["waves"] // BLOCK)}
    together = test_jobs(len(study.trainings) * study.seeds, len(study.tests)) if todo["tests"] else 0
    total += _TASK * (tasks["waves"] + tasks["train"] + tasks["images"] + together)
    for stage, work in core.items():
        if tasks[stage]:
            total += work / tasks[stage] * -(-tasks[stage] // max(workers, 1))
    return total


def compare_with_plan(
    planned: dict[str, Any] | None, study: Study, todo: dict[str, int], workers: int, took: float
) -> str | None:
    """Return a line that compares the wall time of a run [s] with its plan, or None if the plan was for other work or is damaged.

    The plan is from `estimate`; `todo` are the missing units of each stage when the run began.
    """
    if planned is None or planned.get("id") != study.id:
        return None
    try:
        same = todo == missing_units(planned["cells"])
        expected = wall_seconds(planned["core_seconds"], todo, study, workers) if same else 0.0
    except (AttributeError, KeyError, TypeError):
        return None
    if not expected > 0:
        return None
    ratio = took / expected
    line = f"took {clock(took)}, and {clock(expected)} were planned"
    if 0.5 <= ratio <= 2:
        return line
    return f"warning: {line}, {'more' if ratio > 2 else 'less'} by a factor of {max(ratio, 1 / ratio):.1f}; plan again on a machine that is as busy as this one"


def describe(cost: dict[str, Any]) -> list[str]:
    """Return an estimate as lines."""
    names = {"waves": cost["stored"], "train": "networks", "images": "images", "tests": "tests"}
    lines = [f"{'':<18}{'to do':>10}{'done':>10}{'core time':>12}"]
    for stage, n in cost["cells"].items():
        core = clock(cost["core_seconds"][stage])
        lines.append(f"{names[stage]:<18}{n['total'] - n['done']:>10}{n['done']:>10}{core:>12}")
    lines += [
        f"time              about {clock(cost['wall_seconds'])} with {cost['workers']} workers, within a factor of two",
        f"disk              {cost['disk_bytes'] / 1e9:.2f} GB at most; {cost['disk_free_bytes'] / 1e9:.1f} GB are free",
        f"memory            {cost['memory_bytes_per_worker'] / 1e9:.2f} GB a worker",
    ]
    if "cost" in cost:
        hours, price = cost["core_hours"], cost["price_per_core_hour"]
        lines.append(f"cost              {hours:.1f} core-hours at {price:g}: {cost['cost']:.2f}")
    return lines
