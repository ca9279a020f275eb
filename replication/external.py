"""`python -m replication.external TABLE.csv`: losses that others measured against our prediction, our reproduction and baselines.

A table has a row per training and test with `median_loss`, as those of Rangel DaCosta, Oill and Scott, Elemental Microscopy
(2026), doi 10.69761/kjte5358: train_C1_angstrom and test_C1_angstrom [Å], train_dose and test_dose [e/Å²], or train and test,
families such as w_CdSe_small. Nothing is fitted to it: R² allows for one level, from the rows whose test is as their training.

The prediction is the error of the Gaussian reader (`passband.metrics.gaussian_reader`), corrected by networks of our own where some were
trained on the like (`replication.correction`). The reader follows from moments of simulated images that are kept beside the tables; `--again` simulates them anew, as the authors did: N(d, 15 Å) of defocus, its zero at the least
contrast, labels by phase, 10 Å of focal spread.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
import typer
from scipy.stats import norm, spearmanr

from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.base.terminal import print_json
from passband.cli.options import Json
from passband.cli.run_app import run_app
from passband.conditions import Condition
from passband.files.tables import read_table, write_table
from passband.metrics import measure
from passband.metrics.gaussian_reader import Moments, log_errors, moments
from passband.simulation import hrtem
from passband.simulation.imaging import normalize
from passband.simulation.least_contrast import least_contrast
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe
from passband.specimens.crystals import Crystal, library_crystal
from passband.specimens.recipe_files import load_recipe
from passband.studies.study import Study, load_study
from replication import authors
from replication.correction import corrected

_ROOT = Path(__file__).parent
_KEPT = _ROOT.parent / "docs" / "results" / "tables" / "predictor"
_RECIPES = _ROOT / "studies" / "recipes" / "authors"
_COLUMNS: dict[tuple[str, str], authors.Kind] = {
    ("train_C1_angstrom", "test_C1_angstrom"): "defocus",
    ("train_dose", "test_dose"): "dose",
    ("train", "test"): "families",
}
# Their conditions [Å, e/Å²]: the defocus study's dose, and what the others have.
_DOSES = {"defocus": 400.0, "families": 300.0}
_FIXED_C1, _SPREAD, _FOCAL_SPREAD = -100.0, 15.0, 10.0
# Simulated: defocus in steps of 25 Å and doses, between which moments are interpolated.
_DEFOCI = [float(c1) for c1 in range(-350, 351, 25)]
_DOSE_GRID = [15.0, 30.0, 50.0, 75.0, 110.0, 150.0, 220.0, 300.0, 420.0, 600.0, 900.0, 1500.0]
_WAVES = ExitWaveConfig(sampling_angstrom=0.25, band_per_angstrom=1.25, phonon_configurations=1)
_SPECIMENS, _PIXEL = 12, 0.4
# Our studies that the slope of ln loss on the reader's log error is fitted to.
_SLOPE = ("metrics_corrected", "metrics_one_dose", "metrics", "structures")

external_app = typer.Typer(help=__doc__)


@dataclass(frozen=True)
class OtherTable:
    """Losses that others measured.

    Attributes:
        kind: what is changed between training and test.
        train: name of each row's training, as in `authors.reproduced`.
        test: name of each row's test.
        loss: of each row.
    """

    kind: authors.Kind
    train: list[authors.Name]
    test: list[authors.Name]
    loss: np.ndarray

    @property
    def in_domain(self) -> np.ndarray:
        """Whether each row was tested as trained."""
        return np.array([a == b for a, b in zip(self.train, self.test, strict=True)])

    def agreement(self, predicted: np.ndarray) -> dict[str, float | None]:
        """Return rank correlation with the loss, and R² of ln loss with the level of the rows that were tested as trained."""
        truth = np.log(self.loss)
        if np.ptp(predicted) < 1e-9:
            return {"rank": None, "r2": None}
        level = self.in_domain if self.in_domain.any() else np.ones_like(self.in_domain)
        shifted = predicted + (truth - predicted)[level].mean()
        r2 = 1 - ((truth - shifted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
        return {"rank": float(spearmanr(predicted, truth).statistic), "r2": float(r2)}


def read_other(path: Path) -> OtherTable:
    """Return a table of others, or raise BadInputError with the line that cannot be read."""
    try:
        table = pl.read_csv(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadInputError(f"{path}: cannot be read as CSV ({error})") from error
    kind = next((k for (a, b), k in _COLUMNS.items() if {a, b, "median_loss"} <= set(table.columns)), None)
    if kind is None:
        choices = "; ".join(", ".join((*names, "median_loss")) for names in _COLUMNS)
        raise BadInputError(f"{path}: has the columns {', '.join(table.columns)}; expected are {choices}")
    names = next(n for n, k in _COLUMNS.items() if k == kind)
    wanted = pl.String if kind == "families" else pl.Float64
    try:
        table = table.select(*(pl.col(n).cast(wanted) for n in names), pl.col("median_loss").cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise BadInputError(f"{path}: a value is no number ({error})") from error
    loss = table["median_loss"].to_numpy()
    if table.null_count().sum_horizontal().item() or not (np.isfinite(loss) & (loss > 0)).all() or len(loss) < 3:
        raise BadInputError(f"{path}: needs three rows or more, each with a training, a test and a loss above 0")
    return OtherTable(kind, table[names[0]].to_list(), table[names[1]].to_list(), loss)


def compare(other: OtherTable) -> dict[str, Any]:
    """Return how our prediction, our reproduction and baselines agree with a table of others."""
    reader, prediction = predict(other.kind, [*other.train, *other.test])
    half = len(other.loss)
    rows, columns = np.arange(half), np.arange(half, 2 * half)
    baselines = {"separability of the test": reader[columns, columns]} | _baselines(other)
    ours = [authors.reproduced(other.kind, a, b) for a, b in zip(other.train, other.test, strict=True)]
    known = np.array([loss is not None for loss in ours])
    reproduction = None
    if known.sum() >= 3:
        train, test = ([n for n, k in zip(side, known, strict=True) if k] for side in (other.train, other.test))
        some = OtherTable(other.kind, train, test, other.loss[known])
        reproduction = some.agreement(np.log([loss for loss in ours if loss is not None])) | {"rows": int(known.sum())}
    return {
        "kind": other.kind,
        "rows": len(other.loss),
        "prediction": other.agreement(prediction[rows, columns]),
        "reader": other.agreement(reader[rows, columns]),
        "reproduction": reproduction,
        # Those in units of their own have no level.
        "baselines": {
            name: other.agreement(values) | ({} if name.startswith("separability") else {"r2": None})
            for name, values in baselines.items()
        },
    }


def predict(kind: authors.Kind, names: Sequence[authors.Name]) -> tuple[np.ndarray, np.ndarray]:
    """Return ln loss, up to one level, of every training and test by name: of the Gaussian reader, and corrected by our networks.

    Shape [len(names), len(names)] each. Where no network of ours was trained, both are the same.
    """
    ours = authors.losses(kind)
    own_train, own_test = (list(dict.fromkeys(pair[i] for pair in ours)) for i in (0, 1))
    distinct = list(dict.fromkeys([*names, *own_train, *own_test]))
    seen = _kept(kind, distinct)
    slope = json.loads((_KEPT / "gaussian_reader.json").read_text(encoding="utf-8"))["slope"]
    reader = slope * log_errors(seen, seen).numpy()
    better = reader
    if len(own_train) > 2 and len(ours) == len(own_train) * len(own_test):
        train, test = ([distinct.index(n) for n in side] for side in (own_train, own_test))
        known = np.log([[ours[a, b] for b in own_test] for a in own_train])
        better = corrected(reader, np.concatenate([seen.film, seen.particle], 1), train, test, known)
    place = [distinct.index(n) for n in names]
    return reader[np.ix_(place, place)], better[np.ix_(place, place)]


def _baselines(other: OtherTable) -> dict[str, np.ndarray]:
    if other.kind == "families":
        lattice, elements = ([_split(n)[i] for n in (*other.train, *other.test)] for i in (0, 1))
        half = len(other.train)
        power = np.log([scattering_power(_crystal(e)) for e in elements])
        return {
            "another lattice": np.array([a != b for a, b in zip(lattice[:half], lattice[half:], strict=True)], float),
            "another compound": np.array(
                [a != b for a, b in zip(elements[:half], elements[half:], strict=True)], float
            ),
            "difference of scattering power": np.abs(power[half:] - power[:half]),
            "scattering power of the test": -power[half:],
        }
    train, test = np.array(other.train, float), np.array(other.test, float)
    if other.kind == "dose":
        return {"ratio of doses": np.abs(np.log(test / train)), "lower dose of the test": -np.log(test)}
    conditions = [_condition(float(c1), _DOSES["defocus"]) for c1 in (*train, *test)]
    measured = measure(["sigma", "epsilon"], conditions, conditions)
    at = np.arange(len(train))
    epsilon = measured["epsilon_train"].numpy()
    return {
        "distance of defocus": np.abs(test - train),
        # A condition that transfers nothing shares nothing.
        "σ": -measured["sigma"].nan_to_num(0.0, 0.0, 0.0).numpy()[at, len(train) + at],
        "Δε": -(epsilon[len(train) :] - epsilon[: len(train)]),
    }


def _split(family: authors.Name) -> tuple[str, str]:
    lattice, compound, *_ = str(family).split("_")
    return lattice, compound


def scattering_power(crystal: Crystal) -> float:
    """Return Σ Z per volume of a crystal [1/Å³]."""
    return float(crystal.numbers.mean() / crystal.volume_per_atom)


def _crystal(compound: str) -> Crystal:
    return library_crystal({"CdSe": "CdSe-wurtzite", "ZnS": "ZnS-wurtzite", "C": "diamond"}.get(compound, compound))


def _kept(kind: authors.Kind, names: Sequence[authors.Name]) -> Moments:
    """Return the moments of trainings or tests by name, interpolated where they are numbers."""
    table = read_table(_KEPT / "authors_moments.parquet").filter(pl.col("kind") == kind)
    found, values = _of_rows(table), table["value"].to_list()
    if kind == "families":
        if unknown := [n for n in names if n not in values]:
            raise BadInputError(f"family {unknown[0]} was not simulated; known are {', '.join(values)}")
        return _each(found, lambda field: torch.stack([field[values.index(str(n))] for n in names]))
    scale = np.log if kind == "dose" else np.asarray
    grid, at = scale([float(v) for v in values]), scale([float(n) for n in names])
    if outside := [n for n, x in zip(names, at, strict=True) if not grid[0] <= x <= grid[-1]]:
        what = "dose" if kind == "dose" else "C1"
        raise BadInputError(f"{what} {outside[0]} lies outside {values[0]} to {values[-1]}, which was simulated")
    left = np.clip(np.searchsorted(grid, at, side="right") - 1, 0, len(grid) - 2)
    right = torch.from_numpy((at - grid[left]) / (grid[left + 1] - grid[left]))

    def between(field: torch.Tensor) -> torch.Tensor:
        weight = right.view(-1, *[1] * (field.ndim - 1))
        return (1 - weight) * field[left] + weight * field[left + 1]

    return _each(found, between)


def _each(all_of_them: Moments, change: Callable[[torch.Tensor], torch.Tensor]) -> Moments:
    return Moments(**{name: change(value) for name, value in vars(all_of_them).items()})


def _rows(kind: authors.Kind, value: authors.Name, seen: Moments) -> pl.DataFrame:
    """Return the moments of one training or test as a row; of the covariances, what lies on and above the diagonal."""
    upper = np.triu_indices(seen.film.shape[1])
    columns = {
        "film": seen.film[0].numpy(),
        "particle": seen.particle[0].numpy(),
        "film_covariance": seen.film_covariance[0].numpy()[upper],
        "particle_covariance": seen.particle_covariance[0].numpy()[upper],
    }
    lists = {n: pl.Series([v.astype(np.float32).tolist()], dtype=pl.List(pl.Float32)) for n, v in columns.items()}
    return pl.DataFrame({"kind": kind, "value": str(value), "share": float(seen.share), **lists})


def _of_rows(table: pl.DataFrame) -> Moments:
    def array(column: str) -> torch.Tensor:
        return torch.tensor(table[column].to_list(), dtype=torch.float64)

    def square(column: str) -> torch.Tensor:
        flat, n = array(column), len(table["film"][0])
        full = torch.zeros(len(flat), n, n, dtype=torch.float64)
        rows, columns = np.triu_indices(n)
        full[:, rows, columns] = full[:, columns, rows] = flat
        return full

    return Moments(
        array("film"), array("particle"), square("film_covariance"), square("particle_covariance"), array("share")
    )


def _condition(c1: float, dose: float, zero: float = 0.0) -> Condition:
    return Condition(
        energy_ev=300_000,
        aberrations={"C10": zero - c1},
        focal_spread_angstrom=_FOCAL_SPREAD,
        dose_per_angstrom2=dose,
        pixel_size_angstrom=_PIXEL,
    )


def measure_again(note: Callable[[str], None]) -> None:
    """Simulate the moments of what the authors trained and tested on, and fit the slope of ln loss to our own studies."""
    cdse = _Family(load_recipe(_RECIPES / "CdSe.yaml"))
    rows = []
    for c1 in _DEFOCI:
        note(f"C1 = {c1:g} Å")
        rows.append(_rows("defocus", c1, cdse.moments(c1, _DOSES["defocus"])))
    for dose in _DOSE_GRID:
        note(f"{dose:g} e/Å²")
        rows.append(_rows("dose", dose, cdse.moments(_FIXED_C1, dose)))
    for path in sorted(_RECIPES.glob("*_*.yaml")):
        note(path.stem)
        rows.append(_rows("families", path.stem, _Family(load_recipe(path)).moments(_FIXED_C1, _DOSES["families"])))
    _KEPT.mkdir(exist_ok=True)
    write_table(_KEPT / "authors_moments.parquet", pl.concat(rows))
    note("slope of ln loss")
    (_KEPT / "gaussian_reader.json").write_text(json.dumps(_slope(note)) + "\n", encoding="utf-8")


class _Family:
    """Exit waves of a recipe's first specimens, and its zero of defocus."""

    def __init__(self, recipe: Recipe):
        self._field = recipe.field_angstrom
        self._stored, self._masks = hrtem.scatter(recipe, range(_SPECIMENS), _WAVES)
        self._zero = least_contrast(recipe, _condition(0.0, 400.0), _WAVES, range(3))

    def moments(self, c1: float, dose: float) -> Moments:
        """Return the moments of images about a nominal defocus C1 [Å], each specimen at a quantile of its distribution."""
        places = norm.ppf((np.arange(_SPECIMENS) + 0.5) / _SPECIMENS) * _SPREAD
        turns = np.random.default_rng(seed_from("quantiles")).permutation(_SPECIMENS)
        images, masks = [], []
        for i, offset in enumerate(places[turns]):
            imager = hrtem.Imager(_condition(c1 + offset, dose, self._zero), self._field, _WAVES)
            one = imager.images(self._stored[i : i + 1], self._masks[i : i + 1], seed=i)
            images.append(normalize(one.counts))
            masks.append(one.masks)
        return moments(torch.cat(images), torch.cat(masks), _PIXEL)


def _slope(note: Callable[[str], None]) -> dict[str, Any]:
    """Return the slope of ln loss on log errors within our studies, and rank correlations there."""
    from replication.predictor import load

    tables = _KEPT.parent
    products, squares, ranks = 0.0, 0.0, {}
    for name in _SLOPE:
        note(name)
        study = load_study(tables / name / "study.yaml")
        errors, truth = _study_errors(study), np.log(load(tables, name).pairs.loss)
        if name == "structures":
            ids = [d.id for d in study.tests]
            pairs = {"train_condition": np.repeat(ids, len(ids)), "test_condition": np.tile(ids, len(ids))}
            kept = pl.DataFrame(pairs | {"log_error": errors.ravel().astype(np.float32)})
            write_table(_KEPT / f"gaussian_{name}.parquet", kept)
        off = ~np.eye(len(truth), dtype=bool)
        x, y = errors[off] - errors[off].mean(), truth[off] - truth[off].mean()
        products, squares = products + (x * y).sum(), squares + (x * x).sum()
        ranks[name] = round(float(spearmanr(errors[off], truth[off]).statistic), 3)
    return {"slope": float(products / squares), "rank": ranks}


def _study_errors(study: Study) -> np.ndarray:
    """Return the log errors of the Gaussian reader of every pair of a study's test domains."""
    seen: list[Moments] = []
    waves: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for domain in study.tests:
        if id(domain.recipe) not in waves:
            waves[id(domain.recipe)] = hrtem.scatter(domain.recipe, range(20), study.exit_waves)
        imager = hrtem.Imager(domain.condition, domain.recipe.field_angstrom, study.exit_waves)
        images = imager.images(*waves[id(domain.recipe)], seed=7)
        seen.append(moments(normalize(images.counts), images.masks, domain.condition.pixel_size_angstrom))
    together = Moments.joined(seen)
    return np.asarray(log_errors(together, together).numpy())


@external_app.command()
def main(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="Losses that others measured.")],
    again: Annotated[bool, typer.Option("--again", help="Simulate the moments anew first (some 15 minutes).")] = False,
    as_json: Json = False,
) -> None:
    """Compare a table of losses that others measured with our prediction, our reproduction and baselines."""
    other = read_other(table)
    if again:
        measure_again(lambda text: typer.echo(text, err=True))
    answer = compare(other)
    if as_json:
        print_json(answer)
        return
    lines = {
        "prediction": answer["prediction"],
        "reader alone": answer["reader"],
        "reproduction": answer["reproduction"],
        **answer["baselines"],
    }
    print(f"{table.name}: {answer['rows']} rows, {answer['kind']}; rank correlation and R² of ln loss")
    for name, values in lines.items():
        shown = "not run" if values is None else " ".join(_number(values[k]) for k in ("rank", "r2"))
        print(f"  {name:32} {shown}")


def _number(value: float | None) -> str:
    return "   –  " if value is None else f"{value:6.2f}"


if __name__ == "__main__":
    run_app(external_app)
