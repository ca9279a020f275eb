"""CTFFIND and RELION: defocus U, V [Å, positive = underfocus] along and across an angle [degrees], kV, Cs in mm.

Amplitude contrast belongs to the specimen, not to the microscope: the contrast transfer that these programs mean is
√(1 − w²) T − w T_a with passband's T and T_a = ½ [t(q) + t*(−q)]. It is read and ignored. Sources: RELION's metadata_label.h and
ctf.cpp, CTFFIND's ctf.cpp; angles count from x towards y.
"""

import math
from typing import Any

from passband.conditions.condition import Condition
from passband.conditions.notations.quantities import number, unknown

FIELDS = ("energy_ev", "pixel_size_angstrom")
_DEFOCUS = {"defocus_u", "defocus_v", "defocus_angle"}
_KEYS = _DEFOCUS | {"voltage_kv", "cs_mm", "amplitude_contrast", "phase_shift_deg", "pixel_size"}


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a condition from defocus_u, defocus_v [Å], defocus_angle [degrees], voltage_kv, cs_mm, pixel_size [Å].

    ValueError on unknown names, missing defocus or a phase plate.
    """
    unknown(content, _KEYS, "ctffind")
    if number("phase_shift_deg", content.get("phase_shift_deg", 0)) != 0:
        shift = content["phase_shift_deg"]
        raise ValueError(f"phase_shift_deg is {shift:g}; passband has no phase plate, so this cannot be read")
    u = number("defocus_u", content.get("defocus_u"))
    v = number("defocus_v", content.get("defocus_v", u))
    # df(φ) = ½ (U + V) + ½ (U − V) cos 2(φ − angle) and C10 + C12 cos 2(φ − φ12) = −df: a quarter turn for the sign.
    turn = math.remainder(math.radians(number("defocus_angle", content.get("defocus_angle", 0))) + math.pi / 2, math.pi)
    cs = 1e7 * number("cs_mm", content.get("cs_mm", 0))
    fields: dict[str, Any] = {"aberrations": {"C10": -(u + v) / 2, "C12": (u - v) / 2, "phi12": turn, "C30": cs}}
    if "voltage_kv" in content:
        fields["energy_ev"] = 1e3 * number("voltage_kv", content["voltage_kv"])
    if "pixel_size" in content:
        fields["pixel_size_angstrom"] = number("pixel_size", content["pixel_size"])
    return fields


def doubts(content: dict[str, Any]) -> list[str]:
    """Return what of a valid content looks like another unit, a line each."""
    u, turn = content["defocus_u"], content.get("defocus_angle", 0)
    lines = []
    if not {"pixel_size", "pixel_size_angstrom"} & set(content):
        lines.append("the pixel size is not given, so 0.4 Å is assumed; add pixel_size [Å]")
    if 0 < abs(u) < 50:
        what = f"defocus_u {u:g} Å is next to none; is it in µm or nm?"
        lines.append(f"{what} {u:g} µm is {1e4 * u:g} Å, {u:g} nm is {10 * u:g} Å")
    if 0 < abs(turn) <= math.pi and turn != round(turn) and content.get("defocus_v", u) != u:
        lines.append(f"defocus_angle {turn:g}° is small; is it in rad? {turn:g} rad is {math.degrees(turn):.4g}°")
    return lines


def write(condition: Condition) -> dict[str, Any]:
    """Return defocus U ≥ V, angle, kV, Cs and pixel size; ValueError for aberrations that this notation lacks."""
    more = sorted(set(condition.aberrations) - {"C10", "C12", "phi12", "C30"})
    if more:
        raise ValueError(f"CTFFIND's notation has no place for {', '.join(more)}")
    c10, c12 = condition.aberrations.get("C10", 0.0), condition.aberrations.get("C12", 0.0)
    turn = math.degrees(condition.aberrations.get("phi12", 0.0)) - (90 if c12 >= 0 else 0)
    return {
        "defocus_u": 0.0 - c10 + abs(c12),
        "defocus_v": 0.0 - c10 - abs(c12),
        "defocus_angle": math.remainder(turn, 180),
        "voltage_kv": condition.energy_ev / 1e3,
        "cs_mm": condition.aberrations.get("C30", 0.0) / 1e7,
        "pixel_size": condition.pixel_size_angstrom,
    }
