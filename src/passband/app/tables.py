"""The tables of a segmentation as files, and as texts to copy into a spreadsheet."""

from collections.abc import Callable
from io import BytesIO

import polars as pl

from passband.app.downloads import Offer, stem
from passband.micrographs.lattice import MOST
from passband.models.segment import Segmentation

# Digits after the decimal point.
_DIGITS = 3


def sizes(found: Segmentation) -> pl.DataFrame:
    """Return the table of particles without their lattices."""
    return found.particles.select(c for c in found.particles.columns if not _of_lattice(c))


def lattices(found: Segmentation) -> pl.DataFrame:
    """Return one row a spacing: particle, spacing_angstrom, uncertainty_angstrom, reflection."""
    table, parts = found.particles, []
    for k in range(1, MOST + 1):
        if f"spacing_{k}_angstrom" in table.columns:
            parts.append(
                table.select(
                    "particle",
                    spacing_angstrom=f"spacing_{k}_angstrom",
                    uncertainty_angstrom=f"spacing_{k}_uncertainty_angstrom",
                    reflection=f"reflection_{k}",
                ).drop_nulls("spacing_angstrom")
            )
    if not parts:
        return pl.DataFrame(schema={"particle": pl.Int64})
    return pl.concat(parts).sort("particle", maintain_order=True)


def table_files(found: Segmentation) -> list[Offer]:
    """Return the tables that have rows, each as a CSV file and as a text with tabs."""
    start, offers = stem(found.micrograph.name), list[Offer]()
    for label, what, table in (("sizes", "particles", sizes(found)), ("lattices", "lattices", lattices(found))):
        if len(table):
            offers.append(Offer(f"{label} (CSV)", f"{start}_{what}.csv", written(table, ",")))
            offers.append(Offer(f"copy {label}", f"{start}_{what}.tsv", written(table, "\t"), copied=True))
    return offers


def written(table: pl.DataFrame, separator: str) -> Callable[[], bytes]:
    """Return what writes a table as a text, rounded to 0.001."""

    def content() -> bytes:
        buffer = BytesIO()
        table.with_columns(pl.selectors.float().round(_DIGITS)).write_csv(buffer, separator=separator)
        return buffer.getvalue()

    return content


def _of_lattice(column: str) -> bool:
    return column == "crystalline" or column.startswith(("spacing_", "reflection_"))
