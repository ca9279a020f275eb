"""The folders of runs and the files that a user finds there.

The root, such as runs/, is shared by studies: exit_waves/<id>/ holds waves.zarr, recipe.json and a manifest entry per
specimen. Beside it <study>/ holds study.yaml, the tables, analysis.json, report.html, figures/, and one finished job in each
cells/<kind>-<id>/.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudyPaths:
    """The files of a study folder."""

    folder: Path

    @property
    def study(self) -> Path:
        """The configuration, complete in itself."""
        return self.folder / "study.yaml"

    @property
    def lock(self) -> Path:
        """Held while a run works in the folder."""
        return self.folder / ".lock"

    @property
    def failed(self) -> Path:
        """Which jobs of the last run failed, and why."""
        return self.folder / "failed.json"

    @property
    def plan(self) -> Path:
        """What `study plan` expected."""
        return self.folder / "plan.json"

    @property
    def figures(self) -> Path:
        """PNG and SVG figures."""
        return self.folder / "figures"

    @property
    def analysis(self) -> Path:
        """Fits and findings."""
        return self.folder / "analysis.json"

    @property
    def report(self) -> Path:
        """The offline report."""
        return self.folder / "report.html"

    @property
    def ranking_page(self) -> Path:
        """The ranking of the shift metrics, Markdown."""
        return self.folder / "ranking.md"

    def table(self, name: str) -> Path:
        """A Parquet table: scores, conditions, shift, training, counts, specimen_power or ranking."""
        return self.folder / f"{name}.parquet"

    @property
    def jobs(self) -> Path:
        """The folder of all finished jobs."""
        return self.folder / "cells"

    @property
    def root(self) -> Path:
        """The folder that holds this study and the exit waves it shares with others."""
        return self.folder.resolve().parent


def exit_waves(root: Path, identity: str) -> Path:
    """Return the folder of a wave set under a root."""
    return root / "exit_waves" / identity
