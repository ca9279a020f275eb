"""What an estimate says, in words and as data, on an image whose optics are known."""

import json

import numpy as np
import pytest

from passband.cli.main import app
from passband.conditions import Condition
from passband.estimation.estimate import estimate
from passband.estimation.text import in_words, to_dict
from passband.micrographs.micrograph import Micrograph
from passband.optics import intensity_transfer, stack

TRUTH = Condition(energy_ev=300e3, aberrations={"C10": -400.0}, focal_spread_angstrom=20.0)


def micrograph(contrast=0.15, n=512, pixel=0.4):
    """White noise as a weak object under the condition."""
    import torch

    rng = np.random.default_rng(0)
    q = np.fft.fftfreq(n, pixel)
    qx, qy = (torch.from_numpy(a.ravel()) for a in np.meshgrid(q, q, indexing="ij"))
    transfer = intensity_transfer(stack([TRUTH]), qx, qy)[0].numpy().reshape(n, n)
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, n))) * transfer).real
    counts = rng.poisson(200 * np.clip(1 + contrast * noise, 0, None))
    return Micrograph(counts.astype(np.float32), pixel, 300e3, name="noise")


def test_both_signs_are_said_and_the_data_is_plain():
    found = estimate(micrograph())
    lines = in_words(found)
    assert any("does not tell underfocus from overfocus" in line for line in lines)
    assert any(line.startswith("underfocus: defocus +") for line in lines)
    assert any(line.startswith("overfocus: defocus -") for line in lines)
    content = json.loads(json.dumps(to_dict(found), allow_nan=False))
    assert content["defocus_angstrom"] == pytest.approx(400, abs=15)
    low, high = content["interval_angstrom"]
    assert low < 400 < high


def test_nothing_is_said_twice():
    found = estimate(micrograph(contrast=0.0))
    lines = in_words(found)
    assert not found.found and lines
    assert sum("no Thon rings" in line for line in lines) == 1
    assert to_dict(found)["defocus_angstrom"] is None


def test_the_verb(tmp_path, capsys):
    import tifffile

    file = tmp_path / "noise.tif"
    image = micrograph().intensity.astype(np.uint16)
    tifffile.imwrite(file, image, imagej=True, resolution=(25.0, 25.0), metadata={"unit": "nm"})
    assert app(["estimate", str(file), "--energy", "300000", "--json"], standalone_mode=False) == 0
    [answer] = json.loads(capsys.readouterr().out)["images"]
    assert answer["defocus_angstrom"] == pytest.approx(400, abs=15)
    assert "pixel size 0.4000 Å" in answer["found"][0]
