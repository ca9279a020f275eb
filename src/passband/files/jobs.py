"""Jobs: units of work that are whole or absent; a finished one is skipped.

A job's result lies in a folder named after its kind and the hash of all that decides the result, with a marker written last.
Exit waves are the exception: a wave set grows specimen by specimen in one Zarr group (`simulation/wave_store.py`).
"""

import functools
import hashlib
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.files.atomic import (
    disk_errors,
    read_checked,
    read_json,
    sync,
    temporary_beside,
    write_checked,
    write_json,
)

_MARKER = "done.json"
# Nanoseconds within which two changes of a file may get the same time.
_TICK_NS = 100_000_000
# Keys of markers that were written before they had a checksum.
_FORMER_KEYS = {"files", "content", "seconds"}
#: Raise a kind's number when its code changes its results, so that old work is not taken for new.
REVISIONS = {
    "waves": 3,
    "train": 2,
    "images": 3,
    "evaluate": 2,
    "score": 7,
    "labels": 2,
    "mixed": 2,
    "tune": 1,
    "session": 2,
    "targets": 1,
    "task_score": 2,
    "drift": 2,
    "group": 2,
    "curvature": 1,
}


class Job(ABC):
    """One unit of work, which an executor gets through `run_job`."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What is made, in words, for a message."""

    @abstractmethod
    def is_finished(self) -> bool:
        """Tell whether the result is there and undamaged."""

    @abstractmethod
    def run(self, progress: Callable[[float], None]) -> None:
        """Make the result, calling `progress` with the units that are done; does nothing if the job is finished.

        Raises:
            JobFailedError: if to try again would be in vain.
        """


class FolderJob(Job):
    """A job whose result is one folder."""

    #: First part of the folder's name, and the key of `REVISIONS`.
    kind: ClassVar[str]

    @property
    @abstractmethod
    def home(self) -> Path:
        """The folder that holds the jobs' folders."""

    @property
    @abstractmethod
    def content(self) -> dict[str, Any]:
        """All that decides the result, JSON-like."""

    @property
    def units(self) -> float:
        """Units of progress of the whole job."""
        return 1.0

    @abstractmethod
    def make(self, folder: Path, progress: Callable[[float], None]) -> None:
        """Write the result's files into a temporary folder."""

    @functools.cached_property
    def folder(self) -> Path:
        """Where the result lies."""
        return self.home / f"{self.kind}-{content_id(self.content, 16)}"

    def is_finished(self) -> bool:
        """Tell whether the result is there and undamaged."""
        return is_finished(self.folder)

    def run(self, progress: Callable[[float], None]) -> None:
        """Make the result and mark it finished; does nothing if it is."""
        if self.is_finished():
            progress(self.units)
            return
        facts: dict[str, Any] = {"content": self.content}
        with writing(self.folder, facts) as folder:
            began = time.perf_counter()
            self.make(folder, progress)
            facts["seconds"] = time.perf_counter() - began


def run_job(job: Job, progress: Callable[[float], None]) -> None:
    """Run a job; a function that an executor can pickle."""
    job.run(progress)


@contextmanager
def writing(folder: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well it becomes the folder, marked as finished.

    The marker notes the facts, such as the seconds it took, which may be filled inside the block. Raises as `disk_errors` does.
    """
    temporary = temporary_beside(folder)
    with disk_errors(folder):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            files = sorted(p for p in temporary.iterdir() if p.is_file())
            for path in files:
                sync(path)
            write_checked(temporary / _MARKER, {"files": {p.name: _digest(p) for p in files}, **facts})
            if not is_finished(folder):
                shutil.rmtree(folder, ignore_errors=True)
                try:
                    temporary.replace(folder)
                except OSError:
                    # A worker that outlived its driver may have been faster.
                    if not is_finished(folder):
                        raise
            sync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def marker(folder: Path) -> dict[str, Any] | None:
    """Return the marker of a folder if it and every file are as they were written, else None."""
    content = peek(folder)
    try:
        whole = content is not None and all(_digest(folder / n) == digest for n, digest in content["files"].items())
    except PermissionError:
        raise
    except OSError:
        return None
    return content if whole else None


def peek(folder: Path) -> dict[str, Any] | None:
    """Return the marker of a folder without checking its files; None if it is absent, damaged or of another folder."""
    content = read_checked(folder / _MARKER, _FORMER_KEYS)
    if content is None or not isinstance(content.get("files"), dict) or not content["files"]:
        return None
    # A folder's name ends in the hash of what decides its result: that protects markers without a checksum, too.
    if "content" in content and not folder.name.endswith(f"-{content_id(content['content'], 16)}"):
        return None
    return content


def is_finished(folder: Path) -> bool:
    """Tell whether a folder is finished and undamaged."""
    return marker(folder) is not None


class CheckedFiles:
    """Groups of files whose checksums were verified; a group is verified again only when one of its files has changed.

    Whether a file has changed is seen from its size and its time of change, which whoever writes cannot choose: a hash of these is
    kept for each group. Without what was kept, or in a copy of the files, everything is read once more.
    """

    def __init__(self, path: Path):
        """Take the file that keeps what was verified; it may be absent."""
        self._path = path
        known = read_json(path)
        self._known: dict[str, str] = known if isinstance(known, dict) else {}
        self._new = False

    def knows(self, name: str, times: str | None) -> bool:
        """Tell whether a group was verified as it is now; `times` are from `times_of`."""
        return times is not None and self._known.get(name) == times

    def note(self, name: str, times: str | None, files: Iterable[str]) -> None:
        """Keep that a group is sound, if its files are as they were before they were read."""
        # A file may change again within a tick of the clock.
        if times is not None and times == times_of(files, before=time.time_ns() - _TICK_NS):
            self._known[name], self._new = times, True

    def save(self) -> None:
        """Write what was verified, if that is anything new; a place that cannot be written stays as it is."""
        if self._new:
            with suppress(OSError, BadInputError):
                write_json(self._path, self._known)
            self._new = False


def times_of(files: Iterable[str], before: int | None = None) -> str | None:
    """Return sizes and times of change of files, hashed; None if one is absent, or changed after a time [ns]."""
    digest, latest = hashlib.blake2b(digest_size=16), 0
    try:
        for name in files:
            stat = os.stat(name)  # noqa: PTH116 (a study may have 50,000 files)
            latest = max(latest, stat.st_ctime_ns)
            digest.update(b"%d %d " % (stat.st_size, stat.st_ctime_ns))
    except PermissionError:
        raise
    except OSError:
        return None
    return None if before is not None and latest > before else digest.hexdigest()


class CheckedFolders:
    """The jobs' folders of one place; what `CheckedFiles` knows of them is kept beside that place."""

    def __init__(self, home: Path):
        """Take the folder that holds the jobs' folders, which may be absent."""
        self._checked = CheckedFiles(home.with_name(f".{home.name}.json"))
        self._read: dict[str, tuple[str, dict[str, Any]]] = {}

    def marker(self, folder: Path) -> dict[str, Any] | None:
        """Return the marker of a folder if it and every file are as they were written, else None."""
        times, content = self._read.get(folder.name, (None, None))
        if content is not None and times == times_of(_files(folder, content)):
            return content
        content = peek(folder)
        if content is None:
            return None
        files = _files(folder, content)
        times = times_of(files)
        if times is None:
            return None
        if not self._checked.knows(folder.name, times):
            if marker(folder) is None:
                return None
            self._checked.note(folder.name, times, files)
        if self._checked.knows(folder.name, times):
            self._read[folder.name] = times, content
        return content

    def save(self) -> None:
        """Keep what was verified."""
        self._checked.save()


def _files(folder: Path, content: dict[str, Any]) -> list[str]:
    return [f"{folder}/{name}" for name in (_MARKER, *sorted(content["files"]))]


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
