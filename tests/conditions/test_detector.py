import pytest

from passband.base.errors import BadInputError
from passband.conditions import Condition


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ({"mtf": 1.2}, "outside 0 to 1"),
        ({"mtf": "good"}, "neither a number nor a list"),
        ({"mtf": [[0.0, 1.0], [0.5, 0.5]]}, "rises from 0 to at least 1"),
        ({"dqe": [[0.0, 0.9], [1.0, -0.1]]}, "above 0"),
        ({"binning": 0}, "greater than or equal to 1"),
        ({"bining": 2}, "unknown key 'bining'; did you mean 'binning'"),
    ],
)
def test_bad_cameras(detector, message):
    with pytest.raises(BadInputError, match=message):
        Condition(energy_ev=300e3, detector=detector)


def test_rare_fields_leave_the_id_alone():
    plain = Condition(energy_ev=300e3)
    assert "detector" not in plain.to_dict() and "coherence" not in plain.to_dict()
    assert (
        plain.id
        == Condition(energy_ev=300e3, detector={}, coherence="quasi", quadrature_nodes=9, drift_angle_rad=1.0).id
    )
    other = Condition(
        energy_ev=300e3, detector={"mtf": [[0.0, 1.0], [1.0, 0.2]]}, drift_angstrom=2.0, coherence="quadrature"
    )
    assert other.id != plain.id
    assert Condition(**other.to_dict()) == other and hash(other.detector) != hash(plain.detector)
