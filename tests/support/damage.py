"""Damage to the files of a study: bits that flip, files that are cut."""

import re
from pathlib import Path


def kinds(runs: Path) -> dict[str, list[Path]]:
    """Every file below a folder of runs, by kind: names that differ only in hashes and numbers are one kind."""
    files = sorted(p for p in runs.rglob("*") if p.is_file() and p.name != ".lock")
    result: dict[str, list[Path]] = {}
    for file in files:
        name = str(file.relative_to(runs))
        result.setdefault(re.sub(r"\b[0-9a-f]{12,16}\b|\b\d+\b", "#", name), []).append(file)
    return result


def flip(file: Path, moments) -> tuple[int, bytes]:
    """Flip a random bit of a file; return its place, and the content as it was."""
    data = file.read_bytes()
    bit = moments.randrange(8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)
    return bit, data


def flips(file: Path, count: int):
    """Yield as often as told with another bit of a file flipped, from all over it; it is whole again in the end."""
    whole = file.read_bytes()
    for number in range(count):
        bit = (8 * len(whole) - 1) * number // count
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        yield bit
    file.write_bytes(whole)
