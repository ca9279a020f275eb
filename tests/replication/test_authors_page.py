"""Losses beside each other agree where they are made to, and the page is what its tables give."""

import json
import re

import numpy as np
import pytest

from replication import authors_page
from replication.__main__ import _PAGES
from replication.authors_page import Beside
from replication.paths import ResultsPaths

rng = np.random.default_rng(0)
DOSES = np.array([30.0, 75.0, 150.0, 300.0, 600.0])
THEIRS = rng.normal(size=(5, 5))


def made(ours, theirs=THEIRS, names=DOSES):
    return Beside.of(names, names, ours, theirs)


def test_losses_that_are_theirs_times_a_factor_agree_in_all():
    b = made(THEIRS - 1)
    for statistic in (authors_page.rank, authors_page.rank_home, authors_page.rank_there, authors_page.rank_networks):
        assert statistic(b) == pytest.approx(1)
    found = authors_page.measured(b, authors_page.r2)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_relative_losses_forget_what_the_network_or_the_test_has_in_common():
    of_network, of_test = rng.normal(size=(5, 1)), rng.normal(size=(1, 5))
    assert authors_page.rank_home(made(THEIRS + of_network)) == pytest.approx(1)
    assert authors_page.rank_there(made(THEIRS + of_test)) == pytest.approx(1)
    assert authors_page.rank_home(made(THEIRS + 9 * of_test)) < 0.9


def test_noise_has_an_interval_about_zero():
    found = authors_page.measured(made(rng.normal(size=(5, 5))), authors_page.rank)
    assert found.low < 0 < found.high


def test_a_drawing_that_repeats_a_domain_leaves_its_diagonal_out():
    drawn = made(THEIRS).drawn(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2]))
    assert drawn.elsewhere.sum() == 10
    assert not drawn.elsewhere[0, 1]
    assert drawn.home[0] == pytest.approx(np.diag(THEIRS)[[0, 0, 1, 2]])


def test_page_and_answers_are_what_the_tables_give(tmp_path):
    (tmp_path / "tables" / "predictor").mkdir(parents=True)
    for table in (_PAGES / "tables").glob("authors_*"):
        (tmp_path / "tables" / table.name).symlink_to(table.absolute())
    page = (_PAGES / "authors.md").read_text()
    (tmp_path / "authors.md").write_text(
        re.sub(r"<!-- (\w+) -->.*?<!-- /", r"<!-- \1 -->\n<!-- /", page, flags=re.DOTALL)
    )
    authors_page.write(ResultsPaths(tmp_path, tmp_path))
    assert (tmp_path / "authors.md").read_text() == page
    for path in (tmp_path / "tables" / "predictor").iterdir():
        new, old = (json.loads(p.read_text()) for p in (path, _PAGES / "tables" / "predictor" / path.name))
        assert new["rows"] == old["rows"]
        for who in ("prediction", "reader", "reproduction"):
            assert new[who] == pytest.approx(old[who], abs=2e-6)
