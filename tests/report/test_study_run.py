"""Results of a study in Python are those of its tables."""

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as mpimg

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.report.simulated_images import SimulatedImages
from passband.report.study_run import open_study

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "tables" / "defocus_fine"


@pytest.fixture(scope="module")
def run():
    return open_study(str(FOLDER))


def test_a_fit_is_that_of_the_analysis_beside_the_trivial_predictors(run):
    fits = json.loads((FOLDER / "analysis.json").read_text(encoding="utf-8"))["fits"]
    committed = {f["predictor"]: f for f in fits if f["pairs"] == "all"}
    fit = run.fit("sigma", "epsilon")
    assert fit.columns == ("sigma", "delta_epsilon")
    assert fit.r2_in_sample == pytest.approx(committed["σ and Δε, linear"]["r2_in_sample"], abs=1e-9)
    assert fit.r2_held_out == pytest.approx(committed["σ and Δε, linear"]["r2_held_out"], abs=1e-9)
    assert [row["predictor"] for row in fit.baselines] == [name for name, f in committed.items() if f["trivial"]]
    assert "mean loss" in str(fit) and "mean loss" in fit._repr_html_()
    # Of a metric of one condition the difference counts.
    assert run.fit("image_snr", form="smooth").columns == ("delta_image_snr",)
    assert [row["form"] for row in run.fit("defocus_difference").baselines].count("smooth") == 1
    with pytest.raises(BadInputError, match="no metric is called 'sigam'; there are epsilon, "):
        run.fit("sigam")


def test_a_matrix_is_the_mean_over_seeds(run):
    matrix = run.matrix("dice")
    assert matrix.values.shape == (len(run.conditions), len(run.conditions))
    first = run.pairs.filter(
        (run.pairs["train_label"] == matrix.to_dict()["trained"][0])
        & (run.pairs["test_label"] == matrix.to_dict()["tested"][1])
    )
    assert matrix.values[0, 1] == pytest.approx(np.mean(first["dice"].to_numpy()))
    assert run.matrix("tp").values[0, 1] == pytest.approx(np.mean(first["tp"].to_numpy()))
    with pytest.raises(BadInputError, match="'f1' is no score of a matrix of this study; give loss, dice, tp"):
        run.matrix("f1")
    # These tables were made before particles were counted.
    with pytest.raises(BadInputError, match="'surface_dice' is no score.*delete cells/evaluate-"):
        run.matrix("surface_dice")


def picture(page):
    """The picture in a page, float [rows, columns, 3]."""
    return mpimg.imread(BytesIO(base64.b64decode(page.partition("base64,")[2].partition('"')[0])))[..., :3]


def test_answers_are_pictures_in_a_notebook(run):
    shades = picture(run.matrix()._repr_html_())
    assert min(shades.shape[:2]) > 300 and len(np.unique(shades.reshape(-1, 3), axis=0)) > 100
    rng = np.random.default_rng(0)
    images, masks = rng.random((3, 64, 64), dtype=np.float32), np.zeros((3, 64, 64), dtype=bool)
    simulated = SimulatedImages(images, masks, Condition(energy_ev=300e3, pixel_size_angstrom=0.5))
    assert len(np.unique(picture(simulated._repr_html_()))) > 100
    assert "3 images of 64 × 64 pixels of 0.5 Å" in simulated._repr_html_() and repr(simulated) == str(simulated)


def test_the_findings_are_the_text_of_a_run(run):
    lines, text = str(run).splitlines(), " ".join(str(run).split())
    assert lines[0].startswith(f"Study {run.study.name}: ") and "networks, each tested under" in lines[0]
    assert run.findings and all(f"- {line}" in text for line in run.findings)
    assert all(len(line) <= 100 for line in lines[:-1])
    assert run.to_dict()["findings"]["sentences"] == run.findings
