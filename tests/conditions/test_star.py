"""STAR files of RELION: pixel columns of every version, beam tilt, blocks without loop_, what is not read."""

import math

import pytest
import torch

from passband.base.errors import BadInputError
from passband.conditions.condition_files import load_conditions
from passband.optics import aberration_phase, stack
from support import reference
from support.samples import STAR

ROW = {"_rlnMicrographName": "a.mrc", "_rlnDefocusU": "9000", "_rlnDefocusV": "8800", "_rlnDefocusAngle": "20", "_rlnVoltage": "300",
       "_rlnSphericalAberration": "2.7"}  # fmt: skip


def loop(block, *rows):
    """A table as RELION writes it."""
    head = "".join(f"{tag} #{i + 1}\n" for i, tag in enumerate(rows[0]))
    return f"\ndata_{block}\n\nloop_\n{head}" + "".join(" ".join(row.values()) + "\n" for row in rows)


def pairs(block, row):
    """A table of one row as the package starfile writes it."""
    return f"\ndata_{block}\n\n" + "".join(f"{tag} {value}\n" for tag, value in row.items())


def read(tmp_path, text, name="a.star"):
    (tmp_path / name).write_text(text)
    return [condition for _, condition in load_conditions(tmp_path / name)]


PARTICLE = {"_rlnImageName": "1@a.mrcs"}


@pytest.mark.parametrize(
    ("columns", "pixel", "note"),
    [
        ({"_rlnMagnification": "50000", "_rlnDetectorPixelSize": "5.0"}, 1.0, None),
        ({"_rlnMagnification": "10000.0", "_rlnDetectorPixelSize": "3.54"} | PARTICLE, 3.54, None),
        ({"_rlnPixelSize": "5.0"}, 5.0, None),
        ({"_rlnPixelSize": "1.0", "_rlnMagnification": "50000", "_rlnDetectorPixelSize": "5"}, 1.0, None),
        ({"_rlnMicrographPixelSize": "0.885"}, 0.885, None),
        ({"_rlnImagePixelSize": "3.54", "_rlnMicrographOriginalPixelSize": "0.885"} | PARTICLE, 3.54, None),
        ({"_rlnImagePixelSize": "3.54", "_rlnMicrographPixelSize": "0.885"}, 0.885, None),
        ({"_rlnTomoTiltSeriesPixelSize": "1.35"}, 1.35, None),
        ({"_rlnMicrographOriginalPixelSize": "0.5"}, 0.5, "taken from _rlnMicrographOriginalPixelSize"),
        ({"_rlnMicrographPixelSize": "0.885"} | PARTICLE, 0.885, "taken from _rlnMicrographPixelSize"),
        ({"_rlnDetectorPixelSize": "5.0"}, 0.4, "no column gives the pixel size"),
        ({}, 0.4, "no column gives the pixel size"),
    ],
)
def test_every_pixel_column(tmp_path, columns, pixel, note):
    [condition] = read(tmp_path, loop("micrographs", ROW | columns))
    assert condition.pixel_size_angstrom == pytest.approx(pixel)
    assert [note in doubt for doubt in condition.doubts()] == ([True] if note else [])


def test_beam_tilt_is_the_coma_of_relions_formula(tmp_path):
    """RELION turns the phase by 0.36° · Cs[mm] · 10⁷ λ² q² (q · tilt[mrad])."""
    tilt = {"_rlnBeamTiltX": "0.5", "_rlnBeamTiltY": "-0.2", "_rlnPixelSize": "1"}
    [plain], [tilted] = read(tmp_path, loop("m", ROW)), read(tmp_path, loop("m", ROW | tilt))
    qx, qy = torch.tensor([[0.1, 0.05], [-0.3, 0.2], [0.02, -0.4]], dtype=torch.float64).T
    lam = reference.wavelength(300e3)
    degrees = 0.36 * 2.7e7 * lam**2 * (qx**2 + qy**2) * (0.5 * qx - 0.2 * qy)
    ours = aberration_phase(stack([tilted]), qx, qy)[0] - aberration_phase(stack([plain]), qx, qy)[0]
    torch.testing.assert_close(ours, torch.deg2rad(degrees), rtol=1e-6, atol=1e-9)
    assert tilted.doubts() == []
    [without] = read(tmp_path, loop("m", ROW | tilt | {"_rlnSphericalAberration": "0"}))
    assert "C21" not in without.aberrations and "_rlnBeamTiltX" in without.doubts()[0]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("_rlnOddZernike", "[0.1,0,0,3]", True),
        ("_rlnEvenZernike", "[0,0,0]", False),
        ("_rlnCtfBfactor", "80.5", True),
        ("_rlnCtfBfactor", "0.000", False),
        ("_rlnCtfScalefactor", "1.0", False),
        ("_rlnMagMat00", "1.003", True),
        ("_rlnMagMat11", "1.000", False),
        ("_rlnMagMat01", "0.002", True),
        ("_rlnChromaticAberration", "2.0", True),
    ],
)
def test_a_column_that_changes_the_transfer_and_is_not_read_is_named(tmp_path, column, value, said):
    [condition] = read(tmp_path, loop("m", ROW | {"_rlnPixelSize": "1", column: value}))
    assert [column in doubt for doubt in condition.doubts()] == [True] * said


def test_blocks_without_loop_and_optics_below(tmp_path):
    optics = {"_rlnVoltage": "200", "_rlnSphericalAberration": "1.4", "_rlnImagePixelSize": "3.54"}
    rows = [{"_rlnImageName": f"{i}@a.mrcs", "_rlnDefocusU": f"{i}000", "_rlnDefocusV": f"{i}000"} for i in (7, 9)]
    for text in (
        pairs("optics", optics) + loop("particles", *rows),
        loop("particles", *rows) + pairs("optics", optics | {"_rlnOpticsGroup": "1"}),
    ):
        one, two = read(tmp_path, text)
        assert (one.energy_ev, one.pixel_size_angstrom, one.aberrations["C30"]) == (200e3, 3.54, 1.4e7)
        assert (one.defocus_angstrom, two.defocus_angstrom) == (7000, 9000)
    [condition] = read(tmp_path, pairs("", ROW), "upper.STAR")
    assert condition.defocus_angstrom == 8900


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (loop("m", ROW | {"_rlnPixelSize": "2", "_rlnMicrographPixelSize": "1"}), "_rlnMicrographPixelSize gives pixels of 1 Å and _rlnPixelSize of 2 Å"),
        (loop("m", ROW).replace("_rlnVoltage", "_rlnDefocusU"), "_rlnDefocusU.*twice|[Dd]uplicate"),
        (pairs("m", ROW) + "_rlnVoltage 200\n", "_rlnVoltage.*twice|[Dd]uplicate"),
        (STAR.replace("2 200.0", "1 200.0"), "optics group 1 is given twice"),
        (STAR.replace("b.mrc 2", "b.mrc 3"), "_rlnOpticsGroup is 3, which data_optics lacks; it has 1, 2"),
        (STAR.replace("_rlnOpticsGroup #2\n", "_rlnVoltage #2\n"), "no _rlnOpticsGroup"),
        (STAR.replace("_rlnDefocusAngle #5", "_rlnVoltage #5"), "_rlnVoltage is 20.0 in the row and 300.0 in its optics group"),
    ],
)  # fmt: skip
def test_what_is_said_twice_is_refused(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        read(tmp_path, text)


def test_a_defocus_in_micrometres_and_an_angle_in_radians_are_doubted(tmp_path):
    row = ROW | {"_rlnPixelSize": "1", "_rlnDefocusU": "2.0", "_rlnDefocusV": "1.9", "_rlnDefocusAngle": "0.52"}
    [condition] = read(tmp_path, loop("m", row))
    micrometres, radians = condition.doubts()
    assert "_rlnDefocusU 2 Å" in micrometres and "20000 Å" in micrometres
    assert "_rlnDefocusAngle 0.52°" in radians and f"{math.degrees(0.52):.4g}°" in radians
