"""Judge the model np-haadf: verdicts on held-out conditions, and on scans of specimens that it has not met.

python benchmarks/np_haadf.py          # simulates, judges, writes table and page; some ten minutes
python benchmarks/np_haadf.py --page   # writes the page again from the committed table and the model

Scans are made at steps of 0.4 Å and of four tiles, under conditions of the training's distribution and from further out.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from real_micrographs import fill_page

import passband as pb
from passband.conditions import StemCondition
from passband.conditions.condition_files import load_any_conditions
from passband.files.tables import read_table, write_table
from passband.micrographs.agreement import agreement
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import segment
from passband.simulation.stem import StemConfig, imager, scatter
from passband.specimens import SpecimenRecipe
from passband.specimens.recipe_files import load_recipe
from passband.verdicts.features import SOURCES
from passband.verdicts.summary import evaluate_held_out
from passband.verdicts.verdict_model import VerdictModel

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
TABLE, PAGE = RESULTS / "tables" / "np_haadf.parquet", RESULTS / "np_haadf.md"
MODEL, SEED, FIELD, STEP = "np-haadf", 4713, 204.8, 0.4
WITHIN, BEYOND = 6, 2
# Dice below which a yes is wrong, as for real micrographs.
USEFUL = 0.85


def families() -> dict[str, tuple[SpecimenRecipe, float]]:
    """Return a recipe for each kind of specimen, and the step of its scans [Å]."""
    usual = load_recipe(ROOT / "studies" / "recipes" / "np_in_dark_field.yaml").model_dump(mode="json")
    usual |= {"seed": SEED, "field_angstrom": FIELD}
    usual["particles"] = [p | {"count": [2 * n for n in p["count"]]} for p in usual["particles"]]
    gold = {"crystal": "Au", "shape": {"kind": "random", "facets": 24}}
    film = usual["substrate"]

    def of(**changes: Any) -> SpecimenRecipe:
        return SpecimenRecipe.model_validate(usual | changes)

    one = {"populations_per_field": None}
    others = [
        {"crystal": name, "count": [2, 6], "shape": {"kind": "random", "facets": 14}, "diameter_angstrom": [24, 60]}
        for name in ("Pd", "W", "ZnS-wurtzite")
    ]
    return {
        "as in training, other fields": (of(), STEP),
        "scanned at steps of 0.8 Å": (of(), 0.8),
        "Pd, W and ZnS": (of(particles=others), STEP),
        "gold of 7 to 11 nm": (of(particles=[gold | {"count": [1, 3], "diameter_angstrom": [70, 110]}], **one), STEP),
        "on silica": (of(substrate=film | {"material": "silica", "density_g_per_cm3": 2.2}), STEP),
        "on carbon of 8 to 12 nm": (of(substrate=film | {"thickness_angstrom": [80.0, 120.0]}), STEP),
    }


def conditions() -> list[tuple[str, StemCondition]]:
    """Return where conditions come from, and conditions that the model was neither trained nor scored under."""
    near, far = (
        [c for _, c in load_any_conditions(ROOT / "studies" / place)]
        for place in ("conditions/haadf.yaml", "models/haadf_session.yaml")
    )
    rng = np.random.default_rng(SEED)
    # Optics of one and dose, source and scan of another are a third: none of the files'.
    drawn = [("training", near[i], near[j]) for i, j in rng.integers(len(near), size=(WITHIN, 2))]
    drawn += [("further out", far[-1 - i], far[-1 - j]) for i, j in rng.integers(24, size=(BEYOND, 2))]
    mixed = ("dose_per_angstrom2", "source_size_angstrom", "line_jitter_angstrom", "drift_angstrom", "drift_angle_rad")
    return [(place, a.model_copy(update={n: getattr(b, n) for n in mixed})) for place, a, b in drawn]


def judged() -> pl.DataFrame:
    """Return a row for each scan: the true Dice, and what the verdict says."""
    judge, rows = VerdictModel(pb.load_model(MODEL)), list[dict[str, Any]]()
    for family, (recipe, step) in families().items():
        for index, (place, drawn) in enumerate(conditions()):
            jitter = drawn.line_jitter_angstrom * (0.8 / step) ** 0.5
            condition = drawn.model_copy(update={"pixel_size_angstrom": step, "line_jitter_angstrom": jitter})
            config = StemConfig.of([condition], 350.0).model_copy(update={"slice_thickness_angstrom": 50.0})
            stored, masks = scatter(recipe, [index], config)
            made = imager(condition, recipe, config).images(stored, masks, seed=index)
            (counts,), (truth,) = made.arrays()
            image = Micrograph(counts, step, condition.energy_ev, scanned=True)
            found = agreement(segment(judge.model, image).mask, truth, step)
            seen, told = judge.check_image(image), judge.check(condition)
            row = {"specimens": family, "conditions": place, "condition": condition.id, "dice": found.dice}
            for name, verdict in (("scan", seen), ("condition", told)):
                dice = verdict.dice
                row |= {f"{name}_answer": verdict.answer, f"{name}_predicted": dice and dice.predicted}
                row |= {f"{name}_low": dice and dice.low, f"{name}_high": dice and dice.high}
                row |= {f"{name}_why": "; ".join(map(str, verdict.cannot_say))}
            rows.append(row)
        print(f"{family}: {len(rows)} rows", flush=True)
    return pl.DataFrame(rows, infer_schema_length=None)


def by_specimens(rows: pl.DataFrame) -> str:
    """Return how the verdicts on scans do, in Markdown, a row for each kind of specimen."""
    lines = [
        "| specimens | scans | mean Dice | cannot say | predicted less true Dice, mean | mean error | in the 90 % interval | yes | wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for [family], part in rows.group_by("specimens", maintain_order=True):
        told = part.filter(pl.col("scan_predicted").is_not_null())
        miss = (told["scan_predicted"] - told["dice"]).to_numpy()
        within = told.filter(pl.col("dice").is_between(pl.col("scan_low"), pl.col("scan_high")))
        yes = told.filter(pl.col("scan_answer") == "yes")
        error = ["–", "–"] if not len(told) else [f"{miss.mean():+.3f}", f"{np.abs(miss).mean():.3f}"]
        cells = [family, len(part), f"{part['dice'].mean():.3f}", len(part) - len(told), *error]
        cells += [f"{len(within)} of {len(told)}", len(yes), len(yes.filter(pl.col("dice") < USEFUL))]
        lines.append(f"| {' | '.join(str(c) for c in cells)} |".replace("-0", "−0"))
    return "\n".join(lines)


def held_out() -> str:
    """Return how verdicts do on the conditions that were held out of the calibration, in Markdown."""
    judge = VerdictModel(pb.load_model(MODEL))
    lines = [
        "| verdict from | held out | in the domain | loss in its 90 % interval | Dice in its | R² of ln loss | zone right |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for source in SOURCES:
        found = evaluate_held_out(judge, source)
        name = "the condition" if source == "condition" else f"a scan of {source.removeprefix('image')} tiles"
        shares = [f"{v:.0%}" if v is not None else "–" for v in (found.coverage_loss, found.coverage_dice)]
        fit = "–" if found.r2_log_loss is None else f"{found.r2_log_loss:.2f}"
        lines.append(
            f"| {name} | {found.conditions} | {found.asked} | {' | '.join(shares)} | {fit} | {found.right} of {found.asked} |"
        )
    return "\n".join(lines)


def in_domain() -> str:
    """Return Dice and loss by the role of the conditions, in Markdown."""
    scores = pb.load_model(MODEL).scores
    assert scores is not None
    lines = [
        "| conditions | number | mean Dice | median | worst tenth | mean surface Dice |",
        "|---|---|---|---|---|---|",
    ]
    for role, title in (("trained", "of the training"), ("calibration", "calibration"), ("held_out", "held out")):
        part = scores.filter(pl.col("role") == role)
        dice = part["dice"]
        cells = [
            title,
            len(part),
            *(f"{v:.3f}" for v in (dice.mean(), dice.median(), dice.quantile(0.1), part["surface_dice"].mean())),
        ]
        lines.append(f"| {' | '.join(str(c) for c in cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Judge unless the page alone is asked for, then write it."""
    if arguments not in ([], ["--page"]):
        raise SystemExit(__doc__)
    if not arguments:
        write_table(TABLE, judged())
    fill_page(PAGE, {"in_domain": in_domain(), "held_out": held_out(), "specimens": by_specimens(read_table(TABLE))})


if __name__ == "__main__":
    main(sys.argv[1:])
