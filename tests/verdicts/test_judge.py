"""Verdicts on a model whose law is known."""

import json

import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.cli import micrograph_verbs
from passband.cli.main import app
from passband.verdicts.calibration import with_scores
from passband.verdicts.judge import check_condition
from passband.verdicts.summary import in_words, judged, summary
from passband.verdicts.zones import holds
from support import made


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made.scored_model(tmp_path_factory.mktemp("models") / "made")


def at(**changes):
    return made.BASE.varied({"dose_per_angstrom2": 1000.0, "C12": 20.0} | changes)


def test_it_holds_where_the_law_says_so(model):
    verdict = check_condition(model, at(defocus_angstrom=30.0))
    assert (verdict.answer, verdict.zone, verdict.advice) == ("yes", "stable", None)
    assert verdict.loss["low"] <= made.OWN <= verdict.loss["high"]
    assert verdict.loss["low"] < verdict.loss["predicted"] < verdict.loss["high"]
    assert verdict.dice["low"] < verdict.dice["predicted"] < verdict.dice["high"]
    assert sum(verdict.zone_shares.values()) == pytest.approx(1)
    assert verdict.nearest["training_condition"] in [c.to_dict() for c in model.card.conditions]


def test_it_does_not_where_the_law_says_so_and_another_defocus_is_advised(model):
    verdict = check_condition(model, at(defocus_angstrom=250.0))
    assert (verdict.answer, verdict.zone) == ("no", "collapse")
    assert verdict.advice.startswith("go to a defocus of")
    advised = float(verdict.advice.split("defocus of ")[1].split(" Å")[0])
    # Where the law's loss is some 1.5 times the own one, and no further off than need be.
    assert 100 <= advised <= 160
    assert any("aberrations are unlike" in why for why in verdict.reasons)


def test_the_low_dose_is_the_reason(model):
    verdict = check_condition(model, at(defocus_angstrom=30.0, dose_per_angstrom2=101.0))
    assert verdict.answer == "no"
    assert any("dose is too low" in why for why in verdict.reasons)


def test_pixels_are_brought_to_the_networks(model):
    fine, own = (check_condition(model, at(defocus_angstrom=30.0, pixel_size_angstrom=p)) for p in (0.2, 0.8))
    assert fine.loss == own.loss


@pytest.mark.parametrize("source", ["condition", "image1", "image48"])
def test_intervals_hold_on_conditions_kept_back(model, source):
    found = judged(model, source)
    assert found["asked"] >= 44
    # 90 % of some 50, give or take two and a half standard deviations.
    assert 0.8 <= found["coverage_loss"] <= 1.0
    assert found["r2_log_loss"] > 0.8
    right = sum(found["confusion"][zone][zone] for zone in ("stable", "degraded", "collapse"))
    assert right / found["asked"] > 0.75
    assert sum(sum(row.values()) for row in found["confusion"].values()) == found["conditions"]


def test_the_summary_is_words_and_numbers(model):
    answer = summary(model)
    json.dumps(answer, allow_nan=False)
    assert answer["own_loss"] == pytest.approx(made.OWN, rel=0.5)
    assert any("kept back" in line for line in in_words(answer))


def test_a_model_without_scores_gives_no_verdict(tmp_path):
    with pytest.raises(BadInputError, match="has not been scored"):
        check_condition(made.bare_model(tmp_path / "bare"), at())


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
    assert "cannot say whether made holds:" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="either --condition or --image"):
        app(["check", str(model.folder)], standalone_mode=False)


def relabelled(model, folder, **columns):
    """The model with other scores, and predictors fitted to them."""
    scores = model.scores.with_columns(**columns)
    bare = made.bare_model(folder)
    return with_scores(bare, scores)


def test_a_network_that_is_of_no_use_anywhere_does_not_hold(model, tmp_path):
    share = {name: pl.col(name) * 0.3 for name in model.scores.columns if name == "dice" or name.startswith("dice_")}
    useless = relabelled(model, tmp_path / "useless", **share)
    verdict = check_condition(useless, at(defocus_angstrom=30.0))
    assert (verdict.answer, verdict.zone) == ("no", "stable")
    assert "a Dice below 0.5 marks more wrongly than rightly" in verdict.reasons[0]
    assert verdict.advice.startswith("use another model")
    assert "no, made does not hold: stable" in micrograph_verbs.in_words(verdict.to_dict())[0]


def test_the_nearest_defocus_that_holds_is_advised_and_more_dose_beside_it(model):
    verdict = check_condition(model, at(defocus_angstrom=150.0, dose_per_angstrom2=400.0))
    assert verdict.answer == "no"
    advised = float(verdict.advice.split("defocus of ")[1].split(" Å")[0])
    assert 40 <= advised <= 130
    low = check_condition(model, at(defocus_angstrom=30.0, dose_per_angstrom2=150.0))
    assert low.answer == "no" and "raise the dose to" in low.advice


def test_a_network_studied_at_one_defocus_has_no_other_to_go_to(model, tmp_path):
    dose = made.draw(80, 8)
    same = [c.varied({"C10": -50.0}) for c in dose]
    conditions = [("trained", c) for c in model.card.conditions[:0]] + [("calibration", c) for c in same]
    bare = made.bare_model(tmp_path / "one", conditions=())
    one = with_scores(bare, made.scores(bare, conditions))
    verdict = check_condition(one, at(defocus_angstrom=50.0, dose_per_angstrom2=110.0))
    assert verdict.answer == "no" and verdict.trained is False
    assert "defocus" not in verdict.advice or "no defocus" in verdict.advice
    assert "of the best tenth of those scored" in "\n".join(micrograph_verbs.in_words(verdict.to_dict()))


@pytest.mark.parametrize(
    ("shares", "answer", "words"),
    [
        ((0.97, 0.02, 0.01), "yes", "holds"),
        ((0.6, 0.3, 0.1), "yes", "probably holds"),
        ((0.35, 0.4, 0.25), "no", "probably does not hold"),
        ((0.1, 0.1, 0.8), "no", "does not hold"),
    ],
)
def test_what_is_not_sure_is_called_probable(shares, answer, words):
    shares = dict(zip(("stable", "degraded", "collapse"), shares, strict=True))
    assert holds({"answer": answer, "zone": max(shares, key=shares.get), "zone_shares": shares}) == words


def test_options_of_an_image_are_refused_with_a_condition(model, tmp_path):
    with pytest.raises(BadInputError, match="--dose is of an image; with --condition put it into"):
        app(["check", str(model.folder), "--condition", str(tmp_path / "c.yaml"), "--dose", "3"], standalone_mode=False)
