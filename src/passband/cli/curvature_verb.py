"""The verb that measures the networks of a study: parsing and printing only."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from passband.cli.options import CORES, Json, Workers, print_answer

# Measures that the text lists.
_SHOWN = 15
# Pairs of conditions below which rank correlations say nothing: those of six conditions.
_FEW = 30


def study_curvature(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Folder of a study that has been run.")],
    top: Annotated[int, Option(help="Largest eigenvalues to compute, with their eigenvectors, at most 20.")] = 5,
    spectrum_images: Annotated[int, Option(help="Test images that eigenvalues are computed from.")] = 4,
    images: Annotated[
        int | None,
        Option(help="Number of test images, the first ones; all of them if left out."),
    ] = None,
    spectra: Annotated[
        bool,
        Option(
            "--spectra/--no-spectra",
            help="Whether to compute eigenvalues and traces of all weights, two thirds of the time.",
        ),
    ] = True,
    workers: Workers = CORES,
    as_json: Json = False,
) -> None:
    """Measure the curvature and the gradients of the loss, and the predictions, of each network of a study under each condition.

    Writes curvature.parquet, a row for each network and condition, and curvature_layers.parquet; with --images N it is curvature_N_images.parquet.
    A stopped run can be resumed.

    Example:  passband study curvature runs/defocus
    """
    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.studies.curvature_jobs import measure_study, pairs_table, with_loss
    from passband.studies.folder import StudyFolder

    held = StudyFolder.open(folder)
    with make_executor("processes", workers) as executor, TerminalProgress() as progress:
        table = measure_study(
            held, executor, progress, top=top, spectrum_images=spectrum_images, images=images, spectra=spectra
        )
    answer = with_loss(held, table)
    ranks = list(answer["rank"].items())
    lines = [f"{'measure':<32}rank correlation with the loss over {answer['pairs']} pairs of different conditions"]
    lines += [f"{name:<32}{rank:+.2f}" for name, rank in ranks[:_SHOWN]]
    if len(ranks) > _SHOWN:
        lines.append(f"and {len(ranks) - _SHOWN} others with less; --json lists all")
    if answer["pairs"] < _FEW:
        lines.append(f"note: {answer['pairs']} pairs are too few to tell a correlation from chance")
    lines += ["", f"Table: {pairs_table(held, images)}"]
    print_answer(answer | {"table": str(pairs_table(held, images))}, as_json, "\n".join(lines))
