"""A segmentation corrected by hand: its table, and its files read back as labels."""

import numpy as np
import polars as pl
import pytest
import tifffile

from passband.app.corrected import corrected, label_files
from passband.app.tables import lattices, table_files
from passband.micrographs.labels import read_labelled
from passband.micrographs.lattice import Spacing, spacing_columns
from passband.micrographs.measure_particles import measured
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import Segmentation
from passband.specimens.crystals import library_crystal

PIXEL = 0.4
Y, X = np.mgrid[:128, :160] + 0.5


def disc(x, y, radius):
    return np.hypot(X - x, Y - y) <= radius


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    instances = np.zeros(X.shape, np.int32)
    for number, (x, y) in enumerate(((40, 40), (110, 40), (40, 90)), 1):
        instances[disc(x, y, 18)] = number
    image = Micrograph(rng.poisson(100 - 30 * (instances > 0)).astype(np.float32), PIXEL, name="gold [1].dm4")
    probability = np.where(instances > 0, 0.9, 0.1).astype(np.float32)
    spacings = [
        [Spacing(2.36, 0.02, (0.42, 0.0), 30.0, 0.004, 0.005)],
        [],
        [Spacing(2.04, 0.02, (0.49, 0.0), 30.0, 0.004, 0.005), Spacing(1.44, 0.02, (0.69, 0.0), 20.0, 0.004, 0.005)],
    ]
    table = measured(instances, PIXEL, probability).with_columns(
        pl.Series("confidence", [0.9, 0.8, 0.7]),
        pl.Series("region", [1, 2, 3]),
        *spacing_columns(spacings, [library_crystal("Au")]),
    )
    return Segmentation(image, probability, instances > 0, instances, table)


def test_what_has_not_changed_keeps_confidence_and_lattice(found):
    numbers = found.instances.copy()
    numbers[disc(110, 40, 18)] = 0
    numbers[disc(40, 90, 20)] = 3
    numbers[disc(120, 100, 12)] = 9
    numbers[disc(45, 35, 6)] = 1
    result = corrected(found, numbers)
    table = result.particles
    assert table.columns == found.particles.columns and table["particle"].to_list() == [1, 2, 3]
    assert np.array_equal(np.unique(result.instances), [0, 1, 2, 3]) and np.array_equal(result.mask, numbers > 0)
    # The first is as it was; the second has grown, and the third is new.
    assert table["confidence"].to_list() == [0.9, None, None]
    assert table["spacing_1_angstrom"].to_list() == [2.36, None, None]
    areas = [(result.instances == n).sum() * PIXEL**2 for n in (1, 2, 3)]
    assert table["area_angstrom2"].to_list() == pytest.approx(areas)
    assert "–" in result.table_html()
    measured_anew = corrected(found, numbers, [library_crystal("Au")])
    assert measured_anew.particles["crystalline"].null_count() == 0


def test_particles_that_touch_share_a_region(found):
    numbers = found.instances.copy()
    numbers[35:45, 55:95] = 7
    table = corrected(found, numbers).particles
    assert table["region"].to_list() == [1, 1, 1, 2]


def test_labels_are_read_back_by_what_tunes_models(found, tmp_path):
    for offer in label_files(found):
        folder = tmp_path / offer.label
        folder.mkdir()
        scale = {"resolution": (10 / PIXEL, 10 / PIXEL), "metadata": {"unit": "nm"}}
        name = "gold _1_.tif" if not offer.name.endswith("json") else "gold [1].tif"
        tifffile.imwrite(folder / name, found.micrograph.intensity, imagej=True, **scale)
        (folder / offer.name).write_bytes(offer.make())
        [item] = read_labelled(folder, folder)
        assert np.array_equal(item.truth, found.instances), offer.label
    assert [offer.name.rpartition("_")[2] for offer in label_files(found)] == ["labels.tif", "rois.zip", "coco.json"]


def test_without_particles_there_are_empty_labels(found, tmp_path):
    nothing = corrected(found, np.zeros_like(found.instances))
    [offer] = label_files(nothing)
    (tmp_path / offer.name).write_bytes(offer.make())
    assert not tifffile.imread(tmp_path / offer.name).any()
    assert len(nothing.particles) == 0 and table_files(nothing) == []


def test_tables_are_read_back_from_csv_and_tabs(found):
    offers = {offer.label: offer for offer in table_files(found)}
    sizes = pl.read_csv(offers["sizes (CSV)"].make())
    assert sizes["equivalent_diameter_angstrom"].to_list() == pytest.approx(
        found.particles["equivalent_diameter_angstrom"].to_list(), abs=1e-3
    )
    assert not [c for c in sizes.columns if "spacing" in c]
    copied = pl.read_csv(offers["copy lattices"].make(), separator="\t")
    assert copied.select("particle", "spacing_angstrom").rows() == [(1, 2.36), (3, 2.04), (3, 1.44)]
    assert "Au {111}" in copied["reflection"][0] and offers["copy lattices"].copied
    assert copied.columns == lattices(found).columns
