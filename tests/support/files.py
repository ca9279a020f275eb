"""A small file of each format, written by its published description and not by what reads it."""

import json
import struct
from pathlib import Path

import h5py
import numpy as np
import tifffile
from PIL import Image

PIXEL = 0.25
ENERGY = 300e3


def image(height=72, width=96, seed=0, dtype=np.float32):
    """An image that is not square, with a different value in each pixel."""
    values = np.random.default_rng(seed).permutation(height * width).reshape(height, width)
    return values.astype(dtype) if np.dtype(dtype).itemsize > 1 else (values % 200).astype(dtype)


# DigitalMicrograph, after B. Schaffer, "How to script DigitalMicrograph", and C. Boothroyd's description of DM3 and DM4.

_DM_NUMBERS = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "i1": 9, "u1": 10, "i8": 11, "u8": 12}
_DM_IMAGES = {"i2": 1, "f4": 2, "c8": 3, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12, "c16": 13}


def write_dm(
    path, data, *, scale=PIXEL / 10, units="nm", voltage=ENERGY, little=True, tags=None, stack_units="", pixel=None
):
    """A file with one image or stack; its ending gives the version."""
    data = np.asarray(data)
    version = 4 if path.suffix == ".dm4" else 3
    scales = pixel or [scale, scale]
    dimensions = [{"Origin": 0.0, "Scale": s, "Units": units} for s in scales[: data.ndim]]
    if data.ndim > 2:
        dimensions += [{"Origin": 0.0, "Scale": 1.0, "Units": stack_units} for _ in range(data.ndim - 2)]
    calibrations = {"Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""}, "Dimension": dimensions}
    microscope = {"Illumination Mode": "TEM", "Imaging Mode": "MAG1"} | ({"Voltage": voltage} if voltage else {})
    kind = np.dtype(data.dtype).str[1:]
    stored = data.view({"c8": "f4", "c16": "f8"}.get(kind, kind)) if kind[0] == "c" else data
    picture = {
        "ImageData": {
            "Calibrations": calibrations,
            "Data": stored.ravel(),
            "DataType": _DM_IMAGES[kind],
            "Dimensions": list(data.shape[::-1]),
            "PixelDepth": data.dtype.itemsize,
        },
        "ImageTags": {"Microscope Info": microscope} | (tags or {}),
        "Name": path.stem,
    }
    order = "<" if little else ">"
    body = _dm_group({"ImageList": [picture], "InImageMode": 1}, version, order)
    length = struct.pack(">q" if version == 4 else ">i", len(body))
    path.write_bytes(struct.pack(">i", version) + length + struct.pack(">i", int(little)) + body + bytes(8))
    return path


def _dm_group(tree, version, order):
    entries = tree.items() if isinstance(tree, dict) else (("", value) for value in tree)
    tags = [_dm_tag(name, value, version, order) for name, value in entries]
    return b"\x01\x00" + struct.pack(">q" if version == 4 else ">i", len(tags)) + b"".join(tags)


def _dm_tag(name, value, version, order):
    head = bytes([20 if isinstance(value, dict | list) else 21]) + struct.pack(">h", len(name)) + name.encode()
    if isinstance(value, dict | list):
        content = _dm_group(value, version, order)
    else:
        if isinstance(value, str):
            value = np.frombuffer(value.encode("utf-16-le"), "<u2")
        if isinstance(value, np.ndarray):
            info = [20, _DM_NUMBERS[value.dtype.str[1:]], value.size]
            raw = value.astype(value.dtype.newbyteorder(order)).tobytes()
        elif isinstance(value, float):
            info, raw = [7], struct.pack(order + "d", value)
        else:
            info, raw = [5], struct.pack(order + "I", value)
        word = "q" if version == 4 else "i"
        content = b"%%%%" + struct.pack(f">{1 + len(info)}{word}", len(info), *info) + raw
    return head + (struct.pack(">q", len(content)) if version == 4 else b"") + content


# MRC2014: Cheng et al., J. Struct. Biol. 192 (2015) 146.


def write_mrc(path, data, *, pixel=PIXEL, mode=None, order="<", extended=b"", kind=b"    ", nversion=20140, imod=None):
    """An image or stack of images; pixel = 0 leaves the cell empty."""
    data = np.asarray(data)
    modes = {"i1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "f2": 12, "u1": 0}
    sections, rows, columns = (1, *data.shape)[-3:]
    across, down = pixel if isinstance(pixel, tuple) else (pixel, pixel)
    header = bytearray(1024)
    number = modes[data.dtype.str[1:]] if mode is None else mode
    struct.pack_into(order + "10i", header, 0, columns, rows, sections, number, 0, 0, 0, columns, rows, 1)
    struct.pack_into(order + "6f", header, 40, columns * across, rows * down, sections, 90, 90, 90)
    struct.pack_into(order + "3i", header, 64, 1, 2, 3)
    struct.pack_into(order + "2i", header, 88, 0, len(extended))
    header[104:108] = kind
    struct.pack_into(order + "i", header, 108, nversion)
    if imod is not None:
        struct.pack_into(order + "2i", header, 152, 1146047817, imod)
    header[208:216] = b"MAP " + (b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0")
    path.write_bytes(bytes(header) + extended + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


def thermo_fisher_header(volts, dose_per_m2, order="<", mode=1):
    """The first entries of an extended header FEI1."""
    return (
        struct.pack(order + "iiI", 768, 0, 0xFFFFFFFF)
        + bytes(72)
        + struct.pack(order + "2d", volts, dose_per_m2)
        + bytes(144)
        + struct.pack(order + "i", mode)
        + bytes(520)
    )


# TIFF


def write_tiff(path, data, *, pixel=PIXEL, unit="Angstrom", **options):
    """As ImageJ writes it, or with `unit` None without any calibration."""
    if unit is None:
        tifffile.imwrite(path, data, **options)
    else:
        tifffile.imwrite(path, data, imagej=True, resolution=(1 / pixel, 1 / pixel), metadata={"unit": unit, **options})
    return path


def write_ome(path, data, *, pixel=PIXEL, unit="Å"):
    """As OME's software writes it."""
    sizes = {"PhysicalSizeX": pixel, "PhysicalSizeY": pixel, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "YX", **sizes})
    return path


# HDF5: HyperSpy; NCEM (emdatasets.com, version 0.2); Velox


def write_hspy(
    path,
    data,
    *,
    scale=PIXEL / 10,
    units="nm",
    beam=ENERGY / 1e3,
    stack=("time", "s"),
    signal_type="",
    signal=2,
    compression="gzip",
):
    """A signal with images, or with stacked ones, as HyperSpy 2 writes it."""
    with h5py.File(path, "w") as file:
        file.attrs["file_format"], file.attrs["file_format_version"] = "HyperSpy", "3.3"
        group = file.create_group("Experiments/specimen")
        group.attrs["package"], group.attrs["package_version"] = "hyperspy", "2.0"
        group.create_dataset("data", data=data, chunks=True, compression=compression)
        for i, size in enumerate(data.shape):
            counting = i < data.ndim - signal
            name, unit = stack if counting else ("yx"[i - data.ndim], units)
            axis = group.create_group(f"axis-{i}")
            axis.attrs.update(
                {
                    "_type": "UniformDataAxis",
                    "name": name,
                    "units": unit,
                    "navigate": counting,
                    "size": size,
                    "offset": 0.0,
                }
            )
            axis.attrs["scale"] = 0.1 if counting else scale
        known = group.create_group("metadata")
        known.create_group("General").attrs["title"] = "specimen"
        known.create_group("Signal").attrs["signal_type"] = signal_type
        if beam:
            known.create_group("Acquisition_instrument/TEM").attrs["beam_energy"] = beam
        for name in ("original_metadata", "attributes", "learning_results"):
            group.create_group(name)
    return path


def write_ncem(
    path,
    data,
    *,
    scale=PIXEL / 10,
    units="[n_m]",
    voltage=ENERGY,
    first=("time", "[s]"),
    names="yx",
    place="data/specimen",
):
    """Data in the order (frames, y, x), each dimension with its vector, as ncempy writes it."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        group = file.create_group(place)
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=data)
        named = [first, *((name, "[s]" if name == "t" else units) for name in names)][-data.ndim :]
        for i, (name, unit) in enumerate(named):
            step = scale if unit == units else 1.0
            vector = group.create_dataset(f"dim{i + 1}", data=np.arange(data.shape[i]) * step)
            vector.attrs["name"], vector.attrs["units"] = name, unit
        file.create_group("microscope").attrs["voltage"] = voltage
    return path


def write_velox(path, data, *, pixel_m=PIXEL * 1e-10, unit="m", voltage=ENERGY, other=(), mode="1", transform=False):
    """An image or movie as Velox keeps it: frames last, metadata as JSON in bytes."""
    frames = np.moveaxis(np.atleast_3d(data) if data.ndim == 2 else data, 0, -1) if data.ndim == 3 else data[..., None]
    across, down = pixel_m if isinstance(pixel_m, tuple) else (pixel_m, pixel_m)
    said = {
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1575540224"}},
        "Optics": {"AccelerationVoltage": str(voltage), "OperatingMode": mode},
        "Scan": {"ScanSize": {"width": "0", "height": "0"}},
        "Detectors": {"Detector-0": {"DetectorName": "BM-Ceta", "ExposureTime": "0.5"}},
        "BinaryResult": {
            "DetectorIndex": "0",
            "PixelSize": {"width": str(across), "height": str(down)},
            "PixelUnitX": unit,
            "PixelUnitY": unit,
            "Offset": {"x": "0", "y": "0"},
        },
        "CustomProperties": {},
    }
    text = np.frombuffer(json.dumps(said).encode().ljust(4000, b"\0"), np.uint8)
    with h5py.File(path, "w") as file:
        file["Version"] = [json.dumps({"format": "Velox", "version": "7"}).encode()]
        group = file.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        group.create_dataset("Data", data=frames, chunks=(*frames.shape[:2], 1))
        group["Metadata"] = np.repeat(text[:, None], frames.shape[2], axis=1)
        group["FrameLookupTable"] = np.arange(frames.shape[2])
        file.create_group("Presentation/Displays")
        if transform:
            said = {"imageOutputPath": "/Data/Image/0123456789abcdef0123456789abcdef"}
            file.create_group("Operations/FftOperation")["0"] = [json.dumps(said).encode()]
        for name in other:
            file.create_group(f"Data/{name}/fedcba9876543210fedcba9876543210")
    return path


# TIA, after C. Boothroyd's description of the series format.


def write_ser(path, data, *, pixel=PIXEL):
    """An image or a series of images, each followed by its time."""
    frames = np.atleast_3d(data) if data.ndim == 3 else data[None]
    kinds = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8}
    count, height, width = frames.shape
    head = struct.pack("<3H4I", 0x4949, 0x0197, 0x0220, 0x4122, 0x4152, count, count)
    dimension = struct.pack("<I2dI", count, 0.0, 1.0, 0) + struct.pack("<I", 6) + b"Number" + struct.pack("<I", 0)
    table = len(head) + 12 + len(dimension)
    elements = [
        struct.pack("<2dI2dI", 0.0, pixel * 1e-10, 0, 0.0, pixel * 1e-10, 0)
        + struct.pack("<H2I", kinds[data.dtype.str[1:]], width, height)
        + one.tobytes()
        for one in frames
    ]
    starts = [table + 16 * count + i * (len(elements[0]) + 8) for i in range(count)]
    tags = [start + len(elements[0]) for start in starts]
    body = b"".join(one + struct.pack("<2HI", 0x4152, 0, 1575540224) for one in elements)
    Path(path).write_bytes(
        head + struct.pack("<QI", table, 1) + dimension + struct.pack(f"<{2 * count}Q", *starts, *tags) + body
    )
    return path


def emi(mode, tension=200):
    """The XML of one series in the description of TIA."""
    data = (("High tension", tension, "kV"), ("Mode", mode, ""))
    rows = (f"<Data><Label>{n}</Label><Value>{v}</Value><Unit>{u}</Unit></Data>" for n, v, u in data)
    root = f"<Root>{''.join(rows)}</Root>"
    return f"<ObjectInfo><ExperimentalDescription>{root}</ExperimentalDescription></ObjectInfo>".encode()


def write_png(path, data):
    """Grey or colour."""
    Image.fromarray(data).save(path, dpi=(72, 72))
    return path


def one_of_each(folder: Path) -> list[Path]:
    """A small micrograph in each format that is read, and a few of its dialects."""
    folder.mkdir(parents=True, exist_ok=True)
    floats, shorts = image(), image(dtype=np.uint16)
    movie = np.stack([image(seed=i, dtype=np.uint16) for i in range(3)])
    return [
        write_dm(folder / "a.dm3", floats),
        write_dm(folder / "a.dm4", shorts),
        write_mrc(folder / "a.mrc", shorts),
        write_mrc(folder / "movie.mrcs", movie),
        write_tiff(folder / "a.tif", floats),
        write_tiff(folder / "stack.tiff", movie),
        write_ome(folder / "ome.tif", shorts),
        write_velox(folder / "velox.emd", movie),
        write_ncem(folder / "ncem.emd", floats),
        write_ser(folder / "a.ser", shorts),
        write_hspy(folder / "a.hspy", floats, compression=None),
        write_png(folder / "a.png", image(dtype=np.uint8)),
    ]
