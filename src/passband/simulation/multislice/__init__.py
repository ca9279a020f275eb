"""Exit waves by multislice: the native engine, and abTEM as its reference."""

from passband.simulation.multislice.engine import specimen_exit_waves
from passband.simulation.multislice.exit_wave import ExitWave, ExitWaveConfig

__all__ = ["ExitWave", "ExitWaveConfig", "specimen_exit_waves"]
