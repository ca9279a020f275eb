from dataclasses import replace

import torch

from passband.conditions import Condition
from passband.optics import stack, wave_transfer

BASE = Condition(energy_ev=300e3, aberrations={"C10": -80.0, "C12": 30.0, "phi12": 0.4}, focal_spread_angstrom=20.0)


def test_optics_that_differ_in_the_dose_alone_are_the_same():
    changes = [
        {"dose": 50.0},
        {"defocus": 10.0},
        {"dose": 400.0},
        {"phi12": 0.5},
        {"drift": 3.0},
        {},
        {"defocus": 10.0, "dose": 2.0},
    ]
    parameters = stack([BASE.varied(change) for change in changes])
    distinct, index = parameters.distinct_optics()
    assert index.tolist() == [0, 1, 0, 2, 3, 0, 1] and len(distinct) == 4
    q = torch.linspace(0, 1, 50, dtype=torch.float64)
    shared = wave_transfer(distinct, q, 0.3 * q)[index]
    assert torch.allclose(shared, wave_transfer(parameters, q, 0.3 * q), rtol=0, atol=1e-12)


def test_distinct_optics_leave_gradients_and_different_conditions_alone():
    assert stack([BASE, BASE.varied(defocus=10.0)]).distinct_optics() is None
    same = stack([BASE, BASE])
    assert same.distinct_optics() is not None
    assert replace(same, focal_spread_angstrom=same.focal_spread_angstrom.requires_grad_()).distinct_optics() is None
