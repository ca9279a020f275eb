"""The verbs of `passband model`, and design and train, which make one for a session: parsing and printing only."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.base.terminal import error, warn
from passband.cli.options import (
    CORES,
    HeldOut,
    Json,
    LabelledImagesFolder,
    LabelsFolder,
    Memory,
    ModelArgument,
    PixelSize,
    Seed,
    Workers,
    print_answer,
)
from passband.cli.specimen_verbs import read_recipe

if TYPE_CHECKING:
    from passband.micrographs.labels import LabelledSet
    from passband.models.store import Model

model_app = typer.Typer(
    no_args_is_help=True, help="Trained networks: list, show, make, score, tune, export and import them."
)


@model_app.command("list")
def model_list(as_json: Json = False) -> None:
    """List the bundled models and yours.

    Example:  passband model list
    """
    from passband.learning import SEGMENTATION
    from passband.models.store import installed, read_model

    models, lines = [], []
    for name, folder in installed().items():
        card = read_model(folder).card
        elements, (low, high) = list(card.specimens.elements), card.pixel_band_angstrom
        facts = {
            "task": card.task,
            "elements": elements,
            "pixel_band_angstrom": [low, high],
            "intended_use": card.intended_use,
        }
        models.append({"name": name, "folder": str(folder), **facts})
        task = "" if card.task == SEGMENTATION.name else f"{card.task}: "
        lines.append(f"{name:<16} {task}{', '.join(elements)}, pixels of {low:g} to {high:g} Å. {card.intended_use}")
    print_answer({"models": models}, as_json, "\n".join(lines) or "no models")


@model_app.command("show")
def model_show(model: ModelArgument, as_json: Json = False) -> None:
    """Show a model's card: training conditions, specimens, scores, limits.

    Example:  passband model show au-300kv
    """
    from passband.models.store import load_model

    print_model(load_model(model), as_json)


@model_app.command("pack")
def model_pack(
    study: Annotated[Path, Argument(metavar="STUDY", help="Folder of a finished study.")],
    name: Annotated[str, Option(help="Name of the model.")],
    conditions: Annotated[
        Path | None,
        Option(
            "--condition",
            help="Set of conditions to score it under, such as those of a session. Required for segmentation in HRTEM, optional in STEM, refused for other tasks.",
        ),
    ] = None,
    training: Annotated[
        str | None,
        Option(
            help="Training set, the start of its name (uniform-32), or id of a condition.",
            show_default="that of the network with the lowest mean loss",
        ),
    ] = None,
    seed: Annotated[
        int | None, Option(min=0, help="Seed of the network, from 0; if left out, that with the lowest mean loss.")
    ] = None,
    second: Annotated[
        Path | None,
        Option(
            help="Folder of a study of other specimens, whose best network is added: where the two disagree, the verdict on an image is: cannot say."
        ),
    ] = None,
    use: Annotated[str, Option(help="Intended use, in a sentence.")] = "",
    out: Annotated[Path | None, Option(help="Folder of the model; in your folder of models by default.")] = None,
    held_out: HeldOut = 0.25,
    workers: Workers = CORES,
    memory: Memory = 0.5,
    as_json: Json = False,
) -> None:
    """Make a model from a network of a study, and score it so that it can give verdicts. A stopped run can be resumed.

    Models of other tasks, and models for STEM without --condition, give no verdicts; they are scored under their training condition. An
    interval of a predicted value is calibrated there, too.

    Example:  passband model pack runs/au_300kv --name au-300kv --condition studies/models/micrographs_session.yaml
    """
    from passband.conditions.condition_files import load_any_conditions
    from passband.execution.choose import make_executor
    from passband.models.store import user_folder
    from passband.studies.folder import StudyFolder
    from passband.verdicts import from_study

    held = StudyFolder.open(study)
    from_study.check_conditions(held, given=conditions is not None)
    if second is not None and conditions is None:
        raise BadInputError(
            "is for verdicts, which this study's models do not give", remedy="leave it out", place="--second"
        )
    chosen = from_study.choose(held, training, seed)
    other = None if second is None else from_study.choose(StudyFolder.open(second), None, None)[0]
    session = [] if conditions is None else [c for _, c in load_any_conditions(conditions)]
    limit, target = int(1e9 * memory), user_folder() / name if out is None else out
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        model = from_study.pack(
            held,
            chosen,
            target,
            session,
            held_out,
            executor,
            progress,
            name=name,
            intended_use=use,
            second=other,
            memory=limit,
        )
    print_model(model, as_json)


@model_app.command("export")
def model_export(
    model: ModelArgument,
    out: Annotated[Path, Argument(metavar="FILE", help="NAME.zip, NAME.onnx, or NAME.bioimageio.zip.")],
    as_json: Json = False,
) -> None:
    """Write a model to one file: passband's zip, ONNX, or the bioimage.io format, by the file's ending.

    Example:  passband model export au-300kv au-300kv.onnx
    """
    from passband.models.store import export_zip, load_model

    loaded = load_model(model)
    if out.name.endswith((".onnx", ".bioimageio.zip")):
        from passband.models import onnx_export

        facts = onnx_export.export(loaded, out)
    elif out.suffix == ".zip":
        facts = {"file": str(export_zip(loaded, out))}
    else:
        raise BadInputError(f"{out}: ends in none of .zip, .onnx, .bioimageio.zip")
    print_answer(facts, as_json, "\n".join(f"{k}: {v}" for k, v in facts.items()))


@model_app.command("import")
def model_import(
    file: Annotated[
        Path,
        Argument(
            metavar="FILE", help="A model's zip file, an ONNX network, or weights of a passband network (safetensors)."
        ),
    ],
    card: Annotated[
        Path | None,
        Option(help="Description of a network in YAML, needed unless FILE is a zip file; its keys are above."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Install a model from its file. Only the operations of an ONNX network are run; nothing is unpickled.

    A description (--card) needs the keys: name, licence, pixel_size_angstrom (of the training), field_pixels (side of the training images),
    specimens (elements, support, thickness_angstrom, diameter_angstrom). It may have: normalisation (zero_mean_unit_variance or
    min_max), output (logits, probability or softmax), channel (of the particles, from 0), threshold, divisor (of the image's side),
    modality (hrtem or stem), pixel_band_angstrom, q_max_per_angstrom, intended_use, limits, conditions (of the training), network (for safetensors).

    Example:  passband model import network.onnx --card network.yaml
    """
    from passband.learning import SEGMENTATION

    if file.suffix == ".zip":
        from passband.models.store import import_zip

        model = import_zip(file)
    else:
        from passband.models.external import import_network, refuse_pickles

        refuse_pickles(file)
        if card is None:
            remedy = "describe them in a YAML file and give it with --card"
            raise BadInputError(f"{file}: does not state pixel size and specimens; {remedy}")
        model = import_network(file, card)
    text = f"{model.card.name} installed in {model.folder}"
    if model.scores is None and model.card.task == SEGMENTATION.name and model.card.modality == "hrtem":
        text += f"\nFor verdicts: passband model score {model.card.name} --recipe RECIPE --condition SET"
    print_answer({"name": model.card.name, "folder": str(model.folder)}, as_json, text)


@model_app.command("score")
def model_score(
    model: ModelArgument,
    recipe: Annotated[
        Path | None,
        Option(help="Recipe of the specimens that you use the model on: a YAML file, or a bundled one by name."),
    ] = None,
    conditions: Annotated[
        Path | None, Option("--condition", help="Set of conditions to score it under, such as those of a session.")
    ] = None,
    images: LabelledImagesFolder = None,
    masks: LabelsFolder = None,
    pixel_size: PixelSize = None,
    edge_offset: Annotated[
        float | None, Option(help="The labels' outlines relative to the model's [Å], negative if inside.")
    ] = None,
    calibrate: Annotated[
        int,
        Option("--calibrate-edge", min=0, help="Number of images to calibrate --edge-offset on; they are not scored."),
    ] = 0,
    tolerance: Annotated[
        float, Option(min=0, help="Distance within which outlines count as the same in the surface Dice [Å].")
    ] = 2.0,
    count: Annotated[int, Option(min=1, max=100_000, help="Number of specimens to simulate.")] = 60,
    seed: Seed = None,
    held_out: HeldOut = 0.25,
    out: Annotated[Path, Option(help="Folder of exit waves and unfinished work.")] = Path("runs"),
    workers: Workers = CORES,
    memory: Memory = 0.5,
    as_json: Json = False,
) -> None:
    """Score a model on your labelled images; or on images simulated under known conditions, so that it can give verdicts.

    With --images and --masks, two folders of pairs by name (or one), it compares the model's masks with yours: Dice, distance of the
    outlines, surface Dice, particles found, missed and invented, one row an image. Masks are png, tif or npy files, ImageJ's regions
    (zip) or COCO json. With --recipe and --condition it simulates images; a stopped run can be resumed.

    A model for STEM gets scores and no verdicts; so does one of another task than segmentation, by the main score of its task. The latter's
    labels (--masks) are a folder of maps (tif or npy); of a value of the image, a CSV file with the columns image and value; of instances, masks.

    Example:  passband model score au-300kv --images shots --masks masks --calibrate-edge 2

    Example:  passband model score mine --recipe gold_on_carbon --condition studies/models/micrographs_session.yaml
    """
    if (recipe is None) != (conditions is None) or (recipe is None) == (images is None and masks is None):
        raise BadInputError("give either --recipe and --condition, or --images and --masks")
    if recipe is None or conditions is None:
        if seed is not None:
            raise BadInputError("--seed is of --recipe; leave it out with --images")
        _score_labels(model, images, masks, pixel_size, edge_offset, calibrate, tolerance, as_json)
        return
    if pixel_size is not None or edge_offset is not None or calibrate:
        name = "--pixel-size" if pixel_size is not None else "--calibrate-edge" if calibrate else "--edge-offset"
        raise BadInputError(f"{name} is of --images; leave it out with --recipe")
    from passband.conditions.condition_files import load_any_conditions, load_conditions
    from passband.execution.choose import make_executor
    from passband.learning import SEGMENTATION
    from passband.models.store import load_model
    from passband.verdicts.calibration import Scoring
    from passband.verdicts.summary import write_profile

    chosen, specimens = load_model(model), read_recipe(recipe, seed)
    if chosen.card.task != SEGMENTATION.name or chosen.card.modality != "hrtem":
        _score_task(chosen, specimens, load_any_conditions(conditions), count, out, workers, memory, as_json)
        return
    named = load_conditions(conditions)
    scoring = Scoring(chosen, specimens, [c for _, c in named], count, held_out, out)
    scoring.check()
    warn(scoring.warnings())
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        scored = scoring.run(executor, progress, memory=int(1e9 * memory))
    print_model(scored, as_json, write_profile(scored, out / f"{scored.card.name}-profile.html"))


Edge = Annotated[str, Option(help="Outlines of the tuned model: labels, as you draw them; model, as the model does.")]
Folds = Annotated[int, Option(min=2, max=100, help="Number of parts of the images, each held out once.")]
Steps = Annotated[int, Option(min=2, max=100_000, help="Training steps for each network.")]


@model_app.command("tune")
def model_tune(
    model: ModelArgument,
    images: LabelledImagesFolder = None,
    masks: LabelsFolder = None,
    name: Annotated[str | None, Option(help="Name of the tuned model; without it, nothing is written.")] = None,
    pixel_size: PixelSize = None,
    edge: Edge = "labels",
    folds: Folds = 4,
    steps: Steps = 300,
    curve: Annotated[
        bool,
        Option("--curve", help="Measure the learning curve, too, as `model learning-curve` does."),
    ] = False,
    anyway: Annotated[bool, Option("--anyway", help="Write the model even if it is worse.")] = False,
    out: Annotated[Path | None, Option(help="Folder of the model; in your folder of models by default.")] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on a few labelled images, with simulated ones mixed in, and say what held-out images gain.

    Images and masks are those that `model score` takes. Each image is held out once. A model that is worse on held-out images, or on
    simulated ones, is not written, and the exit code is 1, unless --anyway. Verdicts on images are recalibrated by five labels or more.

    Example:  passband model tune au-300kv --images shots --masks masks --name mine --curve
    """
    from passband.models.store import load_model, user_folder
    from passband.verdicts.tuned_model import tune_and_write

    chosen, labelled = load_model(model), _labelled(images, masks, pixel_size)
    target = out if name is None or out is not None else user_folder() / name
    if out is not None and name is None:
        raise BadInputError("--out needs --name, the name of the tuned model")
    settings = {"edge": edge, "folds": folds, "steps": steps, "curve": curve}
    with TerminalProgress() as progress:
        result = tune_and_write(chosen, labelled, target, name or "", progress, anyway=anyway, **settings)
    print_answer(result, as_json)
    if target is not None and result.tuned is None:
        error.print("the tuned model is worse and was not written; label more images, or give --anyway")
        raise typer.Exit(1)


@model_app.command("learning-curve")
def model_learning_curve(
    model: ModelArgument,
    images: LabelledImagesFolder = None,
    masks: LabelsFolder = None,
    pixel_size: PixelSize = None,
    edge: Edge = "labels",
    folds: Folds = 4,
    steps: Steps = 300,
    figure: Annotated[Path | None, Option(help="Figure of the curve: FILE.png or FILE.svg.")] = None,
    out: Annotated[Path, Option(help="Folder of unfinished work.")] = Path("runs"),
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """How many images must I label? Scores of held-out images against the number that a model is tuned on, and an estimate for twice as many.

    It tunes on 1, 2, 4, … of your images, in each of the folds, and writes no model. A stopped run can be resumed.

    Example:  passband model learning-curve au-300kv --images shots --masks masks --figure curve.png
    """
    from passband.execution.choose import make_executor
    from passband.figures import style
    from passband.files.atomic import require_replaceable
    from passband.models.store import load_model
    from passband.models.tuning_jobs import measure_curve

    if figure is not None:
        if figure.suffix not in (".png", ".svg"):
            raise BadInputError(f"--figure {figure}: ends in neither .png nor .svg; give such a name")
        require_replaceable(figure)
    chosen, labelled = load_model(model), _labelled(images, masks, pixel_size)
    settings: Any = {"edge": edge, "folds": folds, "steps": steps}
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        curve = measure_curve(chosen, labelled, out, executor, progress, **settings)
    if figure is not None:
        with style.figure(5.2, 3.6) as made:
            curve.plot(made.subplots())
            style.save(made, figure.parent, figure.stem, (figure.suffix[1:],))
    print_answer(curve, as_json)


def _score_labels(
    model: str,
    images: Path | None,
    masks: Path | None,
    pixel_size: float | None,
    edge_offset: float | None,
    calibrate: int,
    tolerance: float,
    as_json: bool,
) -> None:
    from passband.models.label_scores import score_labels
    from passband.models.store import SEGMENTING, load_model
    from passband.models.task_scores import read_targets, score_targets

    chosen = load_model(model)
    if chosen.card.task not in SEGMENTING:
        if images is None or masks is None:
            raise BadInputError("--images and --masks belong together")
        if edge_offset is not None or calibrate:
            name = "--edge-offset" if edge_offset is not None else "--calibrate-edge"
            raise BadInputError(f"{name} is of models that segment; leave it out")
        micrographs, targets, notes = read_targets(chosen.card, images, masks, pixel_size)
        with TerminalProgress() as progress:
            advance = progress.stage("images", len(micrographs), 0)
            scores = score_targets(chosen, micrographs, targets, notes=notes, progress=advance)
        print_answer(scores, as_json)
        return
    labelled = _labelled(images, masks, pixel_size)
    with TerminalProgress() as progress:
        answer = score_labels(
            chosen,
            labelled,
            edge_offset_angstrom=edge_offset,
            calibrate_edge_on=calibrate,
            tolerance_angstrom=tolerance,
            progress=progress.stage("images", len(labelled), 0),
        )
    print_answer(answer, as_json)


def _score_task(
    model: "Model",
    recipe: Any,
    conditions: Any,
    count: int,
    out: Path,
    workers: int,
    memory: float,
    as_json: bool,
) -> None:
    from passband.execution.choose import make_executor
    from passband.files.tables import write_table
    from passband.verdicts.task_scoring import TaskScoring

    scoring = TaskScoring(model, recipe, conditions, count, out)
    scoring.check()
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        scores = scoring.run(executor, progress, memory=int(1e9 * memory))
    path = out / f"{model.card.name}-scores.parquet"
    write_table(path, scores.table)
    print_answer(scores.to_dict() | {"table": str(path)}, as_json, f"{scores}\ntable: {path}")


def _labelled(images: Path | None, masks: Path | None, pixel_size: float | None) -> "LabelledSet":
    from passband.micrographs.labels import read_labelled

    if images is None or masks is None:
        raise BadInputError("--images and --masks belong together; they may be one folder")
    return read_labelled(images, masks, pixel_size_angstrom=pixel_size)


def design(
    session: Annotated[
        Path,
        Argument(
            metavar="SESSION",
            help="The conditions to expect: a distribution (YAML with draw or mixture), or PRESET:residuals.",
        ),
    ],
    recipe: Annotated[Path, Option(help="Recipe of the specimens: a YAML file, or a bundled one by name.")],
    count: Annotated[int, Option(min=1, max=128, help="Number of conditions to train on.")] = 16,
    method: Annotated[
        str,
        Option(
            help="predicted: the random draw, of 32, with the lowest predicted worst loss; uniform: one random draw; guided: chosen by what they transfer."
        ),
    ] = "predicted",
    out: Annotated[Path, Option(help="The design, a YAML file.")] = Path("design.yaml"),
    as_json: Json = False,
) -> None:
    """Choose training conditions for a session, and predict Dice and loss of a network trained on them.

    The choice is shown beside one by transfer and one of a single condition. The design is a study with one training set; `passband
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
    chosen = designs.design(source, count, q_max, specimens, method)
    study = designs.write_design(out, chosen.conditions, source, specimens, q_max)
    warn(study.warnings())
    text = f"{out}: {chosen}\nthen: passband train --condition {out}"
    print_answer({"design": str(out), **chosen.to_dict()}, as_json, text)


def train(
    design: Annotated[
        Path, Option("--condition", help="The file that passband design wrote, or any study with training sets.")
    ],
    name: Annotated[str | None, Option(help="Name of the model.", show_default="that of the file")] = None,
    out: Annotated[Path | None, Option(help="Folder of the study; runs/NAME if left out.")] = None,
    workers: Workers = CORES,
    score_on: Annotated[
        int,
        Option(
            min=60, max=10_000, help="Number of conditions to score the network under, which calibrates its verdicts."
        ),
    ] = 200,
    memory: Memory = 0.5,
    as_json: Json = False,
) -> None:
    """Train the network of a design and make a model of it: exit waves, training, scores, verdicts. A stopped run can be resumed.

    Example:  passband train --condition design.yaml
    """
    from passband.execution.choose import make_executor
    from passband.models.store import user_folder
    from passband.report.study_page import write_results
    from passband.studies import runner
    from passband.studies.folder import StudyFolder
    from passband.verdicts import from_study
    from passband.verdicts.design import session_conditions

    held = StudyFolder.open(design, out)
    config, folder = held.study, held.paths.folder
    chosen_name = name or config.name
    target = user_folder() / chosen_name
    from_study.check_free(target, chosen_name)
    session, limit = session_conditions(config, score_on), int(1e9 * memory)
    warn(config.warnings())
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        failed = runner.run(config, folder, executor, progress, finish=write_results, memory=limit)
        if failed:
            raise BadInputError(f"{folder}: a network could not be trained: {failed[0]['reason']}")
        chosen = from_study.choose(held, None, None)
        model = from_study.pack(held, chosen, target, session, 0.25, executor, progress, name=chosen_name, memory=limit)
    print_model(model, as_json)


def print_model(model: "Model", as_json: bool, profile: Path | None = None) -> None:
    """Print a model's card and scores, and where its profile is."""
    from passband.verdicts.summary import in_words, summary

    answer = summary(model)
    lines = in_words(answer)
    if profile is not None:
        answer["profile"] = str(profile)
        lines.append(f"Dice over defocus and dose, and the worst conditions: {profile}")
    print_answer(answer, as_json, "\n".join(lines))
