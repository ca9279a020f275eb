import numpy as np
import polars as pl
import pytest
import torch

from passband.app import analyze, html, sliders, views
from passband.app.scene import PIXELS, Scene
from passband.app.uploads import Upload
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe
from passband.studies.paths import StudyPaths
from passband.verdicts.verdict_model import VerdictModel
from support import made
from support.samples import BAND, FIELD, random_waves
from support.study_tables import study

CONDITION = Condition(
    energy_ev=300e3,
    aberrations={"C10": -80.0, "C12": 30.0, "phi12": 0.4, "C21": 900.0, "phi21": 1.0, "C30": 5e4, "C32": 1e4},
    focal_spread_angstrom=25.0,
    dose_per_angstrom2=400.0,
)


@pytest.fixture(scope="module")
def judge(scored_model):
    return VerdictModel(scored_model)


def test_shades_keep_the_order_and_turn_the_rows():
    image = np.array([[0.0, 1.0], [2.0, 3.0]], dtype=np.float32)
    shades = views.grey(image)
    assert shades.dtype == np.uint8
    assert shades[1, 0] < shades[1, 1] < shades[0, 0] < shades[0, 1]
    assert (views.grey(np.ones((4, 4), dtype=np.float32)) == 127).all()


def test_the_outline_of_a_disc_is_a_circle_where_the_disc_is():
    y, x = np.mgrid[:100, :100]
    radius = np.hypot(x - 30, y - 20)
    lines = views.outlines(1 / (1 + np.exp(radius - 10)), 0.5, 50.0)
    [xs], [ys] = lines["xs"], lines["ys"]
    assert np.allclose(np.hypot(xs - 15.25, ys - (50 - 10.25)), 5.0, atol=0.05)


def test_dice():
    a, b = np.array([1, 1, 0, 0], dtype=bool), np.array([1, 0, 1, 0], dtype=bool)
    assert views.dice(a, b) == 0.5
    assert views.dice(a & ~a, b & ~b) is None


def test_the_curve_lies_within_its_envelopes_and_its_training_band():
    round_ = Condition(energy_ev=300e3, aberrations={"C10": -80.0}, focal_spread_angstrom=25.0)
    curve = views.curve(round_)
    assert (np.abs(curve["transfer"]) <= curve["envelope"] + 1e-9).all()
    assert np.array_equal(curve["below"], -curve["envelope"])
    band = views.training_band([round_])
    for name in ("low", "middle", "high"):
        assert np.allclose(band[name], curve["magnitude"])
    assert all(len(values) == 0 for values in views.training_band([]).values())


def test_sliders_say_the_condition_that_they_were_put_to():
    values, has = sliders.positions(CONDITION), sliders.present(CONDITION)
    assert values["defocus"] == 80 and values["C30"] == 5 and not has["aperture_mrad"]
    again = sliders.condition_at(CONDITION, values, has, 0.4)
    assert again == CONDITION
    assert sliders.without_slider(CONDITION) == ["phi21", "C32"]
    with pytest.raises(BadInputError, match="focal_spread"):
        sliders.condition_at(CONDITION, values | {"focal_spread_angstrom": -1.0}, has, 0.4)


def test_the_condition_file_is_read_back_and_a_fault_names_its_line_and_no_path():
    assert sliders.from_yaml(sliders.in_yaml(CONDITION)) == CONDITION
    with pytest.raises(BadInputError, match=r"^condition file:2: .*defocuss"):
        sliders.from_yaml("energy_ev: 300000\ndefocuss: 3\n")


def test_the_live_verdict_agrees_with_that_of_check(judge):
    exact = VerdictModel(judge.model)
    for condition in (*made.draw(3, 99), judge.card.conditions[0]):
        assert np.allclose(judge.features(condition), exact.features(condition), rtol=2e-3, atol=2e-3)
        live, full = judge.check(condition, advised=False), exact.check(condition)
        assert (live.answer, live.prediction, live.reasons) == (full.answer, full.prediction, full.reasons)
        assert live.advice is None
        quick = judge.check(condition, explained=False, advised=False)
        assert quick.prediction == full.prediction and quick.reasons == () and quick.nearest is None
    far = Condition(energy_ev=200e3, dose_per_angstrom2=300.0)
    assert judge.check(far).answer == "cannot say"


def test_every_scored_condition_has_its_place_in_the_plane(judge):
    table = judge.calibration_table()
    assert len(table) == len(judge.scores)
    assert set(table["zone"]) <= {"stable", "degraded", "collapse"}
    sigma, epsilon = judge.position(judge.calibration[0])
    assert table["sigma"][0] == pytest.approx(sigma, abs=2e-3)
    assert table["epsilon"][0] == pytest.approx(epsilon, abs=2e-3)


def test_a_picture_is_the_same_twice_and_changes_with_its_condition():
    mask = np.zeros((PIXELS, PIXELS), dtype=bool)
    scene = Scene(SpecimenRecipe(field_angstrom=FIELD, particles=[{"crystal": "Au", "count": [0, 1], "diameter_angstrom": 9.0}]), random_waves(1), mask, ExitWaveConfig(band_per_angstrom=BAND))  # fmt: skip
    condition = CONDITION.model_copy(update={"pixel_size_angstrom": FIELD / PIXELS})
    first = scene.image(condition)
    assert first.shape == (PIXELS, PIXELS)
    assert np.array_equal(first, scene.image(condition))
    assert not np.array_equal(first, scene.image(condition.varied({"defocus": 200.0})))


def test_a_study_is_read_from_its_tables(tmp_path):
    pairs = views.study_pairs(StudyPaths(study(tmp_path)))
    assert len(pairs) == 4 and pairs["loss"].to_list() == [0.2, 0.4, 0.5, 0.2]
    assert pairs["ratio"][1] == pytest.approx((4 + 4 / 3) / 2)
    cells = views.matrix(pairs, "loss")
    assert cells["x"] == [0, 1, 0, 1] and cells["y"] == [0, 0, 1, 1] and cells["text"][1] == "0.40"


def test_a_folder_without_tables_or_with_others_is_one_line(tmp_path):
    with pytest.raises(BadInputError, match=r"has no scores.parquet; give the folder"):
        views.study_pairs(StudyPaths(tmp_path))
    study(tmp_path)
    StudyPaths(tmp_path).table("shift").write_bytes(b"no table")
    with pytest.raises(BadInputError, match=r"shift.parquet: cannot be read"):
        views.study_pairs(StudyPaths(tmp_path))
    pl.DataFrame({"x": [1]}).write_parquet(StudyPaths(tmp_path).table("shift"))
    with pytest.raises(BadInputError, match="not those of a study"):
        views.study_pairs(StudyPaths(tmp_path))


def test_a_fault_in_a_file_speaks_of_its_name_and_of_the_page(tmp_path):
    path = tmp_path / "0123.tif"
    path.write_bytes(b"no image")
    with pytest.raises(BadInputError) as caught:
        analyze.read(Upload(path, "gold.tif"))
    assert "gold.tif" in str(caught.value) and "0123" not in str(caught.value)


def test_what_comes_from_files_is_escaped():
    assert "<script" not in html.bullets(["<script>alert(1)</script>"]) + html.refusal("<script>") + html.note(
        "<script>"
    )


def test_one_thread_is_what_these_pictures_are_made_with():
    assert torch.get_num_threads() == 1
