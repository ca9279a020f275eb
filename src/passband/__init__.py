"""passband: will a segmentation network still work under these imaging conditions?

    import passband as pb

The names in `__all__` are the public API; `passband.api` describes each.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from passband.base.version import __version__ as __version__

if TYPE_CHECKING:
    from passband.api import check as check
    from passband.api import compare as compare
    from passband.api import estimate as estimate
    from passband.api import list_models as list_models
    from passband.api import list_presets as list_presets
    from passband.api import list_recipes as list_recipes
    from passband.api import list_studies as list_studies
    from passband.api import load_condition as load_condition
    from passband.api import load_conditions as load_conditions
    from passband.api import load_model as load_model
    from passband.api import load_recipe as load_recipe
    from passband.api import load_study as load_study
    from passband.api import micrograph as micrograph
    from passband.api import open_study as open_study
    from passband.api import optimize as optimize
    from passband.api import segment as segment
    from passband.api import simulate as simulate
    from passband.api import sweep as sweep
    from passband.api import to_signal as to_signal
    from passband.base.errors import BadInputError as BadInputError
    from passband.conditions import Condition as Condition
    from passband.conditions import Detector as Detector
    from passband.micrographs.micrograph import Micrograph as Micrograph
    from passband.micrographs.reading import read_micrographs as read_micrographs
    from passband.report.study_run import Study as Study
    from passband.verdicts.domain import SpecimenInfo as SpecimenInfo

#: Where a public name is, if not in `passband.api`.
_ELSEWHERE = {
    "BadInputError": "passband.base.errors",
    "Condition": "passband.conditions",
    "Detector": "passband.conditions",
    "Micrograph": "passband.micrographs.micrograph",
    "SpecimenInfo": "passband.verdicts.domain",
    "Study": "passband.report.study_run",
    "read_micrographs": "passband.micrographs.reading",
}
__all__ = [
    "BadInputError",
    "Condition",
    "Detector",
    "Micrograph",
    "SpecimenInfo",
    "Study",
    "check",
    "compare",
    "estimate",
    "list_models",
    "list_presets",
    "list_recipes",
    "list_studies",
    "load_condition",
    "load_conditions",
    "load_model",
    "load_recipe",
    "load_study",
    "micrograph",
    "open_study",
    "optimize",
    "read_micrographs",
    "segment",
    "simulate",
    "sweep",
    "to_signal",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `passband --help` takes no second."""
    if name not in __all__:
        raise AttributeError(f"module 'passband' has no attribute {name!r}")
    # First of all, for it also gives conditions their method `ctf`.
    api = import_module("passband.api")
    return getattr(import_module(_ELSEWHERE[name]) if name in _ELSEWHERE else api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
