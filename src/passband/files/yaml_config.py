"""Strict YAML into frozen configs: every error in one line with file, line, value and remedy."""

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from passband.base.errors import BadInputError

Model = TypeVar("Model", bound=BaseModel)
Lines = dict[tuple[str | int, ...], int]


_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers and booleans (3e5 is a number, `on` is a word); duplicate keys are refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise BadInputError(
                    f"{key_node.start_mark.line + 1}: key {key!r} is not a plain word; write key: value"
                )
            line = key_node.start_mark.line + 1
            if key in seen:
                raise BadInputError(f"{line}: key {key!r} appears twice, first on line {seen[key]}; keep one of them")
            seen[key] = line
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_TAG + "float", _TAG + "int", _TAG + "bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_TAG + "bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))
# YAML 1.1 reads 050 as octal 40 and 1:30 as 90.
_Loader.add_implicit_resolver(_TAG + "int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_constructor(_TAG + "int", lambda loader, node: int(node.value))
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Return the content of a YAML file and the line of every key and list item in it.

    Raises:
        BadInputError: if the file is missing, is not YAML or has duplicate keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadInputError(f"{path}: cannot be read: {reason}; give the path of a YAML file saved as UTF-8") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
        lines = _lines(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInputError(
            f"{path}:{line}: not valid YAML: {error.problem}{'; indent with spaces' if 'tab' in str(error.problem) or chr(92) + 't' in str(error.problem) else ''}"
        ) from None
    except yaml.YAMLError as error:
        raise BadInputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except BadInputError as error:
        raise BadInputError(f"{path}:{error}") from None
    except RecursionError:
        raise BadInputError(f"{path}: is nested too deeply, or refers to itself; write it out plainly") from None
    except ValueError as error:
        raise BadInputError(f"{path}: not valid YAML: {error}") from None
    return content, lines


def validate(model: type[Model], content: Any, path: Path, lines: Lines) -> Model:
    """Return the validated config.

    Raises:
        BadInputError: with file, line, key, value and what is expected, for the first fault.
    """
    if not isinstance(content, dict):
        what = "is empty" if content is None else "holds no keys"
        raise BadInputError(
            f"{path}:1: {what}; write a mapping of keys to values, a line each, such as energy_ev: 300000"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise BadInputError(one_line(error, path, lines, _names(model))) from None
    except OverflowError:
        raise BadInputError(f"{path}: holds a number too large to compute with; correct it") from None


def load(model: type[Model], path: Path) -> Model:
    """Read and validate a YAML file.

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    content, lines = read_yaml(path)
    return validate(model, content, path, lines)


def merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return content with changes in it: mappings are merged key by key, everything else is replaced."""
    return content | {
        key: merged(content[key], value) if isinstance(value, dict) and isinstance(content.get(key), dict) else value
        for key, value in changes.items()
    }


def dump(config: BaseModel) -> str:
    """Return a config as YAML that `load` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _lines(node: yaml.Node | None, place: tuple[str | int, ...]) -> Lines:
    lines: Lines = {}
    if node is None:
        return lines
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines |= _lines(value, (*place, key.value))
            lines[(*place, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines |= _lines(value, (*place, i))
    return lines


def _names(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a config and of the configs in it."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names |= _names(field.annotation)
    return names


# Pydantic speaks to programmers; a part of its message, and what to say instead.
_PLAINLY = {
    "should be a valid number": "should be a number without quotes, with a decimal point and no spaces",
    "should be a valid integer": "should be a whole number without quotes",
    "should be a valid dictionary": "should be a mapping such as {C10: -50}",
    "should be a valid list": "should be a list such as [0, 40]",
}


def message(error: ValidationError) -> str:
    """Return the first fault of a validation error, without a place."""
    fault = error.errors(include_url=False)[0]
    place, text = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return text
    return f"{place}: is missing" if fault["type"] == "missing" else f"{place}: {text}, got {fault['input']!r:.100}"


def one_line(error: ValidationError, path: Path, lines: Lines, names: set[str], skip: int = 0) -> str:
    """Return the worst fault of a validation error as file:line: key: value, limit and remedy.

    Args:
        error: from pydantic.
        path: of the file.
        lines: of its keys.
        names: of known keys, to guess what a wrong one meant.
        skip: number of leading parts of pydantic's location that are not keys of the file.
    """
    # An unknown key explains a missing one, not the other way round.
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    place: tuple[str | int, ...] = ()
    for part in fault["loc"][skip:]:
        if (*place, part) in lines:
            place = (*place, part)
    key = ".".join(str(part) for part in place)
    if fault["type"] == "extra_forbidden":
        unknown = str(fault["loc"][-1])
        close = difflib.get_close_matches(unknown, names, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else "remove it"
        if unknown in names:
            remedy = "it belongs elsewhere in such a file: move or remove it"
        text = f"unknown key {unknown!r}; {remedy}"
    elif fault["type"] == "missing":
        text = f"key {fault['loc'][-1]!r} is missing; add it"
    elif fault["type"] == "value_error":
        text = fault["msg"].removeprefix("Value error, ")
    else:
        text = f"{fault['msg'].removeprefix('Input ')}, got {fault['input']!r}"
        for technical, plain in _PLAINLY.items():
            text = text.replace(technical, plain)
    more = f" (and {len(faults) - 1} more to mend)" if len(faults) > 1 else ""
    where = f"{path}:{lines.get(place, 1)}"
    return " ".join(f"{where}: {key + ': ' if key and key not in text else ''}{text}{more}".split())
