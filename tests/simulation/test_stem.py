"""STEM images: atoms where they are, probes at depth, counts, scans, masks."""

import math

import numpy as np
import pytest
import torch
from ase import Atoms

import passband as pb
from passband.base.electron import interaction_parameter
from passband.base.errors import BadInputError
from passband.conditions import StemCondition
from passband.metrics.registry import measure
from passband.optics import otf, probe, stack
from passband.simulation.detected_scattering import detected
from passband.simulation.stem import Imager, StemConfig, elements, structure_factors, transferred, warnings
from passband.specimens.scattering import scattering_factor

HAADF = {"kind": "haadf", "inner_mrad": 60.0, "outer_mrad": 150.0}
FIELD = 12.8


def made(detector=None, **changes):
    fields = {"energy_ev": 3e5, "convergence_semiangle_mrad": 20.0, "detector": detector or HAADF}
    return StemCondition(**fields | changes)


def cell(symbols, positions, height=4.0):
    return Atoms(symbols, positions, cell=[FIELD, FIELD, height], pbc=True)


def image(atoms, condition, config=None, motion=0.0):
    imager, stored = imager_of(atoms, condition, config, motion)
    return imager.intensity(stored)[0]


def imager_of(atoms, condition, config=None, motion=0.0):
    """An imager and what it images, a batch of one."""
    height = float(atoms.cell[2, 2])
    config = config or StemConfig(slice_thickness_angstrom=height, depth_angstrom=height)
    motion = dict.fromkeys(atoms.get_chemical_symbols(), motion)
    return Imager(condition, FIELD, config, elements(motion)), structure_factors(atoms, motion, config)[None]


def test_structure_factors_by_a_sum_over_atoms():
    rng = np.random.default_rng(0)
    atoms = cell("CAuCAuAuC", rng.uniform(0, 1, (6, 3)) * [FIELD, FIELD, 16.0], height=16.0)
    motion = {"Au": 0.08, "C": 0.1}
    found = structure_factors(atoms, motion, StemConfig(depth_angstrom=16.0))
    reach = found.shape[-1] - 1
    assert elements(motion) == (6, 79) and found.shape[:2] == (2, 2) and reach == int(FIELD / 0.3)
    for s, e, kx, ky in [(0, 0, 3, 5), (1, 1, -20, 30), (0, 1, 0, 0), (1, 0, -7, 0)]:
        inside = (atoms.numbers == (6, 79)[e]) & (atoms.positions[:, 2] // 8 == s)
        phases = np.exp(-2j * math.pi / FIELD * (atoms.positions[inside, :2] @ [kx, ky]))
        damped = phases.sum() * math.exp(-2 * (math.pi * (0.1, 0.08)[e]) ** 2 * (kx**2 + ky**2) / FIELD**2)
        assert abs(complex(found[s, e, reach + kx, ky]) - damped) < 1e-3


def test_one_atom_is_the_probe_blurred_by_what_it_scatters():
    """A direct sum over frequencies: the atom lies at (x, y), x along the first axis."""
    c = made(aberrations={"C10": -30.0, "C12": 40.0, "phi12": 0.5}, pixel_size_angstrom=0.4)
    x, y, depth = 4.0, 7.2, 2.0
    found = image(cell("Au", [[x, y, 1.0]]), c)
    k = torch.arange(-30, 31, dtype=torch.float64) / FIELD
    qx, qy = k[:, None].expand(61, 61), k.expand(61, 61)
    at_depth = made(aberrations={"C10": -30.0 + depth, "C12": 40.0, "phi12": 0.5})
    spectrum = otf(stack([at_depth]), qx, qy)[0] * torch.from_numpy(detected(79, c, torch.hypot(qx, qy).numpy()))
    for i, j in [(10, 18), (11, 18), (10, 15), (25, 3)]:
        wave = torch.exp(2j * math.pi * (qx * (0.4 * i - x) + qy * (0.4 * j - y)))
        assert float(found[i, j]) == pytest.approx(float((spectrum * wave).real.sum() / FIELD**2), abs=1e-6)


def test_what_the_detector_collects_in_all_is_the_cross_section():
    c = made(aberrations={"C10": -100.0})
    total = image(cell("AuCC", np.full((3, 3), 2.0)), c).double().sum() * c.pixel_size_angstrom**2
    expected = detected(79, c, np.array(0.0)) + 2 * detected(6, c, np.array(0.0))
    assert float(total) == pytest.approx(float(expected), rel=1e-4)


def test_defocus_focuses_below_the_entrance_plane():
    peaks = []
    for depth in (10.0, 40.0):
        atoms = cell("Au", [[6.4, 6.4, depth]], height=50.0)
        config = StemConfig(slice_thickness_angstrom=2.0, depth_angstrom=50.0)
        peaks.append([float(image(atoms, made(defocus_angstrom=d), config).max()) for d in (11.0, 41.0)])
    (upper_sharp, upper_blurred), (lower_blurred, lower_sharp) = peaks
    assert upper_sharp == pytest.approx(lower_sharp, rel=1e-3)
    assert upper_sharp > 1.3 * upper_blurred and lower_sharp > 1.3 * lower_blurred


def test_thermal_motion_blurs_and_keeps_the_electrons():
    atoms, c = cell("Au", [[6.4, 6.4, 2.0]]), made()
    still, warm = image(atoms, c), image(atoms, c, motion=0.3)
    assert float(still.sum()) == pytest.approx(float(warm.sum()), rel=1e-5)
    assert float(warm.max()) < 0.9 * float(still.max())


LOOP = 3 * FIELD
SAMPLES = 192
LIGHT = cell("CSiC", [[3.0, 4.0, 2.0], [8.0, 6.0, 2.0], [5.0, 10.0, 2.0]])


def scanned(scale, aberrations, seen):
    """What a detector sees of exp(iφ), by a Python loop over 16 × 16 places of a probe: Σ seen · |ψ̂|², for several weights `seen`.

    The periodic specimen is repeated 3 × 3, so that the pupil has 39 samples across its radius.
    """
    k = torch.fft.fftfreq(SAMPLES, LOOP / SAMPLES, dtype=torch.float64)
    q2 = k[:, None] ** 2 + k**2
    spectrum = torch.zeros(SAMPLES, SAMPLES, dtype=torch.complex128)
    for number, (x, y, _) in zip(LIGHT.numbers, LIGHT.positions, strict=True):
        for i in range(3):
            for j in range(3):
                wave = torch.exp(-2j * math.pi * (k[:, None] * (x + i * FIELD) + k * (y + j * FIELD)))
                spectrum += interaction_parameter(3e5) * scattering_factor(int(number), q2) * wave * (q2 < 2.2**2)
    exit_wave = torch.exp(1j * scale * torch.fft.ifft2(spectrum / LOOP**2, norm="forward").real)
    p = probe(stack([made(aberrations=aberrations)]), SAMPLES, LOOP / SAMPLES)[0]
    result = torch.zeros(len(seen), 16, 16, dtype=torch.float64)
    for i in range(16):
        for j in range(16):
            pattern = torch.fft.fft2(exit_wave * p.roll((4 * i, 4 * j), (0, 1))).abs().square() / SAMPLES**2
            result[:, i, j] = (pattern * seen).sum((1, 2))
    return result


def test_icom_is_exact_for_a_thin_phase_object():
    """The centre of mass is the probe times the gradient of the phase, however strong the phase is."""
    k = torch.fft.fftfreq(SAMPLES, LOOP / SAMPLES, dtype=torch.float64)
    weights = torch.stack([k[:, None].expand(SAMPLES, SAMPLES), k.expand(SAMPLES, SAMPLES)])
    mass = scanned(1.0, {"C10": -40.0, "C21": 2e3}, weights)
    # The middle of the only slice lies 2 Å below the entrance plane.
    c = made({"kind": "icom"}, aberrations={"C10": -42.0, "C21": 2e3}, pixel_size_angstrom=FIELD / 16)
    imager, stored = imager_of(LIGHT, c, StemConfig(slice_thickness_angstrom=4.0, depth_angstrom=4.0))
    even, step = torch.arange(16, dtype=torch.float64) * c.pixel_size_angstrom, 0.02

    def slope(x, y):
        one, other = (
            imager.intensity(stored, scan=(torch.full_like(even, s * x)[None], (even + s * y)[None]))[0]
            for s in (1, -1)
        )
        return (one - other) / (2 * step) / (2 * math.pi)

    found = torch.stack([slope(step, 0.0), slope(0.0, step)])
    assert ((found - mass).norm() / mass.norm()) < 0.02


@pytest.mark.parametrize(("kind", "inner", "outer"), [("bf", 0.0, 8.0), ("abf", 6.0, 25.0)])
def test_bright_field_of_a_weak_phase_object(kind, inner, outer):
    """Its part that is odd in the phase is the transfer's; the rest grows with the square of the phase."""
    k = torch.fft.fftfreq(SAMPLES, LOOP / SAMPLES, dtype=torch.float64)
    theta = 19.6875 * torch.hypot(k[:, None], k)
    # Where the beam ends its own rim is soft.
    high = ((outer - theta) / (19.6875 / LOOP) + 0.5).clamp(0, 1) if outer < 20 else (theta < outer).double()
    seen = high * (((theta - inner) / (19.6875 / LOOP) + 0.5).clamp(0, 1) if inner else 1.0)
    share = (min(outer, 20.0) ** 2 - inner**2) / 20.0**2
    detector = {"kind": kind, "inner_mrad": inner, "outer_mrad": outer}
    contrast = image(LIGHT, made(detector, aberrations={"C10": -62.0}, pixel_size_angstrom=FIELD / 16)) / share - 1
    parts = {x: scanned(x, {"C10": -60.0}, seen[None])[0] / share for x in (0.5, -0.5, 0.25, -0.25)}
    assert ((parts[0.5] - parts[-0.5] - contrast).norm() / contrast.norm()) < 0.02
    assert float((parts[0.5] + parts[-0.5]).std() / (parts[0.25] + parts[-0.25]).std()) == pytest.approx(4, rel=0.05)


def test_counts_are_poisson_numbers_of_the_beams_electrons():
    c = made(dose_per_angstrom2=5e6, pixel_size_angstrom=0.4)
    imager, stored = imager_of(cell("Au", [[6.4, 6.4, 2.0]]), c, motion=0.1)
    mean = imager.intensity(stored) * c.electrons_per_pixel
    counts = imager.record(imager.intensity(stored), generator=torch.Generator().manual_seed(0))
    assert torch.equal(counts, counts.round())
    deviation = (counts - mean) / mean.sqrt()
    assert abs(float(deviation.mean())) < 0.1 and float(deviation.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("quadrants", [False, True])
def test_the_noise_of_icom_is_that_of_its_electrons(quadrants):
    """Electrons drawn one by one from the beam, their centre of mass integrated."""
    detector = {"kind": "icom"} | ({"quadrants": True, "outer_mrad": 40.0} if quadrants else {})
    c = made(detector, dose_per_angstrom2=1000.0, pixel_size_angstrom=0.4)
    imager = Imager(c, FIELD, StemConfig(), (79,))
    n, electrons = imager.pixels, int(c.electrons_per_pixel)
    noise = imager.record(torch.zeros(1, n, n), generator=torch.Generator().manual_seed(1))[0]
    rng = np.random.default_rng(2)
    radius, angle = np.sqrt(rng.uniform(0, 1, (n, n, electrons))), rng.uniform(0, 2 * math.pi, (n, n, electrons))
    end = 0.02 / 0.0196875
    x, y = end * radius * np.cos(angle), end * radius * np.sin(angle)
    if quadrants:
        weight = math.pi * end / (2 * math.sqrt(2))
        x, y = (weight * np.sign(a) * (np.abs(a) > np.abs(b)) for a, b in ((x, y), (y, x)))
    q = np.fft.fftfreq(n, 0.4)
    q2 = q[:, None] ** 2 + q**2
    q2[0, 0] = 1
    fx, fy = np.fft.fft2(x.mean(-1)), np.fft.fft2(y.mean(-1))
    drawn = np.fft.ifft2((q[:, None] * fx + q * fy) / (1j * q2)).real
    # A few slow waves carry most of the power.
    assert np.std(np.diff(drawn, axis=0)) == pytest.approx(float(noise.diff(dim=0).std()), rel=0.1)


def test_lines_jitter_and_frames_drift():
    atom = cell("Au", [[6.4, 6.4, 2.0]])
    even, stored = imager_of(atom, made(), motion=0.1)
    straight = even.intensity(stored)[0]
    assert even.scan(1, torch.Generator()) is None
    moving, _ = imager_of(atom, made(drift_angstrom=6.4))
    places = moving.scan(1, torch.Generator().manual_seed(0))
    image = moving.intensity(stored, scan=places)[0]
    # A drift along x by half the field moves the atom, met after half of the lines, by a quarter of it.
    assert np.unravel_index(int(straight.argmax()), (64, 64)) == (32, 32)
    assert np.unravel_index(int(image.argmax()), (64, 64)) == (48, 32)
    jittered, _ = imager_of(atom, made(line_jitter_angstrom=0.5))
    x, y = jittered.scan(1, torch.Generator().manual_seed(0))
    assert float(x.std()) == pytest.approx(0.5, rel=0.3)
    line = jittered.intensity(stored, scan=(x, y))[0, :, 20]
    assert int(line.argmax()) == round((6.4 - float(x[0, 20])) / 0.2)


def test_the_truth_is_scanned_as_the_image():
    c = made(line_jitter_angstrom=0.8, drift_angstrom=4.0, drift_angle_rad=1.0)
    disc = np.hypot(*(np.mgrid[:64, :64] * 0.2 - 6.4)) < 3
    positions = np.argwhere(disc)[::2] * 0.2
    gold = cell("Au" * len(positions), np.column_stack([positions, np.full(len(positions), 2.0)]))
    imager, stored = imager_of(gold, c, motion=0.1)
    made_ = imager.images(stored, torch.from_numpy(disc)[None], seed=3)
    bright = made_.counts[0] > 0.5 * made_.counts[0].quantile(0.95)
    assert (bright == made_.masks[0]).float().mean() > 0.97


def test_a_band_that_ends_with_the_step_gives_finer_scans_resampled():
    """The image at 0.8 Å is the fine scan's spectrum cut at its Nyquist frequency; with the whole band the lattice aliases."""
    atoms = cell("Au" * 12, np.random.default_rng(2).uniform(0, 1, (12, 3)) * [FIELD, FIELD, 4.0])
    fine = image(atoms, made(pixel_size_angstrom=0.1), StemConfig(depth_angstrom=4.0, band_per_angstrom=3.4))
    spectrum = torch.fft.fftshift(torch.fft.fft2(fine.double()))
    # 16 pixels of 0.8 Å carry the frequencies −7 to 7, and at 8 the wave and its mirror image fall together.
    kept = spectrum[56:73, 56:73]
    at = 0.8 * torch.arange(16, dtype=torch.float64) / FIELD
    waves = torch.polar(torch.ones(17, 16, dtype=torch.float64), 2 * math.pi * torch.arange(-8, 9)[:, None] * at)
    expected = (waves.T @ kept @ waves).real / fine.numel()
    coarse = made(pixel_size_angstrom=0.8)
    resampled = image(atoms, coarse, StemConfig(depth_angstrom=4.0, band_per_angstrom=0.625))
    aliased = image(atoms, coarse, StemConfig(depth_angstrom=4.0, band_per_angstrom=3.4))
    assert (resampled - expected).abs().max() < 1e-3 * expected.abs().max()
    assert (aliased - expected).abs().max() > 0.2 * expected.abs().max()
    assert torch.allclose(aliased, fine[::8, ::8], atol=1e-5)


@pytest.mark.parametrize(
    ("condition", "config", "message"),
    [
        (made(pixel_size_angstrom=0.3), StemConfig(), "does not divide the field of 12.8 Å"),
        (
            made(convergence_semiangle_mrad=40.0),
            StemConfig(),
            "transfers up to 4.06 1/Å, and 3.33 1/Å are stored; raise stem.band_per_angstrom to 4.07",
        ),
    ],
)
def test_refused_before_any_work(condition, config, message):
    with pytest.raises(BadInputError, match=message):
        Imager(condition, FIELD, config, (79,))


def test_simulate_gives_the_same_images_again_and_hrtems_masks():
    c = StemCondition.preset("probe_corrected_300kv").varied(pixel_size_angstrom=0.4)
    first, again = (pb.simulate("gold_on_carbon", c, n=1) for _ in range(2))
    assert np.array_equal(first.images, again.images) and first.images.shape == (1, 128, 128)
    tem = pb.simulate("gold_on_carbon", "titan_corrected_300kv", n=1)
    assert np.array_equal(first.masks, tem.masks)
    inside = first.images[first.masks].mean()
    assert inside > 5 * first.images[~first.masks].mean()
    assert not np.array_equal(first.images, pb.simulate("gold_on_carbon", c, n=1, noise_seed=5).images)


def test_metrics_of_two_haadf_conditions_by_a_sum_over_the_band():
    train, test = made(focal_spread_angstrom=10.0), made(defocus_angstrom=50.0, focal_spread_angstrom=10.0)
    found = measure(["epsilon", "sigma"], [train], [test])
    q = (torch.arange(-30, 30, dtype=torch.float64) + 0.5) / 30
    qx, qy = torch.meshgrid(q, q, indexing="ij")
    inside = torch.hypot(qx, qy) <= 1
    a, b = otf(stack([train, test]), qx[inside], qy[inside]).abs()
    assert float(found["epsilon_train"]) == pytest.approx(float(a.mean()), rel=0.01)
    assert float(found["epsilon_test"]) == pytest.approx(float(b.mean()), rel=0.01)
    assert float(found["sigma"]) == pytest.approx(float(torch.minimum(a, b).sum() / a.sum()), rel=0.01)


def test_what_lies_outside_the_domain_is_said():
    upright = cell("Au" * 6, [[6.4, 6.4, 2 + 4 * i] for i in range(6)], height=24.0)
    thick = cell("Au", [[6.4, 6.4, 40.0]], height=90.0)
    apart = cell("AuAu", [[3.0, 6.4, 2.0], [9.0, 6.4, 2.0]])

    def said(atoms, condition):
        return warnings(condition, [atoms])

    usual = made(source_size_angstrom=0.35)
    assert said(apart, usual) == []
    assert "resolves columns of heavy atoms (6 behind one another" in said(upright, usual)[0]
    assert "with 0.45 or more" in said(upright, usual)[0] and said(upright, made(source_size_angstrom=0.5)) == []
    assert "90 Å thick" in said(thick, usual)[0]
    assert "with 0.35 or more" in said(apart, made())[0]
    assert "beyond a weak phase object" in said(upright, made({"kind": "icom"}))[0]
    assert said(cell("C", [[6.4, 6.4, 2.0]]), made({"kind": "icom"})) == []


@pytest.mark.parametrize("orientation", range(8))
def test_a_turned_specimen_is_imaged_by_the_same_probe(orientation):
    """Atoms are turned one by one; pixel i goes to n − 1 − i, as `symmetry.turn` flips."""
    rng = np.random.default_rng(3)
    places = rng.uniform(0, FIELD, (5, 3)) * [1, 1, 0.3]
    c = made(aberrations={"C10": -60.0, "C12": 80.0, "phi12": 0.4, "C21": 2e3, "phi21": 1.0}, pixel_size_angstrom=0.4)
    turned = places.copy()
    for axis, bit in ((0, 1), (1, 2)):
        if orientation & bit:
            turned[:, axis] = FIELD - 0.4 - turned[:, axis]
    if orientation & 4:
        turned[:, :2] = turned[:, 1::-1]
    expected = image(cell("AuCAuSiC", turned % FIELD), c)
    imager, stored = imager_of(cell("AuCAuSiC", places), c)
    found = imager.intensity(stored, torch.tensor([orientation]))[0]
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_specimen_too_thick_for_its_room_is_refused():
    with pytest.raises(
        BadInputError,
        match="takes 90.0 Å along the beam, and 64 Å are stored; use thinner specimens, or in a study set stem.depth_angstrom to 90",
    ):
        structure_factors(cell("C", [[6.4, 6.4, 2.0]], height=90.0), {"C": 0.1}, StemConfig())


def test_what_a_source_blurs_away_is_left_out():
    sharp, blurred = made(), made(source_size_angstrom=0.4)
    assert transferred(sharp) == sharp.cutoff_per_angstrom and transferred(blurred) < 1.75
    atom = cell("Au", [[6.4, 6.4, 2.0]])
    whole = image(atom, sharp)
    q = torch.fft.fftfreq(len(whole), 0.2)
    envelope = torch.exp(-2 * (math.pi * 0.4) ** 2 * (q[:, None] ** 2 + q**2))
    by_hand = torch.fft.ifft2(torch.fft.fft2(whole) * envelope).real
    assert (image(atom, blurred) - by_hand).abs().max() < 1e-3 * by_hand.max()
