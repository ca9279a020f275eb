"""From what a session may meet to training conditions, and from those to a model."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from passband.analysis.loss_prediction import worst_losses
from passband.base.errors import BadInputError
from passband.cli.main import app
from passband.models.store import load_model
from passband.specimens.recipe_files import load_recipe
from passband.studies.study import load_study
from passband.verdicts import set_loss
from passband.verdicts.design import band_of, design, load_session

TABLES = Path(__file__).parents[2] / "docs" / "results" / "tables"
SESSION = """
base: {energy_ev: 300000, pixel_size_angstrom: 0.4, focal_spread_angstrom: 25.0}
draw:
  defocus_angstrom: {uniform: [-150, 150]}
  C12: {uniform: [0, 40]}
  dose_per_angstrom2: {log_uniform: [300, 800]}
"""
RECIPE = """
seed: 5
field_angstrom: 25.6
particles: {crystal: Au, count: [1, 1], diameter_angstrom: [12.0, 16.0]}
substrate: {material: carbon, thickness_angstrom: [8.0, 12.0]}
"""


@pytest.fixture
def session(tmp_path):
    path = tmp_path / "session.yaml"
    path.write_text(SESSION)
    return path


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_what_is_expected_of_sets(session):
    source = load_session(session)
    found = design(source, 4, band_of(source), load_recipe("gold_on_carbon"), "uniform")
    assert found.method == "uniform" and len({c.id for c in found.conditions}) == 4
    assert set(found.expected) == {"guided", "uniform", "single"}
    # What the standard results found: several conditions are better than one, in the mean and for the worst.
    uniform, single = found.expected["uniform"], found.expected["single"]
    for score in ("mean", "worst"):
        assert uniform[score].loss < single[score].loss and uniform[score].dice > single[score].dice
        assert uniform[score].over_uniform == 1
    for scores in found.expected.values():
        assert scores["mean"].loss < scores["worst"].loss and 1 > scores["mean"].dice > scores["worst"].dice > 0
        assert all(v.low < v.loss < v.high for v in scores.values())
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["expected"]["guided"]["worst"]["loss"] == found.expected["guided"]["worst"].loss
    assert f"{uniform['mean'].dice:.2f}" in str(found) and "Dice, mean" in str(found)


@pytest.mark.slow
def test_the_predicted_choice_is_the_best_of_the_draws_where_the_law_knows_the_session(session):
    recipe = load_recipe("gold_on_carbon")
    source = load_session(session)
    found = design(source, 3, band_of(source), recipe)
    assert found.method == "predicted" and len(found.conditions) == 3
    met = source.model_copy(update={"count": 64, "seed": source.seed + 1, "method": "sobol"}).conditions()
    drawn = design(source, 3, band_of(source), recipe, "uniform").conditions
    predicted, uniform = worst_losses([found.conditions, drawn], met, recipe)
    assert predicted < uniform
    session.write_text(SESSION.replace("pixel_size_angstrom: 0.4", "pixel_size_angstrom: 0.8"))
    coarse = load_session(session)
    assert design(coarse, 3, band_of(coarse), recipe).method == "uniform"


def test_the_dice_of_a_loss_is_that_of_the_networks_of_the_standard_results():
    scores = pl.read_parquet(TABLES / "training_sets" / "scores.parquet")
    facts = set_loss.learnt_facts()
    assert set_loss.dice_of_loss(scores) == {name: facts[name] for name in ("curve_loss", "curve_dice")}
    assert np.all(np.diff(facts["curve_dice"]) <= 0)
    predicted = np.interp(scores["loss"], facts["curve_loss"], facts["curve_dice"])
    assert abs(float((predicted - scores["dice"]).mean())) < 0.005
    assert float((scores["dice"] - predicted).std()) < 0.5 * float(scores["dice"].std())


def test_nothing_is_expected_where_nothing_was_studied(session):
    session.write_text(SESSION.replace("[300, 800]", "[3, 8]"))
    found = design(load_session(session), 2, 1.0, load_recipe("gold_on_carbon"), "uniform")
    assert found.expected is None and found.to_dict()["expected"] is None
    assert any(str(why).startswith("dose of 100%") for why in found.cannot_say)
    assert "its loss cannot be predicted: dose of 100%" in str(found)


def test_the_trees_predict_sets_that_they_have_not_seen():
    table = set_loss.learnt()
    names = sorted(table["train_condition"].unique())
    held = set(names[::5])
    x = set_loss._matrix
    seen, kept = (table.filter(pl.col("train_condition").is_in(held) ^ flag) for flag in (True, False))
    trees = set_loss._trees().fit(x(seen), np.log(seen["loss"].to_numpy()))
    found = (
        kept.with_columns(predicted=np.exp(trees.predict(x(kept))))
        .group_by("train_condition")
        .agg(pl.col("loss").mean(), pl.col("predicted").mean())
    )
    low, high = set_loss.learnt_facts()["mean"]
    factor = (found["loss"] / found["predicted"]).to_numpy()
    assert ((factor >= low) & (factor <= high)).mean() >= 0.7
    assert np.corrcoef(found["loss"], found["predicted"])[0, 1] > 0.7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("base: {energy_ev: 300000}\nvary: {C10: [0, 10]}", "lists its conditions by `vary`"),
        ("energy_ev: 300000", "is no distribution of conditions"),
        (SESSION + "  pixel_size_angstrom: {uniform: [0.2, 0.4]}", "has pixels of several sizes"),
        (SESSION.replace("uniform: [-150", "unifrom: [-150"), "unifrom"),
    ],
)
def test_what_is_no_session(session, content, message):
    session.write_text(content)
    with pytest.raises(BadInputError, match=message):
        load_session(session)


@pytest.mark.slow
def test_from_a_session_to_a_model(session, recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "models"))
    file = tmp_path / "small.yaml"
    order = ["design", str(session), "--recipe", str(recipe), "--count", "2", "--method", "uniform", "--out", str(file)]
    app([*order, "--json"], standalone_mode=False)
    answer = json.loads(capsys.readouterr().out)
    study = load_study(file)
    assert [t.id for t in study.trainings] == ["designed-2-0"]
    assert [c.to_dict() for c in study.trainings[0].conditions] == answer["conditions"]
    with pytest.raises(BadInputError, match="exists; choose another name with --out"):
        app(order, standalone_mode=False)
    # As small as it goes.
    content = yaml.safe_load(file.read_text())
    content["conditions"]["count"] = 2
    content |= {"split": {"train": 8, "validation": 2, "test": 3}, "exit_waves": {"phonon_configurations": 1}}
    content |= {"network": {"widths": [4, 8]}, "training": {"epochs": 1}}
    file.write_text(yaml.safe_dump(content))
    train = [
        "train",
        "--condition",
        str(file),
        "--out",
        str(tmp_path / "runs" / "small"),
        "--score-on",
        "64",
        "--workers",
        "1",
    ]
    app([*train, "--json"], standalone_mode=False)
    trained = json.loads(capsys.readouterr().out)
    assert trained["scores"]["held_out"]["conditions"] == 16
    assert trained["scores"]["trained"]["conditions"] == 2
    assert trained["specimens"]["elements"] == ["Au"]
    assert load_model("small").card.name == "small"
    with pytest.raises(BadInputError, match="exists; choose another name, or delete the folder first"):
        app(train, standalone_mode=False)
