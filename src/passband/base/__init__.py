"""Base: errors, seeds and ids, electron, frequencies, distributions, progress, version."""
