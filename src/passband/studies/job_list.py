"""The jobs of a study, noted in its folder by their names, so that its progress is told in a moment: no science is imported."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.base.version import __version__
from passband.files.atomic import as_read_back, has, read_checked, read_json, write_checked
from passband.files.jobs import REVISIONS, CheckedFiles, CheckedFolders, times_of
from passband.simulation.wave_files import checked_waves, wave_entry, wave_files
from passband.studies.paths import StudyPaths, exit_waves

#: The file of a trained network's weights, whose digest tests name.
WEIGHTS = "weights.safetensors"
#: Kind of the jobs that test networks.
TESTS = "evaluate"

Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class JobList:
    """What a study takes.

    Attributes:
        name: of the study.
        id: of the study.
        waves: identities of its wave sets.
        specimens: of each wave set.
        train: names of the folders of the networks.
        images: names of the folders of the test images.
        tests: ids of the test domains.
    """

    name: str
    id: str
    waves: tuple[str, ...]
    specimens: int
    train: tuple[str, ...]
    images: tuple[str, ...]
    tests: tuple[str, ...]

    def note(self, paths: StudyPaths) -> None:
        """Keep the list in the study's folder, if that is this study's and can be written."""
        content = as_read_back({**vars(self), "study": _digest(paths)})
        if content["study"] is not None and read_checked(paths.job_list, set()) != content:
            with suppress(OSError, BadInputError):
                write_checked(paths.job_list, content)

    @classmethod
    def noted(cls, paths: StudyPaths) -> "JobList | None":
        """Return the list in a study's folder, or None if it is missing, damaged or of another study.yaml."""
        content: dict[str, Any] = read_checked(paths.job_list, set()) or {}
        if content.pop("study", None) != _digest(paths) or content.keys() != cls.__annotations__.keys():
            return None
        lists: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in content.items()}
        return cls(**lists)

    def counts(self, paths: StudyPaths) -> Counts | None:
        """Return finished and total units of each stage; None if an exit wave would have to be read to know."""
        done = 0
        for identity in self.waves:
            folder = exit_waves(paths.root, identity)
            checked = CheckedFiles(checked_waves(folder))
            for index in range(self.specimens):
                if checked.knows(str(index), times_of(wave_files(folder, index))):
                    done += 1
                elif wave_entry(folder, index).exists():
                    return None
        folders = CheckedFolders(paths.jobs)
        markers = [folders.marker(paths.jobs / name) for name in self.train]
        networks = {
            (name, str(facts["files"][WEIGHTS])): i
            for i, (name, facts) in enumerate(zip(self.train, markers, strict=True))
            if facts is not None
        }
        # A bit for each domain.
        tested = [0] * len(self.train)
        for _, _, rows, columns in finished_tests(
            paths.jobs, folders, networks, {t: i for i, t in enumerate(self.tests)}
        ):
            bits = sum(1 << column for column in columns)
            for row in rows:
                tested[row] |= bits
        images = sum(folders.marker(paths.jobs / name) is not None for name in self.images)
        folders.save()
        waves, train, tests = len(self.waves) * self.specimens, len(self.train), len(self.train) * len(self.tests)
        return {
            "waves": {"done": done, "total": waves},
            "train": {"done": len(networks), "total": train},
            "images": {"done": images, "total": len(self.images)},
            "tests": {"done": sum(bits.bit_count() for bits in tested), "total": tests},
        }


def finished_tests(
    jobs: Path, folders: CheckedFolders, networks: Mapping[tuple[str, str], int], tests: Mapping[str, int]
) -> Iterator[tuple[Path, dict[str, Any], list[int], list[int]]]:
    """Yield folder, marker, networks and tests, by number, of each finished job of tests.

    `networks` are numbered by folder and digest of the weights, `tests` by id. Jobs that are damaged do not count, nor do networks
    with other weights.
    """
    # In order of name, so that of two jobs with the same pair always the same one counts.
    for folder in sorted(jobs.glob(f"{TESTS}-*")) if jobs.is_dir() else []:
        content = (facts := folders.marker(folder) or {}).get("content", {})
        if content.get("revision") == REVISIONS[TESTS]:
            rows = [networks[key] for n, w in content["networks"] if (key := (n, w)) in networks]
            yield folder, facts, rows, [tests[t] for t in content["tested"] if t in tests]


def failures(paths: StudyPaths) -> list[dict[str, Any]]:
    """Return the failed jobs of the last run: stage, what, reason and tries of each; none if failed.json is damaged."""
    kinds = {"stage": str, "what": str, "reason": str, "tries": int}
    content = read_json(paths.failed)
    return content if isinstance(content, list) and all(has(fault, kinds) for fault in content) else []


def _digest(paths: StudyPaths) -> str | None:
    """Return a digest of study.yaml and of what else decides the names of jobs, or None without a study.yaml."""
    try:
        content = paths.study.read_bytes()
    except OSError:
        return None
    return content_id([hashlib.blake2b(content, digest_size=16).hexdigest(), __version__, REVISIONS], 32)
