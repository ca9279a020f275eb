"""The folders of the replication: studies as they run, and pages with the tables that they are made from."""

from dataclasses import dataclass
from pathlib import Path

from passband.studies.paths import StudyPaths


@dataclass(frozen=True)
class ResultsPaths:
    """The folders of the results: studies as they run, and pages with the tables that they are made from.

    Attributes:
        runs: a study folder each, and the exit waves that they share.
        pages: what is committed.
    """

    runs: Path
    pages: Path

    def run(self, name: str) -> Path:
        """The folder that a study runs in."""
        return self.runs / name

    def study(self, name: str) -> StudyPaths:
        """The tables of a study beside the pages."""
        return StudyPaths(self.pages / "tables" / name)

    def page(self, name: str) -> Path:
        """The page of an experiment, Markdown."""
        return self.pages / f"{name}.md"

    @property
    def index(self) -> Path:
        """The table of all claims."""
        return self.pages / "README.md"

    @property
    def claims(self) -> Path:
        """The same as JSON."""
        return self.pages / "claims.json"

    @property
    def figures(self) -> Path:
        """Pictures of the pages."""
        return self.pages / "figures"
