import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.wave_store import WaveSet, wave_id
from passband.specimens import SpecimenRecipe

RECIPE = SpecimenRecipe()
CONFIG = ExitWaveConfig(sampling_angstrom=0.5, band_per_angstrom=0.5)


@pytest.fixture
def waves(tmp_path):
    result = WaveSet(tmp_path / "set", RECIPE, CONFIG)
    result.create(3, (2, 50))
    for i in range(3):
        result.write(i, *content(i), {"atoms": i})
    return result


def content(i):
    rng = np.random.default_rng(i)
    coefficients = (rng.standard_normal((2, 50)) + 1j).astype(np.complex64)
    return coefficients, rng.random((103, 103)) > 0.5


def test_round_trip_and_manifest(waves):
    coefficients, masks = waves.read(1, 3)
    assert np.array_equal(coefficients[1], content(2)[0])
    assert np.array_equal(masks[0], content(1)[1])
    assert [f["atoms"] for f in waves.facts(3)] == [0, 1, 2]
    assert waves.missing(3) == []


def test_more_specimens_only_add(waves):
    before = waves.read(0, 3)[0]
    waves.create(5, (2, 50))
    assert waves.missing(5) == [3, 4]
    waves.create(2, (2, 50))
    assert waves.missing(5) == [3, 4]
    assert np.array_equal(waves.read(0, 3)[0], before)


def test_lost_chunk_is_not_read_as_zeros(waves):
    [chunk] = (waves.folder / "waves.zarr" / "coefficients").rglob("1/0/0")
    chunk.unlink()
    assert waves.missing(3) == [1]
    with pytest.raises(BadInputError, match="specimen 1 is not as it was written.*delete this folder"):
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


def test_damage_that_cannot_be_mended_is_one_clear_line(waves):
    (waves.folder / "waves.zarr" / "zarr.json").write_text("")
    with pytest.raises(BadInputError, match="delete this folder"):
        waves.create(3, (2, 50))


def test_id_follows_the_physics():
    assert wave_id(RECIPE, CONFIG) == wave_id(SpecimenRecipe(), CONFIG)
    assert wave_id(RECIPE, CONFIG) != wave_id(SpecimenRecipe(seed=2), CONFIG)
    assert wave_id(RECIPE, CONFIG) != wave_id(RECIPE, ExitWaveConfig())
