"""Recipes of specimens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passband.specimens import Recipe


def list_recipes() -> list[str]:
    """Return the names of the bundled recipes of specimens.

    Example:
        >>> import passband as pb
        >>> "gold_on_carbon" in pb.list_recipes()
        True
    """
    from passband.files import bundled

    return list(bundled.recipes())


def load_recipe(source: str | Path) -> Recipe:
    """Return a recipe of random specimens.

    Args:
        source: a YAML file, or the name of a bundled recipe.

    Raises:
        BadInputError: with file, line, value and remedy.

    Example:
        >>> import passband as pb
        >>> pb.load_recipe("gold_on_carbon").field_angstrom
        51.2
    """
    from passband.specimens.recipe_files import load_recipe

    return load_recipe(source)


def as_recipe(recipe: Recipe | str | Path) -> Recipe:
    """Return a recipe that is given as such, as a file or by name."""
    return load_recipe(recipe) if isinstance(recipe, str | Path) else recipe
