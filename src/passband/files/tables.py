"""Tables as Parquet, written atomically, and read only if they fit in memory."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from passband.files.atomic import write_file

# Bytes that a column of a table may take when it is decoded.
_MOST_BYTES = 500_000_000
_WIDEST_VALUE = 8
_STRUCT = 12  # in Thrift's compact protocol


def parquet(table: pl.DataFrame) -> bytes:
    """Return a table as the bytes of a Parquet file."""
    # Polars would report a full disk like any other fault.
    buffer = BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write a Parquet file in one step; raises as `atomic.disk_errors` does."""
    write_file(path, lambda temporary: temporary.write_bytes(parquet(table)))


def read_table(path: Path) -> pl.DataFrame:
    """Return a table that others may have written.

    Raises:
        PolarsError: if it is no table, or its pages claim more than could be decoded: a few bytes can stand for gigabytes.
    """
    content = path.read_bytes()
    try:
        most = max((sum(pages) for pages in _pages(content)), default=0)
    except (IndexError, KeyError, RecursionError, TypeError, ValueError):
        raise pl.exceptions.ComputeError("its pages cannot be listed") from None
    if most > _MOST_BYTES:
        what = f"a column takes {most / 1e9:.1f} GB in memory, more than {_MOST_BYTES / 1e9:.1f} GB"
        raise pl.exceptions.ComputeError(what)
    return pl.read_parquet(BytesIO(content))


def _pages(content: bytes) -> Iterator[list[int]]:
    """Yield for each column of each row group the bytes that its pages claim, decoded.

    Source: github.com/apache/parquet-format, parquet.thrift. Pages are decoded by their own numbers, whatever the footer claims.
    """
    end = len(content) - 8
    footer, _ = _thrift(content, end - int.from_bytes(content[end : end + 4], "little"), _STRUCT)
    for column in (column[3] for group in footer[4] for column in group[1]):
        at, claimed = min(column[9], column.get(11) or column[9]), []
        stop = at + column[7]
        while at < stop:
            page, at = _thrift(content, at, _STRUCT)
            if page[3] < 0:
                raise ValueError(page[3])
            at += page[3]
            values = max((page[kind][1] for kind in (5, 7, 8) if kind in page), default=0)
            claimed.append(max(page[2], _WIDEST_VALUE * values))
        yield claimed


def _thrift(content: bytes, at: int, kind: int) -> tuple[Any, int]:
    """Return a value in Thrift's compact protocol, structures as dictionaries by field number, and where it ends."""
    if not 0 <= at < len(content):
        raise IndexError
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return content[at], at + 1
    if kind in (4, 5, 6):
        number, at = _varint(content, at)
        return (number >> 1) ^ -(number & 1), at
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _varint(content, at)
        return None, at + size
    if kind in (9, 10):
        head, at = content[at], at + 1
        size, at = (head >> 4, at) if head < 0xF0 else _varint(content, at)
        values = []
        for _ in range(size):
            value, at = _thrift(content, at, max(head & 15, 3))
            values.append(value)
        return values, at
    if kind != _STRUCT:
        raise ValueError(kind)
    fields, number = {}, 0
    while head := content[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _thrift(content, at, 4)
        fields[number], at = _thrift(content, at, head & 15)
    return fields, at + 1


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while content[at] > 127:
        number |= (content[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return number | content[at] << shift, at + 1
