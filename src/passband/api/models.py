"""Trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passband.models.store import Model


def list_models() -> list[str]:
    """Return the names of the models: those that come with passband and your own.

    Example:
        >>> import passband as pb
        >>> "au-300kv" in pb.list_models()
        True
    """
    from passband.models.store import installed

    return sorted(installed())


def load_model(source: str | Path) -> Model:
    """Return a trained network with its card and scores.

    Args:
        source: name, or folder.

    Raises:
        BadInputError: if there is none, or it is damaged.

    Example:
        >>> import passband as pb
        >>> pb.load_model("au-300kv").card.pixel_size_angstrom
        0.8
    """
    from passband.models.store import load_model

    return load_model(source)


def as_model(model: str | Path | Model) -> Model:
    """Return a model that is given as such, by name or as a folder."""
    return load_model(model) if isinstance(model, str | Path) else model
