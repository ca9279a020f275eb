"""The contact sheet of a run: small pictures with verdict, Dice and particles, as a picture and as a page that opens offline."""

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from passband.base.errors import plain
from passband.report import pages
from passband.sessions.thumbnail import SIDE
from passband.verdicts.verdict import loss_in_words

# The palette's green, vermilion and greys, told apart by the colour-blind; the word stands beside it.
_COLOURS = {"yes": "#009e73", "no": "#d55e00", "cannot say": "#5b6875", "failed": "#1c2733", "": "#9aa5b1"}
# Images in picture and page; the table has all.
_MOST_DRAWN, _MOST_SHOWN = 200, 400
_CSS = """<style>
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(205px,46%),1fr));gap:12px;margin:1rem 0}
.shot{margin:0;border:1px solid #d9dfe5;border-top:5px solid var(--c);border-radius:4px;overflow:hidden;background:#fff}
.shot .see{display:flex;align-items:center;justify-content:center;aspect-ratio:1;background:#eef1f4;overflow:hidden}
.shot .see img{width:100%;height:100%;object-fit:contain;display:block}
.shot .why{padding:10px;font-size:.8em;color:#1c2733;overflow:auto;max-height:100%;overflow-wrap:anywhere}
.shot figcaption{padding:6px 9px 8px;font-size:.8em;line-height:1.4;color:#1c2733;font-variant-numeric:tabular-nums}
.shot figcaption span{display:block}.shot .name{font-weight:600;overflow-wrap:anywhere}
.shot .word{color:var(--c);font-weight:600;display:inline!important}.shot .more{color:#5b6875}
.wide{overflow-x:auto;font-size:.85em}.wide td{white-space:nowrap}
.wide td:first-child,.wide td:last-child{white-space:normal;min-width:12rem;overflow-wrap:anywhere}
</style>"""
_HEAD = (
    *("file", "pixel [Å]", "energy [kV]", "|defocus| [Å]", "C12 [Å]", "resolution [Å]", "verdict", "Dice (90 %)"),
    *("particles", "mean ± s.d. [nm]", "why, or what is wrong"),
)


def caption(row: dict[str, Any]) -> str:
    """Return an image of the table in one line of text."""
    fault = row["fault"]
    name = _name(row)
    if fault:
        # Most faults name the file themselves.
        return f"{name}: {_reason(row)}"
    loss = loss_in_words(_word(row), row["relative_loss"])
    return (
        f"{name}: {', '.join(part for part in (_word(row), loss, _dice(row), _particles(row), _optics(row)) if part)}"
    )


def cards(
    table: pl.DataFrame, thumbnails: Sequence[Path | None], folder: Path | None = None, most: int = _MOST_SHOWN
) -> str:
    """Return the sheet as HTML; pictures link to the overlays in a folder if it is given."""
    shots = []
    for row, small in list(zip(table.iter_rows(named=True), thumbnails, strict=True))[:most]:
        if small is None or not small.is_file():
            see = f'<div class="why">{html.escape(_reason(row))}</div>'
        else:
            see = pages.picture(small.read_bytes(), f"{_name(row)} with outlines of its particles", "image/jpeg")
            if folder is not None and row["results"]:
                see = f'<a href="{quote(row["results"] + "_overlay.png")}">{see}</a>'
        word, more = _word(row), [_particles(row), _optics(row)]
        lines = f'<span class="name">{html.escape(_name(row)).replace("_", "_<wbr>")}</span>'
        lines += f'<span><span class="word">{word}</span> {_dice(row)}</span>' if word or _dice(row) else ""
        lines += "".join(f'<span class="more">{html.escape(line)}</span>' for line in more if line)
        tip = html.escape("\n".join(str(row[key]) for key in ("file", "reasons", "advice") if row[key]))
        colour = _COLOURS[word]
        shots.append(
            f'<figure class="shot" style="--c:{colour}" title="{tip}"><div class="see">{see}</div><figcaption>{lines}</figcaption></figure>'
        )
    omitted = f"<p>the first {most} of {len(table)}</p>" if len(table) > most else ""
    return f'{_CSS}<div class="sheet">{"".join(shots)}</div>{omitted}'


def page(title: str, lines: Sequence[str], table: pl.DataFrame, thumbnails: Sequence[Path | None], folder: Path) -> str:
    """Return a page with the sheet and the table."""
    above = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    rows = [
        (
            _name(row, whole=True),
            _number(row["pixel_size_angstrom"], 4),
            _number(row["energy_ev"] and row["energy_ev"] / 1000, 4),
            "" if row["defocus_angstrom"] is None else f"{row['defocus_angstrom']:.0f}",
            _number(row["astigmatism_angstrom"], 2),
            _number(row["resolution_angstrom"], 3),
            _word(row),
            _dice(row).removeprefix("Dice "),
            "" if row["particles"] is None else row["particles"],
            _size(row),
            _reason(row) if row["fault"] else row["reasons"] or "",
        )
        for row in table.iter_rows(named=True)
    ]
    body = f'{above}{cards(table, thumbnails, folder)}<h2>Table</h2><div class="wide">{pages.table(rows, _HEAD)}</div>'
    return pages.page(title, body)


def picture(table: pl.DataFrame, thumbnails: Sequence[Path | None], headline: str) -> Image.Image:
    """Return the sheet as a picture about as wide as high: large images if they are few, small ones if they are many."""
    rows = list(zip(table.iter_rows(named=True), thumbnails, strict=True))[:_MOST_DRAWN]
    wide = min(max(math.ceil(math.sqrt(1.6 * len(rows))), 2), 12)
    # A last row that is nearly full looks better than one image more or less in each.
    across = min((wide, wide - 1, wide + 1), key=lambda n: -len(rows) % n)
    side = SIDE if len(rows) <= 24 else 224
    font, small, bold, gap = _font(side // 20), _font(side // 22), _font(side // 20, "-Bold"), side // 16
    line = font.getbbox("Åg")[3] + 4
    cell = (side + gap, side + 3 * line + 8 + gap)
    down = -(-len(rows) // across)
    title = _font(max(across * cell[0] // 90, 18))
    top = 3 * title.size
    sheet = Image.new("RGB", (across * cell[0] + gap, top + down * cell[1] + gap // 2), "white")
    draw = ImageDraw.Draw(sheet)
    text = headline + (f" (the first {_MOST_DRAWN})" if len(table) > len(rows) else "")
    while title.size > 11 and draw.textlength(text, title) > sheet.width - 2 * gap:
        title = _font(title.size - 1)
    draw.text((gap, top / 2), _fitted(draw, text, sheet.width - 2 * gap, title), "#1c2733", title, "lm")
    for i, (row, file) in enumerate(rows):
        x, y = gap + i % across * cell[0], top + i // across * cell[1]
        word, colour = _word(row), _COLOURS[_word(row)]
        draw.rectangle([x, y, x + side - 1, y + side - 1], fill="#eef1f4")
        if file is None or not file.is_file():
            reason = _wrapped(draw, _reason(row), side - 20, small, side // (line - 2) - 1)
            draw.multiline_text((x + 10, y + 12), reason, "#1c2733", small)
        else:
            with Image.open(file) as shot:
                shot.thumbnail((side, side), Image.Resampling.LANCZOS)
                sheet.paste(shot, (x + (side - shot.width) // 2, y + (side - shot.height) // 2))
        draw.rectangle([x, y + side, x + side - 1, y + side + 3], fill=colour)
        y += side + 7
        draw.text((x, y), _fitted(draw, _name(row), side, font), "#1c2733", font)
        draw.text((x, y + line), word, colour, bold)
        if dice := _dice(row):
            draw.text((x + draw.textlength(f"{word} ", bold), y + line), dice, "#1c2733", font)
        more = _particles(row) or _optics(row)
        draw.text((x, y + 2 * line), _fitted(draw, more, side, font), "#5b6875", font)
    return sheet


def _name(row: dict[str, Any], *, whole: bool = False) -> str:
    frame = "" if row["frame"] is None else f"#{row['frame']}"
    return plain((row["file"] if whole else Path(row["file"]).name) + frame)


def _reason(row: dict[str, Any]) -> str:
    """Return the fault without the name of the file."""
    file, fault = row["file"], str(row["fault"])
    return fault.removeprefix(f"{file}: ").removeprefix(f"{Path(file).name}: ")


def _word(row: dict[str, Any]) -> str:
    return "failed" if row["fault"] else row["verdict"] or ""


def _dice(row: dict[str, Any]) -> str:
    return "" if row["dice"] is None else f"Dice {row['dice']:.2f} ({row['dice_low']:.2f}–{row['dice_high']:.2f})"


def _particles(row: dict[str, Any]) -> str:
    if row["particles"] is None:
        return ""
    size = _size(row)
    return f"{row['particles']} particle{'s' * (row['particles'] != 1)}{f', {size} nm' if size else ''}"


def _size(row: dict[str, Any]) -> str:
    mean, deviation = row["mean_diameter_angstrom"], row["diameter_deviation_angstrom"]
    if mean is None:
        return ""
    return f"{mean / 10:.2f}" + ("" if deviation is None else f" ± {deviation / 10:.2f}")


def _optics(row: dict[str, Any]) -> str:
    if row["fault"] or row["defocus_angstrom"] is None:
        return ""
    return f"|defocus| {row['defocus_angstrom']:.0f} Å"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{float(f'{value:.{digits}g}'):g}"


def _font(size: int, weight: str = "") -> Any:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{weight}.ttf"), size)


def _fitted(draw: ImageDraw.ImageDraw, text: str, width: int, font: Any) -> str:
    """Return a text without its middle, if it is wider than that."""
    if draw.textlength(text, font) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and draw.textlength(text[: keep - keep // 2] + "…" + text[len(text) - keep // 2 :], font) > width:
        keep -= 1
    return text[: keep - keep // 2] + "…" + text[len(text) - keep // 2 :]


def _wrapped(draw: ImageDraw.ImageDraw, text: str, width: int, font: Any, most: int) -> str:
    """Return a text in lines of at most that width, and at most so many of them."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(_fitted(draw, word, width, font))
    lines = [line for line in lines if line]
    return "\n".join(lines if len(lines) <= most else [*lines[: most - 1], "…"])
