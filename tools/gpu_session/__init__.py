"""A session on a GPU that is at hand for minutes only; `python tools/gpu_session --help`."""

from pathlib import Path

#: The repository.
ROOT = Path(__file__).parents[2]
