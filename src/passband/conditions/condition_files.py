"""Conditions from files: YAML, STAR and CSV, presets by name, the notations of other programs."""

import csv
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from passband.base.errors import BadInputError
from passband.conditions.condition import PRESETS, Condition
from passband.conditions.notations import NOTATIONS, ctffind, relion
from passband.conditions.sets import ConditionDraw, ConditionSet
from passband.files import yaml_config

Labelled = list[tuple[str, Condition]]


def preset_names() -> list[str]:
    """Return the names of the presets."""
    return list(PRESETS)


def load_condition(source: str | Path) -> Condition:
    """Return the one condition of a file, or of a preset by name.

    Raises:
        BadInputError: with file, line, value and remedy; also if the file holds several.
    """
    conditions = load_conditions(source)
    if len(conditions) > 1:
        raise BadInputError(
            f"holds {len(conditions)} conditions where one is needed", remedy="give a file of one", place=source
        )
    return conditions[0][1]


def load_conditions(source: str | Path) -> Labelled:
    """Return labels and conditions of a condition file, a distribution, a preset, a STAR or a CSV file.

    A preset has one condition, its nominal one; NAME:residuals draws from its distribution of residual aberrations.

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    source = Path(source)
    name, _, part = str(source).partition(":")
    if name in PRESETS and part in ("", "residuals") and not source.exists():
        return _preset(name, part)
    if not source.exists() and source.suffix == "":
        raise BadInputError(
            f"{source}: neither a file nor a preset; presets are {', '.join(PRESETS)}, each also with :residuals"
        )
    if source.suffix == ".star":
        return _star(source)
    if source.suffix == ".csv":
        return _csv(source)
    content, lines = yaml_config.read_yaml(source)
    if isinstance(content, dict) and {"vary", "draw", "mixture"} & set(content):
        several = _distribution(content, source, lines)
        return list(zip(several.labels(), several.conditions(), strict=True))
    if isinstance(content, dict) and "notation" in content:
        return [(source.stem, _translated(content, source, lines))]
    return [(source.stem, yaml_config.validate(Condition, content, source, lines))]


def load_distribution(source: str | Path) -> ConditionSet:
    """Return the distribution of a YAML file, or of a preset's residual aberrations (NAME:residuals).

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    source = Path(source)
    name, _, part = str(source).partition(":")
    if name in PRESETS and part == "residuals" and not source.exists():
        return _residuals(name)
    if not source.exists() and source.suffix == "":
        raise BadInputError(
            f"{source}: neither a file nor a preset's residuals, such as {next(iter(PRESETS))}:residuals"
        )
    content, lines = yaml_config.read_yaml(source)
    if not isinstance(content, dict) or not {"vary", "draw", "mixture"} & set(content):
        raise BadInputError(f"{source}: is no distribution of conditions; give base and draw, or mixture")
    return _distribution(content, source, lines)


def _distribution(content: dict[str, Any], path: Path, lines: yaml_config.Lines) -> ConditionSet:
    try:
        several: ConditionSet = TypeAdapter(ConditionSet).validate_python(content)
    except ValidationError as error:
        raise BadInputError(yaml_config.one_line(error, path, lines, set(), skip=1)) from None
    return several


def _residuals(name: str) -> ConditionDraw:
    content, _ = yaml_config.read_yaml(PRESETS[name])
    return ConditionDraw.model_validate({"base": Condition.preset(name), "draw": content["residuals"], "count": 64})


def _preset(name: str, part: str) -> Labelled:
    if not part:
        return [(name, Condition.preset(name))]
    draw = _residuals(name)
    return [(f"{name}:{label}", c) for label, c in zip(draw.labels(), draw.conditions(), strict=True)]


def preset_sources(name: str) -> dict[str, Any]:
    """Return the description of a preset (`about`) and the sources of its numbers (`sources`)."""
    content, _ = yaml_config.read_yaml(PRESETS[name])
    return {"about": content["about"], "sources": content["sources"]}


def _translated(content: dict[str, Any], path: Path, lines: yaml_config.Lines) -> Condition:
    content = dict(content)
    notation = content.pop("notation")
    where = f"{path}:{lines.get(('notation',), 1)}"
    if notation not in NOTATIONS:
        raise BadInputError(f"{where}: notation {notation!r} is not known; known are {', '.join(NOTATIONS)}")
    ours = {n: content.pop(n) for n in list(content) if n in Condition.model_fields and n not in ("aberrations",)}
    if "energy_ev" in ours and notation == "prismatic":
        content["energy_ev"] = ours["energy_ev"]
    try:
        fields = NOTATIONS[notation].read(content)
    except ValueError as error:
        key = next((k for k in content if k in str(error)), "notation")
        raise BadInputError(f"{path}:{lines.get((key,), 1)}: {error}") from None
    return yaml_config.validate(Condition, fields | ours, path, lines)


def _star(path: Path) -> Labelled:
    try:
        rows = [(name, ctffind.read(dict(row.items()))) for name, row in relion.rows(_text(path))]
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from None
    return [
        (f"{i + 1}: {name}", yaml_config.validate(Condition, fields, path, {})) for i, (name, fields) in enumerate(rows)
    ]


def _csv(path: Path) -> Labelled:
    """Read a condition a row: columns are fields of a condition file, defocus_angstrom, symbols or aliases; `label` names it."""
    reader = csv.DictReader(_text(path).splitlines())
    conditions: Labelled = []
    names = reader.fieldnames or []
    if "energy_ev" not in names:
        raise BadInputError(f"{path}:1: has no column energy_ev; the first line names the columns, separated by commas")
    for row in reader:
        where = f"{path}:{reader.line_num}"
        label = row.pop("label", None) or f"row {len(conditions) + 1}"
        values = {}
        for name, text in row.items():
            if name is None or text is None:
                raise BadInputError(
                    f"{where}: has {'more' if name is None else 'fewer'} values than the first line has columns"
                )
            if text.strip():
                try:
                    values[name.strip()] = float(text)
                except ValueError:
                    raise BadInputError(f"{where}: {name} is {text!r}, which is not a number") from None
        fields: dict[str, Any] = {
            n: values.pop(n) for n in list(values) if n in Condition.model_fields or n == "defocus_angstrom"
        }
        try:
            conditions.append((label, Condition(**fields, aberrations=values)))
        except ValidationError as error:
            raise BadInputError(f"{where}: {yaml_config.message(error)}") from None
    if not conditions:
        raise BadInputError(f"{path}: has no rows; write a condition a line below the names of the columns")
    return conditions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadInputError(f"{path}: cannot be read: {reason}; correct the path") from None


def export(condition: Condition, notation: str) -> dict[str, Any]:
    """Return a condition in another notation, as content of a file that `load_condition` reads back.

    Raises:
        BadInputError: if the notation is not known or has no place for the condition.
    """
    if notation not in NOTATIONS:
        raise BadInputError(f"notation {notation!r} is not known; known are {', '.join(NOTATIONS)}")
    try:
        content = NOTATIONS[notation].write(condition)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    # Fields that the notation has a name of its own for.
    theirs = {
        "abtem": ("energy_ev", "aperture_mrad", "focal_spread_angstrom", "convergence_mrad"),
        "ctffind": ("energy_ev", "pixel_size_angstrom"),
    }.get(notation, ())
    ours = {
        name: value
        for name, value in condition.to_dict().items()
        if name not in ("aberrations", *theirs) and value not in (None, 0.0)
    }
    return {"notation": notation, **ours, **content}
