"""What an estimate says, in words and as data, on an image whose optics are known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from passband.cli.main import app
from passband.conditions import Condition
from passband.estimation.estimate import estimate
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
    lines = found.sentences
    assert any("does not tell underfocus from overfocus" in line for line in lines)
    assert any(line.startswith("underfocus: defocus +") for line in lines)
    assert any(line.startswith("overfocus: defocus -") for line in lines)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["defocus_angstrom"] == pytest.approx(400, abs=15)
    low, high = content["interval_angstrom"]
    assert low < 400 < high


def test_nothing_is_said_twice():
    found = estimate(micrograph(contrast=0.0))
    lines = found.sentences
    assert not found.has_rings and lines
    assert sum("no Thon rings" in line for line in lines) == 1
    assert found.to_dict()["defocus_angstrom"] is None


def test_the_plot_shows_the_fitted_rings_where_the_power_has_them():
    from matplotlib.figure import Figure

    found = estimate(micrograph())
    ax = Figure().subplots()
    assert found.plot(ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"power", "fit", "background", "information limit"}
    table = found.profile
    power, fit, background = (table[name].to_numpy() for name in ("power", "fit", "background"))
    ripple = slice(0, np.searchsorted(table["q_per_angstrom"], 0.9 * found.information_limit_per_angstrom))
    assert np.corrcoef((power / background)[ripple], (fit / background)[ripple])[0, 1] > 0.9
    assert np.array_equal(lines["fit"].get_ydata(), fit)
    without = estimate(micrograph(contrast=0.0))
    assert without.profile.columns == ["q_per_angstrom", "power"]
    without.plot(Figure().subplots())
    assert "profile" not in found.to_dict()


def test_text_and_html_have_the_same_sentences():
    found = replace(estimate(micrograph()), notes=("<script>",))
    assert str(found).splitlines() == found.sentences
    assert found._repr_html_().count("<li>") == len(found.sentences)
    assert "<script>" not in found._repr_html_()


def test_the_verb(tmp_path, capsys):
    import tifffile

    file = tmp_path / "noise.tif"
    image = micrograph().intensity.astype(np.uint16)
    tifffile.imwrite(file, image, imagej=True, resolution=(25.0, 25.0), metadata={"unit": "nm"})
    assert app(["estimate", str(file), "--energy", "300000", "--json"], standalone_mode=False) == 0
    [answer] = json.loads(capsys.readouterr().out)["images"]
    assert answer["defocus_angstrom"] == pytest.approx(400, abs=15)
    assert "pixel size 0.4000 Å" in answer["found"][0]
