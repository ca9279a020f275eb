"""The native engine against closed forms, slow sums, and abTEM on the same atoms."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.integrate import quad
from scipy.special import j0

from passband.base.electron import interaction_parameter
from passband.base.errors import BadInputError
from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, abtem_engine, atom, banded, batched, deposit, engine, slices
from passband.simulation.multislice.engine import exit_waves
from passband.specimens import SpecimenRecipe, draw_specimen
from passband.specimens.scattering import parameters, scattering_factor
from support import reference

SMALL = {
    "field_angstrom": 25.6,
    "particles": {"count": [1, 1], "diameter_angstrom": [9.0, 14.0]},
    "substrate": {"thickness_angstrom": [6.0, 10.0]},
}
CONDITION = Condition(energy_ev=300e3, defocus_angstrom=60.0, aberrations={"C30": -5e4}, focal_spread_angstrom=20.0)


def image(wave, field=25.6, band=1.5):
    grid = image_grid(field, band, 0.2)
    return expected_intensity(torch.from_numpy(wave.coefficients)[None], transfer_on_grid(CONDITION, grid), grid)[0]


def difference(a, b):
    return ((a - b).norm() / b.norm()).item()


def random_gold(seed=0, count=12, field=12.8, height=8.0):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, 1, (count, 3)) * [field, field, height - 2]
    return Atoms(["Au"] * count, positions, cell=[field, field, height], pbc=True)


def test_vacuum_leaves_the_wave_as_it_is():
    empty = Atoms([], cell=[12.8, 12.8, 20.0], pbc=True)
    [wave] = exit_waves([empty], ExitWaveConfig(phonon_configurations=1), {}, [0], dtype=torch.complex128)
    k = disc_indices(1.5 * 12.8)
    expected = (k == 0).all(1).numpy().astype(complex)
    assert np.allclose(wave.coefficients[0], expected, atol=1e-7)
    assert abs(wave.lost_intensity) < 1e-12


def test_structure_factor_is_exact_over_the_band():
    n, rng = 64, np.random.default_rng(3)
    places = rng.uniform(-n, 2 * n, (50, 2))
    spread = deposit.Spread.of(torch.from_numpy(places.T), torch.zeros(50, dtype=torch.long), n, torch.float64)
    density = spread.density(0, 50, 1)
    kernel = torch.from_numpy(deposit.spectrum(n))
    k = disc_indices(n / 3)
    ours = (torch.fft.fft2(density[0].T) / (kernel[:, None] * kernel))[k[:, 0] % n, k[:, 1] % n]
    exact = torch.exp(-2j * math.pi * (k.double() @ torch.from_numpy(places).T) / n).sum(1)
    assert (ours - exact).abs().max() < 2e-4 * math.sqrt(50)


@pytest.mark.parametrize("number", [6, 14, 79])
def test_projected_potential_is_the_scattering_factor_in_space(number):
    q = 0.7
    value, _ = quad(
        lambda r: 2 * math.pi * r * j0(2 * math.pi * q * r) * float(atom.projected_potential(number, np.array(r))),
        1e-9, 12, limit=400, epsabs=1e-9, points=[1e-4, 1e-3, 1e-2, 0.1, 1],
    )  # fmt: skip
    assert value == pytest.approx(scattering_factor(number, torch.tensor(q**2, dtype=torch.float64)).item(), rel=1e-6)


def test_scattering_factors_are_abtems():
    from abtem.parametrizations import LobatoParametrization

    q2 = np.linspace(0, 9, 40)
    for number, symbol in ((1, "H"), (8, "O"), (14, "Si"), (79, "Au"), (92, "U")):
        theirs = LobatoParametrization().projected_scattering_factor(symbol)(q2)
        ours = scattering_factor(number, torch.from_numpy(q2)).numpy()
        assert np.allclose(ours, theirs, rtol=2e-5), symbol
    assert all(len(parameters(z)[0]) == 5 for z in range(1, 104))


@pytest.mark.parametrize(
    ("number", "energy", "limit"), [(6, 60e3, 5 / 3), (79, 300e3, 5 / 3), (92, 80e3, 5 / 3), (79, 200e3, 10 / 3)]
)
def test_an_atoms_exponent_has_the_low_frequencies_of_its_transmission(number, energy, limit):
    """F[exp(w)] by direct integration at a few frequencies well inside the band."""
    sigma, edge = interaction_parameter(energy), 0.03 * limit
    q, w = atom.exponent(number, sigma, limit, edge)
    r = np.geomspace(1e-8, 40, 40001)
    nodes, weights = np.polynomial.legendre.leggauss(600)
    p = (nodes + 1) * limit / 2
    smooth = np.interp(p, q, w.real) + 1j * np.interp(p, q, w.imag)
    smooth = smooth * atom.soft_band(p, limit, edge) * weights * limit / 2 * 2 * math.pi * p
    w_r = np.concatenate([j0(2 * math.pi * part[:, None] * p) @ smooth for part in np.split(r[:-1], 40)])
    r = r[:-1]
    target = np.expm1(1j * sigma * atom.projected_potential(number, r))
    for probe in (0.1, 0.5, 0.8):
        kernel = 2 * math.pi * r * j0(2 * math.pi * probe * limit * r)
        wanted, got, weak = (
            np.trapezoid(kernel * f, r)
            for f in (target, np.expm1(w_r), 1j * sigma * atom.projected_potential(number, r))
        )
        assert abs(got - wanted) < 0.02 * abs(wanted)
        assert number == 6 or abs(got - wanted) < 0.3 * abs(weak - wanted)


def test_with_abtems_sampling_of_atoms_all_else_is_abtems(monkeypatch):
    """Slices, displacements, constants, propagation and normalisation, to single precision."""
    monkeypatch.setattr(banded, "_transmissions", reference.abtem_transmissions)
    recipe = SpecimenRecipe.model_validate(SMALL)
    config = ExitWaveConfig(phonon_configurations=2)
    for index in range(2):
        atoms = draw_specimen(recipe, index).atoms
        [ours] = exit_waves([atoms], config, recipe.displacements(), [index])
        theirs = abtem_engine.exit_wave(atoms, config, recipe.displacements(), index)
        assert np.linalg.norm(ours.coefficients - theirs.coefficients) < 2e-5 * np.linalg.norm(theirs.coefficients)
        assert ours.lost_intensity == pytest.approx(theirs.lost_intensity, abs=2e-6)


@pytest.mark.slow
def test_twenty_specimens_as_abtem_has_them_on_a_fine_grid():
    """At 0.2 Å we are near abTEM at 0.05 Å, and nearer to it than abTEM at 0.2 Å is."""
    recipe = SpecimenRecipe.model_validate(SMALL)
    shaking = recipe.displacements()
    ours, theirs = [], []
    for index in range(20):
        atoms = draw_specimen(recipe, index).atoms
        truth = image(
            abtem_engine.exit_wave(
                atoms, ExitWaveConfig(phonon_configurations=1, sampling_angstrom=0.05), shaking, index
            )
        )
        coarse = ExitWaveConfig(phonon_configurations=1)
        ours.append(difference(image(exit_waves([atoms], coarse, shaking, [index])[0]), truth))
        theirs.append(difference(image(abtem_engine.exit_wave(atoms, coarse, shaking, index)), truth))
    assert max(ours) < 2e-3
    assert all(a < 0.4 * b for a, b in zip(ours, theirs, strict=True))


def test_finer_pixels_and_slices_change_little():
    recipe = SpecimenRecipe.model_validate(SMALL)
    atoms = draw_specimen(recipe, 1).atoms
    still = dict.fromkeys(recipe.displacements(), 0.0)
    images = {
        (s, t): image(exit_waves([atoms], ExitWaveConfig(phonon_configurations=1, sampling_angstrom=s, slice_thickness_angstrom=t), still, [0])[0])
        for s, t in ((0.2, 2.0), (0.1, 2.0), (0.2, 1.0))
    }  # fmt: skip
    assert difference(images[0.1, 2.0], images[0.2, 2.0]) < 2e-3
    assert difference(images[0.2, 1.0], images[0.2, 2.0]) < 1e-2


def test_a_weak_potential_scatters_in_proportion(monkeypatch):
    """Halving the potential quarters what lies beyond the first order."""
    gold = random_gold()
    config = ExitWaveConfig(phonon_configurations=1)
    k = disc_indices(1.5 * 12.8)
    still = (k == 0).all(1).numpy()
    original = slices.exponent
    misfits = []
    waves = {}
    for share in (1e-3, 0.02, 0.04):
        monkeypatch.setattr(slices, "exponent", lambda z, s, *rest, share=share: original(z, share * s, *rest))
        engine._band.cache_clear()
        waves[share] = exit_waves([gold], config, {"Au": 0.0}, [0], dtype=torch.complex128)[0].coefficients[0] - still
    engine._band.cache_clear()
    linear = waves[1e-3] / 1e-3
    misfits = [np.linalg.norm(waves[s] - s * linear) for s in (0.02, 0.04)]
    assert misfits[1] / misfits[0] == pytest.approx(4, rel=0.12)
    assert misfits[0] < 0.02 * np.linalg.norm(waves[0.02])


def test_single_precision_is_enough():
    recipe = SpecimenRecipe.model_validate(SMALL)
    atoms = draw_specimen(recipe, 2).atoms
    config = ExitWaveConfig(phonon_configurations=1)
    single, double = (
        exit_waves([atoms], config, recipe.displacements(), [1], dtype=d)[0].coefficients
        for d in (torch.complex64, torch.complex128)
    )
    assert np.linalg.norm(single - double) < 2e-6 * np.linalg.norm(double)


def test_a_wave_does_not_depend_on_what_else_is_computed():
    """Bit for bit, for thick and thin specimens together and apart, and on grids that are no powers of two."""
    for field in (12.8, 15.1):
        atoms = [random_gold(1, field=field, height=8.0), random_gold(2, 20, field=field, height=13.0)]
        config = ExitWaveConfig(phonon_configurations=3)
        together = exit_waves(atoms, config, {"Au": 0.1}, [1, 2])
        apart = [exit_waves([a], config, {"Au": 0.1}, [s], memory=10**9)[0] for a, s in zip(atoms, [1, 2], strict=True)]
        assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(together, apart, strict=True))


@pytest.mark.parametrize("at_once", [1, 3, 16])
def test_the_batched_engine_agrees_with_the_banded_one(at_once):
    """As on a GPU, where specimens of other thickness and elements share a batch, and slices a block, also over vacuum."""
    atoms = [random_gold(1), random_gold(2, 20, height=29.0), Atoms(cell=[12.8, 12.8, 4.0], pbc=True)]
    atoms[1].numbers[::3] = 6
    atoms[1].positions[:, 2] = atoms[1].positions[:, 2] * 0.4 + 8
    config = ExitWaveConfig(phonon_configurations=2)
    band = slices.Band(12.8, 64, 300e3)
    parts = [
        slices.slice_atoms(a, config, {"Au": 0.1, "C": 0.1}, seed, p) for seed, a in enumerate(atoms) for p in range(2)
    ]
    together = batched.propagate(parts, band, torch.complex128, torch.device("cpu"), at_once)
    for part, spectrum in zip(parts, together, strict=True):
        assert torch.allclose(banded.propagate([part], band, torch.complex128)[0], spectrum, atol=1e-12)
    alone = batched.propagate(parts[4:], band, torch.complex128, torch.device("cpu"), at_once)
    assert torch.allclose(alone, together[4:], atol=1e-12)


@pytest.mark.parametrize("waves_at_once", [2, 3, 7])
def test_waves_come_out_in_order_however_many_are_batched(monkeypatch, waves_at_once):
    atoms = [random_gold(i, height=8.0 + 2 * i) for i in range(4)]
    config = ExitWaveConfig(phonon_configurations=3)
    given = atoms, config, {"Au": 0.1}, [1, 2, 3, 4]
    one_by_one = exit_waves(*given)
    monkeypatch.setattr(engine, "_on_gpu", lambda device: True)
    per_wave = (batched._WAVE + batched._SLICE) * 64**2 * 8
    together = exit_waves(*given, memory=waves_at_once * per_wave + batched._SHARED * 64**2 * 8)
    for a, b in zip(together, one_by_one, strict=True):
        assert np.linalg.norm(a.coefficients - b.coefficients) < 1e-6 * np.linalg.norm(b.coefficients)
        assert a.lost_intensity == pytest.approx(b.lost_intensity, abs=1e-6)
    with pytest.raises(BadInputError, match="memory of 0 MB is less than the 1 MB that exit waves of 64² samples take"):
        exit_waves(*given, memory=10**5)


def test_a_batch_fits_its_memory():
    for memory in (10**9, 10**11):
        count, blocks = batched.plan(64, 1024, torch.complex64, memory)
        planes = count * (batched._WAVE + batched._SLICE * blocks) + batched._SHARED
        assert 0 < planes * 1024**2 * 8 <= memory
    assert (count, blocks) == (4, 16)


def test_a_budget_below_one_wave_is_refused():
    with pytest.raises(BadInputError, match=r"memory of 1 MB is less than the .* MB that exit waves of 256² samples"):
        exit_waves([random_gold(field=51.2)], ExitWaveConfig(), {"Au": 0.1}, [0], memory=10**6)
