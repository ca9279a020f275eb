"""Dask clusters: workers that join late, die, are told to leave, have a GPU, or cannot do the work."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
from distributed import Client

from passband.base.errors import BadInputError
from passband.execution import dask_cluster
from passband.execution.base import Serial
from passband.execution.dask_cluster import Dask
from support.studies import TINY, ended, group, passband, study, tables, traces, wait_for
from support.studies import run as run_here

pytestmark = pytest.mark.cluster

# Networks that take about two seconds each, so that workers can come and go meanwhile.
SLOWER = (("epochs: 2", "epochs: 80"), ("seeds: 1", "seeds: 4"))


@contextmanager
def program(*words, cwd, path=None):
    """A process in its own group, killed with all its children at the end."""
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    with (cwd / "dask.log").open("a") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", *map(str, words)], cwd=cwd, env=env, stdout=log, stderr=log, start_new_session=True
        )
    with ended(started):
        yield started


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@contextmanager
def scheduling(place):
    """A scheduler, which gives up a worker after five silent seconds: its process and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "5s")
        with program("distributed.cli.dask_scheduler", *words, cwd=place) as started:
            wait_for(lambda: listens(port))
            yield started, f"tcp://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def scheduler(place):
    with scheduling(place) as (_, address):
        yield address


def listens(port):
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def worker(scheduler, place, *words, path=None):
    with Client(scheduler, set_as_default=False) as client:
        before = set(client.scheduler_info(n_workers=-1)["workers"])
        command = ("distributed.cli.dask_worker", scheduler, "--nthreads", "1", "--no-dashboard", *words)
        with program(*command, cwd=place, path=path) as started:
            wait_for(lambda: set(client.scheduler_info(n_workers=-1)["workers"]) - before)
            yield started
        wait_for(lambda: not set(client.scheduler_info(n_workers=-1)["workers"]) - before)


def command(scheduler):
    return ("study", "run", "small.yaml", "--executor", "dask", "--scheduler", scheduler)


@contextmanager
def driver(folder, scheduler):
    with subprocess.Popen(
        [sys.executable, "-m", "passband.cli", *command(scheduler)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as started:  # fmt: skip
        try:
            yield started
        finally:
            started.kill()


def another_passband(folder, source):
    """Write a package that is imported for passband, and return where it lies."""
    (folder / "passband").mkdir(parents=True)
    (folder / "passband/__init__.py").write_text(source)
    return folder


def test_workers_that_cannot_do_the_work_are_refused_before_it_begins(scheduler, place, tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    blind = tmp_path / "blind.py"
    blind.write_text("import os\nos.path.exists = lambda path: False\n")
    cases = [
        ('__version__ = "99.0"\n', (), "runs passband 99.0, and this is"),
        ('raise ImportError("no module named torch")\n', (), "cannot import passband (no module named torch)"),
        (None, ("--preload", str(blind)), "the study must lie on a disk that all workers share"),
    ]
    for i, (source, options, reason) in enumerate(cases):
        path = source and another_passband(tmp_path / str(i), source)
        with worker(scheduler, place, *options, path=path):
            refused = passband(*command(scheduler), cwd=tmp_path)
        assert refused.returncode == 2 and not traces(tmp_path), refused.stderr
        last = refused.stderr.splitlines()[-1]
        assert last.startswith("passband: worker tcp://127.0.0.1:") and reason in last
        assert "Traceback" not in refused.stderr


def test_workers_come_late_die_and_leave(scheduler, place, tmp_path):
    """Nobody at first; then one that is killed, one that is told to leave, one that stays.

    They work in another folder than the driver.
    """
    config = study(tmp_path, *SLOWER)
    with ExitStack() as stack:
        run = stack.enter_context(driver(tmp_path, scheduler))
        wait_for(lambda: (tmp_path / "runs/small/study.yaml").exists())
        time.sleep(1)
        killed = stack.enter_context(worker(scheduler, place))
        wait_for(lambda: traces(tmp_path) > 11)
        told = stack.enter_context(worker(scheduler, place))
        for pid in group(killed.pid):
            os.kill(pid, signal.SIGKILL)
        seen = traces(tmp_path)
        wait_for(lambda: traces(tmp_path) > seen)
        stack.enter_context(worker(scheduler, place))
        told.terminate()
        told.wait(timeout=30)
        _, said = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert f"waiting for workers; they join with: dask worker {scheduler}" in said
    run_here(config, tmp_path / "alone/runs/small", Serial())
    expected, found = tables(tmp_path / "alone"), tables(tmp_path)
    assert all(expected[name].equals(found[name]) for name in expected)


def test_a_worker_that_falls_silent_is_given_up_and_may_come_back(scheduler, place, tmp_path):
    """As behind a network that fails: it is there, and neither works nor answers."""
    config = study(tmp_path, *SLOWER)
    with worker(scheduler, place) as silent, worker(scheduler, place), driver(tmp_path, scheduler) as run:
        wait_for(lambda: traces(tmp_path) > 11, 120)
        stopped = group(silent.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        _, said = run.communicate(timeout=200)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert run.returncode == 0, said
    run_here(config, tmp_path / "alone/runs/small", Serial())
    expected, found = tables(tmp_path / "alone"), tables(tmp_path)
    assert all(expected[name].equals(found[name]) for name in expected)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_scheduler_that_dies_or_falls_silent_is_one_line(place, tmp_path, capfd, monkeypatch, number):
    monkeypatch.setattr(dask_cluster, "_SILENCE", 5)
    with ExitStack() as stack:
        process, address = stack.enter_context(scheduling(place))
        words = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard")
        stack.enter_context(program(*words, cwd=place))
        executor = stack.enter_context(Dask(1, address))
        executor.share(tmp_path)
        done = []

        def work(task, progress):
            time.sleep(1)
            progress(1.0)

        def progress(share):
            if not done:
                os.kill(process.pid, number)
            done.append(share)

        began = time.monotonic()
        with pytest.raises(
            BadInputError, match=f"Dask scheduler {address}: has ended, or does not answer within 5 s; start"
        ):
            executor.map(work, range(200), progress)
        executor.close()
        assert done and time.monotonic() - began < 90
    assert "Traceback" not in capfd.readouterr().err


def test_a_late_worker_of_another_version_is_told_to_leave(scheduler, place, tmp_path, capsys):
    other = another_passband(tmp_path / "other", '__version__ = "99.0"\n')
    executor = Dask(2, scheduler)
    try:
        with worker(scheduler, place):
            executor.share(tmp_path)
            assert executor.workers == 1
            with worker(scheduler, place, path=other) as late:
                assert executor.workers == 1
                said = capsys.readouterr().err
                assert "warning: worker tcp://127.0.0.1:" in said and "runs passband 99.0" in said
                late.wait(timeout=30)
    finally:
        executor.close()


def test_work_goes_where_the_gpu_is(scheduler, place, tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    with (
        worker(scheduler, place, "--name", "with", "--resources", "GPU=1"),
        worker(scheduler, place, "--name", "without"),
        Client(scheduler, set_as_default=False) as client,
    ):
        done = passband(*command(scheduler), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        names = {a: w["name"] for a, w in client.scheduler_info(n_workers=-1)["workers"].items()}
        keys = client.run(lambda dask_worker: {str(entry[0]) for entry in dask_worker.state.log})
    counts = {names[address]: sum("_call" in key for key in own) for address, own in keys.items()}
    assert counts["with"] >= 3 + 3 + 3 and counts["without"] == 0


def test_sigterm_ends_a_dask_run_within_seconds(tmp_path):
    study(tmp_path, ("epochs: 2", "epochs: 3000"))
    run = subprocess.Popen(
        [sys.executable, "-m", "passband.cli", "study", "run", "small.yaml", "--executor", "dask", "--workers", "2"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with ended(run):
        wait_for(lambda: traces(tmp_path) >= 11, 120)
        began = time.monotonic()
        run.terminate()
        _, said = run.communicate(timeout=60)
        assert time.monotonic() - began < 30
        assert run.returncode == 143 and "ended by SIGTERM; run the same command again" in said.splitlines()[-1]
        wait_for(lambda: not group(run.pid), 15)
