"""The verbs design and train: from the conditions of a session to a network for it; parsing and printing only."""

import os
from pathlib import Path
from typing import Annotated

import typer

from passband.base.errors import BadInputError
from passband.base.terminal import error, print_json, warn
from passband.cli.model_verbs import print_model
from passband.cli.options import Json

_CORES = len(os.sched_getaffinity(0))


def design(
    session: Annotated[
        Path,
        typer.Argument(metavar="SESSION", help="A distribution of conditions (draw or mixture), or PRESET:residuals."),
    ],
    recipe: Annotated[Path, typer.Option("--recipe", help="Recipe of the session's specimens.")],
    count: Annotated[int, typer.Option("--count", min=1, max=128, help="Number of conditions to train on.")] = 16,
    method: Annotated[
        str,
        typer.Option("--method", help="guided: spread over ε with the largest worst-case σ; uniform: drawn at random."),
    ] = "guided",
    out: Annotated[Path, typer.Option("--out", help="The design, a YAML file.")] = Path("design.yaml"),
    as_json: Json = False,
) -> None:
    """Choose training conditions for a session, and predict the loss of a network trained on them.

    The predicted loss of uniform draws and of single conditions is shown beside it. The design is a study with one training set; `passband
    train --conditions` trains the network and makes its model.

    Example:  passband design session.yaml --recipe studies/recipes/au_on_carbon.yaml --count 16
    """
    from passband.specimens.recipe_files import load_recipe
    from passband.verdicts import design as designs

    source = designs.load_session(session)
    specimens = load_recipe(recipe)
    if out.exists():
        raise BadInputError("exists", remedy="choose another name with --out, or delete it first", place=out)
    q_max = designs.band_of(source)
    chosen, answer = designs.design(source, count, q_max, method)
    study = designs.write_design(out, chosen, source, specimens, q_max)
    warn(study.warnings())
    if as_json:
        print_json({"design": str(out), "conditions": [c.to_dict() for c in chosen], **answer})
        return
    print(f"{len(chosen)} conditions, ε {min(answer['epsilon']):.2f} to {max(answer['epsilon']):.2f}, in {out}")
    for why in answer["cannot_say"]:
        print(f"its loss cannot be predicted: {why}")
    if answer["expected"] is not None:
        print(f"{'trained on':<24}{'mean loss':>24}{'worst tenth':>24}   both over uniform's")
        titles = {"guided": f"{count} by their transfer", "uniform": f"{count} drawn uniformly", "single": "1 drawn"}
        for kind, title in titles.items():
            mean, worst = (answer["expected"][kind][score] for score in ("mean", "worst"))
            shown = [f"{v['loss']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for v in (mean, worst)]
            print(
                f"{title:<24}{shown[0]:>24}{shown[1]:>24}   × {mean['over_uniform']:.2f}, × {worst['over_uniform']:.2f}"
            )
        if method == "guided" and all(v["over_uniform"] >= 1 for v in answer["expected"]["guided"].values()):
            print("uniform draws are predicted to be no worse here: --method uniform")
        print(
            "Losses are for the reference U-Net on gold on carbon; expect the same ranking, not the same values, elsewhere."
        )
    print(f"then: passband train --conditions {out}")


def train(
    conditions: Annotated[Path, typer.Option("--conditions", help="A design, or any study with training sets.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model.", show_default="that of the file")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the study; runs/NAME if left out.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=1024, help="Processes, one core each.")] = _CORES,
    score_on: Annotated[
        int, typer.Option("--score-on", min=60, max=10_000, help="Number of conditions to calibrate verdicts on.")
    ] = 200,
    memory: Annotated[float, typer.Option("--memory", min=0.001, help="GB of memory for exit waves in work.")] = 0.5,
    as_json: Json = False,
) -> None:
    """Train the network of a design and make a model of it: exit waves, training, scores, verdicts. A stopped run can be resumed.

    Example:  passband train --conditions design.yaml
    """
    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.models.store import user_folder
    from passband.report.build import write_results
    from passband.studies import runner
    from passband.studies.folder import StudyFolder
    from passband.verdicts import from_study
    from passband.verdicts.design import session_conditions

    study_folder = StudyFolder.open(conditions, out)
    config, folder = study_folder.study, study_folder.paths.folder
    chosen_name = name or config.name
    target = user_folder() / chosen_name
    from_study.check_free(target, chosen_name)
    session = session_conditions(config, score_on)
    warn(config.warnings())
    executor = make_executor("processes", workers)
    try:
        with TerminalProgress(error) as progress:
            failed = runner.run(config, folder, executor, progress, finish=write_results, memory=int(1e9 * memory))
            if failed:
                raise BadInputError(f"{folder}: a network could not be trained: {failed[0]['reason']}")
            chosen = from_study.choose(study_folder, None, None)
            model = from_study.pack(
                study_folder,
                chosen,
                target,
                *from_study.divide(session, 0.25),
                executor,
                progress,
                name=chosen_name,
                intended_use=from_study.use_of(chosen),
                memory=int(1e9 * memory),
            )
    finally:
        executor.close()
    print_model(model, as_json)
