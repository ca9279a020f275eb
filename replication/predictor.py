"""What predicts the loss of a network elsewhere: the law of textures, three numbers and the baselines, judged on conditions unseen.

The measured part (what each family scatters, reader losses) is written beside the tables; all else follows from the tables.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from passband.analysis.loss_law import LossLaw, LossSquare, fit_law
from passband.analysis.pairs import Pairs, Target, central_95, dense
from passband.base.identity import content_id, seed_from
from passband.files.tables import read_table, write_table
from passband.metrics.reader import reader_losses
from passband.metrics.registry import measure
from passband.metrics.texture import Scattering, Texture, film_excess, mean_contrast, set_texture, texture
from passband.simulation import hrtem
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.reader_loss import sample_pixels
from passband.specimens import Recipe
from passband.studies.study import Domain, Study, load_study
from replication import judging
from replication.resampling import RESAMPLES, Statistic

#: Studies that laws are fitted to, and how many of their domains: the others are the final test.
FITTED = {
    "metrics_corrected": None,
    "metrics_one_dose": None,
    "metrics": None,
    "predictor_corrected": None,
    "predictor_one_dose": 64,
    "defocus_fine": None,
    "zero_defocus": None,
    "structures": None,
}
#: The first author's families, done again; no law is fitted to them.
AUTHORS = "authors_families"
#: Networks that tell crystals apart.
CLASSES = "task_classes"
#: Studies whose reader losses are measured.
_READ = (
    "predictor_corrected",
    "predictor_corrected_final",
    "predictor_one_dose",
    "metrics",
    "defocus_fine",
    "structures",
    AUTHORS,
)
_SIMPLE = {
    "σ and Δε (the source)": ("sigma", "delta_epsilon"),
    "rms Δχ": ("phase_rms",),
    "reader loss": ("reader",),
    "three numbers": ("reader", "film_excess", "train_contrast"),
}
_Score = Callable[[np.ndarray], float]
# What is compared of the losses of a set over the test conditions.
_SCORES: dict[str, _Score] = {
    "worst": lambda losses: float(losses.max()),
    "worst tenth": lambda losses: float(np.sort(losses)[-max(len(losses) // 10, 1) :].mean()),
    "mean": lambda losses: float(losses.mean()),
}
_READER_SPECIMENS = 28
_TARGETS: dict[Target, str] = {
    "log_loss": "ln loss",
    "log_excess": "ln of loss over that of networks trained there",
}


@dataclass(frozen=True)
class LossTable:
    """A study's losses, textures and shift metrics, all over its B domains in one order.

    Attributes:
        domains: trained and tested on.
        loss: of every seed, shape [B, B, seeds].
        textures: of the domains' specimens under their conditions.
        features: shift metrics of pairs by name, and of segmentation false positives (fp) and false negatives (fn) over the particles' area,
            shape [B, B].
    """

    domains: Sequence[Domain]
    loss: np.ndarray
    textures: Texture
    features: Mapping[str, np.ndarray]

    @property
    def pairs(self) -> Pairs:
        """Mean losses over seeds with the features."""
        return Pairs(self.loss.mean(-1), self.features)

    def square(self, target: Target) -> LossSquare:
        """Return a target of all pairs, the diagonal included, as a law takes it."""
        log_loss = np.log(self.pairs.loss)
        values = log_loss - np.diag(log_loss) if target == "log_excess" else log_loss
        return LossSquare(self.textures, self.textures, torch.from_numpy(values))

    def some(self, chosen: Sequence[int] | np.ndarray) -> "LossTable":
        """Return the table of some of the domains."""
        which = np.asarray(chosen)
        return LossTable(
            [self.domains[i] for i in which],
            self.loss[np.ix_(which, which)],
            self.textures.chosen(torch.from_numpy(which)),
            {name: values[np.ix_(which, which)] for name, values in self.features.items()},
        )

    def ceiling(self, target: Target) -> float:
        """Return the largest R² that the noise between seeds leaves; NaN with one seed."""
        return judging.ceiling(self.loss, target)


def loaded(tables: Path, names: Sequence[str]) -> dict[str, LossTable]:
    """Return those of some studies that are there; none if what their specimens scatter is not."""
    if not (tables / "predictor" / "scattering.parquet").is_file():
        return {}
    return {name: load(tables, name) for name in names if (tables / name / "scores.parquet").is_file()}


@functools.cache
def load(tables: Path, name: str) -> LossTable:
    """Return a study's losses with what predicts them, from its committed tables and `measured`."""
    study = load_study(tables / name / "study.yaml")
    domains, scores = study.tests, pl.read_parquet(tables / name / "scores.parquet")
    ids = [d.id for d in domains]
    keys = {"train_condition": ids, "test_condition": ids}
    loss = np.stack([dense(of_seed, keys, "loss") for of_seed in scores.sort("seed").partition_by("seed")], -1)
    textures = _textures(tables, name, study)
    conditions = [d.condition for d in domains]
    measured = measure(["sigma", "epsilon", "phase_rms"], conditions, conditions, study.q_max_per_angstrom)
    epsilon = measured["epsilon_train"]
    features = {
        "sigma": measured["sigma"],
        "delta_epsilon": epsilon - epsilon[:, None],
        "phase_rms": measured["phase_rms"],
        "film_excess": film_excess(textures, textures),
        "train_contrast": mean_contrast(textures)[:, None].expand(-1, len(ids)),
    }
    squares = {key: value.numpy() for key, value in features.items()}
    if "tp" in scores.columns:
        area = pl.col("tp") + pl.col("fn")
        shares = scores.group_by(*keys).agg(fp=(pl.col("fp") / area).mean(), fn=(pl.col("fn") / area).mean())
        squares |= {error: dense(shares, keys, error) for error in ("fp", "fn")}
    if (stored := tables / "predictor" / f"reader_{name}.parquet").exists():
        squares["reader"] = np.log(dense(read_table(stored), keys, "reader_loss"))
    return LossTable(domains, loss, textures, squares)


def _textures(tables: Path, name: str, study: Study) -> Texture:
    """Return the textures of a study's test domains: analytic in HRTEM, in STEM those that `modes.measure` found on images."""
    if isinstance(study.stored_as, ExitWaveConfig):
        known, config = _scattered(tables), study.stored_as
        return Texture.joined([texture([d.condition], known[_family(d.recipe, config)]) for d in study.tests])
    rows = read_table(texture_file(tables, name)).sort("ring").partition_by("condition", as_dict=True)
    parts = [torch.tensor(rows[d.id,].select("film", "particle").to_numpy()) for d in study.tests]
    return Texture(*torch.stack(parts).unbind(-1))


def texture_file(tables: Path, name: str) -> Path:
    """Return the file of the textures of a STEM study."""
    return tables / "modes" / f"texture_{name}.parquet"


def measure_again(tables: Path, note: Callable[[str], None]) -> None:
    """Simulate what each family of the studies scatters, and reader losses; write both beside the tables.

    It takes some 10 s a family and a second a condition.
    """
    folder, rows = tables / "predictor", []
    folder.mkdir(exist_ok=True)
    families: dict[str, tuple[Recipe, ExitWaveConfig]] = {}
    for name in (*FITTED, "predictor_corrected_final", AUTHORS, "task_columns", CLASSES):
        study = load_study(tables / name / "study.yaml")
        families |= {_family(recipe, study.exit_waves): (recipe, study.exit_waves) for recipe in study.recipes.values()}
    for family, (recipe, config) in families.items():
        note(f"scattering of {family}")
        rows.append(scattering_rows(family, hrtem.family_scattering(recipe, config)))
    write_table(folder / "scattering.parquet", pl.concat(rows))
    for name in _READ:
        note(f"reader losses of {name}")
        write_table(folder / f"reader_{name}.parquet", _read_study(tables / name / "study.yaml"))


def scattering_rows(family: str, seen: Scattering) -> pl.DataFrame:
    """Return a family's scattering as rows of a table: one for each part and ring."""
    parts, rings = seen.power.shape
    return pl.DataFrame(
        {
            "family": family,
            "part": np.repeat(["film", "particle"], rings),
            "ring": np.tile(np.arange(rings), parts),
            "power": seen.power.numpy().ravel(),
            "conjugate_real": seen.conjugate.real.numpy().ravel(),
            "conjugate_imaginary": seen.conjugate.imag.numpy().ravel(),
            "share": np.repeat(seen.share.numpy(), rings),
        }
    )


def scattering_of_rows(table: pl.DataFrame) -> dict[str, Scattering]:
    """Return the scattering of each family of a table that `scattering_rows` filled."""
    found = {}
    for (family,), rows in table.group_by("family", maintain_order=True):
        values = [torch.tensor(rows[c].to_numpy()).view(2, -1) for c in rows.columns[3:]]
        found[str(family)] = Scattering(values[0], torch.complex(values[1], values[2]), values[3][:, 0])
    return found


@functools.cache
def _scattered(tables: Path) -> dict[str, Scattering]:
    return scattering_of_rows(read_table(tables / "predictor" / "scattering.parquet"))


def _family(recipe: Recipe, config: ExitWaveConfig) -> str:
    return content_id([recipe.model_dump(mode="json"), config.model_dump(mode="json")])


def _read_study(path: Path) -> pl.DataFrame:
    """Return the reader loss of every pair of a study's test domains."""
    study = load_study(path)
    scattered: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    features, truth = [], []
    for domain in study.tests:
        if id(domain.recipe) not in scattered:
            scattered[id(domain.recipe)] = hrtem.scatter(domain.recipe, range(_READER_SPECIMENS), study.exit_waves)
        imager = hrtem.Imager(domain.condition, domain.recipe.field_angstrom, study.exit_waves)
        images = imager.images(*scattered[id(domain.recipe)], seed=7)
        taken, true = sample_pixels(images, domain.condition.pixel_size_angstrom)
        features.append(taken.flatten(0, 1))
        truth.append(true.flatten())
    losses = reader_losses(torch.stack(features), torch.stack(truth)).numpy()
    ids = [d.id for d in study.tests]
    pairs = {"train_condition": np.repeat(ids, len(ids)), "test_condition": np.tile(ids, len(ids))}
    return pl.DataFrame(pairs | {"reader_loss": losses.ravel()})


def fitted(tables: Path, name: str) -> LossTable:
    """Return the part of a study that laws are fitted to."""
    whole = load(tables, name)
    return whole if FITTED[name] is None else whole.some(range(FITTED[name] or 0))


@dataclass(frozen=True)
class Judged:
    """A rule's predictions of one test.

    Attributes:
        test: what it is tested on.
        target: what is predicted.
        rule: in words.
        numbers: how many it uses.
        r2: over pairs, with its interval over conditions.
        rank: Spearman's correlation over pairs.
    """

    test: str
    target: str
    rule: str
    numbers: str
    r2: Statistic
    rank: float


@dataclass(frozen=True)
class Unseen:
    """A test: the table it is judged on, and on what rules are fitted that predict it.

    Attributes:
        name: in words.
        table: judged.
        others: names of studies that the law is fitted to whole.
        simple: what the quadratics are fitted to; None for the folds of the table itself.
        fold: of each domain of the table; a pair is predicted without the folds of its two domains. None if the table is unseen.
        noise: the study of several seeds whose noise counts, where the table has one seed.
    """

    name: str
    table: LossTable
    others: Sequence[str]
    simple: LossTable | None = None
    fold: np.ndarray | None = None
    noise: str = ""


def _tests(tables: Path) -> list[Unseen]:
    corrected, one_dose = load(tables, "predictor_corrected"), load(tables, "predictor_one_dose")
    final = load(tables, "predictor_corrected_final")
    fine, vary = (load(tables, name) for name in ("defocus_fine", "metrics"))
    return [
        Unseen("corrected, 64 final conditions", final, list(FITTED), corrected),
        Unseen("one dose, 64 final conditions", one_dose.some(range(64, 128)), list(FITTED), one_dose.some(range(64))),
        Unseen(
            "all vary, four folds",
            vary,
            _without("metrics"),
            fold=np.arange(len(vary.loss)) % 4,
            noise="predictor_one_dose",
        ),
        Unseen(
            "defocus in steps of 12.5 Å, study unseen", fine, _without("defocus_fine"), corrected, noise="defocus_sweep"
        ),
        family_test(tables),
    ]


def family_test(tables: Path) -> Unseen:
    """Return the test on families of specimens, two of which are left out at a time."""
    families = load(tables, "structures")
    of_family = pl.Series([d.id.split("/")[0] for d in families.domains]).rank("dense").to_numpy() - 1
    return Unseen("another family, neither seen", families, _without("structures"), fold=of_family)


def _without(name: str) -> list[str]:
    return [other for other in FITTED if other != name]


def judge(tables: Path, note: Callable[[str], None]) -> list[Judged]:
    """Return the figures of every rule on every test: neither condition seen, in either role."""
    rows = []
    for test in _tests(tables):
        note(f"judging: {test.name}")
        pairs = test.table.pairs
        for target, words in _TARGETS.items():
            for rule, (numbers, predicted) in _predictions(tables, test, target).items():
                used = pairs.used & np.isfinite(predicted)
                rank = spearmanr(predicted[used], pairs.target(target)[used]).statistic
                rows.append(Judged(test.name, words, rule, numbers, judging.r2(pairs, predicted, target), float(rank)))
            rows.append(_ceiling(tables, test, target))
    return rows


def _ceiling(tables: Path, test: Unseen, target: Target) -> Judged:
    """Return the row of the R² that noise between seeds leaves."""
    value, rule, unknown = test.table.ceiling(target), "ceiling: noise between seeds", float("nan")
    if test.noise:
        borrowed = judging.noise(load(tables, test.noise).loss, target)
        value, rule = judging.left_by(test.table.pairs, target, borrowed), f"{rule} of {test.noise}"
    return Judged(test.name, _TARGETS[target], rule, "", Statistic(value, unknown, unknown), unknown)


def final_losses(tables: Path) -> pl.DataFrame:
    """Return every pair of the corrected microscope's final conditions: measured loss, and what σ and Δε, and the law, predict."""
    test = _tests(tables)[0]
    pairs, said = test.table.pairs, _predictions(tables, test, "log_loss")
    chosen = {"sigma_delta_epsilon": "σ and Δε (the source)", "law": "law of textures"}
    columns = {name: np.exp(said[rule][1][pairs.used]) for name, rule in chosen.items()}
    return pl.DataFrame({"loss": pairs.loss[pairs.used], **columns})


def _predictions(tables: Path, test: Unseen, target: Target) -> dict[str, tuple[str, np.ndarray]]:
    """Return how many numbers each rule has, and what it predicts, shape [B, B]."""
    found = {
        rule: (str(len(names)), by_quadratic(test, names, target))
        for rule, names in _SIMPLE.items()
        if all(name in test.table.features for name in names)
    }
    return found | {"law of textures": ("33 a side", by_law(tables, test, target))}


def by_law(tables: Path, test: Unseen, target: Target) -> np.ndarray:
    """Return what the law of textures predicts of every pair of a test, shape [B, B]."""
    seen = {_key(domain) for domain in test.table.domains}
    others = []
    for name in test.others:
        table = fitted(tables, name)
        # Studies share a few domains, whose networks are the same ones.
        others.append(table.some([i for i, d in enumerate(table.domains) if _key(d) not in seen]).square(target))
    if test.fold is None:
        return fit_law(others, calibrate=False).predict(test.table.textures, test.table.textures).log_loss.numpy()

    table, predicted = test.table, np.full(test.table.loss.shape[:2], np.nan)
    laws: dict[tuple[int, ...], LossLaw] = {}
    for i, j, rest in _held_out(test.fold):
        key = tuple(rest)
        if key not in laws:
            laws[key] = fit_law([*others, table.some(rest).square(target)], calibrate=False)
        said = laws[key].predict(*(table.textures.chosen(torch.from_numpy(side)) for side in (i, j)))
        predicted[np.ix_(i, j)] = said.log_loss.numpy()
    return predicted


def _key(domain: Domain) -> tuple[str, str]:
    """Return what two domains share that are the same: specimens and condition."""
    return content_id(domain.recipe.model_dump(mode="json")), domain.condition.id


def by_quadratic(test: Unseen, names: Sequence[str], target: Target) -> np.ndarray:
    """Return what a quadratic in some shift metrics predicts of every pair of a test, shape [B, B]."""

    def fit(table: LossTable) -> Pipeline:
        pairs = table.pairs
        model = make_pipeline(StandardScaler(), PolynomialFeatures(2), Ridge(1e-3))
        return model.fit(_columns(table, names)[pairs.used], pairs.target(target)[pairs.used])

    if test.simple is not None:
        return _applied(fit(test.simple), _columns(test.table, names))
    predicted = np.full(test.table.loss.shape[:2], np.nan)
    columns = _columns(test.table, names)
    for i, j, rest in _held_out(test.fold):
        predicted[np.ix_(i, j)] = _applied(fit(test.table.some(rest)), columns[np.ix_(i, j)])
    return predicted


def _held_out(fold: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return training domains, test domains, and all of neither's fold, for every two folds."""
    assert fold is not None
    for a, b in itertools.product(range(fold.max() + 1), repeat=2):
        yield np.flatnonzero(fold == a), np.flatnonzero(fold == b), np.flatnonzero((fold != a) & (fold != b))


def _columns(table: LossTable, names: Sequence[str]) -> np.ndarray:
    return np.stack([np.nan_to_num(table.features[name]) for name in names], -1)


def _applied(model: Pipeline, columns: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(columns.reshape(-1, columns.shape[-1]))).reshape(columns.shape[:2])


def judge_sets(tables: Path) -> dict[str, Any]:
    """Return how the law ranks sets of training conditions, none of which, nor of whose test conditions, it was fitted to.

    Of the uniform draws of each size, the one of the least predicted loss is compared with the mean over the draws (geometric mean over
    sizes); the interval is over test conditions, drawn again.
    """
    study = load_study(tables / "training_sets" / "study.yaml")
    [recipe] = study.recipes.values()
    specimens = _scattered(tables)[_family(recipe, study.exit_waves)]
    ids = {"train_condition": [t.id for t in study.trainings], "test_condition": [t.id for t in study.tests]}
    scores = pl.read_parquet(tables / "training_sets" / "scores.parquet").group_by(*ids).agg(pl.mean("loss"))
    loss = dense(scores, ids, "loss")
    law = fit_law([fitted(tables, name).square("log_loss") for name in FITTED], calibrate=False)
    sets = set_texture([t.conditions for t in study.trainings], specimens)
    tests = texture([t.condition for t in study.tests], specimens)
    predicted = law.predict(sets, tests).log_loss.exp().numpy()
    sizes: dict[int, list[int]] = {}
    for i, training in enumerate(study.trainings):
        kind, size, _ = training.id.rsplit("-", 2)
        if kind == "uniform":
            sizes.setdefault(int(size), []).append(i)
    rng = np.random.default_rng(seed_from("sets"))
    answer: dict[str, Any] = {
        "rank": float(spearmanr(predicted.ravel(), loss.ravel()).statistic),
        "rank_of_sets": float(spearmanr(predicted.mean(1), loss.mean(1)).statistic),
    }
    for name, score in _SCORES.items():
        ratio = _ratio(loss, predicted, list(sizes.values()), np.arange(len(study.tests)), score)
        drawn = []
        for _ in range(RESAMPLES):
            again = rng.integers(len(study.tests), size=len(study.tests))
            drawn.append(_ratio(loss, predicted, list(sizes.values()), again, score))
        low, high = central_95(drawn)
        answer[name] = {"ratio": ratio, "low": low, "high": high}
    return answer


def judge_intervals(tables: Path) -> dict[str, dict[str, float]]:
    """Return how many of the losses of the final conditions lie in the 90 % interval: of all, and of the network that fares worst."""
    law, answer = fit_law([fitted(tables, name).square("log_loss") for name in FITTED]), {}
    for test in _tests(tables)[:2]:
        square = test.table.square("log_loss")
        said = law.predict(square.train, square.test)
        within = ((square.log_loss >= said.low) & (square.log_loss <= said.high)).double()
        answer[test.name] = {"all": within.mean().item(), "worst_network": within.mean(1).min().item()}
    return answer


def _ratio(
    loss: np.ndarray, predicted: np.ndarray, groups: Sequence[Sequence[int]], tests: np.ndarray, score: _Score
) -> float:
    """Return the loss of the set that is predicted best of each group over the group's mean, geometric means over all."""
    logs = []
    for members in groups:
        best = min(members, key=lambda i: score(predicted[i, tests]))
        logs.append(np.log(score(loss[best, tests])) - np.mean([np.log(score(loss[i, tests])) for i in members]))
    return float(np.exp(np.mean(logs)))


def build_laws(tables: Path, folder: Path) -> None:
    """Fit the laws that come with passband to all studies, the final conditions too, and write them into a folder."""
    whole = [load(tables, name) for name in (*FITTED, "predictor_corrected_final")]
    for target in _TARGETS:
        fit_law([table.square(target) for table in whole]).save(folder / f"{target}.json")
