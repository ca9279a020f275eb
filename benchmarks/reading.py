"""Measure the time to read a micrograph, and the accuracy of removing spikes and dead pixels.

python benchmarks/reading.py            # measures, and writes tables and page (about 6 minutes on 2 cores)
python benchmarks/reading.py --page     # writes the page again from the committed tables
"""

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from other_specimens import families, fields, recorded
from rows import machine
from scipy import ndimage

from passband.conditions.condition_files import load_distribution
from passband.files.tables import write_table
from passband.micrographs.cleaning import clean
from passband.micrographs.reading import read_micrographs

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results" / "reading.md"
TABLES = PAGE.parent / "tables"
SESSION = ROOT / "studies" / "conditions" / "corrected_300kv.yaml"
SIDE = 4096
#: Of the images that are cleaned [Å], and how many fields of 102 Å are side by side.
PIXEL, FIELDS = 0.4, 3
#: Of planted faults: how far they stand out, in standard deviations of the image, and how many of each in an image.
HEIGHTS, PLANTED = (5.0, 10.0, 30.0, 100.0), 10
_READERS = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".mrc": "mrc",
    ".tif": "tiff",
    ".emd": "emd",
    ".hspy": "hspy",
}


def median_rule(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return what a common rule calls a fault: 5 robust standard deviations from the median of 3 × 3 pixels."""
    apart = image - ndimage.median_filter(image, 3)
    return np.abs(apart) > 5 * 1.4826 * np.median(np.abs(apart - np.median(apart)))


def ours(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return what passband replaces."""
    return clean(image).intensity != image


def cleaning() -> pl.DataFrame:
    """Return a row per condition, method and kind of fault: planted, found, and sound pixels changed."""
    waves, _ = fields(families()["gold, as studied"], FIELDS)
    rows: list[dict[str, Any]] = []
    for i, condition in enumerate(load_distribution(SESSION).conditions()):
        finer = condition.model_copy(update={"pixel_size_angstrom": PIXEL})
        image = recorded(waves, finer, "").intensity
        rng = np.random.default_rng(i)
        faulty, planted = image.copy(), {}
        for height in HEIGHTS:
            at = rng.integers(12, len(image) - 12, (2, PLANTED))
            faulty[at[0], at[1]] += height * image.std()
            planted[f"spike of {height:g} σ"] = at
        at = rng.integers(12, len(image) - 12, (2, PLANTED))
        faulty[at[0], at[1]] = 0
        planted["dead pixel"] = at
        for method, rule in (("passband", ours), ("median rule", median_rule)):
            changed, sound = rule(faulty), rule(image)
            common = {"condition": i, "dose_per_angstrom2": condition.dose_per_angstrom2, "method": method}
            rows.append(common | {"fault": "none", "planted": image.size, "found": int(sound.sum())})
            rows += [
                common | {"fault": name, "planted": PLANTED, "found": int(changed[at[0], at[1]].sum())}
                for name, at in planted.items()
            ]
    return pl.DataFrame(rows)


def seconds(work: Callable[[], object]) -> float:
    """Return the median time of three rounds."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _sum(reader: Callable[[str], list[dict[str, Any]]], path: Path) -> float:
    """Read a file with a reader of RosettaSciIO and add its values, so that lazy ones are loaded."""
    return float(np.asarray(reader(str(path))[0]["data"]).sum())


def formats() -> pl.DataFrame:
    """Return a row per format: seconds that passband and RosettaSciIO alone take for an image of 4096²."""
    sys.path.insert(0, str(ROOT / "tests"))
    files = importlib.import_module("support.files")
    counts = np.random.default_rng(0).poisson(40, (SIDE, SIDE)).astype(np.uint16)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written = [
            files.write_dm(folder / "a.dm3", counts),
            files.write_dm(folder / "a.dm4", counts),
            files.write_mrc(folder / "a.mrc", counts),
            files.write_tiff(folder / "a.tif", counts),
            files.write_velox(folder / "velox.emd", counts),
            files.write_ncem(folder / "ncem.emd", counts),
            files.write_hspy(folder / "a.hspy", counts),
        ]
        for path in written:
            reader = importlib.import_module(f"rsciio.{_READERS[path.suffix]}").file_reader
            found = read_micrographs(path)[0]
            assert np.array_equal(found.intensity, counts), path
            rows.append(
                {
                    "format": {"velox.emd": "Velox EMD", "ncem.emd": "NCEM EMD"}.get(path.name, path.suffix[1:]),
                    "megabytes": path.stat().st_size / 1e6,
                    "passband_seconds": seconds(partial(read_micrographs, path)),
                    "cleaning_seconds": seconds(lambda: clean(counts.astype(np.float32))),
                    "rosettasciio_seconds": seconds(partial(_sum, reader, path)),
                }
            )
    return pl.DataFrame(rows).with_columns(machine=pl.lit(machine()))


def page(faults: pl.DataFrame, times: pl.DataFrame) -> str:
    """Return the page."""
    images, pixels = faults["condition"].n_unique(), int(faults.filter(pl.col("fault") == "none")["planted"][0])
    methods = ("passband", "median rule")
    lines = [
        "# Reading micrographs",
        "",
        "## Spikes and dead pixels",
        "",
        f"*{images} simulated images of {round(pixels**0.5)}² pixels of {PIXEL} Å, gold on carbon under the conditions of `studies/conditions/corrected_300kv.yaml` (doses of 15 to 10,000 e/Å²). {PLANTED} faults of each kind are "
        "planted in each. passband is compared with a common rule: pixels that differ by 5 robust standard deviations from the median of 3 × 3 pixels are replaced.*",
        "",
        "| | " + " | ".join(methods) + " |",
        "|---|" + "---|" * len(methods),
    ]
    for fault in faults["fault"].unique(maintain_order=True):
        cells = []
        for method in methods:
            own = faults.filter((pl.col("fault") == fault) & (pl.col("method") == method))
            found, planted = int(own["found"].sum()), int(own["planted"].sum())
            cells.append(f"{found:,} of {planted / 1e6:.0f} million" if fault == "none" else f"{found / planted:.0%}")
        lines.append(f"| {'sound pixels changed' if fault == 'none' else f'{fault}, detected'} | {' | '.join(cells)} |")
    low = faults.filter((pl.col("method") == "passband") & (pl.col("fault") == "dead pixel"))
    split = [
        low.filter(c)["found"].sum() / low.filter(c)["planted"].sum()
        for c in (pl.col("dose_per_angstrom2") < 100, pl.col("dose_per_angstrom2") >= 1000)
    ]
    lines += [
        "",
        "σ is the standard deviation of the image. passband changes almost no sound pixel, and therefore misses faults that hide in noise: "
        f"it detects {split[0]:.0%} of the dead pixels below 100 e/Å², where a pixel without a count is no fault, and {split[1]:.0%} from 1000 e/Å² on.",
        "",
        "## Time",
        "",
        f"*An image of {SIDE}² 16-bit pixels, median of three, {times['machine'][0]}. passband parses a file in a separate sandboxed process and cleans it; RosettaSciIO alone does neither.*",
        "",
        "| format | MB | passband [s] | of which cleaning [s] | RosettaSciIO alone [s] | ratio |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['format']} | {r['megabytes']:.0f} | {r['passband_seconds']:.1f} | {r['cleaning_seconds']:.1f} | {r['rosettasciio_seconds']:.2f} | {r['passband_seconds'] / r['rosettasciio_seconds']:.0f} |"
        for r in times.iter_rows(named=True)
    ]
    lines += ["", "Made by `python benchmarks/reading.py`; with `--page` it writes the page again from the tables.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write tables and page."""
    names = ("cleaning", "reading")
    if "--page" not in sys.argv:
        torch.set_num_threads(1)
        for name, measured in zip(names, (cleaning(), formats()), strict=True):
            write_table(TABLES / f"{name}.parquet", measured)
    PAGE.write_text(page(*(pl.read_parquet(TABLES / f"{name}.parquet") for name in names)), encoding="utf-8")


if __name__ == "__main__":
    main()
