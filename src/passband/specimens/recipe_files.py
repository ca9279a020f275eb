"""Recipes from files, with the CIFs that they name; crystals come out complete in themselves."""

import warnings
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import spglib
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import cell_to_cellpar
from pydantic import ValidationError

from passband.base.errors import BadInputError
from passband.files import bundled, yaml_config
from passband.specimens import GivenRecipe, SpecimenRecipe
from passband.specimens.crystals import CellRecipe, check_apart
from passband.specimens.families import recipe_model

# A CIF of a crystal takes kilobytes.
_LARGEST_CIF = 20_000_000


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
    """Return the crystal of a CIF in the conventional cell of its space group, by gemmi and spglib; no code in it is run.

    Raises:
        BadInputError: if it has no cell or atoms, partial occupancies, unknown species, or atoms on top of each other.
    """
    if path.stat().st_size > _LARGEST_CIF:
        raise BadInputError(
            f"{path}: has {path.stat().st_size / 1e6:.0f} MB, more than {_LARGEST_CIF / 1e6:.0f} MB; give the CIF of a crystal's cell"
        )
    try:
        block = gemmi.cif.read(str(path)).sole_block()
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: is not a CIF of one crystal: {' '.join(str(error).split())}") from None
    for tag in ("a", "b", "c"):
        if block.find_value(f"_cell_length_{tag}") in (None, "?", "."):
            raise BadInputError(f"{path}: has no cell (_cell_length_{tag} is missing); give a CIF with cell and sites")
    structure = gemmi.make_small_structure_from_block(block)
    if not structure.sites:
        raise BadInputError(f"{path}: has no atoms (_atom_site_fract_x is missing); give a CIF with cell and sites")
    for site in structure.sites:
        _check_site(path, site)
    sites = structure.get_all_unit_cell_sites()
    parameters = structure.cell.parameters
    if not all(np.isfinite(parameters)) or min(parameters) <= 0:
        raise BadInputError(f"{path}: cell {parameters} is impossible; correct it")
    if len(sites) > 5000:
        raise BadInputError(f"{path}: has {len(sites)} atoms in a cell, more than 5000; give the cell of a crystal")
    lattice = np.array(structure.cell.orth.mat.tolist()).T
    fractions = np.array([[s.fract.x, s.fract.y, s.fract.z] for s in sites])
    numbers = np.array([s.element.atomic_number for s in sites])
    name = path.stem[:64]
    try:
        check_apart(lattice, fractions, numbers, name)
        with warnings.catch_warnings():
            # spglib announces another way to report errors.
            warnings.simplefilter("ignore", DeprecationWarning)
            standard = spglib.standardize_cell((lattice, fractions, numbers), to_primitive=False, no_idealize=False)
        if standard is not None:
            lattice, fractions, numbers = standard
        cell = [round(float(x), 6) for x in cell_to_cellpar(lattice)]
        rows = [
            [chemical_symbols[z], *(round(float(x) % 1.0, 8) for x in f)]
            for z, f in zip(numbers, fractions, strict=True)
        ]
        return CellRecipe.model_validate({"name": name, "cell_angstrom": cell, "sites": rows})
    except ValidationError as error:
        raise BadInputError(f"{path}: {yaml_config.message(error)}") from None
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from None


def _check_site(path: Path, site: Any) -> None:
    if site.element.name not in atomic_numbers or site.element.atomic_number == 0:
        raise BadInputError(
            f"{path}: site {site.label!r}: unknown species {site.type_symbol or site.label!r}; give a chemical symbol in _atom_site_type_symbol"
        )
    if not np.isfinite([site.fract.x, site.fract.y, site.fract.z]).all():
        raise BadInputError(
            f"{path}: site {site.label!r} has no number for a position; correct _atom_site_fract_x, y, z"
        )
    if not abs(site.occ - 1) <= 1e-3:
        raise BadInputError(
            f"{path}: site {site.label!r} has occupancy {site.occ:g}; only full sites can be built: give an ordered structure, and `alloy` in the recipe for mixed ones"
        )
