"""The committed results are of the committed studies, hang together, and are what the README quotes."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from passband.studies.study import load_study
from passband.verdicts.set_loss import FEATURES, learnt
from passband.verdicts.zones import PAIR_FEATURES, PLANE
from replication import predictor_page
from replication.outcome import StudyTables
from replication.pages import EXPERIMENTS, study_names
from replication.paths import ResultsPaths
from replication.verdict_data import COLLAPSE, SET_STUDY, STABLE, ZONE_STUDIES, write_verdict_data

ROOT = Path(__file__).parents[2]
PATHS = ResultsPaths(ROOT, ROOT / "docs" / "results")
ANSWER = json.loads(PATHS.claims.read_text(encoding="utf-8"))
HELD = [name for name in study_names() if PATHS.study(name).study.is_file()]


@pytest.mark.parametrize("name", HELD)
def test_the_tables_are_of_the_study_as_it_is_now(name):
    stem, _, variant = name.partition("-")
    now = load_study(ROOT / "replication" / "studies" / f"{stem}.yaml", budget="standard", variant=variant or None)
    assert load_study(PATHS.study(name).study).id == now.id
    assert json.loads(PATHS.study(name).analysis.read_text(encoding="utf-8"))["study_id"] == now.id


def test_every_claim_has_its_page_and_every_page_its_pictures():
    assert ANSWER["budget"] == "standard"
    index = PATHS.index.read_text(encoding="utf-8")
    for claim in ANSWER["claims"]:
        assert claim["figure"].replace("|", "\\|") in index
        assert claim["figure"].replace("|", "\\|") in PATHS.page(claim["experiment"]).read_text(encoding="utf-8")
        assert claim["verdict"] in ("agrees", "differs", "cannot tell")
    for page in [PATHS.index, *(PATHS.page(e.name) for e in EXPERIMENTS if e.name not in ANSWER["missing"])]:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)


#: A figure with its interval, such as 0.24 [0.10, 0.31].
QUOTED = re.compile(r"[−-]?\d+\.\d+ \[[−-]?\d+\.\d+, [−-]?\d+\.\d+\]")


def test_readme_and_pages_quote_them_to_the_letter():
    known = {figure for claim in ANSWER["claims"] for figure in QUOTED.findall(claim["figure"])}
    kept = PATHS.pages / "tables" / "predictor"
    known |= set(QUOTED.findall(predictor_page.judged_table(kept) + predictor_page.sets_text(kept)))
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    quoted = {page.name: QUOTED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert len(quoted["README.md"]) >= 4
    for name, figures in quoted.items():
        assert not set(figures) - known, name


def test_the_head_of_the_page_on_curvature_quotes_its_tables():
    head, _, rest = (PATHS.pages / "curvature.md").read_text(encoding="utf-8").partition("<!-- answer -->")
    short = QUOTED.findall(head.partition("In short:")[2])
    assert len(short) >= 4
    assert not set(short) - set(QUOTED.findall(rest))


def test_the_page_of_predictors_is_what_its_tables_give(tmp_path):
    page = PATHS.pages / "predictor.md"
    (tmp_path / "tables").symlink_to(PATHS.pages / "tables")
    copy = tmp_path / "predictor.md"
    copy.write_text(re.sub(r"<!-- (\w+) -->.*?<!-- /", r"<!-- \1 -->\n<!-- /", page.read_text(), flags=re.DOTALL))
    predictor_page.write(copy)
    assert copy.read_text() == page.read_text()


def test_the_readme_says_how_good_the_verdict_on_real_images_is():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (PATHS.pages / "real_micrographs.md").read_text(encoding="utf-8")
    [(images, error, within, asked)] = re.findall(
        r"^\| au-300kv \| (\d+) \| \d+ \| (0\.\d+) .*\| (\d+) of (\d+) \|", page, re.MULTILINE
    )
    assert f"by {float(error):.2f} on average over {images} images" in " ".join(text.split())
    assert f"{within} of {asked} lie within" in " ".join(text.split())
    for score in re.findall(
        r"^\| hand_labelled, 18 \| (?:au-300kv|Otsu's threshold) \| .*? \| (0\.\d+) \[", page, re.MULTILINE
    ):
        assert f"Dice {float(score):.3f}" in " ".join(text.split())


DATA = ROOT / "src" / "passband" / "verdicts" / "data"


def test_the_data_of_verdicts_are_of_the_committed_studies():
    content = json.loads((DATA / "zones.json").read_text(encoding="utf-8"))
    assert (content["stable_up_to"], content["collapse_from"]) == (STABLE, COLLAPSE)
    facts = {name: json.loads(PATHS.study(name).analysis.read_text(encoding="utf-8")) for name in ZONE_STUDIES}
    assert content["studies"] == {name: study["study_id"] for name, study in facts.items()}
    assert {key: tuple(tree["features"]) for key, tree in content["trees"].items()} == {
        "plane": PLANE,
        "many": PAIR_FEATURES,
    }
    for tree in content["trees"].values():
        for leaf in tree["leaves"]:
            assert sum(leaf["shares"].values()) == pytest.approx(1)
            assert set(leaf["bounds"]) <= set(tree["features"])
    assert learnt().columns == ["train_condition", *FEATURES, "loss"]
    scores = pl.read_parquet(PATHS.study(SET_STUDY).table("scores"))
    assert len(learnt()) == scores.select("train_condition", "test_condition").n_unique()


@pytest.mark.slow
def test_the_data_of_verdicts_are_what_the_tables_give(tmp_path):
    studies = {name: StudyTables(PATHS.study(name)) for name in (*ZONE_STUDIES, SET_STUDY)}
    for built in write_verdict_data(studies, tmp_path):
        committed = DATA / built.name
        if built.suffix == ".parquet":
            assert_frame_equal(pl.read_parquet(built), pl.read_parquet(committed), rel_tol=1e-5)
        else:
            new, old = (json.loads(path.read_text(encoding="utf-8")) for path in (built, committed))
            assert flat(new).keys() == flat(old).keys()
            for place, value in flat(new).items():
                same = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
                assert flat(old)[place] == same, place


def flat(content, place=""):
    """A nested dictionary as one from place to value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else None
    if items is None:
        return {place: content}
    return {k: v for key, value in items for k, v in flat(value, f"{place}/{key}").items()}
