"""The page of a live session: the last answer, the course of the session, the last images. It reloads itself and needs no server."""

import html
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from passband.figures import session_course, style
from passband.report import pages
from passband.sessions import contact_sheet
from passband.sessions.image_run import ImageRun

#: Name of the page, beside the table.
PAGE = "live.html"
# Images on the page, the last ones.
_SHOWN = 24
_RELOAD_S, _SILENT_S = 5, 120
#: Style of `content`, beside that of every page.
STYLE = """
img{max-width:100%;height:auto}
.course{overflow-x:auto}.course img{min-width:680px}
.now{border-left:8px solid var(--c);padding:.3rem 1rem;margin:1rem 0;background:#f5f7f9}
.now b{font-size:1.7rem;color:var(--c)}.now p{margin:.2rem 0}
#silent{background:#d55e00;color:#fff;padding:.6rem 1rem;font-weight:600}"""


def page(run: ImageRun, times: Sequence[float], folder: str, *, ended: bool = False) -> str:
    """Return the page of a run so far; `times` is when each image was recorded [s since 1970]."""
    reload = "" if ended else _script(datetime.now().timestamp())
    more = '<p><a href="summary.html">All images</a></p>'
    body = f"<style>{STYLE}</style>{reload}{content(run, times, folder, ended=ended)}{more}"
    return pages.page(f"{run.model or 'optics'}: live", body)


def content(run: ImageRun, times: Sequence[float], folder: str, *, ended: bool = False, links: bool = True) -> str:
    """Return what the page shows, as HTML: state, last answer, course, last images; with `links` to the overlays beside it."""
    table = run.table.with_columns(time=pl.Series([datetime.fromtimestamp(t) for t in times], dtype=pl.Datetime))
    order = table["time"].arg_sort(descending=True)[:_SHOWN].to_list()
    now = datetime.now()
    state = f"ended at {now:%H:%M}" if ended else f"as of {now:%H:%M:%S}"
    parts = [f"<p>{html.escape(folder)}, {state}: {html.escape(run.headline)}</p>"]
    parts.append(_latest(table))
    if len(table):
        course = style.png(13, 6.5, lambda figure: session_course.draw(table, figure))
        shown = pages.picture(course, "predicted Dice, defocus, mean diameter and particles over time")
        parts.append(f'<div class="course">{shown}</div>')
        last = run.table[order]
        parts.append(
            f"<h2>Last images</h2>{contact_sheet.cards(last, [run.thumbnails[i] for i in order], run.folder if links else None)}"
        )
    return "".join(parts)


def _latest(table: pl.DataFrame) -> str:
    """Return the last answer, since when it has been the same, and what to do."""
    judged = table.filter(pl.col("verdict").is_not_null()).sort("time", descending=True)
    if not len(judged):
        return "<p>No verdict yet.</p>"
    last, alike = judged.row(0, named=True), judged["verdict"] == judged["verdict"][0]
    count = len(judged) if alike.all() else int(alike.arg_min() or 0)
    since, lines = judged["time"][count - 1], [last["advice"], last["reasons"]]
    of = f"{count} image{'s' * (count != 1)}"
    why = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line and last["verdict"] != "yes")
    colour, _ = session_course.VERDICTS[last["verdict"]]
    answer = f"<p><b>{last['verdict']}</b> since {since:%H:%M:%S} ({of})</p>"
    return f'<div class="now" style="--c:{colour}">{answer}{why}</div>'


def _script(written: float) -> str:
    """Return what reloads the page, and says so if the watch no longer writes it."""
    return f"""<div id="silent" hidden></div><script>
const age = Date.now() / 1000 - {written:.0f};
if (age > {_SILENT_S}) {{
  const bar = document.getElementById("silent");
  bar.hidden = false;
  bar.textContent = "The watch has written nothing for " + Math.round(age / 60) + " minutes: it may have ended.";
}}
setTimeout(() => location.reload(), {_RELOAD_S * 1000});
</script>"""
