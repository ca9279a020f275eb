import os

import pytest

from passband.errors import BadInputError
from passband.executor import Processes, Serial, make_executor


def double(task, progress):
    folder, number = task
    (folder / str(number)).write_text(str(2 * number))
    progress(0.5)
    progress(0.5)


def fail(task, progress):
    raise BadInputError(f"task {task} is bad")


def die(task, progress):
    os._exit(9)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_and_reported(workers, tmp_path):
    executor = make_executor(workers)
    assert isinstance(executor, Serial if workers == 1 else Processes)
    seen = []
    try:
        executor.map(double, [(tmp_path, i) for i in range(5)], seen.append)
        with pytest.raises(BadInputError, match="task 3 is bad"):
            executor.map(fail, [3], seen.append)
    finally:
        executor.close()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {str(i): str(2 * i) for i in range(5)}
    assert sum(seen) == pytest.approx(5)


def test_a_killed_worker_is_one_clear_line():
    executor = Processes(1)
    try:
        with pytest.raises(BadInputError, match="fewer --workers"):
            executor.map(die, [1], lambda share: None)
    finally:
        executor.close()
