"""What an image says of its microscope, as plain data and in words."""

from dataclasses import asdict
from typing import Any

from passband.estimation.estimate import Estimate, Reading


def to_dict(found: Estimate) -> dict[str, Any]:
    """Return an estimate as plain data, with |defocus| and its interval."""
    interval = found.interval_angstrom
    return {
        **asdict(found),
        "defocus_angstrom": found.defocus_angstrom,
        "interval_angstrom": None if interval is None else list(interval),
    }


def in_words(found: Estimate) -> list[str]:
    """Return an estimate as lines to read; the sign of the defocus is said as far as it is known."""
    lines: list[str] = []
    if found.underfocus is not None and found.overfocus is not None:
        readings = {"underfocus": found.underfocus, "overfocus": found.overfocus}
        if found.sign is None:
            lines.append("the image does not tell underfocus from overfocus; one of these holds:")
        lines += [f"{name}: {_reading(r)}" for name, r in readings.items() if found.sign in (None, name)]
        lines.append(
            f"taken with C30 {found.C30:g} Å; agreement of the rings {found.quality:.2f} in directions that were not fitted ({found.method})"
        )
        if found.alternatives:
            lines.append(f"nearly as good: |defocus| {', '.join(f'{a:.0f}' for a in found.alternatives)} Å")
        if found.focal_spread_angstrom is not None:
            value, low, high = found.focal_spread_angstrom
            lines.append(f"damped as by a focal spread of {value:.0f} Å (95 %: {low:.0f} to {high:.0f})")
    if found.information_limit_per_angstrom is not None:
        q = found.information_limit_per_angstrom
        lines.append(f"rings are seen up to {q:.2f} 1/Å ({1 / q:.2f} Å)")
    if found.dose_per_angstrom2 is not None:
        lines.append(f"dose {found.dose_per_angstrom2:.0f} e/Å²")
    return [*lines, *found.notes]


def _reading(reading: Reading) -> str:
    low, high = reading.interval_angstrom
    axis = (
        f" along {reading.phi12:+.2f} ± {2 * reading.phi12_deviation:.2f} rad"
        if reading.phi12_deviation < 0.8
        else ", axis not known"
    )
    return f"defocus {reading.defocus_angstrom:+.0f} Å (95 %: {low:+.0f} to {high:+.0f}), C12 {reading.C12:.0f} ± {2 * reading.C12_deviation:.0f} Å{axis}"
