"""Structures in other programs' files: scenes out, as xyz, CIF, Prismatic and abTEM input; scenes in, by ASE.

Formats are named, never guessed, and only text formats are read: nothing in a file is run or unpickled.
"""

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.io.formats import ioformats
from pydantic import ValidationError
from scipy.constants import atomic_mass
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError, parameter
from passband.base.identity import content_id
from passband.base.version import __version__
from passband.files import yaml_config
from passband.files.atomic import require_replaceable, write_file, write_text
from passband.specimens import GivenRecipe, Recipe, Specimen, make_labels
from passband.specimens.cif import check_size, read_structure
from passband.specimens.crystals import CLOSEST, check_element, closest_limits
from passband.specimens.families import GivenScene, pack
from passband.specimens.labels import atomic_columns, connected

#: Formats of `export`, by the ending of the file that stands for them.
EXPORTS = {"xyz": ".xyz", "cif": ".cif", "prismatic": ".prismatic.xyz", "abtem": ".py"}
# Text formats that may hold several structures; the first is taken.
_ALSO = ("cif", "extxyz", "proteindatabank", "xsf", "xyz")
_MOST_ATOMS = 20_000_000
_LARGEST_FILE = 200_000_000
# A connected piece of fewer atoms is no particle.
_LEAST_PARTICLE = 10
_VACUUM = 2.0
# More than a layer of atoms is thick [Å], and the density of osmium [g/cm³].
_LAYER, _DENSEST = 3.0, 22.6
_ABTEM = '''\
"""Exit wave of {name} with abTEM; written by passband (recipe {recipe}, scene {index}, seed {seed})."""

import abtem
import ase.io

atoms = ase.io.read("{xyz}", format="extxyz")  # Å; the beam runs along +z, the exit plane is the far face of the cell
displacements = {displacements}  # standard deviation per axis [Å]
phonons = abtem.FrozenPhonons(atoms, num_configs=2, sigmas=displacements, seed={phonon_seed})
potential = abtem.Potential(phonons, sampling=0.2, slice_thickness=2.0, parametrization="lobato", projection="infinite")
wave = abtem.PlaneWave(energy=300e3).multislice(potential).compute()

if __name__ == "__main__":
    print(wave.shape, "mean intensity", float((abs(wave.array) ** 2).mean()))
'''


def export(specimen: Specimen, recipe: Recipe, index: int, out: Path, form: str) -> list[Path]:
    """Write a scene in a form of `EXPORTS` and return the files: `out`, and for abtem the structure beside it.

    The same recipe, index and seed always give the same bytes. Raises as `require_replaceable` and `write_file` do.
    """
    require_replaceable(out)
    identity = {"recipe": content_id(recipe.model_dump(mode="json")), "index": index, "seed": recipe.seed}
    displacements = recipe.displacements()
    if form == "abtem":
        xyz = out.with_suffix(".xyz")
        export(specimen, recipe, index, xyz, "xyz")
        names = {"name": xyz.stem, "xyz": xyz.name, "phonon_seed": recipe.seed}
        write_text(out, _ABTEM.format(displacements=displacements, **names, **identity))
        return [out, xyz]
    atoms = specimen.atoms.copy()
    if form == "xyz":
        atoms.arrays["particle"] = specimen.particle.astype(np.int32)
        atoms.arrays["grain"] = specimen.grain.astype(np.int32)
        atoms.info.update({f"passband_{key}": value for key, value in identity.items()})

    def write(path: Path) -> None:
        if form == "xyz":
            ase.io.write(path, atoms, format="extxyz")
        elif form == "cif":
            ase.io.write(path, atoms, format="cif")
            text = path.read_text(encoding="utf-8")
            path.write_text(f"# passband {' '.join(f'{k} {v}' for k, v in identity.items())}\n{text}", encoding="utf-8")
        else:
            factors = {element: 8 * math.pi**2 * u**2 for element, u in displacements.items()}
            ase.io.write(path, atoms, format="prismatic", debye_waller_factors=factors)
            first, _, rest = path.read_text(encoding="utf-8").partition("\n")
            path.write_text(f"{first} Written by passband.\n{rest}", encoding="utf-8")

    write_file(out, write)
    return [out]


def export_labels(specimen: Specimen, n: int, out: Path) -> Path:
    """Write every label of a scene as a NumPy archive (.npz): maps [rows, columns] of n × n pixels, and the atomic columns.

    Raises as `require_replaceable` and `write_file` do.
    """
    require_replaceable(out)
    labels = make_labels(specimen, n)
    # Maps are [x, y] inside; outside, x runs along the columns.
    arrays: dict[str, Any] = {f.name: np.asarray(getattr(labels, f.name)).T for f in dataclasses.fields(labels)}
    arrays |= {f"column_{name}": values for name, values in atomic_columns(specimen).items()}
    arrays["pixel_angstrom"] = np.array(float(specimen.atoms.cell[0, 0]) / n)
    arrays["passband_version"] = np.array(__version__)
    # Lattice vectors of each particle's first grain, NaN where they are not known.
    arrays["lattices_angstrom"] = np.array(
        [p.lattices[0] if len(p.lattices) else np.full((3, 3), np.nan) for p in specimen.particles]
    ).reshape(-1, 3, 3)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_file(out, write)
    return out


def readable_formats() -> list[str]:
    """Return the names of the text formats that `import_scenes` reads."""
    return sorted(
        name
        for name, form in ioformats.items()
        if (form.can_read and not form.isbinary and form.acceptsfd and form.single) or name in _ALSO
    )


def import_scenes(
    files: list[Path], form: str, support: list[str], field: float | None, seed: int
) -> tuple[GivenRecipe, list[dict[str, Any]]]:
    """Return the recipe of given scenes, and the facts of each file for a table.

    Args:
        files: a scene each; the beam runs along +z.
        form: the format's name in ASE.
        support: symbols of the elements of the film; other atoms are particles, one for each connected piece.
            A file with an array `particle`, as `export` writes it, needs none.
        field: side of the square field [Å]; the cell's if None.
        seed: of thermal displacements and noise.

    Raises:
        BadInputError: naming file, fault and remedy.
    """
    known = readable_formats()
    if form not in known:
        what = f"{form!r} is not a text format that ASE reads; {parameter('form')} is one of {', '.join(known)}"
        raise BadInputError(what, value=form, limit=known)
    for symbol in support:
        check_element(symbol, "support")
    given = [_given(_read(path, form), field, support, path) for path in files]
    sides = {facts["field_angstrom"] for _, facts in given}
    if len(sides) > 1:
        raise BadInputError(
            f"the files have fields of {', '.join(f'{s:g}' for s in sorted(sides))} Å; a recipe has one: give {parameter('field')}, or import them apart"
        )
    try:
        recipe = GivenRecipe(seed=seed, field_angstrom=sides.pop(), scenes=[scene for scene, _ in given])
    except ValidationError as error:
        raise BadInputError(f"{files[0]}: {yaml_config.message(error)}") from None
    return recipe, [facts for _, facts in given]


def _read(path: Path, form: str) -> Atoms:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(20_000)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}; give the path of a structure file") from None
    if size > _LARGEST_FILE:
        raise BadInputError(
            f"{path}: has {size / 1e6:.0f} MB, more than {_LARGEST_FILE / 1e6:.0f} MB; give a file of one scene"
        )
    # Declared numbers of atoms and columns that the file cannot hold would fill the memory before it failed.
    numbers = [int(word) for word in re.findall(rb"(?<![\w.+-])\d{6,}(?![\w.])", head)]
    columns = sum(int(word) for word in re.findall(rb":[RISL]:(\d{1,18})", head))
    first = re.match(rb"\s*(\d{1,18})\s", head)
    values = columns * int(first[1]) if first else 0
    if max(numbers, default=0) > min(size, _MOST_ATOMS) or values > size:
        raise BadInputError(
            f"{path}: declares {max([*numbers, values])} atoms or values, and has {size} bytes; at most {_MOST_ATOMS} atoms can be worked with: correct the file"
        )
    if form == "cif":
        try:
            check_size(size)
            return read_structure(path.read_bytes(), _MOST_ATOMS).atoms()
        except ValueError as error:
            raise BadInputError(str(error), place=path) from None
    try:
        atoms = ase.io.read(path, index=0, format=form, do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise many kinds.
        reason = "".join(c if c.isprintable() else " " for c in str(error)) or type(error).__name__
        raise BadInputError(
            f"{path}: is not readable as {form}: {' '.join(reason.split())[:150]}; check the file and {parameter('form')}"
        ) from None
    if not isinstance(atoms, Atoms) or not len(atoms):
        raise BadInputError(f"{path}: holds no atoms; give a structure")
    for wrong, fault in (
        (~np.isfinite(atoms.positions).all(axis=1), "has no number for a position; correct it"),
        (atoms.numbers < 1, "is of an unknown species; give chemical symbols"),
    ):
        if wrong.any():
            raise BadInputError(f"{path}: atom {int(wrong.argmax()) + 1} {fault}")
    partial = [o for site in (atoms.info.get("occupancy") or {}).values() for o in site.values() if abs(o - 1) > 1e-3]
    if partial:
        raise BadInputError(f"{path}: has a site of occupancy {partial[0]:g}; only full sites can be built: order it")
    return atoms


def _field(atoms: Atoms, path: Path) -> float:
    cell = np.array(atoms.cell)
    if not cell[:2, :2].any():
        raise BadInputError(f"{path}: has no cell; give the side of the field with {parameter('field')}")
    lengths = np.linalg.norm(cell, axis=1)
    if not np.allclose(cell, np.diag(lengths), atol=1e-3) or abs(lengths[0] - lengths[1]) > 1e-3:
        raise BadInputError(
            f"{path}: its cell is not square across the beam (z): {', '.join(f'{x:.4g}' for x in lengths)} Å; give a square field with {parameter('field')}, or turn it"
        )
    return float(lengths[0])


def _given(atoms: Atoms, field: float | None, support: list[str], path: Path) -> tuple[GivenScene, dict[str, Any]]:
    positions = np.array(atoms.positions)
    if field is None:
        field = _field(atoms, path)
    else:
        low, high = positions[:, :2].min(axis=0), positions[:, :2].max(axis=0)
        if (high - low).max() > field:
            raise BadInputError(
                f"{path}: spans {(high - low).max():.4g} Å across the beam, more than the field of {field:g} Å; give a larger {parameter('field')}"
            )
        positions[:, :2] += field / 2 - (low + high) / 2
    positions[:, :2] %= field
    positions[:, 2] += _VACUUM - positions[:, 2].min()
    height = float(positions[:, 2].max()) + _VACUUM
    box = np.array([field, field, 2 * height + 10]) * (1 + 1e-9)
    tree = cKDTree(positions, boxsize=box)
    distance, other = (values[:, -1] for values in tree.query(positions, k=[1, 2]))
    nearest = float(distance.min())
    if nearest < CLOSEST:
        i = int(distance.argmin())
        first, second = sorted((i + 1, int(other[i]) + 1))
        raise BadInputError(
            f"{path}: atoms {first} and {second} lie {nearest:.2f} Å apart, closer than {CLOSEST:g} Å; remove one, or correct the field"
        )
    owners = atoms.arrays.get("particle")
    if owners is None:
        owners = _owners(atoms, tree, support)
    elif owners.ndim != 1 or owners.min() < 0 or owners.max() > 65_535 or (owners != np.floor(owners)).any():
        raise BadInputError(f"{path}: its array `particle` holds other than whole numbers from 0 (film) up; correct it")
    owners = np.unique(owners, return_inverse=True)[1] + (0 if (owners == 0).any() else 1)
    facts = {
        "file": str(path),
        "atoms": len(atoms),
        "elements": {s: int((atoms.symbols == s).sum()) for s in sorted(set(atoms.get_chemical_symbols()))},
        "particles": int(owners.max()),
        "film_atoms": int((owners == 0).sum()),
        "field_angstrom": round(field, 4),
        "height_angstrom": round(height, 4),
        "smallest_distance_angstrom": round(nearest, 3) if math.isfinite(nearest) else None,
        "warnings": _doubts(atoms, distance, other, field, height - 2 * _VACUUM) if math.isfinite(nearest) else [],
    }
    return pack(path.name[:200], height, atoms.numbers, owners, positions), facts


def _doubts(atoms: Atoms, distance: np.ndarray, other: np.ndarray, field: float, thickness: float) -> list[str]:
    """Return what no solid has, in sentences: atoms too close or too far apart for their elements, or too dense."""
    doubts = []
    i = int((distance / (covalent_radii[atoms.numbers] + covalent_radii[atoms.numbers[other]])).argmin())
    j = int(other[i])
    low, high = closest_limits(atoms.numbers[[i, j]])
    pair = f"{atoms.symbols[i]} {i + 1} and {atoms.symbols[j]} {j + 1} lie {distance[i]:.2f} Å apart"
    if distance[i] < low:
        doubts.append(f"{pair}, closer than {low:.2g} Å; correct the positions, or remove the atom that is there twice")
    if distance[i] > high:
        doubts.append(f"no atoms lie closer for their elements than {pair}; are atoms missing, or lengths not in Å?")
    density = float(atoms.get_masses().sum()) * atomic_mass * 1e27 / (field**2 * (thickness + _LAYER))
    if density > _DENSEST:
        doubts.append(
            f"{density:.3g} g/cm³, more than any solid has ({_DENSEST:g}); give lengths in Å, and each atom once"
        )
    return doubts


def _owners(atoms: Atoms, tree: cKDTree, support: list[str]) -> np.ndarray:
    """Return 0 for atoms of the support, and a number from 1 for each other connected piece."""
    free = ~np.isin(atoms.get_chemical_symbols(), support)
    radii = covalent_radii[atoms.numbers]
    pairs = tree.query_pairs(1.25 * 2 * radii.max(), output_type="ndarray")
    near = tree.data[pairs[:, 0]] - tree.data[pairs[:, 1]]
    near -= tree.boxsize * np.round(near / tree.boxsize)
    bonded = np.linalg.norm(near, axis=1) < 1.25 * radii[pairs].sum(axis=1)
    pairs = pairs[bonded & free[pairs].all(axis=1)]
    label = connected(len(atoms), pairs)
    size = np.bincount(label)
    real = free & (size[label] >= _LEAST_PARTICLE)
    owners = np.zeros(len(atoms), dtype=int)
    owners[real] = np.unique(label[real], return_inverse=True)[1] + 1
    return owners
