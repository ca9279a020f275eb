"""The measures of `network_measures` for every network of a study and every condition that it is tested under.

A job takes one network and some measures under all conditions, and computes what they share once for each condition.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from passband.base.errors import BadInputError, parameter, require
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import REVISIONS, run_job
from passband.files.tables import parquet, read_table, write_table
from passband.learning import SEGMENTATION
from passband.learning.segmentation import LossName, cross_entropy, segmentation_loss
from passband.network_measures.curvature import Loss, layer_traces
from passband.network_measures.network_on_images import SPECTRUM_IMAGES, TOP, NetworkOnImages
from passband.network_measures.registry import MEASURES
from passband.simulation.imaging import normalize
from passband.studies.folder import StudyFolder
from passband.studies.jobs import StudyJob, TrainingJob, test_images
from passband.studies.paths import StudyPaths
from passband.studies.stored import read_tables
from passband.studies.study import Domain

#: Tables in a study's folder: a row for each network and condition, and a row for each network and weight tensor. Of fewer than all test
#: images their names end in `_{images}_images`.
PAIRS, LAYERS = "curvature", "curvature_layers"
_KEYS = ["train_condition", "test_condition", "seed"]
_TABLES = {PAIRS: "table.parquet", LAYERS: "layers.parquet"}
# Losses whose curvature is known.
_LOSSES: dict[LossName, Loss] = {"cross_entropy": cross_entropy, "cross_entropy_dice": segmentation_loss}
_MOST = 20
# Of measures, the cheapest first.
_COSTS = ("prediction", "gradient", "head", "barrier", "spectrum")


@dataclass(frozen=True)
class CurvatureJob(StudyJob):
    """Measure one trained network, with the digest of its weights, under all conditions of its study.

    `siblings` are the other networks of its training, which differ in their seed, with digests; `local` are those trained under each
    condition that is tested, where a measure takes them. Only the first `images` of the test images are used.
    """

    kind = "curvature"
    network: TrainingJob
    weights: str
    siblings: tuple[tuple[TrainingJob, str], ...]
    local: tuple[tuple[TrainingJob, str], ...]
    measures: tuple[str, ...]
    top: int
    spectrum_images: int
    images: int

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"measures of the {self.network.label}"

    @property
    def units(self) -> float:
        """Units of progress: conditions."""
        return float(len(self.study.tests))

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the measures."""
        derived = any(MEASURES[name].cost != "prediction" for name in self.measures)
        some: dict[str, Any] = {"top": self.top, "spectrum_images": self.spectrum_images} if derived else {}
        if self.images < self.study.split.test:
            some["images"] = self.images
        for name, others in (("siblings", self.siblings), ("local", self.local)):
            if others:
                some[name] = [[network.folder.name, weights] for network, weights in others]
        return {
            "revision": REVISIONS[self.kind],
            "network": [self.network.folder.name, self.weights],
            "tested": [test.id for test in self.study.tests],
            "measures": list(self.measures),
        } | some

    @property
    def of_spectra(self) -> bool:
        """Whether eigenpairs are needed."""
        return any(MEASURES[name].cost == "spectrum" for name in self.measures)

    def make(self, folder: Path, progress: Progress) -> None:
        """Measure the network under each condition and write both tables; those of layers come with spectra."""
        model, chosen = self.network.network(), [MEASURES[name] for name in self.measures]
        siblings = tuple(network.network() for network, _ in self.siblings)
        local = {network.domain.id: network.network() for network, _ in self.local}

        def on(domain: Domain) -> NetworkOnImages:
            counts, masks = test_images(self.study, self.paths, domain)
            device = next(model.parameters()).device
            images, masks = normalize(counts[: self.images])[:, None].to(device), masks[: self.images]
            return NetworkOnImages(
                model,
                images,
                masks.to(device),
                domain.condition.pixel_size_angstrom,
                _LOSSES[self.study.training.loss],
                self.top,
                self.spectrum_images,
                siblings,
                local.get(domain.id),
            )

        home, rows = on(self.network.domain), []
        at_home = {f"{m.name}_train": m.compute(home) for m in chosen if m.of == "network"}
        for test in self.study.tests:
            away = home if test.id == self.network.domain.id else on(test)
            keys = {"train_condition": self.network.domain.id, "test_condition": test.id, "seed": self.network.seed}
            tested = {f"{m.name}_test": m.compute(away) for m in chosen if m.of == "network" and not m.at_home_only}
            alike = test.recipe == self.network.domain.recipe
            pairs = {
                m.name: m.compute(home, away) if alike or not m.same_specimens else math.nan
                for m in chosen
                if m.of == "pair"
            }
            rows.append(keys | at_home | tested | pairs)
            progress(1.0)
        (folder / _TABLES[PAIRS]).write_bytes(parquet(pl.DataFrame(rows)))
        if self.of_spectra:
            (folder / _TABLES[LAYERS]).write_bytes(parquet(self._layers(home)))

    def _layers(self, home: NetworkOnImages) -> pl.DataFrame:
        """Return gradient norm and trace of the Hessian at home of each weight tensor."""
        traces = layer_traces(home.few.operator("hessian"))
        facts = {"train_condition": self.network.domain.id, "seed": self.network.seed}
        return pl.DataFrame(
            [
                facts | {"layer": name, "weights": gradient.numel(), "gradient_norm": float(gradient.norm()),
                         "hessian_trace": float(value), "hessian_trace_error": float(error)}
                for (name, gradient), (value, error) in zip(home.layer_gradients.items(), traces, strict=True)
            ]
        )  # fmt: skip


def measure_study(
    held: StudyFolder,
    executor: Executor,
    progress: StageProgress,
    *,
    top: int = TOP,
    spectrum_images: int = SPECTRUM_IMAGES,
    images: int | None = None,
    spectra: bool = True,
) -> pl.DataFrame:
    """Make what is missing of the measures of all networks of a finished study, and write its tables of them.

    Args:
        held: the study, with its networks.
        executor: where the work is done.
        progress: shown meanwhile.
        top: eigenpairs of a dominant subspace, at most 20.
        spectrum_images: images that they are computed from, the first ones of the test specimens.
        images: that everything is computed from, the first ones of the test specimens; all by default. Of fewer, the tables' names
            end in `_{images}_images`.
        spectra: whether to compute eigenpairs and traces of all weights, two thirds of the time.

    Returns:
        The table of pairs: train_condition, test_condition, seed, and the columns of each measure; NaN where it compares predictions
        of the same specimens, and the two conditions show others.

    Raises:
        BadInputError: if the study is not one of networks for segmentation that are tested where they are trained, networks or waves are
            missing, or a parameter is out of its limits.
    """
    held = StudyFolder(held.study, type(held.paths)(held.paths.folder.absolute()))
    images = held.study.split.test if images is None else images
    _check(held, top, spectrum_images, images)
    with held.locked():
        jobs = [job for job in _jobs(held, top, spectrum_images, images) if spectra or not job.of_spectra]
        missing = held.missing(jobs)
        conditions = len(held.study.tests)
        advance = progress.stage("measures", len(jobs) * conditions, (len(jobs) - len(missing)) * conditions)
        for failure in executor.map(run_job, missing, advance):
            what = f"{failure.task.label} could not be made in {failure.tries} tries ({failure.reason})"
            raise BadInputError(what, remedy="correct it and run the same command again", place=held.paths.folder)
        for name, file in _TABLES.items():
            parts: dict[tuple[str, ...], list[pl.DataFrame]] = {}
            for job in jobs:
                if (job.folder / file).is_file():
                    parts.setdefault(job.measures, []).append(pl.read_parquet(job.folder / file))
            if parts:
                whole, *others = [pl.concat(own) for own in parts.values()]
                for other in others:
                    whole = whole.join(other, on=_KEYS, maintain_order="left")
                write_table(_table(held, name, images), whole)
    return read_table(_table(held, PAIRS, images))


def pairs_table(held: StudyFolder, images: int | None = None) -> Path:
    """Return the file of the table of pairs of so many test images, or of all."""
    return _table(held, PAIRS, held.study.split.test if images is None else images)


def fewer_images(paths: StudyPaths) -> dict[str, int]:
    """Return the tables of pairs of fewer than all test images in a study's folder, by name, and how many."""
    counts = (path.stem.split("_")[1] for path in paths.folder.glob(f"{PAIRS}_[0-9]*_images.parquet"))
    return {f"{PAIRS}_{count}_images": count for count in sorted(map(int, counts))}


def _table(held: StudyFolder, name: str, images: int) -> Path:
    return held.paths.table(name if images == held.study.split.test else f"{name}_{images}_images")


def with_loss(held: StudyFolder, table: pl.DataFrame) -> dict[str, Any]:
    """Return how many rows the table of pairs has, and the rank correlation of each column with the loss under other conditions.

    Columns are ordered by the magnitude of the correlation; those that do not vary are left out.
    """
    scores = read_tables(held.paths, ["scores"])["scores"].select(*_KEYS, "loss")
    away = table.join(scores, on=_KEYS).filter(pl.col("train_condition") != pl.col("test_condition")).fill_nan(None)
    names = [name for name in table.columns if name not in _KEYS]
    ranks = away.select(pl.corr(name, "loss", method="spearman").alias(name) for name in names).row(0, named=True)
    known = {name: rank for name, rank in ranks.items() if rank is not None and math.isfinite(rank)}
    best_first = sorted(known, key=lambda name: -abs(known[name]))
    pairs = away.select("train_condition", "test_condition").n_unique()
    return {
        "study": held.study.name,
        "rows": len(table),
        "pairs": pairs,
        "rank": {name: known[name] for name in best_first},
    }


def _jobs(held: StudyFolder, top: int, spectrum_images: int, images: int) -> Iterator[CurvatureJob]:
    """Yield the jobs of all trained networks, those of each cost by themselves: a new measure repeats only what costs as much."""
    covered = held.coverage()
    trained = [(job, w) for job, w in zip(covered.networks, covered.weights, strict=True) if w is not None]
    for cost in _COSTS:
        measures = tuple(name for name, measure in MEASURES.items() if measure.cost == cost)
        for network, weights in trained if measures else []:
            # Only predictions are compared with those of other seeds.
            siblings = tuple(
                (job, w)
                for job, w in trained
                if cost == "prediction" and job.domain.id == network.domain.id and job.seed != network.seed
            )
            local = tuple((job, w) for job, w in trained if cost == "barrier" and job.seed == network.seed)
            about = network, weights, siblings, local, measures
            yield CurvatureJob(held.study, held.paths, *about, top, spectrum_images, images)


def _check(held: StudyFolder, top: int, spectrum_images: int, images: int) -> None:
    study, folder = held.study, held.paths.folder
    limits = (
        ("top", top, _MOST),
        ("images", images, study.split.test),
        ("spectrum_images", spectrum_images, study.split.test),
    )
    for name, value, most in limits:
        if not 1 <= value <= most:
            what = f"{parameter(name)} {value}: is not from 1 to {most}"
            raise BadInputError(what, value=value, limit=[1, most], remedy=f"choose 1 to {most}")
    require("curvature", "the curvature of a loss", "curvlinops")
    if study.task != SEGMENTATION.name or study.training.loss not in _LOSSES:
        what = f"its task is {study.task} and its loss {study.training.loss}; curvature is measured for segmentation with loss {' or '.join(_LOSSES)}"
        raise BadInputError(
            what, value=study.task, limit=SEGMENTATION.name, remedy="measure another study", place=folder
        )
    if not study.trains_on_tests:
        what = "its networks are trained on sets of conditions, and have no single condition at home"
        raise BadInputError(what, remedy="measure a study without training_sets", place=folder)
    pixels = sorted({test.condition.pixel_size_angstrom for test in study.tests})
    if len(pixels) > 1:
        what = f"its conditions have pixels of {' and '.join(f'{p:g}' for p in pixels)} Å; a network sees the same specimens in images of one size"
        raise BadInputError(what, value=pixels, remedy="give all conditions one pixel_size_angstrom", place=folder)
    weights = held.coverage().weights
    trained, total = sum(one is not None for one in weights), len(weights)
    absent = sum(len(indices) for _, indices in held.absent_waves())
    failed = sum(fault["stage"] == "train" for fault in held.failures())
    if trained == 0 or trained + failed < total or absent:
        what = f"{total - trained} of {total} networks and {absent} {study.modality.STORED} are missing; tables alone do not suffice"
        raise BadInputError(what, remedy=f"make them with: passband study run {folder}", place=folder)
