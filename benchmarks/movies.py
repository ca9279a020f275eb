"""How well are movies aligned and particles followed? Simulated movies of known motion; and the memory that a long one takes.

python benchmarks/movies.py            # simulates, writes tables and page; some 6 minutes on one core
python benchmarks/movies.py --page     # writes the page again from the tables
python benchmarks/movies.py --large    # time and memory of `passband movie` on 500 frames of 1024², some 10 minutes
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any

import numpy as np
import polars as pl
import tifffile
import torch
from numpy.typing import NDArray
from other_specimens import WAVES
from real_micrographs import fill_page
from scipy import fft, ndimage
from scipy.spatial import Delaunay
from skimage.registration import phase_cross_correlation

import passband as pb
from passband.files.tables import read_table, write_table
from passband.micrographs.align import align, common_area
from passband.simulation.hrtem import Imager
from passband.simulation.multislice import specimen_exit_waves
from passband.specimens import Specimen, SpecimenRecipe, draw_specimen
from passband.specimens.recipe_files import load_recipe

RESULTS = Path(__file__).parent.parent / "docs" / "results"
DRIFT, LINKS, MEMORY = (RESULTS / "tables" / f"movie_{name}.parquet" for name in ("drift", "links", "memory"))
PAGE = RESULTS / "movies.md"
MODEL, RECIPE = "au-300kv", "gold_on_carbon_wide"
#: Pixel and field of the specimen [Å], side of a frame [pixels], and frames.
PIXEL, FIELD, SIDE, FRAMES = 0.4, 153.6, 320, 40
#: Dose of a frame [e/Å²], and specimens.
DOSES, SPECIMENS = (1.0, 3.0, 10.0, 30.0), (0,)
#: What moves and what disturbs: jitter from frame to frame [Å] beside a smooth drift, and the deviation of a fixed pattern.
MOVIES = {
    "smooth drift": (0.0, 0.0),
    "drift, fixed pattern of 5 %": (0.0, 0.05),
    "drift, vibration of 0.8 Å": (0.8, 0.0),
}
#: Movies whose particles move, the images of each, the frames of an image, and the dose of a frame [e/Å²].
FOLLOWED, IMAGES, PART, PART_DOSE = 3, 8, 12, 15.0
#: A particle's step from image to image along an axis, rms [Å], and by how much it grows in all.
STEP, GROWTH = 3.0, 1.25
OPTICS: dict[str, Any] = {"aberrations": {"C10": -120.0, "C12": 15.0, "C30": -5e4}, "focal_spread_angstrom": 25.0}
TODAY = pb.Condition(energy_ev=300e3, pixel_size_angstrom=PIXEL, **OPTICS)
_LARGE, _LARGE_DOSE, _LIMIT_GIB = (500, 1024), 2.0, 4.0


def recipe(*, crowded: bool = False) -> SpecimenRecipe:
    """Return gold on carbon in a field larger than a frame, with as many particles as the recipe has, or more."""
    found = load_recipe(RECIPE)
    assert isinstance(found, SpecimenRecipe)
    changes: dict[str, Any] = {"field_angstrom": FIELD, "seed": 4714}
    if crowded:
        small, *others = found.particles
        changes["particles"] = (small.model_copy(update={"count": (6, 9)}), *others)
    return found.model_copy(update=changes)


def drifted(
    intensity: NDArray[np.float32], place: NDArray[np.float64], dose: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a frame of electrons on SIDE² pixels in the middle of an intensity that is shifted [pixels], so that what leaves it is seen no more."""
    side = intensity.shape[0]
    part = slice((side - SIDE) // 2, (side + SIDE) // 2)
    shown = fft.irfft2(ndimage.fourier_shift(fft.rfft2(intensity), place, n=side), s=intensity.shape)[part, part]
    return rng.poisson(np.maximum(shown, 0) * dose * PIXEL**2).astype(np.float32)


def smooth(when: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a drift at times from 0 to 1 [Å]: 6 Å down, slower and slower, and to the right and back."""
    return np.stack([12 * when - 6 * when**2, 4 * np.sin(3 * when)], axis=1)


def neighbours(shots: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the path by phase correlation of each frame with the one before."""
    steps = [_step(before, after) for before, after in itertools.pairwise(shots)]
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def to_first(shots: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the path by phase correlation of each frame with the first one."""
    return np.stack([_step(shots[0], after) for after in shots])


def _step(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(-phase_cross_correlation(first, second, upsample_factor=20)[0])


def rms(found: NDArray[np.float64], path: NDArray[np.float64]) -> float:
    """Return the deviation of a path, whose origin does not count [pixels]."""
    rest = found - path
    return float(np.sqrt(np.mean((rest - rest.mean(0)) ** 2)))


def drifts() -> Iterator[dict[str, Any]]:
    """Yield the errors of each movie [pixels]; none where it was refused."""
    images = pb.simulate(recipe(), TODAY, n=len(SPECIMENS)).images
    for (number, (kind, (jitter, pattern))), specimen, dose in itertools.product(
        enumerate(MOVIES.items()), SPECIMENS, DOSES
    ):
        rng = np.random.default_rng([number, specimen, round(10 * dose)])
        path = smooth(np.arange(FRAMES) / FRAMES) + rng.normal(0, jitter, (FRAMES, 2))
        path = (path - path[0]) / PIXEL
        gain = 1 + pattern * rng.normal(size=(SIDE, SIDE))
        shots = np.stack([drifted(images[specimen], place, dose, rng) * gain for place in path]).astype(np.float32)
        row = {"movie": kind, "specimen": specimen, "dose": dose}
        row |= {"neighbours": rms(neighbours(shots), path), "first": rms(to_first(shots), path)}
        began = time.process_time()
        error = expected = refused = None
        try:
            found = align(shots.__getitem__, FRAMES, lambda share: None)
            error, expected = rms(found.shifts, path), float(np.sqrt(np.mean(found.deviations**2)))
        except pb.BadInputError as fault:
            refused = str(fault)
        yield row | {"error": error, "expected": expected, "refused": refused, "seconds": time.process_time() - began}


Places = dict[int, tuple[float, float]]


def moved(specimen: Specimen, steps: NDArray[np.float64], part: float) -> tuple[Specimen, Places]:
    """Return a specimen whose particles have moved over the film [Å] and grown, at a part of all time, and where their centres are, x and y [Å]."""
    keep, positions, centres = np.ones(len(specimen.particle), dtype=bool), specimen.atoms.positions.copy(), {}
    for number, step in enumerate(steps, 1):
        own = specimen.particle == number
        centre = positions[own].mean(0)
        larger = centre + (positions[own] - centre) * GROWTH / (1 + (GROWTH - 1) * part)
        keep[own] = Delaunay(positions[own]).find_simplex(larger) >= 0
        positions[own, :2] += step
        # The first axis of atoms runs down the rows.
        down, right = centre[:2] + step
        centres[number] = (float(right), float(down))
    atoms = specimen.atoms.copy()
    atoms.positions = positions
    owners = {name: getattr(specimen, name)[keep] for name in ("particle", "grain")}
    return replace(specimen, atoms=atoms[keep], **owners), centres


def followed(index: int, folder: Path) -> dict[str, Any]:
    """Return the links of a movie by `passband movie`: true ones, made ones, and right ones; and the error of its drift [pixels]."""
    family, rng = recipe(crowded=True), np.random.default_rng([4715, index])
    specimen = draw_specimen(family, index)
    walk = np.cumsum(rng.normal(0, STEP, (IMAGES, len(specimen.particles), 2)), axis=0)
    imager = Imager(TODAY, FIELD, WAVES)
    path = smooth(np.arange(IMAGES * PART) / (IMAGES * PART)) / PIXEL
    truth, shots = [], []
    for image in range(IMAGES):
        one, centres = moved(specimen, walk[image], image / (IMAGES - 1))
        truth.append(centres)
        wave = torch.as_tensor(specimen_exit_waves(family, [one], [index], WAVES)[0].coefficients)[None]
        intensity = imager.intensity(wave)[0].numpy()
        shots += [drifted(intensity, path[image * PART + i] - path[0], PART_DOSE, rng) for i in range(PART)]
    file = folder / f"{index}.tif"
    scale = {"resolution": (10 / PIXEL, 10 / PIXEL), "metadata": {"unit": "nm", "axes": "TYX"}}
    tifffile.imwrite(file, np.array(shots, dtype=np.uint16), imagej=True, **scale)
    optics: dict[str, Any] = {"energy_ev": TODAY.energy_ev, "dose_per_angstrom2": PART_DOSE}
    found = pb.movie(MODEL, file, folder=folder / str(index), workers=1, **optics)
    shifts = found.frames.select("y_angstrom", "x_angstrom").to_numpy() / PIXEL
    area = common_area(shifts, (SIDE, SIDE))
    margin = round(FIELD / PIXEL - SIDE) // 2
    corner = PIXEL * np.array([margin + area[1].start, margin + area[0].start])
    tables = [found.tracks.filter(pl.col("frame") == frame).sort("track") for frame in found.groups["frame"].to_list()]
    middles = found.groups.select((pl.col("frame") + pl.col("last_frame")) / 2).to_series().to_list()
    numbers = [
        [_nearest(row, truth[int(middle) // PART], corner) for row in table.iter_rows(named=True)]
        for table, middle in zip(tables, middles, strict=True)
    ]
    counts = linked(numbers, [table["track"].to_list() for table in tables])
    return {"movie": index, "groups": len(tables), **counts, "drift": rms(shifts, path)}


def _nearest(row: dict[str, Any], centres: Places, corner: NDArray[np.float64]) -> int:
    """Return the true particle in whose middle a found one lies; 0 for none."""
    x, y = row["x_angstrom"] + corner[0], row["y_angstrom"] + corner[1]
    distance = {number: float(np.hypot(x - place[0], y - place[1])) for number, place in centres.items()}
    number = min(distance, key=lambda n: distance[n])
    return number if distance[number] < row["equivalent_diameter_angstrom"] / 2 else 0


def linked(truth: list[list[int]], tracks: list[list[int]]) -> dict[str, int]:
    """Return how many pairs of sightings of one true particle in consecutive groups there are, how many pairs share a track, and how many do both."""
    counts = {"true": 0, "made": 0, "right": 0}
    for i in range(len(truth) - 1):
        for (first, a), (second, b) in itertools.product(
            zip(truth[i], tracks[i], strict=True), zip(truth[i + 1], tracks[i + 1], strict=True)
        ):
            # What two particles share, or none, is not counted.
            if min(truth[i].count(first), truth[i + 1].count(second)) == 1 and first and second:
                counts["true"] += first == second
                counts["made"] += a == b
                counts["right"] += first == second and a == b
    return counts


def page() -> dict[str, str]:
    """Return the tables of the page."""
    drift, found = read_table(DRIFT), read_table(LINKS)
    lines = ["| | " + " | ".join(f"{dose:g} e/Å²" for dose in DOSES) + " |", "|---" * (len(DOSES) + 1) + "|"]
    names = {
        "error": "",
        "neighbours": ": phase correlation of neighbours",
        "first": ": phase correlation with the first",
    }
    for kind, (column, name) in itertools.product(MOVIES, names.items()):
        cells = []
        for dose in DOSES:
            values = drift.filter((pl.col("movie") == kind) & (pl.col("dose") == dose))[column]
            known = values.drop_nulls().to_numpy()
            size = float(np.sqrt(np.mean(known**2))) if len(known) else 0.0
            cells.append("refused" if values.null_count() else f"{size:.0f}" if size >= 10 else f"{size:.2g}")
        lines.append(f"| {'**' + kind + '**' if not name else kind + name} | {' | '.join(cells)} |")
    sure = drift.drop_nulls("error").select(pl.col("error") / pl.col("expected")).to_series()
    lines += [
        "",
        f"Deviation of the drift from the true one, rms [pixels of {PIXEL} Å], of a movie of {FRAMES} frames of {SIDE}² pixels, by the dose of a "
        f"frame. The deviation is {sure.min():.2f} to {sure.max():.2f} times the one that `frames.parquet` expects, median {sure.median():.2f}. "
        f"{drift['seconds'].median():.0f} s of processor time a movie.",
    ]
    true, made, right = (int(found[name].sum()) for name in ("true", "made", "right"))
    text = (
        f"Of {true} true links, {right} were made ({right / true:.1%}); of {made} links made, {made - right} are wrong ({1 - right / made:.1%}). "
        f"The drift of these movies deviates by {np.sqrt(np.mean(found['drift'].to_numpy() ** 2)):.2g} pixels, rms. "
        f"{FOLLOWED} movies of {IMAGES * PART} frames at {PART_DOSE:g} e/Å², with {MODEL}; particles of 20 to 45 Å move by {STEP:g} Å per axis, rms, "
        f"after every {PART} frames, and grow by {GROWTH - 1:.0%} in all."
    )
    tables = {"drift": "\n".join(lines), "links": text}
    if MEMORY.is_file():
        row = read_table(MEMORY).row(0, named=True)
        tables["memory"] = (
            f"{row['frames']} frames of {row['side']}² pixels (16 bits) at {row['dose']:g} e/Å² a frame, in {row['groups']} groups: {row['gib']:.1f} GiB at most, all processes "
            f"together (limit {_LIMIT_GIB:g} GiB), {row['seconds'] / 60:.0f} minutes with one worker."
        )
    return tables


def large() -> None:
    """Measure `passband movie` on a long movie: seconds, and the peak memory of all its processes together."""
    count, side = _LARGE
    rng = np.random.default_rng(0)
    whole = 1 + ndimage.gaussian_filter(rng.normal(size=(2 * side, 2 * side)), 2)
    down, right = np.ogrid[: 2 * side, : 2 * side]
    for y, x in rng.uniform(0.1, 1.9, (48, 2)) * side:
        whole -= 0.3 * (np.hypot(down - y, right - x) < 40)
    whole = np.maximum(whole, 0) * _LARGE_DOSE * PIXEL**2
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "movie.tif"
        with tifffile.TiffWriter(file) as out:
            for i in range(count):
                far, wide = round(0.2 * i), round(40 * np.sin(i / 200))
                electrons = rng.poisson(whole[100 + far : 100 + far + side, 100 + wide : 100 + wide + side])
                out.write(electrons.astype(np.uint16), contiguous=True)
        given = ["--energy", "300kV", "--dose", f"{_LARGE_DOSE:g}", "--pixel-size", str(PIXEL), "--workers", "1"]
        order = [sys.executable, "-m", "passband", "movie", MODEL, str(file), "--out", str(Path(place) / "out")]
        began, peak = time.perf_counter(), 0.0
        with Popen([*order, *given], stdout=DEVNULL) as child:
            while child.returncode is None:
                peak = max(peak, _memory(child.pid))
                try:
                    child.wait(0.25)
                except TimeoutExpired:
                    continue
        if child.returncode not in (0, 1):
            raise SystemExit(f"passband movie ended with {child.returncode}")
        row = {"frames": count, "side": side, "dose": _LARGE_DOSE, "gib": peak, "seconds": time.perf_counter() - began}
        groups = len(read_table(Path(place) / "out" / "groups.parquet"))
    print(row)
    write_table(MEMORY, pl.DataFrame([row | {"groups": groups}]))


def _memory(process: int) -> float:
    """Return the memory of a process and its descendants, shared pages counted once [GiB]."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
            total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text(encoding="ascii").split())
        except (OSError, StopIteration):
            continue
    return total / 2**20


def main() -> None:
    """Simulate unless only the page is wanted, and fill in its tables."""
    if "--large" in sys.argv[1:]:
        large()
    elif "--page" not in sys.argv[1:]:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as place:
            links = (followed(index, Path(place)) for index in range(FOLLOWED))
            for table, rows in ((DRIFT, drifts()), (LINKS, links)):
                found = []
                for row in rows:
                    print(row, flush=True)
                    found.append(row)
                write_table(table, pl.DataFrame(found, infer_schema_length=None))
    fill_page(PAGE, page())


if __name__ == "__main__":
    main()
