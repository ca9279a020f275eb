"""Score models, and what a user would try first, on labelled micrographs of other laboratories: Dice, outlines, particles, verdicts.

python benchmarks/real_micrographs.py --external DIR [MODEL ...]   # scores, and writes table and page
python benchmarks/real_micrographs.py                              # writes the page again from the committed table

DIR holds hand_labelled/ and team_2p2nm/, images NAME.png with NAME_mask.png; none of them is in the repository. The first two images of a
set calibrate the edge of its labels and train the random forest, and are not tested.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from passband.files.atomic import write_text
from passband.files.tables import read_table, write_table
from passband.learning.particle_scores import matched_particles, regions_of
from passband.micrographs.agreement import agreement, calibrate_edge, moved
from passband.micrographs.micrograph import Micrograph
from passband.models.confidence import Reliability, reliability, reliability_table
from passband.models.segment import Segmentation, segment

RESULTS = Path(__file__).parent.parent / "docs" / "results"
TABLE, PAGE = RESULTS / "tables" / "real_micrographs.parquet", RESULTS / "real_micrographs.md"
MODELS = ("au-300kv", "np-300kv")
#: Images of each set that calibrate and train, and are not tested.
CALIBRATED_ON = 2
_SCORES = ("dice", "surface_dice", "distance_angstrom", "instance_f1", "diameter_bias_angstrom")
#: Images with less of them labelled are judged by what is marked.
EMPTY = 0.01
_RESAMPLES = 1000


@dataclass(frozen=True)
class Labelled:
    """A set of labelled images of one pixel size [Å]: names, images [h, w] and masks [h, w]."""

    name: str
    pixel: float
    images: dict[str, tuple[np.ndarray, np.ndarray]]


def read_sets(folder: Path) -> list[Labelled]:
    """Return the labelled sets of a folder; an error if one is missing."""
    sets = []
    for name, pixel in (("hand_labelled", 0.586), ("team_2p2nm", 0.782)):
        paths = [p for p in sorted((folder / name).glob("*.png")) if not p.stem.endswith("_mask")]
        if not paths:
            raise SystemExit(f"{folder / name}: has no images; give the folder of the external sets")
        pairs = {
            p.stem: tuple(np.asarray(Image.open(q).convert("L")) for q in (p, p.with_name(f"{p.stem}_mask.png")))
            for p in paths
        }
        sets.append(Labelled(name, pixel, {n: (i.astype(np.float32), m > 127) for n, (i, m) in pairs.items()}))
    return sets


def otsu(image: np.ndarray, pixel: float) -> np.ndarray:
    """Return what is darker than Otsu's threshold of the image, blurred by 3 Å."""
    from scipy.ndimage import gaussian_filter
    from skimage.filters import threshold_otsu

    smooth = gaussian_filter(image, 3.0 / pixel)
    return smooth < threshold_otsu(smooth)


def forest(labelled: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[np.ndarray, float], np.ndarray]:
    """Return a random forest on Gaussian, gradient and Hessian features of pixels, trained on some labelled images."""
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    def features(image: np.ndarray) -> np.ndarray:
        normal = (image - image.mean()) / image.std()
        values = multiscale_basic_features(normal, sigma_min=1, sigma_max=16)
        return values.reshape(-1, values.shape[-1])

    model = RandomForestClassifier(100, max_depth=16, max_samples=0.1, random_state=0)
    model.fit(np.concatenate([features(i) for i, _ in labelled]), np.concatenate([m.ravel() for _, m in labelled]))
    return lambda image, pixel: model.predict(features(image)).reshape(image.shape)


def confidence_of(found: Segmentation, truth: np.ndarray, edge: float) -> dict[str, Any]:
    """Return how often regions of a confidence are right, when the labels are moved by the edge's offset [Å]; nothing without a confidence."""
    if not found.particles["confidence"].count():
        return {}
    pixel, area = found.pixel_size_angstrom, pl.col("area_angstrom2")
    mean = (pl.col("mean_probability") * area).sum() / area.sum()
    regions = found.particles.group_by("region").agg(pl.col("confidence").first(), mean_probability=mean).sort("region")
    ours, labels = (regions_of(m[None], pixel) for m in (found.mask, moved(truth, -edge, pixel)))
    right = np.isin(regions["region"], matched_particles(ours, labels)[1] + 1)
    values = regions["confidence"].fill_null(np.nan).to_numpy(), regions["mean_probability"].to_numpy(), right
    return {f"confidence_{name}": value for name, value in asdict(reliability(*values)).items()}


def score(folder: Path, names: list[str]) -> pl.DataFrame:
    """Return a row for each set, method and image: agreement as drawn and with the edge calibrated, and the verdict of a model."""
    import passband as pb
    from passband.verdicts.verdict_model import VerdictModel

    rows = []
    for labelled in read_sets(folder):
        pixel, images = labelled.pixel, labelled.images
        first = list(images)[:CALIBRATED_ON]
        methods: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {"Otsu's threshold": otsu}
        methods["random forest, two labelled images"] = forest([images[n] for n in first])
        models = {name: pb.load_model(name) for name in names}
        for method in (*methods, *models):
            found = {}
            if method in models:
                found = {n: segment(models[method], Micrograph(i, pixel)) for n, (i, _) in images.items()}
                masks = {n: f.mask for n, f in found.items()}
            else:
                masks = {n: methods[method](image, pixel) for n, (image, _) in images.items()}
            try:
                edge = calibrate_edge([(masks[n], images[n][1], pixel) for n in first])
            except ValueError:
                edge = 0.0
            judge = VerdictModel(models[method]) if method in models else None
            for n, (image, truth) in images.items():
                drawn = agreement(masks[n], truth, pixel)
                at_edge = agreement(masks[n], truth, pixel, edge_offset_angstrom=edge)
                row: dict[str, Any] = {"set": labelled.name, "method": method, "image": n, "role": "calibration" if n in first else "test",
                       "labelled": float(truth.mean()), "marked": float(masks[n].mean()), "edge_offset_angstrom": edge}  # fmt: skip
                row |= {f"drawn_{s}": getattr(drawn, s) for s in _SCORES} | {s: getattr(at_edge, s) for s in _SCORES}
                if n in found:
                    row |= confidence_of(found[n], truth, edge)
                if judge is not None:
                    verdict = judge.check_image(Micrograph(image, pixel, 300e3))
                    said = verdict.prediction
                    row |= {"answer": verdict.answer, "reason": "; ".join(map(str, verdict.cannot_say))}
                    row |= {} if said is None else asdict(said.dice)
                rows.append(row)
                print(f"{labelled.name} {method} {n}: {drawn.dice:.3f}, {at_edge.dice:.3f}", file=sys.stderr)
    return pl.DataFrame(rows, infer_schema_length=None)


def _mean(values: pl.Series, seed: int = 0) -> str:
    """Return the mean over images with its central 95 % when images are drawn again."""
    known = values.drop_nulls().to_numpy()
    if not len(known):
        return "–"
    rng = np.random.default_rng(seed)
    low, high = np.percentile(known[rng.integers(len(known), size=(_RESAMPLES, len(known)))].mean(1), [2.5, 97.5])
    return f"{known.mean():.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")


def tables(rows: pl.DataFrame) -> dict[str, str]:
    """Return the tables of the page by name, in Markdown: agreement, empty images, verdicts."""
    tested = rows.filter(pl.col("role") == "test", pl.col("labelled") >= EMPTY)
    lines = [
        "| images | method | Dice as drawn | edge of the labels [Å] | Dice | surface Dice, 2 Å | instance F1 | outline distance [Å] |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, method), part in tested.group_by("set", "method", maintain_order=True):
        figures = [_mean(part[c]) for c in ("dice", "surface_dice", "instance_f1", "distance_angstrom")]
        edge = f"{part['edge_offset_angstrom'][0]:+.2f}".replace("-", "−")
        lines.append(
            f"| {name}, {len(part)} | {method} | {_mean(part['drawn_dice'])} | {edge} | {' | '.join(figures)} |"
        )
    empty = rows.filter(pl.col("labelled") < EMPTY)
    marked = ["| image | method | labelled | marked |", "|---|---|---|---|"]
    marked += [
        f"| {r['image']} | {r['method']} | {r['labelled']:.2%} | {r['marked']:.2%} |"
        for r in empty.iter_rows(named=True)
    ]
    return {
        "agreement": "\n".join(lines),
        "empty": "\n".join(marked),
        "verdicts": verdict_table(rows),
        "confidence": confidence_tables(rows),
    }


def confidence_tables(rows: pl.DataFrame) -> str:
    """Return how often particles of a confidence are right, on tested images of each set and model, at the calibrated edge."""
    names = [f"confidence_{name}" for name in Reliability.__dataclass_fields__]
    if names[0] not in rows.columns:
        return "*The models of this table have none.*"
    lines = []
    tested = rows.filter(pl.col("role") == "test", pl.col(names[0]).is_not_null())
    for (name, method), part in tested.group_by("set", "method", maintain_order=True):
        parts = [Reliability(*values) for values in part.select(names).iter_rows()]
        lines += [f"{method} on {name}, {len(part)} images:", "", *reliability_table(parts), ""]
    return "\n".join(lines[:-1])


def verdict_table(rows: pl.DataFrame) -> str:
    """Return how verdicts from the image fit the measured Dice, at the calibrated edge, of tested images with particles."""
    tested = rows.filter(pl.col("role") == "test", pl.col("labelled") >= EMPTY, pl.col("answer").is_not_null())
    lines = [
        "| model | images | cannot say | mean error of Dice | mean of predicted less measured | within the 90 % interval | yes | yes with Dice < 0.85 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (method,), part in tested.group_by("method", maintain_order=True):
        told = part.filter(pl.col("predicted").is_not_null())
        miss = told["predicted"] - told["dice"]
        within = told.filter(pl.col("dice").is_between(pl.col("low"), pl.col("high")))
        yes = told.filter(pl.col("answer") == "yes")
        wrong = yes.filter(pl.col("dice") < 0.85)
        lines.append(
            f"| {method} | {len(part)} | {len(part) - len(told)} | {_mean(miss.abs())} | {_mean(miss)} | {len(within)} of {len(told)} | {len(yes)} | {len(wrong)} |"
        )
    return "\n".join(lines)


def fill_page(page: Path, tables: dict[str, str]) -> None:
    """Fill in tables of a page by name, each between its two markers."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise SystemExit(f"{page}: has no markers of the table {name}")
        text = before + begin + "\n" + table + "\n\n" + end + rest.partition(end)[2]
    write_text(page, text)
    print(f"Page: {page}")


def main(arguments: list[str]) -> None:
    """Score if a folder is given, then write the page."""
    if arguments[:1] == ["--external"] and len(arguments) > 1:
        write_table(TABLE, score(Path(arguments[1]), arguments[2:] or list(MODELS)))
    elif arguments:
        raise SystemExit(__doc__)
    fill_page(PAGE, tables(read_table(TABLE)))


if __name__ == "__main__":
    main(sys.argv[1:])
