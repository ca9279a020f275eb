"""passband: will a segmentation network still work under these imaging conditions?

`passband.segment`, `check`, `estimate`, `to_signal`, `read_micrographs`, `load_model` and `ImagingCondition` are what the command line's verbs do, for Python
(`passband.deploy.api`).
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from passband.conditions import ImagingCondition as ImagingCondition
    from passband.deploy.api import check as check
    from passband.deploy.api import estimate as estimate
    from passband.deploy.api import segment as segment
    from passband.deploy.api import to_signal as to_signal
    from passband.deploy.models import load_model as load_model
    from passband.deploy.reading import read_micrographs as read_micrographs
    from passband.deploy.studied import Claim as Claim

_FOUND_IN = {
    "ImagingCondition": "passband.conditions",
    "Claim": "passband.deploy.studied",
    "check": "passband.deploy.api",
    "estimate": "passband.deploy.api",
    "load_model": "passband.deploy.models",
    "read_micrographs": "passband.deploy.reading",
    "segment": "passband.deploy.api",
    "to_signal": "passband.deploy.api",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and nothing before: `passband --help` takes no second."""
    if name in _FOUND_IN:
        from importlib import import_module

        return getattr(import_module(_FOUND_IN[name]), name)
    raise AttributeError(f"module 'passband' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FOUND_IN])
