"""The folders of runs and the files that a user finds there.

The root, such as runs/, is shared by studies: exit_waves/<id>/ holds waves.zarr, recipe.json and a manifest entry per
specimen. Beside it <study>/ holds study.yaml, the tables, analysis.json, report.html, figures/, and one finished job in each
cells/<kind>-<id>/.
"""

from dataclasses import dataclass
from pathlib import Path


class _Inside:
    """A path inside the folder of a study."""

    def __init__(self, name: str):
        self._name = name

    def __get__(self, paths: "StudyPaths", owner: type) -> Path:
        return paths.folder / self._name


@dataclass(frozen=True)
class StudyPaths:
    """The files of a study folder."""

    folder: Path

    study = _Inside("study.yaml")  # the configuration, complete in itself
    lock = _Inside(".lock")  # held while a run works in the folder
    job_list = _Inside(".jobs.json")  # names of all jobs, for `study status`
    failed = _Inside("failed.json")  # which jobs of the last run failed, and why
    plan = _Inside("plan.json")  # what `study plan` expected
    figures = _Inside("figures")  # PNG and SVG figures
    analysis = _Inside("analysis.json")  # fits and findings
    report = _Inside("report.html")  # the offline report
    ranking_page = _Inside("ranking.md")  # the ranking of the shift metrics, Markdown
    jobs = _Inside("cells")  # all finished jobs

    def table(self, name: str) -> Path:
        """A Parquet table: scores, conditions, shift, training, counts, specimen_power or ranking."""
        return self.folder / f"{name}.parquet"

    @property
    def root(self) -> Path:
        """The folder that holds this study and the exit waves it shares with others."""
        return self.folder.resolve().parent


def exit_waves(root: Path, identity: str) -> Path:
    """Return the folder of a wave set under a root."""
    return root / "exit_waves" / identity
