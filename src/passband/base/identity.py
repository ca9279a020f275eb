"""Seeds and identities derived from names, so that no result depends on the order of work."""

import hashlib
import json
from typing import Any


def content_id(content: Any, length: int = 12) -> str:
    """Return a stable id of JSON-like content, in hexadecimal digits, at most 64; key order does not matter.

    Raises:
        TypeError: if the content is not JSON-like.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()[:length]


def seed_from(*names: str | int) -> int:
    """Return a seed in [0, 2⁶³) for these names; other names give an unrelated seed."""
    return int(content_id(list(names), 16), 16) >> 1
