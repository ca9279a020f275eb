"""Verdicts on a model whose law is known."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passband.base.errors import BadInputError
from passband.cli.main import app
from passband.cli.options import option
from passband.files.tables import parquet
from passband.micrographs.micrograph import Micrograph
from passband.models import network
from passband.models.store import PREDICTOR, SCORES, read_model
from passband.verdicts import domain, image_verdict
from passband.verdicts.calibrated_model import CalibratedModel
from passband.verdicts.calibration import with_scores
from passband.verdicts.features import SOURCES, TARGETS, as_measured, from_fitted
from passband.verdicts.statements import Statement
from passband.verdicts.summary import evaluate_held_out, in_words, summary
from passband.verdicts.verdict import Interval, Prediction, Verdict, works
from passband.verdicts.verdict_model import VerdictModel
from support import made


@pytest.fixture(scope="module")
def model(scored_model):
    return scored_model


@pytest.fixture(scope="module")
def judge(model):
    return VerdictModel(model)


def at(**changes):
    return made.BASE.varied({"dose_per_angstrom2": 1000.0, "C12": 20.0} | changes)


def test_it_holds_where_the_law_says_so(model):
    verdict = VerdictModel(model).check(at(defocus_angstrom=30.0))
    assert (verdict.answer, verdict.zone, verdict.advice) == ("yes", "stable", None)
    assert verdict.loss.low <= made.OWN <= verdict.loss.high
    assert verdict.loss.low < verdict.loss.predicted < verdict.loss.high
    assert verdict.dice.low < verdict.dice.predicted < verdict.dice.high
    assert sum(verdict.zone_shares.values()) == pytest.approx(1)
    assert verdict.nearest.training_condition in model.card.conditions


def test_it_does_not_where_the_law_says_so_and_another_defocus_is_advised(model):
    verdict = VerdictModel(model).check(at(defocus_angstrom=250.0))
    assert (verdict.answer, verdict.zone) == ("no", "collapse")
    assert verdict.advice.startswith("go to a defocus of")
    advised = float(verdict.advice.split("defocus of ")[1].split(" Å")[0])
    # Where the law's loss is some 1.5 times the own one, and no further off than need be.
    assert 100 <= advised <= 160
    assert any("aberrations are unlike" in str(why) for why in verdict.reasons)


def test_the_low_dose_is_the_reason(model):
    verdict = VerdictModel(model).check(at(defocus_angstrom=30.0, dose_per_angstrom2=101.0))
    assert verdict.answer == "no"
    assert any("dose is too low" in str(why) for why in verdict.reasons)


def test_pixels_are_brought_to_the_networks(model):
    fine, own = (VerdictModel(model).check(at(defocus_angstrom=30.0, pixel_size_angstrom=p)) for p in (0.2, 0.8))
    assert fine.loss == own.loss


@pytest.mark.parametrize("source", ["condition", "image1", "image48"])
def test_intervals_cover_held_out_conditions(model, source):
    found = evaluate_held_out(VerdictModel(model), source)
    assert found.asked >= 44
    # 90 % of some 50, give or take two and a half standard deviations.
    assert 0.8 <= found.coverage_loss <= 1.0
    assert found.r2_log_loss > 0.8
    assert found.right / found.asked > 0.75
    assert sum(sum(row.values()) for row in found.confusion.values()) == found.conditions


def test_the_summary_has_sentences_and_numbers(model):
    answer = summary(model)
    json.dumps(answer, allow_nan=False)
    assert answer["own_loss"] == pytest.approx(made.OWN, rel=0.5)
    assert any("held-out" in line for line in in_words(answer))


def test_a_model_without_scores_gives_no_verdict(tmp_path):
    with pytest.raises(BadInputError, match="has not been scored"):
        VerdictModel(made.bare_model(tmp_path / "bare"))


def test_the_verb(model, tmp_path, capsys):
    file = tmp_path / "condition.yaml"
    codes = {}
    for defocus in (30, 250, 900):
        file.write_text(
            f"energy_ev: 300000\ndefocus_angstrom: {defocus}\nfocal_spread_angstrom: 25\npixel_size_angstrom: 0.4\ndose_per_angstrom2: 1000\naberrations: {{C12: 20}}\n"
        )
        codes[defocus] = app(["check", str(model.folder), "--condition", str(file), "--json"], standalone_mode=False)
        answer = json.loads(capsys.readouterr().out)
        assert answer["answer"] == {30: "yes", 250: "no", 900: "cannot say"}[defocus]
    assert codes == {30: 0, 250: 1, 900: 1}
    assert app(["check", str(model.folder), "--condition", str(file)], standalone_mode=False) == 1
    assert "cannot say whether made works here:" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="either --condition or images"):
        app(["check", str(model.folder)], standalone_mode=False)


def relabelled(model, folder, **columns):
    """The model with other scores, and predictors fitted to them."""
    scores = model.scores.with_columns(**columns)
    bare = made.bare_model(folder)
    return with_scores(bare, scores)


def test_a_network_that_is_of_no_use_anywhere_does_not_hold(model, tmp_path):
    share = {name: pl.col(name) * 0.3 for name in model.scores.columns if name == "dice" or name.startswith("dice_")}
    useless = relabelled(model, tmp_path / "useless", **share)
    verdict = VerdictModel(useless).check(at(defocus_angstrom=30.0))
    assert (verdict.answer, verdict.zone) == ("no", "stable")
    assert "a Dice below 0.5 marks more wrongly than rightly" in str(verdict.reasons[0])
    assert verdict.advice.startswith("use another model")
    assert verdict.headline.startswith("no, made does not work: stable")


def test_the_nearest_defocus_that_holds_is_advised_and_more_dose_beside_it(model):
    verdict = VerdictModel(model).check(at(defocus_angstrom=150.0, dose_per_angstrom2=400.0))
    assert verdict.answer == "no"
    advised = float(verdict.advice.split("defocus of ")[1].split(" Å")[0])
    assert 40 <= advised <= 130
    low = VerdictModel(model).check(at(defocus_angstrom=30.0, dose_per_angstrom2=150.0))
    assert low.answer == "no" and "raise the dose to" in low.advice


@pytest.mark.slow
def test_a_network_studied_at_one_defocus_has_no_other_to_go_to(model, tmp_path):
    dose = made.draw(80, 8)
    same = [c.varied({"C10": -50.0}) for c in dose]
    conditions = [("trained", c) for c in model.card.conditions[:0]] + [("calibration", c) for c in same]
    bare = made.bare_model(tmp_path / "one", conditions=())
    one = with_scores(bare, made.scores(bare, conditions))
    verdict = VerdictModel(one).check(at(defocus_angstrom=50.0, dose_per_angstrom2=110.0))
    assert verdict.answer == "no" and verdict.trained is False
    assert "defocus" not in verdict.advice or "no defocus" in verdict.advice
    assert "best tenth of the calibration conditions" in str(verdict)


@pytest.mark.parametrize(
    ("shares", "answer", "words"),
    [
        ((0.97, 0.02, 0.01), "yes", "works"),
        ((0.6, 0.3, 0.1), "yes", "probably works"),
        ((0.35, 0.4, 0.25), "no", "probably does not work"),
        ((0.1, 0.1, 0.8), "no", "does not work"),
    ],
)
def test_what_is_not_sure_is_called_probable(shares, answer, words):
    shares = dict(zip(("stable", "degraded", "collapse"), shares, strict=True))
    number = Interval(0.2, 0.1, 0.3)
    assert works(answer, Prediction(max(shares, key=shares.get), shares, number, number)) == words


def test_options_of_an_image_are_refused_with_a_condition(model, tmp_path):
    with pytest.raises(BadInputError, match="--dose is of an image; with --condition put it into"):
        app(["check", str(model.folder), "--condition", str(tmp_path / "c.yaml"), "--dose", "3"], standalone_mode=False)


@pytest.fixture
def loaded(monkeypatch):
    """The networks that are loaded."""
    networks = []

    class Counted(network.Network):
        def __init__(self, model):
            networks.append(model.card.name)
            super().__init__(model)

    monkeypatch.setattr(network, "Network", Counted)
    return networks


def test_a_stack_loads_the_network_once_and_a_condition_never(model, loaded, tmp_path, capsys):
    model = read_model(model.folder)
    rng = np.random.default_rng(1)
    stack = rng.poisson(50.0, (3, 96, 96)).astype(np.float32)
    verdicts = VerdictModel(model)
    assert verdicts.check(at(defocus_angstrom=250.0)).answer == "no"
    assert loaded == []
    for image in stack:
        assert verdicts.check_image(Micrograph(image, 0.8, 300e3)).based_on == "image"
    assert loaded == ["made"]
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    words = ["check", str(model.folder), "--image", str(tmp_path / "stack.tif"), "--pixel-size", "0.8"]
    app([*words, "--frames", "each", "--json"], standalone_mode=False)
    assert len(json.loads(capsys.readouterr().out)["images"]) == 3
    assert loaded == ["made", "made"]


def test_calibration_conditions_are_projected_once(model, monkeypatch):
    projected = []
    monkeypatch.setattr(domain, "as_measured", lambda c, card: projected.append(c.id) or as_measured(c, card))
    verdicts = VerdictModel(model)
    assert verdicts.check(at(defocus_angstrom=250.0)).remedies
    assert all(projected.count(c.id) == 1 for c in verdicts.calibration)


def test_each_interface_names_parameters_in_its_own_way(model):
    verdict = VerdictModel(model).check(at(defocus_angstrom=30.0))
    assert "particles of Au (elements)" in str(verdict) and "--" not in str(verdict)
    assert "particles of Au (--element)" in verdict.text(option)
    assert "20 to 30 Å thick (--thickness)" in verdict.to_dict(option)["assumed"]
    assert [a.parameter for a in verdict.assumed] == ["elements", "support", "thickness_angstrom", "diameter_angstrom"]
    assert "(elements)" not in verdict._repr_html_() and "particles of Au" in verdict._repr_html_()


def test_statements_carry_their_numbers(model):
    verdict = VerdictModel(model).check(at(defocus_angstrom=900.0))
    [why] = verdict.cannot_say
    assert (why.kind, why.parameter, why.value) == ("outside", "defocus", 900.0)
    assert why.limit[0] < -280 and why.limit[1] > 280
    [reason] = [
        r
        for r in VerdictModel(model).check(at(defocus_angstrom=30.0, dose_per_angstrom2=101.0)).reasons
        if r.kind == "dose"
    ]
    assert reason.value == 101.0 and reason.limit > 101.0


def test_what_decides_comes_first_and_nothing_argues_against_the_answer(model):
    judge = VerdictModel(model)
    for defocus in (30.0, 250.0):
        verdict = judge.check(at(defocus_angstrom=defocus))
        lines = str(verdict).splitlines()
        relative = verdict.loss.predicted / verdict.in_domain_loss
        assert lines[1].startswith(f"the predicted loss is {relative:.1f} × the in-domain loss")
        assert [line.split()[1] for line in lines[2:4]] == ["loss", "Dice"]
        # A share of stable pairs is shown only beside an answer that it supports.
        for share, answer in ((0.9, "yes"), (0.1, "no")):
            near = replace(verdict.nearest, shares={"stable": share, "degraded": 1 - share, "collapse": 0.0})
            assert ("were stable in" in str(replace(verdict, nearest=near))) == (answer == verdict.answer)
        page = verdict._repr_html_()
        assert page.index("loss / in-domain loss") < page.index(">Dice<")


def test_single_fields_scatter_more_than_their_mean(model, tmp_path):
    """The Dice of one field deviates from the mean by a known law, in the logit."""
    rng = np.random.default_rng(5)
    error = np.log(1 / model.scores["dice"].to_numpy() - 1) + rng.normal(0, 0.5, len(model.scores))
    scores = model.scores.with_columns(dice_image1=pl.Series(1 / (1 + np.exp(error))))
    judge = VerdictModel(made.write_model(tmp_path / "spread", model.card, {
        name: (model.folder / name).read_bytes() if name != SCORES else parquet(scores) for name in model.card.files
    }))  # fmt: skip
    verdict = judge.check(at(defocus_angstrom=30.0))
    low, high = verdict.prediction.dice_of_one_field
    assert low < verdict.dice.low < verdict.dice.predicted < verdict.dice.high < high
    ends = [np.log(1 / d - 1) - np.log(1 / verdict.dice.predicted - 1) for d in (low, high)]
    assert ends == pytest.approx([0.5 * 1.645, -0.5 * 1.645], abs=0.25)
    assert f"90% of single fields lie within {low:.2f} to {high:.2f}" in str(verdict)


def test_an_image_is_judged_with_a_caution_that_the_results_bear_out(model):
    counts = np.random.default_rng(1).poisson(50.0, (96, 96)).astype(np.float32)
    verdict = VerdictModel(model).check_image(Micrograph(counts, 0.8, 300e3))
    if verdict.prediction is not None:
        assert "real images with labels" in str(verdict) and verdict.prediction.dice_of_one_field is None
    page = (Path(__file__).parents[2] / "docs/results/real_micrographs.md").read_text(encoding="utf-8")
    [(images, error)] = re.findall(r"^\| au-300kv \| (\d+) \| \d+ \| (0\.\d+) ", page, re.MULTILINE)
    caution = image_verdict._CAUTION
    assert (f"{float(error):.2f}", images) == (f"{caution.value:.2f}", str(caution.limit))


def altered(model, folder, change):
    """The model with another predictor.json, by somebody who can make checksums."""
    content = json.loads((model.folder / PREDICTOR).read_text())
    change(content)
    contents = {name: (model.folder / name).read_bytes() for name in model.card.files}
    return made.write_model(folder, model.card, contents | {PREDICTOR: json.dumps(content).encode()})


def column(**values):
    return lambda table: table.with_columns(**values)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.clear(),
        lambda c: c["loss_from_condition"].pop("names"),
        lambda c: c["loss_from_condition"].update(names=["a"]),
        lambda c: c["loss_from_condition"].update(noise=-1.0),
        lambda c: c["loss_from_condition"].update(noise="much"),
        lambda c: c["loss_from_condition"].update(lengths=[1.0]),
        lambda c: c["loss_from_condition"].update(lengths=[*c["loss_from_condition"]["lengths"][:-1], float("inf")]),
        lambda c: c["loss_from_condition"].update(residuals=[[1.0]]),
        lambda c: c["loss_from_condition"].update(amplitude=None),
        lambda c: c.update(loss_from_condition=3),
    ],
)
def test_predictors_that_do_not_fit_are_one_line(model, tmp_path, change):
    with pytest.raises(
        BadInputError, match=r"predictor.json: (does not fit the model|cannot be read).*get the model again"
    ):
        VerdictModel(altered(model, tmp_path / "altered", change)).check(at())


@pytest.mark.parametrize(
    "change",
    [
        column(condition=pl.lit("{")),
        column(condition=pl.lit('{"energy_ev": -1}')),
        column(condition=pl.lit("[]")),
        lambda table: table.drop("feature_epsilon"),
        lambda table: table.rename({"feature_epsilon": "feature_epsilom"}),
    ],
)
def test_scores_that_do_not_fit_are_one_line(model, tmp_path, change):
    contents = {name: (model.folder / name).read_bytes() for name in model.card.files}
    contents[SCORES] = parquet(change(model.scores))
    with pytest.raises(BadInputError, match="does not fit the model") as caught:
        VerdictModel(made.write_model(tmp_path / "altered", model.card, contents)).check(at())
    assert "\n" not in str(caught.value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(-300, 300), st.floats(100, 3000), st.floats(1.0, 3.0))
def test_a_more_tolerant_in_domain_loss_never_turns_yes_into_no(judge, defocus, dose, factor):
    condition = at(defocus_angstrom=defocus, dose_per_angstrom2=dose)
    strict, own = judge.check(condition, explained=False, advised=False), judge.in_domain_loss
    judge.in_domain_loss = own * factor
    try:
        tolerant = judge.check(condition, explained=False, advised=False)
    finally:
        judge.in_domain_loss = own
    order = ("no", "yes")
    if strict.answer != "cannot say":
        assert order.index(tolerant.answer) >= order.index(strict.answer)
        assert tolerant.zone_shares["stable"] >= strict.zone_shares["stable"]
        assert tolerant.dice == strict.dice


REACH = {"defocus_angstrom": 3000.0, "C12": 3000.0, "C30": 1e7, "convergence_mrad": 3.0, "drift_angstrom": 3.0}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(REACH)), st.floats(0, 1), st.floats(0, 1))
def test_what_lies_further_out_is_not_inside_again(judge, name, one, other):
    near, far = (judge.domain.objections(at(**{name: REACH[name] * share})) for share in sorted((one, other)))
    assert far or not near


def test_html_is_escaped():
    verdict = Verdict("<script>", "cannot say", cannot_say=(Statement("no_rings", value="<b>"),))
    assert "<script>" not in verdict._repr_html_() and "<b>:" not in verdict._repr_html_()
    assert "&lt;b&gt;" in verdict._repr_html_()


def test_the_json_form_keeps_its_keys(model):
    keys = "model answer zone zone_shares loss dice instance_f1 surface_dice own_loss trained level dice_of_one_field caution reasons cannot_say assumed nearest advice based_on estimated"
    for defocus in (30.0, 250.0, 900.0):
        content = VerdictModel(model).check(at(defocus_angstrom=defocus)).to_dict()
        json.dumps(content, allow_nan=False)
        assert list(content) == keys.split()
        if content["loss"]:
            assert set(content["loss"]) == set(content["dice"]) == {"predicted", "low", "high"}
            assert set(content["nearest"]) == {"training_condition", "where", "pairs", "shares", "metrics"}


def test_where_two_networks_disagree_nothing_can_be_said(model, tmp_path):
    """Of 100 calibration images the disagreement is 0.01 to 1: above 0.95 there is no verdict."""
    rows = model.scores.with_row_index()
    for source in SOURCES[1:]:
        more = [[*f, math.log((i % 100 + 1) / 100)] for f, i in zip(rows[source], rows["index"], strict=True)]
        rows = rows.with_columns(pl.Series(source, more))
    bare = made.bare_model(tmp_path / "two")
    judge = CalibratedModel(with_scores(bare, rows.drop("index").filter(pl.col("role") != "held_out")))
    usual = np.array(judge.scores[SOURCES[1]].to_list()).mean(0)
    for disagreement, kinds in ((0.5, []), (0.99, ["networks_disagree"])):
        seen = np.append(usual[:-1], math.log(disagreement))[None]
        assert [s.kind for s in judge._disagreement(seen, SOURCES[1])] == kinds
    assert not judge._disagreement(usual[None, :-1], SOURCES[1])


def test_instance_f1_and_surface_dice_are_predicted_beside_dice(model, tmp_path):
    """They follow the loss by laws: F1 exp(−2 loss), surface Dice exp(−3 loss)."""
    verdict = VerdictModel(model).check(at(defocus_angstrom=100.0))
    for value, factor in ((verdict.instance_f1, 2), (verdict.surface_dice, 3)):
        assert value.predicted == pytest.approx(np.exp(-factor * verdict.loss.predicted), abs=0.02)
        assert value.low < value.predicted < value.high
    assert f"predicted instance F1 {verdict.instance_f1.predicted:.3f}, 90% of such cases within" in str(verdict)
    assert "<td>surface Dice within 2 Å</td>" in verdict._repr_html_()
    assert verdict.to_dict()["surface_dice"]["high"] == verdict.surface_dice.high
    older = model.scores.select(~pl.selectors.starts_with("instance_f1", "surface_dice"))
    verdict = VerdictModel(with_scores(made.bare_model(tmp_path / "older"), older)).check(at(defocus_angstrom=100.0))
    assert verdict.instance_f1 is None and verdict.to_dict()["surface_dice"] is None and verdict.dice is not None
    assert "instance F1" not in str(verdict) + verdict._repr_html_()


@pytest.mark.parametrize("target", TARGETS)
def test_fitted_values_are_turned_back(target):
    values = np.array([0.002, 0.3, 0.99])
    assert from_fitted(target, TARGETS[target](values)) == pytest.approx(values)
    if target in ("instance_f1", "surface_dice"):
        assert from_fitted(target, TARGETS[target](np.array([0.0, 1.0]))) == pytest.approx([0, 1])
