import pytest
import torch

from passband.base.electron import interaction_parameter, wavelength


@pytest.mark.parametrize(
    ("kilovolt", "angstrom", "sigma"),
    [(80, 0.041757, 1.00871e-3), (100, 0.037014, 9.24396e-4), (200, 0.025079, 7.28840e-4), (300, 0.019687, 6.52616e-4)],
)
def test_codata_values(kilovolt, angstrom, sigma):
    assert wavelength(kilovolt * 1e3) == pytest.approx(angstrom, abs=5e-7)
    assert interaction_parameter(kilovolt * 1e3) == pytest.approx(sigma, rel=5e-6)


def test_tensors_agree_with_numbers():
    energies = torch.tensor([80e3, 300e3], dtype=torch.float64)
    assert wavelength(energies).tolist() == pytest.approx([wavelength(80e3), wavelength(300e3)])
    assert interaction_parameter(energies).tolist() == pytest.approx([interaction_parameter(e) for e in (80e3, 300e3)])
