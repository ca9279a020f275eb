"""A live session: each new micrograph of a folder is worked on once it is complete, and leaves what a run over the folder leaves."""

import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Self

from passband.base.errors import BadInputError, parameter, plain
from passband.execution.base import Executor, Failure
from passband.files.atomic import locked, remove_leftovers, write_files
from passband.files.jobs import run_job
from passband.micrographs import formats
from passband.models.outputs import places
from passband.sessions import contact_sheet, watch_page
from passband.sessions.image_files import ImageFiles
from passband.sessions.image_job import GONE, ImageJob, Settings, digest_of, state_of
from passband.sessions.image_run import (
    COLUMNS,
    ImageRun,
    Shot,
    fault_of,
    gathered,
    result_of,
    shots_of,
    tables,
    write_run,
)
from passband.sessions.watch_folder import WatchedFolder

# Seconds between two looks, at least, and how much longer than a look that is.
_EVERY, _PAUSE = 1.0, 3.0
# Seconds after which the page is written although nothing is new: it tells so whether the watch still runs.
_HEARTBEAT = 30.0
# Shares of the time that may be spent on tables with page, and on the contact sheet.
_LIVE_SHARE, _SHEET_SHARE = 0.2, 0.03
# Seconds and files after which the folder is looked at again, while finished work is compared.
_SLICE, _MOST_IN_SLICE = 2.0, 1000
# Seconds for which tables wait for what an earlier run has finished, so that they do not lose its rows.
_CATCH_UP = 10.0
_BAD = ("no", "cannot say")


@dataclass(frozen=True)
class WatchedImage:
    """An image that has just been judged; `print` gives one line.

    Attributes:
        time: when it was judged.
        row: its row of the table, as in `ImageRun.table`; `fault` says why it could not be used, `advice` what to do.
        image: the same as plain data with all details, as in `ImageRun.images`.
        turned: whether the answer has turned to no or cannot say, with this image.
        thumbnail: file of its small picture with outlines, or None.
    """

    time: datetime
    row: dict[str, Any]
    image: dict[str, Any]
    turned: bool
    thumbnail: Path | None

    def __str__(self) -> str:
        return f"{self.time:%H:%M:%S}  {contact_sheet.caption(self.row)}"


class Watch:
    """Watches a folder. As a context manager it holds the folder of the results, so that nobody else writes there.

    Example:
        with Watch(settings, folder) as watch:
            for image in watch.images(executor):
                print(image)
            run = watch.finish()
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        model: str | None = None,
        until_idle_seconds: float | None = None,
        name: Callable[[str], str] = str,
        looks: WatchedFolder | None = None,
    ):
        """Check the folders; BadInputError if there is none, or the results would be written among the images.

        Args:
            settings: what is done with each image, and where the results go.
            folder: that is watched, with its subfolders.
            model: name of the model.
            until_idle_seconds: stop when nothing has changed for so long; by default, go on until `stop`.
            name: writes the parameters in reasons and faults.
            looks: how the folder is looked at.
        """
        place, out = plain(folder), settings.out
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            remedy = "give the folder that the microscope writes to"
            raise BadInputError(what, value=folder, remedy=remedy, place=place)
        if out.resolve() == folder.resolve():
            what = f"{parameter('folder')} {plain(out)}: is the folder that is watched; choose another"
            raise BadInputError(what, value=out)
        self.settings, self.folder, self.model = settings, folder, model
        #: The page that shows the session while it runs.
        self.page = out / watch_page.PAGE
        self._until_idle, self._name = until_idle_seconds, name
        self._looks = looks or WatchedFolder(folder, out)
        self._next_look, self._first_look, self._stopped = 0.0, True, False
        self._last_work = self._looked = time.monotonic()
        self._finished_before = 0
        # Complete files that wait: those that were there from the beginning come after those that arrive.
        self._old: set[Path] = set()
        self._waiting: dict[Path, None] = {}
        self._backlog: dict[Path, None] = {}
        # Jobs by their folder, with the files of that content.
        self._in_work: dict[Path, tuple[ImageJob, list[Path]]] = {}
        self._files: dict[Path, set[Path]] = {}
        # The job whose results lie at each place.
        self._holders: dict[Path, Path] = {}
        self._jobs: dict[Path, ImageJob] = {}
        self._faults: dict[Path, str] = {}
        self._shots: dict[Path, list[Shot]] = {}
        self._news: deque[WatchedImage] = deque()
        self._answer: str | None = None
        self._write_live = _Paced(self._live, _LIVE_SHARE, _HEARTBEAT)
        self._write_sheet = _Paced(lambda: write_run(self._so_far()), _SHEET_SHARE)
        self._held = ExitStack()

    def __enter__(self) -> Self:
        out = self.settings.out
        try:
            self._held.enter_context(locked(out / ".lock", wait=False))
        except BlockingIOError:
            what = "another run or watch writes its results here"
            remedy = f"wait for it or stop it, or choose another {parameter('folder')}"
            raise BadInputError(what, remedy=remedy, place=out) from None
        remove_leftovers(out / "finished")
        remove_leftovers(out, shared=True)
        return self

    def __exit__(self, *fault: object) -> None:
        self._held.close()

    def stop(self) -> None:
        """Let `images` end soon; callable from another thread."""
        self._stopped = True

    def images(self, executor: Executor) -> Iterator[WatchedImage]:
        """Yield each image when it has been judged, or cannot be used, until `stop`, or until nothing has changed for long enough.

        The tables and the page are kept up to date. Work that has begun when the caller stops is abandoned.

        Raises:
            BadInputError: if a fault would stop all other work too, such as a full disk.
        """
        began = time.monotonic()
        try:
            for end in executor.stream(run_job, self._arriving()):
                if end is not None:
                    self._ended(*end)
                self._look()
                while self._news:
                    yield self._news.popleft()
                if not self._old or time.monotonic() > began + _CATCH_UP:
                    self._write_live.when_due()
                    self._write_sheet.when_due()
        finally:
            if self._in_work:
                executor.close()

    def finish(self) -> ImageRun:
        """Write the tables, the contact sheet and the page a last time, and return the run over all files that were complete.

        Raises:
            BadInputError: if no image could be used.
        """
        self._look()
        until = time.monotonic() + _CATCH_UP
        for path in [*self._waiting, *self._backlog]:
            # What an earlier run has finished stays in the table, however soon this one ends.
            if time.monotonic() < until and (job := self._job(path)) is not None and job.is_finished():
                self._done(path, job, before=path in self._old)
        found = self._looks.images
        paths = tuple(path for path in found if path in self._shots or path in self._faults)
        left = len(found) - len(paths)
        notes: tuple[str, ...] = (
            (f"{left} file{'s' * (left != 1)} not complete or not worked on yet: run again",) if left else ()
        )
        if not paths:
            what = notes[0] if left else f"no micrograph has arrived ({formats.endings()})"
            raise BadInputError(what, place=plain(self.folder))
        files, before = ImageFiles(paths, notes), self._finished_before
        run = result_of(self.settings, files, self._jobs, self._faults, before, self.model, self._name)
        write_run(run)
        self._live(ended=True)
        return run

    def _arriving(self) -> Iterator[ImageJob | None]:
        """Yield the next job, or None while there is none."""
        self._look()
        while not self._stopped and not self._idle():
            yield self._next_job()
            self._look()

    def _idle(self) -> bool:
        busy = self._waiting or self._backlog or self._in_work or self._looks.restless
        since = max(self._looks.changed, self._last_work)
        # Since the last look, much may have changed.
        return self._until_idle is not None and not busy and self._looked - since >= self._until_idle

    def _look(self) -> None:
        began = time.monotonic()
        if began < self._next_look:
            return
        self._looked, ready = began, self._looks.look()
        if self._first_look:
            self._first_look, self._old = False, set(self._looks.images)
        for path in ready:
            (self._backlog if path in self._old else self._waiting)[path] = None
        there = set(self._looks.images)
        for known in (self._shots, self._faults, self._waiting, self._backlog):
            for path in known.keys() - there:
                del known[path]
                self._new()
        took = time.monotonic() - began
        self._next_look = began + took + max(_EVERY, _PAUSE * took)

    def _next_job(self) -> ImageJob | None:
        """Return the next job to be done; what is finished, or cannot be read, is noted. None after a while, to look again."""
        until = time.monotonic() + _SLICE
        for queue in (self._waiting, self._backlog):
            for path in list(islice(queue, _MOST_IN_SLICE)):
                if time.monotonic() > until:
                    return None
                job = self._job(path)
                if job is not None and job.folder not in self._in_work and not job.is_finished():
                    if any(job.place == other.place for other, _ in self._in_work.values()):
                        # Another file of that name is being worked on.
                        continue
                    self._make_room(job)
                    self._in_work[job.folder] = job, [path]
                    del queue[path]
                    self._old.discard(path)
                    return job
                del queue[path]
                if job is not None and job.folder in self._in_work:
                    self._in_work[job.folder][1].append(path)
                elif job is not None:
                    self._done(path, job, before=path in self._old)
                self._old.discard(path)
        return None

    def _job(self, path: Path) -> ImageJob | None:
        """Return the job of a file, or None if it cannot be read."""
        alike = self._looks.alike(path)
        try:
            place = places(alike)[alike.index(path)]
            digest, state = digest_of(path)
            return ImageJob(self.settings, path, place, digest, state)
        except BadInputError as error:
            self._failed(path, error.text(parameter))
            return None

    def _make_room(self, job: ImageJob) -> None:
        """Let results be written anew that lie where those of a job will: their file was renamed, and this one has its name."""
        holder = self._holders.pop(job.place, None)
        if holder is None or holder == job.folder:
            return
        shutil.rmtree(holder, ignore_errors=True)
        self._waiting |= dict.fromkeys(
            path for path in self._files.get(holder, ()) if path in self._shots and path != job.path
        )

    def _ended(self, job: ImageJob, failure: Failure | None) -> None:
        _, paths = self._in_work.pop(job.folder)
        self._last_work = time.monotonic()
        for path in paths:
            if state_of(path) == GONE:
                continue
            if failure is None:
                self._done(path, job)
            else:
                self._failed(path, failure.reason)

    def _done(self, path: Path, job: ImageJob, *, before: bool = False) -> None:
        """Note a file whose job is finished; it is news unless it was so before, or the file was only renamed."""
        files = self._files.setdefault(job.folder, set())
        again = path in self._shots and self._jobs[path].folder == job.folder
        gone = {other for other in files if other not in self._shots}
        if before and not files:
            self._finished_before += 1
        files -= gone
        files.add(path)
        self._jobs[path] = job
        self._holders |= dict.fromkeys(map(Path, job.taken), job.folder)
        self._faults.pop(path, None)
        self._note(path, shots_of(self.settings, path, job, self._name), news=not (before or again or gone - {path}))

    def _failed(self, path: Path, fault: str) -> None:
        """Note a file that cannot be read: it may still be written, so the first time this is no news."""
        self._faults[path] = fault
        if not self._looks.retry(path):
            self._note(path, [fault_of(path, fault, self._name)], news=True)

    def _note(self, path: Path, shots: list[Shot], *, news: bool) -> None:
        for shot in shots:
            answer = shot.row.get("verdict")
            turned = news and answer in _BAD and self._answer not in _BAD
            if news:
                row = dict.fromkeys(COLUMNS) | shot.row
                self._news.append(WatchedImage(datetime.now(), row, shot.image, turned, shot.thumbnail))
                self._answer = answer or self._answer
        # The details of thousands of images would take much memory.
        self._shots[path] = [replace(shot, image={}) for shot in shots]
        self._new()

    def _new(self) -> None:
        self._write_live.new = self._write_sheet.new = True

    def _so_far(self) -> ImageRun:
        shots = [shot for path in self._looks.images for shot in self._shots.get(path, ())]
        return gathered(self.settings, (), shots, self._finished_before, self.model)

    def content(self, *, ended: bool = False) -> str:
        """Return what the page shows, as HTML (`watch_page.STYLE`); to be called from the thread that runs `images`."""
        return watch_page.content(self._so_far(), self._times(), plain(self.folder), ended=ended, links=False)

    def _times(self) -> list[float]:
        return [self._looks.time_of(path) for path in self._looks.images for _ in self._shots.get(path, ())]

    def _live(self, *, ended: bool = False) -> None:
        run = self._so_far()
        page = watch_page.page(run, self._times(), plain(self.folder), ended=ended)
        # A table that a former run left stays until there are rows.
        written = tables(run) if len(run) else {}
        write_files(written | {self.page: lambda file: file.write_text(page, encoding="utf-8")})


class _Paced:
    """Calls a function when something is new, but for at most a share of the time; and now and then although nothing is."""

    def __init__(self, write: Callable[[], None], share: float, every: float = math.inf):
        self.new = False
        self._write, self._share, self._every = write, share, every
        self._due = self._last = 0.0

    def when_due(self) -> None:
        began = time.monotonic()
        if (self.new and began >= self._due) or began >= self._last + self._every:
            self.new = False
            self._write()
            self._last = time.monotonic()
            self._due = self._last + (self._last - began) / self._share
