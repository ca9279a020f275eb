import pytest

from passband.analysis import fits, set_comparison
from replication import convergence, forest, judging, networks, resampling, structures


@pytest.fixture(scope="module", autouse=True)
def _fewer_drawings():
    """Intervals from 150 drawings and forests of 20 trees: coarser, and in a fraction of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (resampling, judging, convergence, networks, structures, set_comparison):
            patch.setattr(module, "RESAMPLES", 150)
        patch.setattr(fits, "_RESAMPLES", 150)
        patch.setattr(forest, "_TREES", 20)
        yield
