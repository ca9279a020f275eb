"""The folder of a study: which study it belongs to, which jobs are finished, and the lock of a run."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passband.base.errors import BadInputError, parameter
from passband.files import atomic, bundled
from passband.files.atomic import read_json
from passband.files.jobs import CheckedFolders, FolderJob
from passband.simulation.wave_store import WaveSet
from passband.studies import cross_tests, job_list
from passband.studies.job_list import JobList
from passband.studies.jobs import ImagesJob, TrainingJob
from passband.studies.paths import StudyPaths
from passband.studies.study import Study, dump_study, is_dump, load_study
from passband.studies.wave_jobs import wave_sets


@dataclass(frozen=True)
class StudyFolder:
    """A study, its folder, and all jobs that it takes."""

    study: Study
    paths: StudyPaths

    @classmethod
    def open(cls, target: Path, out: Path | None = None) -> "StudyFolder":
        """Return a study and its folder, given its YAML file, its folder, or the name of a bundled study.

        `out` is the folder to use with a YAML file, by default runs/<name>. A BadInputError if it holds another study.
        """
        if target.is_dir():
            if out is not None:
                raise BadInputError(
                    f"{parameter('folder')} {out}: goes with a study's YAML file, and {target} is a folder; leave it out"
                )
            paths = StudyPaths(target)
            if not paths.study.is_file():
                raise BadInputError(
                    f"{target}: is not a study folder (it has no study.yaml); give the study's YAML file or the folder of a study that has been run"
                )
            return cls(load_study(paths.study), paths)
        target = bundled.find(target, bundled.studies())
        if not target.exists():
            raise BadInputError(
                f"{target}: no such file or folder; give a study's YAML file, its folder, or a bundled study: {', '.join(bundled.studies())}"
            )
        study = load_study(target)
        result = cls(study, StudyPaths(Path("runs") / study.name if out is None else out))
        result.check()
        return result

    def check(self) -> None:
        """Refuse, by a BadInputError, a folder that is not empty and holds neither this study nor one that it extends."""
        folder, study, other = self.paths.folder, self.study, self._present()
        if folder.exists() and not folder.is_dir():
            raise BadInputError(f"{folder}: is a file, not a folder; choose another {parameter('folder')}")
        if other is not None:
            if other.id != study.id and not study.extends(other):
                raise BadInputError(
                    f"{folder}: holds study {other.name!r} ({other.id}), not this one ({study.name!r}, {study.id}), nor is this one the same with more conditions or seeds; "
                    f"choose another {parameter('folder')}, or delete this one"
                )
            return
        # A folder that lost its study.yaml still has finished work of its study.
        used = folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir())
        if used and not any(job.is_finished() for job in self.image_jobs):
            raise BadInputError(f"{folder}: is not empty and holds no study.yaml; choose another {parameter('folder')}")

    def adopt(self) -> None:
        """Write study.yaml, which makes the folder this study's, after `check`; a file of the user's own that says the same stays."""
        self.check()
        path, present = self.paths.study, self._present()
        if present is None or is_dump(path.read_text(encoding="utf-8")):
            atomic.write_text(path, self._dump.decode())
        elif present.id != self.study.id:
            raise BadInputError(
                f"{path}: is a file of your own, with fewer conditions or seeds than the study to run; change it, or choose another {parameter('folder')}"
            )

    def _present(self) -> Study | None:
        """Return the study in the folder, None without one; it is loaded only if it is another."""
        path = self.paths.study
        if not path.is_file():
            return None
        content = path.read_bytes()
        return self.study if content == self._dump else _load(path.absolute(), content)

    @functools.cached_property
    def _dump(self) -> bytes:
        return dump_study(self.study).encode()

    @functools.cached_property
    def training_jobs(self) -> list[TrainingJob]:
        """The jobs that train networks, in the order of the tables."""
        seeds = range(self.study.seeds)
        return [TrainingJob(self.study, self.paths, domain, seed) for domain in self.study.trainings for seed in seeds]

    @functools.cached_property
    def image_jobs(self) -> list[ImagesJob]:
        """The jobs that make test images, in the order of the tables."""
        return [ImagesJob(self.study, self.paths, domain) for domain in self.study.tests]

    @property
    def jobs(self) -> dict[str, Sequence[FolderJob]]:
        """The jobs of one folder each, by stage."""
        return {"train": self.training_jobs, "images": self.image_jobs}

    @functools.cached_property
    def checked(self) -> CheckedFolders:
        """The folders of the jobs, with what is known of their files."""
        return CheckedFolders(self.paths.jobs)

    def missing(self, jobs: Sequence[FolderJob]) -> list[Any]:
        """Return those of this study's jobs that are not finished."""
        left = [job for job in jobs if self.checked.marker(job.folder) is None]
        self.checked.save()
        return left

    def coverage(self) -> cross_tests.Coverage:
        """Return which networks are tested on which domains."""
        return cross_tests.coverage(self.study, self.paths, self.training_jobs, self.checked)

    def failures(self) -> list[dict[str, Any]]:
        """Return the failed jobs of the last run: stage, what, reason and tries of each; none if failed.json is damaged."""
        return job_list.failures(self.paths)

    def require_finished(self) -> None:
        """Refuse, by a BadInputError, a study of which anything is missing that did not fail in the last run."""
        unfinished = {stage: n for stage, n in self.todo().items() if n}
        if unfinished and not (self.failures() and set(unfinished) <= {"train", "tests"}):
            what = ", ".join(f"{n} {stage}" for stage, n in unfinished.items())
            raise BadInputError(f"{self.paths.folder}: the study is not finished ({what} missing); run it to its end")

    def planned(self) -> dict[str, Any] | None:
        """Return what `study plan` expected, or None without a plan."""
        content = read_json(self.paths.plan)
        return content if isinstance(content, dict) else None

    def todo(self) -> dict[str, int]:
        """Return the missing units of each stage."""
        return missing_units(self.counts())

    def absent_waves(self) -> list[tuple[WaveSet, list[int]]]:
        """Return the wave sets of the study, each with its missing specimens."""
        return [(waves, waves.missing(self.study.split.total)) for waves in wave_sets(self.study, self.paths)]

    def counts(self, absent: list[tuple[WaveSet, list[int]]] | None = None) -> dict[str, dict[str, int]]:
        """Return finished and total units of each stage; tests are pairs of network and domain. `absent` saves reading the waves."""
        absent = self.absent_waves() if absent is None else absent
        total = self.study.split.total * len(absent)
        covered = self.coverage()
        self._list_jobs([waves for waves, _ in absent])
        trained, images = sum(w is not None for w in covered.weights), len(self.image_jobs)
        return {
            "waves": {"done": total - sum(len(indices) for _, indices in absent), "total": total},
            "train": {"done": trained, "total": len(covered.networks)},
            "images": {"done": images - len(self.missing(self.image_jobs)), "total": images},
            "tests": {"done": int(covered.done.sum()), "total": covered.done.size},
        }

    def _list_jobs(self, waves: list[WaveSet]) -> None:
        """Note the names of all jobs in the folder, if it is this study's."""
        present = self._present()
        if present is not None and present.id == self.study.id:
            names = ([job.folder.name for job in jobs] for jobs in (self.training_jobs, self.image_jobs))
            train, images = map(tuple, names)
            sets, tests = tuple(w.folder.name for w in waves), tuple(t.id for t in self.study.tests)
            total = self.study.split.total
            JobList(self.study.name, self.study.id, sets, total, train, images, tests).note(self.paths)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against a second run, which gets a BadInputError; the lock of a killed run is released."""
        try:
            with atomic.locked(self.paths.lock, wait=False):
                yield
        except BlockingIOError:
            raise BadInputError(
                f"{self.paths.folder}: another run is working in this folder; wait for it, or choose another {parameter('folder')}"
            ) from None


@functools.lru_cache(maxsize=4)
def _load(path: Path, content: bytes) -> Study:
    return load_study(path)


def missing_units(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return the missing units of each stage, of `StudyFolder.counts`."""
    return {stage: n["total"] - n["done"] for stage, n in counts.items()}
