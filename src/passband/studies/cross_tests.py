"""Every network on every test domain: which pairs are tested, which are missing, and the job that tests some of them.

A job tests some networks on some domains, and makes the images of each domain once for all its networks. Finished jobs record
which weights they tested, so that a network that was trained again, or a condition that was added, is tested and nothing else.
"""

import functools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from passband.execution.base import Progress, in_threads
from passband.files.jobs import REVISIONS, CheckedFolders
from passband.files.tables import parquet
from passband.learning import SEGMENTATION, Predictors, Task, predict, task_of
from passband.learning.segmentation import PIXELS
from passband.learning.steps import fastest
from passband.simulation.imaging import normalize
from passband.studies.job_list import TESTS, finished_tests
from passband.studies.jobs import StudyJob, TrainingJob, test_images, test_targets
from passband.studies.paths import StudyPaths
from passband.studies.study import Domain, Study
from passband.studies.wave_jobs import device

# Networks and domains of a job at most; a thousand networks on 200 conditions are then 128 jobs.
_NETWORKS, _TESTS = 32, 50
# Jobs that a small study is divided into at least, if it has as many networks, so that all workers have some.
_JOBS = 8
_TABLE, _PREDICTIONS = "table.parquet", "predictions.npz"
# Rows of counts that are gathered into one table, some 3 GB of memory.
_COUNTS_GATHERED = 20_000_000
# Threads that score predictions: on a GPU, particles of an image take longer than the network.
_SCORERS = {"cpu": 1, "cuda": 4}
# Pixels of test masks of which a worker caches what scoring needs, 5 bytes each and their outlines, of four sets of masks at most.
_CACHED_PIXELS = 10_000_000
# Columns of scores.parquet that others read, in this order; later ones follow.
_FIRST = ("loss", "dice", *PIXELS, "n_images")
_TYPES = {int: pl.Int64, float: pl.Float64}
#: Domains whose first image a report shows at most, with predictions of it.
SHOWN = 11


@dataclass(frozen=True)
class TestJob(StudyJob):
    """Test some trained networks, with the digests of their weights, on some domains of a study, by their indices."""

    kind = TESTS
    networks: tuple[TrainingJob, ...]
    weights: tuple[str, ...]
    tests: tuple[int, ...]

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"tests of {len(self.networks)} networks on {len(self.tests)} conditions"

    @property
    def units(self) -> float:
        """Units of progress: pairs of network and domain."""
        return float(len(self.networks) * len(self.tests))

    @property
    def content(self) -> dict[str, Any]:
        """Which networks with which weights are tested on what."""
        return {
            "revision": REVISIONS[self.kind],
            "networks": [[n.folder.name, w] for n, w in zip(self.networks, self.weights, strict=True)],
            "tested": [self.study.tests[i].id for i in self.tests],
        }

    def make(self, folder: Path, progress: Progress) -> None:
        """Test the networks and write a row of scores for each image, and predictions that a report shows."""
        study, networks = self.study, [job.network() for job in self.networks]
        arrangement = None
        if device().type == "cuda":
            test = study.tests[self.tests[0]]
            pixels = round(test.recipe.field_angstrom / test.condition.pixel_size_angstrom)
            arrangement = fastest(study.network, study.training, len(networks), pixels, device())
        predictors = Predictors(study.network, networks, device(), arrangement)
        shown, parts = set(shown_tests(study)), []
        predictions: dict[str, Any] = {}
        for index in self.tests:
            test = study.tests[index]
            counts, _ = test_images(study, self.paths, test)
            images = normalize(counts)[:, None].to(device())
            true = test_targets(study, self.paths, test)
            truth = _truth(study.task, true.numpy(), test.condition.pixel_size_angstrom)
            targets = true[:, None].float().to(images.device)
            predicted = (
                one for outputs in predictors.logits(images) for one in outputs.split(study.network.outputs, 1)
            )

            def scored(
                outputs: Tensor, targets: Tensor = targets, truth: Any = truth
            ) -> tuple[dict[str, Any], np.ndarray]:
                return study.learnt.score(outputs, targets, truth), study.learnt.shown(outputs[:1])[0]

            for job, (columns, first) in zip(
                self.networks, in_threads(scored, predicted, _SCORERS[device().type]), strict=True
            ):
                if index in shown and job.seed == 0:
                    predictions[prediction_name(job, test)] = _packed(first)
                keys = {"train_condition": job.domain.id, "test_condition": test.id, "seed": job.seed}
                parts.append(pl.DataFrame(keys | {"specimen": range(*study.split.test_range)} | columns))
                progress(1.0)
        table = pl.concat(parts).with_columns(pl.col("seed", "specimen").cast(pl.Int64))
        (folder / _TABLE).write_bytes(parquet(table))
        if predictions:
            np.savez_compressed(folder / _PREDICTIONS, **predictions)


def _truth(task: str, targets: np.ndarray, pixel_size_angstrom: float) -> Any:
    """Return what scoring needs of targets [N, n, n]: the same for all networks, and under most conditions of a study."""
    if targets.dtype != bool:
        return task_of(task).truth(targets, pixel_size_angstrom)
    make = _cached_truth if targets.size <= _CACHED_PIXELS else _cached_truth.__wrapped__
    return make(task, np.packbits(targets).tobytes(), targets.shape, pixel_size_angstrom)


@functools.lru_cache(maxsize=4)
def _cached_truth(task: str, packed: bytes, shape: tuple[int, ...], pixel_size_angstrom: float) -> Any:
    masks = np.unpackbits(np.frombuffer(packed, np.uint8), count=math.prod(shape)).reshape(shape)
    return task_of(task).truth(masks, pixel_size_angstrom)


def shown_tests(study: Study) -> list[int]:
    """Return the indices of the domains whose first image the report shows: evenly spaced, none where sets are trained on."""
    if not study.trains_on_tests:
        return []
    count = len(study.tests)
    return sorted({round(i) for i in np.linspace(0, count - 1, min(SHOWN, count)).tolist()})


@dataclass
class Coverage:
    """Which pairs of network and domain are tested, and by which finished job.

    Attributes:
        networks: the study's training jobs, in the order of the tables.
        weights: digest of each one's weights, None where it is not trained.
        done: bool, shape [networks, tests].
        finished: each finished job's folder with the pairs to take from it: indices of networks and of tests, shape [M, 2].
        seconds: that the finished jobs took.
    """

    networks: list[TrainingJob]
    weights: list[str | None]
    done: np.ndarray
    finished: list[tuple[Path, np.ndarray]] = field(default_factory=list)
    seconds: float = 0.0

    def prediction(self, network: int, test: Domain, image: np.ndarray) -> np.ndarray:
        """Return what a network, by its index, makes of the first test image of a domain, as `Task.shown` does, shape [n, n].

        Predictions that a report shows are stored when networks are tested; any other is made now. The image is the first
        specimen's, normalised, float32, shape [n, n] (see `ImagesJob.sample`).
        """
        job = self.networks[network]
        place = [network, [t.id for t in job.study.tests].index(test.id)]
        for folder, pairs in self.finished:
            if (pairs == place).all(1).any() and (folder / _PREDICTIONS).is_file():
                with np.load(folder / _PREDICTIONS) as stored:
                    if (name := prediction_name(job, test)) in stored:
                        return _unpacked(stored[name], image.shape)
        return job.study.learnt.shown(predict(job.network(), torch.from_numpy(image)[None, None].to(device())))[0]


def coverage(study: Study, paths: StudyPaths, networks: list[TrainingJob], checked: CheckedFolders) -> Coverage:
    """Return which pairs are tested; jobs that are damaged, or tested other weights, do not count."""
    markers = (checked.marker(job.folder) for job in networks)
    weights = [None if facts is None else job.weights_of(facts) for job, facts in zip(networks, markers, strict=True)]
    tests = {t.id: i for i, t in enumerate(study.tests)}
    index = {(job.folder.name, w): i for i, (job, w) in enumerate(zip(networks, weights, strict=True)) if w}
    result = Coverage(networks, weights, np.zeros((len(networks), len(tests)), dtype=bool))
    for folder, facts, *numbers in finished_tests(paths.jobs, checked, index, tests):
        rows, columns = (np.array(n, np.int32) for n in numbers)
        block = np.ix_(rows, columns)
        new = ~result.done[block]
        if new.any():
            result.done[block] = True
            i, j = np.nonzero(new)
            result.finished.append((folder, np.stack([rows[i], columns[j]], 1)))
            result.seconds += facts.get("seconds", 0.0)
    checked.save()
    return result


def test_jobs(networks: int, tests: int) -> int:
    """Return the number of jobs that test so many networks on so many domains."""
    return -(-networks // _at_once(networks)) * -(-tests // _TESTS)


def _at_once(networks: int) -> int:
    return max(min(_NETWORKS, networks // _JOBS), 1)


def missing_tests(study: Study, paths: StudyPaths, covered: Coverage) -> list[TestJob]:
    """Return the jobs that test trained networks where they are not tested yet."""
    patterns: dict[bytes, list[int]] = {}
    for i, weights in enumerate(covered.weights):
        if weights is not None and not covered.done[i].all():
            patterns.setdefault(covered.done[i].tobytes(), []).append(i)
    at_once = _at_once(len(covered.networks))
    jobs = []
    for members in patterns.values():
        tests = np.flatnonzero(~covered.done[members[0]]).tolist()
        for chunk in (members[i : i + at_once] for i in range(0, len(members), at_once)):
            networks = tuple(covered.networks[i] for i in chunk)
            digests = tuple(str(covered.weights[i]) for i in chunk)
            for start in range(0, len(tests), _TESTS):
                jobs.append(TestJob(study, paths, networks, digests, tuple(tests[start : start + _TESTS])))
    return jobs


def tables(study: Study, covered: Coverage) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return scores (a row per pair) and counts (a row per image), in the order of the study's networks and tests.

    Counts of more than 20 million rows stay in the jobs' tables: None.
    """
    few = int(covered.done.sum()) * study.split.test <= _COUNTS_GATHERED
    trained = [(job.domain.id, job.seed) for job in covered.networks]
    networks = pl.DataFrame(trained, {"train_condition": pl.String, "seed": pl.Int64}, orient="row")
    tests = pl.DataFrame({"test_condition": [t.id for t in study.tests]})
    scores, counts = [], []
    for folder, pairs in covered.finished:
        # Only pairs of this study, none twice.
        wanted = pl.concat([networks[pairs[:, 0]], tests[pairs[:, 1]]], how="horizontal")
        table = pl.read_parquet(folder / _TABLE).join(wanted, on=wanted.columns, how="semi", maintain_order="left")
        scores.append(cross_table(table, study.learnt))
        if few:
            counts.append(table)

    def ordered(parts: list[pl.DataFrame], *last: str) -> pl.DataFrame:
        columns = {"train_condition": [t.id for t in study.trainings], "test_condition": [t.id for t in study.tests]}
        keys = [pl.col(c).replace_strict(ids, range(len(ids)), return_dtype=pl.Int32) for c, ids in columns.items()]
        return pl.concat(parts, how="diagonal").sort(keys[0], "seed", keys[1], *last)

    return ordered(scores), ordered(counts, "specimen") if few else None


def cross_table(counts: pl.DataFrame, task: Task = SEGMENTATION) -> pl.DataFrame:
    """Return a row per train condition, test condition and seed: mean loss, and the task's scores from its counts summed over images.

    Scores are NaN where there is nothing to find and nothing was called. `counts` has a row per image; scores that need counts which it
    lacks are null.
    """
    keys = ["train_condition", "test_condition", "seed"]
    lacking = {name: pl.lit(None, pl.Int64) for name in task.counts if name not in counts.columns}
    # The sum of nothing would be zero.
    sums = {
        name: pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).cast(_TYPES[kind]).sum())
        for name, kind in task.counts.items()
    }
    scores = task.scores({name: pl.col(name) for name in sums})
    first = [name for name in _FIRST if name in {"loss", "n_images", *sums, *scores}]
    return (
        counts.with_columns(**lacking)
        .group_by(keys, maintain_order=True)
        .agg(pl.col("loss").mean(), pl.len().cast(pl.Int64).alias("n_images"), **sums)
        .with_columns(**scores)
        .select(*keys, *first, *(name for name in scores if name not in first))
    )


def _packed(prediction: np.ndarray) -> np.ndarray:
    """Return a prediction, bool, uint8 or float32 [n, n], as it is stored: bits in a row, uint8 or float16."""
    if prediction.dtype == bool:
        return np.packbits(prediction)
    return prediction if prediction.dtype == np.uint8 else prediction.astype(np.float16)


def _unpacked(stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the prediction that was stored."""
    if stored.ndim > 1:
        return stored if stored.dtype == np.uint8 else stored.astype(np.float32)
    return np.unpackbits(stored, count=math.prod(shape)).reshape(shape).astype(bool)


def prediction_name(network: TrainingJob, test: Domain) -> str:
    """Return the name of a network's stored prediction of a domain's first image."""
    return f"{network.domain.id} on {test.id}"
