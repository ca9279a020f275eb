"""Conditions from outside: condition files, presets by name, other programs' notations, STAR and CSV files."""

import csv
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from passband.base.errors import BadInputError
from passband.conditions.condition import Condition
from passband.conditions.notations import NOTATIONS, ctffind, relion
from passband.conditions.sets import ConditionDraw, ConditionSet
from passband.files import yaml_config

Named = list[tuple[str, Condition]]
_PRESETS = files("passband.conditions").joinpath("presets")


def preset_names() -> list[str]:
    """Return the names of the presets."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _PRESETS.iterdir() if entry.name.endswith(".yaml"))


def load_condition(source: Path) -> Condition:
    """Return the one condition of a file, or of a preset by name.

    Raises:
        BadInputError: with file, line, value and remedy; also if the file holds several.
    """
    found = load_conditions(source)
    if len(found) > 1:
        raise BadInputError(f"{source}: holds {len(found)} conditions where one is needed; give a file of one")
    return found[0][1]


def load_conditions(source: Path) -> Named:
    """Return labels and conditions of a condition file, a distribution, a preset, a STAR or a CSV file.

    A preset's conditions are its nominal one; NAME:residuals draws from its distribution of residual aberrations.

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    name, _, part = str(source).partition(":")
    if name in preset_names() and part in ("", "residuals") and not source.exists():
        return _preset(name, part)
    if not source.exists() and source.suffix == "":
        raise BadInputError(
            f"{source}: neither a file nor a preset; presets are {', '.join(preset_names())}, each also with :residuals"
        )
    if source.suffix == ".star":
        return _star(source)
    if source.suffix == ".csv":
        return _csv(source)
    content, lines = yaml_config.read_yaml(source)
    if isinstance(content, dict) and {"vary", "draw", "mixture"} & set(content):
        drawn = _distribution(content, source, lines)
        return list(zip(drawn.labels(), drawn.conditions(), strict=True))
    if isinstance(content, dict) and "notation" in content:
        return [(source.stem, _translated(content, source, lines))]
    return [(source.stem, yaml_config.validate(Condition, content, source, lines))]


def load_distribution(source: Path) -> ConditionSet:
    """Return the distribution of a YAML file, or of a preset's residual aberrations (NAME:residuals).

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    name, _, part = str(source).partition(":")
    if name in preset_names() and part == "residuals" and not source.exists():
        return _residuals(name)
    if not source.exists() and source.suffix == "":
        raise BadInputError(f"{source}: neither a file nor a preset's residuals, such as {preset_names()[0]}:residuals")
    content, lines = yaml_config.read_yaml(source)
    if not isinstance(content, dict) or not {"vary", "draw", "mixture"} & set(content):
        raise BadInputError(f"{source}: is no distribution of conditions; give base and draw, or mixture")
    return _distribution(content, source, lines)


def _distribution(content: dict[str, Any], path: Path, lines: yaml_config.Lines) -> ConditionSet:
    try:
        drawn: ConditionSet = TypeAdapter(ConditionSet).validate_python(content)
    except ValidationError as error:
        raise BadInputError(yaml_config.one_line(error, path, lines, set(), skip=1)) from None
    return drawn


def _residuals(name: str) -> ConditionDraw:
    path = Path(str(_PRESETS.joinpath(f"{name}.yaml")))
    content, lines = yaml_config.read_yaml(path)
    condition = yaml_config.validate(Condition, content["condition"], path, lines)
    return ConditionDraw.model_validate({"base": condition, "draw": content["residuals"], "count": 64})


def _preset(name: str, part: str) -> Named:
    draw = _residuals(name)
    if not part:
        return [(name, draw.base)]
    return [(f"{name}:{label}", c) for label, c in zip(draw.labels(), draw.conditions(), strict=True)]


def preset_sources(name: str) -> dict[str, Any]:
    """Return what a preset says about itself: `about` and `sources`."""
    content, _ = yaml_config.read_yaml(Path(str(_PRESETS.joinpath(f"{name}.yaml"))))
    return {"about": content["about"], "sources": content["sources"]}


def _translated(content: dict[str, Any], path: Path, lines: yaml_config.Lines) -> Condition:
    content = dict(content)
    notation = content.pop("notation")
    where = f"{path}:{lines.get(('notation',), 1)}"
    if notation not in NOTATIONS:
        raise BadInputError(f"{where}: notation {notation!r} is not known; known are {', '.join(NOTATIONS)}")
    own = {n: content.pop(n) for n in list(content) if n in Condition.model_fields and n not in ("aberrations",)}
    if "energy_ev" in own and notation == "prismatic":
        content["energy_ev"] = own["energy_ev"]
    try:
        fields = NOTATIONS[notation].read(content)
    except ValueError as error:
        key = next((k for k in content if k in str(error)), "notation")
        raise BadInputError(f"{path}:{lines.get((key,), 1)}: {error}") from None
    return yaml_config.validate(Condition, fields | own, path, lines)


def _star(path: Path) -> Named:
    try:
        found = relion.rows(_text(path))
        made = [(name, ctffind.read(dict(row.items()))) for name, row in found]
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from None
    return [
        (f"{i + 1}: {name}", yaml_config.validate(Condition, fields, path, {})) for i, (name, fields) in enumerate(made)
    ]


def _csv(path: Path) -> Named:
    """Read a condition a row: columns are fields of a condition file, defocus_angstrom, symbols or aliases; `label` names it."""
    reader = csv.DictReader(_text(path).splitlines())
    found: Named = []
    names = reader.fieldnames or []
    if "energy_ev" not in names:
        raise BadInputError(f"{path}:1: has no column energy_ev; the first line names the columns, separated by commas")
    for row in reader:
        where = f"{path}:{reader.line_num}"
        label = row.pop("label", None) or f"row {len(found) + 1}"
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
            found.append((label, Condition(**fields, aberrations=values)))
        except ValidationError as error:
            raise BadInputError(f"{where}: {yaml_config.message(error)}") from None
    if not found:
        raise BadInputError(f"{path}: has no rows; write a condition a line below the names of the columns")
    return found


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
    kept = condition.to_dict()
    kept.pop("aberrations")
    kept = {name: value for name, value in kept.items() if value not in (None, 0.0)}
    if notation == "abtem":
        kept = {
            n: v
            for n, v in kept.items()
            if n not in ("energy_ev", "aperture_mrad", "focal_spread_angstrom", "convergence_mrad")
        }
    if notation == "ctffind":
        kept = {n: v for n, v in kept.items() if n not in ("energy_ev", "pixel_size_angstrom")}
    return {"notation": notation, **kept, **content}
