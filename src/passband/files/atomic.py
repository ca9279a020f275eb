"""Files that are either whole or absent (temporary file in the same folder, fsync, rename), and JSON with a checksum of its own."""

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
from passband.base.identity import content_id

_TEMPORARY = ".tmp"
# What `temporary_beside` names.
_OWN_TEMPORARY = re.compile(rf"\..+\.[0-9a-f]{{12}}{re.escape(_TEMPORARY)}(\.\w+)?")
_CHECKSUM = "checksum"
# Every result names its program near its beginning or end: in a comment, a title, metadata or the directory of an archive.
_MARK, _REACH = b"passband", 8192
# How NumPy, HDF5, Polars and the system itself report a full disk where they set no error number.
_FULL = re.compile(r"\d+ requested and \d+ written|No space left|Disk quota exceeded|errno = 28\b|os error 28\b")


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden write into a BadInputError that names the place, what is free and what to do."""
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
    """Let `write` fill a temporary file, then put it in place of `path` in one step; raises as `disk_errors` does."""
    write_files({path: write})


def write_files(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write several files as `write_file` does, by path what fills each; if one cannot be written, none is."""
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


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None if it is absent or damaged; PermissionError if it is another user's own."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise  # It may be whole; only its owner may know.
    except (OSError, ValueError, RecursionError):
        return None


def has(content: Any, kinds: Mapping[str, type]) -> bool:
    """Tell whether content is a JSON object with values of these types under these keys, whatever else it has."""
    return isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in kinds.items())


def as_read_back(content: Any) -> Any:
    """Return content as JSON reads it back: tuples are lists, keys are text; NaN is refused."""
    return json.loads(json.dumps(content, allow_nan=False))


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object and its checksum atomically; NaN is refused."""
    content = as_read_back(content)
    write_json(path, content | {_CHECKSUM: content_id(content, 32)})


def read_checked(path: Path, former: set[str]) -> dict[str, Any] | None:
    """Return a JSON object without its checksum, or None if it is absent or not as it was written.

    An object of an older version, which has no checksum, may have the `former` keys; any other is damage.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        return None
    checksum = content.pop(_CHECKSUM, None)
    whole = content.keys() <= former if checksum is None else checksum == content_id(content, 32)
    return content if whole else None


def sync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(*folders: Path, shared: bool = False) -> None:
    """Delete the temporary files and folders that killed runs left in these folders; nobody may be writing there.

    In a folder that is shared with other programs, which have hidden files of their own, only what `temporary_beside` names.
    """
    for folder in folders:
        for leftover in folder.glob(f".*{_TEMPORARY}*"):
            if shared and not _OWN_TEMPORARY.fullmatch(leftover.name):
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file, which the system releases when the process ends; BlockingIOError if another holds it and `wait` is False."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def require_space(place: Path, needed: int) -> None:
    """Raise BadInputError if fewer than `needed` bytes are free where `place` will lie."""
    free = shutil.disk_usage(existing(place)).free
    if free < needed:
        raise BadInputError(
            f"{place}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; free some space or choose a folder on another disk"
        )


def existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return path if path.exists() else existing(path.absolute().parent)


def require_replaceable(path: Path) -> None:
    """Raise BadInputError if a file that a user names for a result was not written by passband, or its folder is a file."""
    if (parent := next(p for p in path.absolute().parents if p.exists())).is_file():
        raise BadInputError(f"{parent.name} is a file, not a folder", value=path, remedy="choose another", place=path)
    if path.is_dir():
        raise BadInputError("is a folder", value=path, remedy="give the name of a file", place=path)
    if not path.exists():
        return
    with path.open("rb") as file:
        content = file.read(_REACH)
        file.seek(max(file.seek(0, 2) - _REACH, 0))
        content += file.read()
    if _MARK not in content:
        what, remedy = "exists and was not written by passband", "choose another name, or delete it first"
        raise BadInputError(what, value=path, remedy=remedy, place=path)
