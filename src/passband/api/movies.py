"""Movies: frames aligned, segmented, judged, and their particles followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passband.api.micrographs import as_specimen
from passband.api.models import as_model

if TYPE_CHECKING:
    from passband.models.store import Model
    from passband.sessions.movie_run import MovieRun
    from passband.verdicts.domain import SpecimenInfo


def movie(
    model: str | Path | Model,
    file: str | Path,
    *,
    folder: str | Path = "movie",
    frames: tuple[int, int | None] | None = None,
    frame_seconds: float | None = None,
    specimen: SpecimenInfo | Mapping[str, Any] | None = None,
    workers: int | None = None,
    **calibration: float | None,
) -> MovieRun:
    """Align the frames of a movie, segment and judge their sum and groups of frames, and follow the particles.

    A stopped call continues when it is made again.

    Args:
        model: by name, folder, or loaded.
        file: a stack of frames.
        folder: of the results: the aligned sum with its masks and tables, tables of frames, groups and tracks, figures, movie.html.
        frames: first and last frame of a part of the movie, counted from 0; None as the last is the end.
        frame_seconds: from one frame to the next, if the file lacks it [s].
        specimen: what is known of it: a `SpecimenInfo`, or its fields by name.
        workers: processes; one for each core by default.
        **calibration: pixel_size_angstrom [Å], energy_ev [eV], and dose_per_angstrom2 of a frame [e/Å²], instead of what the file says.

    Returns:
        An object with `verdict`, the tables `frames` (drift in Å, and which to use), `groups` (verdict, Dice, particles, optics) and
        `tracks` (frame, time in s, track, x and y in Å, diameter in Å), and `recommendation`; a notebook shows the sum.

    Raises:
        BadInputError: if the file is no movie, its frames cannot be aligned, or the folder holds another movie.

    Example:
        >>> import passband as pb
        >>> pb.movie("au-300kv", "movie.mrc").tracks["frame", "track", "x_angstrom", "y_angstrom"]  # doctest: +SKIP
    """
    import os

    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.micrographs.micrograph import Calibration
    from passband.sessions.image_job import Settings
    from passband.sessions.movie_run import run_movie

    chosen, given = as_model(model), Calibration(**calibration)
    settings = Settings.of("segment", Path(folder), chosen, given=given, specimen=as_specimen(specimen))
    count = workers or len(os.sched_getaffinity(0))
    with make_executor("processes", count) as executor, TerminalProgress() as progress:
        return run_movie(settings, Path(file), chosen, executor, progress, frames=frames, frame_seconds=frame_seconds)
