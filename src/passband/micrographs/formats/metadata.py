"""Energy and dose in the metadata of vendors."""

import math
import re
from collections.abc import Mapping
from typing import Any

# A dose counts only if its name has a unit, such as "Dose (e-/A^2)" or "Total dose [e/nm2]"; a dose rate does not.
_DOSE = re.compile(r"dose[^/]*?\be[-−]?\s*/\s*(Å|A|nm)\s*(?:\^|\*\*)?\s*[2²](?!\s*/)", re.IGNORECASE)
_MOST_NAMES = 100_000


def lookup(tree: Any, path: str) -> Any:
    """Return the value of a tree of dictionaries under names joined by dots, or None."""
    for name in path.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


def beam_energy_ev(entry: Mapping[str, Any]) -> float | None:
    """Return the energy [eV] in HyperSpy's metadata, or by RosettaSciIO's mapping of a vendor's metadata."""
    kilo = lookup(entry.get("metadata"), "Acquisition_instrument.TEM.beam_energy")
    for path, (place, convert) in (entry.get("mapping") or {}).items():
        if place == "Acquisition_instrument.TEM.beam_energy" and kilo is None:
            value = lookup(entry.get("original_metadata"), path)
            try:
                kilo = None if value is None else convert(value)
            except (TypeError, ValueError):
                kilo = None
    try:
        number = float(kilo) * 1e3 if kilo is not None else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def fault_of_signal(tree: Mapping[str, Any]) -> str | None:
    """Return why a HyperSpy signal with this metadata is no micrograph, by its type; None if it may be one."""
    kind = str(lookup(tree, "Signal.signal_type") or "")
    if "diffraction" in kind:
        return "holds diffraction patterns; give a real-space image"
    if kind not in ("", "image"):
        return f"holds a signal of type {kind[:40]}, which is no image; give an HRTEM image"
    return None


def dose_per_angstrom2(tree: object) -> float | None:
    """Return the dose [e/Å²] in a tree of metadata under a name with its unit, or None."""
    waiting, seen = [tree], 0
    while waiting and seen < _MOST_NAMES:
        here = waiting.pop()
        if not isinstance(here, Mapping):
            continue
        for name, value in here.items():
            seen += 1
            if isinstance(value, Mapping):
                waiting.append(value)
            elif isinstance(name, str) and (unit := _DOSE.search(name)) and "rate" not in name.lower():
                try:
                    number = float(value) / (100.0 if unit[1] == "nm" else 1.0)
                except (TypeError, ValueError):
                    continue
                if math.isfinite(number) and number > 0:
                    return number
    return None
