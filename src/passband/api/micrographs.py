"""One micrograph: read, segment, judge, estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passband.api.conditions import as_any_condition
from passband.api.models import as_model
from passband.base.errors import BadInputError
from passband.conditions import AnyCondition

if TYPE_CHECKING:
    from passband.estimation.estimate import Estimate
    from passband.micrographs.micrograph import Micrograph
    from passband.models.image_prediction import ImagePrediction
    from passband.models.segment import Segmentation
    from passband.models.store import Model
    from passband.verdicts.domain import SpecimenInfo
    from passband.verdicts.verdict import Verdict


def micrograph(
    image: Any,
    *,
    pixel_size_angstrom: float | None = None,
    energy_ev: float | None = None,
    dose_per_angstrom2: float | None = None,
) -> Micrograph:
    """Return the one micrograph of a path, a NumPy array [h, w] or a HyperSpy signal; of a micrograph, with the values that are given.

    Args:
        image: what holds it.
        pixel_size_angstrom: if the file lacks it, or has it wrong [Å].
        energy_ev: of the electrons [eV].
        dose_per_angstrom2: [e/Å²].

    Raises:
        BadInputError: if it cannot be read, has no pixel size, or holds several images.

    Example:
        >>> import numpy as np, passband as pb
        >>> pb.micrograph(np.random.default_rng(0).normal(size=(128, 128)), pixel_size_angstrom=0.4).pixel_size_angstrom
        0.4
    """
    from passband.micrographs.micrograph import Micrograph
    from passband.micrographs.reading import read_micrographs

    if isinstance(image, Micrograph):
        return replace(
            image,
            pixel_size_angstrom=image.pixel_size_angstrom if pixel_size_angstrom is None else pixel_size_angstrom,
            energy_ev=image.energy_ev if energy_ev is None else energy_ev,
            dose_per_angstrom2=image.dose_per_angstrom2 if dose_per_angstrom2 is None else dose_per_angstrom2,
        )
    if isinstance(image, str | Path) and Path(image).is_dir():
        remedy = "use segment_folder, check_folder or estimate_folder"
        raise BadInputError("is a folder", value=image, remedy=remedy, place=image)
    images = read_micrographs(
        image, pixel_size_angstrom=pixel_size_angstrom, energy_ev=energy_ev, dose_per_angstrom2=dose_per_angstrom2
    )
    if len(images) != 1:
        raise BadInputError(
            f"{images[0].name}: holds {len(images)} images; take one of passband.read_micrographs, which returns all of them"
        )
    return images[0]


def segment(
    model: str | Path | Model, image: Any, *, elements: Sequence[str] | None = None, **calibration: float | None
) -> Segmentation:
    """Segment an image: probability, mask, instances and a table of particles.

    Args:
        model: by name, folder, or loaded.
        image: as `micrograph` takes it.
        elements: of the particles, to name their lattice spacings; by default those of the model's crystals.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Raises:
        BadInputError: if model or image cannot be used.

    Example:
        >>> import passband as pb
        >>> images = pb.simulate("gold_on_carbon", "titan_corrected_300kv", n=1)
        >>> pb.segment("au-300kv", images[0]).mask.shape
        (128, 128)
    """
    from passband.models.segment import segment

    return segment(as_model(model), micrograph(image, **calibration), elements=elements)


def predict(model: str | Path | Model, image: Any, **calibration: float | None) -> ImagePrediction:
    """Predict what a model of a task other than segmentation is for: a thickness map, a map of crystals, atomic columns, a diameter, a defocus.

    Args:
        model: by name, folder, or loaded.
        image: as `micrograph` takes it.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Returns:
        An object with `map` (float32 [h, w] in the unit of the task, or uint8 numbers of classes), `value` and `interval` of the image, `columns` and `notes`, as the
        task has them. The interval is calibrated under the training condition of the model, and `notes` tell how far it holds.

    Raises:
        BadInputError: if model or image cannot be used, or the model segments.

    Example:
        >>> import passband as pb
        >>> pb.predict("my-thickness", "image.dm4").value  # doctest: +SKIP
    """
    from passband.models.image_prediction import predict_image

    return predict_image(as_model(model), micrograph(image, **calibration))


def check(
    model: str | Path | Model,
    condition: AnyCondition | str | Path | None = None,
    *,
    image: Any = None,
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    **calibration: float | None,
) -> Verdict:
    """Predict whether a model works under a condition, or on an image, with reasons and advice.

    Args:
        model: by name, folder, or loaded.
        condition: a condition, its file, or a preset; of the model's modality, HRTEM or STEM.
        image: instead, as `micrograph` takes it.
        specimen: what is known of it: a `SpecimenInfo`, or its fields by name.
        **calibration: of the image: pixel_size_angstrom, energy_ev, dose_per_angstrom2.

    Raises:
        BadInputError: if neither or both are given, or one cannot be used.

    Example:
        >>> import passband as pb
        >>> pb.check("au-300kv", pb.Condition.preset("titan_corrected_300kv").varied(defocus=80)).answer in ("yes", "no", "cannot say")
        True
    """
    from passband.verdicts.verdict_model import VerdictModel

    if (condition is None) == (image is None):
        raise BadInputError("give either a condition or an image, and not both")
    known = as_specimen(specimen)
    if image is not None:
        return VerdictModel(as_model(model)).check_image(micrograph(image, **calibration), known)
    if calibration:
        raise BadInputError(f"{', '.join(calibration)} describe an image; put them into the condition")
    return VerdictModel(as_model(model)).check(as_any_condition(condition), known)


def estimate(image: Any, *, spherical_angstrom: float = 0.0, **calibration: float | None) -> Estimate:
    """Estimate defocus, astigmatism and information limit from the Thon rings of an image.

    Args:
        image: as `micrograph` takes it.
        spherical_angstrom: C30 [Å].
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `micrograph` takes them.

    Raises:
        BadInputError: if the image cannot be used, or its energy is not known.

    Example:
        >>> import passband as pb
        >>> pb.estimate("image.dm4").plot()  # doctest: +SKIP
    """
    from passband.estimation.estimate import estimate

    return estimate(micrograph(image, **calibration), C30=spherical_angstrom)


def to_signal(segmentation: Segmentation, like: Any = None) -> Any:
    """Return the probability of a segmentation as a HyperSpy signal with its scale.

    Args:
        segmentation: from `segment`.
        like: the signal that was segmented; the answer keeps its axes and metadata.

    Raises:
        BadInputError: if HyperSpy is not installed, or the signal has another shape.

    Example:
        >>> import hyperspy.api as hs, passband as pb  # doctest: +SKIP
        >>> image = hs.load("image.dm4")  # doctest: +SKIP
        >>> pb.to_signal(pb.segment("au-300kv", image), like=image).plot()  # doctest: +SKIP
    """
    data, about = segmentation.probability, "probability of a particle"
    if like is not None:
        if like.data.shape != data.shape:
            what = f"a signal of shape {like.data.shape} for a segmentation of shape {data.shape}"
            raise BadInputError(
                what, value=like.data.shape, limit=data.shape, remedy="give the signal that was segmented"
            )
        signal = like._deepcopy_with_new_data(data)
        signal.metadata.General.title = f"{about}: {like.metadata.General.title}"
    else:
        try:
            from hyperspy.signals import Signal2D
        except ImportError:
            raise BadInputError("HyperSpy is not installed; pip install hyperspy") from None
        signal = Signal2D(data)
        for axis, name in zip(signal.axes_manager.signal_axes, ("x", "y"), strict=True):
            axis.name, axis.units, axis.scale = name, "nm", segmentation.pixel_size_angstrom / 10
        signal.metadata.General.title = about
    signal.metadata.Signal.quantity = "probability"
    return signal


def as_specimen(given: Any) -> SpecimenInfo:
    """Return what is known of a specimen, given as such or by the names of its fields."""
    from passband.verdicts.domain import SpecimenInfo

    if isinstance(given, SpecimenInfo):
        return given
    names = [field.name for field in fields(SpecimenInfo)]
    if given is not None and not isinstance(given, Mapping):
        raise BadInputError(f"specimen is a {type(given).__name__}; give a SpecimenInfo, or {', '.join(names)} by name")
    for name in given or {}:
        if name not in names:
            raise BadInputError(f"specimen has no {name!r}; known are {', '.join(names)}", value=name, limit=names)
    return SpecimenInfo(**(given or {}))
