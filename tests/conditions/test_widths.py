import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import j1

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import load_condition, load_conditions
from passband.optics import spatial_envelope, stack, temporal_envelope

CC, EV = 1.2e7, 300e3


def make(**content):
    return Condition(**({"energy_ev": EV} | content))


def moved(energy_ev, change):
    """Return by how much the focus of a magnetic lens moves [Å] for another energy: f ∝ V*, and λ² ∝ 1 / V*."""
    return CC * (wavelength(energy_ev) ** 2 / wavelength(energy_ev + change) ** 2 - 1)


@pytest.mark.parametrize("energy", [80e3, 200e3, 300e3])
def test_focal_spread_from_the_chromatic_aberration(energy):
    """The spread of the focus is that of electrons of slightly other energies, each focused by its own wavelength."""
    given = {"energy_ev": energy, "chromatic_aberration_angstrom": CC}
    assert make(**given, energy_spread_ev=0.3).focal_spread_angstrom == pytest.approx(moved(energy, 0.3), rel=1e-5)
    both = make(**given, energy_spread_ev=0.3, voltage_instability=1e-6, current_instability=2e-6)
    parts = moved(energy, 0.3), moved(energy, 1e-6 * energy), CC * 2 * 2e-6
    assert both.focal_spread_angstrom == pytest.approx(math.sqrt(sum(p**2 for p in parts)), rel=1e-5)


def test_a_known_microscope():
    """C_c 1.2 mm and 0.7 eV FWHM at 300 kV: 1.2e7 Å · 1.2270 · 0.29727 eV / 300000 eV."""
    condition = make(chromatic_aberration_angstrom=CC, energy_spread_fwhm_ev=0.7)
    assert condition.focal_spread_angstrom == pytest.approx(14.59, abs=0.005)


def test_full_and_1_over_e_widths():
    """A Gaussian falls to half its maximum at half the FWHM, and to 1/e at the 1/e half-width."""
    for field in ("focal_spread_{}angstrom", "convergence_{}mrad"):
        for name, at, height in (("fwhm_", 1.5, 0.5), ("1_over_e_", 3.0, math.exp(-1))):
            width = getattr(make(**{field.format(name): 3.0}), field.format(""))
            assert math.exp(-(at**2) / (2 * width**2)) == pytest.approx(height)
    energy = make(chromatic_aberration_angstrom=CC, energy_spread_fwhm_ev=2 * math.sqrt(2 * math.log(2)))
    assert energy == make(chromatic_aberration_angstrom=CC, energy_spread_ev=1.0)


def test_envelope_of_a_full_width_is_the_average_over_focus():
    """E_t is the mean of exp(iπλq²f) over foci of a Gaussian that has half its maximum at ±20 Å."""
    q, lam = 0.8, wavelength(EV)
    foci = np.linspace(-200, 200, 20001)
    weights = 0.5 ** ((foci / 20) ** 2)
    mean = (weights * np.cos(math.pi * lam * q**2 * foci)).sum() / weights.sum()
    optics = stack([make(focal_spread_fwhm_angstrom=40.0)])
    envelope = temporal_envelope(optics, torch.tensor([q], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    assert float(envelope) == pytest.approx(mean, abs=1e-9)


def test_uniform_disc_of_illumination():
    """A disc of radius a has the variance a²/4 along an axis, and the envelope 2 J₁(x)/x, which the Gaussian follows to x⁴/192."""
    a = 0.4
    variance = quad(lambda x: x**2 * 2 * math.sqrt(a**2 - x**2) / (math.pi * a**2), -a, a)[0]
    condition = make(convergence_semiangle_mrad=a, defocus_angstrom=400.0)
    assert condition.convergence_mrad == pytest.approx(math.sqrt(variance), rel=1e-9)
    for q in (0.2, 0.6):
        # The phase's gradient is 2πλ C10 q.
        x = 1e-3 * a * 2 * math.pi * 400 * q
        kx = torch.tensor([q], dtype=torch.float64)
        envelope = float(spatial_envelope(stack([condition]), kx, 0 * kx))
        assert envelope == pytest.approx(2 * j1(x) / x, abs=x**4 / 192)


def test_conditions_are_written_in_standard_deviations(tmp_path):
    given = make(focal_spread_fwhm_angstrom=40.0, convergence_1_over_e_mrad=0.3)
    same = make(focal_spread_angstrom=given.focal_spread_angstrom, convergence_mrad=given.convergence_mrad)
    assert given == same and given.id == same.id and given.to_dict() == same.to_dict()
    path = tmp_path / "c.yaml"
    path.write_text(str(given))
    assert load_condition(path) == given


def test_every_way_in_reads_them(tmp_path):
    wanted = make(chromatic_aberration_angstrom=CC, energy_spread_fwhm_ev=0.7)
    keys = {"energy_ev": "300000", "chromatic_aberration_angstrom": "1.2e7", "energy_spread_fwhm_ev": "0.7"}
    (tmp_path / "c.yaml").write_text("".join(f"{name}: {value}\n" for name, value in keys.items()))
    (tmp_path / "ceos.yaml").write_text("notation: ceos\n" + (tmp_path / "c.yaml").read_text())
    (tmp_path / "c.csv").write_text(f"{','.join(keys)}\n{','.join(keys.values())}\n")
    for name in ("c.yaml", "ceos.yaml", "c.csv"):
        assert load_condition(tmp_path / name) == wanted
    varied = make(focal_spread_angstrom=5.0).varied(chromatic_aberration_angstrom=CC, energy_spread_fwhm_ev=0.7)
    assert varied == wanted


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("focal_spread_angstrom: 3\nfocal_spread_fwhm_angstrom: 7", 2, "both give focal_spread_angstrom; keep one"),
        ("focal_spread_fwhm_angstrom: 7\nchromatic_aberration_angstrom: 1e7", 2, "both give focal_spread_angstrom"),
        ("convergence_mrad: 0\nconvergence_semiangle_mrad: 1", 2, "both give convergence_mrad"),
        ("convergence_fwhm_mrad: 1\nconvergence_semiangle_mrad: 1", 2, "both give convergence_mrad"),
        ("chromatic_aberration_angstrom: 1.2", 2, "is it in mm? 1.2 mm is 1.2e+07 Å"),
        ("chromatic_aberration_angstrom: 1e7", 2, "only with energy_spread_fwhm_ev or energy_spread_ev; add it"),
        ("energy_spread_ev: 0.3", 2, "only with chromatic_aberration_angstrom; add it"),
        ("voltage_instability: 0.5", 2, "is it in ppm? 0.5 ppm is 5e-07"),
        (
            "energy_spread_ev: 0.3\nenergy_spread_fwhm_ev: 0.7\nchromatic_aberration_angstrom: 1e7",
            2,
            "keep one of them",
        ),
        ("focal_spread_fwhm_angstrom: -7", 2, "give a number, 0 or more"),
        ("convergence_semiangle_mrad: .nan", 2, "give a number, 0 or more"),
        ("convergence_fwhm_mrad: '1'", 2, "without quotes"),
        ("energy_spread_fwhm: 0.7", 2, "did you mean 'energy_spread_fwhm_ev'"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, text, line, message):
    path = tmp_path / "c.yaml"
    path.write_text(f"energy_ev: 300000\n{text}\n")
    with pytest.raises(BadInputError) as caught:
        load_conditions(path)
    assert str(caught.value).startswith(f"{path}:{line}: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_energy_is_named_first():
    with pytest.raises(BadInputError, match="outside 10000 to 2000000 eV"):
        make(energy_ev=300.0, chromatic_aberration_angstrom=CC, energy_spread_ev=0.3)
