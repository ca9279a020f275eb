"""The results of a study on disk, checked when they are read: Parquet tables and analysis.json."""

import hashlib
from collections.abc import Collection, Iterable
from typing import Any

import polars as pl

from passband.base.errors import BadInputError
from passband.files.atomic import has, read_checked, write_checked
from passband.files.tables import read_table
from passband.studies.paths import StudyPaths

_PAIR = ["train_condition", "test_condition"]
#: For each table, the columns that name a row, and numbers that results are computed from.
_COLUMNS: dict[str, tuple[list[str], list[str]]] = {
    "scores": ([*_PAIR, "seed"], ["loss", "n_images"]),
    "coverage": ([*_PAIR, "seed"], ["coverage", "half_width_angstrom"]),
    "shift": (_PAIR, ["epsilon_train", "epsilon_test", "delta_epsilon", "sigma"]),
    "conditions": (["condition"], ["defocus_angstrom", "epsilon"]),
    "training": (["condition", "seed", "epoch"], ["train_loss", "validation_loss"]),
    "training_sets": ([], ["defocus_angstrom"]),
}
_DOMAINS = {*_PAIR, "condition"}
# What an analysis.json of an older version, without checksums, may contain.
_FORMER = {"findings", "fits", "study", "study_id", "failed", "provenance"}
_PROVENANCE = {"versions": dict, "platform": str, "seeds": dict, "core_seconds": dict, "waves": dict}


def write_analysis(paths: StudyPaths, content: dict[str, Any], tables: Iterable[str]) -> None:
    """Write analysis.json, with checksums of the tables that it belongs to and of its own."""
    digests = {name: _digest(paths, name) for name in tables}
    write_checked(paths.analysis, content | {"tables": digests})


def read_analysis(paths: StudyPaths) -> dict[str, Any]:
    """Return the content of analysis.json; a BadInputError if it is missing or not as it was written."""
    content = read_checked(paths.analysis, _FORMER) or {}
    if (
        has(content, {"failed": list, "provenance": dict})
        and all(isinstance(fault, dict) for fault in content["failed"])
        and has(content["provenance"], _PROVENANCE)
    ):
        return content
    raise BadInputError(
        "is missing or damaged, and it alone says how the tables were made",
        remedy="get it from where the tables came from",
        place=paths.analysis,
    )


def read_tables(
    paths: StudyPaths, names: Iterable[str], domains: Collection[str] | None = None
) -> dict[str, pl.DataFrame]:
    """Return tables of a study by name: scores, coverage, shift, conditions, training, training_sets.

    Domains other than those of the ids given are refused.

    Raises:
        BadInputError: in one line, if one is missing, damaged, not a study's, or does not fit the others.
    """
    digests = (read_checked(paths.analysis, _FORMER) or {}).get("tables", {})
    tables = {name: _table(paths, name, digests.get(name)) for name in names}
    scores = tables.get("scores")
    for other, mine, theirs in (("shift", _PAIR, _PAIR), ("conditions", ["test_condition"], ["condition"])):
        if scores is not None and other in tables:
            unknown = scores.join(tables[other], left_on=mine, right_on=theirs, how="anti")
            if len(unknown):
                raise _fault(paths, other, f"has no row for {' and '.join(unknown.select(mine).row(0))} of the scores")
    for name, table in tables.items():
        for column in sorted(_DOMAINS.intersection(_COLUMNS[name][0])):
            strangers = set() if domains is None else set(table[column]).difference(domains)
            if strangers:
                raise _fault(paths, name, f"has {column} {min(strangers)}, which is none of this study's")
    return tables


def _table(paths: StudyPaths, name: str, digest: str | None) -> pl.DataFrame:
    path, (keys, numbers) = paths.table(name), _COLUMNS[name]
    if not path.is_file():
        raise BadInputError(f"{path}: is missing; the study has to be finished first")
    if digest is not None and digest != _digest(paths, name):
        raise _fault(paths, name, "is not as passband wrote it")
    try:
        table = read_table(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _fault(paths, name, f"cannot be read as a table: {' '.join(str(error).split())[:200]}") from None
    for column in (*keys, *numbers):
        kind = table.schema.get(column)
        if kind is None:
            raise _fault(paths, name, f"has no column {column}")
        if column in _DOMAINS and kind != pl.String:
            raise _fault(paths, name, f"has {kind} in column {column}, not text")
        if column not in _DOMAINS and not kind.is_numeric():
            raise _fault(paths, name, f"has {kind} in column {column}, not numbers")
    if not len(table):
        raise _fault(paths, name, "has no rows")
    named = table.select(keys)
    if keys and (named.is_duplicated().any() or any(named.null_count().row(0))):
        raise _fault(paths, name, f"has rows without {', '.join(keys)}, or the same ones twice")
    if name == "scores" and not table["loss"].is_finite().fill_null(value=False).all():
        raise _fault(paths, name, "has a loss that is not a finite number")
    return table


def _fault(paths: StudyPaths, name: str, what: str) -> BadInputError:
    remedy = "make the report again from the jobs of the study, or get it from where it came from"
    return BadInputError(what, remedy=remedy, place=paths.table(name))


def _digest(paths: StudyPaths, name: str) -> str:
    return hashlib.blake2b(paths.table(name).read_bytes(), digest_size=16).hexdigest()
