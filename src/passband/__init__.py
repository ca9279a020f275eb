"""passband: will a segmentation network still work under these imaging conditions?

    import passband as pb

    pb.segment("au-300kv", "image.dm4")    particles of a micrograph; pb.check, pb.estimate and pb.predict take it, too
    pb.check("au-300kv", condition)        does a model work under a condition? pb.compare relates two conditions
    pb.Condition, pb.StemCondition         a condition of HRTEM or STEM: .preset(name), .load(file), .varied(defocus=80)
    pb.simulate(recipe, condition, n=4)    images with masks; pb.simulate_folder writes training images
    pb.Study(...).run(folder)              networks, each tested under every condition; pb.sweep makes the conditions

`help(pb.segment)` describes a function; `pb.__all__` lists all public names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from passband.base.version import __version__ as __version__

if TYPE_CHECKING:
    from passband.api.conditions import *  # noqa: F403
    from passband.api.folders import *  # noqa: F403
    from passband.api.labels import *  # noqa: F403
    from passband.api.micrographs import *  # noqa: F403
    from passband.api.models import *  # noqa: F403
    from passband.api.movies import *  # noqa: F403
    from passband.api.simulation import *  # noqa: F403
    from passband.api.specimens import *  # noqa: F403
    from passband.api.studies import *  # noqa: F403
    from passband.base.errors import BadInputError as BadInputError
    from passband.conditions import Condition as Condition
    from passband.conditions import Detector as Detector
    from passband.conditions import StemCondition as StemCondition
    from passband.micrographs.micrograph import Micrograph as Micrograph
    from passband.micrographs.reading import read_micrographs as read_micrographs
    from passband.report.study_run import Study as Study
    from passband.simulation.reader_loss import LabelledImages as LabelledImages
    from passband.verdicts.domain import SpecimenInfo as SpecimenInfo

# Public names by the module that has them.
_NAMES = {
    "passband.api.conditions": "compare list_presets load_condition load_conditions optimize predict_loss sweep",
    "passband.api.folders": "check_folder estimate_folder predict_folder segment_folder watch",
    "passband.api.labels": "learning_curve score tune",
    "passband.api.micrographs": "check estimate micrograph predict segment to_signal",
    "passband.api.models": "list_models load_model pack_model plan_session",
    "passband.api.movies": "movie",
    "passband.api.simulation": "reader_loss simulate simulate_folder",
    "passband.api.specimens": "list_recipes load_recipe",
    "passband.api.studies": "list_studies load_study measure_networks open_study",
    "passband.base.errors": "BadInputError",
    "passband.conditions": "Condition Detector StemCondition",
    "passband.micrographs.micrograph": "Micrograph",
    "passband.micrographs.reading": "read_micrographs",
    "passband.report.study_run": "Study",
    "passband.simulation.reader_loss": "LabelledImages",
    "passband.verdicts.domain": "SpecimenInfo",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `passband --help` takes no second."""
    if name not in _MODULES:
        raise AttributeError(f"module 'passband' has no attribute {name!r}")
    # First of all, for it also gives conditions their method `ctf`.
    import_module("passband.api.conditions")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
