"""Which micrographs of a folder are complete: what arrives, changes, is renamed or vanishes, seen by looking again and again."""

import os
import time
from collections import defaultdict, deque
from pathlib import Path

from passband.sessions.image_files import is_record, micrographs, names_inside
from passband.sessions.image_job import GONE, state_of

# Seconds for which size and time of a file must not have changed, and those of one that was empty or could not be read.
_REST, _LONG_REST = 1.0, 30.0
# Files that came to rest before and are looked at again each time: the last ones, and some of the others in turn.
_RECENT = _IN_TURN = 50


class WatchedFolder:
    """Looks at a folder and its subfolders; network drives report no changes by themselves.

    A look lists names, and asks for size and time of new files, of those that are not at rest, and of some others.
    """

    def __init__(self, folder: Path, out: Path, rest: tuple[float, float] = (_REST, _LONG_REST)):
        """Take the folder, that of the results, which is left out, and the seconds of rest."""
        self._folder, self._out = folder, out
        self._rest, self._long_rest = rest
        #: The micrographs there, in natural order.
        self.images: list[Path] = []
        #: When something last changed there [s].
        self.changed = time.monotonic()
        self._names: dict[str, Path] = {}
        self._alike: defaultdict[str, list[Path]] = defaultdict(list)
        self._real: dict[Path, str] = {}
        self._records: set[Path] = set()
        # Size and time of each file, since when, and those with which it was last returned.
        self._states: dict[Path, tuple[tuple[int, int], float]] = {}
        self._returned: dict[Path, tuple[int, int]] = {}
        self._tried: set[Path] = set()
        self._recent: deque[Path] = deque(maxlen=_RECENT)
        self._turn = 0

    @property
    def restless(self) -> bool:
        """Whether a file may still be written."""
        return any(p not in self._returned and p not in self._tried for p in self._states)

    @property
    def pending(self) -> list[Path]:
        """The micrographs that are not complete, or could not be read yet."""
        return [path for path in self.images if path not in self._returned]

    def time_of(self, path: Path) -> float:
        """Return when a file was last changed [s since 1970]."""
        state, _ = self._states.get(path, (GONE, 0.0))
        return state[1] / 1e9

    def alike(self, path: Path) -> list[Path]:
        """Return the micrographs whose names differ from that of a micrograph at most in folder and ending."""
        return self._alike[path.stem]

    def look(self) -> list[Path]:
        """Return the files that are complete since the last look, again after each change; `images` is up to date then."""
        now = time.monotonic()
        self._list(now)
        ready = []
        for path in self._looked_at():
            state = state_of(path)
            if state == GONE:
                continue
            known, since = self._states.get(path, (None, now))
            if state != known:
                if path in self._returned:
                    del self._returned[path]
                self._states[path] = state, now
                self._tried.discard(path)
                self.changed = now
                continue
            long = path in self._tried or state[0] == 0
            if path not in self._returned and now - since >= (self._long_rest if long else self._rest):
                self._returned[path] = state
                self._recent.append(path)
                ready.append(path)
        return ready

    def retry(self, path: Path) -> bool:
        """Return a file once more after a longer rest, since it could not be read; False if that was done."""
        if path in self._tried or path not in self._states:
            return False
        self._tried.add(path)
        self._returned.pop(path, None)
        state, _ = self._states[path]
        self._states[path] = state, time.monotonic()
        return True

    def _list(self, now: float) -> None:
        names = set(names_inside(self._folder, self._out))
        if names == self._names.keys():
            return
        # The same objects each time: a path remembers its parts.
        self._names = {name: self._names.get(name) or Path(name) for name in names}
        images, _ = micrographs(self._names.values(), self._is_record)
        unique: dict[str, Path] = {}
        for path in images:
            if path not in self._real:
                self._real[path] = os.path.realpath(path)
            unique.setdefault(self._real[path], path)
        self.images = list(unique.values())
        self._alike = defaultdict(list)
        for path in self.images:
            self._alike[path.stem].append(path)
        for path in self._real.keys() - set(images):
            del self._real[path]
        gone = self._states.keys() - set(self.images)
        for path in gone:
            del self._states[path]
            self._returned.pop(path, None)
            self._tried.discard(path)
        if gone:
            self.changed = now

    def _is_record(self, path: Path) -> bool:
        # A record is written once and whole.
        if path not in self._records and is_record(path):
            self._records.add(path)
        return path in self._records

    def _looked_at(self) -> list[Path]:
        rest = [path for path in self.images if path not in self._returned]
        in_turn = self.images[self._turn : self._turn + _IN_TURN]
        self._turn = self._turn + _IN_TURN if self._turn + _IN_TURN < len(self.images) else 0
        return list(dict.fromkeys([*rest, *(path for path in self._recent if path in self._states), *in_turn]))
