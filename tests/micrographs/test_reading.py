import sys

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.micrographs.reading import read_micrographs
from support import files
from support.files import ENERGY, PIXEL, image

# The worker ends soon; what its readers leave open is closed late here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed"),
]


def array(found):
    return found.intensity if hasattr(found, "intensity") else found["intensity"]


MOVIE = np.stack([image(seed=i, dtype=np.uint16) for i in range(3)])
FORMATS = {
    "a.dm3": lambda path: files.write_dm(path, image()),
    "a.dm4": lambda path: files.write_dm(path, image(dtype=np.uint16)),
    "a.mrc": lambda path: files.write_mrc(path, image(dtype=np.uint16)),
    "a.tif": lambda path: files.write_tiff(path, image()),
    "velox.emd": lambda path: files.write_velox(path, image(dtype=np.int16)),
    "ncem.emd": lambda path: files.write_ncem(path, image()),
    "a.hspy": lambda path: files.write_hspy(path, image()),
    "a.png": lambda path: files.write_png(path, image(dtype=np.uint8)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_each_format_comes_back_with_its_calibration(tmp_path, name):
    path = FORMATS[name](tmp_path / name)
    (found,) = read_micrographs(path, pixel_size_angstrom=PIXEL if name == "a.png" else None)
    assert np.array_equal(found.intensity, image(dtype=np.uint8) if name == "a.png" else image())
    assert found.intensity.dtype == np.float32
    assert found.pixel_size_angstrom == pytest.approx(PIXEL, rel=1e-6)
    assert found.name == name
    known = name not in ("a.mrc", "a.tif", "a.png")
    assert found.energy_ev == (ENERGY if known else None)
    said = "energy 300000 eV, from the file's metadata" if known else "energy not given"
    assert found.notes[1:] == (said, "dose not given", "no spikes or dead pixels found")
    assert found.notes[0].startswith("pixel size 0.2500 Å, " + ("given" if name == "a.png" else "from the file"))


STACKS = {
    "movie.mrcs": lambda path: files.write_mrc(path, MOVIE),
    "fractions.tif": lambda path: files.write_tiff(path, MOVIE, axes="ZYX"),
    "timed.tif": lambda path: files.write_tiff(path, MOVIE, axes="TYX"),
    "timed.dm4": lambda path: files.write_dm(path, MOVIE, stack_units="s"),
    "velox.emd": lambda path: files.write_velox(path, MOVIE),
    "ncem.emd": lambda path: files.write_ncem(path, MOVIE),
    "timed.hspy": lambda path: files.write_hspy(path, MOVIE),
}


@pytest.mark.parametrize("name", STACKS)
def test_a_movie_is_summed_and_that_is_said(tmp_path, read_here, name):
    path = STACKS[name](tmp_path / name)
    (found,) = read_here(path)
    assert np.array_equal(found["intensity"], MOVIE.sum(axis=0))
    assert found["notes"][:-3] == ["a movie of 3 images, summed without alignment"]
    each = read_here(path, "each")
    assert np.array_equal([one["intensity"] for one in each], MOVIE)
    (second,) = read_here(path, 1)
    assert np.array_equal(second["intensity"], MOVIE[1]) and second["number"] == 1
    assert "frames counts from 0 to 2" in read_here(path, 3)


def test_another_stack_gives_an_image_each(tmp_path, read_here):
    for path in (
        files.write_mrc(tmp_path / "a.mrc", MOVIE),
        files.write_tiff(tmp_path / "a.tif", MOVIE, axes="ZYX"),
        files.write_dm(tmp_path / "a.dm4", MOVIE),
        files.write_hspy(tmp_path / "a.hspy", MOVIE, stack=("tilt", "°")),
        files.write_ncem(tmp_path / "a.emd", MOVIE, first=("tilt", "[deg]")),
    ):
        found = read_here(path)
        assert np.array_equal([one["intensity"] for one in found], MOVIE), path
        assert [one["number"] for one in found] == [0, 1, 2]
        (summed,) = read_here(path, "sum")
        assert np.array_equal(summed["intensity"], MOVIE.sum(axis=0))
        assert "a stack of 3 images, summed" in summed["notes"]


def test_images_of_an_array_are_numbered_in_their_names():
    found = read_micrographs(MOVIE, pixel_size_angstrom=0.2, energy_ev=200e3, dose_per_angstrom2=500)
    assert [one.name for one in found] == ["array#0", "array#1", "array#2"]
    assert found[1].notes[:4] == (
        "image 1 of 3, counted from 0",
        "pixel size 0.2000 Å, given",
        "energy 200000 eV, given",
        "dose 500 e/Å², given",
    )
    assert np.array_equal(found[2].intensity, MOVIE[2])


def test_what_is_given_overrides_the_file_and_both_are_said(tmp_path):
    path = files.write_dm(tmp_path / "a.dm4", image(), scale=0.021)
    (found,) = read_micrographs(path, pixel_size_angstrom=0.2, energy_ev=ENERGY, dose_per_angstrom2=300)
    assert (found.pixel_size_angstrom, found.energy_ev, found.dose_per_angstrom2) == (0.2, ENERGY, 300)
    assert found.notes[:3] == (
        "pixel size 0.2000 Å, given; the file says 0.2100 Å",
        "energy 300000 eV, given, as the file says",
        "dose 300 e/Å², given",
    )


class Signal:
    """What HyperSpy's Signal2D looks like from outside."""

    def __init__(self, data, axes, metadata):
        self.data, self._axes, self._metadata = data, axes, metadata
        self.axes_manager = self.metadata = None
        self.axes_manager = type(
            "Axes", (), {"as_dictionary": lambda _: {f"axis-{i}": a for i, a in enumerate(axes)}}
        )()
        self.metadata = type("Tree", (), {"as_dictionary": lambda _: metadata})()


def test_a_hyperspy_signal_is_read_as_a_file_is():
    axes = [
        {"size": 3, "name": "time", "units": "s", "scale": 0.1, "navigate": True},
        {"size": 72, "name": "y", "units": "nm", "scale": 0.025, "navigate": False},
        {"size": 96, "name": "x", "units": "nm", "scale": 0.025, "navigate": False},
    ]
    metadata = {
        "General": {"title": "gold"},
        "Signal": {"signal_type": ""},
        "Acquisition_instrument": {"TEM": {"beam_energy": 80.0, "Dose (e-/A^2)": 120.0}},
    }
    (found,) = read_micrographs(Signal(MOVIE, axes, metadata))
    assert np.array_equal(found.intensity, MOVIE.sum(axis=0))
    assert (found.name, found.pixel_size_angstrom, found.energy_ev) == ("gold", 0.25, 80e3)
    assert found.dose_per_angstrom2 == 120
    assert found.notes[:2] == ("a movie of 3 images, summed without alignment", "pixel size 0.2500 Å, from the signal")
    with pytest.raises(BadInputError, match=r"^gold: holds a signal of type EELS, which is no image"):
        read_micrographs(Signal(MOVIE, axes, metadata | {"Signal": {"signal_type": "EELS"}}))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (image(), {}, "array: its pixel size is not known (an array has none), and none is assumed; give it with pixel_size_angstrom"),
        (image(), {"pixel_size_angstrom": 30.0}, "its pixel size of 30 Å is not that of a high-resolution TEM image"),
        (image(), {"pixel_size_angstrom": -1.0}, "pixel_size_angstrom -1: has to be a positive number"),
        (image(), {"pixel_size_angstrom": float("nan")}, "pixel_size_angstrom nan: has to be a positive number"),
        (image(), {"pixel_size_angstrom": 0.2, "energy_ev": 200.0}, "its energy of 200 eV is not that of a transmission"),
        (image(), {"pixel_size_angstrom": 0.2, "dose_per_angstrom2": 0.0}, "dose_per_angstrom2 0: has to be a positive number"),
        (image(), {"pixel_size_angstrom": 0.2, "frames": "all"}, "frames 'all': is neither a number from 0, sum nor each"),
        (image(), {"pixel_size_angstrom": 0.2, "frames": 1}, "has 1 image, and number 1 is asked for; frames counts from 0 to 0"),
        (np.zeros((70, 70)), {"pixel_size_angstrom": 0.2}, "every pixel has the value 0, so there is no image in it"),
        (image() + 0j, {"pixel_size_angstrom": 0.2}, "holds complex values"),
        (image().astype(object), {"pixel_size_angstrom": 0.2}, "holds values of type object, which are no intensities"),
        (image().ravel(), {"pixel_size_angstrom": 0.2}, "holds one-dimensional data"),
        (np.zeros((2, 2, 70, 70)), {"pixel_size_angstrom": 0.2}, "holds 4-dimensional data"),
        (image(20, 80), {"pixel_size_angstrom": 0.2}, "claims images of 20 x 80 pixels; a micrograph has 64 to 16384"),
        (np.where(image() == 5, np.nan, image()), {"pixel_size_angstrom": 0.2}, "holds values that are not finite"),
        (np.full((70, 70), 7.0) + 1e-15 * image(70, 70, dtype=np.float64) / 4900, {"pixel_size_angstrom": 0.2}, "differ by less than 16 steps"),
        ([[1, 2], [3, 4]], {"pixel_size_angstrom": 0.2}, "list: cannot be read; give a path, a NumPy array"),
    ],
)  # fmt: skip
def test_arrays_and_options_are_refused_in_one_line(source, options, message):
    with pytest.raises(BadInputError) as raised:
        read_micrographs(source, **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_without_or_with_an_absurd_pixel_size_asks_for_it(tmp_path):
    path = files.write_tiff(tmp_path / "a.tif", image(), unit=None)
    with pytest.raises(
        BadInputError, match=r"a.tif: its pixel size is not known \(the file has none\), .* pixel_size_angstrom, in Å"
    ):
        read_micrographs(path)
    path = files.write_dm(tmp_path / "a.dm3", image(), scale=1.0, units="µm")
    with pytest.raises(BadInputError, match="its pixel size of 10000 Å is not that of a high-resolution TEM image"):
        read_micrographs(path)


@pytest.mark.parametrize("name", ["a.dm3", "a.tif", "a.hspy"])
def test_a_trusted_file_is_read_in_this_process_with_the_same_result(tmp_path, monkeypatch, name):
    path = FORMATS[name](tmp_path / name)
    (sandboxed,) = read_micrographs(path, dose_per_angstrom2=300)
    monkeypatch.setattr("passband.micrographs.sandbox.parsing.subprocess.Popen", None)
    (here,) = read_micrographs(str(path), dose_per_angstrom2=300, sandbox=False)
    assert np.array_equal(here.intensity, sandboxed.intensity)
    assert str(here) == str(sandboxed) and here.dose_per_angstrom2 == 300
    assert here.pixel_size_angstrom == sandboxed.pixel_size_angstrom
    with pytest.raises(TypeError):
        read_micrographs(path)
    path.write_bytes(b"no image")
    with pytest.raises(BadInputError, match=f"^{name}: does not begin as "):
        read_micrographs(path, sandbox=False)


def test_reading_is_light():
    """What opens foreign files starts in a fraction of a second, and needs no torch."""
    import subprocess

    code = "import sys; import passband.micrographs.reading; print('torch' in sys.modules, 'dask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
