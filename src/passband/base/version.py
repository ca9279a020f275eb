"""The version of passband."""

__version__ = "0.1.0"
