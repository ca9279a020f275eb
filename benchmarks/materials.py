"""Score the bundled models on simulated particles of each material that np-300kv is for, one material at a time.

python benchmarks/materials.py          # simulates, scores, writes table and page; some ten minutes
python benchmarks/materials.py --page   # writes the page again from the committed table

The specimens are not those of the training: another seed, and one material in a field.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from image_statistics import conditions_of
from real_micrographs import fill_page

import passband as pb
from passband.files.tables import read_table, write_table
from passband.micrographs.agreement import agreement
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import segment
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import SpecimenRecipe
from passband.specimens.recipe_files import load_recipe

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
TABLE, PAGE = RESULTS / "tables" / "materials.parquet", RESULTS / "bundled_models.md"
MODELS = ("au-300kv", "np-300kv")
WAVES = ExitWaveConfig(
    phonon_configurations=1, sampling_angstrom=0.16, slice_thickness_angstrom=4.0, band_per_angstrom=1.0
)
SPECIMENS, CONDITIONS_EACH, SEED = 8, 5, 4713
_RESAMPLES = 1000
_COUNTS = ("particles", "found", "missed", "invented")


def families() -> dict[str, SpecimenRecipe]:
    """Return a recipe for each material: one to four particles of it, on the films that np-300kv is trained on."""
    whole = load_recipe(ROOT / "studies" / "recipes" / "np_in_crowds.yaml").model_dump(mode="json")
    del whole["populations_per_field"]
    # The last population of a material: gold has two.
    populations = {p["crystal"]: p for p in whole["particles"]}
    return {
        name: SpecimenRecipe.model_validate(whole | {"seed": SEED, "particles": [population | {"count": [1, 4]}]})
        for name, population in populations.items()
    }


def score() -> pl.DataFrame:
    """Return a row for each material, specimen, condition and model."""
    models = {name: pb.load_model(name) for name in MODELS}
    conditions, rows = conditions_of(ROOT / "studies" / "conditions" / "micrographs_300kv.yaml"), list[dict[str, Any]]()
    for material, recipe in families().items():
        for index in range(SPECIMENS):
            stored, masks = scatter(recipe, [index], WAVES)
            for k in range(index * CONDITIONS_EACH, (index + 1) * CONDITIONS_EACH):
                condition = conditions[k % len(conditions)]
                made = Imager(condition, recipe.field_angstrom, WAVES).images(stored, masks, seed=k)
                (counts,), (truth,) = made.arrays()
                image = Micrograph(counts, condition.pixel_size_angstrom)
                for name, model in models.items():
                    found = agreement(segment(model, image).mask, truth, image.pixel_size_angstrom)
                    row = {"material": material, "specimen": index, "condition": condition.id, "model": name}
                    rows.append(
                        row | {c: getattr(found, c) for c in ("dice", "surface_dice", "distance_angstrom", *_COUNTS)}
                    )
        print(f"{material}: {len(rows)} rows", flush=True)
    return pl.DataFrame(rows, infer_schema_length=None)


def _interval(part: pl.DataFrame, score: str) -> str:
    """Return the mean of a score over images, with its central 95 % when conditions are drawn again."""
    values = part[score].to_numpy().astype(float)
    rng = np.random.default_rng(0)
    means = np.nanmean(values[rng.integers(len(values), size=(_RESAMPLES, len(values)))], axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{np.nanmean(values):.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")


def table(rows: pl.DataFrame) -> str:
    """Return the scores by material and model, in Markdown."""
    lines = [
        "| material | model | Dice | surface Dice, 2 Å | outline distance [Å] | particles found | invented |",
        "|---|---|---|---|---|---|---|",
    ]
    for (material, model), part in rows.group_by("material", "model", maintain_order=True):
        cells = [_interval(part, s) for s in ("dice", "surface_dice", "distance_angstrom")]
        total = {c: part[c].sum() for c in _COUNTS}
        lines.append(
            f"| {material} | {model} | {' | '.join(cells)} | {total['found']} of {total['particles']} | {total['invented']} |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Score unless the page alone is asked for, then write it."""
    if arguments not in ([], ["--page"]):
        raise SystemExit(__doc__)
    if not arguments:
        write_table(TABLE, score())
    fill_page(PAGE, {"materials": table(read_table(TABLE))})


if __name__ == "__main__":
    main(sys.argv[1:])
