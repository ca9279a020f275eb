"""`python -m replication`: plan, run, page; parsing and printing only."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from passband.base.terminal import print_json
from passband.cli.options import Json
from passband.cli.run_app import run_app

replication_app = typer.Typer(
    no_args_is_help=True, help="The source's experiments and checks, and ours, from studies to pages."
)
# The studies lie beside this file.
_STUDIES = Path(__file__).with_name("studies")
_PAGES = Path("docs") / "results"
_DATA = Path("src") / "passband" / "verdicts" / "data"
_CORES = len(os.sched_getaffinity(0))

Budget = Annotated[
    str,
    typer.Option(
        "--budget", help="quick (half an hour on 2 cores), standard (up to 8 hours) or full (a cluster or a GPU)."
    ),
]
Studies = Annotated[
    Path, typer.Option("--studies", help="Folder of the studies' YAML files.", show_default="replication/studies")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the runs and pages; runs/results-BUDGET if left out.")
]
Pages = Annotated[
    Path | None, typer.Option("--pages", help="Folder of the pages and their tables; pages/ in --out if left out.")
]
Only = Annotated[list[str] | None, typer.Option("--only", help="A study to run; may be repeated. All if left out.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=1024, help="Processes, one core each.", show_default="number of cores")
]


@replication_app.command("plan")
def plan(
    budget: Budget = "quick",
    studies: Studies = _STUDIES,
    out: Out = None,
    only: Only = None,
    workers: Workers = _CORES,
    as_json: Json = False,
) -> None:
    """Say what the results take before they run: networks, tests and time of each study, from a short calibration.

    Example:  python -m replication plan --budget standard
    """
    from passband.execution.choose import make_executor
    from replication import campaign

    loaded = campaign.load_studies(studies, budget, only or [])
    with make_executor("processes", workers) as executor:
        found = campaign.estimate(loaded, _paths(budget, out, None), executor, workers)
    if as_json:
        print_json({"budget": budget, "studies": found, "wall_seconds": sum(f["wall_seconds"] for f in found)})
        return
    print("\n".join(_lines(found, workers)))


@replication_app.command("run")
def run(
    budget: Budget = "quick",
    studies: Studies = _STUDIES,
    out: Out = None,
    pages: Pages = None,
    only: Only = None,
    workers: Workers = _CORES,
    executor: Annotated[str, typer.Option("--executor", help="serial, processes or dask.")] = "processes",
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", metavar="ADDRESS", help="With --executor dask: a running scheduler.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run every study of the results, or go on where it was stopped, and write the pages.

    Says beforehand what it takes. The exit code is 1 if networks were given up.

    Example:  python -m replication run --budget quick
    """
    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.studies.jobs import GROUP
    from passband.studies.wave_jobs import device
    from replication import campaign

    loaded = campaign.load_studies(studies, budget, only or [])
    paths = _paths(budget, out, pages)
    with make_executor(executor, workers, scheduler) as chosen, TerminalProgress() as progress:
        if scheduler is None:
            for line in _lines(campaign.estimate(loaded, paths, chosen, workers), workers):
                progress.note(line)
        group = GROUP if device().type == "cuda" else 1
        answer = campaign.run(loaded, paths, budget, chosen, progress, group)
    _tell(answer, paths.index, as_json)
    raise typer.Exit(1 if answer["given_up"] else 0)


@replication_app.command("page")
def page(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages, such as docs/results.")],
    as_json: Json = False,
) -> None:
    """Make the pages and figures again from the tables beside them.

    Example:  python -m replication page docs/results
    """
    from passband.base.errors import BadInputError
    from replication.pages import held_budget, write_pages
    from replication.paths import ResultsPaths

    paths = ResultsPaths(folder, folder)
    if not any(folder.glob("tables/*/scores.parquet")):
        raise BadInputError(f"{folder}: holds no tables of studies; make them with: python -m replication run")
    _tell(write_pages(paths, held_budget(paths)), paths.index, as_json)


@replication_app.command("predictor")
def predictor(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
    again: Annotated[
        bool, typer.Option("--again", help="Simulate scattering and reader losses anew first (15 minutes).")
    ] = False,
    laws: Annotated[Path | None, typer.Option("--laws", help="Fit the package's laws anew, into this folder.")] = None,
) -> None:
    """Judge what predicts the loss elsewhere on conditions that no choice has seen, and write the table of its page (10 minutes).

    Example:  python -m replication predictor
    """
    from passband.base.progress import TerminalProgress
    from replication import predictor as judged
    from replication import predictor_page

    tables = folder / "tables"
    with TerminalProgress() as progress:
        if again:
            judged.measure_again(tables, progress.note)
        predictor_page.save(tables, judged.judge(tables, progress.note))
        predictor_page.draw(tables, judged.final_losses(tables))
        predictor_page.save_sets(tables, judged.judge_sets(tables) | {"interval": judged.judge_intervals(tables)})
        if laws is not None:
            judged.build_laws(tables, laws)
    predictor_page.write(folder / "predictor.md")
    print(f"Page: {(folder / 'predictor.md').absolute()}")


@replication_app.command("curvature")
def curvature(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            help="Folder of a study measured by `passband study curvature`, whose tables are kept; may be repeated.",
        ),
    ] = None,
) -> None:
    """Judge whether curvature, gradients and predictions of networks tell their loss elsewhere, and write the page of it (1 minute).

    Example:  python -m replication curvature --run runs/results-standard/studies/defocus_sweep
    """
    from passband.base.errors import BadInputError
    from replication import curvature as judged
    from replication import curvature_page

    for each in run or []:
        judged.keep(each, folder / "tables")
    if not judged.studies(folder / "tables"):
        raise BadInputError(f"{folder}: holds no tables of measured networks; name a measured study with --run")
    curvature_page.write(folder / "curvature.md")
    print(f"Page: {(folder / 'curvature.md').absolute()}")


@replication_app.command("authors")
def authors(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
) -> None:
    """Compare our networks and predictions with losses that others published, and write the tables of their page (1 minute).

    Example:  python -m replication authors
    """
    from replication import authors_page, predictor_page
    from replication.paths import ResultsPaths

    authors_page.write(ResultsPaths(folder, folder))
    predictor_page.write(folder / "predictor.md")
    print(f"Page: {(folder / 'authors.md').absolute()}")


@replication_app.command("zero-places")
def zero_places(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
) -> None:
    """Measure where ε and the contrast of particles in vacuum are least, for the page on zero defocus (under a minute).

    Example:  python -m replication zero-places
    """
    from replication import zero_places as places
    from replication.paths import ResultsPaths

    study = ResultsPaths(folder, folder).study(places.STUDY)
    places.write_places(study)
    print(f"Places: {places.file_of(study).absolute()}")


@replication_app.command("families")
def families(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
) -> None:
    """Judge what predicts the loss on another family of specimens, for the page "Another specimen" (10 minutes).

    Make that page with `python -m replication page` afterwards.

    Example:  python -m replication families
    """
    from passband.base.progress import TerminalProgress
    from replication import families as judged

    with TerminalProgress() as progress:
        judged.save(folder / "tables", judged.judge(folder / "tables", progress.note))


@replication_app.command("modes")
def modes(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder in which the studies ran.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
) -> None:
    """Measure textures of STEM images, and test networks of each imaging mode in the others, for the page "Other imaging modes" (10 minutes).

    Make that page with `python -m replication page` afterwards.

    Example:  python -m replication modes runs/results-standard
    """
    from passband.base.progress import TerminalProgress
    from replication import modes as measured

    with TerminalProgress() as progress:
        measured.measure(folder / "tables", runs, progress.note)


@replication_app.command("verdict-data")
def verdict_data(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pages with their tables.")] = _PAGES,
    out: Annotated[Path, typer.Option("--out", help="Folder of the data.", show_default="in the package")] = _DATA,
    as_json: Json = False,
) -> None:
    """Build the data that verdicts rest on, zones and losses of training sets, from the tables of the results.

    Example:  python -m replication verdict-data
    """
    from passband.base.errors import BadInputError
    from replication.outcome import StudyTables
    from replication.paths import ResultsPaths
    from replication.verdict_data import SET_STUDY, ZONE_STUDIES, write_verdict_data

    paths = ResultsPaths(folder, folder)
    studies = {name: StudyTables(paths.study(name)) for name in (*ZONE_STUDIES, SET_STUDY)}
    missing = [name for name, study in studies.items() if not study.paths.study.is_file()]
    if missing:
        raise BadInputError(
            f"{folder}: has no tables of {', '.join(missing)}; make them with: python -m replication run"
        )
    files = write_verdict_data(studies, out)
    if as_json:
        print_json({"files": [str(file) for file in files]})
    else:
        print("\n".join(map(str, files)))


def _paths(budget: str, out: Path | None, pages: Path | None) -> Any:
    from replication.paths import ResultsPaths

    runs = Path("runs") / f"results-{budget}" if out is None else out
    return ResultsPaths(runs / "studies", runs / "pages" if pages is None else pages)


def _lines(found: list[dict[str, Any]], workers: int) -> list[str]:
    from passband.base.progress import clock

    lines = [f"{'study':<24}{'networks to do':>15}{'tests to do':>14}{'time':>10}"]
    for f in found:
        todo = {stage: n["total"] - n["done"] for stage, n in f["cells"].items()}
        lines.append(f"{f['study']:<24}{todo['train']:>15}{todo['tests']:>14}{clock(f['wall_seconds']):>10}")
    total = sum(f["wall_seconds"] for f in found)
    networks = sum(f["cells"]["train"]["total"] for f in found)
    return [
        *lines,
        f"{networks} networks in all; about {clock(total)} left with {workers} workers, within a factor of two",
    ]


def _tell(answer: dict[str, Any], index: Path, as_json: bool) -> None:
    if as_json:
        print_json(answer | {"page": str(index)})
        return
    for claim in answer["claims"]:
        print(f"{claim['verdict']:<12} {claim['claim']}: {claim['figure']}")
    for name, lacking in answer["missing"].items():
        print(f"not run      {name} lacks {', '.join(lacking)}")
    print(f"\nResults: {index.absolute()}")


if __name__ == "__main__":
    run_app(replication_app)
