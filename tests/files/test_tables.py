from io import BytesIO

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from passband.files import tables


@pytest.mark.parametrize("compression", ["zstd", "uncompressed", "snappy"])
def test_tables_come_back(tmp_path, compression):
    lists = pl.Series([[1.0, 2.0], None, [], [3.0]] * 500)
    table = pl.DataFrame({"a": ["x", "y", None, "z"] * 500, "b": np.arange(2000), "c": lists, "d": [True, None] * 1000})
    table.write_parquet(tmp_path / "a.parquet", compression=compression, row_group_size=700, data_page_size=1000)
    assert_frame_equal(tables.read_table(tmp_path / "a.parquet"), table)


def padded(number, size):
    """A number as the protocol writes it, in as many bytes as another took."""
    number, written = 2 * number, bytearray()
    for i in range(size):
        written.append(number & 127 | 128 * (i < size - 1))
        number >>= 7
    return bytes(written)


@pytest.mark.parametrize("honest", [True, False])
def test_a_list_of_gigabytes_is_refused_before_it_is_decoded(tmp_path, monkeypatch, honest):
    many, buffer = 2_000_000, BytesIO()
    pl.DataFrame({"a": pl.Series([pl.zeros(many, eager=True)])}).write_parquet(buffer)
    content = buffer.getvalue()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    written = padded(many, 4)
    assert content[start:].count(written) == 1 and len(content) < 10_000
    path = tmp_path / "a.parquet"
    path.write_bytes(content if honest else content[:start] + content[start:].replace(written, padded(1, 4)))
    monkeypatch.setattr(tables, "_MOST_BYTES", 20_000_000)
    assert len(tables.read_table(path)["a"][0]) == many
    monkeypatch.setattr(tables, "_MOST_BYTES", 10_000_000)
    monkeypatch.setattr(pl, "read_parquet", None)
    with pytest.raises(pl.exceptions.ComputeError, match=r"a column takes 0\.0 GB in memory, more than 0\.0 GB"):
        tables.read_table(path)


def test_damage_anywhere_in_the_metadata_is_one_fault_and_ends_soon(tmp_path, monkeypatch):
    pl.DataFrame({"a": [1, 2, 3], "b": [[1.0], [2.0], []]}).write_parquet(tmp_path / "a.parquet")
    content, path = (tmp_path / "a.parquet").read_bytes(), tmp_path / "b.parquet"
    # Only the listing of the pages, not what Polars makes of them.
    monkeypatch.setattr(pl, "read_parquet", lambda source: None)
    refused = 0
    for at in range(4, len(content)):
        for flip in (0x55, 0xFF, 0x80):
            path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
            try:
                tables.read_table(path)
            except pl.exceptions.ComputeError:
                refused += 1
    assert refused > 100
