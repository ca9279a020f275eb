"""Exit waves by multislice; `abtem_engine` is imported where it is needed, for it takes seconds."""

from passband.multislice.config import ExitWaveConfig

__all__ = ["ExitWaveConfig"]
