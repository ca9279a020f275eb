"""The verb `movie`: parsing and printing only."""

import re
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.cli.options import CORES, Elements, Energy, Json, ModelArgument, PixelSize, Workers, option, print_answer
from passband.micrographs.formats import endings


def movie(
    model: ModelArgument,
    file: Annotated[Path, Argument(metavar="MOVIE", help=f"A stack of frames ({endings()}).")],
    frames: Annotated[
        str | None,
        Option(
            metavar="FIRST-LAST",
            help="Frames to use, counted from 0: 10-199, or 10- for all from 10.",
            show_default="all",
        ),
    ] = None,
    dose: Annotated[float | None, Option(help="Dose of a frame in e/Å², if the file lacks it.")] = None,
    frame_time: Annotated[float | None, Option(help="Time from frame to frame [s], if the file lacks it.")] = None,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    element: Elements = None,
    out: Annotated[Path, Option(help="Folder of the results of this movie.")] = Path("movie"),
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Align the frames of a movie, segment and judge their sum and groups of frames, and follow the particles.

    Frames are summed in groups whose dose suffices for the model. A stopped run can be resumed.

    The exit code is 1 if the answer for the aligned sum is no or cannot say, and 2 if the movie cannot be used.

    Example:  passband movie au-300kv movie.mrc
    """
    from passband.execution.choose import make_executor
    from passband.micrographs.micrograph import Calibration
    from passband.models.segment import known_crystals
    from passband.models.store import load_model
    from passband.sessions.image_job import Settings
    from passband.sessions.movie_run import run_movie
    from passband.verdicts.domain import SpecimenInfo

    chosen, part = load_model(model), _part(frames)
    known_crystals(chosen.card.specimens, element)
    given = Calibration(pixel_size, energy, dose)
    settings = Settings.of(
        "segment", out, chosen, given=given, specimen=SpecimenInfo(tuple(element) if element else None)
    )
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        run = run_movie(settings, file, chosen, executor, progress, frames=part, frame_seconds=frame_time, name=option)
    print_answer(run, as_json)
    raise typer.Exit(1 if run.verdict in ("no", "cannot say") else 0)


def _part(text: str | None) -> tuple[int, int | None] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)-(\d*)", text)
    if match is None:
        raise BadInputError(
            f"--frames {text}: is no part of a movie; write the first and the last frame, such as 10-199"
        )
    return int(match[1]), int(match[2]) if match[2] else None
