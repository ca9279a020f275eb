"""The offline report: one HTML file with every figure, table and setting of a study."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from passband import analysis
from passband.analysis import fits
from passband.conditions.sets import ConditionGrid
from passband.figures import (
    ctf_curves,
    epsilon,
    image_sheet,
    loss_over_shift,
    matrix,
    predicted_loss,
    style,
    training_curves,
)
from passband.files import yaml_config
from passband.files.atomic import write_text
from passband.metrics import transfer_curves
from passband.studies.cross_tests import SHOWN

if TYPE_CHECKING:
    from passband.studies.folder import StudyFolder

_MATRIX = "rows are training conditions, columns are test conditions"
#: Figures that draw the table of pairs, in the order of the page: file name → how to draw it, and its caption.
PAIR_FIGURES: dict[str, tuple[Callable[[pl.DataFrame, Axes], None], str]] = {
    "matrix_loss": (partial(matrix.draw, score="loss"), f"Matrix of test loss: {_MATRIX}"),
    "matrix_dice": (partial(matrix.draw, score="dice"), f"Matrix of Dice: {_MATRIX}"),
}


def write_report(
    plan: StudyFolder, tables: dict[str, pl.DataFrame], pairs: pl.DataFrame, result: dict[str, Any]
) -> None:
    """Draw the figures and write the page.

    Args:
        plan: the finished study.
        tables: scores, conditions, shift, training, counts.
        pairs: from `analysis.join_pairs`.
        result: the content of analysis.json.
    """
    folder = plan.paths.figures
    _pair_figures(pairs, folder)
    _shift(pairs, folder)
    _predictions(pairs, {f["predictor"] for f in result["fits"]}, folder)
    epsilon_figure = _optics(plan, tables["conditions"], folder)
    labels = plan.study.labels
    labelled = tables["training"].with_columns(label=pl.col("condition").replace_strict(labels))
    with style.figure(6.4, 4.2) as made:
        training_curves.draw(labelled, made.subplots())
        style.save(made, folder, "training")
    # Predictions are not in the tables, and a folder of tables alone has no sheet.
    sheet = plan.study.trains_on_tests and plan.paths.jobs.is_dir()
    if sheet:
        _sheet(plan, pairs, folder)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["r2"] = _r2
    environment.filters["number"] = _number
    template = environment.from_string(files("passband.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        study=plan.study,
        result=result,
        findings=result["findings"],
        tests=len(tables["scores"]),
        fits=result["fits"],
        provenance=result["provenance"],
        seconds=sum(result["provenance"]["core_seconds"].values()),
        epsilon_figure=epsilon_figure,
        sheet=sheet,
        pair_figures={name: shows for name, (_, shows) in PAIR_FIGURES.items()},
        conditions=tables["conditions"].to_dicts(),
        trainings=len(plan.study.trainings),
        scores=_score_rows(pairs),
        configuration=yaml_config.dump(plan.study),
        picture=lambda name, alt, suffix="svg": _picture(folder / f"{name}.{suffix}", alt),
    )
    write_text(plan.paths.report, page)


def _pair_figures(pairs: pl.DataFrame, folder: Path) -> None:
    size = 1.6 + 0.36 * min(pairs["train_label"].n_unique(), 16)
    for name, (draw, _) in PAIR_FIGURES.items():
        with style.figure(size + 1, size) as made:
            draw(pairs, made.subplots())
            style.save(made, folder, name)


def _shift(pairs: pl.DataFrame, folder: Path) -> None:
    with style.figure(6.6, 4.6) as made:
        loss_over_shift.draw(pairs, made.subplots(), analysis.smooth_surface(pairs))
        style.save(made, folder, "loss_over_shift")


def _predictions(pairs: pl.DataFrame, fitted: set[str], folder: Path) -> None:
    shown: tuple[str, ...] = (fits.DEFOCUS, fits.SOURCE, fits.SOURCE_SMOOTH)
    names = [name for name in shown if name in fitted] or [fits.MEAN]
    with style.figure(3.2 * len(names), 3.6) as made:
        for ax, name in zip(made.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            table = analysis.held_out_predictions(pairs, name)
            if len(table):
                predicted_loss.draw(table, ax, name)
            else:
                ax.set_title(f"{name}: too few conditions")
        style.save(made, folder, "predicted_loss")


def _optics(plan: StudyFolder, conditions: pl.DataFrame, folder: Path) -> str:
    study = plan.study
    q_max = study.q_max_per_angstrom
    curves = transfer_curves.transfer_curves(study.test_conditions, q_max)
    names = dict(zip((c.id for c in study.test_conditions), study.conditions.labels(), strict=True))
    labelled = curves.with_columns(label=pl.col("condition").replace_strict(names))
    with style.figure(9.6, 3.8) as made:
        left, right = made.subplots(1, 2)
        ctf_curves.draw(labelled, left, "transfer")
        ctf_curves.draw(labelled, right, "magnitude")
        if len(names) <= 16:
            made.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=7)
        style.save(made, folder, "ctf_curves")
    swept = isinstance(study.conditions, ConditionGrid) and conditions["defocus_angstrom"].n_unique() > 1
    name = "epsilon_over_defocus" if swept else "epsilon_by_condition"
    sweep = None
    if isinstance(study.conditions, ConditionGrid) and swept:
        reach = max(300.0, 1.2 * float(conditions["defocus_angstrom"].abs().max()))
        sweep = transfer_curves.epsilon_over_defocus(study.conditions.base, -reach, reach, q_max)
    with style.figure(6.4, 3.6) as made:
        epsilon.draw(conditions, made.subplots(), sweep)
        style.save(made, folder, name)
    return name


def _sheet(plan: StudyFolder, pairs: pl.DataFrame, folder: Path) -> None:
    """Draw the first test specimen under some conditions, with the predictions of the in-domain and the worst network of seed 0."""
    labels, covered = plan.study.labels, plan.coverage()
    first = pairs.filter(pl.col("seed") == 0)
    trained = first["train_condition"].unique(maintain_order=True).to_list()
    shown = np.unique(np.linspace(0, len(trained) - 1, min(SHOWN, len(trained))).round().astype(int))
    networks = {job.domain.id: i for i, job in enumerate(covered.networks) if job.seed == 0}
    images = {job.domain.id: job for job in plan.image_jobs}
    samples = []
    for tested in (trained[i] for i in shown):
        test, picture = images[tested].domain, images[tested].sample()
        worst = first.filter(pl.col("test_condition") == tested).sort("loss")["train_condition"][-1]
        samples.append(
            image_sheet.Sample(
                label=labels[tested],
                # x is the first axis inside, and runs to the right in a picture.
                image=picture["image"].T,
                truth=picture["truth"].T,
                in_domain=covered.prediction(networks[tested], test, picture["image"]).T,
                worst=covered.prediction(networks[worst], test, picture["image"]).T,
                worst_label=labels[worst],
            )
        )
    if samples:
        with style.figure(1.9 * len(samples) + 0.5, 9.0) as made:
            image_sheet.draw(samples, made)
            style.save(made, folder, "image_sheet", ("png",))


def _score_rows(pairs: pl.DataFrame) -> list[dict[str, Any]]:
    if "defocus_difference_angstrom" not in pairs.columns:
        pairs = pairs.with_columns(defocus_difference_angstrom=pl.lit(None, pl.Float64))
    mean = pairs.group_by("train_label", "test_label", maintain_order=True).agg(
        pl.col("loss", "dice", "sigma", "delta_epsilon", "defocus_difference_angstrom").mean(),
        pl.col("loss").std().alias("loss_deviation"),
    )
    return mean.to_dicts()


def _picture(path: Path, alt: str) -> str:
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    data = base64.b64encode(path.read_bytes()).decode()
    return Markup(f'<div class="picture"><img src="data:{kind};base64,{data}" alt="{html.escape(alt)}"></div>')  # noqa: S704


def _number(value: Any, digits: int = 3) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _r2(value: float | None) -> str:
    return _number(value, 2)
