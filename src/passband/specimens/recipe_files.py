"""Recipes from files, with the CIFs that they name; crystals come out complete in themselves."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from passband.base.errors import BadInputError
from passband.files import bundled, yaml_config
from passband.specimens import GivenRecipe, SpecimenRecipe
from passband.specimens.cif import check_size, read_crystal
from passband.specimens.crystals import CellRecipe
from passband.specimens.families import recipe_model


def load_recipe(source: str | Path) -> SpecimenRecipe | GivenRecipe:
    """Read a YAML file, in which `crystal: {cif: FILE}` names a CIF beside it, or a bundled recipe such as gold_on_carbon.

    Raises:
        BadInputError: with file, line, value and remedy; listing the bundled recipes, if a name is unknown.
    """
    path = bundled.find(source, bundled.recipes())
    if not path.exists() and not path.suffix:
        names = [name for name in bundled.recipes() if "/" not in name]
        raise BadInputError(
            f"neither a file nor a bundled recipe; bundled are {', '.join(names)} and those in structure/", place=source
        )
    content, lines = yaml_config.read_yaml(path)
    return yaml_config.validate(recipe_model(content), with_crystals(content, path, lines, ()), path, lines)


def with_crystals(content: Any, path: Path, lines: yaml_config.Lines, place: tuple[str | int, ...]) -> Any:
    """Return the content of a recipe at a place in a file, with the cell of each CIF that it names.

    Raises:
        BadInputError: naming the CIF and its fault.
    """
    particles = content.get("particles") if isinstance(content, dict) else None
    if isinstance(particles, dict):
        return {**content, "particles": [_with_crystal(particles, path, lines, (*place, "particles"))]}
    if not isinstance(particles, list):
        return content
    whole = [_with_crystal(one, path, lines, (*place, "particles", i)) for i, one in enumerate(particles)]
    return {**content, "particles": whole}


def _with_crystal(population: Any, path: Path, lines: yaml_config.Lines, place: tuple[str | int, ...]) -> Any:
    crystal = population.get("crystal") if isinstance(population, dict) else None
    if not isinstance(crystal, dict) or "cif" not in crystal:
        return population
    place = (*place, "crystal")
    prefix = f"{path}:{lines.get((*place, 'cif'), lines.get(place, 1))}: crystal.cif"
    if set(crystal) != {"cif"} or not isinstance(crystal["cif"], str):
        raise BadInputError(f"{prefix}: goes alone and names a file; write {{cif: FILE.cif}}")
    file = path.parent / crystal["cif"]
    if not file.is_file():
        raise BadInputError(f"{prefix}: {crystal['cif']!r} not found beside the recipe; correct the path")
    return {**population, "crystal": read_cif(file).model_dump(mode="json")}


def read_cif(path: Path) -> CellRecipe:
    """Return the crystal of a CIF as `cif.read_crystal` does, or raise BadInputError with the file and its fault."""
    try:
        check_size(path.stat().st_size)
        return read_crystal(path.read_bytes(), path.stem[:64])
    except ValidationError as error:
        raise BadInputError(yaml_config.message(error), place=path) from None
    except ValueError as error:
        raise BadInputError(str(error), place=path) from None
