import pytest

from passband.analysis import judging, resampling
from replication import convergence, networks, structures


@pytest.fixture(autouse=True)
def _fewer_drawings(monkeypatch):
    """Intervals from 150 drawings: coarser, and in a third of the time."""
    for module in (resampling, judging, convergence, networks, structures):
        monkeypatch.setattr(module, "RESAMPLES", 150)
