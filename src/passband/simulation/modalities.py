"""The modalities, and which of them a condition or stored specimens belong to."""

from collections.abc import Sequence
from typing import Literal

from passband.conditions import AnyCondition, StemCondition
from passband.simulation import hrtem, stem
from passband.simulation.modality import Modality
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.stem import StemConfig

#: How specimens are stored, in any modality.
AnyConfig = ExitWaveConfig | StemConfig

#: By name, as tables, files and messages write it.
MODALITIES: dict[str, Modality] = {"hrtem": hrtem, "stem": stem}


def config_for(conditions: Sequence[AnyCondition]) -> AnyConfig:
    """Return how specimens are stored that are imaged under conditions of one modality and energy."""
    scanning = [condition for condition in conditions if isinstance(condition, StemCondition)]
    return StemConfig.of(scanning) if scanning else ExitWaveConfig(energy_ev=conditions[0].energy_ev)


def modality_of(given: AnyCondition | AnyConfig) -> Modality:
    """Return the modality of a condition, or of how specimens are stored."""
    return MODALITIES[modality_name(given)]


def modality_name(given: AnyCondition | AnyConfig) -> Literal["hrtem", "stem"]:
    """Return the name of the modality of a condition, or of how specimens are stored."""
    return "stem" if isinstance(given, StemCondition | StemConfig) else "hrtem"
