import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.optics import aberration_gradient, aberration_phase, stack
from support import reference

Q = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, -0.5], [0.4, 0.7], [-0.9, 0.2]], dtype=torch.float64)


def phase(condition, q=Q):
    return aberration_phase(stack([condition]), q[:, 0], q[:, 1])[0]


def test_defocus_and_cs_closed_form():
    condition = Condition(energy_ev=300e3, aberrations={"C10": -100.0, "C30": 1.2e7})
    lam, q2 = reference.wavelength(300e3), (Q**2).sum(1)
    expected = np.pi * lam * -100.0 * q2 + 0.5 * np.pi * lam**3 * 1.2e7 * q2**2
    assert torch.allclose(phase(condition), expected, rtol=1e-7)


def test_all_aberrations_against_the_slow_sum(twisted):
    expected = [reference.chi(twisted, *q) for q in Q.tolist()]
    assert phase(twisted).tolist() == pytest.approx(expected, rel=1e-8, abs=1e-9)


@given(st.sampled_from(sorted(ABERRATIONS)), st.floats(-1e3, 1e3), st.floats(-6, 6), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=100, deadline=None)
def test_each_aberration_alone(symbol, magnitude, angle, qx, qy):
    content = {symbol: magnitude} | ({ANGLES[symbol]: angle} if symbol in ANGLES else {})
    condition = Condition(energy_ev=300e3, aberrations=content)
    q = torch.tensor([[qx, qy]], dtype=torch.float64)
    assert phase(condition, q).item() == pytest.approx(reference.chi(condition, qx, qy), rel=1e-7, abs=1e-12)


def test_gradient_is_the_derivative(twisted):
    qx, qy = (Q[:, i].clone().requires_grad_() for i in (0, 1))
    aberration_phase(stack([twisted]), qx, qy).sum().backward()
    gradient = aberration_gradient(stack([twisted]), Q[:, 0], Q[:, 1])[0]
    assert torch.allclose(gradient.real, qx.grad, rtol=1e-9, atol=1e-9)
    assert torch.allclose(gradient.imag, qy.grad, rtol=1e-9, atol=1e-9)


def test_batches_equal_single_conditions(twisted):
    other = Condition(energy_ev=80e3, aberrations={"C10": 50.0, "C23": 10.0, "phi23": 1.0})
    both = aberration_phase(stack([twisted, other]), Q[:, 0], Q[:, 1])
    assert torch.allclose(both[0], phase(twisted))
    assert torch.allclose(both[1], phase(other))


def test_differentiable_in_the_coefficients(twisted):
    parameters = stack([twisted])
    c10 = parameters.coefficients["C10"].requires_grad_()
    aberration_phase(parameters, Q[:, 0], Q[:, 1]).sum().backward()
    expected = (np.pi * reference.wavelength(200e3) * (Q**2).sum()).item()
    assert c10.grad.item() == pytest.approx(expected)
