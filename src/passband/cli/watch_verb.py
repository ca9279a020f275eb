"""The verb of a live session; parsing and printing only."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from passband.base.terminal import note, show
from passband.cli.micrograph_verbs import calibration_of, frames_of
from passband.cli.options import (
    CORES,
    Dose,
    ElementsOfLattices,
    Energy,
    Frames,
    Json,
    PixelSize,
    SegmentedOut,
    Workers,
    option,
    print_answer,
)

Watched = Annotated[
    Path, Argument(metavar="FOLDER", help="The folder that the microscope writes to, with its subfolders.")
]
WithModel = Annotated[str, Option("--model", help="A model by name (`passband model list`), or its folder.")]
Idle = Annotated[
    float | None,
    Option(
        "--until-idle",
        min=0,
        metavar="SECONDS",
        help="Stop when nothing has changed for so many seconds; if left out, at Ctrl-C.",
    ),
]


def watch(
    folder: Watched,
    model: WithModel,
    pixel_size: PixelSize = None,
    energy: Energy = None,
    dose: Dose = None,
    frames: Frames = None,
    element: ElementsOfLattices = None,
    out: SegmentedOut = Path("segmented"),
    until_idle: Idle = None,
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Segment and judge each new micrograph of a folder as it arrives: a line each, a bell when the answer changes, a live page.

    Leaves what `passband segment` leaves for the folder, and either can resume the other. The page is live.html in the folder of the results. Stop with Ctrl-C.

    The exit code is 1 if an answer is no or cannot say or an image cannot be used, and 2 if none can.

    Example:  passband watch session --model au-300kv
    """
    from passband.execution.processes import Processes
    from passband.models.segment import known_crystals
    from passband.models.store import load_model
    from passband.sessions.image_job import Settings
    from passband.sessions.watch import Watch
    from passband.verdicts.domain import SpecimenInfo

    chosen, given, wanted = load_model(model), calibration_of(pixel_size, energy, dose), frames_of(frames)
    known_crystals(chosen.card.specimens, element)
    specimen = SpecimenInfo(tuple(element) if element else None)
    settings = Settings.of("segment", out, chosen, given=given, frames=wanted, specimen=specimen)
    session = Watch(settings, folder, model=chosen.card.name, until_idle_seconds=until_idle, name=option)
    tell: Callable[[Any], None] = note if as_json else show
    with session, Processes(workers) as executor:
        note(f"watching {folder}; the live page is {session.page}; stop with Ctrl-C")
        try:
            for image in session.images(executor):
                tell(str(image))
                if image.turned:
                    if sys.stderr.isatty():
                        print("\a", end="", file=sys.stderr, flush=True)
                    for what, text in (("what to do", image.row["advice"]), ("why", image.row["reasons"])):
                        tell(f"  {what}: {text or 'not known'}")
                sys.stdout.flush()
        except KeyboardInterrupt:
            note("stopped; writing the last results")
        run = session.finish()
    print_answer(run.to_dict() | {"live_page": str(session.page)} if as_json else run, as_json)
    raise typer.Exit(0 if run.all_well else 1)
