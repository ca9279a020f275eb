"""JSON objects with a checksum of their own, so that a flipped bit in one is noticed."""

import json
from pathlib import Path
from typing import Any

from passband.base.identity import content_id
from passband.files.atomic import write_json

_CHECKSUM = "checksum"


def as_read_back(content: Any) -> Any:
    """Return content as JSON reads it back: tuples are lists, keys are text; NaN is refused."""
    return json.loads(json.dumps(content, allow_nan=False))


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object and its checksum atomically; NaN is refused."""
    content = as_read_back(content)
    write_json(path, content | {_CHECKSUM: content_id(content, 32)})


def read_checked(path: Path, former: set[str]) -> dict[str, Any] | None:
    """Return a JSON object without its checksum, or None if it is absent or not as it was written.

    Args:
        path: of the file.
        former: the keys that an object of an older version, which has no checksum, may have; any other key is damage.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    checksum = content.pop(_CHECKSUM, None)
    whole = content.keys() <= former if checksum is None else checksum == content_id(content, 32)
    return content if whole else None
