"""The verb `passband simulate`."""

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from passband.base.errors import BadInputError, parameter
from passband.base.progress import TerminalProgress
from passband.base.terminal import warn
from passband.cli.options import CORES, Json, Memory, RecipeArgument, Workers, print_answer

_TRAINING = "Training images"
_EXAMPLE = "0.8,0.1,0.1"


def simulate(
    recipe: RecipeArgument,
    condition: Annotated[
        Path | None,
        Option(
            help="A condition file or preset, of HRTEM or STEM: writes one image of each specimen, in a stack. Without it, only exit waves are made."
        ),
    ] = None,
    conditions: Annotated[
        list[str] | None,
        Option(
            metavar="CONDITIONS",
            help="A distribution (YAML), PRESET:residuals, a preset or a condition file, of HRTEM or STEM; may be repeated. Each image gets a condition of its own.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    count: Annotated[
        int, Option(min=1, max=1_000_000, help="Number of specimens; number of images with --conditions.")
    ] = 8,
    images_per_specimen: Annotated[
        int | None,
        Option(min=1, max=10_000, help="Images of each specimen.", show_default="4", rich_help_panel=_TRAINING),
    ] = None,
    split: Annotated[
        str | None,
        Option(
            help="Shares of the specimens for training, validation and test.",
            show_default=_EXAMPLE,
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    layout: Annotated[
        str | None,
        Option(help="Layout of the folder: plain, nnunet or coco.", show_default="plain", rich_help_panel=_TRAINING),
    ] = None,
    classes: Annotated[
        bool,
        Option("--classes", help="Write masks of classes, too: a number for each crystal.", rich_help_panel=_TRAINING),
    ] = False,
    labels: Annotated[
        bool, Option("--labels", help="Write every label of each specimen (.npz), too: thickness, atomic columns, …")
    ] = False,
    out: Annotated[
        Path | None, Option(help="Folder of the images; runs/RECIPE if left out. Exit waves lie beside it.")
    ] = None,
    workers: Workers = CORES,
    memory: Memory = 0.5,
    as_json: Json = False,
) -> None:
    """Simulate images of specimens: to look at, or to train networks with. A stopped run can be resumed.

    --condition makes a stack of images under one condition. --conditions makes a folder of training images for any
    program: images, masks and numbered particles, split by specimen, and a table of their conditions.

    Example:  passband simulate gold_on_carbon --conditions titan_corrected_300kv:residuals --count 100
    """
    from passband.conditions.condition_files import load_any_condition
    from passband.execution.choose import make_executor
    from passband.specimens.recipe_files import load_recipe

    given = {"images_per_specimen": images_per_specimen, "split": split, "layout": layout, "classes": classes or None}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if conditions is None and chosen:
        raise BadInputError(f"{parameter(next(iter(chosen)))}: is for training images; name --conditions")
    if conditions is not None and condition is not None:
        raise BadInputError("--condition and --conditions are given; keep one: a stack of images, or training images")
    if labels and condition is None and conditions is None:
        remedy = "name a --condition, or use passband specimen export"
        raise BadInputError(f"--labels: are made with the pixels of images; {remedy}")
    family, folder = load_recipe(recipe), Path("runs") / recipe.stem if out is None else out
    if conditions is None:
        from passband.studies.simulate import Simulation

        read = None if condition is None else load_any_condition(condition)
        plan: Any = Simulation(recipe=family, condition=read, count=count, folder=folder, labels=labels)
    else:
        from passband.studies.image_conditions import read_conditions
        from passband.studies.image_export import ImageExport

        if split is not None:
            chosen["split"] = _shares(split)
        plan = ImageExport(
            recipe=family,
            conditions=[read_conditions(source) for source in conditions],
            count=count,
            folder=folder,
            labels=labels,
            **chosen,
        )
    plan.check()
    warn(plan.warnings())
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        facts = plan.run(executor, progress, memory=int(1e9 * memory))
    if conditions is not None:
        from passband.report.simulated_folder import SimulatedFolder

        print_answer(facts, as_json, str(SimulatedFolder.open(folder)))
        return
    n, size = facts["specimens"], f"{facts['bytes_per_specimen'] / 1e6:.2f} MB"
    where = facts[facts["stored"].replace(" ", "_")]
    lines = f"{facts['stored']} of {n} specimen{'s' * (n > 1)} in {where}, {size} each"
    if facts["images"]:
        lines += f"\nimages, masks and a contact sheet in {folder}"
    print_answer(facts, as_json, lines)


def _shares(text: str) -> tuple[float, ...]:
    """Return the shares of a split, such as 0.8,0.1,0.1."""
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError:
        raise BadInputError(f"--split {text!r}: give three shares, such as {_EXAMPLE}") from None
