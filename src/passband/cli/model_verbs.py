"""The verbs of `passband model`: parsing and printing only."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from passband.base.errors import BadInputError
from passband.base.terminal import error, print_json, warn
from passband.cli.options import Json

if TYPE_CHECKING:
    from passband.models.store import Model

model_app = typer.Typer(no_args_is_help=True, help="Trained networks with their cards and scores.")
_CORES = len(os.sched_getaffinity(0))

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model, or its folder.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=1024, help="Processes, one core each.", show_default="number of cores")
]


@model_app.command("list")
def model_list(as_json: Json = False) -> None:
    """List the bundled models and yours.

    Example:  passband model list
    """
    from passband.models.store import installed, read_model

    models: list[dict[str, Any]] = []
    for name, folder in installed().items():
        card = read_model(folder).card
        models.append(
            {
                "name": name,
                "folder": str(folder),
                "elements": list(card.specimens.elements),
                "pixel_band_angstrom": list(card.pixel_band_angstrom),
                "intended_use": card.intended_use,
            }
        )
    if as_json:
        print_json({"models": models})
        return
    for m in models:
        low, high = m["pixel_band_angstrom"]
        print(f"{m['name']:<16} {', '.join(m['elements'])}, pixels of {low:g} to {high:g} Å. {m['intended_use']}")
    if not models:
        print("no models")


@model_app.command("show")
def model_show(name: Name, as_json: Json = False) -> None:
    """Show a model's card: training conditions, specimens, scores, limits.

    Example:  passband model show au-300kv
    """
    from passband.models.store import load_model

    model = load_model(name)
    print_model(model, as_json)


@model_app.command("pack")
def model_pack(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a finished study.")],
    name: Annotated[str, typer.Option("--name", help="Name of the model.")],
    conditions: Annotated[
        Path, typer.Option("--conditions", help="Set of conditions to score it under, such as those of a session.")
    ],
    training: Annotated[
        str | None,
        typer.Option(
            "--training",
            help="Training set, the start of its name (uniform-32), or id of a condition.",
            show_default="of the network with the lowest mean loss",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Number of the network.")] = None,
    use: Annotated[str, typer.Option("--use", help="Intended use, in a sentence.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the model; in your folder of models by default.")
    ] = None,
    held_out: Annotated[
        float,
        typer.Option("--held-out", min=0, max=0.5, help="Share of the conditions held out to evaluate the verdicts."),
    ] = 0.25,
    workers: Workers = _CORES,
    memory: Annotated[float, typer.Option("--memory", min=0.001, help="Memory for exit waves [GB].")] = 0.5,
    as_json: Json = False,
) -> None:
    """Make a model from a network of a study and score it, so that it can give verdicts. A stopped run can be resumed.

    Example:  passband model pack runs/au_300kv --name au-300kv --conditions studies/models/au_300kv_session.yaml
    """
    from passband.base.progress import TerminalProgress
    from passband.conditions.condition_files import load_conditions
    from passband.execution.choose import make_executor
    from passband.models.store import user_folder
    from passband.studies.folder import StudyFolder
    from passband.verdicts import from_study

    plan = StudyFolder.open(study)
    chosen = from_study.choose(plan, training, seed)
    calibration, judged = from_study.divide([c for _, c in load_conditions(conditions)], held_out)
    executor = make_executor("processes", workers)
    try:
        with TerminalProgress(error) as progress:
            model = from_study.pack(
                plan,
                chosen,
                user_folder() / name if out is None else out,
                calibration,
                judged,
                executor,
                progress,
                name=name,
                intended_use=use or from_study.use_of(chosen),
                memory=int(1e9 * memory),
            )
    finally:
        executor.close()
    print_model(model, as_json)


@model_app.command("export")
def model_export(
    name: Name,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="NAME.zip, NAME.onnx, or NAME.bioimageio.zip.")],
    as_json: Json = False,
) -> None:
    """Write a model to one file: passband's zip, ONNX, or the bioimage.io format, by the file's ending.

    Example:  passband model export au-300kv au-300kv.onnx
    """
    from passband.models.store import export_zip, load_model

    model = load_model(name)
    if out.name.endswith((".onnx", ".bioimageio.zip")):
        from passband.models import onnx_export

        facts: dict[str, Any] = onnx_export.export(model, out)
    elif out.suffix == ".zip":
        facts = {"file": str(export_zip(model, out))}
    else:
        raise BadInputError(f"{out}: ends in none of .zip, .onnx, .bioimageio.zip")
    if as_json:
        print_json(facts)
    else:
        print("\n".join(f"{k}: {v}" for k, v in facts.items()))


@model_app.command("import")
def model_import(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A model's zip file, an ONNX network, or weights of a passband network (safetensors)."
        ),
    ],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            help="Description of a network: YAML with name, licence, pixel_size_angstrom, field_pixels, specimens.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Install a model from its file. Only the operations of an ONNX network are run; nothing is unpickled.

    Example:  passband model import au-300kv.zip
    """
    if file.suffix == ".zip":
        from passband.models.store import import_zip

        model = import_zip(file)
    else:
        from passband.models.external import import_network, refuse_pickles

        refuse_pickles(file)
        if card is None:
            raise BadInputError(
                f"{file}: does not state pixel size and specimens; describe them in a YAML file and give it with --card"
            )
        model = import_network(file, card)
    if as_json:
        print_json({"name": model.card.name, "folder": str(model.folder)})
        return
    print(f"{model.card.name} installed in {model.folder}")
    if model.scores is None:
        print(f"For verdicts: passband model score {model.card.name} --recipe RECIPE --conditions SET")


@model_app.command("score")
def model_score(
    name: Name,
    recipe: Annotated[
        Path, typer.Option("--recipe", help="Recipe of specimens of the intended use, not those of the training.")
    ],
    conditions: Annotated[
        Path, typer.Option("--conditions", help="Set of conditions to score it under, such as those of a session.")
    ],
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, help="Number of specimens.")] = 60,
    held_out: Annotated[
        float,
        typer.Option("--held-out", min=0, max=0.5, help="Share of the conditions held out to evaluate the verdicts."),
    ] = 0.25,
    out: Annotated[Path, typer.Option("--out", help="Folder of exit waves and unfinished work.")] = Path("runs"),
    workers: Workers = _CORES,
    memory: Annotated[float, typer.Option("--memory", min=0.001, help="Memory for exit waves [GB].")] = 0.5,
    as_json: Json = False,
) -> None:
    """Score a model under known conditions, so that it can give verdicts. A stopped run can be resumed.

    Example:  passband model score mine --recipe studies/recipes/au_on_carbon.yaml --conditions studies/models/au_300kv_session.yaml
    """
    from passband.base.progress import TerminalProgress
    from passband.conditions.condition_files import load_conditions
    from passband.execution.choose import make_executor
    from passband.models.store import load_model
    from passband.specimens.recipe_files import load_recipe
    from passband.verdicts.recipe_calibration import Scoring

    scoring = Scoring(
        load_model(name), load_recipe(recipe), [c for _, c in load_conditions(conditions)], count, held_out, out
    )
    scoring.check()
    warn(scoring.warnings())
    executor = make_executor("processes", workers)
    try:
        with TerminalProgress(error) as progress:
            model = scoring.run(executor, progress, memory=int(1e9 * memory))
    finally:
        executor.close()
    print_model(model, as_json)


def print_model(model: "Model", as_json: bool) -> None:
    """Print a model's card and scores."""
    from passband.verdicts.summary import in_words, summary

    answer = summary(model)
    if as_json:
        print_json(answer)
    else:
        print("\n".join(in_words(answer)))
