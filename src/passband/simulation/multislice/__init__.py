"""Exit waves by multislice: the native engine, and abTEM as its reference."""

from passband.simulation.multislice.exit_wave import ExitWave, ExitWaveConfig
from passband.simulation.multislice.specimens import specimen_exit_waves

__all__ = ["ExitWave", "ExitWaveConfig", "specimen_exit_waves"]
