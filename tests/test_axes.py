"""One convention of axes, all the way round: x along the columns, y along the rows, angles from x towards y."""

import json
import math

import ase.io
import numpy as np
import pytest
import tifffile
import torch
from ase.build import bulk

from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.conditions.condition_files import load_condition
from passband.estimation.estimate import estimate
from passband.micrographs.measure_particles import particle_table
from passband.micrographs.micrograph import Micrograph
from passband.simulation.hrtem import Imager
from passband.simulation.multislice import ExitWaveConfig

TURN = 0.4
"""Direction of the bar [rad]."""


@pytest.fixture(scope="module")
def bar(tmp_path_factory):
    """A bar of gold, 34 by 12 Å, around (20, 45) Å in a field of 60 Å, at an angle from x towards y."""
    atoms = bulk("Au", cubic=True).repeat((12, 12, 3))
    atoms.positions -= atoms.positions.mean(axis=0)
    x, y = atoms.positions[:, 0], atoms.positions[:, 1]
    atoms = atoms[(np.abs(x) < 17) & (np.abs(y) < 6)]
    cos, sin = math.cos(TURN), math.sin(TURN)
    x, y = atoms.positions[:, 0].copy(), atoms.positions[:, 1].copy()
    atoms.positions[:, 0], atoms.positions[:, 1] = 20 + cos * x - sin * y, 45 + sin * x + cos * y
    atoms.cell, atoms.pbc = [60, 60, 20], False
    file = tmp_path_factory.mktemp("bar") / "bar.xyz"
    ase.io.write(file, atoms, format="extxyz")
    return file


def test_a_particle_is_where_its_atoms_are(call, bar, tmp_path):
    assert call("specimen", "import", bar, "--format", "extxyz", "--out", "bar.yaml")[0] == 0
    (tmp_path / "c.yaml").write_text("energy_ev: 300000\nfocal_spread_angstrom: 20\npixel_size_angstrom: 0.4\n")
    code, out, error = call(
        "simulate", "bar.yaml", "--condition", "c.yaml", "--count", 1, "--labels", "--out", "made", "--json"
    )
    assert code == 0, error
    mask = tifffile.imread(json.loads(out)["images"]["masks"]) > 0
    image = tifffile.imread(json.loads(out)["images"]["images"])
    row = particle_table(mask, 0.4, mask.astype(np.float32))[1].to_dicts()[0]
    assert (row["x_angstrom"], row["y_angstrom"]) == pytest.approx((20, 45), abs=0.5)
    assert row["orientation_rad"] == pytest.approx(TURN, abs=0.05)
    with np.load(tmp_path / "made" / "labels" / "000000.npz") as labels:
        assert (labels["mask"] == mask).all()
        where = labels["thickness"] > 5
    assert np.argwhere(where).mean(axis=0) * 0.4 == pytest.approx((45, 20), abs=0.5)
    # The lattice, and so the contrast of the image, is where the mask is.
    away = (image - np.median(image)) ** 2
    assert away[mask].mean() > 5 * away[~mask].mean()


def astigmatic(phi12):
    return Condition(
        energy_ev=300e3,
        aberrations={"C10": -600.0, "C12": 120.0, "phi12": phi12},
        focal_spread_angstrom=20.0,
        pixel_size_angstrom=0.4,
        dose_per_angstrom2=2000.0,
    )


def test_an_astigmatism_comes_back_from_the_image_that_it_makes():
    """Of a random phase object, through the simulation's own chain."""
    field, config = 204.8, ExitWaveConfig(energy_ev=300e3)
    places = disc_indices(config.band_per_angstrom * field)
    generator = torch.Generator().manual_seed(0)
    q = torch.as_tensor(np.hypot(*np.asarray(places).T.reshape(2, -1)) / field)
    noise = torch.randn(len(q), 2, generator=generator)
    # A real phase: the coefficient at −q is the conjugate of the one at q.
    index = {tuple(place): i for i, place in enumerate(np.asarray(places).tolist())}
    mate = torch.tensor([index[(-a, -b)] for a, b in index])
    spectrum = torch.view_as_complex(noise)
    spectrum = (spectrum + spectrum[mate].conj()) / (1 + (q / 0.5) ** 2)
    phase = 0.15 * spectrum / spectrum.abs().square().sum().sqrt()
    wave = 1j * phase
    wave[index[(0, 0)]] = 1.0
    imager = Imager(astigmatic(0.5), field, config)
    masks = torch.zeros(1, imager.pixels, imager.pixels, dtype=torch.bool)
    counts, _ = imager.images(wave.to(torch.complex64)[None, None], masks, seed=1).arrays()
    result = estimate(Micrograph(counts[0], 0.4, 300e3)).underfocus
    assert result.defocus_angstrom == pytest.approx(600, abs=10)
    assert abs(result.C12 - 120) < 10 and result.phi12 == pytest.approx(0.5, abs=0.05)


def ctffind_micrograph(u, v, degrees, n=768, pixel=0.5):
    """A weak phase object by CTFFIND's formula (ctf.cpp), whose angle counts from the columns' axis towards the rows'."""
    rng = np.random.default_rng(0)
    qy, qx = np.meshgrid(np.fft.fftfreq(n, pixel), np.fft.fftfreq(n, pixel), indexing="ij")
    q2, direction = qx**2 + qy**2, np.arctan2(qy, qx) - math.radians(degrees)
    defocus = 0.5 * (u + v) + 0.5 * (u - v) * np.cos(2 * direction)
    film = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (n, n))) * np.exp(-q2 / 0.72)).real
    transfer = 2 * np.sin(-math.pi * 0.0196875 * q2 * defocus) * np.exp(-0.5 * (math.pi * 0.0196875 * 30 * q2) ** 2)
    image = 1 + np.fft.ifft2(np.fft.fft2(0.12 * film / film.std()) * transfer).real
    return rng.poisson(image.clip(0.01) * 2000 * pixel**2).astype(np.float32)


@pytest.mark.parametrize("degrees", [0.0, 20.0, -65.0])
def test_an_image_and_a_ctffind_file_give_one_angle(call, tmp_path, degrees):
    image = ctffind_micrograph(2200.0, 1800.0, degrees)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, resolution=(20, 20), metadata={"unit": "nm"})
    code, out, error = call("estimate", "a.tif", "--energy", 300000, "--json")
    assert code == 0, error
    [seen] = [image["underfocus"] for image in json.loads(out)["images"]]
    (tmp_path / "a.star").write_text(
        "data_\nloop_\n_rlnVoltage\n_rlnDefocusU\n_rlnDefocusV\n_rlnDefocusAngle\n_rlnSphericalAberration\n"
        f"_rlnMicrographPixelSize\n300 2200 1800 {degrees} 0 0.5\n"
    )
    told = load_condition(tmp_path / "a.star").aberrations
    assert seen["C12"] == pytest.approx(told["C12"], abs=10) and told["C12"] == pytest.approx(200)
    assert math.remainder(seen["phi12"] - told["phi12"], math.pi) == pytest.approx(0, abs=0.03)
