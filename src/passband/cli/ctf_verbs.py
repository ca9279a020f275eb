"""The verbs of `passband ctf`: parsing and printing only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from passband.base.errors import BadInputError, named
from passband.base.progress import TerminalProgress
from passband.base.terminal import warn
from passband.cli.options import CORES, Json, QMax, Source, limits, option, print_answer

ctf_app = typer.Typer(
    no_args_is_help=True, help="Contrast transfer: show, compare, map, optimize and convert conditions."
)

Figure = Annotated[Path | None, Option(help="Draw into this .png, .svg or .html file.")]


@ctf_app.command("show")
def show_(condition: Source, q_max: QMax = 1.0, figure: Figure = None, as_json: Json = False) -> None:
    """Show the contrast transfer of a condition: information transferred (ε), first zero, resolution; with --figure curves, map and Thon rings.

    Example:  passband ctf show titan_corrected_300kv --figure ctf.svg
    """
    from passband.report import ctf_page

    ctf_page.check_figure(figure)
    answer = ctf_page.ctf(read_condition(condition, q_max), q_max)
    if figure is not None:
        answer.save(figure)
    print_answer(answer, as_json)


@ctf_app.command("compare")
def compare(
    train: Annotated[Path, Argument(metavar="TRAIN", help="The training condition, or a set of conditions.")],
    test: Annotated[Path, Argument(metavar="TEST", help="The test condition, or a set of conditions.")],
    q_max: QMax = 1.0,
    figure: Figure = None,
    recipe: Annotated[
        Path | None,
        Option(
            help="Predict the loss on specimens of this recipe, a file or a bundled one, and print that of a pixel classifier."
        ),
    ] = None,
    every: Annotated[bool, Option("--all", help="Print every metric.")] = False,
    as_json: Json = False,
) -> None:
    """Compare a training with a test condition: a verdict, information transferred (ε) and overlap (σ), and with --all or --json every other metric.

    Sets of conditions (distributions, CSV or STAR files, PRESET:residuals) are compared by their ε and σ. With --recipe, the loss
    of a network is predicted, with an interval, from the texture of film and particles, and a pixel classifier is fitted to
    simulated images of the training condition and tested on those of the test; some seconds.

    Example:  passband ctf compare trained.yaml microscope.yaml --recipe gold_on_carbon
    """
    from passband.report import ctf_page

    ctf_page.check_figure(figure)
    sets = [_read_conditions(source, q_max) for source in (train, test)]
    on_specimens = {} if recipe is None else _on_specimens(sets[0], sets[1], recipe)
    if max(len(conditions) for conditions in sets) > 1:
        if figure is not None:
            raise BadInputError("--figure draws two single conditions; leave it out for sets")
        with _stage("comparisons", ctf_page.SET_STEPS) as advance:
            compared = ctf_page.compare_sets(sets[0], sets[1], q_max, advance)
        _print_comparison(compared, on_specimens, as_json, str(compared))
        return
    [one], [other] = sets
    if one.pixel_size_angstrom != other.pixel_size_angstrom:
        warn([f"pixels of {one.pixel_size_angstrom:g} Å in training and {other.pixel_size_angstrom:g} Å in the test: "
              "a network sees sizes in pixels; rescale the images to one pixel size first"])  # fmt: skip
    answer = ctf_page.compare(one, other, q_max)
    if figure is not None:
        answer.save(figure)
    _print_comparison(answer, on_specimens, as_json, answer.text(every=every))


def _on_specimens(train: list[Any], test: list[Any], recipe: Path) -> dict[str, Any]:
    """Return what depends on the specimens: the predicted loss, and the reader loss."""
    from passband.analysis import loss_prediction
    from passband.simulation import hrtem
    from passband.simulation.reader_loss import reader_loss, specimens_needed
    from passband.specimens.recipe_files import load_recipe

    family = load_recipe(recipe)
    with _stage("specimens", specimens_needed(train, test) + hrtem.FAMILY) as advance:
        reader = reader_loss(train, test, family, progress=advance)
        return {"predicted": loss_prediction.predict_loss(train, test, family, progress=advance), "reader": reader}


def _print_comparison(answer: Any, on_specimens: dict[str, Any], as_json: bool, text: str) -> None:
    """Print a comparison, and after it what depends on the specimens."""
    more = {name: part.to_dict() for name, part in on_specimens.items()}
    print_answer(answer.to_dict() | more, as_json, "\n\n".join([text, *map(str, on_specimens.values())]))


@ctf_app.command("map")
def map_(
    condition: Source,
    x: Annotated[str, Option(help="Horizontal axis, NAME=LOW:HIGH, such as defocus_angstrom=-200:200 [Å].")],
    y: Annotated[str, Option(help="Vertical axis, NAME=LOW:HIGH, such as C12=0:100 [Å].")],
    figure: Annotated[Path, Option(help="Draw into this .png, .svg or .html file.")],
    metric: Annotated[
        str,
        Option(
            help="What to draw: epsilon (information transferred), sigma (overlap with --train), phase_rms, …; a wrong name lists all."
        ),
    ] = "epsilon",
    train: Annotated[
        Path | None, Option(help="The training condition, for metrics that compare two, such as sigma.")
    ] = None,
    points: Annotated[int, Option(min=2, max=400, help="Points along each axis.")] = 41,
    q_max: QMax = 1.0,
    as_json: Json = False,
) -> None:
    """Draw a metric over a plane of two parameters.

    Example:  passband ctf map titan_corrected_300kv --x defocus_angstrom=-200:200 --y C12=0:100 --figure map.png
    """
    from passband.metrics import METRICS
    from passband.report import ctf_page

    ctf_page.check_figure(figure)
    axes = _axis("--x", x), _axis("--y", y)
    trained = None if train is None else read_condition(train, q_max)
    table = ctf_page.map_plane(read_condition(condition, q_max), metric, axes, points, trained, q_max)
    ctf_page.draw_map(table, (axes[0][0], axes[1][0], metric), figure)
    best = table.sort("value")[-1 if METRICS[metric].similar else 0].to_dicts()[0]
    best = {axes[0][0]: best["x"], axes[1][0]: best["y"], metric: best["value"]}
    answer = {"best": best, "figure": str(figure), "metric": metric, **table.to_dict(as_series=False)}
    text = f"best: {', '.join(f'{name} {value:.6g}' for name, value in best.items())}\n{figure}"
    print_answer(answer, as_json, text)


@ctf_app.command("fit", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def fit() -> None:
    """Name the command that does this now."""
    raise BadInputError("`passband ctf fit` is called `passband ctf optimize`")


@ctf_app.command("optimize")
def optimize(
    condition: Source,
    vary: Annotated[list[str], Option(help="A value that may change; repeat it: defocus_angstrom, C12, phi12, …")],
    target: Annotated[
        Path | None,
        Option(help="Match the |T| of this condition; if left out, maximize the information transferred (ε)."),
    ] = None,
    out: Annotated[Path | None, Option(help="Write the best condition into this YAML file.")] = None,
    q_max: QMax = 1.0,
    as_json: Json = False,
) -> None:
    """Optimize a condition so that it transfers most, or so that its transfer |T| matches a target, by gradient from many starts.

    Example:  passband ctf optimize feg_200kv --vary defocus_angstrom
    """
    from passband.files.atomic import require_replaceable, write_text
    from passband.files.yaml_config import dump
    from passband.metrics import information, measure
    from passband.metrics.optimize import STEPS, fit_condition

    if out is not None:
        require_replaceable(out)
    base = read_condition(condition, q_max)
    wanted = None if target is None else read_condition(target, q_max)
    with _stage("steps", STEPS) as advance:
        try:
            best = fit_condition(base, vary, q_max, target=wanted, progress=advance)
        except ValueError as error:
            raise BadInputError(f"--vary: {error}") from None
    before, after = information([base, best], q_max).tolist()
    answer: dict[str, Any] = {
        "condition": best.to_dict(),
        "defocus_before_angstrom": base.defocus_angstrom,
        "defocus_angstrom": best.defocus_angstrom,
        "epsilon_before": before,
        "epsilon": after,
    }
    lines = [
        f"defocus {base.defocus_angstrom:+g} → {best.defocus_angstrom:+g} Å",
        f"epsilon {before:.4f} → {after:.4f}",
    ]
    if wanted is not None:
        sigma = measure(["sigma"], [wanted], [base, best], q_max)["sigma"].flatten().tolist()
        answer |= {"sigma_to_target_before": sigma[0], "sigma_to_target": sigma[1]}
        lines.append(f"keeps {sigma[0]:.1%} → {sigma[1]:.1%} of the target's transfer (σ)")
    if out is not None:
        write_text(out, f"# by passband ctf optimize {condition}\n{dump(best)}")
    print_answer(answer, as_json, "\n".join([*lines, str(best)]))


@ctf_app.command("convert")
def convert(
    condition: Source,
    to: Annotated[
        str, Option(help="Notation of a condition file, such as ceos or abtem; a wrong name lists all.")
    ] = "passband",
    as_json: Json = False,
) -> None:
    """Print a condition in another notation, as a file that every verb reads.

    Example:  passband ctf convert titan_corrected_300kv --to ceos
    """
    import yaml

    from passband.conditions.condition_files import export

    loaded = read_condition(condition)
    content = loaded.to_dict() if to == "passband" else export(loaded, to)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)
    print_answer(content, as_json, text.rstrip())


@ctf_app.command("presets")
def presets(as_json: Json = False) -> None:
    """List the presets of HRTEM and STEM, with the sources of their numbers.

    Example:  passband ctf presets
    """
    from passband.conditions.condition import PRESETS
    from passband.conditions.condition_files import preset_sources
    from passband.conditions.stem_condition import STEM_PRESETS

    listed = {name: preset_sources(name) for name in (*PRESETS, *STEM_PRESETS)}
    lines = []
    for name, preset in listed.items():
        lines.append(f"{name}: {preset['about']}")
        lines += [f"    {what}: {' '.join(str(source).split())}" for what, source in preset["sources"].items()]
    print_answer(listed, as_json, "\n".join(lines))


def read_condition(source: Path, q_max: float | None = None) -> Any:
    """Return the one condition of a file, and print what is doubtful about it, also within a band [1/Å]."""
    conditions = _read_conditions(source, q_max)
    if len(conditions) > 1:
        raise BadInputError(f"{source}: holds {len(conditions)} conditions where one is needed; give a file of one")
    return conditions[0]


def _read_conditions(source: Path, q_max: float | None) -> list[Any]:
    return [condition for _, condition in read_labelled(source, q_max)]


def read_labelled(source: Path, q_max: float | None = None, *, any_modality: bool = False) -> list[tuple[str, Any]]:
    """Return labels and conditions of a file, of HRTEM or `any_modality`, and print what is doubtful about them, also within a band [1/Å]."""
    from passband.conditions.condition import doubt_kinds
    from passband.conditions.condition_files import load_any_conditions, load_conditions

    labelled: list[tuple[str, Any]] = list((load_any_conditions if any_modality else load_conditions)(source))
    conditions = [condition for _, condition in labelled]
    doubts = [kind[0] for kind in doubt_kinds(conditions)]
    if q_max is not None:
        from passband.report import ctf_page

        ctf_page.check_band(q_max)
        doubts += [doubt for condition in conditions for doubt in ctf_page.band_doubts(condition, q_max)]
    # Many conditions of a set share a doubt.
    warn([f"{source}: {named(doubt, option)}" for doubt in dict.fromkeys(doubts)][:5])
    return labelled


@contextmanager
def _stage(name: str, total: int) -> Iterator[Callable[[float], None]]:
    """Yield the function that advances a stage, which is shown from its first call; PyTorch gets one thread a core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(CORES)
    with TerminalProgress() as progress:
        stage: list[Callable[[float], None]] = []

        def advance(units: float) -> None:
            if not stage:
                stage.append(progress.stage(name, total, 0))
            stage[0](units)

        try:
            yield advance
        finally:
            torch.set_num_threads(threads)


def _axis(option: str, text: str) -> tuple[str, float, float]:
    name, given, ends = text.partition("=")
    if not given:
        raise BadInputError(f"{option} {text}: is not NAME=LOW:HIGH, such as defocus_angstrom=-200:200")
    low, high = limits(f"{option} {name}", ends, "-200:200")
    if not low < high:
        raise BadInputError(f"{option} {text}: the lower end comes first; write {name}={high}:{low}")
    return name, low, high
