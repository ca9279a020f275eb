import numpy as np
import pytest
import torch
from ase import Atoms
from pydantic import ValidationError

from passband.base.errors import BadInputError
from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, abtem_engine
from passband.simulation.multislice.engine import exit_waves
from passband.specimens import ParticleRecipe, SpecimenRecipe, SubstrateRecipe, draw_specimen, particle_mask


def native(atoms, config, displacements, seed):
    return exit_waves([atoms], config, displacements, [seed])[0]


@pytest.fixture(params=["native", "abtem"])
def exit_wave(request):
    return native if request.param == "native" else abtem_engine.exit_wave


STILL = dict.fromkeys(("C", "Si", "Cu", "Au", "U"), 0.0)


def single_atoms(symbols, field=50.0):
    """Atoms in a row, 10 Å apart, as in Kirkland's figure."""
    positions = [[field / 2, field / 2 + 10 * (i - (len(symbols) - 1) / 2), 2.0] for i in range(len(symbols))]
    return Atoms(symbols, positions, cell=[field, field, 4.0], pbc=True)


def test_kirklands_single_atoms(exit_wave):
    """C, Si, Cu, Au, U at 200 kV, 700 Å underfocus, Cs 1.3 mm, 10.37 mrad: 0.72 to 1.03 (Kirkland 2020, section 5.6)."""
    config = ExitWaveConfig(energy_ev=200e3, sampling_angstrom=50 / 512, phonon_configurations=1, band_per_angstrom=1.0)
    wave = exit_wave(single_atoms(["C", "Si", "Cu", "Au", "U"]), config, STILL, seed=0)
    condition = Condition(
        energy_ev=200e3,
        defocus_angstrom=700.0,
        aberrations={"Cs": 1.3e7},
        aperture_mrad=10.37,
        pixel_size_angstrom=50 / 200,
    )
    grid = image_grid(50.0, 1.0, condition.pixel_size_angstrom)
    image = expected_intensity(torch.from_numpy(wave.coefficients)[None], transfer_on_grid(condition, grid), grid)[0]
    assert image.min().item() == pytest.approx(0.72, abs=0.01)
    assert image.max().item() == pytest.approx(1.03, abs=0.01)
    # Heavier atoms are darker, in order along the row.
    row = image[100]
    depths = [1 - row[int((25 + 10 * (i - 2)) * 4)].item() for i in range(5)]
    assert depths == sorted(depths)


def test_a_lonely_atom_leaves_a_plane_wave(exit_wave):
    lonely = Atoms("C", [[0.0, 0.0, 2.0]], cell=[12.8, 12.8, 4.0], pbc=True)
    wave = exit_wave(lonely, ExitWaveConfig(phonon_configurations=1), STILL, seed=0)
    k = disc_indices(1.5 * 12.8)
    centre = int(((k == 0).all(1)).nonzero())
    # One carbon atom in 164 Å² scatters 0.1 % of the beam; the rest is the unscattered wave.
    assert abs(wave.coefficients[0, centre]) == pytest.approx(1, abs=2e-3)
    assert 0 <= wave.lost_intensity < 1e-3
    assert np.sum(np.abs(wave.coefficients) ** 2) + wave.lost_intensity + wave.dropped_intensity == pytest.approx(
        1, abs=1e-5
    )


def test_phonons_are_seeded(exit_wave):
    config = ExitWaveConfig(phonon_configurations=2)
    shaking = STILL | {"Au": 0.1}
    gold = single_atoms(["Au"], field=12.8)
    a, b, c = (exit_wave(gold, config, shaking, seed=s).coefficients for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.allclose(a, c, atol=1e-4)
    assert not np.allclose(a[0], a[1], atol=1e-4)


def test_finer_slices_and_pixels_change_little(exit_wave):
    specimen = single_atoms(["Au"], field=12.8)
    images = []
    for sampling, thickness in ((0.2, 2.0), (0.1, 1.0)):
        config = ExitWaveConfig(sampling_angstrom=sampling, slice_thickness_angstrom=thickness, phonon_configurations=1)
        coefficients = torch.from_numpy(exit_wave(specimen, config, STILL, seed=0).coefficients)[None]
        grid = image_grid(12.8, 1.5, 0.4)
        condition = Condition(energy_ev=300e3, defocus_angstrom=60.0, focal_spread_angstrom=20.0)
        images.append(expected_intensity(coefficients, transfer_on_grid(condition, grid), grid))
    assert (images[0] - images[1]).norm() / (images[1] - 1).norm() < 0.05
    assert (images[0] - images[1]).norm() / images[1].norm() < 0.01


def test_coarse_grid_that_loses_the_beam_is_refused(exit_wave):
    thick = Atoms(
        "Au" * 800,
        np.random.default_rng(0).uniform(0, 1, (800, 3)) * [10, 10, 96] + [0, 0, 2],
        cell=[10, 10, 100],
        pbc=True,
    )
    config = ExitWaveConfig(sampling_angstrom=0.5, phonon_configurations=1, band_per_angstrom=0.6)
    with pytest.raises(BadInputError, match="lower exit_waves.sampling_angstrom from 0.5"):
        exit_wave(thick, config, STILL, seed=0)


def test_band_beyond_the_grid_is_refused():
    with pytest.raises(ValidationError, match="sampling of at most 0.1667 Å"):
        ExitWaveConfig(band_per_angstrom=2.0)


def test_stored_wave_lies_as_abtem_has_it_and_under_the_mask(exit_wave):
    """An asymmetric specimen: the band's sum equals abTEM's wave with the same displacements, and gold lies on the mask."""
    import abtem

    recipe = SpecimenRecipe(
        field_angstrom=25.6,
        particles=[ParticleRecipe(diameter_angstrom=(9.0, 10.0))],
        substrate=SubstrateRecipe(thickness_angstrom=(4.0, 5.0)),
    )
    specimen = draw_specimen(recipe, 1)
    config = ExitWaveConfig(phonon_configurations=1)
    coefficients = torch.from_numpy(exit_wave(specimen.atoms, config, {"Au": 0.0, "C": 0.0}, seed=0).coefficients)
    with abtem.config.set({"diagnostics.progress_bar": False}):
        potential = abtem.Potential(
            specimen.atoms, gpts=128, slice_thickness=2.0, parametrization="lobato", projection="infinite"
        )
        theirs = torch.from_numpy(abtem.PlaneWave(energy=300e3).multislice(potential).compute().array)
    k = disc_indices(1.5 * 25.6)
    spectrum = torch.zeros(128, 128, dtype=torch.complex64)
    spectrum[k[:, 0] % 128, k[:, 1] % 128] = coefficients[0]
    ours = torch.fft.ifft2(spectrum, norm="forward")
    # Beside the scattered wave, what is missing is little: the share beyond the kept band.
    scattered = (theirs - 1).norm()
    assert (ours - theirs).norm() / scattered < 0.25
    assert (ours.T - theirs).norm() / scattered > 0.8
    # Gold turns the phase of the wave far more than carbon does.
    mask = torch.from_numpy(particle_mask(specimen, 128))
    phase = ours.angle()
    assert phase[mask].mean() > 3 * phase[~mask].mean()
    assert phase[mask].mean() > 1.3 * phase[mask.T].mean()
