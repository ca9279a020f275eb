"""A condition for every image: more images only add, distributions hold, sources share alike."""

import numpy as np
import pytest
import yaml

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.sets import ConditionDraw, ConditionGrid, ConditionMixture
from passband.studies.image_conditions import conditions_of_images, given_conditions, read_conditions

BASE = {"energy_ev": 300000, "pixel_size_angstrom": 0.4}
DRAW = {"defocus_angstrom": {"normal": [50, 20]}, "C12": [0, 40], "dose_per_angstrom2": {"values": [100, 1000]}}
MIXTURE = [
    {"weight": 3, "base": BASE, "draw": {"C12": [0, 10]}},
    {"weight": 1, "base": BASE, "draw": {"C12": [90, 99]}},
]
SOURCES = {
    "draw": ConditionDraw(base=BASE, draw=DRAW),
    "random": ConditionDraw(base=BASE, draw=DRAW, method="random"),
    "mixture": ConditionMixture(mixture=MIXTURE),
    "grid": ConditionGrid(base=BASE, vary={"C12": [0, 10, 20]}),
    "several": [Condition(**BASE), ConditionDraw(base=BASE, draw=DRAW)],
}


@pytest.mark.parametrize("name", SOURCES)
def test_more_images_only_add(name):
    sources = given_conditions(SOURCES[name])
    many = conditions_of_images(sources, 100, 7)
    assert len(many) == 100
    for count in (1, 5, 64):
        assert conditions_of_images(sources, count, 7) == many[:count]
    assert conditions_of_images(sources, 100, 8) != many


def test_every_image_is_drawn_anew_and_as_the_distribution_says():
    drawn = conditions_of_images(given_conditions(SOURCES["draw"]), 3000, 1)
    assert len({c.defocus_angstrom for c in drawn}) > 2900
    defocus, c12 = (
        np.array([v(c) for c in drawn]) for v in (lambda c: c.defocus_angstrom, lambda c: c.aberrations["C12"])
    )
    assert defocus.mean() == pytest.approx(50, abs=0.2) and defocus.std() == pytest.approx(20, rel=0.01)
    assert np.histogram(c12, 4, (0, 40))[0] == pytest.approx([750] * 4, abs=8)
    assert sum(c.dose_per_angstrom2 == 100 for c in drawn) == pytest.approx(1500, abs=5)


def test_weights_and_listings_are_shared_out():
    mixed = conditions_of_images(given_conditions(SOURCES["mixture"]), 1000, 1)
    assert sum(c.aberrations["C12"] > 50 for c in mixed) == pytest.approx(250, abs=50)
    grid = conditions_of_images(given_conditions(SOURCES["grid"]), 30, 1)
    assert sorted(c.aberrations.get("C12", 0) for c in grid) == [0] * 10 + [10] * 10 + [20] * 10
    fixed = Condition(**BASE)
    assert conditions_of_images(given_conditions(SOURCES["several"]), 20, 1).count(fixed) == 10


def test_sources_are_files_presets_and_residuals(tmp_path):
    """The text of a study's conditions is that of a file."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": BASE, "draw": DRAW, "count": 4}, sort_keys=False))
    drawn = conditions_of_images(given_conditions(SOURCES["draw"]), 9, 1)
    assert conditions_of_images([read_conditions(path)], 9, 1) == drawn
    assert read_conditions("titan_corrected_300kv") == (Condition.preset("titan_corrected_300kv"),)
    residuals = conditions_of_images([read_conditions("titan_corrected_300kv:residuals")], 50, 1)
    assert len({c.id for c in residuals}) == 50
    table = tmp_path / "session.csv"
    table.write_text("label,energy_ev,C12\na,300000,0\nb,300000,20\n")
    assert [c.aberrations.get("C12", 0) for c in read_conditions(table)] == [0, 20]
    with pytest.raises(BadInputError, match="a int is no condition"):
        given_conditions(3)
