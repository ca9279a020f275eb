"""The verdict on a micrograph as a picture to save: the image with its outlines, the answer, and what it rests on."""

from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from passband.app import html
from passband.app.analyze import Analysis
from passband.base.version import __version__
from passband.figures.style import minus
from passband.verdicts.verdict import LEVEL, Verdict

# Sizes [pixels].
_SIDE, _WIDE, _GAP = 900, 720, 36
_INK, _GREY = "#212529", "#5b6875"
# Of the answer, and behind it; the words differ, too.
_COLOURS = {"yes": ("#2b5c8a", "#edf4fb"), "no": ("#a3530a", "#fdf1e5"), "cannot say": ("#495057", "#f1f3f5")}
# Most reasons.
_MOST = 6


@dataclass(frozen=True)
class _Line:
    """A text, its look, and what is left free above it [pixels]."""

    text: str
    size: int = 20
    colour: str = _INK
    bold: bool = False
    above: int = 5
    behind: str = "white"

    @property
    def font(self) -> Any:
        name = "DejaVuSans-Bold.ttf" if self.bold else "DejaVuSans.ttf"
        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), self.size)

    @property
    def pitch(self) -> int:
        return self.size * 4 // 3


def verdict_card(seen: Analysis, today: date | None = None) -> bytes:
    """Return the card of an analysed micrograph as a PNG; what has not been found out is left out."""
    found = seen.segmentation
    picture = Image.fromarray(seen.micrograph.grey()[0]).convert("RGB") if found is None else found.overlay()
    shrunk = _SIDE / max(picture.size)
    picture = picture.resize((round(picture.width * shrunk), round(picture.height * shrunk)), Image.Resampling.LANCZOS)
    lines = [(line, _wrapped(line)) for line in _lines(seen, today or date.today())]
    heights = [line.above + len(parts) * line.pitch for line, parts in lines]
    card = Image.new("RGB", (_SIDE + _WIDE + 3 * _GAP, max(_SIDE, sum(heights)) + 2 * _GAP), "white")
    card.paste(picture, (_GAP + (_SIDE - picture.width) // 2, _GAP))
    draw, x, y = ImageDraw.Draw(card), _SIDE + 2 * _GAP, _GAP
    for (line, parts), tall in zip(lines, heights, strict=True):
        draw.rectangle([x - 14, y, x + _WIDE + 14, y + tall], fill=line.behind)
        for i, part in enumerate(parts):
            draw.text((x, y + line.above + i * line.pitch), part, line.colour, line.font)
        y += tall
    content = BytesIO()
    card.save(content, format="PNG")
    return content.getvalue()


def _lines(seen: Analysis, today: date) -> list[_Line]:
    shot, lines = seen.micrograph, list[_Line]()
    h, w = (n * shot.pixel_size_angstrom / 10 for n in shot.intensity.shape)
    facts = f"{w:.3g} × {h:.3g} nm, pixels of {shot.pixel_size_angstrom:.4g} Å"
    lines.append(_Line(shot.name, 26, bold=True, above=0))
    lines.append(_Line(f"{facts}; {today:%Y-%m-%d}, passband {__version__}", 18, _GREY))
    if seen.verdict is not None:
        lines += _answer(seen.verdict)
    if seen.segmentation is not None:
        by_hand = ", corrected by hand" if seen.corrected else ""
        lines += _part("Particles", [f"{seen.segmentation}{by_hand}"])
    optics = [] if seen.estimate is None else seen.estimate.sentences
    lines += _part("Optics", optics[:3])
    verdict = seen.verdict
    if verdict is not None:
        reasons = [why.text(html.field) for why in verdict.reasons]
        lines += _part("Why", [reason for reason in reasons if reason not in optics][:_MOST])
        advice = verdict.advice_text(html.field)
        lines += _part("What to do", [advice] if advice else [])
    return lines


def _answer(verdict: Verdict) -> list[_Line]:
    ink, behind = _COLOURS[verdict.answer]
    lines = [_Line(verdict.answer, 46, ink, bold=True, above=16, behind=behind)]
    if verdict.dice is None:
        lines.append(_Line(f"{verdict.headline.removeprefix('cannot say ')}:", above=8, behind=behind))
        lines += [_Line(f"• {why.text(html.field)}", behind=behind) for why in verdict.cannot_say[:_MOST]]
    else:
        dice = verdict.dice
        lines.append(_Line(verdict.headline.partition(", ")[2], above=8, behind=behind))
        text = (
            f"predicted Dice {dice.predicted:.3f}, {LEVEL:.0%} of such cases within {dice.low:.3f} to {dice.high:.3f}"
        )
        lines.append(_Line(text, bold=True, behind=behind))
    return [*lines, _Line("", 8, behind=behind)]


def _part(title: str, texts: list[str]) -> list[_Line]:
    if not texts:
        return []
    marked = texts if len(texts) == 1 else [f"• {text}" for text in texts]
    return [_Line(title, bold=True, above=18), *(_Line(minus(text)) for text in marked)]


def _wrapped(line: _Line) -> list[str]:
    """Return a text in lines that fit."""
    font, lines = line.font, [""]
    for word in " ".join(line.text.split()).split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > _WIDE:
            lines.append("")
            longer = word
        # A word that is too long, as names of files may be, is broken.
        while font.getlength(longer) > _WIDE:
            kept = next(n for n in range(len(longer) - 1, 0, -1) if font.getlength(longer[:n]) <= _WIDE)
            lines[-1], longer = longer[:kept], longer[kept:]
            lines.append("")
        lines[-1] = longer
    return lines
