"""Compare STEM images with abTEM: HAADF images with PRISM, bright field and centre of mass of films with multislice.

python benchmarks/stem.py     # writes the figure and the tables of docs/stem.md, too; some 10 minutes on one core
"""

import math
import statistics
import time
from pathlib import Path

import abtem
import numpy as np
import torch
from ase import Atoms
from real_micrographs import fill_page
from rows import Row, write
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from passband.conditions import StemCondition
from passband.figures import style
from passband.simulation.stem import Imager, StemConfig, elements, largest_phase, structure_factors
from passband.specimens import SpecimenRecipe, SubstrateRecipe, draw_specimen
from passband.specimens.substrates import draw_film

RECIPE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 51.2,
        "particles": {"count": [1, 1], "diameter_angstrom": [45.0, 46.0]},
        "substrate": {"thickness_angstrom": [10.0, 12.0]},
    }
)
HAADF = StemCondition(
    energy_ev=200e3,
    convergence_semiangle_mrad=20.0,
    aberrations={"C10": -20.0},
    pixel_size_angstrom=0.2,
    detector={"kind": "haadf", "inner_mrad": 50.0, "outer_mrad": 80.0},
)
DOCS = Path(__file__).parent.parent / "docs"
# Grid points and interpolation of PRISM: 80 mrad need 0.1 Å.
POINTS, INTERPOLATION = 560, 8
# Small fields: side [Å], grid points, interpolation, pixels of the image, and thermal displacements [Å].
FIELD, SMALL_POINTS, SMALL_INTERPOLATION, PIXELS = 25.6, 336, 3, 64
MOTION = {"C": 0.08, "Au": 0.085}
# Height [Å] and tilt [rad] of gold cylinders, and widths of the source [Å].
CYLINDERS = ((20.0, 0.0), (50.0, 0.0), (50.0, 0.05), (50.0, 0.2), (20.0, 0.2))
SOURCES = (0.0, 0.3, 0.45, 0.8)
# Thickness [Å] of carbon films, and what their potential is multiplied by.
FILMS = ((1.0, 0.25), (1.0, 0.5), (1.0, 1.0), (10.0, 1.0), (20.0, 1.0), (40.0, 1.0))


def displaced(atoms: Atoms, motion: dict[str, float], seed: int) -> Atoms:
    """Return one frozen-phonon configuration."""
    moved = atoms.copy()
    widths = np.array([motion[symbol] for symbol in atoms.get_chemical_symbols()])
    moved.positions += widths[:, None] * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return moved


def potential(atoms: Atoms, points: int, thickness: float = 2.0) -> abtem.Potential:
    return abtem.Potential(
        atoms, gpts=points, slice_thickness=thickness, parametrization="lobato", projection="infinite"
    ).build(lazy=False)


def prism(atoms: Atoms) -> tuple[np.ndarray, float]:
    """Return the HAADF image and the seconds that it takes."""
    c, field = HAADF, float(atoms.cell[0, 0])
    began = time.process_time()
    matrix = abtem.SMatrix(
        potential=potential(atoms, POINTS),
        energy=c.energy_ev,
        semiangle_cutoff=c.convergence_semiangle_mrad,
        interpolation=INTERPOLATION,
    ).build(lazy=False)
    scan = abtem.GridScan(start=(0, 0), end=(field, field), gpts=256, endpoint=False)
    ring = abtem.AnnularDetector(c.detector.inner_mrad, c.detector.outer_mrad)
    ctf = abtem.CTF(defocus=c.defocus_angstrom, energy=c.energy_ev, semiangle_cutoff=c.convergence_semiangle_mrad)
    image = np.asarray(matrix.reduce(scan=scan, detectors=ring, ctf=ctf).array).squeeze()
    return image, time.process_time() - began


def ours(atoms: Atoms) -> tuple[np.ndarray, float]:
    """Return the whole HAADF image and the seconds it takes, with all that a new condition needs."""
    began = time.process_time()
    motion = RECIPE.displacements()
    config = StemConfig.of([HAADF], float(atoms.cell[2, 2]))
    stored = structure_factors(atoms, motion, config)[None]
    image = Imager(HAADF, RECIPE.field_angstrom, config, elements(motion)).intensity(stored)[0]
    return image.numpy(), time.process_time() - began


def correlation(a: np.ndarray, b: np.ndarray, source: float, step: float) -> float:
    """Return the correlation of two images, both blurred by a source of a standard deviation [Å]."""
    blurred = [gaussian_filter(x, source / step, mode="wrap") for x in (a, b)]
    return float(np.corrcoef(blurred[0].ravel(), blurred[1].ravel())[0, 1])


def haadf() -> None:
    atoms = draw_specimen(RECIPE, 0).atoms
    first, before = ours(atoms)
    theirs, whole = prism(displaced(atoms, RECIPE.displacements(), 1))
    seconds = [before, ours(atoms)[1]]
    step = HAADF.pixel_size_angstrom
    found = ", ".join(f"{correlation(first, theirs, s, step):.3f} with {s:g} Å" for s in (0.0, 0.3, 0.45))
    note = (
        f"a 45 Å particle of random orientation on 11 Å of carbon, 200 kV, 20 mrad, 50 to 80 mrad; PRISM: {POINTS}², interpolation {INTERPOLATION}, one "
        f"frozen-phonon configuration; seconds of one core; correlation with a source of {found}"
    )
    ratios = sorted(whole / s for s in seconds)
    rate = 1 / statistics.median(seconds)
    write(
        Row("HAADF image, 256²", rate, 1 / whole, "images/s, abTEM PRISM", statistics.median(ratios), 100, ratios, note)
    )


def cylinder(height: float, tilt: float) -> Atoms:
    """Return gold of 17 Å across and so many Å high, tilted off its ⟨100⟩ axis [rad], on 10 Å of scattered carbon atoms."""
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid(*[np.arange(-13, 14)] * 3, indexing="ij"), -1).reshape(-1, 3)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    turn = Rotation.from_rotvec([tilt * math.cos(0.4), tilt * math.sin(0.4), 0]) * Rotation.from_euler("z", 0.3)
    gold = turn.apply(4.078 * (corners[:, None] + basis).reshape(-1, 3))
    gold = gold[(np.hypot(gold[:, 0], gold[:, 1]) < 8.5) & (np.abs(gold[:, 2]) < height / 2)]
    carbon = rng.uniform(0, 1, (655, 3)) * [FIELD, FIELD, 10.0] + [0, 0, 2]
    gold += [FIELD / 2, FIELD / 2, 14.3 - gold[:, 2].min()]
    cell = [FIELD, FIELD, gold[:, 2].max() + 2]
    return Atoms(["C"] * len(carbon) + ["Au"] * len(gold), np.concatenate([carbon, gold]), cell=cell, pbc=True)


def domain() -> str:
    """Return the table of how cylinders correlate with PRISM, in Markdown."""
    step = FIELD / PIXELS
    ring = HAADF.varied(pixel_size_angstrom=step, detector={"kind": "haadf", "inner_mrad": 55.0, "outer_mrad": 105.0})
    scan = abtem.GridScan(start=(0, 0), end=(FIELD, FIELD), gpts=PIXELS, endpoint=False)
    ctf = abtem.CTF(defocus=20.0, energy=ring.energy_ev, semiangle_cutoff=ring.convergence_semiangle_mrad)
    lines = [
        f"| height | tilt off ⟨100⟩ | {' | '.join(f'{s:g} Å (FWHM {2.355 * s:.1f})' if s else 'no source' for s in SOURCES)} | intensity over PRISM's |",
        "|---" * (len(SOURCES) + 3) + "|",
    ]
    for height, tilt in CYLINDERS:
        atoms = cylinder(height, tilt)
        matrix = abtem.SMatrix(
            potential=potential(displaced(atoms, MOTION, 1), SMALL_POINTS),
            energy=ring.energy_ev,
            semiangle_cutoff=ring.convergence_semiangle_mrad,
            interpolation=SMALL_INTERPOLATION,
        ).build(lazy=False)
        theirs = np.asarray(matrix.reduce(scan=scan, detectors=abtem.AnnularDetector(55, 105), ctf=ctf).array).squeeze()
        config = StemConfig.of([ring], float(atoms.cell[2, 2]))
        stored = structure_factors(atoms, MOTION, config)[None]
        mine = Imager(ring, FIELD, config, elements(MOTION)).intensity(stored)[0].numpy()
        found = " | ".join(f"{correlation(mine, theirs, s, step):.3f}" for s in SOURCES)
        lines.append(
            f"| {height:g} Å | {f'{tilt:g} rad' if tilt else 0} | {found} | {mine.mean() / theirs.mean():.2f} |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


def film(thickness: float) -> Atoms:
    """Return the lower part of an amorphous carbon film of 40 Å, in 2 Å of vacuum."""
    substrate = SubstrateRecipe.model_validate({"thickness_angstrom": [40.0, 40.1]})
    places, numbers, _ = draw_film(substrate, 51.2, np.random.default_rng(0), np.random.default_rng(1))
    places[:, 2] += 2 - places[:, 2].min()
    kept = places[:, 2] < thickness + 2
    return Atoms(numbers[kept], places[kept], cell=[51.2, 51.2, thickness + 4], pbc=True)


def along_a_line(atoms: Atoms, scale: float, places: int = 32) -> dict[str, float]:
    """Return how far the first order is from multislice along a line, relative to the contrast: bf, abf, and the centre of mass.

    The potential is multiplied by a scale. `phase` is the largest projected phase [rad] within the probe's band.
    """
    field, y, step, thickness = float(atoms.cell[0, 0]), 20.0, 0.02, 1.0
    base = StemCondition(
        energy_ev=300e3, convergence_semiangle_mrad=20.0, aberrations={"C10": -40.0}, pixel_size_angstrom=field / places,
        detector={"kind": "bf", "outer_mrad": 8.0},
    )  # fmt: skip
    rings = {"bf": (0.0, 8.0), "abf": (10.0, 30.0)}
    scan = abtem.LineScan(start=(0, y), end=(field, y), gpts=places, endpoint=False)
    # A slice acts at its upper face in abTEM, and at its middle in passband.
    beam = abtem.Probe(energy=300e3, semiangle_cutoff=20.0, defocus=40.0 - thickness / 2)
    seers = [*(abtem.AnnularDetector(*ring) for ring in rings.values()), abtem.PixelatedDetector(max_angle="full")]
    scaled = potential(atoms, 1024, thickness)
    scaled.array[:] *= scale
    found = beam.scan(scaled, scan=scan, detectors=seers, lazy=False)
    empty = beam.scan(potential(Atoms("C", [[0, 0, 1]], cell=[field, field, 2], pbc=True), 1024), lazy=False,
                      scan=abtem.CustomScan([[25.0, 25.0]]), detectors=seers[:2])  # fmt: skip
    config = StemConfig(slice_thickness_angstrom=thickness, depth_angstrom=float(atoms.cell[2, 2]))
    stored = scale * structure_factors(atoms, {"C": 0.0}, config)[None]

    def line(condition: StemCondition, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
        at = torch.tensor([[dx]], dtype=torch.float64), torch.tensor([[y + dy]], dtype=torch.float64)
        return Imager(condition, field, config, (6,)).intensity(stored, scan=at)[0, :, 0].double().numpy()

    result = {"phase": scale * largest_phase(base, atoms)}
    for (name, ring), theirs, vacuum in zip(rings.items(), found, empty, strict=False):
        detector = {"kind": name, "inner_mrad": ring[0], "outer_mrad": ring[1]}
        mine = line(base.varied(detector=detector))
        mine = mine / mine.mean()
        other = np.asarray(theirs.array).ravel() / float(np.asarray(vacuum.array).ravel()[0])
        result[name] = float(np.linalg.norm((mine - 1) - (other - other.mean())) / np.linalg.norm(other - other.mean()))
    icom = base.varied(detector={"kind": "icom"})
    mass = np.asarray(found[2].center_of_mass(units="1/Å").array).ravel()
    slope = [line(icom, *d) - line(icom, *(-np.array(d))) for d in ((step, 0.0), (0.0, step))]
    mine = (slope[0] + 1j * slope[1]) / (2 * step) / (2 * math.pi)
    result["icom"] = float(np.linalg.norm(mine - mass) / np.linalg.norm(mass))
    return result


def first_order() -> str:
    """Return the table of how far the first order of films is from multislice, in Markdown."""
    lines = [
        "| carbon | potential | largest phase | BF, 0 to 8 mrad | ABF, 10 to 30 mrad | iCOM |",
        "|---|---|---|---|---|---|",
    ]
    for thickness, scale in FILMS:
        misfit = along_a_line(film(thickness), scale)
        found = " | ".join(f"{misfit[name]:.3f}" for name in ("bf", "abf", "icom"))
        lines.append(f"| {thickness:g} Å | × {scale:g} | {misfit['phase']:.2f} rad | {found} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def pictures() -> None:
    """Draw HAADF, BF and iCOM of a small particle beside abTEM's into docs/images/stem.png."""
    recipe = SpecimenRecipe.model_validate(
        {
            "field_angstrom": 25.6,
            "particles": {"count": [1, 1], "diameter_angstrom": [16.0, 16.5]},
            "substrate": {"thickness_angstrom": [6.0, 7.0]},
        }
    )
    atoms = draw_specimen(recipe, 0).atoms
    rings = {"haadf": (50.0, 100.0), "bf": (0.0, 8.0)}
    base = HAADF.varied(pixel_size_angstrom=0.4)
    matrix = abtem.SMatrix(
        potential=potential(displaced(atoms, recipe.displacements(), 1), 336),
        energy=base.energy_ev,
        semiangle_cutoff=base.convergence_semiangle_mrad,
        interpolation=3,
    ).build(lazy=False)
    scan = abtem.GridScan(start=(0, 0), end=(25.6, 25.6), gpts=64, endpoint=False)
    ctf = abtem.CTF(defocus=20.0, energy=base.energy_ev, semiangle_cutoff=base.convergence_semiangle_mrad)
    seers = [*(abtem.AnnularDetector(*ring) for ring in rings.values()), abtem.PixelatedDetector(max_angle=None)]
    *sums, patterns = matrix.reduce(scan=scan, detectors=seers, ctf=ctf)
    phase = 2 * math.pi * np.asarray(patterns.center_of_mass(units="1/Å").integrate_gradient().array)
    theirs = [*(np.asarray(one.array) for one in sums), phase - phase.mean()]
    motion = recipe.displacements()
    config = StemConfig.of([base], float(atoms.cell[2, 2]))
    stored = structure_factors(atoms, motion, config)[None]
    detectors = [{"kind": n, "inner_mrad": r[0], "outer_mrad": r[1]} for n, r in rings.items()] + [{"kind": "icom"}]
    imagers = [Imager(base.varied(detector=d), 25.6, config, elements(motion)) for d in detectors]
    mine = [imager.intensity(stored)[0].numpy() for imager in imagers]
    with style.figure(7.2, 5.2) as figure:
        axes = figure.subplots(2, 3)
        titles = ("HAADF, 50 to 100 mrad", "BF, 0 to 8 mrad", "iCOM")
        for column, (title, *pair) in enumerate(zip(titles, mine, theirs, strict=True)):
            for ax, name, picture in zip(axes[:, column], ("passband", "abTEM PRISM"), pair, strict=True):
                ax.imshow(
                    picture.squeeze().T, cmap="gray", vmin=min(p.min() for p in pair), vmax=max(p.max() for p in pair)
                )
                ax.set_xticks([])
                ax.set_yticks([])
                if column == 0:
                    ax.set_ylabel(name)
            found = [correlation(pair[0], pair[1].squeeze(), source, 0.4) for source in (0.0, 0.35)]
            axes[0, column].set_title(f"{title}\ncorrelation {found[0]:.3f} ({found[1]:.3f} blurred)", fontsize=8)
        style.save(figure, DOCS / "images", "stem", formats=("png",))


if __name__ == "__main__":
    abtem.config.set({"device": "cpu", "precision": "float32", "diagnostics.progress_bar": False})
    torch.set_num_threads(1)
    haadf()
    fill_page(DOCS / "stem.md", {"cylinders": domain(), "films": first_order()})
    pictures()
