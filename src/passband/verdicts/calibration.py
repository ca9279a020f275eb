"""Calibrate verdicts: score a network, of a study or external, on simulated images with known truth, and fit the predictors of its loss."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from passband.base.errors import BadInputError, parameter
from passband.base.identity import content_id, seed_from
from passband.conditions import AnyCondition, Condition
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import REVISIONS, FolderJob, run_job
from passband.files.tables import parquet
from passband.learning import count_pixels, predict
from passband.learning.crop import cropped
from passband.learning.particle_scores import compare, matched_particles, regions_of
from passband.metrics.texture import Scattering
from passband.micrographs.agreement import moved
from passband.micrographs.measure_particles import particle_table
from passband.models.card import ModelCard, Specimens
from passband.models.confidence import (
    CONFIDENCE,
    FEATURES,
    Confidence,
    fit,
    particle_features,
    probability_of,
    reliability,
)
from passband.models.network import Network
from passband.models.store import PREDICTOR, SCORES, SECOND, Model, read_model, require_hrtem, write_model
from passband.simulation.hrtem import FAMILY, Imager, has_texture, scatter, stored_scattering
from passband.simulation.imaging import normalize, pixels_across
from passband.simulation.modalities import modality_of
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.wave_store import WaveSet
from passband.specimens import Recipe, SpecimenRecipe, draw_specimen
from passband.studies.paths import StudyPaths
from passband.studies.wave_jobs import make_waves, open_wave_set, read_waves
from passband.verdicts import predictor
from passband.verdicts.features import (
    SCATTERING,
    SOURCES,
    TARGETS,
    TILES,
    as_seen,
    condition_features,
    image_features,
    targets_of,
    training_data,
)

Named = tuple[str, Any]
#: Fewest conditions that verdicts are calibrated on.
FEWEST = 40
# Conditions of one job.
_BLOCK = 8
_TABLE = "table.parquet"
# Columns of a job's table alone: features of each predicted particle, and whether it is right.
_PARTICLES = {"particles": pl.List(pl.List(pl.Float64)), "right": pl.List(pl.Boolean)}
# Share of particles that an image needs to stand for a micrograph's tile.
_LEAST_SHARE = 0.02
# Scattering to large angles goes with this power of the atomic number; sampling for specimens that scatter too much for the default one [Å].
_STRONG, _FINE_SAMPLING = 1.7, 0.16
# Strongest scatterers that are tried: the power law misjudges single specimens by a quarter.
_TRIED = 8


@dataclass(frozen=True)
class CalibrationJob(FolderJob):
    """Score the model of a folder, whose networks have checksums, under some conditions, on exit waves of specimens `start` to `stop` − 1."""

    kind = "score"
    model: Path
    weights: str
    second: str | None
    waves: WaveSet
    specimens: tuple[int, int]
    conditions: tuple[Named, ...]
    paths: StudyPaths

    @property
    def home(self) -> Path:
        """The folder of finished jobs."""
        return self.paths.jobs

    @property
    def label(self) -> str:
        """A short description."""
        return f"scores under {len(self.conditions)} conditions"

    @property
    def units(self) -> float:
        """Units of progress: conditions."""
        return float(len(self.conditions))

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the scores depend on."""
        return {
            "revision": REVISIONS[self.kind],
            "weights": self.weights,
            **({} if self.second is None else {"second": self.second}),
            "waves": self.waves.folder.name,
            "specimens": list(self.specimens),
            "conditions": [[role, c.to_dict()] for role, c in self.conditions],
        }

    def make(self, folder: Path, progress: Progress) -> None:
        """Score the model under each condition and write a row for it."""
        model = read_model(self.model)
        networks, images = (Network(model), model.second_network), read_waves(self.waves, *self.specimens)
        numbers = condition_features(model.card, [c for _, c in self.conditions])
        rows = []
        for i, (role, condition) in enumerate(self.conditions):
            row = {"role": role, "condition": json.dumps(condition.to_dict())}
            row |= _scores_under(condition, networks, model.card, images, self.waves)
            rows.append(row | {f"feature_{name}": float(values[i]) for name, values in numbers.items()})
            progress(1.0)
        (folder / _TABLE).write_bytes(parquet(pl.DataFrame(rows, schema_overrides=_PARTICLES)))

    def table(self) -> pl.DataFrame:
        """Return the finished job's scores, a row per condition."""
        return pl.read_parquet(self.folder / _TABLE)


def score_model(
    model: Model,
    waves: WaveSet,
    specimens: tuple[int, int],
    conditions: Sequence[Named],
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    memory: int,
) -> Model:
    """Score a model under conditions, fit the predictors of its loss, and return it with both; its folder is replaced at the end.

    Specimens are given by the first and one past the last; missing exit waves are computed. Predictors are fitted to the conditions that are
    not held out. The next run continues work that is in the folder. Exit waves in work take at most `memory` bytes in a worker.

    Raises:
        BadInputError: if there are too few conditions, or the work fails.
    """
    if sum(role != "held_out" for role, _ in conditions) < FEWEST:
        what = f"verdicts are calibrated on at least {FEWEST} conditions"
        raise BadInputError(what, limit=FEWEST, remedy="give more")
    paths = StudyPaths(folder.absolute())
    paths.jobs.mkdir(parents=True, exist_ok=True)
    make_waves(waves, specimens[1], waves.missing(specimens[1]), executor, progress, memory=memory)
    networks = model.card.files[model.weights.name], model.card.files.get(SECOND)
    jobs = [
        CalibrationJob(model.folder.absolute(), *networks, waves, specimens, tuple(conditions[i : i + _BLOCK]), paths)
        for i in range(0, len(conditions), _BLOCK)
    ]
    left = [job for job in jobs if not job.is_finished()]
    advance = progress.stage("conditions", len(conditions), len(conditions) - sum(len(j.conditions) for j in left))
    for failure in executor.map(run_job, left, advance):
        raise BadInputError(f"{model.folder}: could not be scored: {failure.reason}")
    scores = pl.concat([job.table() for job in jobs])
    advance = progress.stage("predictors", len(SOURCES) * len(TARGETS), 0)
    return with_scores(model, scores, advance, scattering=_scattering(waves, specimens))


def roles(trained: Sequence[Any], conditions: Sequence[Any], held_out: float) -> list[Named]:
    """Return the role and condition of each: trained; calibration, or held_out for a random share, by a fixed seed, of the others."""
    order = np.random.default_rng(seed_from("held out")).permutation(len(conditions))
    apart = set(order[: round(held_out * len(conditions))].tolist())
    calibration = [("calibration", c) for i, c in enumerate(conditions) if i not in apart]
    return [*(("trained", c) for c in trained), *calibration, *(("held_out", conditions[i]) for i in sorted(apart))]


def _scattering(waves: WaveSet, specimens: tuple[int, int]) -> Scattering | None:
    """Return what a family of specimens scatters, of which the exit waves are there; None without particles or film, and for STEM."""
    if not isinstance(waves.config, ExitWaveConfig):
        return None
    stored, masks = (torch.from_numpy(a) for a in waves.read(specimens[0], min(specimens[0] + FAMILY, specimens[1])))
    if not has_texture(waves.recipe, masks):
        return None
    return stored_scattering(stored, masks.bool(), waves.recipe, waves.config.targets)


def with_scores(
    model: Model,
    scores: pl.DataFrame,
    advance: Progress = lambda units: None,
    *,
    scattering: Scattering | None = None,
) -> Model:
    """Return a model with a table of scores, as `CalibrationJob` writes it, and the predictors of its loss; its folder is replaced.

    Particles in the table give the confidence of particles; the model keeps how often it is right under each condition.
    `scattering` is that of its specimens, from which reasons of verdicts tell what the film shows.
    """
    confidence, scores = _with_confidence(scores)
    fitted, predictors = scores.filter(pl.col("role") != "held_out"), {}
    for source in SOURCES:
        for target in targets_of(scores):
            predictors[f"{target}_from_{source}"] = predictor.fit(*training_data(fitted, source, target)).to_json()
            advance(1.0)
    in_domain = scores.filter(pl.col("role") == "trained")["loss"].median()
    if in_domain is None:
        in_domain = scores.filter(pl.col("role") == "calibration")["loss"].quantile(0.1)
    contents = {name: (model.folder / name).read_bytes() for name in model.card.files}
    saved = predictors if scattering is None else predictors | {SCATTERING: scattering.to_dict()}
    saved |= {} if confidence is None else {CONFIDENCE: confidence.to_json()}
    contents |= {SCORES: parquet(scores), PREDICTOR: json.dumps(saved).encode()}
    assert isinstance(in_domain, float)
    return write_model(model.folder, model.card.model_copy(update={"own_loss": in_domain}), contents, replace=True)


def _with_confidence(scores: pl.DataFrame) -> tuple[Confidence | None, pl.DataFrame]:
    """Return the confidence fitted to the particles under conditions that are not held out, and the scores with its reliability instead of them."""
    if not set(_PARTICLES) <= set(scores.columns):
        return None, scores
    features = [np.array(p, dtype=float).reshape(-1, len(FEATURES)) for p in scores["particles"].to_list()]
    right = [np.array(r, dtype=bool) for r in scores["right"].to_list()]
    used = (scores["role"] != "held_out").to_list()
    fitted = fit(*(np.concatenate([a for a, u in zip(arrays, used, strict=True) if u]) for arrays in (features, right)))
    scores = scores.drop(_PARTICLES)
    if fitted is None:
        return None, scores
    rows = [asdict(reliability(fitted.of(f), probability_of(f), r)) for f, r in zip(features, right, strict=True)]
    columns = {f"confidence_{name}": [row[name] for row in rows] for name in rows[0]}
    return fitted, scores.with_columns(pl.Series(name, values) for name, values in columns.items())


def _scores_under(
    condition: AnyCondition,
    networks: tuple[nn.Module, nn.Module | None],
    card: ModelCard,
    data: tuple[Tensor, Tensor],
    waves: WaveSet,
) -> dict[str, Any]:
    """Return the scores of all images under a condition, and features and scores of as many with particles as a micrograph has tiles.

    Of fields larger than a tile, a window each. The second network is for the features alone.
    """
    counts, truth = scored_images(condition, card, data, waves)
    inputs = normalize(counts)[:, None]
    logits = predict(networks[0], inputs)
    other = None if networks[1] is None else predict(networks[1], inputs)
    counted = count_pixels(logits, truth[:, None].float(), card.threshold)
    images = {name: np.array(values) for name, values in counted.items()}
    counts_of_particles, features, right = particle_counts(logits, truth, card)
    images |= counts_of_particles
    row: dict[str, Any] = {**pooled_scores(images)}
    row |= {name: int(images[name].sum()) for name in ("tp", "fp", "fn", "tn")} | {"n_images": len(counts)}
    row |= {"particles": features.tolist(), "right": right.tolist()}
    order = tile_order(condition, card, truth)
    for source, tiles in zip(SOURCES[1:], TILES, strict=True):
        chosen = order[:tiles]
        second = None if other is None else other[chosen]
        row[source] = image_features(counts[chosen], logits[chosen], card.threshold, second).tolist()
        scores = pooled_scores({name: values[chosen.numpy()] for name, values in images.items()})
        row |= {f"{name}_{source}": value for name, value in scores.items()}
    return row


def scored_images(
    condition: AnyCondition, card: ModelCard, data: tuple[Tensor, Tensor], waves: WaveSet
) -> tuple[Tensor, Tensor]:
    """Return what a model is scored on under a condition, from exit waves and masks: pictures [N, n, n] and where particles are."""
    seen, (coefficients, masks) = as_seen(condition, card), data
    imager = modality_of(waves.config).imager(seen, waves.recipe, waves.config)
    counts, truth = imager.images(coefficients, masks, seed=seed_from("score", seen.id))
    if offset := card.edge_offset_angstrom:
        truth = torch.from_numpy(np.stack([moved(m, offset, card.pixel_size_angstrom) for m in truth.numpy()]))
    if counts.shape[-1] > card.field_pixels:
        windows = torch.Generator().manual_seed(seed_from("windows", seen.id))
        counts, truth = cropped(counts, truth, card.field_pixels, windows)
    # Networks take pictures, whose x runs along the columns.
    return counts.mT.contiguous(), truth.mT.contiguous()


def tile_order(condition: AnyCondition, card: ModelCard, truth: Tensor) -> Tensor:
    """Return the indices of pictures with particles, in the order in which they stand for the tiles of a micrograph."""
    full = (truth.double().mean((1, 2)) >= _LEAST_SHARE).nonzero()[:, 0]
    if not len(full):
        full = torch.arange(len(truth))
    random = torch.Generator().manual_seed(seed_from("tiles", as_seen(condition, card).id))
    return full[torch.randperm(len(full), generator=random)]


def particle_counts(
    logits: Tensor, truth: Tensor, card: ModelCard
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return counts of outlines and particles of each image, and features and rightness of all predicted particles.

    Counts: length of both outlines and how much of it lies near the other, found particles, and predicted and true ones together. A predicted
    particle is right that has a match. Logits have the shape [N, 1, n, n], truth [N, n, n].
    """
    pixel, probability = card.pixel_size_angstrom, logits[:, 0].sigmoid().numpy()
    called = probability >= card.threshold
    ours, theirs = regions_of(called, pixel), regions_of(truth.numpy() > 0, pixel)
    sums = compare(ours, theirs)
    features = []
    for p, mask in zip(probability, called, strict=True):
        instances, particles = particle_table(mask, pixel, p)
        features.append(particle_features(instances, p, particles, pixel))
    right = np.isin(np.arange(len(ours.areas)), matched_particles(ours, theirs)[1])
    counts = {name: sums[name] for name in ("near", "outline", "found")}
    return counts | {"both": sums["particles"] + sums["found"] + sums["invented"]}, np.concatenate(features), right


def pooled_scores(images: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the mean loss, and Dice, instance F1 and surface Dice of images together, from loss and counts of each."""
    tp, fp, fn, near, outline, found, both = (
        float(images[name].sum()) for name in ("tp", "fp", "fn", "near", "outline", "found", "both")
    )
    return {
        "loss": float(images["loss"].mean()),
        "dice": 2 * tp / max(2 * tp + fp + fn, 1),
        "instance_f1": 2 * found / both if both else 1.0,
        "surface_dice": near / outline if outline else 1.0,
    }


@dataclass(frozen=True)
class Scoring:
    """A model, and what to score it on: so many specimens of a recipe, under conditions of one energy, of which a share is held out.

    The folder is for exit waves and work in progress.
    """

    model: Model
    recipe: Recipe
    conditions: Sequence[Condition]
    count: int
    held_out: float
    folder: Path

    @cached_property
    def exit_waves(self) -> ExitWaveConfig:
        """Multislice settings at the conditions' energy: the defaults, with a finer sampling if a specimen that scatters much needs it."""
        usual = ExitWaveConfig(energy_ev=self.conditions[0].energy_ev)
        specimens = (draw_specimen(self.recipe, index) for index in range(self.count))
        strength = [float((s.atoms.numbers**_STRONG).sum()) for s in specimens]
        try:
            for index in np.argsort(strength)[::-1][:_TRIED].tolist():
                scatter(self.recipe, [index], usual.model_copy(update={"phonon_configurations": 1}))
        except BadInputError:
            return usual.model_copy(update={"sampling_angstrom": _FINE_SAMPLING})
        return usual

    @property
    def side(self) -> int:
        """Side of the images: the recipe's field in the network's pixels; BadInputError if that is no whole number."""
        card = self.model.card
        try:
            return pixels_across(self.recipe.field_angstrom, card.pixel_size_angstrom)
        except BadInputError:
            what = f"the recipe's field of {self.recipe.field_angstrom:g} Å is no whole number of {card.name}'s pixels of {card.pixel_size_angstrom:g} Å"
            raise BadInputError(what, remedy=_wider(card)) from None

    def check(self) -> None:
        """Raise BadInputError before any work, if field, energies, apertures, number of conditions or specimens do not fit the model."""
        card, side = self.model.card, self.side
        require_hrtem(card)
        self.check_field()
        named = roles(card.hrtem_conditions, self.conditions, self.held_out)
        energies = sorted({c.energy_ev for _, c in named})
        if len(energies) > 1:
            what = f"the conditions, with those {card.name} was trained on, have energies of {', '.join(f'{e:g}' for e in energies)} eV; give those of one energy"
            raise BadInputError(what)
        fitted = sum(role != "held_out" for role, _ in named)
        if fitted < FEWEST:
            raise BadInputError(
                f"{len(self.conditions)} conditions leave {fitted} to calibrate verdicts on, and at least {FEWEST} are needed",
                remedy=f"give more, or a smaller {parameter('held_out')}",
            )
        self.check_recipe()
        for _, condition in named:
            Imager(as_seen(condition, card), self.recipe.field_angstrom, self.exit_waves).check()
        draw_specimen(self.recipe, self.count - 1)
        network = Network(self.model)
        try:
            network(torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0)))
        except BadInputError as error:
            raise BadInputError(
                f"{card.name} does not run on the recipe's field of {side} × {side} pixels: {_wider(card)}, or import the network "
                f"with free height and width ({error})"
            ) from None
        finally:
            network.close()

    def check_field(self) -> None:
        """Raise BadInputError if the recipe's field is no multiple of what the network takes."""
        card, side = self.model.card, self.side
        if side % card.divisor:
            what = f"the recipe's field of {self.recipe.field_angstrom:g} Å is {side} of {card.name}'s pixels, and it takes multiples of {card.divisor}"
            raise BadInputError(what, remedy=_wider(card))

    def check_recipe(self) -> None:
        """Raise BadInputError for the recipe of the training."""
        card = self.model.card
        recipe = card.specimens.recipe
        if recipe is not None and recipe == self.recipe.model_dump(mode="json"):
            what = f"{card.name} was trained on specimens of this very recipe, of seed {self.recipe.seed}"
            remedy = f"give another {parameter('seed')}, such as {self.recipe.seed + 1}, so that it meets others"
            raise BadInputError(what, value=self.recipe.seed, remedy=remedy)

    def warnings(self) -> list[str]:
        """Return warnings, a line each."""
        card, side, lines = self.model.card, self.side, []
        if side < card.field_pixels:
            lines.append(
                f"the recipe's field is {side} of {card.name}'s pixels a side, and it was trained on {card.field_pixels} ({card.field_pixels * card.pixel_size_angstrom:g} Å); "
                "a micrograph is shown to it in tiles of the latter, so that scores at another size may differ: better give the recipe that field"
            )
        ours = specimens_of(self.recipe)
        if set(ours.elements) != set(card.specimens.elements):
            lines.append(
                f"the recipe's particles are {', '.join(ours.elements)}, and the card says {', '.join(card.specimens.elements)}; verdicts will rest on the former"
            )
        imagers = (Imager(as_seen(c, card), self.recipe.field_angstrom, self.exit_waves) for c in self.conditions)
        return lines + [line for imager in imagers if (line := imager.warning()) is not None][:1]

    def run(self, executor: Executor, progress: StageProgress, *, memory: int) -> Model:
        """Score the model as `score_model` does, and return it with its scores; BadInputError as `check`, or if the work fails."""
        self.check()
        card = self.model.card
        # The same file with another description is another network.
        description = {
            "foreign": card.external and card.external.model_dump(),
            "pixel": card.pixel_size_angstrom,
            "q": card.q_max_per_angstrom,
            "conditions": [c.to_dict() for c in card.conditions],
        }
        scored_on = card.model_copy(update={"scored_on": specimens_of(self.recipe)})
        return score_model(
            replace(self.model, card=scored_on),
            open_wave_set(self.recipe, self.exit_waves, self.folder.absolute()),
            (0, self.count),
            roles(card.hrtem_conditions, self.conditions, self.held_out),
            self.folder / f"score-{card.name}-{content_id(description, 8)}",
            executor,
            progress,
            memory=memory,
        )


def _wider(card: ModelCard) -> str:
    field = card.field_pixels * card.pixel_size_angstrom
    return f"set field_angstrom: {field:g} in the recipe ({card.field_pixels} pixels, as it was trained)"


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
