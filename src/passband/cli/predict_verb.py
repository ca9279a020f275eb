"""The verb predict: parsing and printing only."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from passband.base.progress import TerminalProgress
from passband.cli.micrograph_verbs import calibration_of, frames_of
from passband.cli.options import (
    CORES,
    Dose,
    Energy,
    Frames,
    Images,
    Json,
    ModelArgument,
    PixelSize,
    Workers,
    option,
    print_answer,
)


def predict(
    model: ModelArgument,
    images: Images,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    out: Annotated[Path, Option("--out", help="Folder of the results.")] = Path("predicted"),
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Predict other things than particles: maps of thickness or crystals, atomic columns, a mean diameter, or a defocus.

    The model is one of such a task, which `passband model pack` makes of a study; no bundled model is.

    A value of the image has an interval, calibrated under the training condition. Maps are TIFF files with their scale, with an overlay
    each. A stopped run can be resumed.

    The exit code is 1 if an image cannot be used, and 2 if none can.

    Example:  passband predict MODEL session/
    """
    from passband.execution.choose import make_executor
    from passband.models.image_prediction import PREDICTED
    from passband.models.store import load_model, require_task
    from passband.sessions.image_files import find_images
    from passband.sessions.predict_run import run_predictions, workers_for

    chosen, given, wanted = load_model(model), calibration_of(pixel_size, energy, dose), frames_of(frames)
    require_task(chosen.card, *PREDICTED)
    files = find_images(images, out)
    with make_executor("processes", workers_for(len(files.paths), workers)) as executor, TerminalProgress() as progress:
        run = run_predictions(chosen, files, out, executor, progress, given=given, frames=wanted, name=option)
    print_answer(run, as_json)
    raise typer.Exit(1 if run.failed else 0)
