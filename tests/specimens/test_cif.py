"""CIFs in every spelling against ASE's own tables of space groups, and what is refused."""

import resource
import time
from fractions import Fraction

import gemmi
import numpy as np
import pytest
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list
from ase.spacegroup import Spacegroup, crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.base.errors import BadInputError
from passband.specimens.cif import read_structure
from passband.specimens.grains import wulff
from passband.specimens.recipe_files import read_cif

TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
AU = [("Au", 0, 0, 0)]
CUBIC = [4.0782, 4.0782, 4.0782, 90, 90, 90]
SILICON = [5.4309, 5.4309, 5.4309, 90, 90, 90]
SYMBOL = "_symmetry_space_group_name_H-M"


def cif(cell, sites, symbol="", tag=SYMBOL, more=""):
    lines = ["data_x", *(f"_cell_{name} {value}" for name, value in zip(TAGS, cell, strict=True))]
    lines += [f"{tag} {symbol}"] if symbol else []
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
    lines += [*more.splitlines(), "loop_", *(f"_atom_site_{column}" for column in columns)]
    return "\n".join([*lines, *(f"{s[0]}{i} {' '.join(map(str, s))}" for i, s in enumerate(sites, start=1)), ""])


@pytest.fixture
def read(tmp_path):
    def of(content):
        path = tmp_path / "x.cif"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_cif(path).crystal()

    return of


def distances(atoms, reach):
    """All distances up to a reach, sorted: no cell and no origin matters."""
    return np.sort(neighbor_list("d", atoms, reach))


def same(ours, theirs, tolerance=2e-3):
    assert len(ours) == len(theirs)
    assert ours.get_volume() == pytest.approx(theirs.get_volume(), rel=1e-3)
    a, b = distances(ours, 5.0), distances(theirs, 5.0)
    assert len(a) == len(b) and np.abs(a - b).max() < tolerance


GOLD = crystal("Au", [(0, 0, 0)], spacegroup=225, cellpar=CUBIC)


@pytest.mark.parametrize(
    "symbol",
    [
        "F m -3 m",
        "F 4/m -3 2/m",
        "F m -3 m S",
        "F m -3 m :1",
        "Fm-3m (225)",
        "Fm-3m",
        "FM-3M",
        "F_m_-3_m",
        "Fm3m",
        "F m \\bar{3} m",
        "Fm3̅m",
        "F m −3 m",
        "F m -3 m (No. 225)",
        "225",
        "#225",
        "Fm-3mS",
    ],
)
def test_every_spelling_of_the_symbol_is_gold(read, symbol):
    same(read(cif(CUBIC, AU, f"'{symbol}'")).atoms(), GOLD)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("_space_group_IT_number", "225"),
        ("_symmetry_Int_Tables_number", "225"),
        ("_space_group.IT_number", "225"),
        ("_space_group_name_H-M_full", "'F m -3 m'"),
        ("_space_group_name_H-M_alt", "'F m -3 m'"),
        ("_space_group.name_H-M_alt", "'F m -3 m'"),
        ("_SPACE_GROUP_NAME_H-M_ALT", "'F m -3 m'"),
        ("_space_group_name_Hall", "'-F 4 2 3'"),
        ("_symmetry_space_group_name_Hall", "'-f 4 2 3'"),
        ("_space_group_name_H-M_alt ?\n_space_group_IT_number", "225"),
    ],
)
def test_every_tag_of_the_space_group_is_gold(read, tag, value):
    same(read(cif(CUBIC, AU, value, tag)).atoms(), GOLD)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("data_x", "data_x\n_publ_author_name 'Frédéric'").encode("latin-1"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.upper(),
        lambda text: text.upper().replace(" AU ", " au "),
        lambda text: text.replace("4.0782", "4.0782(3)"),
        lambda text: text.replace(" Au ", " Au3+ "),
        lambda text: text.replace("_cell_", "_cell.").replace("_atom_site_", "_atom_site."),
        lambda text: "data_global\n_journal_year 1999\n" + text,
        lambda text: text + "data_refln\n_cell_length_a 4.0782\n",
    ],
)
def test_encodings_cases_and_blocks(read, change):
    same(read(change(cif(CUBIC, AU, "'F m -3 m'"))).atoms(), GOLD)


@pytest.mark.parametrize(("suffix", "place"), [(":1", 0), (" :1", 0), (" S", 0), (" O1", 0), (" (origin choice 1)", 0)])
def test_origins_of_silicon(read, suffix, place):
    known = crystal("Si", [(place,) * 3], spacegroup=227, setting=1, cellpar=SILICON)
    same(read(cif(SILICON, [("Si", *(place,) * 3)], f"'F d -3 m{suffix}'")).atoms(), known)
    other = {"1": "2", "S": "Z"}
    second = "".join(other.get(c, c) for c in suffix)
    known = crystal("Si", [(0.125,) * 3], spacegroup=227, setting=2, cellpar=SILICON)
    same(read(cif(SILICON, [("Si", *(0.125,) * 3)], f"'F d -3 m{second}'")).atoms(), known)


def test_an_origin_that_is_open_is_refused_unless_the_file_decides(read):
    for symbol, tag in (("'F d -3 m'", SYMBOL), ("227", "_space_group_IT_number"), ("Fd-3m", SYMBOL)):
        with pytest.raises(
            BadInputError, match=r"F d -3 m has two origins .* 2\.35 Å apart .* 1\.92 Å apart; write 'F d"
        ):
            read(cif(SILICON, [("Si", 0, 0, 0)], symbol, tag))
        for more in (
            "_chemical_formula_sum Si\n_cell_formula_units_Z 8",
            "_exptl_crystal_density_diffrn 2.33",
            "_space_group_IT_coordinate_system_code 1",
        ):
            crystal_ = read(cif(SILICON, [("Si", 0, 0, 0)], symbol, tag, more))
            assert len(crystal_.numbers) == 8 and crystal_.nearest_neighbour == pytest.approx(
                5.4309 * 3**0.5 / 4, rel=1e-4
            )


HEXAGONAL, RHOMBOHEDRAL = [4.7589, 4.7589, 12.991, 90, 90, 120], [5.128, 5.128, 5.128, 55.28, 55.28, 55.28]


@pytest.mark.parametrize("suffix", ["", ":H", " H", ":R", " R"])
def test_corundum_in_both_settings(read, suffix):
    hexagonal, rhombohedral = (
        cif(HEXAGONAL, [("Al", 0, 0, 0.35216), ("O", 0.30624, 0, 0.25)], f"'R -3 c{suffix}'"),
        cif(RHOMBOHEDRAL, [("Al", *(0.35216,) * 3), ("O", 0.55624, 0.94376, 0.25)], f"'R -3 c{suffix}'"),
    )
    known = crystal(("Al", "O"), [(0, 0, 0.35216), (0.30624, 0, 0.25)], spacegroup=167, setting=1, cellpar=HEXAGONAL)
    for text, wrong in ((hexagonal, "R"), (rhombohedral, "H")):
        if suffix.endswith(wrong):
            with pytest.raises(BadInputError, match=f"R -3 c:{wrong} .167. does not fit the cell"):
                read(text)
        else:
            same(read(text).atoms(), known, tolerance=5e-3)


def cell_of(number, a, b, c, angle):
    """A cell that has the symmetry of a space group in its standard setting."""
    if number < 3:
        return [a, b, c, 80, angle, 95]
    if number < 16:
        return [a, b, c, 90, angle, 90]
    if number < 75:
        return [a, b, c, 90, 90, 90]
    if number < 143:
        return [a, a, c, 90, 90, 90]
    return [a, a, c, 90, 90, 120] if number < 195 else [a, a, a, 90, 90, 90]


def written(rotation, translation):
    """A symmetry operation as CIFs write it."""
    rows = []
    for row, shift in zip(rotation, translation, strict=True):
        terms = [("+" if r > 0 else "-") + name for r, name in zip(row, "xyz", strict=True) if r]
        rows.append("".join(terms) + f"+{Fraction(float(shift)).limit_denominator(24)}")
    return ", ".join(rows)


@settings(max_examples=25, deadline=None)
@given(
    number=st.integers(1, 230),
    form=st.sampled_from(["symbol", "squeezed", "upper", "number", "operations", "hall"]),
    site=st.tuples(st.sampled_from([0.0, 0.04]), st.sampled_from([0.0, 0.15]), st.sampled_from([0.0, 0.21])),
    lengths=st.tuples(*[st.floats(9, 14)] * 3),
    angle=st.floats(95, 110),
)
def test_any_space_group_is_ases(number, form, site, lengths, angle):
    """The atoms of a site, general or special, whatever names the group; ASE has choice 1 of origins and hexagonal axes."""
    group = Spacegroup(number, 1)
    cell = cell_of(number, *lengths, angle)
    theirs, _ = group.equivalent_sites([site])
    entries = [g for g in gemmi.spacegroup_table() if g.number == number]
    name = next(g for g in entries if g.is_reference_setting()).hm
    entry = next((g for g in entries if g.hm == name and g.ext in "1H"), next(g for g in entries if g.hm == name))
    open_origin = entry.ext == "1"
    more, tag, value = "", SYMBOL, entry.xhm()
    if form == "operations":
        value = ""
        more = "\n".join(
            ["loop_", "_space_group_symop_operation_xyz", *(f"'{written(*op)}'" for op in group.get_symop())]
        )
    elif form == "number":
        tag, value = "_space_group_IT_number", str(number)
        more = "_space_group_IT_coordinate_system_code 1" if open_origin else ""
    elif form == "hall":
        tag, value = "_space_group_name_Hall", entry.hall
    elif form == "squeezed":
        value = value.replace(" ", "")
    elif form == "upper":
        value = value.upper()
    text = cif(cell, [("Cs", *site)], f'"{value}"' if value else "", tag, more)
    ours = read_structure(text.encode(), 2000)
    assert len(ours.numbers) == len(theirs) and set(ours.numbers) == {atomic_numbers["Cs"]}
    away = ours.fractions[:, None] - theirs
    assert np.abs(away - np.round(away)).max(axis=2).min(axis=1).max() < 1e-5


ZNO = [3.2495, 3.2495, 5.2069, 90, 90, 120]


@pytest.mark.parametrize("third", [(0.3333, 0.6667), (0.333, 0.667), (0.33333333, 0.66666667), (0.33, 0.67)])
def test_rounded_thirds_keep_the_hexagonal_cell(read, third):
    zinc_oxide = read(cif(ZNO, [("Zn", *third, 0), ("O", *third, 0.3821)], "'P 63 m c'"))
    assert np.allclose(np.linalg.norm(zinc_oxide.cell, axis=1), ZNO[:3], atol=1e-3)
    known = crystal(("Zn", "O"), [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, 0.3821)], spacegroup=186, cellpar=ZNO)
    same(zinc_oxide.atoms(), known)


def test_a_relaxed_cube_stays_a_cube(read):
    """Along [100] of fcc the pattern repeats after a; along a tetragonal cell's [100] it would after a/√2."""
    gold = [("Au", 0, 0, 0), ("Au", 0, 0.5, 0.5), ("Au", 0.5, 0, 0.5), ("Au", 0.5, 0.5, 0)]
    for symbol in ("'P 1'", "", "'F m -3 m'"):
        relaxed = read(cif([4.0782, 4.0783, 4.0782, 90, 90, 90.001], gold, symbol))
        assert np.allclose(np.linalg.norm(relaxed.cell, axis=1), 4.0782, atol=2e-4) and len(relaxed.numbers) == 4


def test_small_distortions_stay_where_the_file_names_their_group(read):
    edges = [3.9, 3.9, 3.905, 90, 90, 90]
    polar = [("Pb", 0, 0, 0), ("Ti", 0.5, 0.5, 0.502), ("O", 0.5, 0.5, 0.002), ("O", 0.5, 0, 0.502)]
    kept = read(cif(edges, polar, "'P 4 m m'"))
    assert np.isclose(np.linalg.norm(kept.cell[2]), 3.905, atol=1e-4) and np.isclose(kept.cell[0, 0], 3.9, atol=1e-4)
    ideal = [("Pb", 0, 0, 0), ("Ti", 0.5, 0.5, 0.5), ("O", 0.5, 0.5, 0), ("O", 0.5, 0, 0.5), ("O", 0, 0.5, 0.5)]
    cube = read(cif(edges, ideal, "'P 1'")).cell
    assert np.isclose(cube[0, 0], cube[2, 2])


PEROVSKITE = [
    ("Ca", 0.9935, 0.0350, 0.25),
    ("Ti", 0, 0.5, 0),
    ("O", 0.0714, 0.4838, 0.25),
    ("O", 0.7111, 0.2888, 0.0371),
]


def test_indices_count_in_the_axes_of_the_file(read):
    """Pbnm is Pnma with a, b, c as c, a, b: the same crystal, whose facets are the same under indices turned alike."""
    pbnm = read(cif([5.38, 5.44, 7.64, 90, 90, 90], PEROVSKITE, "'P b n m'"))
    turned = [(s, y, z, x) for s, x, y, z in PEROVSKITE]
    pnma = read(cif([5.44, 7.64, 5.38, 90, 90, 90], turned, "'P n m a'"))
    assert np.allclose(np.linalg.norm(pbnm.cell, axis=1), [5.38, 5.44, 7.64])
    assert np.allclose(np.linalg.norm(pnma.cell, axis=1), [5.44, 7.64, 5.38])
    a, b = wulff(pbnm, {"001": 1.0, "110": 1.2, "011": 1.3}), wulff(pnma, {"010": 1.0, "101": 1.2, "110": 1.3})
    facets = [
        sorted(zip(np.round(n, 4).tolist(), np.round(d, 4).tolist(), strict=True))
        for n, d in ((a.normals, a.distances), (b.normals[:, [2, 0, 1]], b.distances))
    ]
    assert np.allclose([x[0] for x in facets[0]], [x[0] for x in facets[1]], atol=1e-3)
    assert np.allclose([x[1] for x in facets[0]], [x[1] for x in facets[1]], atol=1e-3)


def test_monoclinic_zirconia_by_every_name(read):
    cell = [5.15, 5.21, 5.32, 90, 99.2, 90]
    sites = [("Zr", 0.2754, 0.0395, 0.2083), ("O", 0.07, 0.3317, 0.3447), ("O", 0.4496, 0.7569, 0.4792)]
    known = crystal(("Zr", "O", "O"), [s[1:] for s in sites], spacegroup=14, cellpar=cell)
    for symbol in ("'P 21/c'", "'P 1 21/c 1'", "P2_1/c", "'P 1 2_1/c 1'", "'P 21/c (14)'", "P121/c1"):
        same(read(cif(cell, sites, symbol)).atoms(), known)
    same(read(cif(cell, sites, "14", "_space_group_IT_number")).atoms(), known)


ONE = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'"
ROWS = "\n".join(f"Au{i} Au {i / 1e6:.6f} 0 0" for i in range(500_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cif(CUBIC, AU, "nonsense"), "space group 'nonsense' is not known; write"),
        (cif(CUBIC, AU, "'F m -3 m'", more="_space_group_IT_number 221"), "has number 225, the file says 221"),
        (cif(CUBIC, AU, "999", "_space_group_IT_number"), "number '999' is none; give 1 to 230"),
        (cif(CUBIC, AU, "'-Q 4 2 3'", "_space_group_name_Hall"), "Hall symbol '-q 4 2 3' is not known"),
        (cif(CUBIC, AU, "'F m -3 m'", more=ONE), "no two atoms lie closer than Au 1 and Au 1, 4.08 Å"),
        (cif(CUBIC, AU), "4.08 Å apart, more than 3.5 Å: atoms are missing"),
        (
            cif([3.165] * 3 + [90] * 3, [("W", 0, 0, 0)], "'I m -3 m'", more=ONE),
            "have space group Pm-3m .221., the file says I m",
        ),
        (cif([4.0, 4.2, 4.4, 90, 90, 90], AU, "'F m -3 m'"), "does not fit the cell 4, 4.2, 4.4, 90, 90, 90"),
        (cif(CUBIC, AU, "'F m -3 m'", more="_exptl_crystal_density_diffrn 4.8"), "19.3 g/cm³, the file says 4.8"),
        (cif(CUBIC, [*AU, ("Au", 0, 0, 0.02)], "'P 1'"), "0.08 Å apart, closer than 0.7"),
        (
            cif(CUBIC, AU, "'F m -3 m'") + cif(CUBIC, AU).replace("data_x", "data_y"),
            r"has 2 crystals \(x, y\); keep one",
        ),
        (cif(CUBIC, AU, more="loop_\n_space_group_symop_operation_xyz\n'x,y,q'"), "operation 'x,y,q' is not readable"),
        (cif(CUBIC, AU) + ROWS, "500001 rows of _atom_site_label, more than 2000"),
        (cif(CUBIC, AU, "'F m -3 m'") + ROWS[:60_000], "more than 2000 atoms in a cell|rows of"),
        (cif(CUBIC, AU, "'" + "(" * 100_000 + "'"), "has 100000 characters, more than 2000"),
        ("data_x\n_cell_length_a " + "[" * 1_000_000, "has no cell|has 1000000 characters"),
        ("data_\x1b[31mx\n\x00\x01 loop_", "is not a CIF"),
        ("".join(f"data_{i}\n_cell_length_a 3\n" for i in range(20_000)), "has 20000 crystals"),
        (cif(CUBIC, AU) + "#" * 21_000_000, "has 21 MB, more than 20 MB"),
        (cif(["1e300"] * 3 + [90] * 3, AU), "is impossible"),
        (cif(CUBIC, [("Au", "1e308", 0, 0)], "'F m -3 m'"), "site 'Au1' has no number for a position"),
    ],
)
def test_bad_and_hostile_cifs_are_one_line_at_once(read, content, message):
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInputError, match=message) as fault:
        read(content)
    assert str(fault.value).isprintable() and len(str(fault.value)) < 700
    assert time.perf_counter() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000
