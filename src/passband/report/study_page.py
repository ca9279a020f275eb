"""The results of a study, from its jobs or its tables: analysis, figures, and one HTML file with all and the answer in a sentence."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from passband import analysis
from passband.analysis.conformal import LEVEL
from passband.analysis.fits import DEFOCUS, MEAN, SOURCE, SOURCE_SMOOTH
from passband.analysis.set_comparison import with_interval
from passband.conditions.sets import ConditionGrid
from passband.figures import image_sheets, losses, matrix, style, transfer
from passband.figures.matrix import short_labels
from passband.files import yaml_config
from passband.files.atomic import write_text
from passband.metrics.shift_table import USUAL
from passband.metrics.transfer_curves import epsilon_over_defocus, transfer_curves
from passband.report import pages
from passband.studies import result_tables
from passband.studies.cross_tests import SHOWN
from passband.studies.folder import StudyFolder
from passband.studies.jobs import test_targets
from passband.studies.stored import read_analysis, read_tables, write_analysis
from passband.studies.study import Study

# Tables that analysis and report are made from.
_TABLES = ("scores", "shift", "conditions", "training")
# Of tasks with a value of the image.
_COVERAGE = "coverage"
# A pair generalises if its loss is at most this many times the in-domain loss.
_NEAR = 1.5
# What of the particles the table of pairs shows.
_PARTICLES = ("particles", "found", "instance_f1", "distance_angstrom")
_MATRIX = "rows are training conditions, columns are test conditions"
_Draw = Callable[[pl.DataFrame, Axes], None]
#: Figures that draw the table of pairs, in the order of the page: file name → how to draw it, and its caption.
PAIR_FIGURES: dict[str, tuple[_Draw, str]] = {
    "matrix_loss": (partial(matrix.draw, score="loss"), f"Matrix of test loss: {_MATRIX}"),
}


def write_results(folder: StudyFolder, metrics: Sequence[str] = USUAL) -> None:
    """Write tables, analysis, figures and report from the finished jobs of a study; failed networks are left out.

    `metrics` are those of shift.parquet.

    Raises:
        BadInputError: if no network is tested.
    """
    tables = result_tables.write_tables(folder, metrics)
    _report(folder, tables, folder.failures(), result_tables.provenance(folder))


def rebuild_report(folder: StudyFolder) -> None:
    """Write analysis, figures and report from the tables of a study whose jobs are missing.

    Raises:
        BadInputError: if a table, or the analysis that says where the tables came from, is missing or damaged.
    """
    names = _TABLES if folder.study.trains_on_tests else (*_TABLES, "training_sets")
    if folder.paths.table(_COVERAGE).is_file():
        names = (*names, _COVERAGE)
    tables = read_tables(folder.paths, names, folder.study.labels)
    stored = read_analysis(folder.paths)
    _report(folder, tables, stored["failed"], stored["provenance"])


def _report(
    folder: StudyFolder, tables: dict[str, pl.DataFrame], failed: list[dict[str, Any]], provenance: dict[str, Any]
) -> None:
    study = folder.study
    pairs = analysis.join_pairs(tables["scores"], tables["shift"], tables["conditions"], study.labels)
    if _COVERAGE in tables:
        shares = tables[_COVERAGE].drop("images")
        pairs = pairs.join(shares, on=["train_condition", "test_condition", "seed"], how="left", maintain_order="left")
    fits = analysis.fit_all(pairs)
    if study.trains_on_tests:
        epsilon = (
            tables["shift"]
            .select(condition="train_condition", epsilon="epsilon_train")
            .unique("condition", keep="first")
        )
        training = tables["training"].join(epsilon, on="condition", how="left", maintain_order="left")
        findings = analysis.findings(pairs, training, fits, study.learnt)
    else:
        findings = analysis.compare_sets(tables["scores"], study.learnt.headline)
    result = {"findings": findings, "fits": fits, "study": study.name, "study_id": study.id}
    result |= {"failed": failed, "provenance": provenance}
    write_analysis(folder.paths, result, [name for name in (*_TABLES, "training_sets", _COVERAGE) if name in tables])
    write_report(folder, tables, pairs, result)


def write_report(
    folder: StudyFolder, tables: dict[str, pl.DataFrame], pairs: pl.DataFrame, result: dict[str, Any]
) -> None:
    """Draw the figures and write the page, from the study's tables, its joined pairs and the content of analysis.json."""
    study, figures = folder.study, folder.paths.figures
    drawn = _pair_figures(study)
    if _COVERAGE in pairs.columns:
        title = f"Share of true values within the {LEVEL:.0%} interval"
        caption = f"{title} of the {study.learnt.value}, calibrated under the training condition: {_MATRIX}"
        drawn["matrix_coverage"] = partial(matrix.draw, score=_COVERAGE, title=title), caption
    _draw_pairs(pairs, drawn, figures)
    _predictions(pairs, {f["predictor"] for f in result["fits"]}, figures)
    epsilon_figure = _optics(folder, tables["conditions"])
    with style.figure(6.4, 4.2) as made:
        labelled = tables["training"].with_columns(label=pl.col("condition").replace_strict(study.labels))
        losses.draw_training(labelled, made.subplots())
        style.save(made, figures, "training")
    # Predictions are not in the tables, and a folder of tables alone has no sheet.
    samples = _samples(folder, pairs) if study.trains_on_tests and folder.paths.jobs.is_dir() else []
    if samples:
        with style.figure(1.9 * len(samples) + 0.5, 9.0) as made:
            image_sheets.draw_tests(samples, made, study.learnt.quantity, study.learnt.classes)
            style.save(made, figures, "image_sheet", ("png",))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "minus": style.minus}
    template = environment.from_string(files("passband.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        study=study,
        title=question(study),
        conclusion=conclusion(study, pairs, result["findings"]),
        result=result,
        findings=result["findings"],
        tests=len(tables["scores"]),
        fits=result["fits"],
        provenance=result["provenance"],
        seconds=sum(result["provenance"]["core_seconds"].values()),
        epsilon_figure=epsilon_figure,
        columns=len(samples),
        pair_figures={name: shows for name, (_, shows) in drawn.items()},
        conditions=tables["conditions"].to_dicts(),
        trainings=len(study.trainings),
        scores=_score_rows(pairs, study.learnt.headline.column),
        headline=study.learnt.headline,
        particles="found" in pairs.columns and pairs["found"].is_not_null().any(),
        configuration=yaml_config.dump(study),
        picture=lambda name, alt, suffix="svg": _picture(figures / f"{name}.{suffix}", alt),
    )
    write_text(folder.paths.report, page)


def question(study: Study) -> str:
    """Return what a study asks."""
    if study.structures:
        return "Does a network trained on one family of specimens work on another?"
    if not study.trains_on_tests:
        return "Which set of training conditions makes the best network?"
    shared, _ = short_labels(study.conditions.labels())
    varied = " and ".join(name.split(" [")[0] for name in shared.split(" / ")) if shared else "condition"
    return f"Does a network trained at one {varied} work at another?"


def conclusion(study: Study, pairs: pl.DataFrame, findings: dict[str, Any]) -> str:
    """Return the answer of a study in a sentence, from `analysis.join_pairs` and `analysis.findings` or `analysis.compare_sets`."""
    if not study.trains_on_tests:
        best = min(findings["sets"], key=lambda row: row["mean_loss"])
        name = f"{best['kind']}, {best['size']} condition{'s' * (best['size'] != 1)}"
        return f"{name}: lowest mean loss, {with_interval(best, 'mean_loss')}."
    same = pl.col("train_condition") == pl.col("test_condition")
    headline = study.learnt.headline
    if headline.learnt is not None:
        column, least = headline.learnt
        reached, shown = (pairs.filter(same)[name].fill_nan(None).median() for name in (column, headline.column))
        if reached is None or reached < least:
            value = "unknown" if shown is None else f"{shown:.2f}{headline.unit and ' '}{headline.unit}"
            return f"Nothing to compare: under their own training condition the networks reach a median {headline.title} of {value}."
    others = pairs.filter(~same).group_by("train_label", "test_label", maintain_order=True)
    table = others.agg(ratio=pl.col("loss").mean() / pl.col("own_loss").mean()).drop_nulls()
    if table.is_empty():
        return "Nothing to compare: no network was tested under another condition than its own."
    share = float((table["ratio"] <= _NEAR).mean())
    medians = table.group_by("test_label", maintain_order=True).agg(pl.col("ratio").median())
    hardest = medians.sort("ratio").to_dicts()[-1]
    answer = "Yes" if share >= 0.95 else "Mostly" if share >= 0.5 else "Seldom"
    return style.minus(
        f"{answer}: {share:.0%} of {len(table)} pairs of training and test condition stay within {_NEAR:g} times the in-domain loss; "
        f"the hardest test is {hardest['test_label']}, {hardest['ratio']:.1f} times in the median."
    )


def _pair_figures(study: Study) -> dict[str, tuple[_Draw, str]]:
    """Return the figures that draw the pairs of a study, with its task's headline after the loss."""
    headline = study.learnt.headline
    draw = partial(matrix.draw, score=headline.column, title=str(headline))
    own = {f"matrix_{headline.column}": (draw, f"Matrix of {headline}: {_MATRIX}")}
    return {"matrix_loss": PAIR_FIGURES["matrix_loss"]} | own | PAIR_FIGURES


def _draw_pairs(pairs: pl.DataFrame, drawn: dict[str, tuple[_Draw, str]], figures: Path) -> None:
    size = 1.6 + 0.36 * min(pairs["train_label"].n_unique(), 16)
    for name, (draw, _) in drawn.items():
        with style.figure(size + 1, size) as made:
            draw(pairs, made.subplots())
            style.save(made, figures, name)
    with style.figure(6.6, 4.6) as made:
        losses.draw_over_shift(pairs, made.subplots(), analysis.smooth_surface(pairs))
        style.save(made, figures, "loss_over_shift")


def _predictions(pairs: pl.DataFrame, fitted: set[str], figures: Path) -> None:
    names = [name for name in (DEFOCUS, SOURCE, SOURCE_SMOOTH) if name in fitted] or [MEAN]
    with style.figure(3.2 * len(names), 3.6) as made:
        for ax, name in zip(made.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            table = analysis.held_out_predictions(pairs, name)
            if len(table):
                losses.draw_predicted(table, ax, name)
            else:
                ax.set_title(f"{name}: too few conditions")
        style.save(made, figures, "predicted_loss")


def _optics(folder: StudyFolder, conditions: pl.DataFrame) -> str:
    """Draw the transfer of the conditions and their ε; return the name of the latter's figure."""
    study, q_max = folder.study, folder.study.q_max_per_angstrom
    # Of several families those of the first.
    first = [test.condition for test in study.tests[: len(study.test_conditions)]]
    names = dict(zip((c.id for c in first), study.conditions.labels(), strict=True))
    curves = transfer_curves(first, q_max)
    curves = curves.with_columns(label=pl.col("condition").replace_strict(names))
    with style.figure(9.6, 3.8) as made:
        left, right = made.subplots(1, 2)
        transfer.draw_curves(curves, left, "transfer")
        transfer.draw_curves(curves, right, "magnitude")
        if len(names) <= 16:
            made.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=7)
        style.save(made, folder.paths.figures, "ctf_curves")
    name, sweep = "epsilon_by_condition", None
    if isinstance(study.conditions, ConditionGrid) and conditions["defocus_angstrom"].n_unique() > 1:
        reach = max(300.0, 1.2 * float(conditions["defocus_angstrom"].abs().max()))
        name, sweep = "epsilon_over_defocus", epsilon_over_defocus(study.conditions.base, -reach, reach, q_max)
    with style.figure(6.4, 3.6) as made:
        transfer.draw_epsilon(conditions, made.subplots(), sweep)
        style.save(made, folder.paths.figures, name)
    return name


def _samples(folder: StudyFolder, pairs: pl.DataFrame) -> list[image_sheets.Sample]:
    """Return the first test specimen under some conditions, with the predictions of the in-domain and the worst network of seed 0."""
    labels, covered = folder.study.labels, folder.coverage()
    first = pairs.filter(pl.col("seed") == 0)
    trained = first["train_condition"].unique(maintain_order=True).to_list()
    shown = np.unique(np.linspace(0, len(trained) - 1, min(SHOWN, len(trained))).round().astype(int))
    networks = {job.domain.id: i for i, job in enumerate(covered.networks) if job.seed == 0}
    images = {job.domain.id: job for job in folder.image_jobs}
    samples = []
    for tested in (trained[i] for i in shown):
        test, picture = images[tested].domain, images[tested].sample()
        worst = first.filter(pl.col("test_condition") == tested).sort("loss")["train_condition"][-1]
        predictions = (covered.prediction(networks[n], test, picture["image"]) for n in (tested, worst))
        # x is the first axis inside, and runs to the right in a picture.
        truth = test_targets(folder.study, folder.paths, test)[0].numpy()
        if truth.dtype != bool and truth.min() == truth.max():
            # A value of the image as a whole is no picture.
            return []
        image, truth, here, there = (array.T for array in (picture["image"], truth, *predictions))
        samples.append(image_sheets.Sample(labels[tested], image, truth, here, there, labels[worst]))
    return samples


def _score_rows(pairs: pl.DataFrame, score: str) -> list[dict[str, Any]]:
    # Distances of training sets have no defocus, and tables of old studies no particles.
    absent = [name for name in ("defocus_difference_angstrom", *_PARTICLES) if name not in pairs.columns]
    pairs = pairs.with_columns(**{name: pl.lit(None, pl.Float64) for name in absent})
    mean = pairs.group_by("train_label", "test_label", maintain_order=True).agg(
        pl.col("loss", "instance_f1", "distance_angstrom").mean(),
        pl.col(score).mean().alias("score"),
        pl.col("sigma", "delta_epsilon", "defocus_difference_angstrom").mean(),
        pl.col("loss").std().alias("loss_deviation"),
        found_share=(pl.col("found") / pl.col("particles")).mean(),
    )
    return mean.to_dicts()


def _picture(path: Path, alt: str) -> str:
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    return Markup(f'<div class="picture">{pages.picture(path.read_bytes(), alt, kind)}</div>')  # noqa: S704


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or math.isnan(value):
        return "–"
    return style.minus(f"{round(value, digits) + 0.0:.{digits}f}")
