"""Studies of several families of specimens, and of training sets: what is trained and tested, budgets and variants."""

import json

import numpy as np
import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.report.study_page import write_results
from passband.studies import jobs
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study
from support.studies import SETS, TINY, run

_FAMILY = """
    seed: {seed}
    field_angstrom: 19.2
    particles: {{crystal: {crystal}, count: [1, 1], diameter_angstrom: [8.5, 9.5]}}
    substrate: {{thickness_angstrom: [4.0, 5.0]}}
"""
_SPECIMENS = TINY[TINY.index("specimens:") : TINY.index("exit_waves:")]
FAMILIES = TINY.replace(
    _SPECIMENS,
    f"structures:\n  gold:{_FAMILY.format(seed=1, crystal='Au')}  silver:{_FAMILY.format(seed=2, crystal='Ag')}",
).replace("[-100, 0, 100]", "[-100, 100]")


def study(folder, text, *changes, **options):
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "small.yaml").write_text(text)
    return load_study(folder / "small.yaml", **options)


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    config = study(folder, FAMILIES)
    run(config, folder / "runs/small", finish=write_results)
    return config, folder / "runs/small"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    config = study(folder, SETS)
    run(config, folder / "runs/small", finish=write_results)
    return config, folder / "runs/small"


def test_every_family_meets_every_other(families):
    config, folder = families
    names = [t.id for t in config.tests]
    assert [n.split("/")[0] for n in names] == ["gold", "gold", "silver", "silver"]
    scores = pl.read_parquet(folder / "scores.parquet")
    assert scores["train_condition"].unique(maintain_order=True).to_list() == names
    assert len(scores) == 16
    conditions = pl.read_parquet(folder / "conditions.parquet")
    assert conditions["condition"].to_list() == names
    assert conditions["label"][0] == "gold, defocus -100 Å"


def test_a_family_is_tested_on_its_own_specimens(families):
    config, folder = families
    paths = StudyPaths(folder)
    gold, silver = (config.tests[i] for i in (0, 2))
    (images, masks), (others, other_masks) = (jobs.test_images(config, paths, t) for t in (gold, silver))
    assert not np.array_equal(masks, other_masks)
    # Pixels that are particle, by the counts, are those of the family tested on, whichever was trained on.
    counts = pl.read_parquet(folder / "counts.parquet")
    for test, truth in ((gold, masks), (silver, other_masks)):
        found = counts.filter(pl.col("test_condition") == test.id).select(pl.col("tp") + pl.col("fn"))["tp"]
        assert found.to_list() == truth.sum((1, 2, 3)).tolist() * 4
    assert images.shape == others.shape


def test_the_transfer_cannot_tell_families_apart_and_images_can(families):
    shift = pl.read_parquet(families[1] / "shift.parquet")
    alike = shift.filter(
        (pl.col("train_condition").str.split("/").list.last() == pl.col("test_condition").str.split("/").list.last())
        & (pl.col("train_condition") != pl.col("test_condition"))
    )
    assert len(alike) == 4
    assert alike["sigma"].to_list() == pytest.approx([1.0] * 4)
    assert alike["delta_epsilon"].to_list() == pytest.approx([0.0] * 4)
    assert alike["spectrum_distance"].min() > 1e-3


def test_a_family_has_the_networks_that_it_has_alone(families, tmp_path):
    """Waves, seeds and networks of a family do not depend on what else is in the study."""
    text = FAMILIES[: FAMILIES.index("  silver:")] + FAMILIES[FAMILIES.index("exit_waves:") :]
    alone = text.replace("structures:\n  gold:", "specimens:")
    config = study(tmp_path, alone)
    run(config, tmp_path / "runs/small")
    own = pl.read_parquet(tmp_path / "runs/small/scores.parquet")
    among = pl.read_parquet(families[1] / "scores.parquet").filter(
        pl.col("train_condition").str.starts_with("gold") & pl.col("test_condition").str.starts_with("gold")
    )
    assert own["loss"].to_list() == among["loss"].to_list()


def test_sets_are_trained_and_conditions_tested(sets):
    config, folder = sets
    names = ["uniform-1-0", "uniform-1-1", "uniform-3-0", "uniform-3-1", "curriculum-3-0"]
    assert [t.id for t in config.trainings] == names
    scores, shift = (pl.read_parquet(folder / f"{n}.parquet") for n in ("scores", "shift"))
    assert scores["train_condition"].unique(maintain_order=True).to_list() == names
    assert scores["test_condition"].unique(maintain_order=True).to_list() == [c.id for c in config.test_conditions]
    assert len(shift) == 30
    assert (shift["sigma_best"] >= shift["sigma"] - 0.35).all()
    members = pl.read_parquet(folder / "training_sets.parquet")
    assert members.group_by("condition").len().sort("condition")["len"].to_list() == [3, 1, 1, 3, 3]
    assert not set(members["defocus_angstrom"]) & {c.defocus_angstrom for c in config.test_conditions}


def test_the_report_of_sets_compares_them(sets):
    _, folder = sets
    found = json.loads((folder / "analysis.json").read_text())["findings"]
    assert {row["kind"] for row in found["sets"]} == {"uniform", "curriculum"}
    page = (folder / "report.html").read_text()
    assert "5 training sets" in page
    assert found["sentences"][0].split(":")[0] in page


@pytest.mark.slow
def test_a_study_grows_by_sets(sets, tmp_path):
    import shutil

    shutil.copytree(sets[1].parent, tmp_path / "runs")
    before = pl.read_parquet(tmp_path / "runs/small/scores.parquet")
    more = study(tmp_path, SETS, ("draws: 2", "draws: 3"))
    _, progress = run(more, tmp_path / "runs/small")
    assert progress.new["networks"] == 2
    after = pl.read_parquet(tmp_path / "runs/small/scores.parquet")
    assert after.filter(pl.col("train_condition").is_in(before["train_condition"].unique().to_list())).equals(before)


@pytest.mark.slow
def test_an_analysis_is_made_again_from_tables_alone(families, sets, tmp_path, call):
    for name, (_, folder) in {"families": families, "sets": sets}.items():
        kept = tmp_path / name
        kept.mkdir()
        for path in [*folder.glob("*.parquet"), folder / "study.yaml", folder / "analysis.json"]:
            if path.stem not in ("counts", "specimen_power"):
                (kept / path.name).write_bytes(path.read_bytes())
        before = json.loads((kept / "analysis.json").read_text())
        code, _, error = call("study", "report", kept, "--json")
        assert code == 0, error
        assert json.loads((kept / "analysis.json").read_text()) == before
        assert "image_sheet" not in (kept / "report.html").read_text()
        (kept / "shift.parquet").unlink()
        code, _, error = call("study", "report", kept)
        assert code == 2
        assert "shift.parquet: is missing" in error


@pytest.mark.parametrize(
    "text, changes, message",
    [
        (TINY, [(_SPECIMENS, "")], "give either specimens"),
        (FAMILIES, [("structures:", _SPECIMENS + "structures:")], "give either specimens"),
        (FAMILIES, [("  silver:", "  a/b:")], "'a/b' is no name"),
        (FAMILIES, [("crystal: Ag", "crystal: Xx")], "silver"),
        (TINY, [("split:", "training_sets: {uniform: {sizes: [2]}}\nsplit:")], "drawn from a distribution"),
        (SETS, [("  curriculum:", "  other: {sizes: [3]}\n  curriculum:")], "same method, order and size twice"),
        (SETS, [("sizes: [1, 3]", "sizes: []")], "sizes"),
        (SETS, [("  curriculum:", "  a/b:")], "'a/b' is no name"),
        (SETS, [("  count: 6", "  count: 6\n  draw_more: 1")], "draw_more"),
        (TINY, [("seeds: 1", "seeds: 1\nbudgets: [1]")], "budgets names changes"),
        (TINY, [("seeds: 1", "seeds: 1\nbudgets: {quick: 3}")], "budgets names changes"),
    ],
)
def test_bad_studies_are_one_line(tmp_path, text, changes, message):
    with pytest.raises(BadInputError, match=message) as caught:
        study(tmp_path, text, *changes)
    assert "\n" not in str(caught.value)


CHANGED = TINY + (
    "budgets:\n  quick: {seeds: 3, training: {epochs: 1}}\nvariants:\n  wide:\n    network: {widths: [8, 16]}\n    seeds: 2\n"
)


def test_budgets_and_variants_change_what_they_name(tmp_path):
    plain, quick, wide, both = (
        study(tmp_path, CHANGED, **options)
        for options in ({}, {"budget": "quick"}, {"variant": "wide"}, {"variant": "wide", "budget": "quick"})
    )
    assert plain == study(tmp_path, CHANGED, budget="standard") == study(tmp_path, TINY)
    assert (quick.seeds, quick.training.epochs, quick.training.batch_size) == (3, 1, 3)
    assert (wide.name, wide.network.widths, wide.seeds, wide.training.epochs) == ("small", (8, 16), 2, 2)
    assert (both.seeds, both.network.widths, both.training.epochs) == (3, (8, 16), 1)
    unnamed = study(tmp_path, CHANGED, ("name: small\n", ""), variant="wide")
    assert unnamed.name == "small-wide"


def test_a_fault_in_a_budget_is_told_with_its_line(tmp_path):
    with pytest.raises(BadInputError, match=r"small.yaml:\d+: .*epochs") as caught:
        study(tmp_path, CHANGED, ("epochs: 1}", "epochs: 0}"), budget="quick")
    line = int(str(caught.value).split(":")[1])
    assert "epochs: 0" in (tmp_path / "small.yaml").read_text().splitlines()[line - 1]
    with pytest.raises(BadInputError, match="has no variant 'narrow'; it has wide"):
        study(tmp_path, CHANGED, variant="narrow")
