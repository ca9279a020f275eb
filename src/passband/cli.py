"""The command line: one verb per stage; parsing and printing only."""

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from passband import __version__
from passband.errors import BadInputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Will a segmentation network still work under these imaging conditions?",
    epilog="Start with:  passband study run studies/defocus.yaml",
)
study_app = typer.Typer(
    no_args_is_help=True, help="Train networks under known conditions and test each on every other."
)
ctf_app = typer.Typer(no_args_is_help=True, help="What a condition transfers, and how far two conditions lie apart.")
app.add_typer(study_app, name="study")
app.add_typer(ctf_app, name="ctf")

_error = Console(stderr=True)
# Newer Typer carries its own copy of click, so its exceptions are reached through Typer: BadParameter, UsageError, then this.
_ClickException: Any = typer.BadParameter.__mro__[2]
_CORES = len(os.sched_getaffinity(0))

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Target = Annotated[Path, typer.Argument(metavar="FOLDER_OR_YAML", help="A study's YAML file, or its folder.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the study; runs/NAME if left out.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        min=1,
        max=1024,
        help="Processes; each uses one core and about 0.7 GB.",
        show_default="number of cores",
    ),
]
QMax = Annotated[float, typer.Option("--q-max", help="Radius of the band that counts [1/Å].")]


@study_app.command("run")
def study_run(target: Target, out: Out = None, workers: Workers = _CORES, as_json: Json = False) -> None:
    """Run a study, or go on where it was stopped, and write its tables and report.

    Example:  passband study run studies/defocus.yaml
    """
    from passband import pipeline, study
    from passband.executor import make_executor
    from passband.progress import TerminalProgress

    config, folder = study.locate(target, out)
    _warn(config.warnings())
    executor = make_executor(workers)
    try:
        with TerminalProgress(_error) as progress:
            pipeline.run(config, folder, executor, progress)
    finally:
        executor.close()
    _print_study(folder, as_json)


@study_app.command("status")
def study_status(target: Target, out: Out = None, as_json: Json = False) -> None:
    """Say how far a study is; the exit code is 1 while it is not finished.

    Example:  passband study status runs/defocus
    """
    from passband import study
    from passband.pipeline import Plan
    from passband.store.paths import StudyPaths

    config, folder = study.locate(target, out)
    paths = StudyPaths(folder)
    counts = Plan(config, paths).counts()
    finished = all(n["done"] == n["total"] for n in counts.values())
    if as_json:
        _print_json(
            {
                "study": config.name,
                "id": config.id,
                "folder": str(folder),
                "finished": finished,
                "cells": counts,
                "report": str(paths.report) if paths.report.is_file() else None,
            }
        )
    else:
        for stage, n in counts.items():
            print(f"{stage:<10}{n['done']:>6} of {n['total']}")
        print("finished" if finished else f"not finished; go on with: passband study run {target}")
    raise typer.Exit(0 if finished else 1)


@study_app.command("report")
def study_report(target: Target, out: Out = None, as_json: Json = False) -> None:
    """Make tables, analysis, figures and report again from a finished study.

    Example:  passband study report runs/defocus
    """
    from passband import study
    from passband.pipeline import Plan, gather, locked
    from passband.store.paths import StudyPaths

    config, folder = study.locate(target, out)
    plan = Plan(config, StudyPaths(folder))
    plan.require_finished()
    with locked(plan.paths):
        gather(plan)
    _print_study(folder, as_json)


@app.command()
def simulate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe of specimens, YAML.")],
    condition: Annotated[
        Path | None, typer.Option("--condition", help="A condition file: image the specimens too.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=1_000_000, help="Number of specimens.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the images; runs/RECIPE if left out. Exit waves lie beside it."),
    ] = None,
    workers: Workers = _CORES,
    as_json: Json = False,
) -> None:
    """Simulate specimens and exit waves, and with --condition the images of them.

    Example:  passband simulate studies/recipes/au_on_carbon.yaml --condition studies/conditions/team_300kv.yaml
    """
    from passband import simulation
    from passband.conditions import ImagingCondition
    from passband.configuration import load
    from passband.executor import make_executor
    from passband.progress import TerminalProgress
    from passband.specimen import SpecimenRecipe

    plan = simulation.Simulation(
        recipe=load(SpecimenRecipe, recipe),
        condition=None if condition is None else load(ImagingCondition, condition),
        count=count,
        folder=Path("runs") / recipe.stem if out is None else out,
    )
    plan.check()
    _warn(plan.warnings())
    executor = make_executor(workers)
    try:
        with TerminalProgress(_error) as progress:
            facts = simulation.run(plan, executor, progress)
    finally:
        executor.close()
    if as_json:
        _print_json(facts)
    else:
        print(
            f"{facts['specimens']} exit waves in {facts['exit_waves']}, {facts['bytes_per_specimen'] / 1e6:.2f} MB each"
        )
        if facts["images"]:
            print(f"images, masks and a contact sheet in {plan.folder}")


@ctf_app.command("show")
def ctf_show(
    condition: Annotated[Path, typer.Argument(metavar="CONDITION", help="A condition file, YAML.")],
    q_max: QMax = 1.0,
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw T(q) into this .png or .svg file.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a condition transfers.

    Example:  passband ctf show studies/conditions/team_300kv.yaml --figure ctf.svg
    """
    from passband import ctf_answers

    loaded = _condition(condition, q_max)
    answer = ctf_answers.show(loaded, q_max)
    if figure is not None:
        ctf_answers.draw(loaded, q_max, figure)
    if as_json:
        _print_json(answer)
        return
    print(f"condition     {answer['id']}")
    print(f"wavelength    {answer['wavelength_angstrom']:.6f} Å")
    print(f"defocus       {answer['defocus_angstrom']:+g} Å")
    print(f"first zero    {_or_dash(answer['first_zero_per_angstrom'])} 1/Å (lowest in any direction)")
    print(f"epsilon       {answer['epsilon']:.4f}   (information transferred, |q| up to {q_max:g} 1/Å)")


@ctf_app.command("compare")
def ctf_compare(
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="The condition a network was trained under.")],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="The condition it is to be used under.")],
    q_max: QMax = 1.0,
    as_json: Json = False,
) -> None:
    """Compare a training with a test condition.

    Example:  passband ctf compare trained.yaml microscope.yaml --q-max 1.0
    """
    from passband import ctf_answers

    answer = ctf_answers.compare(_condition(train, q_max), _condition(test, q_max), q_max)
    if as_json:
        _print_json(answer)
        return
    print(f"epsilon train          {answer['epsilon_train']:.4f}   information transferred, |q| up to {q_max:g} 1/Å")
    print(f"epsilon test           {answer['epsilon_test']:.4f}")
    print(f"delta epsilon         {answer['delta_epsilon']:+.4f}   test minus train")
    print(
        f"sigma(train, test)     {_or_dash(answer['sigma_train_test'])}   share of the training transfer that the test keeps"
    )
    print(f"sigma(test, train)     {_or_dash(answer['sigma_test_train'])}")
    print(f"|defocus difference|   {answer['defocus_difference_angstrom']:g} Å")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    with _one_line_errors():
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        _fail(str(error))
    except _ClickException as error:
        _fail(f"{error.format_message()} Try --help.")
    except (KeyboardInterrupt, typer.Abort):
        _fail("stopped; run the same command again to go on, finished work is kept", code=130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}")


def _fail(message: str, code: int = 2) -> None:
    print(f"passband: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _condition(path: Path, q_max: float) -> Any:
    from passband.conditions import ImagingCondition
    from passband.configuration import load

    if not 0 < q_max <= 10:
        raise BadInputError(f"--q-max {q_max:g}: outside 0 to 10 1/Å; the default is 1.0")
    condition = load(ImagingCondition, path)
    _warn([f"{path}: {doubt}" for doubt in condition.doubts()])
    finest = 1 / (2 * condition.pixel_size_angstrom)
    if finest < q_max:
        _warn(
            [
                f"{path}: pixels of {condition.pixel_size_angstrom:g} Å record up to {finest:.4g} 1/Å, less than --q-max {q_max:g}"
            ]
        )
    return condition


def _warn(lines: list[str]) -> None:
    for line in lines:
        _error.print(f"passband: warning: {line}", highlight=False, soft_wrap=True, markup=False)


def _print_study(folder: Path, as_json: bool) -> None:
    from passband.store.paths import StudyPaths

    paths = StudyPaths(folder)
    result = json.loads(paths.analysis.read_text(encoding="utf-8"))
    if as_json:
        _print_json(
            {
                "study": result["study"],
                "id": result["study_id"],
                "folder": str(folder),
                "report": str(paths.report.absolute()),
                "findings": result["findings"],
            }
        )
        return
    for sentence in result["findings"]["sentences"]:
        print(f"- {sentence}")
    print(f"\nReport: {paths.report.absolute()}")


def _print_json(content: Any) -> None:
    print(json.dumps(content, allow_nan=False, ensure_ascii=False))


def _or_dash(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


if __name__ == "__main__":
    main()
