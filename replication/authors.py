"""The first author's studies of transfer between defoci, doses and specimens, done again here: our loss beside each of theirs.

Rangel DaCosta, Oill and Scott, Elemental Microscopy (2026), doi 10.69761/kjte5358. The studies are `studies/authors_*.yaml`, their tables lie
in `docs/results/tables/`. Ours are smaller: fewer images, a smaller network, exit waves of one phonon configuration.
"""

import functools
from pathlib import Path
from typing import Literal

import polars as pl

from passband.studies.study import Study, load_study
from replication.paths import ResultsPaths

#: What is changed between training and test.
Kind = Literal["defocus", "dose", "families"]
#: Defocus C1, positive = underfocus [Å], dose [e/Å²], or the name of a family such as w_CdSe_small.
Name = float | str

_ROOT = Path(__file__).parents[1]
_PATHS = ResultsPaths(_ROOT, _ROOT / "docs" / "results")


def reproduced(kind: Kind, train: Name, test: Name) -> float | None:
    """Return our loss of networks trained and tested as a row of the authors' table says, the mean over seeds, or None if we lack it.

    It is the cross-entropy of softmaxed outputs less its floor, as theirs. `train` and `test` are the first two entries of the row.
    """
    return losses(kind).get((train, test))


@functools.cache
def losses(kind: Kind, variant: str = "") -> dict[tuple[Name, Name], float]:
    """Return our losses by training and test, named as in the authors' table, of a variant of the study; empty if it has not been run."""
    means = scores(kind, variant).group_by("train", "test", maintain_order=True).agg(pl.mean("loss"))
    return {(train, test): loss for train, test, loss in means.iter_rows()}


def scores(kind: Kind, variant: str = "") -> pl.DataFrame:
    """Return the scores of a variant of our study with train and test, named as in the authors' table; no rows if it has not been run."""
    paths = _PATHS.study(f"authors_{kind}{variant}")
    if not paths.table("scores").is_file():
        return pl.DataFrame(schema=["train", "test", "loss"])
    study = load_study(paths.study)
    train, test = _trainings(kind, study), _tests(kind, study)
    return pl.read_parquet(paths.table("scores")).with_columns(
        train=pl.col("train_condition").replace_strict(train), test=pl.col("test_condition").replace_strict(test)
    )


def published_defocus() -> pl.DataFrame:
    """Return the authors' own table of the defocus as train, test [Å] and the median loss of 720 networks (CC-BY-4.0)."""
    table = pl.read_csv(_PATHS.pages / "tables" / "authors_published" / "defocus_5x11.csv")
    return table.select(train="train_C1_angstrom", test="test_C1_angstrom", loss="median_loss", seed=pl.lit(0))


def _tests(kind: Kind, study: Study) -> dict[str, Name]:
    """Return what the authors call each test domain, by its id."""
    names: list[Name] = []
    for family in study.recipes:
        for condition in study.test_conditions:
            value = condition.defocus_angstrom if kind == "defocus" else condition.dose_per_angstrom2
            names.append(family if kind == "families" or value is None else value)
    return dict(zip((t.id for t in study.tests), names, strict=True))


def _trainings(kind: Kind, study: Study) -> dict[str, Name]:
    """Return what the authors call each training domain, by its id; those of the defocus study are sets of one nominal defocus."""
    if study.training_sets is None:
        return _tests(kind, study)
    sets = study.training_sets.values()
    return {t.id: s.conditions[0].defocus_angstrom for t, s in zip(study.trainings, sets, strict=True)}
