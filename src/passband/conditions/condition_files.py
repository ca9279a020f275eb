"""Conditions from files: YAML, STAR and CSV, presets by name, the notations of other programs."""

import csv
import difflib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from passband.base.errors import BadInputError
from passband.conditions.condition import ALIASES, PRESETS, SYMBOLS, Condition, canonical
from passband.conditions.notations import NOTATIONS, relion
from passband.conditions.notations.quantities import once, parsed
from passband.conditions.sets import ConditionDraw, ConditionSet
from passband.conditions.stem_condition import STEM_PRESETS, AnyCondition, StemCondition, is_of_stem
from passband.conditions.widths import WIDTHS
from passband.files import yaml_config

Labelled = list[tuple[str, Condition]]
_SET_KEYS = {"vary", "draw", "mixture", "focal_series"}
# Columns of a CSV file: these fields, and all that `aberrations` takes.
_FIELDS = {*Condition.model_fields, *WIDTHS} - {"aberrations", "detector"}
_COLUMNS = {n.lower(): n for n in ("label", "defocus", "defocus_angstrom", *SYMBOLS, *ALIASES, *_FIELDS)}


def preset_sources(name: str) -> dict[str, Any]:
    """Return the description of a preset of HRTEM or STEM (`about`) and the sources of its numbers (`sources`)."""
    content, _ = yaml_config.read_yaml((PRESETS | STEM_PRESETS)[name])
    return {"about": content["about"], "sources": content["sources"]}


def load_condition(source: str | Path) -> Condition:
    """Return the one condition of a file, or of a preset by name; BadInputError also if the file holds several."""
    return _of_hrtem(load_any_condition(source), source)


def load_any_condition(source: str | Path) -> AnyCondition:
    """Return a condition as `load_condition` does, of HRTEM or STEM."""
    conditions = load_any_conditions(source)
    if len(conditions) > 1:
        what = f"holds {len(conditions)} conditions where one is needed"
        raise BadInputError(what, remedy="give a file of one", place=source)
    return conditions[0][1]


def load_conditions(source: str | Path) -> Labelled:
    """Return labels and conditions of a condition file, a distribution, a preset, a STAR or a CSV file: those of HRTEM.

    A preset has one condition, its nominal one; NAME:residuals draws from its distribution of residual aberrations. A BadInputError
    gives file, line, value and remedy.
    """
    return [(label, _of_hrtem(condition, source)) for label, condition in load_any_conditions(source)]


def load_any_conditions(source: str | Path) -> Sequence[tuple[str, AnyCondition]]:
    """Return labels and conditions as `load_conditions` does, of HRTEM or STEM."""
    source = Path(source)
    if str(source) in STEM_PRESETS and not source.exists():
        return [(str(source), StemCondition.preset(str(source)))]
    name, part = _preset(source)
    if name is not None:
        if not part:
            return [(name, Condition.preset(name))]
        draw = load_any_distribution(source)
        return [(f"{name}:{label}", c) for label, c in zip(draw.labels(), draw.conditions(), strict=True)]
    if not source.exists() and source.suffix == "":
        raise _no_preset(source)
    if source.suffix.lower() == ".star":
        return _star(source)
    if source.suffix.lower() == ".csv":
        return _csv(source)
    content, lines = yaml_config.read_yaml(source)
    if isinstance(content, dict) and _SET_KEYS & set(content):
        several = load_any_distribution(source)
        return list(zip(several.labels(), several.conditions(), strict=True))
    if isinstance(content, dict) and "notation" in content:
        return [(source.stem, _translated(content, source, lines))]
    kind: type[Condition] | type[StemCondition] = StemCondition if is_of_stem(content) else Condition
    return [(source.stem, yaml_config.validate(kind, content, source, lines))]


def _no_preset(source: Path) -> BadInputError:
    name, _, part = str(source).partition(":")
    if name in STEM_PRESETS and part:
        what = f"{source}: STEM presets have no residual aberrations"
        return BadInputError(f"{what}; write a file with base: {name} and draw")
    of_hrtem, of_stem = ", ".join(PRESETS), ", ".join(STEM_PRESETS)
    close = difflib.get_close_matches(name, [*PRESETS, *STEM_PRESETS], n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    presets = f"presets are {of_hrtem}, each also with :residuals, and of STEM {of_stem}"
    return BadInputError(f"{source}: neither a file nor a preset; {meant}{presets}")


def _of_hrtem(condition: AnyCondition, source: str | Path) -> Condition:
    if isinstance(condition, StemCondition):
        raise BadInputError("is a STEM condition", remedy="give one of HRTEM", place=source)
    return condition


def load_distribution(source: str | Path) -> ConditionSet:
    """Return the distribution of a YAML file, or of a preset's residual aberrations (NAME:residuals): of HRTEM conditions."""
    several = load_any_distribution(source)
    _of_hrtem(several.conditions()[0], source)
    return several


def load_any_distribution(source: str | Path) -> ConditionSet:
    """Return a distribution as `load_distribution` does, of HRTEM or STEM conditions."""
    source = Path(source)
    name, part = _preset(source)
    if name is not None and part:
        content, _ = yaml_config.read_yaml(PRESETS[name])
        return ConditionDraw.model_validate({"base": Condition.preset(name), "draw": content["residuals"], "count": 64})
    if not source.exists() and source.suffix == "":
        example = f"{name or next(iter(PRESETS))}:residuals"
        raise BadInputError(f"{source}: neither a file nor a preset's residual aberrations, such as {example}")
    content, lines = yaml_config.read_yaml(source)
    if not isinstance(content, dict) or not _SET_KEYS & set(content):
        raise BadInputError(f"{source}: is no distribution of conditions; give base and draw, or mixture")
    if "notation" in content and "focal_series" in content:
        series = content.pop("focal_series")
        content = {"base": _translated(content, source, lines), "focal_series": series}
    try:
        several: ConditionSet = TypeAdapter(ConditionSet).validate_python(content)
    except ValidationError as error:
        raise BadInputError(yaml_config.one_line(error, source, lines, set(), skip=1)) from None
    return several


def export(condition: Condition, notation: str) -> dict[str, Any]:
    """Return a condition in another notation, as content of a file that `load_condition` reads back.

    BadInputError if the notation is not known or has no place for the condition.
    """
    if notation not in NOTATIONS:
        raise BadInputError(f"notation {notation!r} is not known; known are {', '.join(NOTATIONS)}")
    module = NOTATIONS[notation]
    try:
        content = module.write(condition)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    theirs = ("aberrations", *getattr(module, "FIELDS", ()))
    ours = {n: v for n, v in condition.to_dict().items() if n not in theirs and v not in (None, 0.0)}
    return {"notation": notation, **ours, **content}


def _preset(source: Path) -> tuple[str | None, str]:
    """Return the preset that a source names, in upper or lower case, and `residuals` if it asks for them; None for a file."""
    lower, _, part = str(source).lower().partition(":")
    name = next((preset for preset in PRESETS if preset.lower() == lower), None)
    return (name, part) if part in ("", "residuals") and not source.exists() else (None, "")


def _translated(content: dict[str, Any], path: Path, lines: yaml_config.Lines) -> Condition:
    content = {str(key): value for key, value in content.items()}
    notation = str(content.pop("notation")).lower()
    if notation not in NOTATIONS:
        what = f"notation {notation!r} is not known; known are {', '.join(NOTATIONS)}"
        raise BadInputError(f"{path}:{lines.get(('notation',), 1)}: {what}")
    module = NOTATIONS[notation]
    known = {*Condition.model_fields, *WIDTHS} - {"aberrations"}
    ours = {n: content.pop(n) for n in list(content) if n in known}
    needed = {n: ours[n] for n in getattr(module, "NEEDS", ()) if n in ours}
    try:
        fields = module.read(content | needed)
        for name in sorted(set(fields) & set(ours)):
            raise ValueError(f"{name} is given, and in the words of {notation}, too; keep one of them")
        notes = module.doubts(content | ours) if hasattr(module, "doubts") else []
    except ValueError as error:
        key = next((k for k in content if k in str(error)), "notation")
        raise BadInputError(f"{path}:{lines.get((key,), 1)}: {error}") from None
    return yaml_config.validate(Condition, fields | ours, path, lines).noted(notes)


def _star(path: Path) -> Labelled:
    text = yaml_config.read_text(path, "STAR file")
    try:
        rows = relion.rows(text)
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from None
    return [
        (f"{i + 1}: {row.name}", yaml_config.validate(Condition, row.fields, path, {}).noted(row.notes))
        for i, row in enumerate(rows)
    ]


def _csv(path: Path) -> Labelled:
    """Read a condition a row: columns are fields of a condition file, defocus_angstrom, symbols or aliases; `label` names it."""
    reader = csv.reader(io.StringIO(yaml_config.read_text(path, "CSV file"), newline=""), skipinitialspace=True)
    names: list[str] = []
    conditions: Labelled = []
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row):
                continue
            if names:
                conditions.append(_row(names, row, f"row {len(conditions) + 1}"))
            else:
                names = _columns(row)
    except (csv.Error, ValueError) as error:
        what = f"not valid CSV: {error}; give short plain values" if isinstance(error, csv.Error) else error
        raise BadInputError(f"{path}:{reader.line_num}: {what}") from None
    if not conditions:
        raise BadInputError(f"{path}: has no rows; write a condition a line below the names of the columns")
    return conditions


def _columns(header: list[str]) -> list[str]:
    names = [_COLUMNS.get(name.lower(), name) for name in header]
    if "energy_ev" not in names:
        raise ValueError("has no column energy_ev; the first line names the columns, separated by commas")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"column {name} is there twice; keep one of them")
    once({name: canonical(name, 0.0)[0] for name in names})
    return names


def _row(names: list[str], row: list[str], label: str) -> tuple[str, Condition]:
    if len(row) != len(names):
        raise ValueError(f"has {'more' if len(row) > len(names) else 'fewer'} values than the first line has columns")
    given = {name: text for name, text in zip(names, row, strict=True) if text}
    label = given.pop("label", label)
    values = {name: _cell(name, text) for name, text in given.items()}
    fields: dict[str, Any] = {n: values.pop(n) for n in list(values) if n in _FIELDS}
    return label, Condition(**fields, aberrations=values)


def _cell(name: str, text: str) -> float | int | str:
    """Return a value of a CSV file: a word where the field takes words, else a number."""
    if name == "coherence":
        return text.lower()
    number = parsed(name, text)
    return int(number) if name == "quadrature_nodes" and number.is_integer() else number
