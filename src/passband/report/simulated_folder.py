"""A folder of simulated training images: its table, and the conditions of its images."""

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from passband.base.errors import BadInputError
from passband.conditions import AnyCondition, condition_of
from passband.files.atomic import has, read_json
from passband.files.tables import read_table
from passband.report import pages
from passband.studies.image_export import TABLE
from passband.studies.simulate import CARD


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedFolder:
    """Training images on disk.

    Attributes:
        folder: that holds them.
        table: a row an image, in the order of their numbers: `image` and `label`, files in the folder; `split`; `specimen`; `seed` of the noise;
            `pixels` along a side; `particles`; `particle_share`; every value of the condition (aberrations [Å], angles [rad],
            `pixel_size_angstrom`, `dose_per_angstrom2`, …), and `condition`, all of it as JSON.
        facts: layout, classes, and the number of images in each part.
    """

    folder: Path
    table: pl.DataFrame
    facts: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "SimulatedFolder":
        """Return what a finished folder holds; BadInputError if it is none."""
        facts = read_json(folder / CARD)
        if not has(facts, {"split": dict, "layout": str, "specimens": int}):
            raise BadInputError("holds no finished set of simulated images", place=folder)
        return cls(folder, read_table(folder / TABLE), facts)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.table)

    def condition(self, index: int) -> AnyCondition:
        """Return the condition of an image."""
        return condition_of(json.loads(self.table["condition"][index]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: where the files are, and how many images each part has."""
        return self.facts

    def __str__(self) -> str:
        """Return what the folder holds, in two lines."""
        parts = ", ".join(f"{count} {part}" for part, count in self.facts["split"].items())
        n = self.facts["specimens"]
        first = f"{len(self)} images of {n} specimen{'s' * (n > 1)}, {self.facts['particles']} particles: {parts}"
        return f"{first}\nimages, labels and conditions ({self.facts['layout']}) in {self.folder}; README.txt says what is what"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the lines and the first images over their masks."""
        lines = "".join(f"<p>{escape(line)}</p>" for line in str(self).splitlines())
        return lines + pages.picture((self.folder / "sheet.png").read_bytes(), "images over their masks")
