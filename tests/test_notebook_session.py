"""The session of the documentation's first page, in a process of its own: every line works, and nothing global changes."""

import os
import subprocess
import sys
from pathlib import Path

SESSION = """
import warnings

import matplotlib
import numpy
import scipy.stats
import sklearn.pipeline
import spglib
import sympy
import tifffile
import torch
from monai.inferers import SlidingWindowInferer  # some of these change the filters themselves


def state():
    return dict(matplotlib.rcParams), list(warnings.filters), torch.get_num_threads(), torch.is_grad_enabled()


assert matplotlib.get_backend() == "svg"
before, random = state(), numpy.random.get_state()[1].tolist()

import passband as pb

train = pb.Condition.preset("titan_corrected_300kv")
assert state() == before
today = train.varied(defocus=80, C12=30)
assert today.defocus_angstrom == 80 and today.aberrations["C12"] == 30
assert "epsilon" in str(today.ctf()) and 0 < today.ctf().epsilon < 1
assert len(today.ctf().plot()) == 3
comparison = pb.compare(train, today)
assert comparison.plot().get_xlabel()
assert 0 < comparison.sigma < 1 and comparison.to_dict()["verdict"] in str(comparison)
assert comparison.verdict in comparison._repr_html_()
assert state() == before

gold = pb.load_recipe("gold_on_carbon").model_copy(update={"field_angstrom": 25.6})
gold = gold.model_validate(gold.model_dump() | {"particles": [{"count": [1, 1], "diameter_angstrom": [10.0, 12.0]}]})
images = pb.simulate(gold, today, n=3)
assert images.images.shape == images.masks.shape == (3, 64, 64)
assert images.images.dtype == "float32" and images.masks.dtype == bool
assert images.show().shape == (2, 3)
assert "counts" in str(images)
assert state() == before

model = pb.load_model("au-300kv")
prediction = model.predict(images)
assert prediction.masks.shape == images.masks.shape and len(prediction.score(images.masks)) == 3
wide = pb.simulate("gold_on_carbon_wide", today.varied(pixel_size=0.8), n=1)
tifffile.imwrite("image.tif", wide.images[0], imagej=True, resolution=(12.5, 12.5), metadata={"unit": "nm"})
shot = pb.read_micrographs("image.tif", energy_ev=300e3)[0]
assert shot.pixel_size_angstrom == 0.8
segmentation = pb.segment(model, shot)
assert segmentation.mask.shape == wide.masks.shape[1:] and segmentation.overlay().size == (1024, 1024)
assert pb.estimate(shot).plot().get_xlabel()
verdict = pb.check(model, image=shot)
assert verdict.answer in ("yes", "no", "cannot say") and str(verdict)
assert state() == before

study = pb.Study(
    specimens=gold,
    conditions=pb.sweep(train, defocus=range(-50, 51, 50)),
    split={"train": 4, "validation": 2, "test": 3},
    network={"widths": [4, 8], "stem": 2},
    training={"epochs": 2, "batch_size": 2},
)
run = study.run("runs/mine", workers=2)
assert len(run.scores) == 9 and len(run.conditions) == 3 and len(run.shift) == 9
assert run.matrix().values.shape == (3, 3)
assert run.matrix().plot().get_title()
assert "in sample" in str(run.fit("epsilon", "sigma"))
assert run.report().is_file()
again = pb.open_study("runs/mine")
assert again.scores.equals(run.scores) and str(again) == str(run)
assert study.run("runs/mine", workers=1, quiet=True).scores.equals(run.scores)
assert state() == before

assert numpy.random.get_state()[1].tolist() == random
print("done")
"""


def test_the_session_works_and_changes_nothing_global(tmp_path):
    # A script without a guard: workers do not run it again.
    (tmp_path / "session.py").write_text(SESSION)
    done = subprocess.run(
        [sys.executable, "session.py"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "svg"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    # Progress on stderr, and nothing else.
    assert "networks: 3 of 3" in done.stderr and "Traceback" not in done.stderr


def test_importing_is_light():
    code = (
        "import sys, passband\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'polars', 'matplotlib', 'typer', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert (Path(__file__).parents[1] / "src" / "passband" / "py.typed").is_file()
