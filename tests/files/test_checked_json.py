"""JSON objects with a checksum: any changed bit is noticed, and what an older version wrote is still read."""

import json

import pytest

from passband.files.atomic import as_read_back, read_checked, write_checked

CONTENT = {"name": "é", "revision": 2, "digests": ("ab", None), "share": 0.1}


def test_what_is_written_is_read(tmp_path):
    write_checked(tmp_path / "a.json", CONTENT)
    assert read_checked(tmp_path / "a.json", set()) == as_read_back(CONTENT) == CONTENT | {"digests": ["ab", None]}
    with pytest.raises(ValueError, match="NaN|nan|JSON"):
        write_checked(tmp_path / "a.json", {"share": float("nan")})
    assert read_checked(tmp_path / "a.json", set()) is not None


def test_no_flipped_bit_changes_what_is_read(tmp_path):
    file = tmp_path / "a.json"
    write_checked(file, CONTENT)
    whole, damaged = file.read_bytes(), 0
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        # A flip in white space is none in the content.
        content = read_checked(file, set(CONTENT))
        assert content in (None, as_read_back(CONTENT)), place
        damaged += content is None
    assert damaged > 0.8 * 8 * len(whole)


def test_without_a_checksum_only_the_keys_of_an_older_version_are_taken(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"revision": 2}))
    assert read_checked(file, {"revision", "digest"}) == {"revision": 2}
    assert read_checked(file, {"digest"}) is None
    for text in ("[]", "{", "", '"text"'):
        file.write_text(text)
        assert read_checked(file, {"revision"}) is None
    assert read_checked(tmp_path / "none.json", set()) is None
