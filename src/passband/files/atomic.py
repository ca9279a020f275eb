"""Files that are either whole or absent: temporary file in the same folder, fsync, rename."""

import errno
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from passband.base.errors import BadInputError

_TEMPORARY = ".tmp"
# How NumPy, HDF5, Polars and the system itself report a full disk where they set no error number.
_FULL = re.compile(r"\d+ requested and \d+ written|No space left|Disk quota exceeded|errno = 28\b|os error 28\b")


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden write into one clear line.

    Raises:
        BadInputError: naming the place, what is free and what to do.
    """
    try:
        yield
    except BadInputError:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or _FULL.search(str(error)):
            free = shutil.disk_usage(existing(place)).free
            raise BadInputError(
                f"{place}: the disk is full ({free / 1e6:.0f} MB free); free some space and run the same command again, finished work is kept"
            ) from None
        if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise BadInputError(f"{place}: cannot be written: {os.strerror(number)}; choose another place") from None
        raise


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then put it in place of `path` in one step.

    Raises:
        BadInputError: if the disk is full or the folder cannot be written.
    """
    write_files({path: write})


def write_files(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write several files as `write_file` does; if one cannot be written, none is.

    Args:
        writers: by the file's path, what fills a temporary file.

    Raises:
        BadInputError: naming the file, if the disk is full or the folder cannot be written.
    """
    temporaries = {path: temporary_beside(path, path.suffix) for path in writers}
    try:
        for path, temporary in temporaries.items():
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                writers[path](temporary)
                sync(temporary)
        for path, temporary in temporaries.items():
            with disk_errors(path):
                temporary.replace(path)
                sync(path.parent)
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):
                temporary.unlink()


def temporary_beside(path: Path, suffix: str = "") -> Path:
    """Return a name in the same folder that nobody else uses, on whatever host; `remove_leftovers` knows it."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{_TEMPORARY}{suffix}")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically; NaN is refused."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return the text of a JSON file."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def sync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Delete the temporary files and folders that killed runs left in these folders; nobody may be writing there."""
    for folder in folders:
        for leftover in folder.glob(f".*{_TEMPORARY}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process ends, however it ends.

    Args:
        path: the lock file.
        wait: wait for another holder, or raise.

    Raises:
        BlockingIOError: if another process holds it and `wait` is False.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def require_space(place: Path, needed: int) -> None:
    """Check the free space before work starts.

    Raises:
        BadInputError: if fewer than `needed` bytes are free where `place` will lie.
    """
    free = shutil.disk_usage(existing(place)).free
    if free < needed:
        raise BadInputError(
            f"{place}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; free some space or choose a folder on another disk"
        )


def existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return path if path.exists() else existing(path.absolute().parent)
