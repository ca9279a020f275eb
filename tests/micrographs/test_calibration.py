"""Calibration and dose as other programs write them, against the numbers that were written."""

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.base.errors import BadInputError
from passband.micrographs.formats import metadata, units
from passband.micrographs.micrograph import Calibration
from passband.micrographs.sandbox import parse_worker, parsing
from support import files
from support.files import PIXEL, image

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed"),
]
# What the reader takes from a description of JEOL's SightX.
JEOL = """<TemReporter><Eos><EosMode>%s</EosMode></Eos><IlluminationSystem><ImageField>illuBF</ImageField></IlluminationSystem>
<ImageFormingSystem><ModeString>MAG</ModeString><SelectorValue>100000</SelectorValue><SelectorString>x100k</SelectorString>
<ImageFormingMode>modeMAG</ImageFormingMode><ScanningImageFormingMode>modeMAG</ScanningImageFormingMode></ImageFormingSystem>
<ElectronGun><AccelerationVoltage>200000</AccelerationVoltage></ElectronGun></TemReporter>"""
MOVIE = np.stack([image(seed=i, dtype=np.uint16) for i in range(3)])


def ome(*images, head='<?xml version="1.0" encoding="UTF-8"?>', unit="nm"):
    """OME-XML of images (shape, pixel size in the unit, or None), a page each."""
    text = f'{head}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    for i, (shape, size) in enumerate(images):
        scale = "".join(f' PhysicalSize{n}="{size}" PhysicalSize{n}Unit="{unit}"' for n in "XY") if size else ""
        text += (
            f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYCZT" Type="uint16" SizeX="{shape[1]}" SizeY="{shape[0]}" '
            f'SizeC="1" SizeZ="1" SizeT="1"{scale}><Channel ID="Channel:{i}:0" SamplesPerPixel="1"/><TiffData IFD="{i}" PlaneCount="1"/>'
            f"</Pixels></Image>"
        )
    return text + "</OME>"


def write_pages(path, description, *shapes):
    with tifffile.TiffWriter(path) as writer:
        for i, shape in enumerate(shapes):
            text = description.encode() if i == 0 else None
            writer.write(image(*shape, dtype=np.uint16), description=text, metadata=None, photometric="minisblack")
    return path


def test_every_image_of_an_ome_file_has_its_own_pixels(tmp_path, read_here):
    shapes = (128, 131), (100, 100)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for shape, size in zip(shapes, (0.02, 0.08), strict=True):
            scale = {f"PhysicalSize{n}{u}": v for n in "XY" for u, v in (("", size), ("Unit", "nm"))}
            writer.write(image(*shape, dtype=np.uint16), metadata={"axes": "YX", **scale})
    found = read_here(tmp_path / "a.ome.tif")
    assert [one["pixel_size_angstrom"] for one in found] == pytest.approx([0.2, 0.8])
    # Images of one shape, in order; and one that has no calibration.
    path = write_pages(tmp_path / "b.tif", ome(((80, 90), 0.03), ((80, 90), 0.05)), (80, 90), (80, 90))
    assert [one["pixel_size_angstrom"] for one in read_here(path)] == pytest.approx([0.3, 0.5])
    path = write_pages(tmp_path / "c.tif", ome(((80, 90), 0.03), ((70, 90), None)), (80, 90), (70, 90))
    assert read_here(path, frames=0)[0]["pixel_size_angstrom"] == pytest.approx(0.3)
    assert "its pixel size is not known" in read_here(path, frames=1)


@pytest.mark.parametrize(
    ("unit", "size"),
    [("&#181;m", 2e-5), ("&#xB5;m", 2e-5), ("&#x212B;", 0.2), ("nm", 0.02), ("pm", 20), ("mm", 2e-8), ("m", 2e-11), ("fm", 2e4),
     ("Mm", 2e-17), ("km", 2e-14), ("am", 2e7), ("in", 0.2 / 2.54e8), ("thou", 0.2 / 2.54e5), ("ft", 0.2 / 2.54e8 / 12), ("pt", 0.2 * 72 / 2.54e8)],
)  # fmt: skip
def test_units_of_ome(tmp_path, read_here, unit, size):
    path = write_pages(tmp_path / "a.tif", ome(((80, 90), size), unit=unit), (80, 90))
    assert read_here(path)[0]["pixel_size_angstrom"] == pytest.approx(0.2)


def test_a_hostile_ome_description_is_no_calibration(tmp_path, read_here):
    """Entities that expand a billion times, other files, and XML that is none."""
    declared = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "nm"}">' for i in range(10))
    for head in (f"<!DOCTYPE OME [{declared}]>", '<!DOCTYPE OME SYSTEM "file:///etc/passwd">'):
        path = write_pages(tmp_path / "a.tif", ome(((80, 90), 0.02), head=head, unit="&e9;"), (80, 90))
        assert "its pixel size is not known" in read_here(path)
    path = write_pages(tmp_path / "b.tif", ome(((80, 90), 0.02))[:-40], (80, 90))
    assert "its pixel size is not known" in read_here(path)


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("nm/px", 0.025), ("nm/pixel", 0.025), ("A/pix", 0.25), ("Å per pixel", 0.25), ("nm pixel^-1", 0.025), ('"nm"', 0.025),
     ("micrometers", 2.5e-5), ("nanometre", 0.025), ("Nanometers", 0.025), ("picometres", 25), ("Ångström", 0.25), ("Angstroms", 0.25),
     ("meters", 2.5e-11), ("A\u030a", 0.25), ("[nm]", 0.025), ("(nm)", 0.025), ("n_m", 0.025), ("[u_m]", 2.5e-5), ("u_m", 2.5e-5), ("[p_m]", 25),
     ("NM", 0.025), ("MICRONS", 2.5e-5)],
)  # fmt: skip
def test_spellings_of_a_length(tmp_path, read_here, unit, scale):
    for path in (
        files.write_hspy(tmp_path / "a.hspy", image(), scale=scale, units=unit),
        files.write_ncem(tmp_path / "a.emd", image(), scale=scale, units=unit),
    ):
        assert read_here(path)[0]["pixel_size_angstrom"] == pytest.approx(0.25), path


@settings(deadline=None)
@given(st.sampled_from([("nm", 10), ("pm", 0.01), ("Å", 1), ("µm", 1e4)]), st.sampled_from(["", "/px", " / pixel", " per pix", "/pixels"]),
       st.sampled_from(["{}", "[{}]", '"{}"', " {} ", "'{}'", "{}\0"]))  # fmt: skip
def test_however_a_length_is_dressed(unit, per, dress):
    assert units.in_angstrom(units.tidy(dress.format(unit[0] + per))) == pytest.approx(unit[1])


@pytest.mark.parametrize(
    "unit",
    [
        "1/nm",
        "nm^-1",
        "1/px",
        "Å⁻¹",
        "reciprocal nm",
        "per nm",
        "mrad",
        "milliradians",
        "[n_m^-1]",
        "1 / Å",
        "cycles/nm",
    ],
)
def test_spellings_of_reciprocal_space(unit):
    assert units.is_reciprocal(units.tidy(unit)) and units.in_angstrom(units.tidy(unit)) is None


def test_a_given_pixel_size_overrides_whatever_the_file_says(tmp_path, read_here):
    one_axis = {"resolution": (50, 1), "imagej": True, "metadata": {"unit": "nm"}}
    tifffile.imwrite(tmp_path / "one.tif", image(), **one_axis)
    paths = {
        tmp_path / "one.tif": "has pixels of 0.2 Å along x and 10 Å along y",
        files.write_dm(tmp_path / "a.dm3", image(), units="1/nm"): "is a reciprocal-space image",
        files.write_hspy(tmp_path / "a.hspy", image(), units="mrad"): "is a reciprocal-space image",
        files.write_mrc(tmp_path / "a.mrc", image(), pixel=(0.2, 0.3)): "has pixels of 0.2 Å along x and 0.3 Å along y",
        files.write_tiff(tmp_path / "b.tif", image(), unit="furlong"): "which is not a length",
        files.write_dm(tmp_path / "b.dm3", image(), scale=1.0, units="µm"): "its pixel size of 10000 Å",
    }
    for path, message in paths.items():
        assert message in read_here(path) and "pixel_size_angstrom" in read_here(path), path
        (found,) = read_here(path, pixel=0.2)
        assert found["pixel_size_angstrom"] == 0.2 and any("0.2000 Å, given" in note for note in found["notes"]), path
    # It does not make an image of the transform beside one.
    with h5py.File(files.write_hspy(tmp_path / "two.hspy", image()), "r+") as file:
        file.copy("Experiments/specimen", "Experiments/transform")
        for axis in ("axis-0", "axis-1"):
            file[f"Experiments/transform/{axis}"].attrs["units"] = "1/nm"
    assert len(read_here(tmp_path / "two.hspy", pixel=0.2)) == 1


@pytest.mark.parametrize(
    ("name", "lone", "summed", "single"),
    [
        ("Dose (e-/A^2)", 12, 12, None), ("Total dose (e/Å²)", 12, 12, None), ("Dose per frame (e-/A^2)", None, 36, 12),
        ("Frame dose [e/A2]", None, 36, 12), ("Dose per image (e/Å^2)", 12, 36, 12), ("Dose (e-/A^2/frame)", None, 36, 12),
        ("Dose limit (e-/A^2)", None, None, None), ("Max dose (e/A^2)", None, None, None), ("Dose rate (e/A^2/s)", None, None, None),
        ("Dose rate (e/A^2)", None, None, None), ("Dose (e/A^2 s)", None, None, None), ("Accumulated dose (e/A^2)", None, None, None),
        ("Movie dose (e/A²)", 12, 12, None), ("Dose", None, None, None), ("Electron fluence (electrons per Å^2)", 12, 12, None),
        ("Total dose (e-/nm^2)", 0.12, 0.12, None), ("Dose (e Å^-2)", 12, 12, None), ("Previous dose (e/A^2)", None, None, None),
    ],
)  # fmt: skip
def test_the_dose_of_an_image_a_movie_and_a_frame(name, lone, summed, single):
    found = metadata.dose({"Camera": {name: "12"}})
    assert (found.of(None, None, False), found.of(None, 3, True), found.of(1, 3, True)) == pytest.approx(
        (lone, summed, single)
    )


def test_doses_that_contradict_each_other_or_lie_under_a_limit_are_none():
    both = metadata.dose({"Dose per frame (e/A^2)": 12, "Total dose (e/A^2)": 36})
    assert both.of(None, 3, True) == 36 and both.of(0, 3, True) == 12 and both.of(None, 4, True) is None
    assert metadata.dose({"a": {"Dose (e/A^2)": 5}, "b": {"Dose (e/A^2)": 7}}).of(None, None, False) is None
    assert metadata.dose({"Limits": {"Dose (e/A^2)": 5000}}).of(None, None, False) is None
    # A plain dose of a tilt series may be of each image or of all.
    assert metadata.dose({"Dose (e/A^2)": 12}).of(None, 3, False) is None


def test_thermo_fishers_header_has_a_dose_for_each_image(tmp_path, read_here):
    extended = b"".join(files.thermo_fisher_header(300e3, dose) for dose in (40e20, 41e20, 42e20))
    path = files.write_mrc(tmp_path / "movie.mrc", MOVIE, extended=extended, kind=b"FEI1")
    assert read_here(path)[0]["dose_per_angstrom2"] == pytest.approx(123)
    assert read_here(path, 1)[0]["dose_per_angstrom2"] == pytest.approx(41)
    path = files.write_mrc(tmp_path / "movie.mrc", MOVIE, extended=extended[:768], kind=b"FEI1")
    assert read_here(path)[0]["dose_per_angstrom2"] is None
    # Without its bit in the mask, an entry is not valid.
    path = files.write_mrc(
        tmp_path / "a.mrc", image(), extended=extended[:8] + bytes(4) + extended[12:768], kind=b"FEI1"
    )
    assert read_here(path)[0]["dose_per_angstrom2"] is read_here(path)[0]["energy_ev"] is None


def test_a_lossy_compression_is_said(tmp_path, read_here):
    pixels = np.random.default_rng(0).integers(0, 255, (80, 96)).astype(np.uint8)
    for compression, words in (
        ("jpeg", "JPEG, which is lossy and alters"),
        ("jpeg2000", "which may be lossy and alter"),
    ):
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, photometric="minisblack")
        assert any(words in note for note in read_here(tmp_path / "a.tif", pixel=PIXEL)[0]["notes"])
    tifffile.imwrite(tmp_path / "b.tif", pixels, compression="zlib")
    assert not any("compressed" in note for note in read_here(tmp_path / "b.tif", pixel=PIXEL)[0]["notes"])


def test_a_series_of_tia(tmp_path, read_here):
    (found,) = read_here(files.write_ser(tmp_path / "a_1.ser", image(dtype=np.uint16)))
    assert np.array_equal(found["intensity"], image()[::-1]) and found["pixel_size_angstrom"] == pytest.approx(PIXEL)
    assert found["energy_ev"] is None
    # Several series may share one description, which the process of its own may open too.
    (tmp_path / "a.emi").write_bytes(files.emi("TEM uP SA Zoom Image") * 2 + files.emi("STEM nP"))
    (found,) = parsing.parse(tmp_path / "a_1.ser")
    assert found.energy_ev == 200e3 and not found.scanned
    each = read_here(files.write_ser(tmp_path / "b.SER", MOVIE), "each")
    assert np.array_equal([one["intensity"] for one in each], MOVIE[:, ::-1])


@pytest.mark.parametrize("ending", ["dm3", "dm4", "mrc", "tif", "hspy", "png"])
def test_endings_in_capitals_and_links(tmp_path, ending):
    from passband.micrographs.reading import read_micrographs

    writers = {"dm3": files.write_dm, "dm4": files.write_dm, "mrc": files.write_mrc, "tif": files.write_tiff}
    writers |= {"hspy": files.write_hspy, "png": lambda p, _: files.write_png(p, image(dtype=np.uint8))}
    path = writers[ending](tmp_path / f"a.{ending}", image())
    # An annex keeps the content under a name without ending.
    (tmp_path / "content").write_bytes(path.read_bytes())
    (tmp_path / f"B.{ending.upper()}").symlink_to("content")
    options = {"pixel_size_angstrom": PIXEL, "sandbox": ending == "dm4"}
    first, second = (read_micrographs(p, **options)[0] for p in (path, tmp_path / f"B.{ending.upper()}"))
    assert np.array_equal(first.intensity, second.intensity) and second.name == f"B.{ending.upper()}"
    assert first.energy_ev == second.energy_ev


def test_names_that_are_no_text_or_control_a_terminal(tmp_path):
    import os

    from passband.micrographs.reading import read_micrographs

    for raw, shown in (
        (b"bad\xff.png", "bad\\udcff.png"),
        (b"x\x1b]0;pwned\x07\x1b[31m.png", "x\\x1b]0;pwned\\x07\\x1b[31m.png"),
        ("a\u202egnp.png".encode(), "a\\u202egnp.png"),
    ):
        path = os.fsencode(tmp_path) + b"/" + raw
        files.write_png(os.fsdecode(path), image(dtype=np.uint8))
        (found,) = read_micrographs(os.fsdecode(path), pixel_size_angstrom=PIXEL)
        assert found.name == shown and str(found).replace("\n", "").isprintable()
        with pytest.raises(BadInputError) as raised:
            read_micrographs(os.fsdecode(path))
        assert str(raised.value).isprintable() and shown in str(raised.value)
        str(raised.value).encode()


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["u1", "i2", "u2", "f4", "i1"]),
    st.integers(64, 90),
    st.integers(64, 90),
    st.floats(0.05, 2.5),
)
def test_files_of_other_writers_come_back(tmp_path_factory, seed, dtype, height, width, pixel):
    """Written by tifffile, h5py and after the specification of MRC."""
    folder = tmp_path_factory.mktemp("written")
    values = np.random.default_rng(seed).integers(0, 100, (height, width)).astype(dtype)
    tifffile.imwrite(folder / "a.tif", values, resolution=(1e8 / pixel, 1e8 / pixel), resolutionunit="CENTIMETER")
    paths = [
        folder / "a.tif",
        files.write_hspy(folder / "a.hspy", values, scale=pixel / 10),
        files.write_ncem(folder / "a.emd", values, scale=pixel / 10),
    ]
    paths += [files.write_mrc(folder / "a.mrc", values, pixel=pixel, imod=0 if dtype == "u1" else None)]
    for path in paths:
        (found,) = parse_worker.answer(path, None, folder, Calibration())["images"]
        assert np.array_equal(np.load(folder / found["file"]), values.astype("f4")), path
        assert found["pixel_size_angstrom"] == pytest.approx(pixel, rel=1e-5)


SCALES = {
    "tiny": lambda a: a.astype("f4") * np.float32(1e-30), "denormal": lambda a: a.astype("f4") * np.float32(1e-40),
    "huge": lambda a: a.astype("f4") * np.float32(1e34), "double": lambda a: a * 1e300, "offset": lambda a: a + 1e8,
    "far": lambda a: 1e-9 * a + 3.0, "i8": lambda a: a.astype("i8") + 2**62, "u8": lambda a: a.astype("u8") + np.uint64(2**63),
    "i4": lambda a: a.astype("i4") - 2**30, "u4": lambda a: a.astype("u4") + 2**31, "endian": lambda a: (a + 1e8).astype(">f8"),
}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_scale_and_offset_of_the_intensities_do_not_matter(tmp_path, read_here, scale):
    """The normalised image is that of double precision, from files and from arrays."""
    from passband.micrographs.micrograph import Micrograph

    values = SCALES[scale](image(dtype=np.float64))
    exact = image(dtype=np.float64)
    exact = (exact - exact.mean()) / exact.std()
    tifffile.imwrite(tmp_path / "a.tif", values)
    (read,) = read_here(tmp_path / "a.tif", pixel=PIXEL)
    assert "single precision" in read["notes"][0]
    for found in (read["intensity"], Micrograph(values, PIXEL).intensity):
        assert found.dtype == np.float32
        centred = found - found.mean()
        assert np.abs(centred / np.sqrt(np.square(centred).mean()) - exact).max() < 1e-5
    one = Micrograph(values, PIXEL)
    assert one.gain * float(one.intensity[3, 4]) + one.offset == pytest.approx(float(values[3, 4]), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e8, 1e-30, -3.0])
def test_a_constant_image_is_refused_wherever_it_comes_from(tmp_path, read_here, value):
    from passband.micrographs.micrograph import Micrograph

    ripple = np.random.default_rng(0).integers(-3, 4, (70, 70)) * np.spacing(np.float32(value or 1e-45))
    for pixels in (np.full((70, 70), value), np.full((70, 70), value, "f4"), (np.float32(value) + ripple).astype("f4")):
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        assert "there is no image in it" in read_here(tmp_path / "a.tif", pixel=PIXEL)
        with pytest.raises(BadInputError, match="there is no image in it"):
            Micrograph(pixels, PIXEL)


def test_scanning_and_transforms_are_known_from_the_metadata(tmp_path, read_here):
    tags = {"Microscope Info": {"Illumination Mode": "STEM NANOPROBE"}}
    paths = [
        files.write_dm(tmp_path / "a.dm3", image(), tags=tags),
        files.write_velox(tmp_path / "a.emd", image(), mode="2"),
    ]
    mrc, sem, fei, jeol = (tmp_path / name for name in ("a.mrc", "sem.tif", "fei.tif", "jeol.tif"))
    paths.append(files.write_mrc(mrc, image(), extended=files.thermo_fisher_header(3e5, 0, mode=2), kind=b"FEI2"))
    paths.append(files.write_ser(tmp_path / "a_1.ser", image(dtype=np.uint16)))
    (tmp_path / "a.emi").write_bytes(files.emi("STEM nP SA Zoom Diffraction"))
    for path, code, tag, text in (
        (sem, 34118, "\r\nAP_ACTUALKV\r\nEHT = 30 kV\r\n", None),
        (fei, 34682, "[Scan]\r\nPixelWidth=2e-11\r\nPixelHeight=2e-11\r\n", None),
        (jeol, 271, "JEOL Ltd.", JEOL % "modeASID"),
    ):
        tifffile.imwrite(path, image(), description=text, metadata=None, extratags=[(code, 2, 0, tag, True)])
        paths.append(path)
    for path in paths:
        assert read_here(path, pixel=PIXEL)[0]["scanned"] is True, path.name
    with h5py.File(files.write_hspy(tmp_path / "a.hspy", image()), "r+") as file:
        file["Experiments/specimen/metadata/Acquisition_instrument/TEM"].attrs["acquisition_mode"] = "STEM"
    assert read_here(tmp_path / "a.hspy")[0]["scanned"] is True
    assert read_here(files.write_dm(tmp_path / "b.dm3", image()))[0]["scanned"] is False
    tem = JEOL % "eosTEM"
    tifffile.imwrite(jeol, image(), description=tem, metadata=None, extratags=[(271, 2, 0, "JEOL Ltd.", True)])
    files.write_mrc(mrc, image(), extended=files.thermo_fisher_header(3e5, 0), kind=b"FEI2")
    (tmp_path / "a.emi").write_bytes(files.emi("TEM uP SA Zoom Image"))
    for path in (jeol, mrc, tmp_path / "a_1.ser"):
        assert read_here(path, pixel=PIXEL)[0]["scanned"] is False, path.name
    path = files.write_velox(tmp_path / "b.emd", image(), transform=True)
    assert "is a Fourier transform (FFT) of an image" in read_here(path)
