import pytest

from passband.analysis import fits, forest, judging, resampling, set_comparison
from replication import convergence, networks, structures


@pytest.fixture(scope="module", autouse=True)
def _fewer_drawings():
    """Intervals from 150 drawings and forests of 20 trees: coarser, and in a fraction of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (resampling, judging, convergence, networks, structures):
            patch.setattr(module, "RESAMPLES", 150)
        for module in (fits, set_comparison):
            patch.setattr(module, "_RESAMPLES", 150)
        patch.setattr(forest, "_TREES", 20)
        yield
