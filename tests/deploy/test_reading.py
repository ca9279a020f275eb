import gc
import json
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from deploy import files
from deploy.files import ENERGY, PIXEL, image
from passband.deploy import parse_worker
from passband.deploy.formats import dataset, picks, units
from passband.deploy.reading import read_micrographs
from passband.errors import BadInputError

# The worker ends soon; what its readers leave open is closed late here.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True, scope="module")
def _closed():
    yield
    gc.collect()


@pytest.fixture
def read_here(tmp_path):
    """Read a file in this process, as the worker does: images, what is said of them, or the refusal."""

    def read(path, frames=None):
        folder = tmp_path / "answers"
        folder.mkdir(exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = json.loads(json.dumps(parse_worker.answer(path, frames, folder), allow_nan=False))
        if "refusal" in found:
            return found["refusal"]
        return [one | {"intensity": np.load(folder / one["file"], allow_pickle=False)} for one in found["images"]]

    return read


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
    said = "energy 300000 eV, from the file's metadata" if known else "energy not known"
    assert found.found[1:] == (said, "dose not known", "no spikes or dead pixels found")
    assert found.found[0].startswith("pixel size 0.2500 Å, " + ("given" if name == "a.png" else "from the file"))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("little", [True, False])
def test_every_number_and_byte_order_of_dm(tmp_path, read_here, dtype, little):
    values = (image() % 100).astype(dtype)
    (found,) = read_here(files.write_dm(tmp_path / f"{dtype}.dm{3 + little}", values, little=little))
    assert np.array_equal(found["intensity"], values)


@pytest.mark.parametrize("dtype", ["i1", "i2", "u2", "f2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_and_byte_order_of_mrc(tmp_path, read_here, dtype, order):
    values = (image() % 200 - 100 * (dtype != "u2")).astype(dtype)
    (found,) = read_here(files.write_mrc(tmp_path / "a.mrc", values, order=order))
    assert np.array_equal(found["intensity"], values.astype(np.float32))
    assert found["pixel_size_angstrom"] == pytest.approx(PIXEL)


def test_bytes_of_mrc_have_signs_where_the_file_says_so(tmp_path, read_here):
    values = image(dtype=np.uint8)
    for options, signed in (({"nversion": 0}, False), ({"imod": 0}, False), ({"imod": 1}, True), ({}, True)):
        (found,) = read_here(files.write_mrc(tmp_path / "a.mrc", values, **options))
        assert np.array_equal(found["intensity"], values.view(np.int8) if signed else values)


def test_thermo_fishers_header_of_mrc_has_energy_and_dose(tmp_path, read_here):
    extended = files.thermo_fisher_header(200e3, 45e20)
    (found,) = read_here(files.write_mrc(tmp_path / "a.mrc", image(), extended=extended, kind=b"FEI1"))
    assert found["energy_ev"] == 200e3 and found["dose_per_angstrom2"] == pytest.approx(45)


@pytest.mark.parametrize(
    ("scale", "unit"),
    [
        (0.25, "Å"),
        (0.25, "A"),
        (0.25, "angstrom"),
        (0.025, "nm"),
        (25.0, "pm"),
        (2.5e-5, "µm"),
        (2.5e-5, "um"),
        (2.5e-11, "m"),
    ],
)
def test_lengths_become_angstrom(tmp_path, read_here, scale, unit):
    (found,) = read_here(files.write_hspy(tmp_path / "a.hspy", image(), scale=scale, units=unit))
    assert found["pixel_size_angstrom"] == pytest.approx(0.25)


def test_what_imagej_ome_and_the_resolution_say_in_a_tiff(tmp_path, read_here):
    for unit, factor in (("nm", 0.1), ("Angstrom", 1.0), ("micron", 1e-4), ("\\u00B5m", 1e-4), ("\\u00C5", 1.0)):
        (found,) = read_here(files.write_tiff(tmp_path / "a.tif", image(), pixel=PIXEL * factor, unit=unit))
        assert found["pixel_size_angstrom"] == pytest.approx(PIXEL, rel=1e-4), unit
    (found,) = read_here(files.write_ome(tmp_path / "o.tif", image(), pixel=PIXEL / 10, unit="nm"))
    assert found["pixel_size_angstrom"] == pytest.approx(PIXEL) and "OME" in found["calibration"]
    options = {"resolution": (1e8 / PIXEL, 1e8 / PIXEL), "resolutionunit": "CENTIMETER"}
    (found,) = read_here(files.write_tiff(tmp_path / "r.tif", image(), unit=None, **options))
    assert found["pixel_size_angstrom"] == pytest.approx(PIXEL) and "resolution" in found["calibration"]
    for dots in (72, 96, 300):
        options = {"resolution": (dots, dots), "resolutionunit": "INCH"}
        (found,) = read_here(files.write_tiff(tmp_path / "s.tif", image(), unit=None, **options))
        assert found["pixel_size_angstrom"] is None and f"{dots} dots per inch" in found["calibration"]


def test_our_own_exports_come_back(tmp_path, read_here):
    simulation = pytest.importorskip("passband.simulation")
    stack = np.stack([image(64, 64, seed=i) for i in range(3)])
    simulation._write_stack(tmp_path / "images.tif", stack, 0.4)
    found = read_here(tmp_path / "images.tif")
    assert np.array_equal([one["intensity"] for one in found], stack)
    assert [one["pixel_size_angstrom"] for one in found] == pytest.approx([0.4] * 3, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"compression": "zlib"}, {"compression": "lzw"}, {"bigtiff": True}, {"byteorder": ">"}]
)
def test_dialects_of_tiff(tmp_path, read_here, options):
    path = files.write_tiff(tmp_path / "a.tif", image(dtype=np.uint16), unit=None, photometric="minisblack", **options)
    (found,) = read_here(path)
    assert np.array_equal(found["intensity"], image())


def test_a_tiff_with_black_as_its_highest_value_is_turned_round(tmp_path, read_here):
    path = files.write_tiff(tmp_path / "a.tif", image(dtype=np.uint16), unit=None, photometric="miniswhite")
    (found,) = read_here(path)
    assert np.array_equal(found["intensity"], 65_535 - image())
    assert "turned round" in found["said"][0]


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
    assert found["said"] == ["a movie of 3 images, summed"]
    each = read_here(path, "each")
    assert np.array_equal([one["intensity"] for one in each], MOVIE)
    (second,) = read_here(path, 1)
    assert np.array_equal(second["intensity"], MOVIE[1]) and second["number"] == 1
    assert "--frames counts from 0 to 2" in read_here(path, 3)


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
        assert "a stack of 3 images, summed" in summed["said"]


def test_images_of_an_array_are_numbered_in_their_names():
    found = read_micrographs(MOVIE, pixel_size_angstrom=0.2, energy_ev=200e3, dose_per_angstrom2=500)
    assert [one.name for one in found] == ["array#0", "array#1", "array#2"]
    assert found[1].found[:4] == (
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
    assert found.found[:3] == (
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
    assert found.found[:2] == ("a movie of 3 images, summed", "pixel size 0.2500 Å, from the signal")
    with pytest.raises(BadInputError, match=r"^gold: holds a signal of type EELS, which is no image"):
        read_micrographs(Signal(MOVIE, axes, metadata | {"Signal": {"signal_type": "EELS"}}))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (image(), {}, "array: its pixel size is not known (an array has none), and none is assumed; give it with --pixel-size"),
        (image(), {"pixel_size_angstrom": 30.0}, "its pixel size of 30 Å is none of a high-resolution image"),
        (image(), {"pixel_size_angstrom": -1.0}, "--pixel-size -1: has to be a positive number"),
        (image(), {"pixel_size_angstrom": float("nan")}, "--pixel-size nan: has to be a positive number"),
        (image(), {"pixel_size_angstrom": 0.2, "energy_ev": 200.0}, "its energy of 200 eV is none of a transmission"),
        (image(), {"pixel_size_angstrom": 0.2, "dose_per_angstrom2": 0.0}, "--dose 0: has to be a positive number"),
        (image(), {"pixel_size_angstrom": 0.2, "frames": "all"}, "--frames 'all': is neither a number from 0, sum nor each"),
        (image(), {"pixel_size_angstrom": 0.2, "frames": 1}, "has 1 image, and number 1 is asked for; --frames counts from 0 to 0"),
        (np.zeros((70, 70)), {"pixel_size_angstrom": 0.2}, "every pixel has the value 0, so there is no image in it"),
        (image() + 0j, {"pixel_size_angstrom": 0.2}, "holds complex values"),
        (image().astype(object), {"pixel_size_angstrom": 0.2}, "holds values of type object, which are no intensities"),
        (image().ravel(), {"pixel_size_angstrom": 0.2}, "holds one-dimensional data"),
        (np.zeros((2, 2, 70, 70)), {"pixel_size_angstrom": 0.2}, "holds 4-dimensional data"),
        (image(20, 80), {"pixel_size_angstrom": 0.2}, "claims images of 20 x 80 pixels; a micrograph has 64 to 16384"),
        (np.where(image() == 5, np.nan, image()), {"pixel_size_angstrom": 0.2}, "holds values that are not finite"),
        (image(dtype=np.float64) * 1e300, {"pixel_size_angstrom": 0.2}, "holds values that are not finite"),
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
        BadInputError, match=r"a.tif: its pixel size is not known \(the file has none\), .* --pixel-size, in Å"
    ):
        read_micrographs(path)
    path = files.write_dm(tmp_path / "a.dm3", image(), scale=1.0, units="µm")
    with pytest.raises(BadInputError, match="its pixel size of 10000 Å is none of a high-resolution image"):
        read_micrographs(path)


def dm(**options):
    return lambda path: files.write_dm(path, options.pop("data", image()), **options)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.dm4", dm(pixel=[0.02, 0.025]), "has pixels of 0.2 Å along x and 0.25 Å along y; resample it to square pixels"),
        ("a.mrc", lambda p: files.write_mrc(p, image(), pixel=(0.2, 0.3)), "has pixels of 0.2 Å along x and 0.3 Å along y"),
        ("a.emd", lambda p: files.write_velox(p, image(), pixel_m=(2e-11, 3e-11)), "has pixels of 0.2 Å along x and 0.3 Å"),
        ("a.dm3", dm(units="1/nm"), "is a reciprocal-space image, as a diffraction pattern is (its pixels are measured in 1/nm)"),
        ("a.emd", lambda p: files.write_velox(p, image(), unit="1/m"), "is a reciprocal-space image"),
        ("a.emd", lambda p: files.write_ncem(p, image(), units="[n_m^-1]"), "is a reciprocal-space image"),
        ("a.hspy", lambda p: files.write_hspy(p, image(), units="mrad"), "is a reciprocal-space image"),
        ("a.hspy", lambda p: files.write_hspy(p, image(), units="eV", signal=1), "holds spectra (shape (72, 96))"),
        ("a.hspy", lambda p: files.write_hspy(p, MOVIE, signal=1), "holds spectra (shape (3, 72, 96))"),
        ("a.hspy", lambda p: files.write_hspy(p, image(), signal_type="EELS"), "holds a signal of type EELS, which is no image"),
        ("a.hspy", lambda p: files.write_hspy(p, MOVIE[None], signal=2), None),
        ("a.hspy", lambda p: files.write_hspy(p, np.stack([MOVIE] * 2)), "holds 4-dimensional data (shape (2, 3, 72, 96)), as 4D-STEM"),
        ("a.dm4", dm(data=MOVIE, tags={"Meta Data": {"Signal": "EELS", "Format": "Spectrum image"}}), "holds a spectrum image (EELS)"),
        ("a.dm4", dm(data=np.stack([MOVIE] * 2)), "holds 4-dimensional data"),
        ("a.emd", lambda p: files.write_velox(p, image(), other=["SpectrumImage"]), "holds a spectrum image or spectra beside its images"),
        ("a.dm4", dm(data=image().astype(np.complex64)), "holds complex values"),
        ("a.mrc", lambda p: files.write_mrc(p, image().astype(np.complex64)), "holds complex values"),
        ("a.mrc", lambda p: files.write_mrc(p, image(dtype=np.int16), mode=101), "holds 4-bit integers (MRC mode 101)"),
        ("a.tif", lambda p: files.write_tiff(p, np.stack([image(dtype=np.uint8)] * 2 + [image(seed=1, dtype=np.uint8)], -1),
                                             unit=None, photometric="rgb"), "is a colour image, whose channels differ"),
        ("a.png", lambda p: files.write_png(p, np.stack([image(seed=1, dtype=np.uint8)] + [image(dtype=np.uint8)] * 2, -1)),
         "is a colour image, whose channels differ; save the recorded grey values"),
        ("a.png", lambda p: files.write_png(p, np.stack([image(dtype=np.uint8)] * 4, -1)), "is partly transparent"),
        ("a.png", lambda p: Image.fromarray(image(dtype=np.uint8)).convert("P").save(p), "stores its values by a palette"),
    ],
)  # fmt: skip
def test_what_is_no_micrograph_is_refused_by_name(tmp_path, read_here, name, write, message):
    found = read_here(write(tmp_path / name) or tmp_path / name)
    if message is None:
        assert len(found) == 1
    else:
        assert isinstance(found, str) and message in found and "\n" not in found


def test_colours_that_are_alike_are_grey(tmp_path, read_here):
    grey = image(dtype=np.uint8)
    for name, write in (
        ("a.png", files.write_png),
        ("a.tif", lambda p, d: files.write_tiff(p, d, unit=None, photometric="rgb")),
    ):
        (found,) = read_here(write(tmp_path / name, np.stack([grey] * 3, -1)))
        assert np.array_equal(found["intensity"], grey)
    (found,) = read_here(files.write_png(tmp_path / "o.png", np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)))
    assert np.array_equal(found["intensity"], grey)
    deep = files.write_png(tmp_path / "d.png", image(dtype=np.uint16))
    assert np.array_equal(read_here(deep)[0]["intensity"], image())


def test_what_else_is_in_a_file_is_left_out_and_said(tmp_path, read_here):
    path = tmp_path / "a.tif"
    import tifffile

    with tifffile.TiffWriter(path) as writer:
        writer.write(image(200, 220), photometric="minisblack")
        writer.write(image(64, 80), photometric="minisblack")
    (found,) = read_here(path)
    assert found["intensity"].shape == (200, 220)
    assert found["said"] == ["another data set of the file left out: it is a thumbnail"]


def test_recording_by_scanning_is_said(tmp_path, read_here):
    path = files.write_dm(
        tmp_path / "a.dm3", image(), tags={"Microscope Info": {"Illumination Mode": "STEM NANOPROBE"}}
    )
    (found,) = read_here(path)
    assert found["said"] == ["recorded in STEM mode, which HRTEM conditions do not describe"]


def test_frames_last_are_found_by_their_name():
    axes = [dataset.Axis(72, "y", "nm", 0.02), dataset.Axis(96, "x", "nm", 0.02), dataset.Axis(3, "time", "s", 1.0)]
    (found,) = picks.pictures([dataset.dataset(np.moveaxis(MOVIE, 0, -1), axes)], None, "a")
    assert np.array_equal(found.intensity, MOVIE.sum(axis=0))
    turned = [dataset.Axis(96, "x", "nm", 0.02), dataset.Axis(72, "y", "nm", 0.02)]
    (found,) = picks.pictures([dataset.dataset(image().T, turned)], None, "a")
    assert np.array_equal(found.intensity, image())


def test_too_much_is_refused_before_it_is_decoded():
    def never(along, index):
        raise AssertionError

    def data(shape, dtype="f4"):
        return dataset.Dataset(tuple(dataset.Axis(n) for n in shape), np.dtype(dtype), never)

    for shape, message in (
        ((100_000, 100_000), "claims images of 100000 x 100000 pixels; a micrograph has 64 to 16384"),
        ((40, 4096, 4096), "claims 2.7 GB of decoded images; at most 2.1 GB can be read: pick one with --frames"),
        ((10**9, 64, 64), "claims 1000000000 images; at most 100000 can be read"),
    ):
        with pytest.raises(BadInputError) as raised:
            list(picks.pictures([data(shape)], None, "a"))
        assert message in str(raised.value)
    with pytest.raises(AssertionError):
        list(picks.pictures([data((40, 4096, 4096))], 3, "a"))


def test_units():
    assert [units.tidy(u) for u in (None, "[nm]", b"nm\0", "\\u00B5m", "μm", "pixels", " <undefined> ")] == [
        "", "nm", "nm", "µm", "µm", "", "",
    ]  # fmt: skip
    assert all(
        units.is_reciprocal(u) for u in ("1/nm", "1 / nm", "nm^-1", "Å-1", "nm**-1", "1/Å", "mrad", "µrad", "rad")
    )
    assert not any(units.is_reciprocal(u) for u in ("nm", "Å", "m", "s", ""))
    assert [units.energy_ev(v) for v in (300000, "300kV", "80 keV", b"2e5 V", "", "high", "1e999", -5)] == [
        300e3, 300e3, 80e3, 200e3, None, None, None, None,
    ]  # fmt: skip


def test_reading_is_light():
    """What opens foreign files starts in a fraction of a second, and needs no torch."""
    import subprocess

    code = "import sys; import passband.deploy.reading; print('torch' in sys.modules, 'dask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
