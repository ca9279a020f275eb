"""Tables and analysis of a study on disk: what is cut, damaged or foreign is refused in one line."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.studies.paths import StudyPaths
from passband.studies.stored import read_analysis, read_tables, write_analysis
from support.damage import flips

COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "tables" / "defocus_sweep"
NAMES = ("scores", "shift", "conditions", "training")


@pytest.fixture
def paths(tmp_path):
    """A folder of tables alone, of an older version without checksums."""
    shutil.copytree(COMMITTED, tmp_path / "copy")
    return StudyPaths(tmp_path / "copy")


@pytest.mark.parametrize("verb", ["rank", "report"])
def test_a_cut_table_is_one_line(paths, call, verb):
    path = paths.table("shift")
    path.write_bytes(path.read_bytes()[:-40])
    code, _, error = call("study", verb, paths.folder)
    assert code == 2 and error.count("\n") == 1 and "Traceback" not in error
    assert "shift.parquet: cannot be read as a table" in error and "make the report again" in error


@pytest.mark.parametrize("text", ["[]", "{}", "", "3", '{"failed": [], "provenance": []}', '{"failed": [3]}'])
def test_a_damaged_analysis_is_one_line(paths, call, text):
    paths.analysis.write_text(text)
    code, _, error = call("study", "report", paths.folder)
    assert code == 2 and error.count("\n") == 1 and "analysis.json: is missing or damaged" in error


FOREIGN = {
    "has no column loss": lambda t: t.drop("loss"),
    "not numbers": lambda t: t.with_columns(pl.col("loss").cast(pl.String)),
    "not text": lambda t: t.with_columns(pl.lit(3).alias("train_condition")),
    "has no rows": lambda t: t.clear(),
    "the same ones twice": lambda t: pl.concat([t, t.head(1)]),
    "rows without": lambda t: t.with_columns(seed=pl.when(pl.col("seed") > 0).then("seed")),
    "a loss that is not a finite number": lambda t: t.with_columns(loss=pl.lit(float("nan"))),
    "of the scores": lambda t: t.with_columns(test_condition=pl.lit("elsewhere") + pl.int_range(pl.len()).cast(str)),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_a_foreign_table_is_one_line(paths, message):
    table = read_tables(paths, NAMES)["scores"]
    FOREIGN[message](table).write_parquet(paths.table("scores"))
    with pytest.raises(BadInputError, match=message) as fault:
        read_tables(paths, NAMES)
    assert "\n" not in str(fault.value) and ".parquet: " in str(fault.value)


def test_tables_of_another_study_are_refused(paths):
    domains = set(read_tables(paths, NAMES)["scores"]["train_condition"])
    assert len(read_tables(paths, NAMES, domains)) == 4
    with pytest.raises(BadInputError, match="which is none of this study's"):
        read_tables(paths, NAMES, domains - {min(domains)})


def test_no_flipped_bit_of_a_table_or_of_the_analysis_passes(paths):
    """With checksums, as a run writes them."""
    tables, content = read_tables(paths, NAMES), read_analysis(paths)
    write_analysis(paths, content, NAMES)
    assert {k: v for k, v in read_analysis(paths).items() if k != "tables"} == content
    for name in NAMES:
        for _ in flips(paths.table(name), 5):
            with pytest.raises(BadInputError, match=f"{name}.parquet: is not as passband wrote it"):
                read_tables(paths, NAMES)
    written = json.loads(paths.analysis.read_text())
    for _ in flips(paths.analysis, 30):
        try:
            read_analysis(paths)
        except BadInputError:
            continue
        assert json.loads(paths.analysis.read_text()) == written
    assert all(read_tables(paths, NAMES)[name].equals(table) for name, table in tables.items())
