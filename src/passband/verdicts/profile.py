"""The profile of a scored model as a page: Dice over defocus and dose, zones, the worst conditions."""

import html
from pathlib import Path

import polars as pl
from matplotlib.figure import Figure

from passband.figures import model_profile, style
from passband.files.atomic import write_text
from passband.models.store import Model
from passband.report import pages
from passband.verdicts.summary import in_words, summary
from passband.verdicts.verdict_model import VerdictModel
from passband.verdicts.zones import NAMES, zones

_WORST = 12


def write_profile(model: Model, path: Path) -> Path:
    """Write the profile of a model as one HTML page that opens offline, and return its path.

    Raises:
        BadInputError: if the model has not been scored, or the page cannot be written.
    """
    table, limits = VerdictModel(model).calibration_table(), zones()

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        model_profile.draw(table, left, right, limits.stable_up_to, limits.collapse_from)

    picture = style.png(11, 4.2, draw, dpi=160)
    works = float((table["zone"] == NAMES[0]).mean())
    rows = [
        [r["label"].replace("-", "−"), f"{r['dice']:.3f}", f"{r['ratio']:.1f} ×", r["zone"]]
        for r in table.sort("dice").head(_WORST).iter_rows(named=True)
    ]
    parts = [
        f"<p><b>{html.escape(model.card.name)} works under {works:.0%} of the {len(table)} conditions that it was scored under: "
        f"a loss up to {limits.stable_up_to:g} × the in-domain loss.</b> From {limits.collapse_from:g} × on it has collapsed; between, it is degraded.</p>",
        f"<figure>{pages.picture(picture, 'Dice over defocus and dose, relative loss over defocus')}"
        "<figcaption>Each point is a condition, scored on many simulated fields.</figcaption></figure>",
        f"<h2>The worst {len(rows)} conditions</h2>{pages.table(rows, ('condition', 'Dice', 'loss / in-domain loss', 'zone'))}",
        "<h2>By zone</h2>"
        + pages.table(_by_zone(table), ("zone", "conditions", "mean Dice", "defocus [Å]", "dose [e/Å²]")),
        "<h2>The model</h2><ul>"
        + "".join(f"<li>{html.escape(line)}</li>" for line in in_words(summary(model)))
        + "</ul>",
    ]
    write_text(path, pages.page(f"Profile of {model.card.name}", "".join(parts)))
    return path


def _by_zone(table: pl.DataFrame) -> list[list[str]]:
    rows = []
    for zone in NAMES:
        own = table.filter(pl.col("zone") == zone)
        if len(own):
            ends = (
                f"{own[c].min():.0f} to {own[c].max():.0f}".replace("-", "−") if own[c].count() else "–"
                for c in ("defocus_angstrom", "dose_per_angstrom2")
            )
            rows.append([zone, str(len(own)), f"{own['dice'].mean():.3f}", *ends])
    return rows
