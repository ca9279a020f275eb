import json

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.simulation.hrtem import stored_shape
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.wave_store import WaveSet, wave_id
from passband.specimens import SpecimenRecipe

RECIPE = SpecimenRecipe()
CONFIG = ExitWaveConfig(sampling_angstrom=0.5, band_per_angstrom=0.5, phonon_configurations=2)
FACTS = dict.fromkeys(("particles", "mask_share", "lost_intensity", "dropped_intensity", "seconds"), 0.0)


@pytest.fixture
def waves(tmp_path):
    result = WaveSet(tmp_path / "set", RECIPE, CONFIG)
    result.create(3)
    for i in range(3):
        result.write(i, *content(i), FACTS | {"atoms": i})
    return result


def content(i):
    rng = np.random.default_rng(i)
    coefficients = (rng.standard_normal(stored_shape(RECIPE, CONFIG)) + 1j).astype(np.complex64)
    return coefficients, rng.random((103, 103)) > 0.5


def test_round_trip_and_manifest(waves):
    coefficients, masks = waves.read(1, 3)
    assert np.array_equal(coefficients[1], content(2)[0])
    assert np.array_equal(masks[0], content(1)[1])
    assert [f["atoms"] for f in waves.facts(3)] == [0, 1, 2]
    assert waves.missing(3) == []


def test_more_specimens_only_add(waves):
    before = waves.read(0, 3)[0]
    waves.create(5)
    assert waves.missing(5) == [3, 4]
    waves.create(2)
    assert waves.missing(5) == [3, 4]
    assert np.array_equal(waves.read(0, 3)[0], before)


def test_lost_chunk_is_not_read_as_zeros(waves):
    [chunk] = (waves.folder / "waves.zarr" / "coefficients").rglob("1/0/0")
    chunk.unlink()
    assert waves.missing(3) == [1]
    with pytest.raises(BadInputError, match="specimen 1 is not as it was written.*run the same command again"):
        waves.read(0, 3)


def test_damaged_chunk_is_found(waves):
    [chunk] = (waves.folder / "waves.zarr" / "coefficients").rglob("2/0/0")
    data = bytearray(chunk.read_bytes())
    data[100] ^= 1
    chunk.write_bytes(data)
    assert waves.missing(3) == [2]
    with pytest.raises(BadInputError, match="missing or damaged"):
        waves.read(0, 3)


@pytest.mark.parametrize("text", ['{"dig', "{}", "[]", ""])
def test_half_written_manifest_entry(waves, text):
    (waves.folder / "manifest" / "000000.json").write_text(text)
    assert waves.missing(3) == [0]


def test_manifest_beyond_the_array(waves):
    (waves.folder / "manifest" / "000003.json").write_text('{"digest": "00"}')
    assert waves.missing(4) == [3]


def flipped(data):
    """Every file that differs in one bit, a few from all over it."""
    for bit in range(3, 8 * len(data), 101):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("name", ["zarr.json", "coefficients/zarr.json", "masks/zarr.json"])
def test_a_damaged_description_is_made_again_and_no_wave_is_lost(waves, name):
    path = waves.folder / "waves.zarr" / name
    before, whole = waves.read(0, 3), path.read_bytes()
    for damaged in (b"", b"[]", whole[:-9], b"\xff" + whole[1:], *flipped(whole)):
        path.write_bytes(damaged)
        assert waves.missing(3) == []
        assert all(np.array_equal(a, b) for a, b in zip(before, waves.read(0, 3), strict=True))
    path.unlink()
    assert waves.missing(3) == []
    waves.create(3)
    assert json.loads(path.read_text()) == json.loads(whole)


def test_a_flipped_bit_of_the_manifest_costs_one_specimen(waves):
    path = waves.folder / "manifest" / "000001.json"
    whole = path.read_bytes()
    content = json.loads(whole)
    for damaged in flipped(whole):
        path.write_bytes(damaged)
        found = waves.missing(3)
        assert found == [1] or (found == [] and json.loads(damaged) == content)
    path.unlink()
    with pytest.raises(BadInputError, match="manifest entry of specimen 1 is missing"):
        waves.facts(3)


def test_a_manifest_of_an_older_version_is_read(waves):
    for path in (waves.folder / "manifest").glob("*.json"):
        content = json.loads(path.read_text())
        del content["checksum"]
        path.write_text(json.dumps(content))
    assert waves.missing(3) == [] and [f["atoms"] for f in waves.facts(3)] == [0, 1, 2]
    path.write_text(path.read_text().replace("lost_intensity", "lost_intensitz"))
    assert len(waves.missing(3)) == 1


def test_id_follows_the_physics():
    assert wave_id(RECIPE, CONFIG) == wave_id(SpecimenRecipe(), CONFIG)
    assert wave_id(RECIPE, CONFIG) != wave_id(SpecimenRecipe(seed=2), CONFIG)
    assert wave_id(RECIPE, CONFIG) != wave_id(RECIPE, ExitWaveConfig())
