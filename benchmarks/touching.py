"""Do touching and overlapping particles come apart, and do single ones stay whole? Simulated pairs by overlap; chooses the limits of `split_touching`.

python benchmarks/touching.py           # simulates, writes table and page; some 15 minutes on 2 cores
python benchmarks/touching.py --page    # writes the page again from the table

Limits are chosen on specimens of one seed and evaluated on those of another. Small particles are imaged, and au-300kv marks them; of large
ones, whose exit waves take long, and of small ones again, the true outlines are split.
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from ase import Atoms
from numpy.typing import NDArray
from other_specimens import CONDITIONS, WAVES, condition_at
from real_micrographs import fill_page

from passband.base.identity import seed_from
from passband.files.tables import read_table, write_table
from passband.learning.particle_scores import number_particles
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.split_particles import LEAST_DEPTH_ANGSTROM, NECK, split_touching
from passband.models.segment import segment
from passband.models.store import load_model
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.multislice import specimen_exit_waves
from passband.specimens import Specimen, SpecimenRecipe, draw_specimen
from passband.specimens.labels import ATOM_RADIUS, particle_mask
from passband.specimens.particles import ParticleAtoms, draw_particle
from passband.specimens.recipe_files import load_recipe
from passband.specimens.recipes import ParticleRecipe
from passband.specimens.substrates import draw_film

ROOT = Path(__file__).parent.parent
TABLE, PAGE = (ROOT / "docs" / "results" / name for name in ("tables/touching.parquet", "particles.md"))
MODEL = "au-300kv"
#: Of images [Å], and of the outlines of large particles.
PIXELS = {"small": 0.4, "large": 0.8}
#: Overlap along the line of centres over the smaller particle's width there; and single particles.
KINDS: tuple[float | str, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, "wulff", "irregular", "rod")
SHAPES = {
    "wulff": {"kind": "wulff", "variation": 0.12},
    "irregular": {"kind": "random", "facets": 14, "variation": 0.2},
    "rod": {"kind": "rod", "aspect_ratio": [1.5, 3.0]},
}
#: Fields of four cells, one pair or particle each: of which size, in which set, how many fields.
FIELDS = {("small", "choice"): 12, ("small", "report"): 27, ("large", "choice"): 12, ("large", "report"): 27}
DIAMETERS = {"small": (20.0, 32.0), "large": (40.0, 90.0)}
SIDE = {"small": 153.6, "large": 396.8}
CROWDS = 9
NECKS, DEPTHS = (0.7, 0.8, 0.85, 0.9, 0.95), (0.4, 0.8, 1.2)
_RESAMPLES = 1000
Mask = NDArray[np.bool_]


def drawn(shape: str, size: str, rng: np.random.Generator) -> ParticleAtoms:
    """Return a gold particle around the origin."""
    low, high = DIAMETERS[size]
    # The diameter of a rod is its length.
    longer = 1.3 if shape == "rod" else 1.0
    recipe = ParticleRecipe.model_validate(
        {"crystal": "Au", "shape": SHAPES[shape], "diameter_angstrom": [longer * low, longer * high]}
    )
    return draw_particle(recipe, lambda name: np.random.default_rng(rng.integers(2**63)))


def cell(kind: float | str, size: str, rng: np.random.Generator) -> list[ParticleAtoms]:
    """Return a particle around the origin, or two that overlap in projection; the second lies under the film."""
    if isinstance(kind, str):
        return [drawn(kind, size, rng)]
    pair = [drawn(str(rng.choice(["wulff", "irregular"])), size, rng) for _ in range(2)]
    turn = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn), 0.0])
    places = [p.positions @ along for p in pair]
    width = min(float(np.ptp(p)) for p in places) + 2 * ATOM_RADIUS
    apart = float(places[0].max() - places[1].min()) + 2 * ATOM_RADIUS - kind * width
    return [pair[0].moved(-apart / 2 * along), pair[1].moved(apart / 2 * along)]


def field(size: str, which: str, index: int) -> tuple[Specimen, list[float | str]]:
    """Return a field of four cells on a film (small ones) and the kind of each."""
    rng = np.random.default_rng(seed_from("touching", size, which, index))
    side = SIDE[size]
    kinds = [KINDS[(4 * index + i) % len(KINDS)] for i in range(4)]
    film, numbers, thickness = np.empty((0, 3)), np.empty(0, dtype=int), 30.0
    if size == "small":
        recipe = studied().substrate
        assert recipe is not None
        film, numbers, thickness = draw_film(recipe, side, rng)
    placed = []
    for i, kind in enumerate(kinds):
        middle = side * (np.array(divmod(i, 2)) + 0.5) / 2
        for j, one in enumerate(cell(kind, size, rng)):
            z = thickness + 2.3 - one.positions[:, 2].min() if j == 0 else -2.3 - one.positions[:, 2].max()
            placed.append(one.moved(np.array([*middle, z])))
    positions = np.concatenate([film, *(p.positions for p in placed)])
    positions[:, 2] += 2.0 - positions[:, 2].min()
    atoms = Atoms(
        numbers=np.concatenate([numbers, *(p.numbers for p in placed)]),
        positions=positions,
        cell=[side, side, positions[:, 2].max() + 2.0],
        pbc=True,
    )
    owner = np.repeat(np.arange(len(placed) + 1), [len(film), *(len(p.positions) for p in placed)])
    return Specimen(atoms, owner, np.zeros_like(owner), tuple(p.truth for p in placed)), kinds


def studied() -> SpecimenRecipe:
    """Return the recipe that the model was trained on."""
    recipe = load_recipe(ROOT / "studies" / "recipes" / "au_in_crowds.yaml")
    assert isinstance(recipe, SpecimenRecipe)
    return recipe


def marked(stored: torch.Tensor, masks: torch.Tensor, index: int) -> Mask:
    """Return what the model marks in an image of an exit wave [1, P, K], x along the rows."""
    condition = condition_at(*CONDITIONS[index % len(CONDITIONS)], PIXELS["small"])
    image = Imager(condition, SIDE["small"], WAVES).images(stored, masks, seed=index).arrays()[0][0]
    return segment(load_model(MODEL), Micrograph(image, PIXELS["small"])).mask.T


Case = tuple[str, str, float | str, Mask, list[Mask]]


def cases(size: str, which: str) -> Iterator[Case]:
    """Yield size and source of the mask, kind, mask, and true masks of its particles, of each cell."""
    for index in range(FIELDS[size, which]):
        specimen, kinds = field(size, which, index)
        n = round(SIDE[size] / PIXELS[size])
        truth = np.stack(whole_outlines(specimen, n))
        every: Mask = np.asarray(truth.any(0))
        masks = {"outline": every}
        if size == "small":
            wave = specimen_exit_waves(studied(), [specimen], [index], WAVES)[0]
            stored = torch.as_tensor(wave.coefficients)[None]
            masks["network"] = marked(stored, torch.from_numpy(every)[None], index)
        for (i, kind), (source, mask) in itertools.product(enumerate(kinds), masks.items()):
            part = tuple(slice(a * (n // 2), (a + 1) * (n // 2)) for a in divmod(i, 2))
            inside = [t[part] for t in truth if t[part].sum() > t.sum() / 2]
            yield f"{size}, {source}", which, kind, mask[part], inside
        print(f"{size}, {which}: field {index + 1} of {FIELDS[size, which]}", flush=True)


def whole_outlines(specimen: Specimen, n: int) -> list[Mask]:
    """Return the mask of each particle on n² pixels, as if it were alone."""
    return [
        particle_mask(replace(specimen, particle=(specimen.particle == i).astype(int), particles=(one,)), n)
        for i, one in enumerate(specimen.particles, 1)
    ]


def crowds() -> Iterator[Case]:
    """Yield the same of fields of the model's own recipe, with other seeds."""
    recipe = studied().model_copy(update={"seed": 4713})
    for index in range(CROWDS):
        stored, masks = scatter(recipe, [index], WAVES)
        truth = whole_outlines(draw_specimen(recipe, index), round(recipe.field_angstrom / PIXELS["small"]))
        yield "crowds, network", "report", "crowds", marked(stored, masks, index), truth
        print(f"crowds: field {index + 1} of {CROWDS}", flush=True)


def counts(parts: NDArray[np.int32], truth: list[Mask]) -> dict[str, int]:
    """Return how many true particles, predicted ones and matches there are: an intersection of more than half the union, one a prediction."""
    sizes = np.bincount(parts.ravel())
    found = set()
    for mask in truth:
        common = np.bincount(parts[mask], minlength=len(sizes))
        common[0] = 0
        best = int(common.argmax())
        if common[best] and 2 * common[best] > sizes[best] + mask.sum() - common[best]:
            found.add(best)
    return {"true": len(truth), "predicted": int((sizes[1:] > 0).sum()), "found": len(found)}


def rows(case: Case, candidates: list[tuple[float, float]]) -> list[dict[str, object]]:
    """Return a row without splitting and one for each pair of limits."""
    images, which, kind, mask, truth = case
    pixel = PIXELS["large" if images.startswith("large") else "small"]
    numbers = number_particles(mask, pixel)
    split = {(0.0, 0.0): numbers} | {c: split_touching(numbers, pixel, *c) for c in candidates}
    return [
        {"images": images, "set": which, "kind": str(kind), "neck": neck, "depth": depth} | counts(parts, truth)
        for (neck, depth), parts in split.items()
    ]


def f1(table: pl.DataFrame) -> tuple[float, float, float]:
    """Return the F1 of cells together and its central 95 % when cells are drawn again."""
    true, predicted, found = (table[name].to_numpy() for name in ("true", "predicted", "found"))
    again = np.random.default_rng(0).integers(len(table), size=(_RESAMPLES, len(table)))
    drawn = 2 * found[again].sum(1) / (true[again].sum(1) + predicted[again].sum(1))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(2 * found.sum() / (true.sum() + predicted.sum())), float(low), float(high)


def best(table: pl.DataFrame) -> pl.DataFrame:
    """Return the mean F1 over kinds and images of each pair of limits on the specimens of the choice, best first."""
    chosen = table.filter((pl.col("set") == "choice") & (pl.col("neck") > 0))
    kinds = chosen.group_by("neck", "depth", "images", "kind").agg(pl.col("true", "predicted", "found").sum())
    score = (2 * pl.col("found") / (pl.col("true") + pl.col("predicted"))).mean()
    return kinds.group_by("neck", "depth").agg(f1=score).sort(["f1", "neck", "depth"], descending=[True, False, True])


NAMES = {"wulff": "single, equilibrium shape", "irregular": "single, irregular", "rod": "single, rod"}
COLUMNS = {
    "small, network": "20 to 32 Å, marked by the network",
    "small, outline": "20 to 32 Å, true outline",
    "large, outline": "40 to 90 Å, true outline",
}


def page(table: pl.DataFrame) -> str:
    """Return the F1 with and without splitting, and the limits that the other specimens choose."""
    one = (pl.col("neck") == 0, (pl.col("neck") == NECK) & (pl.col("depth") == LEAST_DEPTH_ANGSTROM))
    test = table.filter(pl.col("set") == "report")

    def cells(part: pl.DataFrame) -> str:
        return " | ".join("{:.2f} [{:.2f}, {:.2f}]".format(*f1(part.filter(which))) for which in one)

    lines = [
        "| | " + " | ".join(f"{name}: as one | split" for name in COLUMNS.values()) + " |",
        "|---" * (1 + 2 * len(COLUMNS)) + "|",
    ]
    for kind in KINDS:
        name = NAMES[kind] if isinstance(kind, str) else f"pair, overlap {kind:.0%}"
        of_kind = test.filter(pl.col("kind") == str(kind))
        lines.append(f"| {name} | " + " | ".join(cells(of_kind.filter(pl.col("images") == i)) for i in COLUMNS) + " |")
    crowd = test.filter(pl.col("kind") == "crowds")
    count = len(test.filter((pl.col("kind") == "0.0") & one[0] & (pl.col("images") == "small, network")))
    order = best(table)
    top, ours = order.row(0, named=True), order.filter(one[1]).row(0, named=True)
    return "\n".join(
        [
            *lines,
            "",
            f"F1 of particles over {count} pairs or particles a row and size, with its central 95 % when these are drawn again. In {CROWDS} fields of "
            f"the recipe that {MODEL} is trained on, of up to 13 particles that overlap by chance, it is {cells(crowd).replace(' | ', ' as one and ')} split.",
            "",
            f"The limits, a neck of {NECK:g} and {LEAST_DEPTH_ANGSTROM:g} Å, reach a mean F1 of {ours['f1']:.3f} over kinds and images of the specimens of the choice, as one "
            f"{_unsplit(table):.3f}; the best of {len(NECKS) * len(DEPTHS)} pairs there, {top['neck']:g} and {top['depth']:g} Å, {top['f1']:.3f}.",
        ]
    )


def _unsplit(table: pl.DataFrame) -> float:
    kinds = table.filter((pl.col("set") == "choice") & (pl.col("neck") == 0)).group_by("images", "kind")
    sums = kinds.agg(pl.col("true", "predicted", "found").sum())
    return float((2 * sums["found"] / (sums["true"] + sums["predicted"])).mean())


def main() -> None:
    """Simulate unless only the page is wanted, and fill in the page's table."""
    if "--page" not in sys.argv[1:]:
        torch.set_num_threads(1)
        grid, found = list(itertools.product(NECKS, DEPTHS)), []
        for part in (*(cases(*key) for key in FIELDS), crowds()):
            for case in part:
                found += rows(case, grid)
            write_table(TABLE, pl.DataFrame(found))
    table = read_table(TABLE)
    print(best(table).head(12))
    fill_page(PAGE, {"touching": page(table)})


if __name__ == "__main__":
    main()
