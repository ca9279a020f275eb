"""Three zeros of defocus: C10 = 0, the least ε, and the least contrast of the particles in vacuum, from which some microscopists count.

They are measured once, by `python -m replication zero-places`, and written beside the study's tables.
"""

import json
from pathlib import Path
from typing import Any

from passband.files.atomic import write_json
from passband.metrics import measure
from passband.simulation.least_contrast import least, vacuum_variance
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study

#: The study whose conditions lie near zero in steps of 5 Å.
STUDY = "zero_defocus"
# Specimens that the contrast in vacuum is the mean over.
_SPECIMENS = 40


def file_of(study: StudyPaths) -> Path:
    """Return the file of the places, beside the study's tables."""
    return study.folder / "places.json"


def read_places(study: StudyPaths) -> dict[str, Any]:
    """Return what `write_places` wrote."""
    content: dict[str, Any] = json.loads(file_of(study).read_text(encoding="utf-8"))
    return content


def write_places(paths: StudyPaths) -> None:
    """Write the defocus of the least ε and of the least contrast for each C30 of a study [Å], and the contrast of each condition.

    The contrast is the standard deviation of images of the particles alone, in vacuum, over the mean intensity of 1.
    """
    study = load_study(paths.study)
    recipe = study.recipes[""]
    places: list[dict[str, float]] = []
    contrast: dict[str, float] = {}
    for c30 in sorted({condition.aberrations.get("C30", 0.0) for condition in study.test_conditions}):
        own = [condition for condition in study.test_conditions if condition.aberrations.get("C30", 0.0) == c30]
        first = own[0]
        variance = vacuum_variance(recipe, first, study.exit_waves, range(min(_SPECIMENS, study.split.total)))

        def epsilon(c10: float, first: Any = first) -> float:
            at = [first.varied({"C10": c10})]
            return float(measure(["epsilon"], at, at, study.q_max_per_angstrom)["epsilon_test"])

        places.append({"C30": c30, "least_epsilon": -least(epsilon), "least_contrast": -least(variance)})
        contrast |= {
            condition.id: round(variance(condition.aberrations.get("C10", 0.0)) ** 0.5, 6) for condition in own
        }
    write_json(file_of(paths), {"defocus_angstrom": places, "vacuum_contrast": contrast})
