import numpy as np
import pytest

from passband.micrographs.cleaning import clean

SIDE = 512


def poisson(mean, *, seed=0, side=1024):
    return np.random.default_rng(seed).poisson(mean, (side, side)).astype(np.float32)


def lattice(period, dose, radius, *, side=SIDE, seed=0):
    """A crystal with full contrast in the middle of a vacuum; its planes lie askew to the pixels."""
    y, x = np.mgrid[:side, :side] - side / 2.0
    along, across = 0.9 * x + 0.44 * y, -0.44 * x + 0.9 * y
    waves = np.cos(2 * np.pi * along / period) * np.cos(2 * np.pi * across / (1.15 * period))
    inside = 1 / (1 + np.exp(np.hypot(x, y) - radius))
    return np.random.default_rng(seed).poisson(dose * (1 + 0.8 * waves * inside)).astype(np.float32)


@pytest.mark.parametrize("mean", [0.003, 0.05, 0.5, 5, 100, 10_000])
def test_noise_is_left_alone(mean):
    """Fewer than one pixel in 100,000; in these twelve million it is a handful at most, and only of single electrons."""
    changed = sum(int((clean(image).intensity != image).sum()) for image in (poisson(mean, seed=s) for s in range(2)))
    assert changed <= (4 if mean < 1 else 0)


@pytest.mark.parametrize("period", [2.3, 3.0, 5.0, 10.0, 25.0])
@pytest.mark.parametrize("dose", [5, 100, 100_000])
def test_lattices_are_left_alone(period, dose):
    for radius in (12, 100, 1000):
        image = lattice(period, dose, radius)
        assert clean(image).intensity is image, radius


def test_fringes_along_the_rows_are_no_dead_rows():
    y = np.arange(SIDE)[:, None] + np.zeros(SIDE)
    for period in (2.5, 4.0, 9.0):
        for inside in (np.ones_like(y), (abs(y - 250) < 20)):
            mean = 200 * (1 + 0.8 * np.cos(2 * np.pi * y / period) * inside)
            image = np.random.default_rng(0).poisson(mean).astype(np.float32)
            assert clean(image).lines == 0
    edge = np.where(y < 200, 300.0, 100.0)
    assert clean(np.random.default_rng(0).poisson(edge).astype(np.float32)).intensity.shape == edge.shape


@pytest.mark.parametrize(
    "image", [poisson(100, side=SIDE), lattice(5.0, 100, 150), lattice(2.5, 400, 1000)], ids=["noise", "a", "b"]
)
def test_spikes_and_dead_pixels_are_counted_and_replaced(image):
    faulty = image.copy()
    faulty[100, 100] = 3000
    faulty[0, 0] = 4000
    faulty[200, 300:302] = 5000, 1500
    faulty[400:402, 50] = 3000
    faulty[410:412, 250:252] = 6000
    faulty[511, 240] = 2500
    faulty[300, 300] = faulty[50, 450] = -2000
    found = clean(faulty)
    assert (found.spikes, found.dead, found.lines) == (6, 2, 0)
    assert found.sentence == "6 spikes and 2 dead pixels replaced by the local median"
    touched = found.intensity != faulty
    assert (touched >= (faulty != image)).all() and touched.sum() < 40
    assert abs(found.intensity - image).max() < 2 * (image.max() - image.min())
    assert found.intensity[touched].min() >= image.min() and found.intensity[touched].max() <= image.max()
    assert faulty[100, 100] == 3000


def test_a_pixel_that_counts_nothing_is_found_where_that_is_no_chance():
    image = poisson(200, side=SIDE)
    image[77, 78] = image[300, 12] = 0
    found = clean(image)
    assert (found.spikes, found.dead) == (0, 2) and found.sentence == "2 dead pixels replaced by the local median"
    assert 150 < found.intensity[77, 78] < 250


def test_dead_rows_and_columns_are_replaced():
    image = poisson(100)
    faulty = image.copy()
    faulty[500] = 0
    faulty[:, 30:32] *= 1.6
    faulty[0] = 77
    found = clean(faulty)
    assert (found.lines, found.spikes, found.dead) == (4, 0, 0)
    assert found.sentence == "4 dead rows or columns replaced by the local median"
    touched = found.intensity != faulty
    assert (touched[500]).mean() > 0.9 and not touched[:, 40:][10:400].any()
    assert 95 < found.intensity[500].mean() < 105 and 95 < found.intensity[:, 30].mean() < 105


def test_margins_and_repeated_patterns_are_no_faults():
    image = poisson(100)
    image[:40] = 0
    image[:, -25:] = 0
    assert clean(image).intensity is image
    image = poisson(5)
    image[::20, ::20] = 5000
    assert clean(image).intensity is image


def test_one_fault_is_named_in_the_singular():
    image = poisson(100, side=SIDE)
    image[10, 20] = 1e6
    image[50, 60] = -1e6
    image[:, 200] = 0
    assert clean(image).sentence == "1 spike and 1 dead pixel and 1 dead row or column replaced by the local median"
    assert clean(poisson(100, side=SIDE)).sentence == "no spikes or dead pixels found"


def test_units_and_offset_do_not_matter():
    image = poisson(100, side=SIDE)
    image[100, 100] = 3000
    for gain, offset in ((1.0, 0.0), (1e-6, 0.0), (1e6, -5e7), (-1.0, 0.0)):
        found = clean((gain * image + offset).astype(np.float32))
        assert found.spikes + found.dead == 1


def test_narrow_and_tall_images_are_fine():
    for shape in ((64, 3000), (3000, 64), (700, 513)):
        image = np.random.default_rng(0).poisson(50, shape).astype(np.float32)
        image[40, 45] = 4000
        found = clean(image)
        assert (found.spikes, found.dead, found.lines) == (1, 0, 0)


def test_values_at_the_end_of_what_a_float_holds_raise_no_warning():
    image = np.random.default_rng(0).uniform(-3.4e38, 3.4e38, (200, 200)).astype(np.float32)
    image[50, 50] = 3.4e38
    assert np.isfinite(clean(image).intensity).all()


def test_a_flat_image_has_no_faults():
    flat = np.full((100, 100), 3.0, dtype=np.float32)
    assert clean(flat).intensity is flat
