"""Cells: folders that hold one unit of finished work, with a marker written last."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from passband.files.atomic import disk_errors, sync, temporary_beside, write_json

_MARKER = "done.json"


@contextmanager
def writing(cell: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well it becomes the cell, marked as finished.

    Args:
        cell: the cell's folder.
        facts: what to note in the marker, such as the seconds it took; may be filled inside the block.

    Raises:
        BadInputError: if the disk is full or the folder cannot be written.
    """
    temporary = temporary_beside(cell)
    with disk_errors(cell):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            files = sorted(p for p in temporary.iterdir() if p.is_file())
            for path in files:
                sync(path)
            write_json(temporary / _MARKER, {"files": {p.name: _digest(p) for p in files}, **facts})
            if not is_finished(cell):
                shutil.rmtree(cell, ignore_errors=True)
                try:
                    temporary.replace(cell)
                except OSError:
                    # A worker that outlived its driver may have been faster.
                    if not is_finished(cell):
                        raise
            sync(cell.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def marker(cell: Path) -> dict[str, Any] | None:
    """Return the marker of a cell whose every file is as it was written, else None."""
    content = peek(cell)
    if content is None:
        return None
    try:
        whole = all(_digest(cell / name) == digest for name, digest in content["files"].items())
    except (OSError, KeyError, AttributeError):
        return None
    return content if whole else None


def peek(cell: Path) -> dict[str, Any] | None:
    """Return the marker of a cell without looking whether its files are whole, or None."""
    try:
        content = json.loads((cell / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def is_finished(cell: Path) -> bool:
    """Tell whether a cell is finished and undamaged; if not it is to be made again."""
    return marker(cell) is not None


def discard(cell: Path) -> None:
    """Delete a cell, the marker first, so that a kill in between leaves no cell that looks finished."""
    (cell / _MARKER).unlink(missing_ok=True)
    shutil.rmtree(cell, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
