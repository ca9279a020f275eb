"""The results from the command line: planned, run, gone on with, and made again from tables."""

import json
import shutil
from contextlib import chdir

import pytest

from passband.studies.study import load_study
from replication.__main__ import replication_app
from replication.pages import EXPERIMENTS, study_names
from support.shell import run_here
from support.studies import SETS

# A quick campaign whole; test_experiments has what its pages say.
pytestmark = pytest.mark.slow


_PLANS = SETS[SETS.index("training_sets:") : SETS.index("split:")]
_OURS = """training_sets:
  uniform: {sizes: [1, 2], draws: 2}
  even: {sizes: [2], draws: 2, method: sobol}
  guided: {sizes: [2], draws: 2, method: guided}
  curriculum: {sizes: [2], draws: 2, method: guided, order: high_epsilon_first}
"""
STUDY = SETS.replace(_PLANS, _OURS).replace("name: small\n", "") + "budgets: {quick: {training: {epochs: 1}}}\n"


def replicate(*words):
    """Run `python -m replication` in this process; returns exit code, stdout and stderr."""
    return run_here(*words, app=replication_app)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "studies").mkdir()
    (folder / "studies/training_sets.yaml").write_text(STUDY)
    words = ("run", "--studies", "studies", "--only", "training_sets", "--workers", 1, "--json")
    with chdir(folder):
        code, out, error = replicate(*words)
    assert code == 0, error
    return folder, words, json.loads(out), error


def test_says_what_it_takes_and_then_what_it_found(ran):
    folder, _, answer, said = ran
    assert "10 networks in all; about 0:0" in said
    assert {c["experiment"] for c in answer["claims"]} == {"training_sets"}
    assert set(answer["missing"]) == {e.name for e in EXPERIMENTS} - {"training_sets"}
    page = (folder / "runs/results-quick/pages/training_sets.md").read_text()
    assert "Quick budget" in page and "| training_sets | 10 | 10 | 60 |" in page
    assert load_study(folder / "runs/results-quick/pages/tables/training_sets/study.yaml").training.epochs == 1


def test_a_second_run_makes_nothing_new(ran, monkeypatch):
    folder, words, answer, _ = ran
    monkeypatch.chdir(folder)
    code, out, error = replicate(*words)
    assert code == 0, error
    assert "networks: 10 of 10 were finished before" in error
    assert json.loads(out)["claims"] == answer["claims"]


def test_pages_from_the_tables_alone(ran, tmp_path, monkeypatch):
    folder, _, answer, _ = ran
    shutil.copytree(folder / "runs/results-quick/pages", tmp_path / "pages")
    page = tmp_path / "pages/training_sets.md"
    before = page.read_bytes()
    page.unlink()
    monkeypatch.chdir(tmp_path)
    code, out, error = replicate("page", "pages", "--json")
    assert code == 0, error
    assert page.read_bytes() == before
    assert json.loads(out)["claims"] == answer["claims"]


@pytest.mark.parametrize(
    "words, message",
    [
        (("run", "--budget", "huge"), "--budget huge: is none of quick, standard, full"),
        (("plan", "--only", "nothing"), "--only nothing: is no study of the results; they are defocus_sweep"),
        (("run", "--studies", "nowhere"), "nowhere/defocus_sweep.yaml: cannot be read"),
        (("page", "."), ".: holds no tables of studies; make them with: python -m replication run"),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = replicate(*words)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize("budget", ["quick", "standard", "full"])
def test_every_committed_study_is_valid_under_every_budget(budget, pytestconfig):
    networks = 0
    for name in study_names():
        stem, _, variant = name.partition("-")
        path = pytestconfig.rootpath / "replication/studies" / f"{stem}.yaml"
        study = load_study(path, budget=budget, variant=variant or None)
        assert study.name == name
        # Guided choices take a second a draw, and are tested elsewhere.
        sets = study.training_sets or {}
        trained = sum(len(s.sizes) * s.draws or 1 for s in sets.values()) or len(study.tests)
        networks += trained * study.seeds
    least, most = {"quick": (200, 300), "standard": (700, 850), "full": (9_000, 15_000)}[budget]
    assert least < networks < most
