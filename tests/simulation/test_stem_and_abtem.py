"""STEM images beside abTEM's of the same atoms: PRISM for HAADF, multislice along a line for phase contrast."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from passband.conditions import StemCondition
from passband.simulation.stem import Imager, StemConfig, elements, structure_factors, warnings

abtem = pytest.importorskip("abtem")
FIELD = 25.6
MOTION = {"C": 0.08, "Au": 0.085}


@pytest.fixture(autouse=True)
def single_core():
    with abtem.config.set({"device": "cpu", "precision": "float32", "diagnostics.progress_bar": False}):
        yield


def potential(atoms, points, thickness):
    return abtem.Potential(
        atoms, gpts=points, slice_thickness=thickness, parametrization="lobato", projection="infinite"
    ).build(lazy=False)


def gold_on_carbon(height, tilt):
    """A column of gold of 17 Å across, so many Å high, tilted off its ⟨100⟩ axis [rad], on 10 Å of scattered carbon atoms."""
    a, rng = 4.078, np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[np.arange(-13, 14)] * 3, indexing="ij"), -1).reshape(-1, 3)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    fcc = a * (corners[:, None] + basis).reshape(-1, 3)
    turn = Rotation.from_rotvec([tilt * math.cos(0.4), tilt * math.sin(0.4), 0]) * Rotation.from_euler("z", 0.3)
    gold = turn.apply(fcc)
    gold = gold[(np.hypot(gold[:, 0], gold[:, 1]) < 8.5) & (np.abs(gold[:, 2]) < height / 2)]
    carbon = rng.uniform(0, 1, (655, 3)) * [FIELD, FIELD, 10.0] + [0, 0, 2]
    gold += [FIELD / 2, FIELD / 2, 14.3 - gold[:, 2].min()]
    cell = [FIELD, FIELD, gold[:, 2].max() + 2]
    return Atoms(["C"] * len(carbon) + ["Au"] * len(gold), np.concatenate([carbon, gold]), cell=cell, pbc=True)


@pytest.mark.slow
def test_haadf_off_a_zone_axis_correlates_with_prism():
    atoms = gold_on_carbon(20.0, 0.2)
    moved, rng = atoms.copy(), np.random.default_rng(1)
    moved.positions += rng.normal(size=(len(atoms), 3)) * [[MOTION[s]] for s in atoms.get_chemical_symbols()]
    matrix = abtem.SMatrix(
        potential=potential(moved, 336, 2.0), energy=200e3, semiangle_cutoff=20, interpolation=3
    ).build(lazy=False)
    scan = abtem.GridScan(start=(0, 0), end=(FIELD, FIELD), gpts=64, endpoint=False)
    ctf = abtem.CTF(defocus=20.0, energy=200e3, semiangle_cutoff=20)
    theirs = np.asarray(matrix.reduce(scan=scan, detectors=abtem.AnnularDetector(55, 105), ctf=ctf).array).squeeze()
    c = StemCondition(
        energy_ev=200e3, convergence_semiangle_mrad=20.0, defocus_angstrom=20.0, pixel_size_angstrom=0.4,
        source_size_angstrom=0.35, detector={"kind": "haadf", "inner_mrad": 55.0, "outer_mrad": 105.0},
    )  # fmt: skip
    config = StemConfig()
    ours = (
        Imager(c, FIELD, config, elements(MOTION)).intensity(structure_factors(atoms, MOTION, config)[None])[0].numpy()
    )
    theirs = gaussian_filter(theirs, 0.35 / 0.4, mode="wrap")
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.1)
    assert warnings(c, [atoms]) == []
    # Along the axis, columns of five atoms channel.
    assert "columns of heavy atoms (4.5 behind one another" in warnings(c, [gold_on_carbon(20.0, 0.0)])[0]


@pytest.mark.slow
def test_phase_contrast_of_a_thin_film_is_multislices():
    """A layer of carbon: the first order is within 3 % (bf, abf; their second order is left) and 2 % (centre of mass) of the contrast."""
    rng, y, step, places = np.random.default_rng(3), 12.0, 0.02, 24
    carbon = rng.uniform(0, 1, (70, 3)) * [FIELD, FIELD, 0.0] + [0, 0, 0.5]
    atoms = Atoms(["C"] * 70, carbon, cell=[FIELD, FIELD, 1.0], pbc=True)
    # Twice as wide, so that abTEM's detectors have finer pixels.
    wide = atoms * (2, 2, 1)
    beam = abtem.Probe(energy=300e3, semiangle_cutoff=20, defocus=40.0)
    scan = abtem.LineScan(start=(0, y), end=(FIELD, y), gpts=places, endpoint=False)
    seers = [abtem.AnnularDetector(0, 8), abtem.AnnularDetector(10, 30), abtem.PixelatedDetector(max_angle="full")]
    bf, abf, patterns = beam.scan(potential(wide, 1024, 1.0), scan=scan, detectors=seers, lazy=False)
    config = StemConfig(slice_thickness_angstrom=1.0, depth_angstrom=1.0)
    stored = structure_factors(atoms, {"C": 0.0}, config)[None]

    def line(detector, dx=0.0, dy=0.0):
        c = StemCondition(
            energy_ev=300e3, convergence_semiangle_mrad=20.0, defocus_angstrom=40.0, pixel_size_angstrom=FIELD / places,
            detector=detector,
        )  # fmt: skip
        at = torch.tensor([[dx]], dtype=torch.float64), torch.tensor([[y + dy]], dtype=torch.float64)
        return Imager(c, FIELD, config, (6,)).intensity(stored, scan=at)[0, :, 0].double().numpy()

    for theirs, kind, inner, outer in ((bf, "bf", 0.0, 8.0), (abf, "abf", 10.0, 30.0)):
        ours, other = line({"kind": kind, "inner_mrad": inner, "outer_mrad": outer}), np.asarray(theirs.array).ravel()
        ours, other = ours / ours.mean() - 1, other / other.mean() - 1
        ours -= ours.mean()
        assert np.linalg.norm(ours - other) / np.linalg.norm(other) < 0.05, kind
    mass = np.asarray(patterns.center_of_mass(units="1/Å").array).ravel()
    along = line({"kind": "icom"}, step) - line({"kind": "icom"}, -step)
    across = line({"kind": "icom"}, 0.0, step) - line({"kind": "icom"}, 0.0, -step)
    ours = (along + 1j * across) / (2 * step) / (2 * math.pi)
    assert np.linalg.norm(ours - mass) / np.linalg.norm(mass) < 0.02
