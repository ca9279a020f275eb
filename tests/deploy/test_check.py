"""Verdicts on a model whose law is known."""

import json

import pytest

from deploy import made
from passband.cli import app
from passband.deploy.check import check_condition
from passband.deploy.summary import in_words, judged, summary
from passband.errors import BadInputError


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
    assert abs(advised) < 150
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
