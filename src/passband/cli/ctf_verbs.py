"""The verbs of `passband ctf`: parsing and printing only."""

from pathlib import Path
from typing import Annotated, Any

import typer

from passband.base.errors import BadInputError, named
from passband.base.terminal import print_json, warn
from passband.cli.options import Json, option

ctf_app = typer.Typer(no_args_is_help=True, help="The contrast transfer of a condition, and the distance of two.")

_SOURCE = "A condition file (YAML, STAR or CSV with one row), or a preset by name."
QMax = Annotated[float, typer.Option("--q-max", help="Radius of the band of spatial frequencies [1/Å].")]
Figure = Annotated[Path | None, typer.Option("--figure", help="Draw into this .png, .svg or .html file.")]
Source = Annotated[Path, typer.Argument(metavar="CONDITION", help=_SOURCE)]


@ctf_app.command("show")
def show(condition: Source, q_max: QMax = 1.0, figure: Figure = None, as_json: Json = False) -> None:
    """Show the contrast transfer of a condition: ε, first zero, resolution; with --figure curves, map and Thon rings.

    Example:  passband ctf show titan_corrected_300kv --figure ctf.svg
    """
    from passband.report import ctf_page

    if figure is not None:
        ctf_page.check_figure(figure)
    answer = ctf_page.ctf(_condition(condition, q_max), q_max)
    if figure is not None:
        answer.save(figure)
    _print(answer, as_json)


@ctf_app.command("compare")
def compare(
    train: Annotated[
        Path,
        typer.Argument(metavar="TRAIN", help="The training condition, or a set of conditions."),
    ],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="The test condition, or a set of conditions.")],
    q_max: QMax = 1.0,
    figure: Figure = None,
    as_json: Json = False,
) -> None:
    """Compare a training with a test condition: every metric, a verdict, and where information is lost or reversed.

    Sets of conditions (distributions, CSV or STAR files, PRESET:residuals) are compared by their ε and σ.

    Example:  passband ctf compare trained.yaml microscope.yaml --q-max 1.0
    """
    from passband.report import ctf_page

    if figure is not None:
        ctf_page.check_figure(figure)
    sets = [_conditions(source, q_max) for source in (train, test)]
    if max(len(conditions) for conditions in sets) > 1:
        if figure is not None:
            raise BadInputError("--figure draws two single conditions; leave it out for sets")
        _print(ctf_page.compare_sets(sets[0], sets[1], q_max), as_json)
        return
    [one], [other] = sets
    if one.pixel_size_angstrom != other.pixel_size_angstrom:
        warn([f"pixels of {one.pixel_size_angstrom:g} Å in training and {other.pixel_size_angstrom:g} Å in the test: "
              "a network sees sizes in pixels; rescale the images to one pixel size first"])  # fmt: skip
    answer = ctf_page.compare(one, other, q_max)
    if figure is not None:
        answer.save(figure)
    _print(answer, as_json)


@ctf_app.command("map")
def map_(
    condition: Source,
    x: Annotated[str, typer.Option("--x", help="NAME=LOW:HIGH, such as defocus_angstrom=-200:200.")],
    y: Annotated[str, typer.Option("--y", help="NAME=LOW:HIGH, such as C12=0:100.")],
    figure: Annotated[Path, typer.Option("--figure", help="Draw into this .png, .svg or .html file.")],
    metric: Annotated[str, typer.Option("--metric", help="A shift metric: epsilon, sigma, phase_rms, …")] = "epsilon",
    train: Annotated[Path | None, typer.Option("--train", help="The training condition, for metrics of two.")] = None,
    points: Annotated[int, typer.Option("--points", min=2, max=400, help="Points along each axis.")] = 41,
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
    trained = None if train is None else _condition(train, q_max)
    table = ctf_page.map_plane(_condition(condition, q_max), metric, axes, points, trained, q_max)
    ctf_page.draw_map(table, (axes[0][0], axes[1][0], METRICS[metric].symbol), figure)
    best = table.sort("value")[-1 if METRICS[metric].similar else 0].to_dicts()[0]
    best = {axes[0][0]: best["x"], axes[1][0]: best["y"], metric: best["value"]}
    if as_json:
        print_json({"best": best, "figure": str(figure), "metric": metric, **table.to_dict(as_series=False)})
    else:
        print(f"best: {', '.join(f'{name} {value:.6g}' for name, value in best.items())}\n{figure}")


@ctf_app.command("fit", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def fit() -> None:
    """Name the command that does this now."""
    raise BadInputError("`passband ctf fit` is called `passband ctf optimize`")


@ctf_app.command("optimize")
def optimize(
    condition: Source,
    vary: Annotated[
        list[str], typer.Option("--vary", help="A value that may change; repeat it: defocus_angstrom, C12, phi12, …")
    ],
    target: Annotated[
        Path | None, typer.Option("--target", help="Match the |T| of this condition; if left out, maximise ε.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the best condition into this YAML file.")] = None,
    q_max: QMax = 1.0,
    as_json: Json = False,
) -> None:
    """Optimize a condition so that it transfers most, or so that its |T| matches a target, by gradient from many starts.

    Example:  passband ctf optimize feg_200kv --vary defocus_angstrom
    """
    from passband.files.atomic import write_text
    from passband.files.yaml_config import dump
    from passband.metrics import information, measure
    from passband.metrics.optimize import fit_condition

    base = _condition(condition, q_max)
    wanted = None if target is None else _condition(target, q_max)
    try:
        best = fit_condition(base, vary, q_max, target=wanted)
    except ValueError as error:
        raise BadInputError(f"--vary: {error}") from None
    before, after = information([base, best], q_max).tolist()
    answer: dict[str, Any] = {"condition": best.to_dict(), "epsilon_before": before, "epsilon": after}
    if wanted is not None:
        answer["sigma_to_target"] = measure(["sigma"], [wanted], [best], q_max)["sigma"].item()
    if out is not None:
        write_text(out, dump(best))
    if as_json:
        print_json(answer)
        return
    print(
        f"epsilon {before:.4f} → {after:.4f}"
        + (f", keeps {answer['sigma_to_target']:.1%} of the target's transfer" if wanted else "")
    )
    print(dump(best), end="")


@ctf_app.command("convert")
def convert(
    condition: Source,
    to: Annotated[
        str, typer.Option("--to", help="krivanek, ceos, prismatic, ctffind, abtem, nexus or passband.")
    ] = "passband",
    as_json: Json = False,
) -> None:
    """Print a condition in another notation, as a file that every verb reads.

    Example:  passband ctf convert titan_corrected_300kv --to ceos
    """
    import yaml

    from passband.conditions.condition_files import export

    loaded = _condition(condition, None)
    content = loaded.to_dict() if to == "passband" else export(loaded, to)
    if as_json:
        print_json(content)
    else:
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None), end="")


@ctf_app.command("presets")
def presets(as_json: Json = False) -> None:
    """List the presets, with the sources of their numbers.

    Example:  passband ctf presets
    """
    from passband.conditions.condition_files import preset_names, preset_sources

    listed = {name: preset_sources(name) for name in preset_names()}
    if as_json:
        print_json(listed)
        return
    for name, preset in listed.items():
        print(f"{name}: {preset['about']}")
        for what, source in preset["sources"].items():
            print(f"    {what}: {' '.join(str(source).split())}")


def _print(answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(answer.to_dict())
    else:
        print(answer)


def _axis(option: str, text: str) -> tuple[str, float, float]:
    name, _, limits = text.partition("=")
    low, _, high = limits.partition(":")
    try:
        axis = name, float(low), float(high)
    except ValueError:
        raise BadInputError(f"{option} {text}: is not NAME=LOW:HIGH, such as defocus_angstrom=-200:200") from None
    if not axis[1] < axis[2]:
        raise BadInputError(f"{option} {text}: the lower end comes first; write {name}={high}:{low}")
    return axis


def _condition(source: Path, q_max: float | None) -> Any:
    conditions = _conditions(source, q_max)
    if len(conditions) > 1:
        raise BadInputError(f"{source}: holds {len(conditions)} conditions where one is needed; give a file of one")
    return conditions[0]


def _conditions(source: Path, q_max: float | None) -> list[Any]:
    from passband.conditions.condition_files import load_conditions
    from passband.report import ctf_page

    if q_max is not None:
        ctf_page.check_band(q_max)
    conditions = [condition for _, condition in load_conditions(source)]
    doubts = [doubt for condition in conditions for doubt in condition.doubts()]
    if q_max is not None:
        doubts += [doubt for condition in conditions for doubt in ctf_page.band_doubts(condition, q_max)]
    # Many conditions of a set share a doubt.
    warn([f"{source}: {named(doubt, option)}" for doubt in dict.fromkeys(doubts)][:5])
    return conditions
