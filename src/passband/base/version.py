"""The version of passband."""

__version__ = "0.2.0"
