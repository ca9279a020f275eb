"""Ask np-haadf for verdicts on images that are no HAADF scans of particles, or poor ones, and count the answers.

python benchmarks/not_haadf.py     # writes a table of docs/results/np_haadf.md; some three minutes of one core
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import torch
from np_haadf import MODEL, PAGE, ROOT, SEED, STEP, USEFUL, families
from other_specimens import WAVES
from real_micrographs import fill_page

import passband as pb
from passband.conditions import Condition, StemCondition
from passband.conditions.condition_files import load_any_conditions
from passband.micrographs.agreement import agreement
from passband.micrographs.micrograph import Micrograph
from passband.models.card import ModelCard
from passband.models.segment import segment
from passband.simulation import hrtem
from passband.simulation.stem import StemConfig, imager, scatter
from passband.specimens import SpecimenRecipe
from passband.specimens.recipe_files import load_recipe
from passband.verdicts.image_kind import kind_objections
from passband.verdicts.statements import Statement
from passband.verdicts.verdict_model import VerdictModel

# Fields of each kind, and doses [e/Å²] within those of the training.
FIELDS, DOSES = 2, (1500.0, 12000.0)
# Conditions and fields for false alarms, and the least share of particle in those.
SEEN, LEAST = 12, 0.02
#: Well inside what np-haadf is trained on.
HAADF = StemCondition(
    energy_ev=300e3,
    convergence_semiangle_mrad=21.0,
    aberrations={"C10": -20.0, "C12": 15.0, "C30": 2e4},
    focal_spread_angstrom=22.0,
    source_size_angstrom=0.5,
    pixel_size_angstrom=STEP,
    line_jitter_angstrom=0.15,
    drift_angstrom=2.0,
    detector={"kind": "haadf", "inner_mrad": 60.0, "outer_mrad": 200.0},
)
#: As in the training of au-300kv and np-300kv.
HRTEM = Condition(
    energy_ev=300e3,
    aberrations={"C10": -120.0, "C12": 15.0, "C30": -5e4},
    focal_spread_angstrom=25.0,
    pixel_size_angstrom=STEP,
)
# Three times the largest of the training, whose jitter is that of steps of 0.8 Å.
JITTER, DRIFT = 3 * 0.4 * (0.8 / STEP) ** 0.5, 3 * 6.0
DETECTORS = {
    "BF, 0 to 8 mrad": {"kind": "bf", "outer_mrad": 8.0},
    "ABF, 10 to 21 mrad": {"kind": "abf", "inner_mrad": 10.0, "outer_mrad": 21.0},
    "iCOM": {"kind": "icom"},
}
UNSTEADY = "jitter and drift 3 × the largest of the training"
REASONS = {
    "few_particles": "too little is marked",
    "unlike_images": "unlike the calibration",
    "dark": "particles are dark",
}
# What is stored of a specimen, and its mask.
Stored = tuple[torch.Tensor, torch.Tensor]
# A kind of image, the image, and its true mask; None where it shows no particle.
Kind = tuple[str, np.ndarray, np.ndarray | None]


def recorded(made: Any, stored: Stored, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of one stored specimen by an imager, and its truth."""
    images = made.images(*stored, seed=seed)
    return images.counts[0].double().numpy(), images.masks[0].numpy()


def kinds(recipe: SpecimenRecipe, field: int) -> Iterator[Kind]:
    """Yield images of a field, all kinds at one dose after the other."""
    unsteady = {"line_jitter_angstrom": JITTER, "drift_angstrom": DRIFT}
    others = {UNSTEADY: HAADF.varied(unsteady), **{n: HAADF.varied(detector=d) for n, d in DETECTORS.items()}}
    config = StemConfig.of([HAADF, *others.values()], 350.0).model_copy(update={"slice_thickness_angstrom": 50.0})
    particles = [p.model_copy(update={"count": (0, 0)}) for p in recipe.particles]
    empty = recipe.model_copy(update={"particles": particles, "populations_per_field": None})
    stored, film = (scatter(one, [field], config) for one in (recipe, empty))
    waves, rng = hrtem.scatter(recipe, [field], WAVES), np.random.default_rng([SEED, field])
    for dose in DOSES:
        usual = imager(HAADF.varied(dose=dose), recipe, config)
        scan, truth = recorded(usual, stored, field)
        ramp, bright = np.linspace(0.0, 1.0, len(scan))[:, None], np.quantile(scan, 0.99)
        yield "HAADF scan", scan, truth
        yield "the same, upside down", scan[:, ::-1].copy(), truth[:, ::-1].copy()
        for part in (0.5, 0.2):
            yield f"saturated at {part:g} of its 99th percentile", scan.clip(max=max(part * bright, 1.0)), truth
        for name, condition in others.items():
            yield name, *recorded(imager(condition.varied(dose=dose), recipe, config), stored, field)
        yield "inverted HAADF scan", scan.max() - scan, truth
        yield "HAADF scan with a gradient up to its 99th percentile", scan + bright * ramp, truth
        yield "film without particles", recorded(usual, film, field)[0], None
        yield "noise", rng.poisson(scan.mean(), scan.shape).astype(float), None
        yield "gradient with noise", rng.poisson(2 * scan.mean() * ramp, scan.shape).astype(float), None
        how = hrtem.Imager(HRTEM.varied(dose=dose), recipe.field_angstrom, WAVES)
        yield "HRTEM image, declared as a scan", *recorded(how, waves, field)


def judged() -> pl.DataFrame:
    """Return a row for each image: the answer, why none is given, and Dice, predicted and true."""
    judge, rows = VerdictModel(pb.load_model(MODEL)), list[dict[str, Any]]()
    recipe = families()["as in training, other fields"][0]
    for field in range(FIELDS):
        for kind, values, truth in kinds(recipe, field):
            image = Micrograph(values.astype(np.float32), STEP, HAADF.energy_ev, scanned=True)
            verdict, dice = judge.check_image(image), None
            if truth is not None:
                dice = agreement(segment(judge.model, image).mask, truth, STEP).dice
            row = {"kind": kind, "answer": verdict.answer, "predicted": verdict.dice and verdict.dice.predicted}
            rows.append(row | {"dice": dice, "why": [REASONS[s.kind] for s in verdict.cannot_say]})
            print(*rows[-1].values(), *map(str, verdict.cannot_say), flush=True)
    return pl.DataFrame(rows, infer_schema_length=None)


def table(rows: pl.DataFrame) -> str:
    """Return the answers to each kind of image, in Markdown."""
    lines = ["| image | images | yes | no | cannot say | true Dice, mean | wrong | why cannot say |", "|---" * 8 + "|"]
    for [kind], part in rows.group_by("kind", maintain_order=True):
        answers = [int((part["answer"] == answer).sum()) for answer in ("yes", "no", "cannot say")]
        dice = part["dice"].mean()
        wrong = part.filter((pl.col("answer") == "yes") & ~(pl.col("dice") >= USEFUL).fill_null(False))
        why = part["why"].explode(empty_as_null=False).value_counts().sort("count", "why", descending=[True, False])
        said = ", ".join(f"{why} ({count})" for why, count in why.iter_rows()) or "–"
        cells = [kind, len(part), *answers, "–" if dice is None else f"{dice:.2f}", len(wrong), said]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def contrast() -> str:
    """Return how many scans under training conditions are taken for inverted ones, and how many negatives of them are not."""
    model, recipe = pb.load_model(MODEL), load_recipe(ROOT / "studies" / "recipes" / "np_in_dark_field.yaml")
    listed = load_any_conditions(ROOT / "studies" / "conditions" / "haadf.yaml")[:SEEN]
    conditions = [c for _, c in listed if isinstance(c, StemCondition)]
    # One slice: which sign the contrast has does not depend on the focus of each.
    config = StemConfig.of(conditions, 350.0).model_copy(update={"slice_thickness_angstrom": 350.0})
    stored = [scatter(recipe.model_copy(update={"seed": SEED}), [i], config) for i in range(SEEN)]
    alarms = found = total = 0
    for i, condition in enumerate(conditions):
        made = imager(condition, recipe, config)
        for one in (stored[i], stored[i - 1], stored[i - 2], stored[i - 3]):
            scan, truth = recorded(made, one, i)
            if truth.mean() < LEAST:
                continue
            flagged = [bool(_kind(model.card, values, condition)) for values in (scan, scan.max() - scan)]
            alarms, found, total = alarms + flagged[0], found + flagged[1], total + 1
    return (
        f"Of {total} other scans of one tile ({SEEN} training conditions, particles on {LEAST:.0%} or more), {alarms} are taken for "
        f"scans whose particles are dark; of their negatives, {found}."
    )


def _kind(card: ModelCard, values: np.ndarray, condition: StemCondition) -> list[Statement]:
    image = Micrograph(values.astype(np.float32), condition.pixel_size_angstrom, condition.energy_ev, scanned=True)
    return kind_objections(image, card)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fill_page(PAGE, {"other images": table(judged())})
    fill_page(PAGE, {"contrast": contrast()})
