"""The jobs of a study that train networks and characterise test images; see also `wave_jobs` and `cross_tests`."""

import functools
import json
import math
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from passband.base.errors import BadInputError, JobFailedError, parameter
from passband.base.identity import seed_from
from passband.base.version import __version__
from passband.conditions import AnyCondition
from passband.execution.base import Progress
from passband.files.jobs import REVISIONS, FolderJob, Job, marker, writing
from passband.learning import SEGMENTATION, Epoch, Member, build, train, train_group
from passband.learning.fleet_memory import step_bytes
from passband.learning.steps import fastest, reduced_precision
from passband.simulation.image_source import AlternatingSource, ImageSource, MixedSource, Source
from passband.simulation.imaging import normalize, radial_power
from passband.simulation.modalities import modality_of
from passband.simulation.modality import Imager, Images, camera_masks
from passband.simulation.wave_store import WaveSet, wave_id
from passband.studies.job_list import WEIGHTS
from passband.studies.paths import StudyPaths
from passband.studies.study import Domain, Study
from passband.studies.target_jobs import targets_under
from passband.studies.wave_jobs import device, open_wave_set, read_waves

if TYPE_CHECKING:
    import polars as pl

#: Networks that a GPU trains together unless the user says otherwise.
GROUP = 32
# Bytes of a GPU that a worker takes for itself, and the share of the rest that fleets may fill: cuDNN takes what it finds.
_CONTEXT, _FILLED = 1_000_000_000, 0.8
# Bytes of expected intensities that a fleet may keep on a GPU; with more of them images are made of waves in every step.
_INTENSITIES = 16_000_000_000
# Bytes of test images that a worker caches, so that they are made once and not for every network; a GPU's host has more room.
_CACHED_IMAGES = {"cpu": 256_000_000, "cuda": 8_000_000_000}
_CARD, _TABLE = "card.json", "table.parquet"
_STATISTICS, _SPECTRA, _SAMPLES = "statistics.json", "spectra.npy", "samples.npz"


@dataclass(frozen=True)
class StudyJob(FolderJob):
    """A job of a study."""

    study: Study
    paths: StudyPaths

    @property
    def home(self) -> Path:
        """The folder of the study's jobs."""
        return self.paths.jobs


@dataclass(frozen=True)
class _DomainJob(StudyJob):
    """A job about one domain of a study: the specimens and conditions of a training, or of a test."""

    domain: Domain

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the result."""
        waves, split = wave_id(self.domain.recipe, self.study.stored_as), self.study.split.model_dump()
        return {"stage": [self.kind, REVISIONS[self.kind]], "waves": waves, "split": split}


@dataclass(frozen=True)
class TrainingJob(_DomainJob):
    """Train one network; `seed` numbers those of a domain, from 0."""

    kind = "train"
    seed: int = 0

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"network under {self.domain.label}, seed {self.seed}"

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the network."""
        conditions = [c.to_dict() for c in self.domain.conditions]
        trained_on: dict[str, Any] = {"conditions": conditions, "one_by_one": self.domain.curriculum}
        if len(conditions) == 1:
            trained_on = {"condition": conditions[0]}
        elif self.domain.centre is not None:
            trained_on = {"conditions": conditions, "in_turn": True}
        network, training = (m.model_dump(mode="json") for m in (self.study.network, self.study.training))
        if self.study.task != SEGMENTATION.name:
            trained_on["task"] = self.study.task
        return super().content | trained_on | {"network": network, "training": training, "seed": self.seed}

    @property
    def training_seed(self) -> int:
        """Seed of initial weights, order, turns and noise."""
        ids = [c.id for c in self.domain.conditions]
        # Sets of the same conditions are the same training, whatever their names.
        order = ["one by one"] if self.domain.curriculum and len(ids) > 1 else []
        return seed_from("train", *ids, *order, self.seed)

    def member(self) -> Member:
        """Return the images that the network is trained on, and its seed."""
        split = self.study.split
        waves = open_wave_set(self.domain.recipe, self.study.stored_as, self.paths.root)
        # Training and validation share what a condition does to a wave.
        imagers = [imager(waves, condition) for condition in self.domain.conditions]
        alone = len(imagers) == 1

        def source(start: int, stop: int, *, curriculum: bool = False) -> Source:
            stored, _ = read_waves(waves, start, stop)
            targets_of = functools.partial(targets_under, self.study.task, waves, start, stop)
            if self.domain.centre is not None:
                count = min(len(imagers), stop - start)
                targets = targets_of(self.domain.conditions)
                return AlternatingSource(
                    [ImageSource(stored[i::count], targets[i::count], imagers[i]) for i in range(count)]
                )
            # Cached intensities of many conditions would fill the memory.
            cache = alone and (device().type == "cpu" or intensity_bytes(self.study) <= _INTENSITIES / GROUP)
            sources = [ImageSource(stored, targets_of([each.condition]), each, cache=cache) for each in imagers]
            return sources[0] if alone else MixedSource(sources, curriculum=curriculum)

        validation = source(split.train, split.train + split.validation)
        return Member(source(0, split.train, curriculum=self.domain.curriculum), validation, self.training_seed)

    def make(self, folder: Path, progress: Progress) -> None:
        """Train the network and write it; a JobFailedError if the training diverges."""
        network, training, member = self.study.network, self.study.training, self.member()
        images, share = (member.train_images, member.validation_images), 1 / training.epochs
        try:
            model, history = train(
                network,
                training,
                *images,
                seed=member.seed,
                on_epoch=lambda epoch: progress(share),
                task=self.study.learnt,
            )
        except FloatingPointError as error:
            raise JobFailedError(str(error)) from None
        self.write(folder, model, history)

    def write(
        self, folder: Path, model: nn.Module, history: list[Epoch], group: int = 1, arrangement: str | None = None
    ) -> None:
        """Write weights, card and losses per epoch of a network that was trained in a group of this size and arrangement."""
        # A machine that only computes, such as one with a GPU, may lack polars.
        import polars as pl

        from passband.files.tables import parquet

        (folder / WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in model.state_dict().items()}))
        card = self.content | {
            "parameters": sum(p.numel() for p in model.parameters()),
            "final": history[-1],
            "trained": {
                "device": device().type,
                "fleet": group,
                "precision": "bfloat16" if reduced_precision(device()) else "float32",
                **({} if arrangement is None else {"arrangement": arrangement}),
            },
            "versions": {"passband": __version__, "torch": torch.__version__, "python": platform.python_version()},
        }
        (folder / _CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
        table = pl.DataFrame(history).with_columns(pl.col("epoch").cast(pl.Int64))
        (folder / _TABLE).write_bytes(parquet(table))

    def network(self) -> nn.Module:
        """Return the trained network, in evaluation mode on the device that computes."""
        model = build(self.study.network)
        model.load_state_dict(load_file(self.folder / WEIGHTS))
        return model.eval().to(device())

    def weights(self) -> bytes:
        """Return the content of the weights' file, safetensors."""
        return (self.folder / WEIGHTS).read_bytes()

    def weights_digest(self) -> str | None:
        """Return the digest of the weights, or None if the network is not trained or damaged."""
        facts = marker(self.folder)
        return None if facts is None else self.weights_of(facts)

    @staticmethod
    def weights_of(facts: dict[str, Any]) -> str:
        """Return the digest of the weights from the marker of a trained network."""
        return str(facts["files"][WEIGHTS])

    def history(self) -> "pl.DataFrame":
        """Return the losses per epoch."""
        import polars as pl

        return pl.read_parquet(self.folder / _TABLE)


@dataclass(frozen=True)
class TrainingGroup(Job):
    """Train networks of a study together, as one module."""

    members: tuple[TrainingJob, ...]

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"{len(self.members)} networks"

    def is_finished(self) -> bool:
        """Tell whether all networks are there."""
        return all(job.is_finished() for job in self.members)

    def run(self, progress: Progress) -> None:
        """Train the unfinished networks and mark each finished.

        One that diverges is left unfinished: trained alone, it will give its reason.
        """
        jobs = [job for job in self.members if not job.is_finished()]
        progress(len(self.members) - len(jobs))
        if not jobs:
            return
        study, began = jobs[0].study, time.perf_counter()
        # Networks of the same domain share its images.
        shared = {job.domain.id: job for job in jobs}
        images = {name: job.member() for name, job in shared.items()}
        members = [replace(images[job.domain.id], seed=job.training_seed) for job in jobs]
        share = 1 / study.training.epochs
        pixels = study.training.crop_pixels or members[0].train_images.parts[0].pixels
        arrangement = fastest(study.network, study.training, len(jobs), pixels, device())
        trained = train_group(
            study.network,
            study.training,
            members,
            arrangement=arrangement,
            on_epoch=lambda member, epoch: progress(share),
            task=study.learnt,
        )
        seconds = (time.perf_counter() - began) / len(jobs)
        for job, result in zip(jobs, trained, strict=True):
            if not isinstance(result, FloatingPointError):
                with writing(job.folder, {"content": job.content, "seconds": seconds}) as folder:
                    job.write(folder, *result, group=len(jobs), arrangement=arrangement)


def fleet_bytes(study: Study, count: int) -> int:
    """Return the bytes of a GPU's memory that a worker takes at most to train `count` networks of a study together."""
    split, pixels = study.split, _pixels(study)
    step = step_bytes(study.network, study.training, study.training.crop_pixels or pixels)
    stored = max(math.prod(study.modality.stored_shape(recipe, study.stored_as)) for recipe in study.all_recipes)
    specimens = split.train + split.validation
    kept = intensity_bytes(study)
    # And validation images with their truth.
    images = (kept if kept <= _INTENSITIES / GROUP else 0) + 8 * split.validation * pixels**2
    return count * (step + images) + specimens * (8 * stored + pixels**2) + _CONTEXT


def intensity_bytes(study: Study) -> int:
    """Return the bytes of the expected intensities of a domain: alone, and joined with those of other networks."""
    return 2 * 4 * (study.split.train + study.split.validation) * _pixels(study) ** 2


def _pixels(study: Study) -> int:
    field = max(recipe.field_angstrom for recipe in study.all_recipes)
    conditions = [condition for training in study.trainings for condition in training.conditions]
    return max(round(field / condition.pixel_size_angstrom) for condition in conditions)


def fleet_that_fits(study: Study, given: int | None, free: int | None, workers: int) -> int:
    """Return how many networks each worker trains together: as many as given, else 32 or what fits in a GPU's free memory; 1 without one.

    The workers share the GPU, `free` bytes of it, or there is none. A BadInputError if what is given does not fit.
    """
    if free is None or not study.network.trains_in_groups:
        return given or 1
    share = int(_FILLED * free / workers)
    fits = next((count for count in range(given or GROUP, 0, -1) if fleet_bytes(study, count) <= share), 0)
    if given is not None and fits < given:
        raise BadInputError(
            f"takes {fleet_bytes(study, given) / 1e9:.1f} GB of the GPU's memory in each of {workers} workers, which have {share / 1e9:.1f} GB each",
            value=given,
            limit=fits,
            remedy=f"choose at most {fits}" if fits else "use fewer workers",
            place=f"{parameter('group')} {given}",
        )
    return max(fits, 1)


@dataclass(frozen=True)
class ImagesJob(_DomainJob):
    """Characterise the test images of one domain: statistics, spectra, and the first image."""

    kind = "images"

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"images under {self.domain.label}"

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the images."""
        conditions = [c.to_dict() for c in self.domain.conditions]
        return super().content | ({"condition": conditions[0]} if len(conditions) == 1 else {"conditions": conditions})

    def make(self, folder: Path, progress: Progress) -> None:
        """Make the images and write statistics, spectra and the first image."""
        counts, masks = test_images(self.study, self.paths, self.domain)
        means, deviations = counts.mean((1, 2)), counts.std((1, 2))
        statistics = {"image_mean": means.mean().item(), "image_contrast": (deviations / means).mean().item()}
        np.save(folder / _SPECTRA, radial_power(normalize(counts)).numpy())
        (folder / _STATISTICS).write_text(json.dumps(statistics), encoding="utf-8")
        image, truth = normalize(counts[:1])[0].numpy(), masks[0, 0].numpy() > 0
        np.savez_compressed(folder / _SAMPLES, image=image, truth=truth)
        progress(1.0)

    def statistics(self) -> dict[str, Any]:
        """Return image_mean and image_contrast."""
        return dict(json.loads((self.folder / _STATISTICS).read_text(encoding="utf-8")))

    def spectra(self) -> np.ndarray:
        """Return the radial power spectrum of each image, shape [N, bins]."""
        return np.load(self.folder / _SPECTRA)

    def sample(self) -> dict[str, np.ndarray]:
        """Return the first specimen's `image`, as networks see it, and `truth`."""
        with np.load(self.folder / _SAMPLES) as arrays:
            return dict(arrays)


def test_images(study: Study, paths: StudyPaths, test: Domain) -> tuple[Tensor, Tensor]:
    """Return counts [N, n, n] and masks [N, 1, n, n] of the test specimens: the same images for every network.

    Under several conditions specimens take turns: the first is imaged under the first, the next under the second.
    """
    waves = open_wave_set(test.recipe, study.stored_as, paths.root)
    pixels = imager(waves, test.conditions[0]).pixels
    size = 5 * study.split.test * pixels**2 * len(study.tests)
    make = _test_images if size <= _CACHED_IMAGES[device().type] else _test_images.__wrapped__
    counts, masks = make(waves, *study.split.test_range, test.conditions)
    return counts, masks[:, None].float()


def test_targets(study: Study, paths: StudyPaths, test: Domain) -> Tensor:
    """Return the targets of the study's task of `test_images`, on the camera's pixels, bool, uint8 or float32 [N, n, n]."""
    waves = open_wave_set(test.recipe, study.stored_as, paths.root)
    targets = targets_under(study.task, waves, *study.split.test_range, test.conditions)
    return camera_masks(targets, imager(waves, test.conditions[0]).pixels)


@functools.cache
def _test_images(waves: WaveSet, start: int, stop: int, conditions: tuple[AnyCondition, ...]) -> Images:
    stored, masks = read_waves(waves, start, stop)
    turns = [slice(i, None, len(conditions)) for i in range(min(len(conditions), stop - start))]
    parts = [
        imager(waves, condition).images(stored[turn], masks[turn], seed=seed_from("test", condition.id))
        for condition, turn in zip(conditions, turns, strict=False)
    ]
    back = torch.cat([torch.arange(stop - start)[turn] for turn in turns]).argsort()
    return Images(*(torch.cat(tensors)[back] for tensors in zip(*parts, strict=True)))


def imager(waves: WaveSet, condition: AnyCondition) -> Imager:
    """Return what makes images of a wave set under a condition."""
    return modality_of(waves.config).imager(condition, waves.recipe, waves.config)
