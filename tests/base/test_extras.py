"""Without an optional dependency a verb names the extra that installs it."""

import sys

import numpy as np
import pytest

from passband.base.errors import BadInputError, require
from passband.cli import app_verb
from passband.execution.choose import make_executor
from passband.network_measures.curvature import trace
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import SpecimenRecipe, draw_specimen
from passband.specimens.diversity import soap_comparison


def use_the_app():
    app_verb.app()


def use_a_cluster():
    make_executor("dask", 2)


def use_abtem():
    recipe = SpecimenRecipe()
    specimen_exit_waves(recipe, [draw_specimen(recipe, 0)], [0], ExitWaveConfig(engine="abtem"))


def compare_structures():
    soap_comparison([], [], rng=np.random.default_rng(0))


def measure_a_curvature():
    trace(np.eye(3))


@pytest.mark.parametrize(
    ("use", "module", "extra"),
    [
        (use_the_app, "panel", "app"),
        (use_the_app, "bokeh", "app"),
        (use_a_cluster, "distributed", "cluster"),
        (use_abtem, "abtem", "abtem"),
        (compare_structures, "dscribe", "diversity"),
        (measure_a_curvature, "curvlinops", "curvature"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(monkeypatch, use, module, extra):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInputError) as caught:
        use()
    message = str(caught.value)
    assert f"needs {module}, which is not installed; pip install 'passband[{extra}]'" in message
    assert "\n" not in message


def test_a_module_inside_a_package_is_named_by_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "json.tool", None)
    with pytest.raises(BadInputError, match="^an example needs json, which"):
        require("app", "an example", "json.tool")
