"""Estimates and lists as HTML. Whatever comes from files is escaped."""

import html
from collections.abc import Sequence

import polars as pl

# Particles in a table; the page is to look at, and passband segment writes them all.
_ROWS = 200


def refusal(line: str) -> str:
    """Return the one line of what is wrong."""
    return f'<p class="refusal">{html.escape(" ".join(line.split()))}</p>'


def note(line: str) -> str:
    """Return a line in grey."""
    return f'<p class="note">{html.escape(line)}</p>'


def bullets(lines: Sequence[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def section(title: str, body: str) -> str:
    """Return a titled part; nothing if there is nothing in it."""
    return f"<h3>{html.escape(title)}</h3>{body}" if body else ""


def header(model: str) -> str:
    """Return the line on top of the page."""
    return f"<header><b>passband</b><span>Will the network hold under these conditions?</span><i>{html.escape(model)}</i></header>"


def found(particles: pl.DataFrame) -> str:
    """Return how many particles there are, and the median size of the whole ones."""
    whole = particles.filter(~pl.col("touches_edge"))["equivalent_diameter_angstrom"]
    median = whole.median()
    size = (
        "" if median is None else f", median diameter of the {len(whole)} whole ones {float(str(median)) / 10:.2f} nm"
    )
    return f"<p><b>{len(particles)}</b> particles{size}</p>"


def particle_table(particles: pl.DataFrame) -> str:
    """Return a table of the largest particles."""
    rows = "".join(
        f"<tr><td>{row['particle']}</td><td>{row['equivalent_diameter_angstrom']:.1f}</td><td>{row['circularity']:.2f}</td>"
        f"<td>{row['mean_probability']:.2f}</td><td>{'cut by the edge' if row['touches_edge'] else ''}</td></tr>"
        for row in particles.sort("equivalent_diameter_angstrom", descending=True).head(_ROWS).iter_rows(named=True)
    )
    left_out = note(f"the largest {_ROWS} of {len(particles)}") if len(particles) > _ROWS else ""
    head = "<tr><th>no.</th><th>diameter [Å]</th><th>circularity</th><th>probability</th><th></th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>{left_out}'
