from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.conditions import Condition
from passband.metrics import measure
from passband.metrics.compare import profile_overlaps
from support import reference


def condition(defocus=0.0, **content):
    aberrations = {"C10": -defocus, "C30": -5e4} | content.pop("aberrations", {})
    return Condition(**({"energy_ev": 300e3, "aberrations": aberrations, "focal_spread_angstrom": 20.0} | content))


def compare(train, test):
    reverse = measure(["sigma"], test, train)["sigma"].T
    return SimpleNamespace(**measure(["epsilon", "sigma"], train, test), sigma_reverse=reverse)


def test_against_the_slow_reference():
    train, test = condition(50.0, aberrations={"C12": 15.0, "phi12": 0.5}), condition(-80.0, convergence_mrad=0.3)
    epsilon_train, epsilon_test, sigma = reference.epsilon_and_sigma(train, test)
    shift = compare([train], [test])
    assert shift.epsilon_train.item() == pytest.approx(epsilon_train, abs=2e-3)
    assert shift.epsilon_test.item() == pytest.approx(epsilon_test, abs=2e-3)
    assert shift.sigma.item() == pytest.approx(sigma, abs=2e-3)


def test_epsilon_closed_form_of_pure_defocus():
    # Without envelopes ε over |q| ≤ Q is the mean of |sin(a u)| over u in (0, 1): full half-periods give 2/π.
    lam = reference.wavelength(300e3)
    bare = Condition(energy_ev=300e3, defocus_angstrom=7 / lam)
    assert compare([bare], [bare]).epsilon_train.item() == pytest.approx(2 / torch.pi, rel=1e-4)


def test_shapes_order_and_asymmetry():
    conditions = [condition(d) for d in (-100.0, 0.0, 100.0)]
    shift = compare(conditions, conditions[:2])
    assert shift.sigma.shape == shift.sigma_reverse.shape == (3, 2)
    difference = measure(["defocus_difference"], conditions, conditions[:2])["defocus_difference"]
    assert difference.tolist() == [[0, 100], [100, 0], [200, 100]]
    assert shift.sigma[2, 1].item() == pytest.approx(compare([conditions[2]], [conditions[1]]).sigma.item())
    assert shift.sigma_reverse[2, 1].item() == pytest.approx(compare([conditions[1]], [conditions[2]]).sigma.item())
    assert shift.sigma[2, 1] < 0.5 < shift.sigma_reverse[2, 1]


def test_the_rounding_of_many_pairs_gives_no_sigma_to_nothing():
    nothing = Condition(energy_ev=300e3, focal_spread_angstrom=24.0)
    several = [nothing.varied(defocus=d, C12=a) for d in range(-120, 121, 30) for a in (0, 60) if d or a]
    sigma = measure(["sigma"], [nothing], several)["sigma"]
    assert sigma.isnan().all()
    assert profile_overlaps([[nothing]], [several[:3], several[5:]]).isnan().all()


def test_nothing_transferred_gives_no_sigma():
    nothing = Condition(energy_ev=300e3)
    shift = compare([nothing], [condition(50.0)])
    assert shift.epsilon_train.item() == 0
    assert shift.sigma.isnan().all()
    assert shift.sigma_reverse.item() == 0


random_conditions = st.builds(
    lambda defocus, c12, c21, spread, convergence: condition(
        defocus, aberrations={"C12": c12, "C21": c21}, focal_spread_angstrom=spread, convergence_mrad=convergence
    ),
    st.floats(-300, 300),
    st.floats(0, 60),
    st.floats(0, 800),
    st.floats(0, 60),
    st.floats(0, 1),
)


@given(random_conditions, random_conditions)
@settings(max_examples=30, deadline=None)
def test_bounds_and_self_overlap(a, b):
    shift = compare([a, b], [a, b])
    epsilon, sigma = shift.epsilon_train, shift.sigma
    assert ((epsilon >= 0) & (epsilon <= 1)).all()
    assert ((sigma >= 0) & (sigma <= 1 + 1e-12)).all()
    assert sigma.diag().tolist() == pytest.approx([1, 1])


@given(random_conditions, st.floats(0, 6))
@settings(max_examples=15, deadline=None)
def test_turning_the_frame_changes_nothing(a, angle):
    turned = a.model_copy(
        update={
            "aberrations": a.aberrations
            | {f"phi{s}": a.aberrations.get(f"phi{s}", 0.0) + angle for s in ("12", "21") if f"C{s}" in a.aberrations}
        }
    )
    assert compare([turned], [turned]).epsilon_train.item() == pytest.approx(
        compare([a], [a]).epsilon_train.item(), abs=2e-3
    )


def test_sigma_rises_with_the_transfer_of_the_test():
    sharp, blurred = condition(60.0, focal_spread_angstrom=10.0), condition(60.0, focal_spread_angstrom=60.0)
    shift = compare([sharp], [sharp, blurred])
    assert shift.sigma[0, 1] < shift.sigma[0, 0]
    assert compare([blurred], [sharp]).sigma.item() == pytest.approx(1, abs=1e-9)
