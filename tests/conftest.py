import fcntl
import os
from contextlib import contextmanager

import pytest
import torch

from passband.conditions import Condition
from passband.models.store import read_model
from support import made
from support.shell import run_here
from support.studies import run, study


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch):
    """Results are compared to the last digits, which bfloat16 would change on processors with AMX."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run the command line in this process, in the test's folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return run_here


@contextmanager
def once(tmp_path_factory, name):
    """Yield a folder that all processes of a run share, one process at a time, and whether it is finished; it is afterwards."""
    root = tmp_path_factory.getbasetemp()
    # The processes of pytest-xdist have their folders in one.
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, (folder / "finished").exists()
        (folder / "finished").touch()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """TINY and its folder, with tables and without report: trained once for all tests, also of other processes. Copy it to change it."""
    with once(tmp_path_factory, "tiny") as (folder, finished):
        config = study(folder)
        if not finished:
            run(config, folder / "runs/small")
    return config, folder / "runs/small"


@pytest.fixture(scope="session")
def scored_model(tmp_path_factory):
    """A model whose loss follows a known law, scored; not to be changed."""
    with once(tmp_path_factory, "scored") as (folder, finished):
        return read_model(folder / "made") if finished else made.scored_model(folder / "made")


@pytest.fixture
def twisted() -> Condition:
    """A condition with every aberration, both envelopes and no symmetry."""
    return Condition(
        energy_ev=200e3,
        aberrations={
            "C10": -70.0, "C12": 40.0, "phi12": 0.4, "C21": 700.0, "phi21": -1.1, "C23": 500.0, "phi23": 2.0,
            "C30": 3e4, "C32": 2e4, "phi32": 0.9, "C34": 1e4, "phi34": -0.3, "C41": 3e5, "phi41": 1.0, "C43": 2e5, "phi43": 0.2,
            "C45": 2e5, "phi45": 0.7, "C50": 4e6, "C52": 3e6, "phi52": -0.8, "C54": 2e6, "phi54": 0.5, "C56": 1e6, "phi56": 0.1,
        },
        focal_spread_angstrom=25.0,
        convergence_mrad=0.2,
    )  # fmt: skip
