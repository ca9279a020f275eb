"""The page on what each job takes: times that are computed follow from rates by known arithmetic, and what is missing is said."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def takes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import what_it_takes

    yield what_it_takes
    sys.modules.pop("what_it_takes")


RATES = {
    "training, one core": {"ours": 200.0},
    "a test with scores of particles, 128² pixels, one core": {"ours": 500.0},
    "exit waves, 256², 22 slices of 2 Å, 8 phonons": {"ours": 5.0},
    "4 Dask workers in 4 processes": {"ours": 60.0, "ratio": 0.8},
}


def test_core_seconds_of_a_study(takes):
    work = takes.Work(networks=10, conditions=20, training_images=4000, test_images=50, specimens=200)
    # 10 × 4000 / 200 of training, 10 × 20 × 50 / 500 of tests, and 200 × 2 waves at 5 × 8 a second on both cores, 20 on one.
    assert takes.Cores(RATES).seconds(work) == pytest.approx(200 + 20 + 20)
    assert takes.Cores(RATES).share == 0.8


@pytest.mark.parametrize("absent", list(RATES)[:3])
def test_what_was_not_measured_is_not_made_up(takes, absent):
    rates = {name: row for name, row in RATES.items() if name != absent}
    assert takes.Cores(rates).seconds(takes.Work(1, 1, 1, 1, 1)) is None
    assert takes.seconds(None) == "not measured"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.64, "0.6 s"), (11.4, "11 s"), (119, "119 s"), (150, "2.5 min"), (7300, "2.0 h"), (86400 * 19.1, "19 days")],
)
def test_times_are_written_in_their_unit(takes, value, text):
    assert takes.seconds(value) == text
    assert takes.seconds(value, "≈ ") == f"≈ {text}"


def test_a_session_on_a_gpu_gives_the_rates(takes):
    rows = {
        "GPU: a study (gpu_defocus), training": {"ours": 40_000.0, "note": "500 networks in 200 s; more"},
        "GPU: a study (gpu_defocus), tests": {"ours": 10_000.0, "note": ""},
    }
    work = takes.Work(networks=100, conditions=10, training_images=4000, test_images=50, specimens=200)
    assert takes.Gpu(rows).seconds(work) == pytest.approx(10 + 5)
    assert takes.Gpu(rows).source.endswith("500 networks in 200 s")
    assert takes.Gpu({}).seconds(work) > 0


def test_the_page_is_made_of_what_is_stored(takes):
    text = takes.page()
    fleet = takes.first(takes.gpu_rows(), "GPU: fleets")
    assert f"{fleet['ours']:,.0f} images a second" in text
    assert takes.seconds(takes.first(takes.rows(takes.CPU), "demo study")["ours"]) in text
