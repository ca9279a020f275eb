"""Energy, dose and kind of image in the metadata of vendors."""

import math
import re
from collections.abc import Mapping
from typing import Any

from passband.micrographs.formats import units
from passband.micrographs.formats.dataset import Dataset, Dose, axis, dataset

# A dose counts only if its name has a unit per area, such as "Dose (e-/A^2)" or "Total dose [e/nm2]", and no rate.
_UNIT = re.compile(
    r"\be(?:l|lectrons?)?\s*[-−⁻]?\s*(?:/|\bper\b|[·.\s])\s*(Å|A|nm|pm|µm|um|m)\s*(?:\^|\*\*)?\s*[-−⁻]?\s*[2²]"
    r"\s*(?:(?:/|\bper\b)\s*(frame|fraction|image))?\s*[\])]?\s*$",
    re.IGNORECASE,
)
# Other words in its name leave its meaning open: a rate, a limit, the dose of a session. So do some in the name of its group.
_WORDS = {"dose", "fluence", "electron", "electrons", "e", "total", "of", "the", "per"}
_WORDS |= {"image", "frame", "fraction", "movie"}
_OTHER = re.compile(
    r"rate|limit|max|min|budget|target|plan|preset|session|accum|cumul|previous|history|thresh|toler|critic"
)
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
    number = _number(kilo)
    return None if number is None else number * 1e3


def is_scanned(microscope: Any) -> bool:
    """Return whether a mode in the metadata of a microscope is that of a STEM or SEM."""
    named = microscope.items() if isinstance(microscope, Mapping) else ()
    modes = [str(value).upper() for name, value in named if "mode" in str(name).lower()]
    return any(word in mode for mode in modes for word in ("STEM", "SEM", "SCAN"))


def of_signal(entry: Mapping[str, Any], **facts: Any) -> Dataset:
    """Return the data set of a HyperSpy signal, described as RosettaSciIO does, with further facts."""
    tree = entry["metadata"]
    kind = str(lookup(tree, "Signal.signal_type") or "")
    fault = None
    if "diffraction" in kind:
        fault = "holds diffraction patterns; give a real-space image"
    elif kind not in ("", "image"):
        fault = f"holds a signal of type {kind[:40]}, which is no image; give an HRTEM image"
    return dataset(
        entry["data"],
        [axis(a) for a in entry["axes"]],
        fault=fault,
        energy_ev=beam_energy_ev(entry),
        dose=dose({"metadata": tree, "original": entry.get("original_metadata")}),
        scanned=is_scanned(lookup(tree, "Acquisition_instrument.TEM")),
        **facts,
    )


def dose(tree: object) -> Dose:
    """Return the doses [e/Å²] in a tree of metadata under names with a unit; two values of one kind count as none."""
    waiting, seen = [("", tree)], 0
    values: dict[str, set[float]] = {"plain": set(), "total": set(), "frame": set(), "image": set()}
    while waiting and seen < _MOST_NAMES:
        group, here = waiting.pop()
        for name, value in here.items() if isinstance(here, Mapping) else ():
            seen += 1
            if isinstance(value, Mapping):
                waiting.append((f"{group} {name}"[-500:], value))
            elif isinstance(name, str) and (found := _kind(name[:200], group)) and (number := _number(value)):
                values[found[0]].add(number / found[1])
    single: dict[str, Any] = {kind: some.pop() for kind, some in values.items() if len(some) == 1}
    return Dose(**single)


def _kind(name: str, group: str) -> tuple[str, float] | None:
    """Return which dose a name means and the area of its unit [Å²]; None if it means another thing."""
    unit = _UNIT.search(name)
    length = units.in_angstrom(unit[1]) if unit else None
    if unit is None or length is None or _OTHER.search(group.lower()):
        return None
    words = set(re.findall(r"[^\W\d_]+", name[: unit.start()].lower()))
    if not words & {"dose", "fluence"} or words - _WORDS:
        return None
    words |= {(unit[2] or "").lower()} | set(re.findall(r"frame|fraction", group.lower()))
    kinds = {"frame": "frame", "fraction": "frame", "image": "image", "total": "total", "movie": "total"}
    return next((kind for word, kind in kinds.items() if word in words), "plain"), length**2


def _number(value: object) -> float | None:
    """Return a positive, finite number, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
