"""How many networks a worker trains together: planned from the GPU's free memory, refused before the work where they do not fit."""

import pytest

from passband.base.errors import BadInputError
from passband.report import study_run
from passband.studies.jobs import GROUP, fleet_bytes, fleet_that_fits
from support.studies import study

GB = 1_000_000_000


@pytest.fixture
def small(tmp_path):
    return study(tmp_path)


def test_more_memory_holds_more_networks(small):
    fits = [fleet_that_fits(small, None, free, 1) for free in (2 * GB, 80 * GB)]
    assert fits[1] == GROUP
    for free, count in zip((2 * GB, 80 * GB), fits, strict=True):
        assert fleet_bytes(small, count) <= 0.8 * free
    one, two, three = (fleet_bytes(small, count) for count in (1, 2, 3))
    assert two - one == three - two > 0


def test_workers_share_a_gpu(small):
    free = int(4 * fleet_bytes(small, 5) / 0.8) + 8
    assert fleet_that_fits(small, None, free, 4) == 5
    assert fleet_that_fits(small, 5, free, 4) == 5


def test_a_fleet_that_does_not_fit_is_refused_with_what_does(small):
    free = int(fleet_bytes(small, 5) / 0.8) + 8
    with pytest.raises(
        BadInputError, match=r"^group 6: takes 1\.0 GB .* in each of 1 workers.*; choose at most 5$"
    ) as found:
        fleet_that_fits(small, 6, free, 1)
    assert (found.value.value, found.value.limit, found.value.parameters) == (6, 5, ("group",))
    with pytest.raises(BadInputError, match="use fewer workers"):
        fleet_that_fits(small, 1, free, 1000)
    # Nothing given: networks one by one are tried.
    assert fleet_that_fits(small, None, free, 1000) == 1


def test_without_a_gpu_nothing_is_planned(small):
    assert [fleet_that_fits(small, given, None, 2) for given in (None, 40)] == [1, 40]


def test_a_study_is_refused_before_any_work(small, tmp_path, monkeypatch):
    monkeypatch.setattr(study_run, "free_memory", lambda: GB)
    with pytest.raises(BadInputError, match="choose at most|use fewer"):
        study_run.run_study(small, tmp_path / "runs/small", workers=1, group=64)
    assert not (tmp_path / "runs").exists()
