"""Draw the results of every machine into docs/benchmarks.md and docs/images/benchmarks.png, and write docs/what_it_takes.md.

python benchmarks/draw.py
"""

import json
from pathlib import Path
from typing import Any

import what_it_takes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rows import RESULTS

from passband.figures import style

DOCS = Path(__file__).parent.parent / "docs"


def table(content: dict[str, Any]) -> list[str]:
    """Return one machine's rows as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    lines = [
        f"## {content['machine']}",
        "",
        f"{content['date']}; {versions}",
        "",
        "| work | passband | beside it | unit | ratio | aim | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    notes = []
    for row in content["rows"]:
        ours, theirs = ("–" if row[side] is None else f"{row[side]:.4g}" for side in ("ours", "yardstick"))
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        if len(row["ratios"]) > 1:
            ratio += f" ({row['ratios'][0]:.2f} to {row['ratios'][-1]:.2f})"
        aim = "" if row["aim"] is None else f"{row['aim']:g}"
        lines.append(
            f"| {row['name']} | {ours} | {theirs} | {row['unit']} | {ratio} | {aim} | {row.get('date', content['date'])} |"
        )
        if row["note"]:
            notes.append(f"- {row['name']}: {row['note']}.")
    return [*lines, "", *notes, ""]


def draw(contents: list[dict[str, Any]]) -> None:
    """Draw ratios and aims, a line each, on a logarithmic axis."""
    rows = [(c["machine"], r) for c in contents for r in c["rows"] if r["ratio"] is not None]
    with style.figure(8.4, 0.9 + 0.33 * len(rows)) as made:
        ax = made.subplots()
        for y, (_, row) in enumerate(reversed(rows)):
            met = row["aim"] is None or row["ratio"] >= row["aim"]
            ax.barh(y, row["ratio"] - 1, left=1, height=0.55, color=style.BLUE if met else style.ORANGE)
            if row["aim"] is not None:
                ax.plot([row["aim"]] * 2, [y - 0.4, y + 0.4], color="black", lw=2)
            ax.annotate(
                f"{row['ratio']:.3g}",
                (max(row["ratio"], row["aim"] or 1, 1), y),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        ax.set_yticks(range(len(rows)), [r["name"] for _, r in reversed(rows)], fontsize=8)
        ax.axvline(1, color="black", lw=0.8)
        ax.set_xscale("log")
        ax.set_xlabel("ratio to the comparison (above 1: passband is better)")
        kinds = (Patch(color=style.BLUE, label="aim met, or none set"), Patch(color=style.ORANGE, label="aim missed"))
        aim = Line2D([], [], color="black", lw=2, marker="|", markersize=10, linestyle="none", label="aim")
        ax.legend(handles=[*kinds, aim], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
        style.save(made, DOCS / "images", "benchmarks", formats=("png",))


def main() -> None:
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    head = ["# Benchmarks", "", "Made by `make bench`; both sides of a row are measured in one run, most of them in turn (then the ratio has a range).", "", "![Ratios](images/benchmarks.png)", ""]  # fmt: skip
    text = "\n".join([*head, *(line for c in contents for line in table(c))])
    (DOCS / "benchmarks.md").write_text(text.rstrip() + "\n", encoding="utf-8")
    draw(contents)
    what_it_takes.main()


if __name__ == "__main__":
    main()
