"""Statistics of recorded images against their closed forms."""

import math

import numpy as np
import pytest
import torch

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.sets import ConditionDraw
from passband.simulation.imaging import camera_on_grid, image_grid
from passband.simulation.recording import record, slow_fields

N, DOSE = 64, 400.0


def condition(detector=None, **content):
    return Condition(
        energy_ev=300e3, pixel_size_angstrom=0.5, dose_per_angstrom2=DOSE, detector=detector or {}, **content
    )


def blank(c, images=128, seed=0):
    """Images of vacuum, as relative deviations from the mean count, 100 at the usual dose."""
    counts = record(torch.ones(images, N, N), c, generator=torch.Generator().manual_seed(seed))
    return counts / (c.dose_per_angstrom2 / 4) - 1


def ring_power(images, rings=8):
    """Noise power over that of 100 counted electrons, by ring, with its standard error."""
    power = torch.fft.fft2(images.double(), norm="ortho").abs().square() * 100
    k = torch.fft.fftfreq(N, 1 / N)
    fraction = torch.hypot(k[:, None], k[None]) / (N / 2)
    inside = [(fraction > i / rings) & (fraction <= (i + 1) / rings) for i in range(rings)]
    mean = torch.stack([power[:, ring].mean() for ring in inside])
    # Each coefficient is exponentially distributed, and pairs of them are the same.
    error = mean / torch.tensor([len(images) * int(ring.sum()) / 2 for ring in inside]).sqrt()
    return mean, error, inside, fraction


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_noise_power_of_a_blank_image_is_that_of_mtf_and_dqe(share):
    mtf = 0.3
    mean, error, inside, fraction = ring_power(blank(condition({"mtf": mtf, "correlated_noise": share})))
    expected = share * mtf ** (2 * fraction.double() ** 2) + 1 - share
    expected = torch.stack([expected[ring].mean() for ring in inside])
    assert ((mean - expected).abs() < 4 * error).all()


def test_the_same_noise_from_a_measured_dqe():
    """c MTF² + 1 − c is DQE(0) MTF² / DQE: a curve of that DQE gives the same noise, draw for draw."""
    places = np.linspace(0, 2, 401)
    mtf = [[float(x), float(0.3 ** (x**2))] for x in places]
    dqe = [[x, max(v**2 / (0.6 * v**2 + 0.4), 1e-6)] for x, v in mtf]
    curves, share = condition({"mtf": mtf, "dqe": dqe}), condition({"mtf": 0.3, "correlated_noise": 0.6})
    assert torch.allclose(blank(curves, 2), blank(share, 2), atol=1e-3)
    with pytest.raises(BadInputError, match="both shape the noise"):
        condition({"mtf": 0.3, "dqe": dqe, "correlated_noise": 0.5})


def test_readout_and_gain_add_white_noise():
    plain, readout, gain = (
        blank(condition(d)).var().item() for d in ({}, {"readout_electrons": 5.0}, {"gain_residue": 0.04})
    )
    assert plain == pytest.approx(0.01, rel=0.01)
    assert readout == pytest.approx(0.01 + 0.05**2, rel=0.01)
    assert gain == pytest.approx(0.01 + 0.04**2 * 1.01, rel=0.01)
    no_dose = condition({"readout_electrons": 5.0}).varied(dose=None)
    assert torch.equal(record(torch.ones(1, 8, 8), no_dose, generator=torch.Generator()), torch.ones(1, 8, 8))


def test_bad_pixels_read_anything():
    images = blank(condition({"bad_pixels": 0.02}).varied(dose=1e8))
    bad = images.abs() > 0.01
    assert bad.float().mean().item() == pytest.approx(0.02 * 0.99, rel=0.03)
    assert images[bad].var().item() == pytest.approx(1 / 3, rel=0.03)


def test_slow_fields_have_their_variance_and_correlation():
    fields = slow_fields(48, torch.full((4000,), 12.0), generator=torch.Generator().manual_seed(1)).double()
    assert fields.mean().item() == pytest.approx(0, abs=0.02)
    for r in (0, 6, 12, 24, 40):
        along, across = ((fields[:, 0, 0] * f).mean().item() for f in (fields[:, r, 0], fields[:, 0, r]))
        wanted = math.exp(-(r**2) / (2 * 12**2))
        assert along == pytest.approx(wanted, abs=0.06) and across == pytest.approx(wanted, abs=0.06)


def test_a_background_multiplies_the_intensity():
    images = blank(condition(background=0.2, background_length_angstrom=3.0).varied(dose=1e8), images=400)
    assert images.var().item() == pytest.approx(0.04, rel=0.05)
    # 3 Å are six pixels of 0.5 Å.
    assert (images[:, 0] * images[:, 6]).mean().item() == pytest.approx(0.04 * math.exp(-0.5), rel=0.15)


def test_contrast_scales_all_but_the_mean():
    grid = image_grid(16.0, 1.2, 0.5)
    factor = camera_on_grid(condition(contrast=0.4), grid)
    assert factor[0, 0] == 1 and (factor.flatten()[1:] == 0.4).all()


def test_what_the_camera_does_is_drawn_like_the_rest():
    draw = {"mtf": [0.1, 0.6], "correlated_noise": [0.0, 1.0], "background": [0.0, 0.1], "contrast": [0.5, 1.0]}
    drawn = ConditionDraw(base=condition({"dqe": 0.8}), draw=draw, count=4)
    for c in drawn.conditions():
        assert 0.1 < c.detector.mtf < 0.6 and 0 < c.detector.correlated_noise < 1 and c.detector.dqe == 0.8
        assert 0 < c.background < 0.1 and 0.5 < c.contrast < 1 and Condition(**c.to_dict()) == c
    assert drawn.labels()[0].startswith("1: mtf 0.")


def test_what_is_absent_leaves_the_id_alone():
    plain = condition({"mtf": 0.3})
    assert plain.to_dict()["detector"] == {"mtf": 0.3, "dqe": None, "binning": 1}
    assert not {"contrast", "background", "background_length_angstrom"} & plain.to_dict().keys()
    assert condition({"mtf": 0.3}, background_length_angstrom=9.0).id == plain.id
