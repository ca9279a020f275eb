"""The command line: one verb per stage; parsing and printing only."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from passband.base.terminal import show, warn, working
from passband.base.version import __version__
from passband.cli import (
    app_verb,
    curvature_verb,
    micrograph_verbs,
    model_verbs,
    movie_verb,
    plan_verb,
    predict_verb,
    watch_verb,
)
from passband.cli.ctf_verbs import ctf_app
from passband.cli.options import CORES, Json, Memory, Workers, print_answer
from passband.cli.run_app import run_app
from passband.cli.simulate_verb import simulate
from passband.cli.specimen_verbs import specimen_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Will a segmentation network still work under these imaging conditions?",
    epilog="Start with:  passband segment au-300kv image.dm4, or  passband study run quick",
)
study_app = typer.Typer(
    no_args_is_help=True, help="Train networks under known conditions and test each on every other."
)
app.add_typer(study_app, name="study")
app.add_typer(ctf_app, name="ctf")
app.add_typer(specimen_app, name="specimen")
app.add_typer(model_verbs.model_app, name="model")
app.command()(micrograph_verbs.estimate)
app.command()(micrograph_verbs.segment)
app.command()(micrograph_verbs.check)
app.command()(predict_verb.predict)
app.command()(plan_verb.plan_session)
app.command()(watch_verb.watch)
app.command()(movie_verb.movie)
app.command()(model_verbs.design)
app.command()(model_verbs.train)
app.command()(app_verb.app)
app.command()(simulate)

Target = Annotated[
    Path, Argument(metavar="FOLDER_OR_YAML", help="A study's YAML file or folder, or a bundled study by name.")
]
Out = Annotated[Path | None, Option("--out", help="Folder of the study; runs/NAME if left out.")]

_FLEET = "32, or what fits, where PyTorch sees a GPU, else 1"


@study_app.command("run")
def study_run(
    target: Target,
    out: Out = None,
    workers: Workers = CORES,
    executor: Annotated[
        str, Option("--executor", help="Where jobs run: serial (this process), processes, or dask (a cluster).")
    ] = "processes",
    scheduler: Annotated[
        str | None, Option(metavar="ADDRESS", help="With --executor dask: a running scheduler, tcp://HOST:8786.")
    ] = None,
    fleet: Annotated[
        int | None,
        Option(
            min=1,
            max=4096,
            help="Networks that a worker trains together, which is faster on a GPU.",
            show_default=_FLEET,
        ),
    ] = None,
    memory: Memory = 0.5,
    as_json: Json = False,
) -> None:
    """Run a study, or resume it where it was stopped, and write its tables and report.

    A folder that holds the same study with fewer conditions or seeds is extended: only what is new is made. The exit code
    is 1 if networks failed; failed.json lists them with the reason, and the next run tries them again.

    Example:  passband study run studies/defocus.yaml
    """
    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor

    with make_executor(executor, workers, scheduler) as chosen:
        # Workers import what they need while this process does.
        chosen.start("passband.studies.cross_tests")
        from passband.studies import jobs, runner
        from passband.studies.folder import StudyFolder
        from passband.studies.wave_jobs import free_memory

        held = StudyFolder.open(target, out)
        warn(held.study.warnings())
        # Workers of a cluster have GPUs of their own.
        sharing = workers if executor == "processes" else 1
        group = jobs.fleet_that_fits(held.study, fleet, free_memory(), sharing)
        with TerminalProgress() as progress:
            runner.run(
                held.study,
                held.paths.folder,
                chosen,
                progress,
                finish=_write_results,
                group=group,
                memory=int(1e9 * memory),
            )
    from passband.report.study_run import StudyRun

    result = StudyRun(held)
    print_answer(result, as_json)
    raise typer.Exit(1 if result.failed else 0)


def _write_results(held: Any) -> None:
    # Figures and fits take longer to import than all else, and the work need not wait for them.
    from passband.report.study_page import write_results

    write_results(held)


@study_app.command("plan")
def study_plan(
    target: Target,
    out: Out = None,
    workers: Workers = CORES,
    cores: Annotated[
        int | None, Option(min=1, help="Cores of the cluster it would run on; --workers if left out.")
    ] = None,
    price: Annotated[float | None, Option(min=0, help="Price of a core-hour there, in any currency.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate the jobs, disk, memory, time and cost of a study before it runs, from a few seconds of calibration.

    The calibration uses all --workers. Writes plan.json into the study's folder; `study run` compares its time with it at the
    end. The exit code is 1 if the disk is too small.

    Example:  passband study plan studies/defocus.yaml --cores 512 --price 0.03
    """
    from passband.execution.choose import make_executor
    from passband.files.atomic import write_json
    from passband.studies import cost
    from passband.studies.folder import StudyFolder

    held = StudyFolder.open(target, out)
    warn(held.study.warnings())
    with make_executor("processes", workers) as executor:
        seconds = cost.measure(held.study, executor)
    answer = cost.estimate(held.study, held.paths, seconds, cores or workers)
    if price is not None:
        hours = sum(answer["core_seconds"].values()) / 3600
        answer |= {"core_hours": hours, "price_per_core_hour": price, "cost": hours * price}
    held.adopt()
    write_json(held.paths.plan, answer)
    print_answer(answer, as_json, "\n".join(cost.describe(answer)))
    raise typer.Exit(1 if answer["disk_free_bytes"] < answer["disk_bytes"] else 0)


@study_app.command("status")
def study_status(target: Target, out: Out = None, as_json: Json = False) -> None:
    """Show the progress of a study; the exit code is 1 while it is not finished.

    Example:  passband study status runs/defocus
    """
    from passband.studies import job_list
    from passband.studies.paths import StudyPaths

    paths = StudyPaths(target)
    noted = job_list.JobList.noted(paths) if target.is_dir() and out is None else None
    counts = None if noted is None else noted.counts(paths)
    if noted is None or counts is None:
        from passband.studies.folder import StudyFolder

        held = StudyFolder.open(target, out)
        paths, counts, (name, identity) = held.paths, held.counts(), (held.study.name, held.study.id)
    else:
        name, identity = noted.name, noted.id
    failed = job_list.failures(paths)
    finished = all(n["done"] == n["total"] for n in counts.values())
    answer = {
        "study": name,
        "id": identity,
        "folder": str(paths.folder),
        "finished": finished,
        "cells": counts,
        "failed": failed,
        "report": str(paths.report) if paths.report.is_file() else None,
    }
    lines = [f"{stage:<10}{n['done']:>6} of {n['total']}" for stage, n in counts.items()]
    lines += [f"failed: {fault['what']}, tried {fault['tries']} times: {fault['reason']}" for fault in failed]
    lines.append("finished" if finished else f"not finished; go on with: passband study run {target}")
    print_answer(answer, as_json, "\n".join(lines))
    raise typer.Exit(0 if finished else 1)


@study_app.command("report")
def study_report(target: Target, out: Out = None, as_json: Json = False) -> None:
    """Rebuild tables, analysis, figures and report of a finished study; without its jobs, the last three from its tables.

    Example:  passband study report runs/defocus
    """
    from passband.report.study_page import rebuild_report, write_results
    from passband.report.study_run import StudyRun
    from passband.studies.folder import StudyFolder

    held = StudyFolder.open(target, out)
    if held.paths.table("scores").is_file() and not held.paths.jobs.is_dir():
        rebuild_report(held)
    else:
        held.require_finished()
        with held.locked():
            write_results(held)
    print_answer(StudyRun(held), as_json)


@study_app.command("rank")
def study_rank(target: Target, out: Out = None, as_json: Json = False) -> None:
    """Rank measures of how much two conditions differ, by how well they predict a network's loss on conditions that the fit has not seen.

    Every measure of the transfer, such as ε and σ, is ranked alone and in pairs. Reads scores.parquet and shift.parquet of a finished study,
    and computes what the latter lacks; writes ranking.parquet, ranking.md and figures/ranking.*.

    Example:  passband study rank docs/results/tables/metrics
    """
    from passband.report.ranking_page import rank_folder
    from passband.studies.folder import StudyFolder

    # Tables are enough: a folder need not hold a study that could be run again.
    folder = target if target.is_dir() and out is None else StudyFolder.open(target, out).paths.folder
    answer = rank_folder(folder)
    lines = [*answer["sentences"], "", f"Table: {answer['table']}", f"Page:  {answer['page']}"]
    print_answer(answer, as_json, "\n".join(lines))


study_app.command("curvature")(curvature_verb.study_curvature)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, Option("--version", help="Print the version.")] = False) -> None:
    if version:
        show(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    with working():
        run_app(app)
