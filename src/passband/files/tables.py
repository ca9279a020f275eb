"""Tables as Parquet, written atomically."""

from io import BytesIO
from pathlib import Path

import polars as pl

from passband.files.atomic import write_file


def parquet(table: pl.DataFrame) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    # Polars would report a full disk like any other fault.
    buffer = BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a Parquet file in one step; raises as `atomic.disk_errors` does."""
    write_file(path, lambda temporary: temporary.write_bytes(parquet(table)))
