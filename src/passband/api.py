"""The Python side of the verbs: paths, NumPy arrays and HyperSpy signals in; arrays, tables and signals out.

import passband

found = passband.segment("au-300kv", image, pixel_size_angstrom=0.2)    # array, signal, path or Micrograph
found.mask, found.particles
verdict = passband.check("au-300kv", condition)                         # or image=...
verdict.answer, verdict.dice, verdict.advice
"""

from pathlib import Path
from typing import Any

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.estimate import Estimate
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.models.segment import Segmentation
from passband.models.store import Model, load_model
from passband.verdicts.domain import SpecimenInfo
from passband.verdicts.judge import Verdict, check_condition


def micrograph(
    image: Any,
    *,
    pixel_size_angstrom: float | None = None,
    energy_ev: float | None = None,
    dose_per_angstrom2: float | None = None,
) -> Micrograph:
    """Return the one micrograph of a path, a NumPy array [h, w], a HyperSpy signal, or as it is.

    Args:
        image: what holds it.
        pixel_size_angstrom: where it does not say, or wrongly [Å].
        energy_ev: of the electrons [eV].
        dose_per_angstrom2: [e/Å²].

    Raises:
        BadInputError: if it cannot be read, has no pixel size, or holds several images.
    """
    if isinstance(image, Micrograph):
        return image
    found = read_micrographs(
        image,
        pixel_size_angstrom=pixel_size_angstrom,
        energy_ev=energy_ev,
        dose_per_angstrom2=dose_per_angstrom2,
    )
    if len(found) != 1:
        raise BadInputError(
            f"{found[0].name}: holds {len(found)} images; take one of passband.read_micrographs, which gives them all"
        )
    return found[0]


def segment(model: str | Path | Model, image: Any, **calibration: float | None) -> Segmentation:
    """Return what a model finds in an image: probability, mask, instances and particles.

    Args:
        model: by name, folder, or loaded.
        image: as `micrograph` takes it.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Raises:
        BadInputError: if model or image cannot be used.
    """
    from passband.models.segment import segment as segmented

    return segmented(_model(model), micrograph(image, **calibration))


def check(
    model: str | Path | Model,
    condition: Condition | str | Path | None = None,
    *,
    image: Any = None,
    claim: SpecimenInfo | None = None,
    **calibration: float | None,
) -> Verdict:
    """Return the verdict on a model under a condition, or on an image.

    Args:
        model: by name, folder, or loaded.
        condition: a condition, its file, or a preset.
        image: instead, as `micrograph` takes it.
        claim: what is known of the specimen.
        **calibration: of the image: pixel_size_angstrom, energy_ev, dose_per_angstrom2.

    Raises:
        BadInputError: if neither or both are given, or one cannot be used.
    """
    if (condition is None) == (image is None):
        raise BadInputError("give either a condition or an image, and not both")
    claim = SpecimenInfo() if claim is None else claim
    if image is not None:
        from passband.verdicts.image_verdict import check_image

        return check_image(_model(model), micrograph(image, **calibration), claim)
    if not isinstance(condition, Condition | str | Path):
        raise BadInputError(
            f"a {type(condition).__name__} is no condition; give a condition, its file or a preset, or an image as image=…"
        )
    if not isinstance(condition, Condition):
        from passband.conditions.condition_files import load_condition

        assert condition is not None
        condition = load_condition(Path(condition))
    return check_condition(_model(model), condition, claim)


def estimate(image: Any, *, spherical_angstrom: float = 0.0, **calibration: float | None) -> Estimate:
    """Return what an image's power spectrum says of its microscope.

    Args:
        image: as `micrograph` takes it.
        spherical_angstrom: C30 [Å].
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Raises:
        BadInputError: if the image cannot be used, or its energy is not known.
    """
    from passband.estimation.estimate import estimate as estimated

    return estimated(micrograph(image, **calibration), C30=spherical_angstrom)


def to_signal(found: Segmentation) -> Any:
    """Return the probability of a segmentation as a HyperSpy signal with its scale; the mask is where it reaches the threshold.

    Raises:
        BadInputError: if HyperSpy is not installed.
    """
    try:
        from hyperspy.signals import Signal2D
    except ImportError:
        raise BadInputError("HyperSpy is not installed; pip install hyperspy") from None
    signal = Signal2D(found.probability)
    for axis, name in zip(signal.axes_manager.signal_axes, ("x", "y"), strict=True):
        axis.name, axis.units, axis.scale = name, "nm", found.pixel_size_angstrom / 10
    signal.metadata.General.title = "probability of a particle"
    return signal


def _model(model: str | Path | Model) -> Model:
    return model if isinstance(model, Model) else load_model(model)
