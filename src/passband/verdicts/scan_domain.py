"""The applicability domain of a model for STEM scans: the detectors, energies and ranges that it was calibrated on."""

from functools import cached_property
from typing import Any

from passband.base.electron import wavelength
from passband.conditions import ABERRATIONS, StemCondition
from passband.verdicts.domain import SLACK, Domain, outside
from passband.verdicts.features import magnitude
from passband.verdicts.scan_features import outer_mrad
from passband.verdicts.statements import Statement

# Ranges of the probe and the scan: title, unit, and whether only larger values are unknown (a steadier scan is no other one).
_WIDTHS = {
    "convergence_semiangle_mrad": ("convergence semi-angle", " mrad", False),
    "focal_spread_angstrom": ("focal spread", " Å", True),
    "source_size_angstrom": ("source size", " Å", True),
    "line_jitter_angstrom": ("line jitter", " Å", True),
    "drift_angstrom": ("drift", " Å", True),
    "inner_mrad": ("inner angle of the detector", " mrad", False),
    "outer_mrad": ("outer angle of the detector", " mrad", False),
}


def _value(condition: StemCondition, name: str) -> float:
    """Return a field of the scan or of its detector by name."""
    if name == "outer_mrad":
        return outer_mrad(condition)
    return float(getattr(condition.detector if name == "inner_mrad" else condition, name))


class ScanDomain(Domain):
    """The applicability domain of a model for STEM scans: detectors, energies and ranges that it was calibrated on."""

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Calibrated range of each aberration, and of each width of probe, scan and detector."""
        values = {symbol: [magnitude(c, symbol) for c in self.measured] for symbol in ABERRATIONS}
        values |= {name: [_value(c, name) for c in self.measured] for name in _WIDTHS}
        return {name: (min(v), max(v)) for name, v in values.items()}

    def rim(self, seen: Any) -> tuple[float, float]:
        """Return the wavelength [Å], and the spatial frequency [1/Å] at the rim of the probe's aperture."""
        length = float(wavelength(seen.energy_ev))
        return length, 1e-3 * seen.convergence_semiangle_mrad / length

    def objections(self, condition: Any) -> list[Statement]:
        """Return what of a condition lies outside the domain."""
        if kind := self._kind(condition):
            return kind
        if energy := self.energy_objections(condition.energy_ev):
            return energy
        seen = self.seen(condition)
        return [*self.pixel_objections(condition), *self._aberrations(seen), *self._widths(seen), *self._noise(seen)]

    def _kind(self, condition: Any) -> list[Statement]:
        """An image of another detector is another image."""
        kinds, given = sorted({c.detector.kind for c in self.conditions}), condition.detector.kind
        return [] if given in kinds else [Statement("detector", "kind", given, tuple(kinds))]

    def _widths(self, seen: StemCondition) -> list[Statement]:
        result = []
        for name, (what, unit, only_larger) in _WIDTHS.items():
            value, (low, high) = _value(seen, name), self.ranges[name]
            slack = max(SLACK * (high - low), SLACK * high)
            if (only_larger or low - slack <= value) and value <= high + slack:
                continue
            ends = f"{low:.3g} to {high:.3g}{unit}"
            result.append(outside(name, value, (low, high), ends, what=what, unit=unit))
        return result
