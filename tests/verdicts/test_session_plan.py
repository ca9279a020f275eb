"""The plane of a session: every point is the verdict of a single check, the ranges follow from a known law."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.verdicts.session_plan import plan_session
from passband.verdicts.verdict_model import VerdictModel
from passband.verdicts.zones import zones
from support import made

DEFOCI, DOSES = [-290.0, -150.0, -40.0, 0.0, 60.0, 140.0, 290.0, 1500.0], [20.0, 150.0, 600.0, 2500.0]
MICROSCOPE = made.BASE.varied({"C12": 20.0})


@pytest.fixture(scope="module")
def judge(scored_model):
    return VerdictModel(scored_model)


@pytest.fixture(scope="module")
def plan(judge):
    return plan_session([judge], MICROSCOPE, DEFOCI, DOSES)


def test_each_point_is_the_verdict_of_a_single_check(plan, scored_model):
    single = VerdictModel(scored_model)
    assert plan.plane.select("dose_per_angstrom2", "defocus_angstrom").rows() == [(y, x) for y in DOSES for x in DEFOCI]
    for row in plan.plane.iter_rows(named=True):
        condition = MICROSCOPE.varied(defocus=row["defocus_angstrom"], dose=row["dose_per_angstrom2"])
        verdict = single.check(condition, explained=False, advised=False)
        assert row["answer"] == verdict.answer
        if verdict.dice is None:
            assert row["dice"] is None and row["cannot_say"] == "; ".join(map(str, verdict.cannot_say))
            continue
        assert row["cannot_say"] is None
        numbers = row["dice"], row["dice_low"], row["dice_high"], row["relative_loss"], row["probability"]
        relative = verdict.loss.predicted / verdict.in_domain_loss
        assert numbers == pytest.approx(
            (verdict.dice.predicted, verdict.dice.low, verdict.dice.high, relative, verdict.zone_shares["stable"]),
            rel=1e-9,
        )
    assert {"yes", "no", "cannot say"} == set(plan.plane["answer"])


def test_recommended_defoci_follow_the_law(judge):
    """All that is recommended works by the law of the made model, and so does nothing that is not predicted to."""
    plan = plan_session([judge], MICROSCOPE, (-300.0, 300.0), [200.0, 1000.0, 2500.0])
    for row in plan.plane.filter(pl.col("answer") != "cannot say").iter_rows(named=True):
        rise = (max(abs(row["defocus_angstrom"]) - 80, 0) / 120) ** 2
        relative = math.exp(rise + 0.3 * max(math.log(1000 / row["dose_per_angstrom2"]), 0))
        if row["recommended"]:
            assert relative < 1.05 * zones().stable_up_to
        elif relative < 0.8 * zones().stable_up_to:
            assert row["answer"] == "yes"
    low, high = plan.ranges[-1].defocus_ranges_angstrom[-1]
    assert low <= plan.ranges[-1].best_defocus_angstrom <= high
    for r in plan.ranges:
        for low, high in r.defocus_ranges_angstrom:
            inside = plan.plane.filter(
                pl.col("defocus_angstrom").is_between(low, high), pl.col("dose_per_angstrom2") == r.dose_per_angstrom2
            )
            assert inside["recommended"].all() and (inside["answer"] == "yes").all()
            assert (inside["probability"] >= 0.8).all()
    listed = sum((r.defocus_ranges_angstrom for r in plan.ranges), ())
    marked = plan.plane.filter("recommended")
    assert listed and all(any(lo <= x <= hi for lo, hi in listed) for x in marked["defocus_angstrom"])
    assert plan.works and f"{high:+.0f}" in str(plan).replace("−", "-")
    assert len(str(plan).splitlines()) <= 4


def test_ranges_become_round_axes(judge):
    plane = plan_session([judge], MICROSCOPE, (-300, 300), (50, 2000)).plane
    defoci, doses = (plane[name].unique().sort().to_list() for name in ("defocus_angstrom", "dose_per_angstrom2"))
    assert defoci == list(range(-300, 301, 10))
    assert (doses[0], doses[-1], len(doses)) == (50, 2000, 13)
    assert np.allclose(np.diff(np.log(doses)), math.log(40) / 12, atol=0.01)
    odd = (
        plan_session([judge], MICROSCOPE, (-3.3, 100.7), [100.0, 200.0])
        .plane["defocus_angstrom"]
        .unique()
        .sort()
        .to_list()
    )
    assert odd[:3] == [-3.3, -2.0, 0.0] and odd[-2:] == [100.0, 100.7]
    around = plan_session([judge], MICROSCOPE.varied(defocus=60.0)).plane["defocus_angstrom"]
    assert (around.min(), around.max()) == (-240, 360)


def test_of_several_models_the_better_one_counts(judge, tmp_path):
    """A second model of which all is known but that its Dice is lower and its domain wider."""
    other = VerdictModel(made.scored_model(tmp_path / "other", name="other"))
    both = plan_session([judge, other], MICROSCOPE, DEFOCI, DOSES)
    assert both.models == ("made", "other") and len(both.table) == 2 * len(both.plane) == 2 * len(DEFOCI) * len(DOSES)
    rank = {"yes": 2, "no": 1, "cannot say": 0}
    for (x, y), rows in both.table.group_by("defocus_angstrom", "dose_per_angstrom2"):
        best = rows.filter("better").row(0, named=True)
        assert len(rows.filter("better")) == 1, (x, y)
        for row in rows.iter_rows(named=True):
            a, b = ((rank[r["answer"]], r["recommended"], r["dice"] or 0.0) for r in (best, row))
            assert a >= b


def test_nowhere_is_said_with_the_best_there_is(judge):
    plan = plan_session([judge], MICROSCOPE, [250.0, 270.0, 290.0], [110.0, 120.0])
    best = plan.plane.sort("dice").row(-1, named=True)
    assert not plan.works and not any(r.defocus_ranges_angstrom for r in plan.ranges)
    assert f"works nowhere on this plane; the highest predicted Dice is {best['dice']:.2f}" in str(plan)


def test_files_hold_the_plan(plan, tmp_path):
    files = plan.save(tmp_path / "new")
    assert pl.read_parquet(files["parquet"]).equals(plan.table) and len(pl.read_csv(files["csv"])) == len(plan.table)
    page = (tmp_path / "new" / "plan.html").read_text()
    assert "Recommended defocus by dose" in page and "data:image/png" in page and "http" not in page
    with Image.open(files["png"]) as picture:
        assert min(picture.size) > 600
    answer = json.loads(json.dumps(plan.to_dict()))
    assert answer["works"] and len(answer["ranges"]) == len(DOSES)
    assert Condition(**answer["condition"]) == MICROSCOPE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"defocus": (300, -300)}, r"defocus 300:-300 is no range; give the lower end first, such as -300:300"),
        ({"defocus": (5, 5)}, "is no range"),
        ({"dose": (0, 100)}, "dose 0 is outside 0.001 to"),
        ({"dose": (50, math.nan)}, "dose nan is outside"),
        ({"defocus": (-math.inf, 0)}, "defocus -inf is outside"),
        ({"defocus": []}, "a plane needs two values or more"),
        ({"dose": [400.0]}, "dose 400.0: a plane needs two values or more"),
        ({"defocus": ["a", 3, 4]}, "defocus a is outside"),
        ({"defocus": list(range(201)), "dose": list(range(1, 102))}, "20301 points, and up to 20000"),
        ({"condition": Condition(energy_ev=200e3)}, r"energy is 200 kV, .*\(made 300 kV\); choose a model"),
    ],
)
def test_what_is_no_plane_is_one_line(judge, change, message):
    given = {"condition": MICROSCOPE, "defocus": (-300, 300), "dose": (50, 2000)} | change
    with pytest.raises(BadInputError, match=message):
        plan_session([judge], **given)


def test_one_model_twice_is_refused(judge):
    with pytest.raises(BadInputError, match="one is given twice"):
        plan_session([judge, judge], MICROSCOPE)


def test_a_model_without_scores_names_the_command(tmp_path):
    with pytest.raises(BadInputError, match="score it first: passband model score bare"):
        VerdictModel(made.bare_model(tmp_path / "bare", name="bare"))


def test_command(call, scored_model):
    made_model = scored_model.folder
    Path("c.yaml").write_text(str(MICROSCOPE))
    words = ("plan-session", made_model, "--condition", "c.yaml", "--dose", "500:2500")
    code, out, err = call(*words, "--defocus", "-150:150")
    assert code == 0, err
    assert out.splitlines()[1].startswith("  record at a defocus of −") and "plan.html" in out
    code, out, _ = call(*words, "--defocus", "260:290", "--out", "nowhere", "--json")
    answer = json.loads(out)
    assert code == 1 and not answer["works"] and set(answer["files"]) == {"png", "html", "parquet", "csv"}
    code, out, err = call(*words, "--defocus", "300:-300", "--out", "none")
    assert code == 2 and "--defocus 300:-300 is no range" in err and len(err.splitlines()) == 1
    code, _, err = call(*words, "--defocus", "wide")
    assert code == 2 and "--defocus wide: is not LOW:HIGH" in err
