import gc
import json
import warnings

import numpy as np
import pytest

from passband.base.errors import named
from passband.micrographs.micrograph import Calibration
from passband.micrographs.sandbox import parse_worker, parsing


@pytest.fixture
def read_here(tmp_path):
    """Read a file in this process, as the worker does: images with their notes, or the refusal."""

    def read(path, frames=None, pixel=None):
        folder = tmp_path / "answers"
        folder.mkdir(exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = parse_worker.answer(path, frames, folder, Calibration(pixel_size_angstrom=pixel))
            found = json.loads(json.dumps(answer, allow_nan=False))
        if "refusal" in found:
            return named(found["refusal"])
        return [one | {"intensity": np.load(folder / one["file"], allow_pickle=False)} for one in found["images"]]

    return read


@pytest.fixture(scope="module")
def closed():
    """What readers leave open is closed here, and not in another module's tests."""
    yield
    gc.collect()


@pytest.fixture
def own_temporary_folder(tmp_path, monkeypatch):
    """Whatever happens, nothing is left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(parsing.tempfile, "tempdir", str(folder))
    yield
    assert not any(folder.iterdir())
