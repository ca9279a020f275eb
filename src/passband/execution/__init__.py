"""Execution: map a function over tasks in this process, over processes, or over a Dask cluster."""
