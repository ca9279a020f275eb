"""The fixed band of verdicts against the band that resolves each condition's phases."""

import pytest

from passband.metrics import measure as measure_finely
from passband.metrics.fixed_band import measure
from support import made

NAMES = ["epsilon", "image_snr", "channel_information", "sigma", "signed_overlap", "phase_rms", "dose_difference"]


@pytest.mark.parametrize(("q_max", "wide"), [(0.625, 1.0), (1.0, 0.4)])
def test_it_agrees_with_the_fine_one(q_max, wide):
    far = [
        c.varied(
            {"C21": 9000.0 * wide, "phi21": 0.7, "C23": 9000.0 * wide, "phi23": -0.4, "C30": 8e5 * wide, "phi12": 0.5}
        )
        for c in made.draw(6, 4, defocus=800.0 * wide)
    ]
    train, test = made.draw(8, 3), [*made.draw(6, 5), *far]
    ours, fine = measure(NAMES, train, test, q_max), measure_finely(NAMES, train, test, q_max)
    assert list(ours) and set(ours) == set(fine)
    for name, values in fine.items():
        spread = float(values.std())
        assert float((ours[name] - values).abs().max()) < 0.02 * spread, name
