"""Choose where work is done: in this process, over processes, or over a Dask cluster."""

from passband.base.errors import BadInputError, parameter, require
from passband.execution.base import Executor, Serial

KINDS = ("serial", "processes", "dask")


def make_executor(kind: str, workers: int, scheduler: str | None = None) -> Executor:
    """Return an executor: serial, over processes, or dask, over processes here or the workers of a scheduler's address."""
    if kind not in KINDS:
        raise BadInputError(
            f"is not one of {', '.join(KINDS)}", value=kind, limit=KINDS, place=f"{parameter('executor')} {kind}"
        )
    if scheduler is not None and kind != "dask":
        raise BadInputError(
            f"goes with {parameter('executor')} dask, not {kind}",
            value=scheduler,
            place=f"{parameter('scheduler')} {scheduler}",
        )
    if kind == "dask":
        require("cluster", "the executor dask", "distributed")
        from passband.execution.dask_cluster import Dask

        return Dask(workers, scheduler)
    if kind == "serial" or workers == 1:
        return Serial()
    from passband.execution.processes import Processes

    return Processes(workers)
