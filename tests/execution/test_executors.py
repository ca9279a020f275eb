import os
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from passband.base.errors import BadInputError, JobFailedError
from passband.execution import dask_cluster
from passband.execution.base import TRIES, Serial
from passband.execution.choose import make_executor
from passband.execution.dask_cluster import Dask
from passband.execution.processes import Processes


def double(task, progress):
    folder, number = task
    (folder / str(number)).write_text(str(2 * number))
    progress(0.5)
    progress(0.5)


@contextmanager
def little_memory():
    """100 MB more than this process has."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (has + 10**8, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def mixed(task, progress):
    """Do what the task's name says, and leave a line for each time that it is tried."""
    folder, name = task
    with (folder / name).open("a") as log:
        log.write("x")
    tries = len((folder / name).read_text())
    if name.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("flaky") and tries < 3:
        raise RuntimeError("not yet")
    if name.startswith("hopeless"):
        raise ValueError("no\nway")
    if name.startswith("diverges"):
        raise JobFailedError("the loss is nan")
    if name.startswith("greedy"):
        with little_memory():
            torch.ones(10**9) if name.endswith("torch") else bytes(10**9)
    progress(1.0)


@pytest.fixture(params=["serial", "processes", "dask"])
def executor(request):
    made = make_executor(request.param, 2)
    yield made
    made.close()


def test_every_task_is_done_and_reported(executor, tmp_path):
    seen = []
    assert executor.map(double, [(tmp_path, i) for i in range(7)], seen.append) == []
    deadline = time.monotonic() + 5
    while sum(seen) < 7 and time.monotonic() < deadline:
        executor.map(double, [], seen.append)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {str(i): str(2 * i) for i in range(7)}
    assert sum(seen) <= 7


def bad_or_good(task, progress):
    if task[1]:
        return double(task, progress)
    time.sleep(0.5)
    raise BadInputError(f"task {task[1]} is bad")


def test_what_would_stop_every_task_stops_all_and_the_next_call_is_whole(executor, tmp_path):
    """Tasks that others are still at count for nothing in the next call."""
    with pytest.raises(BadInputError, match="task 0 is bad"):
        executor.map(bad_or_good, [(tmp_path, 0)] * 2, lambda share: None)
    assert executor.map(bad_or_good, [(tmp_path, i) for i in range(1, 4)], lambda share: None) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3"]


# Without Dask by default, whose cluster takes long to notice each death; that it works at all is tested above.
@pytest.mark.parametrize(
    "executor",
    ["serial", pytest.param("processes", marks=pytest.mark.slow), pytest.param("dask", marks=pytest.mark.cluster)],
    indirect=True,
)
def test_a_bad_task_fails_alone_with_its_reason(executor, tmp_path):
    names = [*(f"good{i}" for i in range(8)), "flaky", "hopeless", "diverges", "greedy", "greedy torch"]
    deadly = [] if isinstance(executor, Serial) else ["kill", "segfault"]
    failures = executor.map(mixed, [(tmp_path, name) for name in names + deadly], lambda share: None)
    found = {f.task[1]: (f.reason, f.tries) for f in failures}
    assert found["hopeless"] == ("ValueError: no way", TRIES)
    assert found["diverges"] == ("the loss is nan", 1)
    for name, cause in (("greedy", "MemoryError"), ("greedy torch", "DefaultCPUAllocator: can't allocate memory")):
        assert found[name][1] == TRIES and found[name][0].startswith("too little memory (") and cause in found[name][0]
        assert found[name][0].endswith(": use fewer workers, or a computer with more memory")
    assert set(found) == {"hopeless", "diverges", "greedy", "greedy torch", *deadly}
    tried = {p.name: len(p.read_text()) for p in tmp_path.iterdir()}
    # Dask does a finished task again if the worker that holds its answer dies; cells then find themselves finished.
    assert tried["flaky"] >= 3 and tried["diverges"] >= 1
    if not isinstance(executor, Dask):
        assert tried["flaky"] == 3 and tried["diverges"] == 1
    if isinstance(executor, Processes):
        assert tried["kill"] == tried["segfault"] == TRIES
        assert "signal 9 (SIGKILL), perhaps out of memory: use fewer workers" in found["kill"][0]
        assert "SIGSEGV" in found["segfault"][0]
        # Another's death costs an innocent task nothing.
        assert all(tried[f"good{i}"] == 1 for i in range(8))
    if isinstance(executor, Dask):
        assert "ended the workers" in found["kill"][0]


@pytest.mark.parametrize("executor", ["serial", "processes"], indirect=True)
def test_tasks_that_arrive_one_by_one_are_yielded_as_they_end(executor, tmp_path):
    names = ["good0", "hopeless", None, "good1", *([] if isinstance(executor, Serial) else ["kill"]), None, "good2"]
    asked = []

    def arriving():
        for name in names:
            asked.append(name)
            yield name and (tmp_path, name)

    ended, asked_when_first = {}, None
    for end in executor.stream(mixed, arriving()):
        if end is not None:
            (_, name), failure = end
            ended[name] = failure and failure.tries
            asked_when_first = asked_when_first or list(asked)
    assert ended == {name: TRIES if name in ("hopeless", "kill") else None for name in names if name}
    # Later tasks are not asked for before a worker is free for them.
    assert len(asked_when_first) < len(names)


def _draw(task, progress):
    torch.manual_seed(task)
    torch.rand(1)
    assert torch.get_num_threads() == 1


def test_work_in_this_process_leaves_threads_and_random_numbers_as_they_were():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    try:
        torch.set_num_threads(2)
        assert not Serial().map(_draw, [1, 2], lambda share: None)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_one_worker_is_this_process():
    assert isinstance(make_executor("processes", 1), Serial)


@pytest.mark.parametrize(
    ("kind", "scheduler", "message"),
    [
        ("slurm", None, "executor slurm: is not one of serial, processes, dask"),
        ("processes", "tcp://127.0.0.1:1", "goes with executor dask, not processes"),
        ("dask", "tcp://127.0.0.1:1", "no Dask scheduler answers there within"),
        ("dask", "nonsense", "no Dask scheduler answers there within"),
    ],
)
def test_bad_choices_are_one_clear_line(kind, scheduler, message, monkeypatch):
    monkeypatch.setattr(dask_cluster, "_PATIENCE", 2)
    with pytest.raises(BadInputError, match=message):
        make_executor(kind, 2, scheduler)


def test_workers_that_were_started_early_are_used_and_closed_at_once(tmp_path):
    for module in ("no_such_module", "passband.studies.cross_tests"):
        with make_executor("processes", 2) as executor:
            executor.start(module)
            started = {worker.process.pid for worker in executor._workers}
            assert executor.map(double, [(tmp_path, i) for i in range(3)], print) == []
            used = {worker.process.pid for worker in executor._workers}
            assert (used == started) == (module != "no_such_module")
    with make_executor("processes", 2) as executor:
        executor.start("passband.studies.cross_tests")
        began = time.monotonic()
    # Nobody waits for what they import.
    assert time.monotonic() - began < 2.0
