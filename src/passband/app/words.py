"""Verdicts, estimates and lists as HTML. Whatever comes from files is escaped."""

import html
from collections.abc import Sequence
from typing import Any

import polars as pl

from passband.verdicts.zones import holds
from passband.verdicts.zones import in_words as zones_in_words

# Particles in a table; the page is to look at, and passband segment writes them all.
_ROWS = 200
_ANSWERS = {"yes": ("yes", "holds"), "no": ("no", "fails"), "cannot say": ("cannot say", "unknown")}


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


def verdict(found: dict[str, Any], measured: str = "") -> str:
    """Return a verdict's answer and numbers, coloured by the answer.

    Args:
        found: of `Verdict.to_dict`.
        measured: a further row, as HTML.
    """
    answer, kind = _ANSWERS[found["answer"]]
    name = html.escape(found["model"])
    if found["answer"] == "cannot say":
        body = f"whether {name} holds: {bullets(found['cannot_say'])}"
        return f'<div class="verdict {kind}"><b>{answer}</b><div>{body}{measured}</div></div>'
    says = f"{name} {holds(found)}: {found['zone']} ({zones_in_words(found['zone_shares'])})"
    rows = "".join(
        f"<tr><td>{title}</td><td><b>{v['predicted']:.3f}</b></td><td>{v['low']:.3f} to {v['high']:.3f}</td></tr>"
        for title, v in (("Dice", found["dice"]), ("loss", found["loss"]))
    )
    return (
        f'<div class="verdict {kind}"><b>{answer}</b><div>{says}<table><tr><th></th><th>predicted</th>'
        f"<th>{found['level']:.0%} of such cases</th></tr>{rows}</table>"
        f"<span>own loss, {'under its training conditions' if found['trained'] else 'of the best tenth of those scored'}: {found['own_loss']:.3f}</span>{measured}</div></div>"
    )


def why(found: dict[str, Any]) -> str:
    """Return advice, reasons and the nearest training condition, where there are any."""
    parts = section("What to do", f"<p>{html.escape(found['advice'])}</p>") if found["advice"] else ""
    parts += section("Why", bullets(found["reasons"]))
    parts += section("Taken for granted of the specimen", bullets([a.split(" (--")[0] for a in found["assumed"]]))
    near = found["nearest"]
    if near:
        delta = round(near["metrics"]["delta_epsilon"], 2) + 0.0
        line = (
            f"σ {near['metrics']['sigma']:.2f}, Δε {delta:+.2f} to {short(near['training_condition'])}: "
            f"{near['shares']['stable']:.0%} of {near['pairs']} such pairs held in the studies"
        )
        parts += section("Nearest training condition", f"<p>{html.escape(line)}</p>")
    return parts


def short(condition: dict[str, Any]) -> str:
    """Return a condition in a few words."""
    a, dose = condition["aberrations"], condition.get("dose_per_angstrom2")
    said = f"defocus {-a.get('C10', 0.0):+.0f} Å, C12 {a.get('C12', 0.0):.0f} Å, C30 {a.get('C30', 0.0) / 1e4:+.1f} µm"
    return said.replace("-", "−") + (f", {dose:.0f} e/Å²" if dose else "")


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
