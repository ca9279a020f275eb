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


def test_the_readme_quotes_them_to_the_letter():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## What the source's claims come to") : text.index("## Use it")]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in section.splitlines()
        if line.startswith("| ")
    ]
    verdicts = {"agrees", "differs", "cannot tell"}
    quoted = [(figure, verdict.strip("* |")) for _, figure, verdict in rows[1:]]
    assert len(quoted) >= 8
    known = [(c["figure"], c["verdict"]) for c in ANSWER["claims"]]
    for figure, verdict in quoted:
        assert verdict in verdicts
        # A row may quote a part of a figure.
        assert any(figure in whole and verdict == so for whole, so in known), figure


def test_the_zones_that_are_shipped_are_those_of_the_page():
    shipped = zones()
    assert shipped == json.loads((PATHS.pages / "zones.json").read_text(encoding="utf-8"))
    for tree in shipped["trees"].values():
        for leaf in tree["leaves"]:
            assert sum(leaf["shares"].values()) == pytest.approx(1)
            assert set(leaf["bounds"]) <= set(tree["features"])
