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
    """Read a recipe; `crystal: {cif: FILE}` names a CIF beside it.

    Args:
        source: a YAML file, or the name of a bundled recipe, such as gold_on_carbon.

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
    model = recipe_model(content)
    return yaml_config.validate(model, with_crystals(content, path, lines, ()), path, lines)


def with_crystals(content: Any, path: Path, lines: yaml_config.Lines, place: tuple[str | int, ...]) -> Any:
    """Return a recipe's content with the cell of a CIF where it names one.

    Args:
        content: of the recipe, from YAML.
        path: of the file.
        lines: of its keys.
        place: of the recipe in the file.

    Raises:
        BadInputError: naming the CIF and its fault.
    """
    if not isinstance(content, dict) or not isinstance(content.get("particles"), (list, dict)):
        return content
    populations = content["particles"] if isinstance(content["particles"], list) else [content["particles"]]
    single = isinstance(content["particles"], dict)
    result = []
    for i, population in enumerate(populations):
        if (
            isinstance(population, dict)
            and isinstance(population.get("crystal"), dict)
            and "cif" in population["crystal"]
        ):
            where = (*place, "particles", *(() if single else (i,)), "crystal")
            prefix = f"{path}:{lines.get((*where, 'cif'), lines.get(where, 1))}: crystal.cif"
            crystal = population["crystal"]
            if set(crystal) != {"cif"} or not isinstance(crystal["cif"], str):
                raise BadInputError(f"{prefix}: goes alone and names a file; write {{cif: FILE.cif}}")
            file = path.parent / crystal["cif"]
            if not file.is_file():
                raise BadInputError(f"{prefix}: {crystal['cif']!r} not found beside the recipe; correct the path")
            population = {**population, "crystal": read_cif(file).model_dump(mode="json")}
        result.append(population)
    return {**content, "particles": result}


def read_cif(path: Path) -> CellRecipe:
    """Return the crystal of a CIF in the conventional cell of its space group (see `cif.read_crystal`).

    Raises:
        BadInputError: naming the file and its fault.
    """
    try:
        check_size(path.stat().st_size)
        return read_crystal(path.read_bytes(), path.stem[:64])
    except ValidationError as error:
        raise BadInputError(yaml_config.message(error), place=path) from None
    except ValueError as error:
        raise BadInputError(str(error), place=path) from None
