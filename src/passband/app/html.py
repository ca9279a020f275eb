"""HTML of the page, with everything from files escaped, and errors that name the page's fields."""

import html
from collections.abc import Sequence
from typing import Any

from passband.base.errors import BadInputError
from passband.verdicts.zones import holds
from passband.verdicts.zones import in_words as zones_in_words

#: Fields of the page, by the parameter that they set.
FIELDS = {
    "pixel_size_angstrom": "the field “pixel size”",
    "energy_ev": "the field “energy”",
    "dose_per_angstrom2": "the field “dose”",
    "frames": "the field “image of a stack”",
}
_ANSWERS = {"yes": ("yes", "holds"), "no": ("no", "fails"), "cannot say": ("cannot say", "unknown")}


def error_text(error: BadInputError) -> str:
    """Return the line of an error, with parameters named as fields of the page."""
    return error.text(lambda name: FIELDS.get(name, name))


def refusal(fault: BadInputError | str) -> str:
    """Return a fault in red."""
    line = fault if isinstance(fault, str) else error_text(fault)
    return f'<p class="refusal">{html.escape(" ".join(line.split()))}</p>'


def note(line: str) -> str:
    """Return a line in grey."""
    return f'<p class="note">{html.escape(line)}</p>'


def bullets(lines: Sequence[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def section(title: str, body: str) -> str:
    """Return a titled part, or nothing if it is empty."""
    return f"<h3>{html.escape(title)}</h3>{body}" if body else ""


def verdict(content: dict[str, Any], measured: str = "") -> str:
    """Return a verdict's answer and numbers, coloured by the answer.

    Args:
        content: of `Verdict.to_dict`.
        measured: another row, as HTML.
    """
    answer, kind = _ANSWERS[content["answer"]]
    name = html.escape(content["model"])
    if content["answer"] == "cannot say":
        body = f"whether {name} holds: {bullets(content['cannot_say'])}"
        return f'<div class="verdict {kind}"><b>{answer}</b><div>{body}{measured}</div></div>'
    says = f"{name} {holds(content)}: {content['zone']} ({zones_in_words(content['zone_shares'])})"
    rows = "".join(
        f"<tr><td>{title}</td><td><b>{v['predicted']:.3f}</b></td><td>{v['low']:.3f} to {v['high']:.3f}</td></tr>"
        for title, v in (("Dice", content["dice"]), ("loss", content["loss"]))
    )
    return (
        f'<div class="verdict {kind}"><b>{answer}</b><div>{says}<table><tr><th></th><th>predicted</th>'
        f"<th>{content['level']:.0%} of such cases</th></tr>{rows}</table>"
        f"<span>own loss, {'under its training conditions' if content['trained'] else 'of the best tenth of those scored'}: {content['own_loss']:.3f}</span>{measured}</div></div>"
    )


def why(content: dict[str, Any]) -> str:
    """Return advice, reasons and the nearest training condition, where there are any."""
    parts = section("What to do", f"<p>{html.escape(content['advice'])}</p>") if content["advice"] else ""
    parts += section("Why", bullets(content["reasons"]))
    parts += section("Taken for granted of the specimen", bullets([a.split(" (--")[0] for a in content["assumed"]]))
    near = content["nearest"]
    if near:
        delta = round(near["metrics"]["delta_epsilon"], 2) + 0.0
        line = (
            f"σ {near['metrics']['sigma']:.2f}, Δε {delta:+.2f} to {short(near['training_condition'])}: "
            f"{near['shares']['stable']:.0%} of {near['pairs']} such pairs held in the studies"
        )
        parts += section("Nearest training condition", f"<p>{html.escape(line)}</p>")
    return parts


def short(condition: dict[str, Any]) -> str:
    """Return a short text of a condition."""
    a, dose = condition["aberrations"], condition.get("dose_per_angstrom2")
    text = f"defocus {-a.get('C10', 0.0):+.0f} Å, C12 {a.get('C12', 0.0):.0f} Å, C30 {a.get('C30', 0.0) / 1e4:+.1f} µm"
    return text.replace("-", "−") + (f", {dose:.0f} e/Å²" if dose else "")


def header(model: str) -> str:
    """Return the top line of the page."""
    return f"<header><b>passband</b><span>Does the network work under these conditions?</span><i>{html.escape(model)}</i></header>"
