"""The committed results are of the committed studies, hang together, and are what the README quotes."""

import json
import re
from pathlib import Path

import pytest

from passband.studies.study import load_study
from passband.verdicts.zones import zones
from replication.pages import EXPERIMENTS, study_names
from replication.paths import ResultsPaths

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
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    quoted = {page.name: QUOTED.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert len(quoted["README.md"]) >= 4
    for name, figures in quoted.items():
        assert not set(figures) - known, name


def test_the_readme_says_that_the_verdict_on_real_images_is_too_kind():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (PATHS.pages / "real_patches.md").read_text(encoding="utf-8")
    assert "predicts 0.90 for 0.74" in text
    assert "**The verdict is too kind here**" in page
    assert re.search(r"^\| 32 drawn uniformly \| 3 \| 0\.74 ", page, re.MULTILINE)
    assert re.search(r"\| 0\.90 \[0\.84, 0\.94\] \| 0\.74 \|$", page, re.MULTILINE)


def test_the_zones_that_are_shipped_are_those_of_the_page():
    shipped = zones()
    assert shipped == json.loads((PATHS.pages / "zones.json").read_text(encoding="utf-8"))
    for tree in shipped["trees"].values():
        for leaf in tree["leaves"]:
            assert sum(leaf["shares"].values()) == pytest.approx(1)
            assert set(leaf["bounds"]) <= set(tree["features"])
