"""Made-up studies in which curvature predicts the loss, and in which it cannot: does the page say so?"""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.files.tables import write_table
from passband.studies.paths import StudyPaths
from replication import curvature, curvature_page
from replication.outcome import StudyTables

PAGE = Path(__file__).parents[2] / "docs" / "results" / "curvature.md"
NAMES = [f"c{i:02d}" for i in range(10)]


def made_up(folder, law, seeds=2, names=NAMES):
    """Tables of a study whose ln loss is a law of what is measured, by name."""
    rng = np.random.default_rng(8)
    n = len(names)
    measured = {
        "hessian_grassmann": rng.uniform(0, 3, (n, n)),
        "fisher_alignment": rng.uniform(-1, 1, (n, n)),
        "head_alignment": rng.uniform(-1, 1, (n, n)),
        "hessian_alignment": rng.uniform(-1, 1, (n, n)),
        "gradient_norm_train": np.repeat(np.exp(rng.normal(0, 2, (n, 1))), n, 1),
        "fisher_top_test": np.exp(rng.normal(0, 2, (n, n))),
        "prediction_kl": np.exp(rng.normal(0, 2, (n, n))),
    }
    optics = {"sigma": rng.uniform(0, 1, (n, n)), "delta_epsilon": rng.normal(0, 0.1, (n, n))}
    noise = rng.normal(0, 1, (n, n))
    log_loss = law(measured, optics, noise)
    pairs = list(itertools.product(range(n), range(n)))
    keys = {"train_condition": [names[i] for i, _ in pairs], "test_condition": [names[j] for _, j in pairs]}

    def table(columns):
        return pl.DataFrame(keys | {name: [float(v[i, j]) for i, j in pairs] for name, v in columns.items()})

    paths = StudyPaths(folder)
    folder.mkdir(parents=True)
    write_table(paths.table("shift"), table(optics))
    for name, values in (("scores", {"loss": np.exp(log_loss)}), ("curvature", measured)):
        runs = [table(values).with_columns(seed=pl.lit(s), n_images=pl.lit(40)) for s in range(seeds)]
        write_table(paths.table(name), pl.concat(runs).drop("n_images" if name == "curvature" else []))
    conditions = pl.DataFrame({"condition": names, "label": names, "defocus_angstrom": np.linspace(-90, 90, n)})
    write_table(paths.table("conditions"), conditions)
    write_table(paths.table("curvature_layers"), pl.DataFrame({"layer": ["head.weight"], "gradient_norm": [1.0]}))
    return StudyTables(paths)


def row(rows, column, target="log_loss"):
    return next(r for r in rows if r.column == column and r.target == target)


def by_fisher(measured, optics, noise):
    return 1.5 * np.arccos(measured["fisher_alignment"]) + 0.1 * noise


def by_nothing(measured, optics, noise):
    return noise


def by_optics(measured, optics, noise):
    return -2 * optics["sigma"] + 0.2 * measured["head_alignment"] + 0.05 * noise


def test_where_the_loss_follows_a_measure_it_is_found(tmp_path):
    rows = curvature.judge(made_up(tmp_path / "made", by_fisher))
    assert row(rows, "fisher_alignment").r2.low > 0.9
    assert row(rows, "fisher_alignment").more.low > 0.8
    assert curvature.best(rows, "log_loss", "images").column == "fisher_alignment"
    assert curvature.answer(rows, "log_loss") == "yes"
    for other in ("hessian_grassmann", "prediction_kl", curvature.SOURCE):
        assert row(rows, other).r2.high < 0.3


def test_where_nothing_predicts_nothing_is_found(tmp_path):
    rows = curvature.judge(made_up(tmp_path / "made", by_nothing))
    assert max(r.r2.low for r in rows) < 0.1
    assert curvature.answer(rows, "log_loss") in ("no", "cannot tell")


def test_what_a_measure_adds_to_the_optics_is_told_apart(tmp_path):
    rows = curvature.judge(made_up(tmp_path / "made", by_optics))
    assert row(rows, curvature.SOURCE).r2.low > 0.8
    assert row(rows, "head_alignment").r2.high < 0.4
    assert row(rows, "head_alignment").more.low > 0
    assert row(rows, "hessian_alignment").more.high < row(rows, "head_alignment").more.low
    assert curvature.answer(rows, "log_loss") == "no"


def test_labels_are_not_needed_for_what_is_known_at_home(tmp_path):
    rows = curvature.judge(made_up(tmp_path / "made", by_nothing))
    needs = {r.column: r.needs for r in rows}
    assert needs["hessian_grassmann"] == "labels"
    assert needs["gradient_norm_train"] == needs[curvature.SOURCE] == "nothing"
    assert needs["fisher_alignment"] == "images"
    assert needs["prediction_kl"] == "same specimens"
    assert not row(rows, "prediction_kl").is_curvature


def test_wide_measures_are_taken_as_logarithms(tmp_path):
    study = made_up(tmp_path / "made", lambda measured, optics, noise: 0.5 * np.log(measured["prediction_kl"]))
    rows = curvature.judge(study)
    assert row(rows, "prediction_kl").r2.low > 0.99


def test_the_train_effect_is_ranked_by_what_is_measured_at_home(tmp_path):
    study = made_up(
        tmp_path / "made", lambda m, optics, noise: np.log(m["gradient_norm_train"]) + 3 * np.eye(len(NAMES)) * -1
    )
    [found] = curvature.train_effect(study, ["gradient_norm_train"]).values()
    assert found.value > 0.5
    gained = curvature.head_against_whole(
        made_up(tmp_path / "head", lambda m, o, noise: m["head_alignment"]), "log_loss"
    )
    assert gained["head_alignment"].low > 0.8


def test_the_page_is_filled_from_the_tables(tmp_path):
    made_up(tmp_path / "tables" / "curvature" / "made", by_fisher)
    page = tmp_path / "curvature.md"
    shutil.copy(PAGE, page)
    curvature_page.write(page)
    text = page.read_text(encoding="utf-8")
    assert "10 conditions" in text
    assert re.search(
        r"Frobenius angle of the Fisher information, from eigenpairs \| ∠ F \| images \| [−0-9.]+ \| 0\.9", text
    )
    assert "better than the optics do? **Yes**" in text
    for name in ("curvature_ranking", "curvature_pairs"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000
        assert f"figures/{name}.png" in text


def test_measures_of_fewer_images_are_judged_beside_those_of_all(tmp_path):
    study = made_up(tmp_path / "tables" / "curvature" / "made", by_fisher)
    assert curvature.by_images(study, ["fisher_alignment"], "log_loss") == {}
    rng = np.random.default_rng(1)
    for count, share in ((8, 0.5), (16, 0.1)):
        noisy = pl.col("fisher_alignment") + share * pl.Series(rng.normal(size=len(study.table("curvature"))))
        fewer = study.table("curvature").with_columns(noisy.clip(-1, 1))
        write_table(study.paths.table(f"curvature_{count}_images"), fewer)
        write_table(study.paths.table(f"curvature_layers_{count}_images"), study.table("curvature_layers"))
    by_count = curvature.by_images(study, ["fisher_alignment"], "log_loss")
    assert list(by_count) == [8, 16, 40]
    few, more, all_ = (of["fisher_alignment"].value for of in by_count.values())
    assert few < more < all_
    curvature_page.write(Path(shutil.copy(PAGE, tmp_path)))
    text = (tmp_path / "curvature.md").read_text(encoding="utf-8")
    assert "| R² of ln loss | 8 images | 16 images | 40 images |" in text
    curvature.keep(study.paths.folder, tmp_path / "kept")
    assert list(
        curvature.by_images(curvature.studies(tmp_path / "kept")["made"], ["fisher_alignment"], "log_loss")
    ) == [8, 16, 40]


def test_tables_are_kept_and_what_is_not_measured_is_refused(tmp_path):
    made_up(tmp_path / "runs" / "made", by_fisher)
    curvature.keep(tmp_path / "runs" / "made", tmp_path / "tables")
    assert list(curvature.studies(tmp_path / "tables")) == ["made"]
    StudyPaths(tmp_path / "runs" / "made").table("curvature").unlink()
    with pytest.raises(BadInputError, match="not measured yet; run: passband study curvature"):
        curvature.keep(tmp_path / "runs" / "made", tmp_path / "tables")


def test_what_was_measured_on_fewer_images_alone_is_judged_and_says_so(tmp_path):
    study = made_up(tmp_path / "made", by_fisher)
    whole = study.table("curvature")
    write_table(study.paths.table("curvature"), whole.drop("fisher_alignment"))
    for count in (2, 4):
        noisy = pl.col("fisher_alignment") if count == 4 else pl.lit(0.5) + 1e-3 * pl.col("head_alignment")
        write_table(study.paths.table(f"curvature_{count}_images"), whole.with_columns(fisher_alignment=noisy))
    study = StudyTables(study.paths)
    assert curvature.on_fewer_images(study) == {"fisher_alignment": 4}
    rows = curvature.judge(study)
    assert row(rows, "fisher_alignment").r2.low > 0.9
    assert row(rows, "fisher_alignment").images == 4
    assert row(rows, "head_alignment").images is None
    assert curvature_page.title(row(rows, "fisher_alignment")).endswith(", 4 images")
    assert 40 not in {n for n, of in curvature.by_images(study, ["fisher_alignment"], "log_loss").items() if of}


def test_families_of_specimens_are_held_out_as_a_whole(tmp_path):
    names = [f"family{i}/c{j}" for i in range(5) for j in range(2)]
    study = made_up(tmp_path / "made", by_fisher, names=names)
    pairs, _ = curvature.measured_pairs(study)
    family = np.repeat(np.arange(5), 2)
    assert np.array_equal(pairs.used, family[:, None] != family)
    predicted = curvature.predictions(pairs, ("fisher_alignment",), "log_loss")
    rest = ~np.isin(family, [1, 3])
    seen = pairs.used & rest[:, None] & rest
    slope, start = np.polyfit(pairs.features["fisher_alignment"][seen], np.log(pairs.loss[seen]), 1)
    expected = start + slope * pairs.features["fisher_alignment"][2:4, 6:8]
    np.testing.assert_allclose(predicted[2:4, 6:8], expected, rtol=1e-6)
    assert row(curvature.judge(study), "fisher_alignment").r2.low > 0.9


def test_the_head_is_compared_with_all_weights_on_the_same_images(tmp_path):
    study = made_up(tmp_path / "made", by_fisher)
    whole = study.table("curvature")
    write_table(study.paths.table("curvature_2_images"), whole.with_columns(head_fisher_alignment="fisher_alignment"))
    write_table(study.paths.table("curvature"), whole.drop("fisher_alignment").with_columns(head_fisher_alignment=0.0))
    gain = curvature.head_against_whole(StudyTables(study.paths), "log_loss")["head_fisher_alignment"]
    assert abs(gain.value) < 1e-9
