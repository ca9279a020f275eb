"""The verb that plans a session: parsing and printing only."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from passband.cli.ctf_verbs import read_condition
from passband.cli.options import Json, limits, print_answer


def plan_session(
    models: Annotated[
        list[str],
        Argument(metavar="MODEL", help="Models by name or folder; of several, the best one counts at each point."),
    ],
    defocus: Annotated[
        str | None,
        Option(
            metavar="LOW:HIGH", help="Range of the defocus [Å].", show_default="300 Å on either side of the condition's"
        ),
    ] = None,
    dose: Annotated[
        str | None, Option(metavar="LOW:HIGH", help="Range of the dose, in e/Å².", show_default="50:2000")
    ] = None,
    condition: Annotated[
        Path | None,
        Option(
            help="The microscope: a condition file or preset, whose defocus and dose are ignored.",
            show_default="the first model's reference condition",
        ),
    ] = None,
    out: Annotated[Path, Option(help="Folder of the figure, the page and the table.")] = Path("session_plan"),
    as_json: Json = False,
) -> None:
    """Draw at which defocus and dose a model works, and recommend a range of the defocus for a session.

    The verdicts are those of `check --condition`. The exit code is 1 if the model works nowhere on the plane.

    Example:  passband plan-session au-300kv --defocus -300:300 --dose 50:2000
    """
    from passband.models.store import load_model
    from passband.verdicts import session_plan
    from passband.verdicts.verdict_model import VerdictModel

    ends = {"defocus": None if defocus is None else limits("--defocus", defocus, "-300:300")}
    ends |= {"dose": None if dose is None else limits("--dose", dose, "50:2000")}
    microscope = None if condition is None else read_condition(condition)
    plan = session_plan.plan_session([VerdictModel(load_model(model)) for model in models], microscope, **ends)
    files = plan.save(out)
    print_answer(
        plan.to_dict() | {"files": files}, as_json, f"{plan}\n  {files['html']}, and beside it the figure and the table"
    )
    raise typer.Exit(0 if plan.works else 1)
