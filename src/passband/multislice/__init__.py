"""Exit waves by multislice: our own engine, and abTEM as its reference."""

from passband.multislice.config import ExitWaveConfig
from passband.multislice.exit_wave import ExitWave
from passband.multislice.specimens import specimen_exit_waves

__all__ = ["ExitWave", "ExitWaveConfig", "specimen_exit_waves"]
