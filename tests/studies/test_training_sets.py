import polars as pl
import pytest

from passband.conditions import Condition
from passband.conditions.sets import ConditionDraw
from passband.metrics import information
from passband.studies.study import dump_study, load_study
from passband.studies.training_sets import TrainingSets, choose_sets
from support.studies import TINY, run

SOURCE = ConditionDraw(
    base=Condition(energy_ev=300e3, focal_spread_angstrom=20.0),
    draw={"defocus_angstrom": {"uniform": [-200.0, 200.0]}, "C30": {"uniform": [-2e5, 2e5]}},
    count=8,
    seed=3,
)


def sets(**plans):
    return {
        name: found
        for name, (_, found) in choose_sets({n: TrainingSets(**p) for n, p in plans.items()}, SOURCE, 1.0).items()
    }


def test_a_set_for_each_size_and_draw():
    found = sets(uniform={"sizes": [1, 3], "draws": 2}, guided={"sizes": [3], "method": "guided"})
    assert list(found) == ["uniform-1-0", "uniform-1-1", "uniform-3-0", "uniform-3-1", "guided-3-0"]
    assert [len(s) for s in found.values()] == [1, 1, 3, 3, 3]
    assert len({c.id for s in found.values() for c in s}) == 11


def test_the_same_sets_every_time_and_none_of_the_test_conditions():
    plans = {
        "uniform": {"sizes": [8], "draws": 2},
        "sobol": {"sizes": [8], "method": "sobol"},
        "guided": {"sizes": [4], "method": "guided"},
    }
    found, again = sets(**plans), sets(**plans)
    assert found == again
    tested = {c.id for c in SOURCE.conditions()}
    assert not tested & {c.id for s in found.values() for c in s}


def test_by_falling_epsilon_and_spread_over_it():
    found = sets(uniform={"sizes": [8]}, guided={"sizes": [8], "method": "guided"})
    for own in found.values():
        epsilon = information(own, 1.0).tolist()
        assert epsilon == sorted(epsilon, reverse=True)
    low, high = (information(found["guided-8-0"], 1.0)[i].item() for i in (-1, 0))
    everywhere = information(SOURCE.model_copy(update={"count": 256}).conditions(), 1.0)
    assert low < everywhere.quantile(0.15)
    assert high > everywhere.quantile(0.85)


def test_an_order_does_not_change_the_conditions():
    found = sets(
        a={"sizes": [4], "method": "guided"}, b={"sizes": [4], "method": "guided", "order": "high_epsilon_first"}
    )
    assert found["a-4-0"] == found["b-4-0"]


def test_bad_plans():
    for plan in (
        {"sizes": []},
        {"sizes": [0]},
        {"sizes": [2], "method": "best"},
        {"sizes": [2], "draws": 0},
        {"sizes": [2], "odd": 1},
    ):
        with pytest.raises(ValueError):
            TrainingSets(**plan)


def test_a_set_that_is_given():
    conditions = SOURCE.conditions()[:3]
    found = sets(mine={"conditions": conditions})
    assert list(found) == ["mine-3-0"]
    assert {c.id for c in found["mine-3-0"]} == {c.id for c in conditions}
    for wrong in (
        {},
        {"conditions": conditions, "sizes": [2]},
        {"conditions": conditions, "draws": 2},
        {"conditions": [*conditions, conditions[0]]},
    ):
        with pytest.raises(ValueError, match="either sizes|is not drawn|lists one twice"):
            TrainingSets(**wrong)
    given, chosen = TrainingSets(conditions=tuple(conditions)), TrainingSets(sizes=(2,))
    assert "sizes" not in given.model_dump() and "conditions" not in chosen.model_dump()
    assert TrainingSets(**given.model_dump()) == given


def test_a_set_that_is_given_as_what_varies():
    base = SOURCE.base.to_dict()
    varied = TrainingSets(conditions={"base": base, "vary": {"dose_per_angstrom2": [100.0, 200.0]}})
    assert [c.dose_per_angstrom2 for c in varied.conditions] == [100.0, 200.0]
    drawn = TrainingSets(conditions={"base": base, "draw": {"C30": [-1e5, 1e5]}, "count": 5})
    assert len(drawn.conditions) == 5
    assert TrainingSets(**drawn.model_dump()) == drawn


OTHERS = TINY.replace(
    "split:",
    """training_sets:
  same: {conditions: [&c {energy_ev: 300000, dose_per_angstrom2: 500}]}
  thick: {conditions: [*c], specimens: thick.yaml}
split:""",
)
THICK = """seed: 3
field_angstrom: 19.2
particles: {count: [1, 1], diameter_angstrom: [8.5, 9.5]}
substrate: {thickness_angstrom: [30.0, 40.0]}
"""


def test_a_set_may_have_specimens_of_its_own(tmp_path):
    (tmp_path / "small.yaml").write_text(OTHERS)
    (tmp_path / "thick.yaml").write_text(THICK)
    config = load_study(tmp_path / "small.yaml")
    assert [r.substrate.thickness_angstrom.bounds() for r in config.all_recipes] == [(4.0, 5.0), (30.0, 40.0)]
    assert [t.recipe for t in config.trainings] == config.all_recipes
    assert all(t.recipe == config.specimens for t in config.tests)
    (tmp_path / "dump.yaml").write_text(dump_study(config))
    assert load_study(tmp_path / "dump.yaml").id == config.id
    run(config, tmp_path / "runs/small")
    assert len(list((tmp_path / "runs/exit_waves").iterdir())) == 2
    scores = pl.read_parquet(tmp_path / "runs/small/scores.parquet")
    assert scores["train_condition"].unique(maintain_order=True).to_list() == ["same-1-0", "thick-1-0"]
    of_each = scores.partition_by("train_condition")
    assert of_each[0]["loss"].to_list() != of_each[1]["loss"].to_list()
