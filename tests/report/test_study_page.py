"""The report's title and first sentence, and the parts of all offline pages."""

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from passband.report import pages
from passband.report.study_page import conclusion, question, rebuild_report
from passband.report.study_run import open_study
from passband.studies.folder import StudyFolder

TABLES = Path(__file__).parents[2] / "docs" / "results" / "tables"
SWEEP = TABLES / "defocus_sweep-sgd"


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("defocus_fine", "Does a network trained at one defocus work at another?"),
        ("structures", "Does a network trained on one family of specimens work on another?"),
        ("training_sets", "Which set of training conditions makes the best network?"),
    ],
)
def test_the_title_is_what_the_study_asks(name, title):
    assert question(open_study(TABLES / name).study) == title


def test_the_first_sentence_counts_the_pairs_near_the_in_domain_loss():
    run = open_study(SWEEP)
    losses, ratios = {}, {}
    for row in run.scores.iter_rows(named=True):
        losses.setdefault((row["train_condition"], row["test_condition"]), []).append(row["loss"])
    for (train, test), values in losses.items():
        if train != test:
            ratios[train, test] = np.mean(values) / np.mean(losses[train, train])
    medians = {t: np.median([r for (_, b), r in ratios.items() if b == t]) for t in {b for _, b in ratios}}
    worst = max(medians, key=medians.get)
    text = conclusion(run.study, run.pairs, {})
    assert f"{np.mean([r <= 1.5 for r in ratios.values()]):.0%} of {len(ratios)} pairs" in text
    assert run.study.labels[worst].replace("-", "−") in text and f"{medians[worst]:.1f} times in the median" in text


def test_networks_that_learnt_nothing_answer_nothing():
    run = open_study(SWEEP)
    text = conclusion(run.study, run.pairs.with_columns(dice=pl.lit(0.2)), {})
    assert text == "Nothing to compare: under their own training condition the networks reach a median Dice of 0.20."


def test_a_report_is_one_page_that_needs_nothing_else(tmp_path):
    folder = shutil.copytree(SWEEP, tmp_path / "fine", ignore=shutil.ignore_patterns("*.html"))
    rebuild_report(StudyFolder.open(folder))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<p class="conclusion"><strong>\w+: \d+% of 110 pairs', page)
    # The conclusion comes before the findings, and no picture, script or style is fetched.
    assert page.index('class="conclusion"') < page.index('id="findings"')
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "@import" not in page
    assert not re.search(r"<td>[^<]*(?<![\w.])-\d", page)


def test_text_in_pages_is_escaped():
    page = pages.page("<b>", pages.table([["<i>", "&"]]) + pages.picture(b"", '"><script>'))
    assert "<b>" not in page and "<i>" not in page and "<script>" not in page and "&amp;" in page
    assert pages.table([]) == ""
