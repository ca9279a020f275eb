"""The learning curve of discs that are easy to learn, and that stopped work continues."""

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.execution.base import Serial
from passband.micrographs.labels import labelled_arrays
from passband.micrographs.micrograph import Micrograph
from passband.models import tuning
from passband.models.store import write_model
from passband.models.tuning_jobs import TuneJob, measure_curve
from passband.specimens import SpecimenRecipe
from passband.verdicts.calibration import specimens_of
from support import made

RECIPE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 51.2,
        "particles": {"count": [1, 1], "diameter_angstrom": [12.0, 14.0]},
        "substrate": {"thickness_angstrom": [4.0, 5.0]},
    }
)
Y, X = np.mgrid[:96, :96]
STEPS = 20


def labelled(count):
    rng = np.random.default_rng(0)
    shots, labels = [], []
    for i in range(count):
        x, y = rng.uniform(25, 70, 2)
        labels.append(np.hypot(X - x, Y - y) < 14)
        shots.append(Micrograph(100 + 60 * labels[-1] + rng.normal(0, 10, X.shape), 0.8, name=f"shot {i}"))
    return labelled_arrays(shots, labels)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    bare = made.bare_model(tmp_path_factory.mktemp("bare") / "made")
    card = bare.card.model_copy(update={"specimens": specimens_of(RECIPE)})
    contents = {name: (bare.folder / name).read_bytes() for name in card.files}
    return write_model(tmp_path_factory.mktemp("model") / "made", card, contents)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    # From random weights.
    monkeypatch.setattr(tuning, "_LEARNING_RATE", 0.01)
    monkeypatch.setattr(tuning, "SCENES", (2, 2))


def measure(model, count, folder, **settings):
    with TerminalProgress(quiet=True) as progress:
        return measure_curve(model, labelled(count), folder, Serial(), progress, **({"steps": STEPS} | settings))


def test_splits_hold_each_image_out_once_for_each_number_and_never_tune_on_it():
    parts = tuning.splits(10, 4, curve=True)
    assert sorted({p.size for p in parts}) == [1, 2, 4, 8]
    for size in (1, 2, 4, 8):
        assert sorted(i for p in parts if p.size == size for i in p.held_out) == list(range(10))
    assert all(not {*p.chosen} & {*p.held_out} for p in parts)
    assert all(len(p.chosen) == p.size or p.whole for p in parts)
    by_fold = [[{*p.chosen} for p in parts if p.fold == fold] for fold in range(4)]
    assert all(a < b for fold in by_fold for a, b in pairwise(fold))
    assert [p.whole for p in tuning.splits(10, 4)] == [True] * 4


def test_a_stopped_run_continues_and_agrees_with_tune(model, tmp_path, monkeypatch):
    run, count = TuneJob.run, []

    def stops(job, progress):
        if len(count) == 5:
            raise KeyboardInterrupt
        count.append(job)
        run(job, progress)

    monkeypatch.setattr(TuneJob, "run", stops)
    with pytest.raises(KeyboardInterrupt):
        measure(model, 4, tmp_path)
    count.clear()
    monkeypatch.setattr(TuneJob, "run", lambda job, progress: (count.append(job), run(job, progress)))
    curve = measure(model, 4, tmp_path)
    # Four folds with 1, 2 and 3 images; five networks were finished.
    assert len(count) == 7 and curve.sizes == [0, 1, 2, 3] and len(curve.table) == 16
    assert curve.points[3]["dice"].value > curve.points[0]["dice"].value + 0.1
    with TerminalProgress(quiet=True) as progress:
        tuned = tuning.tune(model, labelled(4), progress, steps=STEPS, curve=True)
    assert tuned.curve.table.sort("images", "image").equals(curve.table.sort("images", "image"))


def test_other_labels_or_settings_are_other_work(model, tmp_path):
    measure(model, 4, tmp_path, steps=2)
    first = {p.name for p in tmp_path.iterdir()}
    measure(model, 4, tmp_path, steps=2, edge="model")
    second = {p.name for p in tmp_path.iterdir()}
    assert len(second) == len(first) + 12 and {p[:5] for p in second - first} == {"tune-"}


@pytest.mark.parametrize(
    ("count", "settings", "message"),
    [
        (3, {}, "3 labelled images: a learning curve takes at least 4; label more"),
        (4, {"folds": 2}, "folds 2: leaves too few of 4 images"),
        (4, {"edge": "mine"}, "edge 'mine': is neither"),
    ],
)
def test_bad_input_is_refused_before_any_work(model, tmp_path, count, settings, message):
    with pytest.raises(BadInputError, match=message):
        measure(model, count, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_the_verb(call, model, tmp_path):
    for item in labelled(4):
        np.save(tmp_path / f"{item.name}.npy", item.micrograph.intensity)
        Image.fromarray(item.truth > 0).save(tmp_path / f"{item.name}_mask.png")
    words = ("model", "learning-curve", model.folder, "--images", tmp_path, "--masks", tmp_path, "--pixel-size", 0.8)
    words += ("--steps", 2, "--workers", 1)
    code, out, error = call(*words, "--figure", "curve.png", "--json")
    assert code == 0 and [p["images"] for p in json.loads(out)["points"]] == [0, 1, 2, 3], error
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG" and "steps: 24 of 24" in error
    code, out, error = call(*words)
    assert code == 0 and "8, estimated" in out and "24 were finished before" in error
    code, _, error = call(*words, "--figure", "curve.doc")
    assert code == 2 and "curve.doc: ends in neither .png nor .svg" in error
    code, _, error = call(*words, "--folds", 2)
    assert code == 2 and "--folds 2: leaves too few" in error
