"""Many micrographs in one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from passband.api.micrographs import as_specimen
from passband.api.models import as_model
from passband.base.errors import BadInputError

if TYPE_CHECKING:
    from passband.models.store import Model
    from passband.sessions.image_run import ImageRun
    from passband.sessions.predict_run import PredictionRun
    from passband.sessions.watch import WatchedImage
    from passband.verdicts.domain import SpecimenInfo


def segment_folder(
    model: str | Path | Model,
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "segmented",
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> ImageRun:
    """Segment many images and judge each, with its optics; a stopped run continues when it is called again.

    Args:
        model: by name, folder, or loaded.
        images: a folder (with its subfolders), a pattern such as ``session/*.dm4``, a file, or several of them.
        folder: of the results: masks and tables of each image, summary.parquet and .csv, summary.html, contact_sheet.png.
        specimen: what is known of it: a `SpecimenInfo`, or its fields by name.
        frames: of stacks, as `read_micrographs` takes them.
        workers: processes; one for each core by default. Each holds one file at a time.
        **calibration: pixel_size_angstrom [Å], energy_ev [eV], dose_per_angstrom2 [e/Å²], instead of what the files say.

    Returns:
        An object with `table` (one row an image: optics in Å, verdict, Dice, particles, diameters in Å, reasons, fault), `images` (the
        same in full, a dictionary each) and `failed`; a notebook shows the contact sheet. An image that cannot be used is a row with its
        fault. What is finished, by the content of file and model, is not done again.

    Raises:
        BadInputError: if there is no image, none can be used, the model cannot be used, or the folder cannot be written.

    Example:
        >>> import passband as pb
        >>> pb.segment_folder("au-300kv", "session").table["file", "verdict", "dice"]  # doctest: +SKIP
    """
    return _of_many(
        "segment", images, folder, as_model(model), workers, calibration, frames, specimen=as_specimen(specimen)
    )


def check_folder(
    model: str | Path | Model,
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "checked",
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> ImageRun:
    """Predict on which of many images a model works, without masks; arguments and answer are those of `segment_folder`.

    Raises:
        BadInputError: as `segment_folder`; also if the model has not been scored.

    Example:
        >>> import passband as pb
        >>> pb.check_folder("au-300kv", "session/*.dm4").answer  # doctest: +SKIP
        'yes'
    """
    from passband.verdicts.verdict_model import VerdictModel

    chosen = VerdictModel(as_model(model)).model
    return _of_many("check", images, folder, chosen, workers, calibration, frames, specimen=as_specimen(specimen))


def estimate_folder(
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "estimated",
    spherical_angstrom: float = 0.0,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> ImageRun:
    """Estimate the optics of many images; arguments and answer are those of `segment_folder`.

    Args:
        images: as `segment_folder` takes them.
        folder: of summary and contact sheet.
        spherical_angstrom: C30 [Å].
        frames: of stacks.
        workers: processes; one for each core by default.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `segment_folder` takes them.

    Example:
        >>> import passband as pb
        >>> pb.estimate_folder("session", energy_ev=300e3).table["file", "defocus_angstrom"]  # doctest: +SKIP
    """
    return _of_many(
        "estimate", images, folder, None, workers, calibration, frames, spherical_angstrom=spherical_angstrom
    )


def predict_folder(
    model: str | Path | Model,
    images: str | Path | Iterable[str | Path],
    *,
    folder: str | Path = "predicted",
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> PredictionRun:
    """Predict many images with a model of a task other than segmentation; a stopped run continues when it is called again.

    Args:
        model: by name, folder, or loaded.
        images: as `segment_folder` takes them.
        folder: of maps (TIFF), overlays, tables of columns and the table of all images.
        frames: of stacks, as `read_micrographs` takes them.
        workers: processes at most; one for each core by default.
        **calibration: pixel_size_angstrom, energy_ev, dose_per_angstrom2, as `segment_folder` takes them.

    Returns:
        An object with `table` (one row an image: value, low, high, unit, columns, fault), `images` (the same in full) and `failed`.

    Raises:
        BadInputError: if the model segments, there is no image, none can be used, or the folder cannot be written.

    Example:
        >>> import passband as pb
        >>> pb.predict_folder("my-diameter", "session").table["file", "value", "low", "high"]  # doctest: +SKIP
    """
    import os

    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.micrographs.micrograph import Calibration
    from passband.sessions.image_files import find_images
    from passband.sessions.predict_run import run_predictions, workers_for

    chosen, given, out = as_model(model), Calibration(**calibration), Path(folder)
    files = find_images([images] if isinstance(images, str | Path) else list(images), out)
    count = workers_for(len(files.paths), workers or len(os.sched_getaffinity(0)))
    with make_executor("processes", count) as executor, TerminalProgress() as progress:
        return run_predictions(chosen, files, out, executor, progress, given=given, frames=frames)


def watch(
    model: str | Path | Model,
    images: str | Path,
    *,
    folder: str | Path = "segmented",
    until_idle_seconds: float | None = None,
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    frames: int | Literal["sum", "each"] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> Iterator[WatchedImage]:
    """Segment and judge each new image of a folder once it is complete, and yield it; leaves what `segment_folder` leaves.

    Each of them goes on where the other was stopped. The page live.html in the folder of the results shows the session while it runs.

    Args:
        model: by name, folder, or loaded.
        images: the folder that the microscope writes to, with its subfolders.
        folder: of the results, as `segment_folder` takes it.
        until_idle_seconds: end when nothing has changed for so long [s]; by default never.
        specimen: what is known of it: a `SpecimenInfo`, or its fields by name.
        frames: of stacks, as `read_micrographs` takes them.
        workers: processes at most; one for each core by default. They start as files wait, and stay.
        **calibration: pixel_size_angstrom [Å], energy_ev [eV], dose_per_angstrom2 [e/Å²], instead of what the files say.

    Returns:
        An iterator over the images: `row` and `image` have the columns and the details of `segment_folder`, `turned` tells that the
        answer has become no or cannot say.

    Raises:
        BadInputError: if there is no such folder, another run writes the results there, or none can be written.

    Example:
        >>> import passband as pb
        >>> for image in pb.watch("au-300kv", "session", energy_ev=300e3):  # doctest: +SKIP
        ...     print(image, image.row["advice"] if image.turned else "")
    """
    import os

    from passband.execution.processes import Processes
    from passband.micrographs.micrograph import Calibration
    from passband.sessions.image_job import Settings
    from passband.sessions.watch import Watch

    chosen, given, known = as_model(model), Calibration(**calibration), as_specimen(specimen)
    settings = Settings.of("segment", Path(folder), chosen, given=given, frames=frames, specimen=known)
    session = Watch(settings, Path(images), model=chosen.card.name, until_idle_seconds=until_idle_seconds)

    def judged() -> Iterator[WatchedImage]:
        with session, Processes(workers or len(os.sched_getaffinity(0))) as executor:
            try:
                yield from session.images(executor)
            finally:
                # Without a usable image there is nothing to write.
                with suppress(BadInputError):
                    session.finish()

    return judged()


def _of_many(
    verb: Literal["segment", "check", "estimate"],
    images: str | Path | Iterable[str | Path],
    folder: str | Path,
    model: Model | None,
    workers: int | None,
    calibration: Mapping[str, float | None],
    frames: Any,
    **settings: Any,
) -> ImageRun:
    import os

    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.micrographs.micrograph import Calibration
    from passband.sessions.image_files import find_images
    from passband.sessions.image_job import Settings
    from passband.sessions.image_run import run_images

    files = find_images([images] if isinstance(images, str | Path) else list(images), Path(folder))
    given = Calibration(**calibration)
    chosen = Settings.of(verb, Path(folder), model, given=given, frames=frames, **settings)
    count = min(workers or len(os.sched_getaffinity(0)), len(files.paths))
    name = None if model is None else model.card.name
    with make_executor("processes", count) as executor, TerminalProgress() as progress:
        return run_images(chosen, files, executor, progress, model=name)
