"""passband: will a segmentation network still work under these imaging conditions?

`passband.segment`, `check`, `estimate`, `to_signal`, `read_micrographs`, `load_model` and `Condition` are what the command line's verbs do, for Python
(`passband.api`).
"""

from typing import TYPE_CHECKING, Any

from passband.base.version import __version__ as __version__

if TYPE_CHECKING:
    from passband.api import check as check
    from passband.api import estimate as estimate
    from passband.api import segment as segment
    from passband.api import to_signal as to_signal
    from passband.conditions import Condition as Condition
    from passband.micrographs.reading import read_micrographs as read_micrographs
    from passband.models.store import load_model as load_model
    from passband.verdicts.domain import SpecimenInfo as SpecimenInfo

_FOUND_IN = {
    "Condition": "passband.conditions",
    "SpecimenInfo": "passband.verdicts.domain",
    "check": "passband.api",
    "estimate": "passband.api",
    "load_model": "passband.models.store",
    "read_micrographs": "passband.micrographs.reading",
    "segment": "passband.api",
    "to_signal": "passband.api",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing before: `passband --help` takes no second."""
    if name in _FOUND_IN:
        from importlib import import_module

        return getattr(import_module(_FOUND_IN[name]), name)
    raise AttributeError(f"module 'passband' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FOUND_IN])
