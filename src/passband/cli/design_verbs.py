"""The verbs design and train: from the conditions of a session to a network for it; parsing and printing only."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.base.terminal import warn
from passband.cli.model_verbs import print_model
from passband.cli.options import CORES, Json, Memory, Workers, print_answer


def design(
    session: Annotated[
        Path, Argument(metavar="SESSION", help="A distribution of conditions (draw or mixture), or PRESET:residuals.")
    ],
    recipe: Annotated[Path, Option(help="Recipe of the session's specimens.")],
    count: Annotated[int, Option(min=1, max=128, help="Number of conditions to train on.")] = 16,
    method: Annotated[
        str, Option(help="uniform: drawn at random; guided: spread over ε with the largest worst-case σ.")
    ] = "uniform",
    out: Annotated[Path, Option(help="The design, a YAML file.")] = Path("design.yaml"),
    as_json: Json = False,
) -> None:
    """Choose training conditions for a session, and predict Dice and loss of a network trained on them.

    Other choices, by transfer and of a single condition, are shown beside it. The design is a study with one training set; `passband
    train --condition` trains the network and makes its model.

    Example:  passband design session.yaml --recipe studies/recipes/au_on_carbon.yaml --count 16
    """
    from passband.specimens.recipe_files import load_recipe
    from passband.verdicts import design as designs

    source = designs.load_session(session)
    specimens = load_recipe(recipe)
    if out.exists():
        raise BadInputError("exists", remedy="choose another name with --out, or delete it first", place=out)
    q_max = designs.band_of(source)
    chosen = designs.design(source, count, q_max, method)
    study = designs.write_design(out, chosen.conditions, source, specimens, q_max)
    warn(study.warnings())
    print_answer(
        {"design": str(out), **chosen.to_dict()}, as_json, f"{out}: {chosen}\nthen: passband train --condition {out}"
    )


def train(
    design: Annotated[Path, Option("--condition", help="A design, or any study with training sets.")],
    name: Annotated[str | None, Option(help="Name of the model.", show_default="that of the file")] = None,
    out: Annotated[Path | None, Option(help="Folder of the study; runs/NAME if left out.")] = None,
    workers: Workers = CORES,
    score_on: Annotated[int, Option(min=60, max=10_000, help="Number of conditions to calibrate verdicts on.")] = 200,
    memory: Memory = 0.5,
    as_json: Json = False,
) -> None:
    """Train the network of a design and make a model of it: exit waves, training, scores, verdicts. A stopped run can be resumed.

    Example:  passband train --condition design.yaml
    """
    from passband.execution.choose import open_executor
    from passband.models.store import user_folder
    from passband.report.build import write_results
    from passband.studies import runner
    from passband.studies.folder import StudyFolder
    from passband.verdicts import from_study
    from passband.verdicts.design import session_conditions

    held = StudyFolder.open(design, out)
    config, folder = held.study, held.paths.folder
    chosen_name = name or config.name
    target = user_folder() / chosen_name
    from_study.check_free(target, chosen_name)
    session = session_conditions(config, score_on)
    warn(config.warnings())
    with open_executor("processes", workers) as executor, TerminalProgress() as progress:
        failed = runner.run(config, folder, executor, progress, finish=write_results, memory=int(1e9 * memory))
        if failed:
            raise BadInputError(f"{folder}: a network could not be trained: {failed[0]['reason']}")
        chosen = from_study.choose(held, None, None)
        model = from_study.pack(
            held,
            chosen,
            target,
            session,
            0.25,
            executor,
            progress,
            name=chosen_name,
            memory=int(1e9 * memory),
        )
    print_model(model, as_json)
