import numpy as np
import pytest
import torch
from ase import Atoms
from scipy import ndimage
from scipy.spatial import cKDTree

from passband.base.frequencies import disc_indices
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.abtem_engine import exit_wave
from passband.specimens import (
    ParticleRecipe,
    SpecimenRecipe,
    draw_specimen,
    make_labels,
    particle_instances,
    particle_mask,
)
from passband.specimens.labels import atomic_columns, projected_potential

RECIPE = SpecimenRecipe()
CROWD = SpecimenRecipe(
    particles=[
        ParticleRecipe(count=(3, 3), diameter_angstrom=(14, 20)),
        ParticleRecipe(crystal="TiO2-anatase", shape="rod", diameter_angstrom=(26, 30)),
    ],
    overlap="projected",
)


@pytest.mark.parametrize("recipe", [RECIPE, CROWD, SpecimenRecipe(particles=[ParticleRecipe(shape="decahedron")])])
def test_mask_covers_the_atoms_and_no_more_than_their_radius_around(recipe):
    specimen = draw_specimen(recipe, 0)
    n = 256
    mask = particle_mask(specimen, n)
    step = 51.2 / n
    own = specimen.atoms.positions[specimen.particle > 0][:, :2]
    assert mask[tuple((own / step).round().astype(int).T % n)].all()
    # Beyond every atom's covalent radius (at most 1.6 Å) there is mask only inside the outline, in gaps of up to 3 Å.
    inside, _ = cKDTree(own).query(np.argwhere(mask) * step)
    assert inside.max() < 3.0 + 0.1
    outside, _ = cKDTree(own).query(np.argwhere(~mask) * step)
    assert outside.min() > 1.3
    # Of a pixel's place alone, not of its size.
    assert np.array_equal(particle_mask(specimen, n // 2), mask[::2, ::2])
    assert mask.mean() == pytest.approx(particle_mask(specimen, 96).mean(), rel=0.03)


def test_labels_agree_with_each_other():
    specimen = draw_specimen(CROWD, 1)
    labels = make_labels(specimen, 192)
    assert np.array_equal(labels.mask, particle_mask(specimen, 192))
    assert np.array_equal(labels.mask, labels.instances > 0)
    assert np.array_equal(labels.instances, particle_instances(specimen, 192))
    assert np.array_equal(labels.mask, labels.boundary_distance >= 0)
    assert set(np.unique(labels.instances)) == {0, 1, 2, 3, 4}
    assert labels.names == ("Au", "TiO2-anatase")
    crystals = [None] + [p.crystal for p in specimen.particles]
    for number in range(1, 5):
        assert set(labels.classes[labels.instances == number]) == {1 + labels.names.index(crystals[number])}


def test_boundary_distance_is_the_distance_to_the_masks_edge():
    specimen = draw_specimen(SpecimenRecipe(particles=[ParticleRecipe(diameter_angstrom=28)]), 2)
    n = 512
    labels = make_labels(specimen, n)
    step = 51.2 / n
    tiled = np.tile(labels.mask, (3, 3))
    slow = (ndimage.distance_transform_edt(tiled) - ndimage.distance_transform_edt(~tiled))[n : 2 * n, n : 2 * n] * step
    # Inside, up to the covalent radius, distances are to the atoms' outline and rounded at its corners.
    near = np.abs(slow) < 10
    assert np.abs(labels.boundary_distance - slow)[near & ~labels.mask].max() < 1.5 * step
    assert np.abs(labels.boundary_distance - slow)[near & labels.mask].max() < 0.6
    assert np.median(np.abs(labels.boundary_distance - slow)[near & labels.mask]) < step


def test_thickness_is_that_of_a_sphere_and_of_a_film():
    recipe = SpecimenRecipe(
        field_angstrom=64.0,
        particles=[ParticleRecipe(shape="sphere", diameter_angstrom=40.0)],
        substrate={"thickness_angstrom": 50.0},
    )
    specimen = draw_specimen(recipe, 0)
    labels = make_labels(specimen, 160)
    x = np.arange(160) * 0.4
    centre = specimen.particles[0].centre
    r2 = (x[:, None] - centre[0]) ** 2 + (x[None] - centre[1]) ** 2
    expected = 2 * np.sqrt(np.maximum(400 - r2, 0))
    assert labels.thickness.sum() == pytest.approx(expected.sum(), rel=0.03)
    blurred = ndimage.gaussian_filter(labels.thickness, 5) - ndimage.gaussian_filter(expected, 5)
    assert np.abs(blurred).max() < 1.5
    assert labels.film_thickness.mean() == pytest.approx(50, rel=0.02)
    assert make_labels(draw_specimen(SpecimenRecipe(substrate=None), 0), 64).film_thickness.max() == 0


def test_potential_is_abtems():
    import abtem

    specimen = draw_specimen(SpecimenRecipe(field_angstrom=25.6, particles=[ParticleRecipe(diameter_angstrom=12)]), 0)
    with abtem.config.set({"diagnostics.progress_bar": False}):
        theirs = abtem.Potential(
            specimen.atoms, gpts=512, slice_thickness=2.0, parametrization="lobato", projection="infinite"
        )
        theirs = theirs.build().compute().array.sum(axis=0)
    ours = projected_potential(specimen, 512)
    # abTEM puts atoms between pixels by linear interpolation, which damps high frequencies: by 2 % at 1.5 1/Å here.
    k = np.fft.fftfreq(512, 0.05)
    keep = np.hypot(k[:, None], k[None]) < 1.5
    ours, theirs = (np.fft.ifft2(np.fft.fft2(v) * keep).real for v in (ours, theirs))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 0.02


def test_columns_are_where_the_potential_peaks():
    recipe = SpecimenRecipe(
        substrate=None,
        field_angstrom=40.0,
        particles=[
            ParticleRecipe(diameter_angstrom=28.0, orientation={"zone_axes": [(1, 1, 0)], "tilt_rad": 0.0}),
        ],
    )
    specimen = draw_specimen(recipe, 0)
    columns = atomic_columns(specimen)
    assert columns["atoms"].sum() == len(specimen.atoms)
    points = np.column_stack([columns["x"], columns["y"]])
    # Columns of [110] stand a/√2 · √(3/4)… apart: a centred rectangle of a × a/√2, shortest distance a √3 / (2 √2) = 0.612 a.
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    assert nearest.min() == pytest.approx(4.0782 * np.sqrt(3 / 8), rel=1e-3)
    n = 400
    potential = projected_potential(specimen, n)
    peaks = (ndimage.maximum_filter(potential, 9, mode="wrap") == potential) & (potential > 0.05 * potential.max())
    tall = columns["atoms"] >= 3
    distance, _ = cKDTree(np.argwhere(peaks) * 40 / n).query(points[tall])
    assert distance.max() < 0.15
    assert (columns["mean_number"] == 79).all()


def test_columns_of_tilted_and_twinned_grains():
    def columns_of(tilt, **more):
        particle = ParticleRecipe(
            diameter_angstrom=28.0, orientation={"zone_axes": [(1, 0, 0)], "tilt_rad": tilt}, **more
        )
        return atomic_columns(draw_specimen(SpecimenRecipe(particles=[particle]), 3))

    assert len(columns_of(0.005)["x"]) > 20
    tilted = columns_of(0.005)["tilt_rad"]
    assert 0 < tilted[0] < 0.03
    # Far from every low-index axis there are no columns to point at.
    far = [len(columns_of(0.3, roughness=0.0)["x"])]
    assert min(far) == 0


FIELD, PIXEL = 25.6, 0.4
CONFIG = ExitWaveConfig(phonon_configurations=1, sampling_angstrom=0.2, slice_thickness_angstrom=4.0)


def blurred_phase(atoms):
    """Phase of the exit wave on 0.2 Å pixels, its sign left away (strong columns wrap it), blurred by 0.5 Å."""
    still = dict.fromkeys(set(atoms.get_chemical_symbols()), 0.0)
    k, n = disc_indices(1.5 * FIELD), 128
    spectrum = torch.zeros(n, n, dtype=torch.complex64)
    spectrum[k[:, 0] % n, k[:, 1] % n] = torch.from_numpy(exit_wave(atoms, CONFIG, still, seed=0).coefficients[0])
    phase = np.abs(np.angle(torch.fft.ifft2(spectrum, norm="forward").numpy()))
    return ndimage.gaussian_filter(phase, 0.5 / 0.2, mode="wrap")


def misfit(material, index):
    """Return shift of the centroid and mean shift of the edge [Å] of the mask beside the phase of the particle's own wave.

    The phase counts where it exceeds 13.5 % of the peak of a single atom, the lightest of the particle; gaps of up to 3 Å are
    closed as in the mask. A mask that is too wide by d all round is larger by d times its perimeter.
    """
    particle = ParticleRecipe(crystal=material, diameter_angstrom=(16, 20))
    specimen = draw_specimen(SpecimenRecipe(field_angstrom=FIELD, substrate=None, particles=[particle]), index)
    single = [Atoms(s, [[12.8, 12.8, 2]], cell=[FIELD, FIELD, 4], pbc=True) for s in particle.crystal_used().symbols]
    seen = blurred_phase(specimen.atoms) > 0.135 * min(blurred_phase(atom).max() for atom in single)
    disc = np.hypot(*np.mgrid[-15:16, -15:16]) <= 15
    seen = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(seen, 20), disc)[20:-20, 20:-20])
    mask = particle_mask(specimen, 128)
    shift = np.subtract(ndimage.center_of_mass(mask), ndimage.center_of_mass(seen)) * 0.2
    crossings = sum(np.abs(np.diff(mask.astype(int), axis=a)).sum() for a in (0, 1))
    return np.linalg.norm(shift), (int(mask.sum()) - int(seen.sum())) * 0.2 / (crossings * np.pi / 4)


@pytest.mark.slow
def test_mask_lies_on_the_exit_waves_phase():
    """Fifty scenes of ten materials: centroids within half a camera pixel of 0.4 Å, edges too but for a few."""
    materials = ["Au", "Pt", "CdSe-wurtzite", "PbS", "Cu", "W", "Si", "CdS-zincblende", "Fe", "Ag"]
    shifts, edges = np.array([misfit(materials[i % 10], i) for i in range(50)]).T / PIXEL
    assert shifts.max() <= 0.5
    assert abs(np.median(edges)) <= 0.25
    assert (np.abs(edges) <= 0.5).sum() >= 46 and np.abs(edges).max() <= 1


def test_mask_of_oxides_reaches_farther_than_their_oxygen_shows():
    """Where one side ends in the metal and the other in oxygen, which the wave hardly feels, the two part by up to two pixels."""
    shifts, edges = np.array([misfit(m, i) for i in range(3) for m in ("CeO2", "TiO2-rutile")]).T / PIXEL
    assert 0.5 < shifts.max() <= 2.5 and np.abs(edges).max() <= 3
