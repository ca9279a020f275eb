import pytest

from passband.analysis import forest, judging, resampling
from replication import convergence, networks, structures


@pytest.fixture(autouse=True)
def _fewer_drawings(monkeypatch):
    """Intervals from 150 drawings and forests of 20 trees: coarser, and in a fraction of the time."""
    for module in (resampling, judging, convergence, networks, structures):
        monkeypatch.setattr(module, "RESAMPLES", 150)
    monkeypatch.setattr(forest, "_TREES", 20)
