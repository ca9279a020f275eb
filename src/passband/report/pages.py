"""Parts of pages that open offline: the page, pictures inside it, tables; all text is escaped."""

import base64
import html
from collections.abc import Sequence

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:1rem auto;max-width:1500px;padding:0 1rem;color:#1c2733}
img,svg{max-width:100%;height:auto}table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #d9dfe5}th{font-weight:500}
pre{background:#f5f7f9;padding:1rem;overflow:auto;max-height:30rem}h2{margin-top:2rem}figcaption{color:#5b6875;font-size:.9em}
figure{margin:.6rem 0;overflow-x:auto}.head{display:flex;font-size:.85em;color:#5b6875}.head span{flex:1;text-align:center}"""


def page(title: str, body: str) -> str:
    """Return a page with a title above its body; the body is HTML."""
    name = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name} · passband</title><style>{_STYLE}</style></head><body><h1>{name}</h1>{body}</body></html>\n"
    )


def picture(content: bytes, alt: str, kind: str = "image/png") -> str:
    """Return an image element that carries its picture."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{html.escape(alt)}" src="data:{kind};base64,{data}">'


def table(rows: Sequence[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return a table, empty text without rows; without a head, the first column names the rows."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        first, *rest = (html.escape(str(cell)) for cell in row)
        name = f"<td>{first}</td>" if head else f"<th>{first}</th>"
        lines.append(f"<tr>{name}{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>")
    titles = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<table>{f'<tr>{titles}</tr>' if head else ''}{''.join(lines)}</table>"
