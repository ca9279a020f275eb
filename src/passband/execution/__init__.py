"""Execution: map a function over tasks in this process, over processes, or over a Dask cluster."""

from passband.execution.base import Executor, Failure, Progress, Serial, StageProgress
from passband.execution.choose import KINDS, make_executor, open_executor

__all__ = ["KINDS", "Executor", "Failure", "Progress", "Serial", "StageProgress", "make_executor", "open_executor"]
