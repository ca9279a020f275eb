"""Strict YAML into frozen configs: every error in one line with file, line, value and remedy."""

import difflib
import re
from collections.abc import Hashable, Mapping, Set
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from passband.base.errors import BadInputError
from passband.base.frozen_model import FrozenModel

Model = TypeVar("Model", bound=BaseModel)
Lines = dict[tuple[str | int, ...], int]


class Config(FrozenModel):
    """Frozen, validated values, all numbers finite, whose constructor refuses what is wrong in one line."""

    model_config = ConfigDict(allow_inf_nan=False)

    def __init__(self, /, **fields: Any):
        """Take the fields by name, or raise BadInputError with the worst fault in one line."""
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise BadInputError(message(error, _names(type(self)))) from None

    # Configs inside others are validated without it, so that the errors of files know the place.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __str__(self) -> str:
        """Return the config as its YAML file."""
        return dump(self).rstrip()


# A text file that is read whole, a YAML file's values with every alias written out, and how deeply they are nested.
_MOST_BYTES, _MOST_NODES, _MOST_DEPTH = 64_000_000, 200_000, 100
_TAG = "tag:yaml.org,2002:"
# The loader in C is several times faster; some builds of PyYAML lack it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """YAML 1.2 numbers and booleans (3e5 is a number, `on` is a word); duplicate keys are refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise BadInputError(f"{line}: key {key!r} is not a plain word; write key: value")
            if key in seen:
                raise BadInputError(f"{line}: key {key!r} appears twice, first on line {seen[key]}; keep one of them")
            seen[key] = line
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


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


def read_text(path: Path, kind: str = "file", *, damaged: bool = False) -> str:
    """Return a UTF-8 text file, without a byte-order mark; `damaged` reads it even if some of it is no text.

    Raises:
        BadInputError: if it cannot be read, is no text, or has more than 64 MB; `kind` says what it should be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise BadInputError(f"{path}: has more than {_MOST_BYTES / 1e6:.0f} MB; give a smaller {kind}")
        return data.decode("utf-8-sig", errors="replace" if damaged else "strict")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadInputError(f"{path}: cannot be read: {reason}; give the path of a {kind} saved as UTF-8") from None


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """Return the content of a YAML file and the line of every key and list item in it.

    Raises:
        BadInputError: if the file is missing, is not YAML, has duplicate keys, or is too large, deep or entangled.
    """
    text = read_text(path, "YAML file")
    try:
        _check_size(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
        return content, _lines(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        written = text.splitlines()[line : line + 1]
        remedy = "; indent with spaces" if written and "\t" in written[0] else ""
        problem = str(error.problem).replace("exceeded maximum nesting depth", "it is nested too deeply")
        raise BadInputError(f"{path}:{line + 1}: not valid YAML: {problem}{remedy}") from None
    except BadInputError as error:
        raise BadInputError(f"{path}:{error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise BadInputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _check_size(text: str) -> None:
    """Refuse YAML that would take long, before anything is made of it: an alias counts as all that it stands for."""
    loader = _Loader(text)
    nodes, sizes, inside = 0, dict[str | None, int](), list[tuple[str | None, int]]()
    while loader.check_event():
        event = loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in dict(inside):
                raise BadInputError(f"{line}: alias {event.anchor!r} refers to itself; write it out plainly")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            sizes[event.anchor] = 1
            if isinstance(event, yaml.CollectionStartEvent):
                inside.append((event.anchor, nodes))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, first = inside.pop()
            sizes[anchor] = nodes - first + 1
        if len(inside) > _MOST_DEPTH:
            raise BadInputError(
                f"{line}: is nested too deeply, in more than {_MOST_DEPTH} levels; write it out plainly"
            )
        if nodes > _MOST_NODES:
            raise BadInputError(
                f"{line}: holds more than {_MOST_NODES} values, aliases written out; shorten it or use fewer aliases"
            )


def _lines(node: yaml.Node | None, place: tuple[str | int, ...]) -> Lines:
    """Return the line of a node and of all in it."""
    if node is None:
        return {}
    lines = {place: node.start_mark.line + 1}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines |= _lines(value, (*place, key.value))
            lines[(*place, key.value)] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines |= _lines(value, (*place, i))
    return lines


def validate(model: type[Model], content: Any, path: Path, lines: Lines) -> Model:
    """Return the validated config, or raise BadInputError with file, line, key, value and what is expected."""
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
    """Read and validate a YAML file; raises as `read_yaml` and `validate` do."""
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


def _names(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a config and of the configs in it, and those it also reads (`ALSO_READ`)."""
    names = {*model.model_fields, *getattr(model, "ALSO_READ", ())}
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            names |= _names(inner)
    return names


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the configs in the type of a field: itself, or those of a list, a mapping or a choice."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


# Parts of pydantic's messages, which speak to programmers, and what they become.
_IN_WORDS = {
    " after validation": "",
    "should be a valid number": "should be a number without quotes, with a decimal point and no spaces",
    "should be a valid integer": "should be a whole number without quotes",
    "should be a valid dictionary": "should be a mapping such as {C10: -50}",
    "should be a valid list": "should be a list such as [0, 40]",
}


def message(error: ValidationError, names: Set[str] = frozenset()) -> str:
    """Return the worst fault of a validation error, without a place; known names tell what a wrong one may have meant."""
    fault = _worst(error)
    place = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{place}: is missing"
    return _plain(fault, names) or f"{place}: {fault['msg']}, got {_short(fault['input'])}"


def one_line(error: ValidationError, path: Path, lines: Lines, names: Set[str], skip: int = 0) -> str:
    """Return the worst fault of a validation error as file:line: key: value, limit and remedy.

    Known names as for `message`; `skip` is the number of leading parts of pydantic's location that are not keys of the file.
    """
    fault = _worst(error)
    place: tuple[str | int, ...] = ()
    for part in fault["loc"][skip:]:
        if (*place, part) in lines:
            place = (*place, part)
    text = _plain(fault, names)
    # A fault of the whole may begin with the key at fault.
    first = (*place, (text or "").partition(" ")[0])
    place = first if first in lines else place
    key = ".".join(str(part) for part in place)
    if text is None:
        text = f"{fault['msg'].removeprefix('Input ')}, got {_short(fault['input'])}"
        for technical, plain in _IN_WORDS.items():
            text = text.replace(technical, plain)
    more = f" (and {error.error_count() - 1} more to mend)" if error.error_count() > 1 else ""
    where = f"{path}:{lines.get(place, 1)}"
    return " ".join(f"{where}: {key + ': ' if key and key not in text else ''}{text}{more}".split())


def _worst(error: ValidationError) -> Mapping[str, Any]:
    # An unknown key explains a missing one, not the other way round.
    return min(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")


def _plain(fault: Mapping[str, Any], names: Set[str]) -> str | None:
    """Return a fault of a key, or one in words of ours; None for one in pydantic's words."""
    if fault["type"] == "extra_forbidden":
        unknown = str(fault["loc"][-1])
        return f"unknown key {unknown!r}; {_remedy(unknown, names)}"
    if fault["type"] == "missing":
        return f"key {fault['loc'][-1]!r} is missing; add it"
    return fault["msg"].removeprefix("Value error, ") if fault["type"] == "value_error" else None


def _remedy(unknown: str, names: Set[str]) -> str:
    """Return what to do about an unknown key."""
    if unknown in names:
        return "it belongs elsewhere in such a file: move or remove it"
    by_lower = {name.lower(): name for name in sorted(names)}
    # A name without its unit, then a slip of the finger.
    close = [name for lower, name in by_lower.items() if lower.startswith(f"{unknown.lower()}_")]
    close += [by_lower[lower] for lower in difflib.get_close_matches(unknown.lower(), by_lower, n=1)]
    return f"did you mean {close[0]!r}?" if close else "remove it"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
