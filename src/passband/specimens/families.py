"""Families of specimens: drawn from a recipe, or given."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from passband.specimens.given import GivenRecipe, given_specimen
from passband.specimens.recipes import SpecimenRecipe
from passband.specimens.scene import Specimen, draw_scene


def _kind(content: Any) -> str:
    given = "scenes" in content if isinstance(content, dict) else isinstance(content, GivenRecipe)
    return "given" if given else "drawn"


#: A recipe of random scenes, or given ones.
Recipe = Annotated[Annotated[SpecimenRecipe, Tag("drawn")] | Annotated[GivenRecipe, Tag("given")], Discriminator(_kind)]


def recipe_model(content: Any) -> type[SpecimenRecipe] | type[GivenRecipe]:
    """Return the model that a recipe's content is for."""
    return GivenRecipe if _kind(content) == "given" else SpecimenRecipe


def draw_specimen(recipe: SpecimenRecipe | GivenRecipe, index: int) -> Specimen:
    """Return specimen number `index` of a family; the same recipe and index always give the same atoms.

    Args:
        recipe: the family.
        index: from 0.

    Raises:
        BadInputError: if the particles do not fit the field, or fewer scenes are given.
    """
    return given_specimen(recipe, index) if isinstance(recipe, GivenRecipe) else draw_scene(recipe, index)
