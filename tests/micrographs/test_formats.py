"""What each format may hold: dialects, units, and what is no micrograph."""

import numpy as np
import pytest
from PIL import Image

from passband.base.errors import BadInputError
from passband.micrographs.formats import dataset, decode, units
from passband.micrographs.micrograph import Calibration
from passband.micrographs.write_tiff import write_stack
from support import files
from support.files import PIXEL, image

# The worker ends soon; what its readers leave open is closed late here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed"),
]


MOVIE = np.stack([image(seed=i, dtype=np.uint16) for i in range(3)])


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
    assert found["pixel_size_angstrom"] == pytest.approx(PIXEL) and "OME" in found["notes"][0]
    options = {"resolution": (1e8 / PIXEL, 1e8 / PIXEL), "resolutionunit": "CENTIMETER"}
    (found,) = read_here(files.write_tiff(tmp_path / "r.tif", image(), unit=None, **options))
    assert found["pixel_size_angstrom"] == pytest.approx(PIXEL) and "resolution" in found["notes"][0]
    for dots in (72, 96, 300):
        options = {"resolution": (dots, dots), "resolutionunit": "INCH"}
        line = read_here(files.write_tiff(tmp_path / "s.tif", image(), unit=None, **options))
        assert line.startswith("its pixel size is not known") and f"{dots} dots per inch" in line


def test_our_own_exports_come_back(tmp_path, read_here):
    stack = np.stack([image(64, 64, seed=i) for i in range(3)])
    write_stack(tmp_path / "images.tif", stack, 0.4)
    found = read_here(tmp_path / "images.tif")
    assert np.array_equal([one["intensity"] for one in found], stack)
    assert [one["pixel_size_angstrom"] for one in found] == pytest.approx([0.4] * 3, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"compression": "zlib"}, {"compression": "lzw"}, {"bigtiff": True}, {"byteorder": ">"}]
)
def test_dialects_of_tiff(tmp_path, read_here, options):
    path = files.write_tiff(tmp_path / "a.tif", image(dtype=np.uint16), unit=None, photometric="minisblack", **options)
    (found,) = read_here(path, pixel=PIXEL)
    assert np.array_equal(found["intensity"], image())


def test_a_tiff_with_black_as_its_highest_value_is_turned_round(tmp_path, read_here):
    path = files.write_tiff(tmp_path / "a.tif", image(dtype=np.uint16), unit=None, photometric="miniswhite")
    (found,) = read_here(path, pixel=PIXEL)
    assert np.array_equal(found["intensity"], 65_535 - image())
    assert "inverted" in found["notes"][0]


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
        (found,) = read_here(write(tmp_path / name, np.stack([grey] * 3, -1)), pixel=PIXEL)
        assert np.array_equal(found["intensity"], grey)
    (found,) = read_here(
        files.write_png(tmp_path / "o.png", np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)), pixel=PIXEL
    )
    assert np.array_equal(found["intensity"], grey)
    deep = files.write_png(tmp_path / "d.png", image(dtype=np.uint16))
    assert np.array_equal(read_here(deep, pixel=PIXEL)[0]["intensity"], image())


def test_what_else_is_in_a_file_is_left_out_and_said(tmp_path, read_here):
    path = tmp_path / "a.tif"
    import tifffile

    with tifffile.TiffWriter(path) as writer:
        writer.write(image(200, 220), photometric="minisblack")
        writer.write(image(64, 80), photometric="minisblack")
    (found,) = read_here(path, pixel=PIXEL)
    assert found["intensity"].shape == (200, 220)
    assert found["notes"][:-3] == ["another data set of the file left out: it is a thumbnail"]


def test_recording_by_scanning_is_said(tmp_path, read_here):
    path = files.write_dm(
        tmp_path / "a.dm3", image(), tags={"Microscope Info": {"Illumination Mode": "STEM NANOPROBE"}}
    )
    (found,) = read_here(path)
    assert found["notes"][:-3] == ["recorded by scanning (STEM or SEM)"]


def test_frames_last_are_found_by_their_name():
    axes = [dataset.Axis(72, "y", "nm", 0.02), dataset.Axis(96, "x", "nm", 0.02), dataset.Axis(3, "time", "s", 1.0)]
    ((_, found),) = decode.micrographs([dataset.dataset(np.moveaxis(MOVIE, 0, -1), axes)], None, "a", Calibration())
    assert np.array_equal(found.intensity, MOVIE.sum(axis=0))


def test_rows_and_columns_are_as_stored_whatever_their_names(tmp_path, read_here):
    """The array that HyperSpy, ncempy and h5py show, on which a mask is laid."""
    axes = [dataset.Axis(72, "x", "nm", 0.02), dataset.Axis(96, "y", "nm", 0.02)]
    ((_, found),) = decode.micrographs([dataset.dataset(image(), axes)], None, "a", Calibration())
    assert np.array_equal(found.intensity, image())
    assert "its axes are named x, y in the order of the array; rows and columns are taken as stored" in found.notes
    for names in ("yx", "xy", ("height", "width"), ("", "")):
        path = files.write_ncem(tmp_path / "a.emd", image(), names=names)
        (found,) = read_here(path)
        assert np.array_equal(found["intensity"], image()), names
        assert any("as stored" in note for note in found["notes"]) == (names == "xy")
        movie = files.write_ncem(tmp_path / "m.emd", MOVIE, names=names)
        assert np.array_equal(read_here(movie, "sum")[0]["intensity"], MOVIE.sum(axis=0)), names


def test_hyperspys_emd_is_shown_as_hyperspy_shows_it(tmp_path, read_here):
    """HyperSpy reverses the axes when it writes and when it reads."""
    path = files.write_ncem(tmp_path / "a.emd", image().T, names="xy", place="signals/gold")
    assert np.array_equal(read_here(path)[0]["intensity"], image())
    movie = np.moveaxis(MOVIE, 0, -1).swapaxes(0, 1)
    path = files.write_ncem(tmp_path / "m.emd", movie, names="xyt", place="signals/gold")
    assert np.array_equal(read_here(path, "each")[1]["intensity"], MOVIE[1])


def test_too_much_is_refused_before_it_is_decoded():
    def never(along, index):
        raise AssertionError

    def data(shape, dtype="f4"):
        return dataset.Dataset(tuple(dataset.Axis(n) for n in shape), np.dtype(dtype), never)

    for shape, message in (
        ((100_000, 100_000), "claims images of 100000 x 100000 pixels; a micrograph has 64 to 16384"),
        ((40, 4096, 4096), "claims 2.7 GB of decoded images; at most 2.1 GB can be read: pick one with frames"),
        ((10**9, 64, 64), "claims 1000000000 images; at most 100000 can be read"),
    ):
        with pytest.raises(BadInputError) as raised:
            list(decode.micrographs([data(shape)], None, "a", Calibration()))
        assert message in str(raised.value)
    with pytest.raises(AssertionError):
        list(decode.micrographs([data((40, 4096, 4096))], 3, "a", Calibration()))


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
