"""Structures from CIFs, by gemmi and spglib: every spelling of a space group, checked against the atoms; no code is run."""

import functools
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gemmi
import numpy as np
import spglib
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.geometry import cell_to_cellpar, cellpar_to_cell
from scipy.constants import atomic_mass

from passband.specimens.crystals import CLOSEST, CellRecipe, Crystal

# A CIF of a crystal takes kilobytes, one of a scene a hundred bytes an atom.
_LARGEST_FILE = 20_000_000
# spglib takes 5 s for this many atoms without symmetry; no crystal that one would draw has more in its cell.
_MOST_ATOMS = 2000
_MOST_OPERATIONS = 1000
# How a CIF writes that there is no value.
_ABSENT = ("", "?", ".")
# A value that matters is short, but for a formula.
_LONGEST = 2000
# Images of a site this close are one atom in a special position whose coordinates were rounded [Å].
_SAME = 0.1
# How far atoms may lie from where symmetry has them [Å]; the first unless another gives the file's space group.
_TOLERANCES = (0.01, 0.03, 0.1, 1e-3, 1e-4, 1e-5)
_WANTED = (
    "_cell_",
    "_atom_site_",
    "_space_group",
    "_symmetry_",
    "_chemical_formula_sum",
    "_exptl_crystal_density_diffrn",
)
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NUMBER = ("_space_group_it_number", "_symmetry_int_tables_number")
_SYMBOL = (
    "_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m", "_space_group_name_h-m_ref",
    "_space_group_name_h-m_full", "_space_group_name_h-m_alt_name", "_symmetry_space_group_name_h-m_full",
)  # fmt: skip

Values = dict[str, list[str]]


@dataclass(frozen=True)
class Structure(Crystal):
    """All atoms of a cell, and the space group that the file names, if it names one."""

    group: gemmi.SpaceGroup | None = None


def read_crystal(data: bytes, name: str) -> CellRecipe:
    """Return the crystal of a CIF in the conventional cell of its space group.

    The axes are the file's where its cell is a conventional one, whatever the setting; a primitive cell or a supercell is
    changed to the standard one. Rounded coordinates are moved to where symmetry has them.

    Raises:
        ValueError: as `read_structure`, or if its atoms lie on top of each other or have less symmetry than its space group.
    """
    structure = read_structure(data, _MOST_ATOMS, name)
    structure.check_apart()
    cell, fractions, numbers = _conventional(structure)
    rounded = [[round(float(x) % 1.0, 8) for x in place] for place in fractions]
    sites = [[chemical_symbols[z], *place] for z, place in zip(numbers, rounded, strict=True)]
    parameters = [round(float(x), 6) for x in cell_to_cellpar(cell)]
    return CellRecipe.model_validate({"name": name, "cell_angstrom": parameters, "sites": sites})


def read_structure(data: bytes, most: int, name: str = "structure") -> Structure:
    """Return all atoms of the cell of a CIF, at most that many, as the file's symmetry repeats them.

    Raises:
        ValueError: if it has no cell or atoms, partial occupancies, unknown species, or a space group that is unknown, ambiguous,
            or contradicted by formula or density.
    """
    values = _values(data, most)
    lengths = [_number(values, f"_cell_length_{x}") for x in "abc"]
    angles = [_number(values, f"_cell_angle_{x}") for x in ("alpha", "beta", "gamma")]
    for axis, length in zip("abc", lengths, strict=True):
        if np.isnan(length):
            raise ValueError(f"has no cell (_cell_length_{axis} is missing); give a CIF with cell and sites")
    parameters = [*lengths, *(90.0 if np.isnan(x) else x for x in angles)]
    possible = min(parameters) > 0 and max(parameters[:3]) < 10_000 and max(parameters[3:]) < 180
    with np.errstate(invalid="ignore"):
        cell = np.array(cellpar_to_cell(parameters)) if possible else np.full((3, 3), np.nan)
    if not np.isfinite(cell).all():
        raise ValueError(f"cell {parameters} is impossible; correct it")
    sites = _sites(values)
    groups = _groups(values, cell)
    return _decided(values, [Structure(name, cell, *_repeated(cell, *sites, ops, most), group=g) for ops, g in groups])


# --- the file


def _values(data: bytes, most: int) -> Values:
    """Return the values of the tags that matter, of the one block with a cell, tags in lower case with _ for a dot."""
    try:
        document = gemmi.cif.read_string(_text(data))
    except (RuntimeError, ValueError) as error:
        reason = "".join(c if c.isprintable() else " " for c in str(error).replace("string:", "line ", 1))
        raise ValueError(f"is not a CIF: {' '.join(reason.split())[:200]}; correct it") from None
    blocks: dict[str, Values] = {}
    for block in document:
        values: Values = {}
        for item in block:
            pair: Any = item.pair
            loop = item.loop
            tags = loop.tags if loop else pair[:1] if pair else []
            names = [str(tag).lower().replace(".", "_") for tag in tags]
            if not any(name.startswith(_WANTED) for name in names):
                continue
            if loop and loop.length() > max(most, _MOST_OPERATIONS):
                raise ValueError(
                    f"has {loop.length()} rows of {names[0]}, more than {most}; give the cell of a crystal"
                )
            cells = loop.values if loop else pair[1:]
            for i, name in enumerate(names):
                values.setdefault(name, [gemmi.cif.as_string(v).strip() for v in cells[i :: len(names)]])
        blocks[block.name] = values
    with_cell = {name: v for name, v in blocks.items() if "_cell_length_a" in v}
    whole = {name: v for name, v in with_cell.items() if "_atom_site_fract_x" in v} or with_cell
    if len(whole) > 1:
        shown = ", ".join(name[:60] for name in list(whole)[:5]) + (" …" if len(whole) > 5 else "")
        raise ValueError(f"has {len(whole)} crystals ({shown}); keep one data block in the file")
    return next(iter(whole.values()), {})


def check_size(size: int) -> None:
    """Raise ValueError for a file of more bytes than a CIF has."""
    if size > _LARGEST_FILE:
        raise ValueError(
            f"has {size / 1e6:.0f} MB, more than {_LARGEST_FILE / 1e6:.0f} MB; give the CIF of a crystal's cell"
        )


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16", errors="replace") if is_utf16 else data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _first(values: Values, tags: tuple[str, ...]) -> str:
    """Return the first value that is given among tags, or nothing."""
    value = next((v for tag in tags for v in values.get(tag, [])[:1] if v not in _ABSENT), "")
    if len(value) > _LONGEST:
        raise ValueError(f"{tags[0]} has {len(value)} characters, more than {_LONGEST}; correct it")
    return value


def _number(values: Values, tag: str) -> float:
    return float(gemmi.cif.as_number(_first(values, (tag,)) or "?"))


def _sites(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Return fractions [N, 3] and atomic numbers [N] of the listed sites, each known and fully occupied."""
    columns = [values.get(f"_atom_site_fract_{x}", []) for x in "xyz"]
    if not all(columns):
        raise ValueError("has no atoms (_atom_site_fract_x is missing); give a CIF with cell and sites")
    count = len(columns[0])
    empty = [""] * count
    types = values.get("_atom_site_type_symbol", empty)
    labels = values.get("_atom_site_label", types)
    shares = values.get("_atom_site_occupancy", empty)
    fractions = np.array([[gemmi.cif.as_number(v) for v in column] for column in columns]).T
    numbers = np.zeros(count, dtype=int)
    for i, (label, kind, share) in enumerate(zip(labels, types, shares, strict=True)):
        numbers[i] = _element(kind, label)
        if not numbers[i]:
            raise ValueError(
                f"site {label!r}: unknown species {label if kind in _ABSENT else kind!r}; give a chemical symbol in _atom_site_type_symbol"
            )
        if not (np.abs(fractions[i]) <= 1000).all():
            raise ValueError(f"site {label!r} has no number for a position; correct _atom_site_fract_x, y, z")
        occupied = 1.0 if share in _ABSENT else gemmi.cif.as_number(share)
        if not abs(occupied - 1) <= 1e-3:
            raise ValueError(
                f"site {label!r} has occupancy {occupied:g}; only full sites can be built: give an ordered structure, and `alloy` in the recipe for mixed ones"
            )
    return fractions, numbers


def _element(kind: str, label: str) -> int:
    """Return the atomic number of a type such as Ti4+, or of a label such as TI1 where there is none; 0 if unknown."""
    hydrogen = {"D": "H", "T": "H"}
    if kind not in _ABSENT:
        match = re.fullmatch(r"([A-Za-z]{1,2})\d*[+-]?\d*[+-]?", kind)
        symbol = match[1].capitalize() if match else ""
        return atomic_numbers.get(hydrogen.get(symbol, symbol), 0)
    letters = re.match(r"[A-Za-z]{0,2}", label)[0].capitalize()  # type: ignore[index]
    for symbol in (letters, letters[:1]):
        if number := atomic_numbers.get(hydrogen.get(symbol, symbol), 0):
            return number
    return 0


# --- the space group


def _groups(values: Values, cell: np.ndarray) -> list[tuple[np.ndarray, gemmi.SpaceGroup | None]]:
    """Return the operations, shape [n, 3, 4], and the space group; two if the file leaves the choice of origin open."""
    listed = next((values[tag] for tag in _OPERATIONS if _first(values, (tag,))), [])
    hall = " ".join(_first(values, _HALL).replace("_", " ").split()).lower()
    try:
        named = _named(values)
    except ValueError:
        if not listed and not hall:
            raise
        named = []
    stated: list[tuple[np.ndarray, gemmi.SpaceGroup | None]]
    if listed:
        what, stated = "its symmetry operations", [(_parsed(listed), named[0] if named else None)]
    elif hall:
        what, stated = f"Hall symbol {hall!r}", [_of_hall(hall, named)]
    elif named:
        what = f"space group {named[0].xhm()} ({named[0].number})"
        stated = [(_matrices(g.operations()), g) for g in named]
    else:
        return [(np.eye(3, 4)[None], None)]
    fitting = [choice for choice in stated if _fits(choice[0], cell)]
    if not fitting:
        sides = ", ".join(f"{x:.6g}" for x in cell_to_cellpar(cell))
        raise ValueError(f"{what} does not fit the cell {sides}; correct one of them, or list the symmetry operations")
    return fitting


def _of_hall(hall: str, named: list[gemmi.SpaceGroup]) -> tuple[np.ndarray, gemmi.SpaceGroup | None]:
    letter = 1 if hall.startswith("-") else 0
    try:
        group = gemmi.symops_from_hall(hall[:letter] + hall[letter : letter + 1].upper() + hall[letter + 1 :])
    except (RuntimeError, ValueError):
        raise ValueError(f"Hall symbol {hall!r} is not known; correct it, or list the symmetry operations") from None
    known = gemmi.find_spacegroup_by_ops(group)
    if named and known is not None and known.number != named[0].number:
        raise ValueError(
            f"Hall symbol {hall!r} has number {known.number}, the file says {named[0].number}; correct one of them"
        )
    return _matrices(group), known


def _named(values: Values) -> list[gemmi.SpaceGroup]:
    """Return the settings of the space group that symbol and number name; none if the file has neither."""
    text, symbol = _first(values, _NUMBER), _first(values, _SYMBOL)
    code = _first(values, ("_space_group_it_coordinate_system_code",)).lower()
    number = int(text) if re.fullmatch(r"\d{1,3}", text) else 0
    if text and not 1 <= number <= 230:
        raise ValueError(f"space group number {text!r} is none; give 1 to 230")
    plain, setting, in_symbol = _spelled(symbol)
    found = _symbols().get(plain, []) if symbol else _of_number(number, code)
    if not found and symbol and (group := gemmi.find_spacegroup_by_name(symbol)):
        found = [g for g in _settings() if g.hm == group.hm]
    if found and number and found[0].number != number:
        raise ValueError(
            f"space group {symbol!r} has number {found[0].number}, the file says {number}; correct one of them"
        )
    found = found or _of_number(number or in_symbol, code)
    if symbol and not found:
        raise ValueError(
            f"space group {symbol!r} is not known; write its Hermann–Mauguin symbol, such as 'F m -3 m', or list the symmetry operations"
        )
    return [g for g in found if g.ext == (setting or code.upper())] or found


def _of_number(number: int, code: str) -> list[gemmi.SpaceGroup]:
    """Return the settings of a space group that a coordinate system code such as b2 names, or else the standard ones; none for 0."""
    groups = [g for g in _settings() if g.number == number]
    standard = next((g.hm for g in groups if g.is_reference_setting()), None)
    return [g for g in groups if code and g.qualifier == code] or [g for g in groups if g.hm == standard]


@functools.lru_cache(maxsize=1)
def _settings() -> list[gemmi.SpaceGroup]:
    return list(gemmi.spacegroup_table())


@functools.lru_cache(maxsize=1)
def _symbols() -> dict[str, list[gemmi.SpaceGroup]]:
    """Return the settings by their short and full symbols, squeezed; of a short symbol the first axis comes first."""
    result: dict[str, list[gemmi.SpaceGroup]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        kinds = [k for k in map(spglib.get_spacegroup_type, range(1, 531)) if k is not None]
    full = {
        gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(k.hall_symbol)).xhm(): k.international_full for k in kinds
    }
    for group in _settings():
        for name in dict.fromkeys((group.hm, group.short_name(), full.get(group.xhm(), group.hm))):
            groups = result.setdefault(_spelled(name)[0], [])
            if group not in groups and (not groups or groups[0].hm == group.hm):
                groups.append(group)
    return result


def _spelled(symbol: str) -> tuple[str, str, int]:
    """Return a symbol squeezed to lower case, the setting it ends in (1, 2, H, R or nothing), and a number in parentheses.

    It takes F m -3 m, Fm-3m, FM-3M, F_m_-3_m, Fm3̅m, P6_3/mmc, P 6(3) m c, R -3 m:H, R -3 m R, F d -3 m S and Z (ICSD's origin 1
    and 2), F d -3 m :2, (origin 2), and F m -3 m (225).
    """
    if match := re.fullmatch(r"\s*(?:no\.?|nr\.?|#)?\s*(\d{1,3})\s*", symbol.lower()):
        return "", "", int(match[1])
    text = " ".join(symbol[:80].strip("'\" ").split()).lower().replace("−", "-").replace("–", "-")
    text = re.sub(r"(\d)[\u0304\u0305]", r"-\1", text)
    text = re.sub(r"\\?(?:bar|overline)\s*\{?(\d)\}?|</?\w+>", lambda m: f"-{m[1]}" if m[1] else "", text)
    number = 0
    if match := re.search(
        r"[\s,]*[(\[#]?\s*(?:no\.?|nr\.?|#)?\s*(?<![\d/-])(\d{2,3})\s*[)\]]\s*$|\s+(?:no\.?|nr\.?|#)\s*(\d{1,3})\s*$",
        text,
    ):
        number, text = int(match[1] or match[2]), text[: match.start()]
    setting = ""
    if match := re.search(
        r"[\s:(,]*(?:(?::|origin\s*(?:choice|at)?\s*:?|\bo)\s*([12])|(hr|h|rs|rz|r|s|z|:\s*[hr]))\s*\)?\s*$", text[1:]
    ):
        code = (match[1] or match[2]).strip(": ")
        setting = {"h": "H", "hr": "H", "r": "R", "rs": "R", "rz": "R", "s": "1", "z": "2"}.get(code, code)
        text = text[: 1 + match.start()]
    return re.sub(r"[\s_()~{}$:]", "", text), setting, number


def _parsed(listed: list[str]) -> np.ndarray:
    operations = []
    for text in listed:
        try:
            operations.append(gemmi.Op(text.lower()))
        except (RuntimeError, ValueError):
            raise ValueError(f"symmetry operation {text[:60]!r} is not readable; write such as 'x, y, z+1/2'") from None
    return _matrices(operations)


def _matrices(group: Iterable[gemmi.Op]) -> np.ndarray:
    return np.array([np.column_stack([op.rot, op.tran]) for op in group]) / gemmi.Op.DEN


def _fits(operations: np.ndarray, cell: np.ndarray) -> bool:
    """Tell whether the lattice has the symmetry of the operations, to about 1 %."""
    metric = cell @ cell.T
    size = np.sqrt(np.diag(metric))
    turned = np.swapaxes(operations[:, :, :3], 1, 2) @ metric @ operations[:, :, :3]
    return bool((np.abs(turned - metric) <= 0.02 * np.outer(size, size)).all())


# --- the atoms


def _repeated(
    cell: np.ndarray, fractions: np.ndarray, numbers: np.ndarray, operations: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return fractions and atomic numbers of all atoms of the cell, those in special positions once."""
    if len(operations) == 1 and np.array_equal(operations[0], np.eye(3, 4)):
        return fractions % 1.0, numbers
    atoms, kinds = np.empty((0, 3)), np.empty(0, dtype=int)
    for i, (site, number) in enumerate(zip(fractions, numbers, strict=True)):
        # A file may list atoms that its symmetry repeats; one listed twice is a fault that `check_apart` names.
        if _near(cell, site, atoms[kinds == number]).any() and not _near(cell, site, fractions[:i]).any():
            continue
        images = operations[:, :, :3] @ site + operations[:, :, 3]
        while len(images):
            same = _near(cell, images[0], images)
            middle = images[0] + _wrapped(images[same] - images[0]).mean(axis=0)
            atoms, kinds, images = np.vstack([atoms, middle % 1.0]), np.append(kinds, number), images[~same]
        if len(atoms) > most:
            raise ValueError(f"has more than {most} atoms in a cell; give the cell of a crystal")
    return atoms, kinds


def _near(cell: np.ndarray, point: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(_wrapped(points - point) @ cell, axis=1) < _SAME)


def _wrapped(fractions: np.ndarray) -> np.ndarray:
    return fractions - np.round(fractions)


def _decided(values: Values, choices: list[Structure]) -> Structure:
    """Return the atoms that the file's formula and density allow; of two origins, the one that puts no atoms on top of each other."""
    doubts = [_doubt(values, choice) for choice in choices]
    possible = [choice for choice, doubt in zip(choices, doubts, strict=True) if not doubt]
    if not possible:
        raise ValueError(doubts[0])
    if len(possible) == 1:
        return possible[0]
    closest = [choice.nearest_neighbour for choice in possible]
    apart = [choice for choice, distance in zip(possible, closest, strict=True) if distance >= CLOSEST]
    if len(apart) == 1:
        return apart[0]
    origins = " and ".join(
        f"with origin {getattr(c.group, 'ext', '')} {len(c.numbers)} atoms a cell, the closest {distance:.2f} Å apart"
        for c, distance in zip(possible, closest, strict=True)
    )
    name = getattr(possible[0].group, "hm", "")
    raise ValueError(
        f"space group {name} has two origins and the file does not say which: {origins}; "
        f"write '{name}:1' or '{name}:2', or list the symmetry operations"
    )


def _doubt(values: Values, structure: Structure) -> str:
    """Return how the atoms of a cell contradict the file, if they do."""
    volume = float(abs(np.linalg.det(structure.cell)))
    density = float(atomic_masses[structure.numbers].sum() * atomic_mass * 1e27 / volume)
    stated = _number(values, "_exptl_crystal_density_diffrn")
    if abs(density / stated - 1) > 0.2:
        return f"its atoms have {density:.3g} g/cm³, the file says {stated:.3g}; correct space group, cell or sites"
    formula = re.findall(r"([A-Z][a-z]?)\s*([\d.]*)", _first(values, ("_chemical_formula_sum",)))
    units = _number(values, "_cell_formula_units_z")
    for symbol, count in formula if units > 0 else []:
        wanted, has = float(count or 1) * units, int((structure.numbers == atomic_numbers.get(symbol, 0)).sum())
        # Hydrogen is often not located.
        if symbol not in ("H", "D") and abs(has - wanted) > 0.2 * wanted:
            return (
                f"its cell has {has} {symbol}, formula and Z of the file give {wanted:g}; correct space group or sites"
            )
    return ""


def _conventional(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cell, fractions and numbers of the conventional cell, idealised, in the file's axes where it has such a cell."""
    stated, found = structure.group, []
    for tolerance in _TOLERANCES[: 1 if len(structure.numbers) > 200 else None]:
        with warnings.catch_warnings():
            # spglib announces another way to report errors.
            warnings.simplefilter("ignore", DeprecationWarning)
            data = spglib.get_symmetry_dataset(
                (structure.cell, structure.fractions, structure.numbers), symprec=tolerance
            )
        if data is not None:
            found.append(data)
            if stated is None or stated.number in (1, data.number):
                break
    if not found:
        return structure.cell, structure.fractions, structure.numbers
    data = next((d for d in found if stated is not None and d.number == stated.number), found[0])
    if stated is not None and data.number != stated.number and len(data.rotations) <= len(stated.operations()):
        raise ValueError(
            f"its atoms have space group {data.international} ({data.number}), the file says {stated.xhm()} ({stated.number}): "
            "symmetry operations or atoms are missing; correct the space group, or list all atoms under P 1"
        )
    turn = np.round(data.transformation_matrix)
    if not np.allclose(turn, data.transformation_matrix, atol=0.01) or round(np.linalg.det(turn)) != 1:
        turn = np.eye(3)
    return turn.T @ data.std_lattice, data.std_positions @ np.linalg.inv(turn).T, data.std_types
