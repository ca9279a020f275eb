"""Where a session can record: the verdicts of one or several models over a plane of defocus and dose."""

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from passband.base.errors import BadInputError, parameter
from passband.conditions import Condition
from passband.figures import session_plane, style
from passband.files.atomic import write_files
from passband.files.tables import parquet
from passband.models.store import require_hrtem
from passband.report import pages
from passband.verdicts.calibrated_model import answer_of, surely_works
from passband.verdicts.verdict import Prediction
from passband.verdicts.verdict_model import VerdictModel
from passband.verdicts.zones import NAMES

# Defoci and doses of a plane at most, and those that are made of a range.
_MOST_POINTS, _DEFOCI, _DOSES = 20_000, 61, 13
# Half the range of the defocus [Å] and the range of the dose [e/Å²] if none are given.
_AROUND, _USUAL_DOSES = 300.0, (50.0, 2000.0)
_LARGEST_DEFOCUS, _LEAST_DOSE, _LARGEST_DOSE = 1e6, 1e-3, 1e9
# Of two answers the better, before the Dice decides.
_RANK = {"yes": 2, "no": 1, "cannot say": 0}
_SCHEMA = {
    **dict.fromkeys(("defocus_angstrom", "dose_per_angstrom2"), pl.Float64),
    **dict.fromkeys(("model", "answer"), pl.String),
    **dict.fromkeys(("dice", "dice_low", "dice_high", "relative_loss", "probability"), pl.Float64),
    **dict.fromkeys(("recommended", "better"), pl.Boolean),
    "cannot_say": pl.String,
}


@dataclass(frozen=True)
class DoseRange:
    """Where to record at a dose: recommended ranges of the defocus [Å], and the best with its Dice; no ranges if there are none."""

    dose_per_angstrom2: float
    defocus_ranges_angstrom: tuple[tuple[float, float], ...]
    best_defocus_angstrom: float | None
    best_dice: float | None
    best_model: str | None


@dataclass(frozen=True, eq=False, repr=False)
class SessionPlan:
    """Verdicts over a plane of defocus and dose. `print` shows where to record, and so does a notebook.

    Attributes:
        models: names of the models.
        condition: what the microscope does; its defocus and dose are replaced by those of the plane.
        table: a row for each model at each point of the plane: defocus_angstrom, dose_per_angstrom2, model, answer (yes, no, cannot say),
            dice with the ends of its interval, relative_loss (over the in-domain loss), probability (that the model works), recommended
            (probability of 0.8 or more), better (of the models here the best), cannot_say (why).
    """

    models: tuple[str, ...]
    condition: Condition
    table: pl.DataFrame

    @cached_property
    def plane(self) -> pl.DataFrame:
        """The rows of the better model at each point, by dose and defocus."""
        return self.table.filter("better").sort("dose_per_angstrom2", "defocus_angstrom")

    @property
    def works(self) -> bool:
        """Whether the answer is yes somewhere."""
        return bool((self.plane["answer"] == "yes").any())

    @cached_property
    def ranges(self) -> list[DoseRange]:
        """Where to record at each dose, lowest dose first."""
        rows = self.plane.partition_by("dose_per_angstrom2", maintain_order=True)
        return list(map(_range_of, rows))

    @cached_property
    def _lines(self) -> list[str]:
        """Return where to record, lowest dose that suffices, and where nothing can be said."""
        good = [r for r in self.ranges if r.defocus_ranges_angstrom]
        lines = []
        if good:
            usual = self.condition.dose_per_angstrom2 or math.inf
            best = min(good, key=lambda r: abs(math.log(r.dose_per_angstrom2) - math.log(min(usual, _LARGEST_DOSE))))
            lines = [f"record at {_where(best)} (best at {_best(best, several=len(self.models) > 1)})"]
            if good[0] is not best:
                lines.append(
                    f"the lowest dose that suffices is {good[0].dose_per_angstrom2:g} e/Å², at {_where(good[0], dose=False)}"
                )
        elif self.works:
            likely = self.plane.filter(pl.col("answer") == "yes").sort("probability").row(-1, named=True)
            where = f"{_signed(likely['defocus_angstrom'])} Å and {likely['dose_per_angstrom2']:g} e/Å²"
            share = f"{likely['probability']:.0%}"
            lines = [
                f"no defocus can be recommended; the most likely one is {where}, where it works with a probability of {share}"
            ]
        else:
            names = " nor ".join(self.models)
            lines = [f"{names} works nowhere on this plane"]
            known = self.plane.filter(pl.col("answer") == "no").sort("dice")
            if len(known):
                best_row = known.row(-1, named=True)
                where = f"{_signed(best_row['defocus_angstrom'])} Å and {best_row['dose_per_angstrom2']:g} e/Å²"
                lines[0] += f"; the highest predicted Dice is {best_row['dice']:.2f}, at {where}"
        unknown = self.plane.filter(pl.col("answer") == "cannot say")
        if len(unknown):
            [(why, _)] = Counter(unknown["cannot_say"].to_list()).most_common(1)
            lines.append(f"cannot say at {len(unknown)} of {len(self.plane)} points, such as {_place(unknown)}: {why}")
        return [style.minus(line) for line in lines]

    def __str__(self) -> str:
        return "\n".join([f"{' or '.join(self.models)}:", *(f"  {line}" for line in self._lines)])

    __repr__ = __str__

    def plot(self) -> Figure:
        """Return the plane as a figure."""
        with style.shown(*self._inches) as made:
            session_plane.draw(self.plane, made)
            return made

    @property
    def _inches(self) -> tuple[float, float]:
        return (7.2, 4.6) if len(self.models) == 1 else (11.5, 4.8)

    @cached_property
    def _png(self) -> bytes:
        return style.png(*self._inches, lambda made: session_plane.draw(self.plane, made), dpi=160)

    def html(self) -> str:
        """Return the picture, where to record, and the table of ranges, as HTML."""
        several = len(self.models) > 1
        rows = [
            [
                f"{r.dose_per_angstrom2:g}",
                style.minus(_ranges(r)) if r.defocus_ranges_angstrom else "none",
                style.minus(_best(r, several=several)) if r.best_dice is not None else "–",
            ]
            for r in self.ranges
        ]
        caption = (
            "Predicted Dice. Solid outline: the answer is yes. Dotted: recommended, the model works with a probability of 0.8 or more. "
            "Grey: cannot say."
        )
        return (
            f"<p><b>{'<br>'.join(map(html.escape, self._lines))}</b></p>"
            f"<figure>{pages.picture(self._png, 'Predicted Dice over defocus and dose')}<figcaption>{caption}</figcaption></figure>"
            f"<h2>Recommended defocus by dose</h2>{pages.table(rows, ('dose [e/Å²]', 'defocus [Å], positive = underfocus', 'best'))}"
        )

    def _repr_html_(self) -> str:
        return self.html()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data: models, condition, works, ranges by dose, and the plane column by column."""
        return {
            "models": list(self.models),
            "condition": self.condition.to_dict(),
            "works": self.works,
            "summary": self._lines,
            "ranges": [
                vars(r) | {"defocus_ranges_angstrom": [list(e) for e in r.defocus_ranges_angstrom]} for r in self.ranges
            ],
            "plane": self.plane.drop("better").to_dict(as_series=False),
        }

    def save(self, folder: Path) -> dict[str, str]:
        """Write plan.png, plan.html, plan.parquet and plan.csv into a folder, and return their paths by ending."""
        title = f"Where {' or '.join(self.models)} works: defocus and dose"
        rest = f"<h2>The microscope</h2><p>Its defocus and dose do not count.</p><pre>{html.escape(str(self.condition))}</pre>"
        content = {
            "png": self._png,
            "html": pages.page(title, self.html() + rest).encode(),
            "parquet": parquet(self.table),
            "csv": self.table.write_csv().encode(),
        }
        paths = {ending: folder / f"plan.{ending}" for ending in content}
        write_files({path: partial(_write_bytes, content[ending]) for ending, path in paths.items()})
        return {ending: str(path) for ending, path in paths.items()}


def plan_session(
    models: Sequence[VerdictModel],
    condition: Condition | None = None,
    defocus: Sequence[float] | None = None,
    dose: Sequence[float] | None = None,
) -> SessionPlan:
    """Return the verdicts of models over a plane of defoci [Å] and doses [e/Å²], otherwise under a condition.

    Two values are the ends of an axis, more are its values; without any the defocus spans 300 Å on either side of the condition's, and
    the dose 50 to 2000 e/Å². The first model's reference condition stands for one that is not given. BadInputError if a value is out of
    range, or no model was calibrated at the condition's energy.
    """
    for model in models:
        require_hrtem(model.card)
    names = [model.card.name for model in models]
    if len(set(names)) < len(names):
        raise BadInputError(f"models {', '.join(names)}: one is given twice; keep one of them", value=names)
    base = models[0].domain.reference() if condition is None else condition
    focus = base.defocus_angstrom
    defocus = (focus - _AROUND, focus + _AROUND) if defocus is None else defocus
    dose = _USUAL_DOSES if dose is None else dose
    defoci = _axis("defocus", _between("defocus", *defocus) if len(defocus) == 2 else defocus)
    doses = _axis("dose", _between("dose", *dose) if len(dose) == 2 else dose)
    if len(defoci) * len(doses) > _MOST_POINTS:
        count = len(defoci) * len(doses)
        raise BadInputError(
            f"the plane has {count} points, and up to {_MOST_POINTS} are drawn; give fewer values", value=count
        )
    wrong = [model.domain.energy_objections(base.energy_ev) for model in models]
    if all(wrong):
        known = ", ".join(f"{m.card.name} {m.domain.energy_ev / 1000:g} kV" for m in models)
        what = f"the energy is {base.energy_ev / 1000:g} kV, and the models were calibrated at another ({known})"
        raise BadInputError(what, value=base.energy_ev, remedy="choose a model of that energy, or train one")
    points = [(x, y) for y in doses for x in defoci]
    conditions = [base.varied(defocus=x, dose=y) for x, y in points]
    rows = [
        [_row(point, model, answer) for point, answer in zip(points, model.predictions(conditions), strict=True)]
        for model in models
    ]
    for point in zip(*rows, strict=True):
        max(point, key=lambda row: (_RANK[row["answer"]], row["recommended"], row["dice"] or 0.0))["better"] = True
    table = pl.DataFrame([row for of_model in rows for row in of_model], schema=_SCHEMA)
    return SessionPlan(tuple(names), base, table)


def _between(name: str, low: float, high: float) -> list[float]:
    """Return the values of an axis from one to another: up to 61 round defoci, or 13 doses, each the same factor above the last."""
    for end in (low, high):
        _check(name, end)
    if low >= high:
        remedy = f"give the lower end first, such as {'-300:300' if name == 'defocus' else '50:2000'}"
        raise BadInputError(f"{parameter(name)} {low:g}:{high:g} is no range", value=(low, high), remedy=remedy)
    if name == "dose":
        between = [float(f"{d:.3g}") for d in np.geomspace(low, high, _DOSES)[1:-1]]
    else:
        power = 10.0 ** math.floor(math.log10((high - low) / (_DEFOCI - 1)))
        step = next(n * power for n in (1, 2, 5, 10) if n * power * (_DEFOCI - 1) >= (high - low) * (1 - 1e-9))
        between = (np.arange(math.ceil(low / step), high / step) * step).tolist()
    return sorted({float(low), *(value for value in between if low < value < high), float(high)})


def _check(name: str, value: Any) -> None:
    """Refuse what is no defocus or dose."""
    low, high = (_LEAST_DOSE, _LARGEST_DOSE) if name == "dose" else (-_LARGEST_DEFOCUS, _LARGEST_DEFOCUS)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        what = f"{parameter(name)} {value} is outside {low:g} to {high:g} {'e/Å²' if name == 'dose' else 'Å'}"
        raise BadInputError(what, value=value, limit=(low, high), remedy="give a range within")


def _axis(name: str, values: Sequence[float]) -> list[float]:
    """Return the different values of an axis, lowest first."""
    for value in values:
        _check(name, value)
    if len(set(values)) < 2:
        what = f"{parameter(name)} {', '.join(map(str, values)) or 'is empty'}: a plane needs two values or more"
        raise BadInputError(what, value=list(values))
    return sorted({float(value) for value in values})


def _row(point: tuple[float, float], model: VerdictModel, answer: Prediction | list[Any]) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_SCHEMA) | {
        "defocus_angstrom": point[0],
        "dose_per_angstrom2": point[1],
        "model": model.card.name,
        "better": False,
    }
    if not isinstance(answer, Prediction):
        return row | {"answer": "cannot say", "recommended": False, "cannot_say": "; ".join(map(str, answer))}
    dice = answer.dice
    return row | {
        "answer": answer_of(answer),
        "dice": dice.predicted,
        "dice_low": dice.low,
        "dice_high": dice.high,
        "relative_loss": answer.loss.predicted / model.in_domain_loss,
        "probability": answer.zone_shares[NAMES[0]],
        "recommended": surely_works(answer),
    }


def _range_of(rows: pl.DataFrame) -> DoseRange:
    """Return the recommended ranges of a dose, from its rows in the order of the defocus: runs of points that are recommended."""
    runs: list[list[float]] = []
    open_ = False
    for defocus, good in rows.select("defocus_angstrom", "recommended").iter_rows():
        if good and open_:
            runs[-1][1] = defocus
        elif good:
            runs.append([defocus, defocus])
        open_ = good
    dose, best = rows["dose_per_angstrom2"][0], rows.filter("recommended").sort("dice")
    if not len(best):
        return DoseRange(dose, (), None, None, None)
    row = best.row(-1, named=True)
    ranges = tuple((low, high) for low, high in runs)
    return DoseRange(dose, ranges, row["defocus_angstrom"], row["dice"], row["model"])


def _ranges(at: DoseRange) -> str:
    parts = [
        f"{_signed(low)} to {_signed(high)}" if low < high else _signed(low) for low, high in at.defocus_ranges_angstrom
    ]
    return " or ".join(parts)


def _where(at: DoseRange, *, dose: bool = True) -> str:
    return f"a defocus of {_ranges(at)} Å" + (f" with {at.dose_per_angstrom2:g} e/Å²" if dose else "")


def _best(at: DoseRange, *, several: bool) -> str:
    return f"{_signed(at.best_defocus_angstrom or 0.0)} Å: Dice {at.best_dice:.2f}" + (
        f", {at.best_model}" if several else ""
    )


def _signed(defocus: float) -> str:
    return f"{defocus:+.0f}" if round(defocus) else "0"


def _place(rows: pl.DataFrame) -> str:
    """Return the middle one of some points in words."""
    row = rows.row(len(rows) // 2, named=True)
    return f"{_signed(row['defocus_angstrom'])} Å and {row['dose_per_angstrom2']:g} e/Å²"


def _write_bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)
