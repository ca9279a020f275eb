"""Where does a grey-level threshold put the outline of a particle? Radii by Otsu's threshold, by a model and in truth, particle by particle.

python benchmarks/threshold_edges.py --external DIR   # measures, writes table and page; some ten minutes
python benchmarks/threshold_edges.py                  # writes the page again from the committed table

Simulated images show gold particles that lie apart on an even film; of real ones, the labels of hand_labelled take the place of the threshold.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from image_statistics import conditions_of
from numpy.typing import NDArray
from real_micrographs import PAGE, fill_page, otsu, read_sets

import passband as pb
from passband.files.tables import read_table, write_table
from passband.learning.particle_scores import number_particles
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import segment
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "results" / "tables" / "threshold_edges.parquet"
MODEL = "au-300kv"
WAVES = ExitWaveConfig(
    phonon_configurations=1, sampling_angstrom=0.16, slice_thickness_angstrom=4.0, band_per_angstrom=1.0
)
SPECIMENS, CONDITIONS_EACH = 48, 6
RECIPE = SpecimenRecipe.model_validate(
    {
        "seed": 4712,
        "field_angstrom": 153.6,
        "particles": [
            {"crystal": "Au", "count": [2, 5], "shape": {"kind": "random", "facets": 24}, "diameter_angstrom": [24.0, 70.0], "twins": [0, 2]}
        ],
        "substrate": {"material": "carbon", "density_g_per_cm3": 2.0, "thickness_angstrom": [10.0, 70.0]},
    }
)  # fmt: skip
#: Bins of the diameter by the threshold, or of the label [Å].
BINS = (10.0, 25.0, 35.0, 45.0, 60.0)
_RESAMPLES = 1000
Mask = NDArray[np.bool_]


def simulated() -> Iterator[tuple[str, float, NDArray[np.float32], Mask, Mask]]:
    """Yield name, pixel size [Å], image, mask by the threshold and true mask of simulated images."""
    conditions, seed = conditions_of(ROOT / "studies" / "conditions" / "micrographs_300kv.yaml"), 0
    for index in range(SPECIMENS):
        stored, masks = scatter(RECIPE, [index], WAVES)
        for _ in range(CONDITIONS_EACH):
            condition = conditions[seed % len(conditions)]
            made = Imager(condition, RECIPE.field_angstrom, WAVES).images(stored, masks, seed=seed)
            ((image,), (truth,)), pixel = made.arrays(), condition.pixel_size_angstrom
            yield f"{index}", pixel, image, otsu(image, pixel), truth
            seed += 1
        print(f"specimen {index + 1} of {SPECIMENS}", flush=True)


def rows(
    images: str, name: str, pixel: float, image: NDArray[np.float32], drawn: Mask, true: Mask | None
) -> list[dict[str, object]]:
    """Return a row for each particle that all masks show once, if the threshold finds each true particle and nothing else."""
    masks = [drawn, segment(pb.load_model(MODEL), Micrograph(image, pixel)).mask, *([] if true is None else [true])]
    numbered = [number_particles(mask, pixel) for mask in masks]
    result = []
    if true is not None and numbered[0].max() != numbered[2].max():
        return []
    for i in range(1, numbered[0].max() + 1):
        here = numbered[0] == i
        # The only particle that overlaps this one, in each of the other masks, and that overlaps no other.
        others = [np.unique(n[here & (n > 0)]) for n in numbered[1:]]
        if any(len(o) != 1 for o in others):
            continue
        regions = [here, *(n == o[0] for n, o in zip(numbered[1:], others, strict=True))]
        if any(len(np.unique(numbered[0][r & (numbered[0] > 0)])) != 1 or _cut(r) for r in regions):
            continue
        radii = [float(np.sqrt(r.sum() / np.pi) * pixel) for r in regions]
        result.append(
            {
                "images": images,
                "image": name,
                "drawn": radii[0],
                "model": radii[1],
                "true": radii[2] if true is not None else None,
            }
        )
    return result


def _cut(region: Mask) -> bool:
    return bool(region[[0, -1]].any() or region[:, [0, -1]].any())


def measure(external: Path) -> pl.DataFrame:
    """Return a row a particle: radii [Å] drawn (by the threshold, or by hand), of the model, and true."""
    [hand] = [s for s in read_sets(external) if s.name == "hand_labelled"]
    result = [
        r for n, (image, truth) in hand.images.items() for r in rows("hand_labelled", n, hand.pixel, image, truth, None)
    ]
    for name, pixel, image, drawn, true in simulated():
        result += rows("simulated", name, pixel, image, drawn, true)
    return pl.DataFrame(result, infer_schema_length=None)


def _mean(part: pl.DataFrame, value: str) -> str:
    """Return the mean of a difference over particles, with its central 95 % when images are drawn again."""
    if part[value].null_count() == len(part):
        return "–"
    groups = [g[value].to_numpy() for _, g in part.group_by("image", maintain_order=True)]
    rng = np.random.default_rng(0)
    means = [
        np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]).mean()
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{part[value].mean():.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def table(found: pl.DataFrame) -> str:
    """Return differences of the radii by the size of the particle, in Markdown."""
    found = found.with_columns(
        outside=pl.col("model") - pl.col("drawn"),
        model_bias=pl.col("model") - pl.col("true"),
        drawn_bias=pl.col("drawn") - pl.col("true"),
    )
    lines = [
        "| diameter as drawn [Å] | particles in real / simulated images | model outside the drawn label, real [Å] | model outside the threshold, simulated [Å] | threshold less truth, simulated [Å] | model less truth, simulated [Å] |",
        "|---|---|---|---|---|---|",
    ]
    ends = [*itertools.pairwise(BINS), (BINS[0], BINS[-1])]
    for low, high in ends:
        part = found.filter((2 * pl.col("drawn")).is_between(low, high, closed="left"))
        real, made = (part.filter(images=name) for name in ("hand_labelled", "simulated"))
        cells = [_mean(real, "outside"), *(_mean(made, c) for c in ("outside", "drawn_bias", "model_bias"))]
        lines.append(f"| {low:g} to {high:g} | {len(real)} / {len(made)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure if a folder is given, then write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--external", type=Path, help="folder of the labelled micrographs")
    options = parser.parse_args()
    if options.external is not None:
        write_table(TABLE, measure(options.external))
    fill_page(PAGE, {"threshold": table(read_table(TABLE))})


if __name__ == "__main__":
    main()
