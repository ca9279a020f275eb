"""What do training images need? Networks trained without one feature of the recipe of au-300kv, or with fewer scenes or conditions.

python benchmarks/ablation.py --runs DIR --external DIR   # trains (or goes on), scores, and writes table and page; two hours on 2 cores
python benchmarks/ablation.py                             # writes the page again from the committed table

DIR of --external is as in real_micrographs.py. All networks are tested on the same simulated images, those of the whole recipe.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from real_micrographs import CALIBRATED_ON, EMPTY, Labelled, fill_page, read_sets

from passband.conditions import Condition
from passband.files.tables import read_table, write_table
from passband.learning import predict
from passband.learning.segmentation import count_pixels
from passband.micrographs.agreement import agreement, calibrate_edge
from passband.micrographs.micrograph import Micrograph
from passband.models.card import ModelCard, pixel_band
from passband.models.network import OnPictures
from passband.models.segment import segment_with
from passband.report.study_run import run_study
from passband.simulation.imaging import normalize
from passband.studies.folder import StudyFolder
from passband.studies.jobs import TrainingJob, test_images
from passband.studies.study import Split, Study, load_study
from passband.studies.training_sets import choose_sets
from passband.verdicts.calibration import specimens_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
TABLE, PAGE = RESULTS / "tables" / "ablation.parquet", RESULTS / "ablation.md"
#: What each variant leaves out of the training; all else is as for au-300kv, with fewer epochs.
VARIANTS = {
    "whole": "nothing",
    "sizes": "particles over 44 Å",
    "crowds": "crowds: particles lie apart, half as many",
    "uneven": "relief, steps, voids and contamination of the film",
    "noise": "correlation of the noise",
    "background": "slow background",
    "uncorrected": "microscopes without corrector",
}
SEEDS, EPOCHS = 3, 60
#: A quarter of the conditions, and of the scenes, and as many steps: what more of either would give.
CONDITIONS, SCENES = (32,), (44,)
_RESAMPLES = 1000


def studies() -> dict[str, Study]:
    """Return the studies by name: one of all variants and numbers of conditions, and one for each smaller number of scenes."""
    base = load_study(ROOT / "studies" / "models" / "au_300kv.yaml")
    content = base.model_dump(mode="json")
    [(_, conditions)] = choose_sets(base.training_sets or {}, base.conditions, base.q_max_per_angstrom).values()
    whole: dict[str, Any] = {"conditions": conditions}
    sets = {"whole": whole}
    for name in ("sizes", "crowds", "uneven"):
        sets[name] = {"conditions": conditions, "specimens": _recipe(name, content["specimens"])}
    sets["noise"] = {"conditions": [c.varied(correlated_noise=0.0) for c in conditions]}
    even = {
        "background": 0.0,
        "background_length_angstrom": Condition.model_fields["background_length_angstrom"].default,
    }
    sets["background"] = {"conditions": [c.varied(even) for c in conditions]}
    corrected = [part for part in content["conditions"]["mixture"] if "aperture_mrad" not in part["draw"]]
    drawn = content["conditions"] | {"mixture": corrected, "count": len(conditions), "seed": 77}
    sets["uncorrected"] = {"conditions": drawn}

    def made(name: str, sets: dict[str, Any], split: Split, epochs: int) -> Study:
        training = content["training"] | {"epochs": epochs}
        more = {"name": name, "training_sets": sets, "seeds": SEEDS, "training": training, "split": split}
        return Study.model_validate(content | more)

    split = base.split
    numbers = {f"conditions{n}": {"sizes": [n]} for n in CONDITIONS}
    result = {"ablation": made("ablation", sets | numbers, split, EPOCHS)}
    for n in SCENES:
        fewer = split.model_copy(update={"train": n})
        result[f"scenes{n}"] = made(f"scenes{n}", {f"scenes{n}": whole}, fewer, round(EPOCHS * split.train / n))
    return result


def _recipe(left_out: str, whole: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe without one feature."""
    small, medium, large = whole["particles"]
    if left_out == "sizes":
        # As much of the area is covered as with the larger ones.
        medium = medium | {"diameter_angstrom": [26.0, 44.0], "count": [0, 6]}
        large = large | {"diameter_angstrom": [26.0, 44.0], "count": [0, 11]}
        return whole | {"particles": [small, medium, large]}
    if left_out == "crowds":
        few = [p | {"count": [0, n]} for p, n in ((small, 3), (medium, 2), (large, 1))]
        return {name: value for name, value in whole.items() if name not in ("overlap", "boundary")} | {
            "particles": few
        }
    film = {n: v for n, v in whole["substrate"].items() if n in ("material", "density_g_per_cm3", "thickness_angstrom")}
    return whole | {"substrate": film}


def score_network(job: TrainingJob, tests: StudyFolder, sets: list[Labelled]) -> list[dict[str, Any]]:
    """Return a row for each condition of the simulated test images, and for each labelled micrograph."""
    network, variant, rows = job.network(), job.domain.id.partition("-")[0], []
    for test in tests.study.tests:
        counts, targets = test_images(tests.study, tests.paths, test)
        found = count_pixels(predict(network, normalize(counts)[:, None]), targets)
        tp, wrong = sum(found["tp"]), sum(found["fp"]) + sum(found["fn"])
        dice = 2 * tp / max(2 * tp + wrong, 1)
        rows.append({"set": "simulated", "image": test.id, "dice": dice, "loss": float(np.mean(found["loss"]))})
    card = _card(job)
    for labelled in sets:
        first, pixel = list(labelled.images)[:CALIBRATED_ON], labelled.pixel
        masks = {
            n: segment_with(OnPictures(network), card, Micrograph(image, pixel)).mask
            for n, (image, _) in labelled.images.items()
        }
        try:
            edge = calibrate_edge([(masks[n], labelled.images[n][1], pixel) for n in first])
        except ValueError:
            edge = 0.0
        for n, (_, truth) in labelled.images.items():
            drawn = agreement(masks[n], truth, pixel)
            moved = agreement(masks[n], truth, pixel, edge_offset_angstrom=edge)
            rows.append(
                {
                    "set": labelled.name,
                    "image": n,
                    "role": "calibration" if n in first else "test",
                    "labelled": float(truth.mean()),
                    "marked": float(masks[n].mean()),
                    "edge_offset_angstrom": edge,
                    "drawn_dice": drawn.dice,
                    "dice": moved.dice,
                    "surface_dice": moved.surface_dice,
                    "instance_f1": moved.instance_f1,
                }
            )
    print(f"{variant}, seed {job.seed}", file=sys.stderr)
    return [{"variant": variant, "seed": job.seed} | row for row in rows]


def _card(job: TrainingJob) -> ModelCard:
    """Return what segmenting needs to know of a network."""
    study, pixel = job.study, job.domain.conditions[0].pixel_size_angstrom
    return ModelCard(
        name=job.domain.id,
        intended_use="",
        licence="GPL-3.0-or-later",
        network=study.network,
        pixel_size_angstrom=pixel,
        pixel_band_angstrom=pixel_band(pixel),
        field_pixels=study.training.crop_pixels or 1,
        divisor=study.network.divisor,
        q_max_per_angstrom=study.q_max_per_angstrom,
        specimens=specimens_of(job.domain.recipe),
    )


def _difference(rows: pl.DataFrame, variant: str, score: str) -> str:
    """Return the mean of a score less that of the whole recipe, with its central 95 % over images (or conditions) and seeds drawn again."""
    parts = [
        rows.filter(variant=name).sort("seed", "image")[score].to_numpy().reshape(SEEDS, -1)
        for name in (variant, "whole")
    ]
    rng, count = np.random.default_rng(0), parts[0].shape[1]

    def mean(part: np.ndarray, images: np.ndarray) -> float:
        return float(np.nanmean(part[rng.integers(SEEDS, size=SEEDS)][:, images]))

    again = []
    for _ in range(_RESAMPLES):
        images = rng.integers(count, size=count)
        again.append(mean(parts[0], images) - mean(parts[1], images))
    low, high = np.percentile(again, [2.5, 97.5])
    return f"{np.nanmean(parts[0]) - np.nanmean(parts[1]):+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")


def table(rows: pl.DataFrame, variants: dict[str, str], head: str) -> str:
    """Return the scores of the whole recipe, and differences of variants from it, in Markdown."""
    tested = rows.filter((pl.col("set") == "simulated") | ((pl.col("role") == "test") & (pl.col("labelled") >= EMPTY)))
    columns = [
        ("simulated", "dice", "Dice, simulated"),
        ("hand_labelled", "dice", "Dice, hand_labelled"),
        ("hand_labelled", "surface_dice", "surface Dice, hand_labelled"),
        ("hand_labelled", "instance_f1", "F1, hand_labelled"),
        ("team_2p2nm", "dice", "Dice, team_2p2nm"),
        ("team_2p2nm", "instance_f1", "F1, team_2p2nm"),
    ]
    lines = [f"| {head} | {' | '.join(title for *_, title in columns)} | edge [Å] |", "|---" * (len(columns) + 2) + "|"]
    for name, what in variants.items():
        edges = (
            rows.filter(variant=name, set="hand_labelled").group_by("seed").agg(pl.col("edge_offset_angstrom").first())
        )
        edge = f"{edges['edge_offset_angstrom'].mean():+.2f}".replace("-", "−")
        cells = []
        for images, score, _ in columns:
            of = tested.filter(set=images)
            mean = of.filter(variant=name)[score].mean()
            cells.append(f"{mean:.3f}" if name == "whole" else _difference(of, name, score))
        lines.append(f"| {what} | {' | '.join(cells)} | {edge} |")
    return "\n".join(lines)


def write_page() -> None:
    """Fill in the tables of the page from the committed table."""
    rows = read_table(TABLE)
    conditions = {"whole": "128"} | {f"conditions{n}": f"{n}" for n in reversed(CONDITIONS)}
    scenes = {"whole": "176"} | {f"scenes{n}": f"{n}" for n in reversed(SCENES)}
    fill_page(
        PAGE,
        {
            "left out": table(rows, VARIANTS, "left out"),
            "conditions": table(rows, conditions, "conditions"),
            "scenes": table(rows, scenes, "scenes"),
        },
    )


def main() -> None:
    """Train and score if folders are given, then write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, help="folder of the networks and exit waves")
    parser.add_argument("--external", type=Path, help="folder of the labelled micrographs")
    options = parser.parse_args()
    if options.runs is not None:
        sets = read_sets(options.external) if options.external else []
        runs = [run_study(study, options.runs / name) for name, study in studies().items()]
        rows = [score_network(j, runs[0].held, sets) for run in runs for j in run.held.training_jobs]
        write_table(TABLE, pl.DataFrame(itertools.chain.from_iterable(rows), infer_schema_length=None))
    write_page()


if __name__ == "__main__":
    main()
