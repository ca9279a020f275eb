"""Train and test the networks of a study on a GPU, group by group, until the time is over; every finished group is on disk.

Scores come back, not weights, as arrays: the machine needs no library for tables. `merge.py` makes the tables of them.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from passband.execution.base import Progress
from passband.execution.processes import Processes
from passband.files.atomic import write_file, write_text
from passband.learning import Member, Predictors, Segmentation, train_group
from passband.learning.fleets import Arrangement
from passband.learning.steps import fastest
from passband.simulation.imaging import normalize
from passband.studies.jobs import TrainingJob, imager, test_images
from passband.studies.paths import StudyPaths
from passband.studies.study import Study, dump_study
from passband.studies.wave_jobs import device, make_waves, open_wave_set, wave_sets
from tools.gpu_session import ROOT

#: Seeds of the study that a session trains unless others are given: more than any session finishes.
SEEDS = 400
_SMALL = {
    "specimens": {
        "seed": 3,
        "field_angstrom": 19.2,
        "particles": {"count": [1, 1], "diameter_angstrom": [8.5, 9.5]},
        "substrate": {"thickness_angstrom": [4.0, 5.0]},
    },
    "split": {"train": 6, "validation": 2, "test": 3},
    "network": {"widths": [4, 8], "stem": 2},
    "training": {"epochs": 2, "batch_size": 3},
    "seeds": 3,
}


def write_study(folder: Path, *, small: bool) -> Path:
    """Write the study of a session: the demo's, of more defoci and seeds; return its file."""
    content = yaml.safe_load((ROOT / "studies/defocus.yaml").read_text(encoding="utf-8"))
    content["specimens"] = str(ROOT / "studies" / content["specimens"])
    content["conditions"]["vary"] = {"defocus_angstrom": [-100, 100] if small else list(range(-300, 301, 25))}
    content |= {"seeds": SEEDS} | (_SMALL if small else {})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gpu_defocus.yaml"
    write_text(path, yaml.safe_dump(content, sort_keys=False))
    return path


def start_waves(study: Path, work: Path, cores: int) -> subprocess.Popen[bytes]:
    """Start making the exit waves of a study in processes of their own, away from the GPU."""
    command = [sys.executable, str(Path(__file__).parent), "waves", str(study), "--work", str(work)]
    return subprocess.Popen([*command, "--cores", str(cores)], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})  # noqa: S603


def waves(study: Study, paths: StudyPaths, cores: int) -> None:
    """Make the exit waves that are missing."""
    executor = Processes(cores)
    try:
        for family in wave_sets(study, paths):
            if indices := family.missing(study.split.total):
                make_waves(family, study.split.total, indices, executor, _Quiet())
    finally:
        executor.close()


class _Quiet:
    """Progress of which only notes are shown; a terminal's would need rich."""

    def note(self, text: str) -> None:
        print(text, flush=True)

    def stage(self, name: str, total: int, done: int) -> Progress:
        return lambda share: None


@dataclass
class Results:
    """What is known of the networks of a study; the lists have an entry a network, in the order in which they were trained.

    Attributes:
        study: the study's YAML.
        columns: of the sums, as the task names them.
        domain: which of the study's training domains.
        seed: from 0.
        history: training and validation loss of each epoch, [epochs, 2]; NaN from where they are not finite.
        loss: mean loss on each test domain, [tests].
        sums: counts on each test domain, summed over its images, [tests, columns].
        seconds: of training and of tests, each group's divided by its networks, [2].
    """

    study: str
    columns: list[str]
    domain: list[int] = field(default_factory=list)
    seed: list[int] = field(default_factory=list)
    history: list[np.ndarray] = field(default_factory=list)
    loss: list[np.ndarray] = field(default_factory=list)
    sums: list[np.ndarray] = field(default_factory=list)
    seconds: list[np.ndarray] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write all into one file, which is whole at any time."""
        arrays = {name: np.array(value) for name, value in vars(self).items()}

        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)

        write_file(path, save)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Return what was written."""
        with np.load(path) as stored:
            arrays = dict(stored)
        text, columns = str(arrays.pop("study")), arrays.pop("columns").tolist()
        return cls(text, columns, **{name: list(values) for name, values in arrays.items()})


def run(study: Study, paths: StudyPaths, file: Path, ends: float, group: int) -> dict[str, Any]:
    """Train and test networks until a time of `time.monotonic`; return what was done.

    Networks of a seed are trained under all domains before those of the next seed. The first group is small and tells how long
    the next ones take; one that would not end in time is not begun.
    """
    text = dump_study(study)
    results = Results(text, list(Segmentation.counts))
    if file.is_file() and (former := Results.read(file)).study == text:
        results = former
    known = set(zip(map(int, results.domain), map(int, results.seed), strict=True))
    width = len(study.trainings)
    left = [(d, s) for s in range(study.seeds) for d in range(width) if (d, s) not in known]
    seeds = max(group // width, 1)
    # Whole seeds, as far as a group holds one; the first group is a quarter of the others.
    whole, size = (seeds * width, max(seeds // 4, 1) * width) if width <= group else (group, group // 4 or 1)
    each = 0.0
    sources: dict[int, Member] = {}
    tests, started = _Tests(study, paths), time.monotonic()
    pixels = study.training.crop_pixels or tests.pixels
    arrangement = fastest(study.network, study.training, min(whole, len(left)), pixels, device())
    chosen = time.monotonic() - started
    began, first = time.monotonic(), len(results.seed)
    while left:
        fits = int((ends - time.monotonic()) / (1.1 * each)) if each else size
        size = min(size, fits if width > group else fits // width * width, len(left))
        if size < 1:
            break
        start = time.monotonic()
        _group(study, paths, left[:size], results, sources, tests, arrangement)
        results.write(file)
        each, left, size = (time.monotonic() - start) / size, left[size:], whole
    networks, seconds = len(results.seed) - first, time.monotonic() - began
    split, epochs = study.split, study.training.epochs
    trained, tested = np.array(results.seconds[first:]).reshape(-1, 2).sum(0).tolist()
    images = networks * epochs * (split.train + split.validation)
    return {
        "networks": networks,
        "networks_before": first,
        "tests": networks * len(study.tests),
        "diverged": int(sum(~np.isfinite(h).all() for h in results.history[first:])),
        "group": whole,
        "arrangement": arrangement,
        "chosen_in_s": round(chosen, 2),
        "seconds": seconds,
        "train_seconds": trained,
        "test_seconds": tested,
        "images_per_second": images / trained if trained else None,
        "all": not left,
    }


class _Tests:
    """The test images of a study on the device, made once."""

    def __init__(self, study: Study, paths: StudyPaths):
        self.task, self._made = Segmentation(study.training.loss), []
        self._study, self._paths = study, paths

    @property
    def pixels(self) -> int:
        """Pixels along a side of the images."""
        first = self._study.tests[0]
        return imager(open_wave_set(first.recipe, self._study.exit_waves, self._paths.root), first.condition).pixels

    def score(self, models: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return losses, [networks, tests], and sums of counts, [networks, tests, columns]."""
        study, names = self._study, list(self.task.counts)
        if not self._made:
            for test in study.tests:
                counts, masks = test_images(study, self._paths, test)
                truth = self.task.truth(masks[:, 0].numpy() > 0, test.condition.pixel_size_angstrom)
                self._made.append((normalize(counts)[:, None].to(device()), masks.to(device()), truth))
        predictors = Predictors(study.network, models, device())
        loss = np.zeros((len(models), len(study.tests)))
        sums = np.zeros((*loss.shape, len(names)))
        for t, (images, masks, truth) in enumerate(self._made):
            outputs = (one for logits in predictors.logits(images) for one in logits.split(1, 1))
            for i, logits in enumerate(outputs):
                columns = self.task.score(logits, masks, truth)
                loss[i, t] = np.mean(columns["loss"])
                sums[i, t] = [np.sum(columns[name]) for name in names]
        return loss, sums


def _group(
    study: Study,
    paths: StudyPaths,
    chosen: list[tuple[int, int]],
    results: Results,
    sources: dict[int, Member],
    tests: _Tests,
    arrangement: Arrangement,
) -> None:
    """Train and test networks, by their domain and seed, and add them to the results."""
    start = time.monotonic()
    jobs = [TrainingJob(study, paths, study.trainings[d], s) for d, s in chosen]
    for (d, _), job in zip(chosen, jobs, strict=True):
        # Networks of a domain share its images, also from group to group.
        if d not in sources:
            sources[d] = job.member()
    members = [replace(sources[d], seed=job.training_seed) for (d, _), job in zip(chosen, jobs, strict=True)]
    trained = train_group(study.network, study.training, members, arrangement=arrangement)
    middle = time.monotonic()
    epochs, finite = study.training.epochs, [t for t in trained if not isinstance(t, FloatingPointError)]
    loss, sums = tests.score([model for model, _ in finite])
    seconds = np.array([middle - start, time.monotonic() - middle]) / len(chosen)
    places = iter(range(len(finite)))
    for (d, s), one in zip(chosen, trained, strict=True):
        failed = isinstance(one, FloatingPointError)
        i = None if failed else next(places)
        history = [] if failed else [[epoch["train_loss"], epoch["validation_loss"]] for epoch in one[1]]
        results.domain.append(d)
        results.seed.append(s)
        results.history.append(np.array(history if history else np.full((epochs, 2), np.nan)))
        results.loss.append(np.full(len(study.tests), np.nan) if i is None else loss[i])
        results.sums.append(np.full((len(study.tests), len(results.columns)), np.nan) if i is None else sums[i])
        results.seconds.append(seconds)
    print(json.dumps({"networks": len(results.seed), "seconds_each": seconds.round(4).tolist()}), flush=True)
