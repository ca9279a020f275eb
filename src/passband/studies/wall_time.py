"""Wall time from core time, and how a run compares with its plan."""

from typing import Any

from passband.studies.jobs import WAVE_BLOCK
from passband.studies.study import Study

# Seconds that a worker needs to start, and that tables, fits and report take beside a share for each pair of conditions.
_START, _REPORT, _REPORT_PAIR = 6.0, 15.0, 2e-3


def wall_seconds(core: dict[str, float], todo: dict[str, int], study: Study, workers: int) -> float:
    """Return the wall time [s]: each stage waits for the last of its tasks, and none is shared between workers."""
    total = _REPORT + _REPORT_PAIR * len(study.trainings) * len(study.tests())
    if any(todo.values()):
        total += _START
    tasks = {
        "waves": -(-todo["waves"] // WAVE_BLOCK),
        "train": todo["train"],
        "images": todo["images"],
        "tests": todo["tests"],
    }
    for stage, work in core.items():
        if tasks[stage]:
            rounds = -(-tasks[stage] // max(workers, 1))
            total += work / tasks[stage] * rounds
    return total


def clock(seconds: float) -> str:
    """Return h:mm:ss."""
    return f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02}:{int(seconds) % 60:02}"


def verdict(
    planned: dict[str, Any] | None, study: Study, todo: dict[str, int], workers: int, took: float
) -> str | None:
    """Return a line that compares a run with its plan, or None if the plan was of something else.

    Args:
        planned: from `estimate`, as `study plan` left it.
        study: what ran.
        todo: what there was to do when the run began.
        workers: that it had.
        took: wall time [s].
    """
    if planned is None or planned.get("id") != study.id:
        return None
    if todo != {stage: n["total"] - n["done"] for stage, n in planned["cells"].items()}:
        return None
    expected = wall_seconds(planned["core_seconds"], todo, study, workers)
    ratio = took / expected
    line = f"took {clock(took)}, and {clock(expected)} were planned"
    if 0.5 <= ratio <= 2:
        return line
    return f"warning: {line}, {'more' if ratio > 2 else 'less'} by a factor of {max(ratio, 1 / ratio):.1f}; plan again on a machine that is as busy as this one"
