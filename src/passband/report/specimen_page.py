"""Pages of specimens: one with a 3-D view, and a gallery; each a single file that opens offline."""

import base64
import html
from pathlib import Path
from typing import Any

import numpy as np

from passband.files.atomic import write_text

_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1500px;padding:0 1rem;color:#222}
img{max-width:100%}table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .7rem;text-align:left;border-bottom:1px solid #ddd}
pre{background:#f6f6f6;padding:1rem;overflow:auto;max-height:30rem}h2{margin-top:2rem}figcaption{color:#555;font-size:.9em}
figure{margin:.6rem 0}.head{display:flex;font-size:.85em;color:#555}.head span{flex:1;text-align:center}"""


def write_preview(
    path: Path, title: str, sheet: bytes, atoms: dict[str, Any], rows: list[dict[str, Any]], recipe: str
) -> None:
    """Write the page of one specimen.

    Args:
        path: of the page.
        title: of the page.
        sheet: a PNG.
        atoms: `positions` [N, 3] [Å], `symbols` [N], `colours` and `sizes` by symbol, for the 3-D view.
        rows: a mapping for each particle.
        recipe: YAML.
    """
    body = (
        f"<h1>{html.escape(title)}</h1>{_table(rows)}{_picture(sheet, 'sheet of the specimen')}"
        f"<h2>In three dimensions</h2>{_view(atoms)}<h2>Recipe</h2><pre>{html.escape(recipe)}</pre>"
    )
    write_text(path, _page(title, body))


def write_gallery(path: Path, title: str, conditions: list[str], scenes: list[dict[str, Any]]) -> None:
    """Write a gallery.

    Args:
        path: of the page.
        title: of the page.
        conditions: names of the images' columns.
        scenes: `title`, `text` and `sheet` (a PNG) of each.
    """
    columns = ["potential, columns", "side", *conditions, "instances", "distance to boundary", "thickness"]
    head = '<div class="head">' + "".join(f"<span>{html.escape(c)}</span>" for c in columns) + "</div>"
    parts = [
        f"<figure><figcaption><b>{html.escape(s['title'])}</b> {html.escape(s['text'])}</figcaption>{head}{_picture(s['sheet'], s['title'])}</figure>"
        for s in scenes
    ]
    write_text(path, _page(title, f"<h1>{html.escape(title)}</h1>" + "".join(parts)))


def _page(title: str, body: str) -> str:
    return f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>'


def _picture(png: bytes, alt: str) -> str:
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}">'


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = ["".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) for row in rows]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _view(atoms: dict[str, Any]) -> str:
    import plotly.graph_objects as go

    symbols, positions = np.asarray(atoms["symbols"]), np.round(atoms["positions"], 2)
    traces = []
    for symbol in dict.fromkeys(symbols.tolist()):
        x, y, z = positions[symbols == symbol].T
        marker = {"size": atoms["sizes"][symbol], "color": atoms["colours"][symbol], "line": {"width": 0}}
        traces.append(go.Scatter3d(x=x, y=y, z=z, mode="markers", name=symbol, marker=marker, hoverinfo="name"))
    made = go.Figure(traces)
    made.update_layout(
        height=700,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={"aspectmode": "data", "xaxis_title": "x [Å]", "yaxis_title": "y [Å]", "zaxis_title": "z [Å], beam"},
    )
    return str(made.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False}))
