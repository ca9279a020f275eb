"""The physics behind a verdict, on specimens whose scattering is known."""

import pytest
import torch

from passband.metrics.texture import Scattering
from passband.verdicts import reasons
from support import made


@pytest.fixture
def phase_film():
    """Film and particles of pure phase contrast, which hide at zero defocus."""
    power = torch.ones(2, 60, dtype=torch.float64) * torch.tensor([[1e-3], [2e-3]])
    return Scattering(power, -power.to(torch.complex128), torch.tensor([0.7, 0.3], dtype=torch.float64))


def at(defocus, dose=1000.0):
    return made.BASE.varied(defocus_angstrom=defocus, dose_per_angstrom2=dose, C30=0.0)


@pytest.mark.parametrize(("trained", "test", "dose", "given"), [
    (0.0, 200.0, 1000.0, True), (200.0, 0.0, 1000.0, False), (200.0, 200.0, 1000.0, False), (0.0, 200.0, 0.3, False),
])  # fmt: skip
def test_a_film_that_training_did_not_show_is_a_reason(phase_film, trained, test, dose, given):
    """It is one from zero defocus to 200 Å, and neither back nor where noise covers the film."""
    made_of = (at(trained), at(trained + 1.0)), at(test, dose), 0.6
    film = [s for s in reasons.of_condition(*made_of, specimens=phase_film) if s.kind == "film"]
    assert [s.value > 1.5 for s in film] == [True] * given
    assert not [s for s in reasons.of_condition(*made_of) if s.kind == "film"]
