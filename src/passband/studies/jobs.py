"""The work of a study's cells: make waves, train, image, evaluate. Each cell is whole or absent."""

import functools
import json
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from passband.base.errors import JobFailedError
from passband.base.frequencies import disc_indices
from passband.base.identity import content_id, seed_from
from passband.base.version import __version__
from passband.conditions import Condition
from passband.execution.base import Progress
from passband.files.finished import is_finished, marker, writing
from passband.files.tables import parquet
from passband.learning import Epoch, Member, build, train, train_fleet
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import ImageSource, MixedSource, Source
from passband.simulation.imaging import normalize
from passband.simulation.imaging.statistics import radial_power, wave_power
from passband.simulation.modality import Images
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.simulation.multislice.engine import check_memory
from passband.simulation.wave_store import WaveSet, wave_id
from passband.specimens import Recipe, draw_specimen, particle_mask
from passband.studies.paths import StudyPaths, exit_waves
from passband.studies.study import Study, TestDomain, TrainDomain

#: Networks that a GPU trains together unless told otherwise.
FLEET = 32
#: Specimens of one wave task.
WAVE_BLOCK = 4
# Bytes of test images that a worker keeps, so that they are made once and not for every network.
_TEST_IMAGES_KEPT = 256_000_000
# Files of a cell.
_TABLE, _STATISTICS, _SPECTRA, _SAMPLES, _WEIGHTS, _CARD = (
    "table.parquet",
    "statistics.json",
    "spectra.npy",
    "samples.npz",
    "weights.safetensors",
    "card.json",
)
# Raised when a stage's code changes its results, so that old cells are not taken for new ones.
_REVISION = {"train": 2, "images": 3}


@dataclass(frozen=True)
class WaveTask:
    """Exit waves of some specimens of a wave set, and the bytes that those in work may take."""

    waves: WaveSet
    specimens: tuple[int, ...]
    memory: int


@dataclass(frozen=True)
class Cell:
    """One unit of a study's work.

    Attributes:
        study: the whole study.
        paths: its folder.
        stage: train or images.
        index: of what is trained on (train) or tested on (images), in the study's order.
        seed: number of the network of this training, from 0.
    """

    study: Study
    paths: StudyPaths
    stage: str
    index: int
    seed: int = 0

    @property
    def subject(self) -> TrainDomain | TestDomain:
        """What is trained on (train) or tested on (images)."""
        return self.study.tests()[self.index] if self.stage == "images" else self.study.trainings[self.index]

    @property
    def waves(self) -> WaveSet:
        """The exit waves of the cell's specimens."""
        return open_wave_set(self.subject.recipe, self.study.exit_waves, self.paths.root)

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the cell's result."""
        study, subject = self.study, self.subject
        common = {"stage": [self.stage, _REVISION[self.stage]], **study.specimen_content(subject.recipe)}
        if isinstance(subject, TestDomain):
            return common | {"condition": subject.condition.to_dict()}
        if len(subject.conditions) == 1:
            common["condition"] = subject.conditions[0].to_dict()
        else:
            common |= {"conditions": [c.to_dict() for c in subject.conditions], "one_by_one": subject.one_by_one}
        return common | study.network_content | {"seed": self.seed}

    @property
    def folder(self) -> Path:
        """Where the cell lies."""
        return self.paths.cell(self.stage, content_id(self.content, 16))

    def table(self) -> pl.DataFrame:
        """Return the finished cell's losses per epoch (train)."""
        return pl.read_parquet(self.folder / _TABLE)

    def statistics(self) -> dict[str, Any]:
        """Return the finished cell's image statistics (images)."""
        result: dict[str, Any] = json.loads((self.folder / _STATISTICS).read_text(encoding="utf-8"))
        return result

    def spectra(self) -> np.ndarray:
        """Return the radial power spectrum of each test image (images), shape [N, bins]."""
        return np.load(self.folder / _SPECTRA)

    def samples(self) -> dict[str, np.ndarray]:
        """Return the first test specimen's `image`, as networks see it, and `truth` (images)."""
        with np.load(self.folder / _SAMPLES) as arrays:
            return dict(arrays)


@dataclass(frozen=True)
class Fleet:
    """Networks of a study that are trained together."""

    cells: tuple[Cell, ...]


def device() -> torch.device:
    """Return where this process computes: the GPU that PyTorch sees, else the CPU. CUDA_VISIBLE_DEVICES= hides it."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wave_sets(study: Study, paths: StudyPaths) -> list[WaveSet]:
    """Return the wave sets of a study, one for each family of specimens, which lie beside its folder."""
    return [open_wave_set(recipe, study.exit_waves, paths.root) for recipe in study.recipes.values()]


def open_wave_set(recipe: Recipe, config: ExitWaveConfig, root: Path) -> WaveSet:
    """Return the wave set of a recipe and multislice settings under a root folder."""
    return WaveSet(exit_waves(root, wave_id(recipe, config)), recipe, config)


def prepare_waves(waves: WaveSet, specimens: int, missing: list[int], memory: int) -> list[WaveTask]:
    """Make room for a wave set and return the tasks that make its missing specimens.

    Raises:
        BadInputError: if the recipe cannot be drawn, a wave does not fit in memory, or the wave set is damaged beyond mending.
    """
    if missing:
        check_memory(waves.config, waves.recipe.field_angstrom, memory)
        draw_specimen(waves.recipe, missing[-1])
    waves.create(specimens, _n_coefficients(waves))
    return [WaveTask(waves, tuple(missing[i : i + WAVE_BLOCK]), memory) for i in range(0, len(missing), WAVE_BLOCK)]


def specimen_power(study: Study, paths: StudyPaths) -> tuple[np.ndarray, np.ndarray]:
    """Return |q| [1/Å] and the power spectral density [Å²] of the test specimens' exit waves, the mean of all families."""
    found = []
    for waves in wave_sets(study, paths):
        coefficients, _ = waves.read(study.split.total - study.split.test, study.split.total)
        frequencies = disc_indices(waves.config.band_per_angstrom * waves.recipe.field_angstrom)
        q, power = wave_power(torch.from_numpy(coefficients), frequencies, waves.recipe.field_angstrom)
        found.append((q.numpy(), power.numpy()))
    q_first = found[0][0]
    return q_first, np.mean([np.interp(q_first, q, power) for q, power in found], axis=0)


def bytes_per_specimen(waves: WaveSet) -> int:
    """Return what one specimen takes on disk, an upper bound: complex64 band and one byte a mask pixel."""
    return 8 * waves.config.phonon_configurations * _n_coefficients(waves) + waves.mask_pixels**2


def _n_coefficients(waves: WaveSet) -> int:
    return len(disc_indices(waves.config.band_per_angstrom * waves.recipe.field_angstrom))


def make_waves(task: WaveTask, progress: Progress) -> None:
    """Draw specimens, run the multislice and store waves, masks and manifest entries."""
    waves = task.waves
    for index in task.specimens:
        began = time.perf_counter()
        specimen = draw_specimen(waves.recipe, index)
        mask = particle_mask(specimen, waves.mask_pixels)
        [wave] = specimen_exit_waves(
            waves.recipe, [specimen], [index], waves.config, device=device(), memory=task.memory
        )
        facts = {
            "atoms": len(specimen.atoms),
            "particles": len(specimen.particles),
            "mask_share": float(mask.mean()),
            "lost_intensity": wave.lost_intensity,
            "dropped_intensity": wave.dropped_intensity,
            "seconds": time.perf_counter() - began,
        }
        waves.write(index, wave.coefficients, mask, facts)
        progress(1.0)


def run_cell(cell: Cell, progress: Progress) -> None:
    """Do the work of a cell and mark it finished; a finished one is left alone.

    Raises:
        JobFailedError: if the training diverges.
    """
    if is_finished(cell.folder):
        progress(1.0)
        return
    facts: dict[str, Any] = {"content": cell.content}
    with writing(cell.folder, facts) as folder:
        began = time.perf_counter()
        {"train": _train, "images": _images}[cell.stage](cell, folder, progress)
        facts["seconds"] = time.perf_counter() - began


def _train(cell: Cell, folder: Path, progress: Progress) -> None:
    study, member = cell.study, _member(cell)
    try:
        model, history = train(
            study.network,
            study.training,
            member.train_images,
            member.validation_images,
            seed=member.seed,
            on_epoch=lambda epoch: progress(1 / study.training.epochs),
        )
    except FloatingPointError as error:
        raise JobFailedError(str(error)) from None
    _write_network(cell, folder, model, history, fleet=1)


def run_fleet(fleet: Fleet, progress: Progress) -> None:
    """Train the unfinished networks of a fleet together and mark each finished.

    One that diverges is left unfinished: trained alone, it will say why.
    """
    cells = [cell for cell in fleet.cells if not is_finished(cell.folder)]
    progress(len(fleet.cells) - len(cells))
    if not cells:
        return
    study, began = cells[0].study, time.perf_counter()
    # Networks with the same training share its images.
    sources: dict[str, Member] = {}
    members = []
    for cell in cells:
        if cell.subject.id not in sources:
            sources[cell.subject.id] = _member(cell)
        members.append(replace(sources[cell.subject.id], seed=_training_seed(cell)))
    share = 1 / study.training.epochs
    trained = train_fleet(study.network, study.training, members, on_epoch=lambda member, epoch: progress(share))
    seconds = (time.perf_counter() - began) / len(cells)
    for cell, result in zip(cells, trained, strict=True):
        if not isinstance(result, FloatingPointError):
            with writing(cell.folder, {"content": cell.content, "seconds": seconds}) as folder:
                _write_network(cell, folder, *result, fleet=len(cells))


def _training_seed(cell: Cell) -> int:
    training = cell.subject
    assert isinstance(training, TrainDomain)
    ids = [c.id for c in training.conditions]
    # Sets that hold the same conditions are the same training, whatever they are called.
    return seed_from("train", *ids, *(["one by one"] if training.one_by_one and len(ids) > 1 else []), cell.seed)


def _member(cell: Cell) -> Member:
    split, waves, training = cell.study.split, cell.waves, cell.subject
    assert isinstance(training, TrainDomain)

    def source(start: int, stop: int, *, curriculum: bool = False) -> Source:
        coefficients, masks = read_waves(waves, start, stop)
        # Cached intensities of many conditions would fill the memory.
        alone = len(training.conditions) == 1
        sources = [ImageSource(coefficients, masks, _imager(waves, c), cache=alone) for c in training.conditions]
        return sources[0] if alone else MixedSource(sources, curriculum=curriculum)

    validation = source(split.train, split.train + split.validation)
    return Member(source(0, split.train, curriculum=training.one_by_one), validation, _training_seed(cell))


def _write_network(cell: Cell, folder: Path, model: nn.Module, history: list[Epoch], fleet: int) -> None:
    (folder / _WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in model.state_dict().items()}))
    card = cell.content | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "final": history[-1],
        "trained": {"device": device().type, "fleet": fleet},
        "versions": {"passband": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    (folder / _CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
    table = pl.DataFrame(history).with_columns(pl.col("epoch").cast(pl.Int64))
    (folder / _TABLE).write_bytes(parquet(table))


def _images(cell: Cell, folder: Path, progress: Progress) -> None:
    assert isinstance(cell.subject, TestDomain)
    counts, masks = test_images(cell.study, cell.paths, cell.subject)
    means, deviations = counts.mean((1, 2)), counts.std((1, 2))
    statistics = {
        "image_mean": means.mean().item(),
        "image_contrast": (deviations / means).mean().item(),
    }
    np.save(folder / _SPECTRA, radial_power(normalize(counts)).numpy())
    (folder / _STATISTICS).write_text(json.dumps(statistics), encoding="utf-8")
    arrays: dict[str, Any] = {
        "image": normalize(counts[:1])[0].numpy(),
        "truth": masks[0, 0].numpy() > 0,
    }
    np.savez_compressed(folder / _SAMPLES, **arrays)
    progress(1.0)


def load_network(study: Study, folder: Path) -> nn.Module:
    """Return the network of a finished training cell, in evaluation mode."""
    model = build(study.network)
    model.load_state_dict(load_file(folder / _WEIGHTS))
    return model.eval().to(device())


def weights_digest(cell: Cell) -> str | None:
    """Return the digest of a trained network's weights, or None if it is not trained or damaged."""
    facts = marker(cell.folder)
    return None if facts is None else str(facts["files"][_WEIGHTS])


def test_images(study: Study, paths: StudyPaths, test: TestDomain) -> tuple[Tensor, Tensor]:
    """Return counts [N, n, n] and masks [N, 1, n, n] of the test specimens: the same images for every network."""
    split = study.split
    pixels = round(test.recipe.field_angstrom / test.condition.pixel_size_angstrom)
    kept = 5 * split.test * pixels**2 * len(study.tests())
    make = _test_images_kept if kept <= _TEST_IMAGES_KEPT else _test_images_kept.__wrapped__
    waves = open_wave_set(test.recipe, study.exit_waves, paths.root)
    counts, masks = make(waves, split.total - split.test, split.total, test.condition)
    return counts, masks[:, None].float()


@functools.cache
def _test_images_kept(waves: WaveSet, start: int, stop: int, condition: Condition) -> Images:
    coefficients, masks = read_waves(waves, start, stop)
    return _imager(waves, condition).images(coefficients, masks, seed=seed_from("test", condition.id))


def _imager(waves: WaveSet, condition: Condition) -> Imager:
    return Imager(condition, waves.recipe.field_angstrom, waves.config)


# Training and validation; a worker that goes on to test lets go of the larger part.
@functools.lru_cache(maxsize=2)
def read_waves(waves: WaveSet, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return coefficients and masks of some specimens; each worker reads them once."""
    coefficients, masks = waves.read(start, stop)
    return torch.from_numpy(coefficients).to(device()), torch.from_numpy(masks)
