"""Compare statistics of simulated images with those of real ones, ring by ring: do the real lie in the simulated 5–95 %?

python benchmarks/image_statistics.py --external DIR   # measures both, and writes table, page and figure; 4 minutes
python benchmarks/image_statistics.py                  # writes page and figure again from the committed table

DIR holds the folders of `REAL`: images as NAME.png and their labels as NAME_mask.png. No image is written.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from passband.conditions import Condition
from passband.conditions.condition_files import load_conditions
from passband.files.atomic import write_text
from passband.files.tables import write_table
from passband.files.yaml_config import read_yaml
from passband.micrographs.resample import resample
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens.recipe_files import load_recipe
from passband.studies.study import load_study

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
TABLE = RESULTS / "tables" / "image_statistics.parquet"
#: Folders of real images, and their pixels [Å].
REAL = {"hand_labelled": 0.586, "team_2p2nm": 0.782}
#: Recipe, conditions, specimens, and conditions for each specimen, of each kind of simulated images.
SIMULATED = {
    "in crowds": ("gold_in_crowds", "studies/conditions/micrographs_300kv.yaml", 24, 4),
    "plain": ("gold_on_carbon_wide", "studies/conditions/corrected_300kv.yaml", 24, 3),
}
#: All images are brought to these pixels [Å] and cut into windows of so many.
PIXEL, WINDOW = 0.8, 120
#: Rings of spatial frequency [1/Å].
EDGES = np.linspace(0.05, 0.6, 12)
#: Distance from an outline within which a pixel is neither inside nor outside: labels are drawn by hand [Å].
MARGIN = 5.0
#: Bootstrap samples of an interval.
RESAMPLES = 300
WAVES = ExitWaveConfig(phonon_configurations=1, band_per_angstrom=1.2)
WORDS = {
    "slow": "slow background: deviation of the film's local mean over 8 Å, over the film's",
    "contrast": "mean inside less outside, over the film's deviation",
    "deviation": "deviation inside over outside",
    "rim": "brightest shell of 2 Å within 8 Å outside the outline, as the contrast",
    "skewness_film": "skewness outside",
    "skewness_particle": "skewness inside",
}


def ring_power(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the local power of an image [n, n] in each ring, [11, n, n]; white noise of unit variance has 1 in each on average."""
    n = len(image)
    # Mirrored, a window has no step at its edge.
    spectrum = np.fft.rfft2(np.pad(image, ((0, n), (0, n)), mode="symmetric"))
    q = np.hypot(np.fft.fftfreq(2 * n, PIXEL)[:, None], np.fft.fftfreq(2 * n, PIXEL)[: n + 1])
    rings = []
    for low, high in itertools.pairwise(EDGES):
        response = np.exp(-(((q - (low + high) / 2) / ((high - low) / 2)) ** 2))
        both = np.concatenate([response, response[:, 1:n]], 1)
        rings.append(np.fft.irfft2(spectrum * np.sqrt(response))[:n, :n] ** 2 / both.mean())
    return np.stack(rings)


def statistics(image: NDArray[np.floating], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Return the statistics of a window and its label by name; those of particles are absent where it shows too little of them."""
    x = (image - image.mean()) / image.std()
    distance = PIXEL * (ndimage.distance_transform_edt(mask) if mask.any() else np.zeros(mask.shape))
    distance -= PIXEL * (ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, 1e3))
    film, particle = distance < -MARGIN, distance > MARGIN
    if film.mean() < 0.1:
        return {}
    power = ring_power(x)
    level, spread = x[film].mean(), x[film].std()
    weight = ndimage.gaussian_filter(film.astype(float), 8 / PIXEL)
    local = ndimage.gaussian_filter(np.where(film, x, 0.0), 8 / PIXEL) / np.maximum(weight, 1e-6)
    result = {f"film_{i}": float(np.log10(ring[film].mean())) for i, ring in enumerate(power)}
    result |= {"slow": float(local[film].std() / spread), "skewness_film": float(stats.skew(x[film]))}
    if particle.mean() < 0.01:
        return result
    result |= {f"particle_{i}": float(np.log10(ring[particle].mean())) for i, ring in enumerate(power)}
    shells = [x[(distance < -d) & (distance >= -d - 2)] for d in (0, 2, 4, 6)]
    return result | {
        "contrast": float((x[particle].mean() - level) / spread),
        "deviation": float(x[particle].std() / spread),
        "rim": float(max(shell.mean() for shell in shells if len(shell)) - level) / float(spread),
        "skewness_particle": float(stats.skew(x[particle])),
    }


def windows(image: NDArray[np.floating], mask: NDArray[np.bool_]) -> Iterator[dict[str, float]]:
    """Yield the statistics of each window of an image on pixels of 0.8 Å."""
    for i, j in itertools.product(*(range(0, n - WINDOW + 1, WINDOW) for n in image.shape)):
        part = slice(i, i + WINDOW), slice(j, j + WINDOW)
        yield statistics(image[part], mask[part])


def real_images(folder: Path, pixel: float) -> Iterator[tuple[str, NDArray[np.floating], NDArray[np.bool_]]]:
    """Yield name, image and label, on pixels of 0.8 Å."""
    for path in sorted(folder.glob("*_mask.png")):
        name = path.stem.removesuffix("_mask")
        image = np.asarray(Image.open(folder / f"{name}.png").convert("L"), dtype=np.float32)
        height, width = (int(n * pixel / PIXEL) for n in image.shape)
        label = np.asarray(Image.open(path).convert("L")) > 127
        rows, columns = (
            np.minimum((np.arange(n) * PIXEL / pixel).round().astype(int), have - 1)
            for n, have in zip((height, width), image.shape, strict=True)
        )
        yield name, resample(image, (height, width)), label[np.ix_(rows, columns)]


def conditions_of(path: Path) -> list[Condition]:
    """Return the conditions of a file of conditions, or of a study."""
    if "specimens" in read_yaml(path)[0]:
        conditions = load_study(path).test_conditions
    else:
        conditions = [condition for _, condition in load_conditions(path)]
    # Parts of a mixture come one after the other.
    return [conditions[i] for i in np.random.default_rng(0).permutation(len(conditions))]


def simulated_images(kind: str) -> Iterator[tuple[str, NDArray[np.floating], NDArray[np.bool_]]]:
    """Yield the number of the specimen, image and label of simulated images."""
    name, file, count, each = SIMULATED[kind]
    recipe, conditions = load_recipe(name), conditions_of(ROOT / file)
    for index in range(count):
        stored, masks = scatter(recipe, [index], WAVES)
        for k in range(index * each, (index + 1) * each):
            condition = conditions[k % len(conditions)]
            made = Imager(condition, recipe.field_angstrom, WAVES).images(stored, masks, seed=k)
            yield str(index), made.counts[0].double().numpy(), made.masks[0].numpy()
        print(kind, index + 1, "of", count, flush=True)


def measure(external: Path) -> pl.DataFrame:
    """Return a row for each window and statistic of real and simulated images."""
    rows, numbers = [], itertools.count()
    sets = {name: real_images(external / name, pixel) for name, pixel in REAL.items()}
    for kind, images in (sets | {name: simulated_images(name) for name in SIMULATED}).items():
        for name, image, mask in images:
            for found in windows(image, mask):
                number = next(numbers)
                rows += [(kind, name, number, statistic, value) for statistic, value in found.items()]
    return pl.DataFrame(rows, schema=["images", "specimen", "window", "statistic", "value"], orient="row")


def by_image(table: pl.DataFrame, images: str, statistic: str) -> list[NDArray[np.floating]]:
    """Return the values of a statistic of a set of images, those of each real image's or simulated specimen's windows together."""
    rows = table.filter((pl.col("images") == images) & (pl.col("statistic") == statistic))
    return [own["value"].to_numpy() for own in rows.partition_by("specimen", maintain_order=True)]


def share_inside(real: list[NDArray[np.floating]], simulated: list[NDArray[np.floating]]) -> tuple[float, float, float]:
    """Return the share of real windows inside the simulated 5–95 %, and its central 95 % when real images and simulated specimens are drawn again."""
    rng = np.random.default_rng(0)

    def share(a: list[NDArray[np.floating]], b: list[NDArray[np.floating]]) -> float:
        low, high = np.quantile(np.concatenate(b), [0.05, 0.95])
        values = np.concatenate(a)
        return float(((values >= low) & (values <= high)).mean())

    def again(a: list[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
        return [a[i] for i in rng.integers(len(a), size=len(a))]

    low, high = np.quantile([share(again(real), again(simulated)) for _ in range(RESAMPLES)], [0.025, 0.975])
    return share(real, simulated), float(low), float(high)


def summary(table: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each statistic and pair of real and simulated images: their quantiles and the share inside."""
    rings = [f"{part}_{i}" for part in ("film", "particle") for i in range(len(EDGES) - 1)]
    rows = []
    for real, simulated, name in itertools.product(REAL, SIMULATED, [*rings, *WORDS]):
        ours, theirs = by_image(table, simulated, name), by_image(table, real, name)
        (low, middle, high), found = np.quantile(np.concatenate(ours), [0.05, 0.5, 0.95]), np.concatenate(theirs)
        share, least, most = share_inside(theirs, ours)
        rows.append(
            {
                "real": real,
                "simulated": simulated,
                "statistic": name,
                "low": low,
                "middle": middle,
                "high": high,
                "real_low": np.quantile(found, 0.05),
                "real_middle": np.median(found),
                "real_high": np.quantile(found, 0.95),
                "share": share,
                "share_low": least,
                "share_high": most,
                "windows": len(found),
            }
        )
    return pl.DataFrame(rows)


def page(table: pl.DataFrame, found: pl.DataFrame) -> str:
    """Return the page."""
    counts = {name: table.filter(pl.col("images") == name) for name in (*REAL, *SIMULATED)}
    sizes = {n: (t["specimen"].n_unique(), t["window"].n_unique()) for n, t in counts.items()}
    lines = [
        "# Simulated and real images",
        "",
        "*Do real micrographs look like simulated ones to a network? Statistics of windows of 96 × 96 Å on pixels of 0.8 Å, the real ones against the 5–95 % of the simulated ones.*",
        "",
        "Real: "
        + "; ".join(f"`{n}`, {sizes[n][0]} images in {sizes[n][1]} windows" for n in REAL)
        + ". Simulated: "
        + "; ".join(
            f"**{n}**, recipe `{SIMULATED[n][0]}`, `{SIMULATED[n][1]}`, {sizes[n][0]} specimens under {SIMULATED[n][3]} conditions each in {sizes[n][1]} windows"
            for n in SIMULATED
        )
        + ". The model `au-300kv` is trained on the first; the second has particles apart, even films and an ideal camera, as simulations usually do.",
        "",
        "![Power in rings of spatial frequency](figures/image_statistics.png)",
        "",
        "*Power in rings of spatial frequency over that of white noise of the window's variance. Bands: 5–95 % of simulated windows; lines: the median of real ones, dotted their 5 and 95 %.*",
        "",
        *verdict(found),
        "",
        "| statistic | real images | real: 5, 50, 95 % | in crowds: 5, 95 % | windows inside | plain: 5, 95 % | windows inside |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, real in itertools.product(found["statistic"].unique(maintain_order=True), REAL):
        rows = found.filter((pl.col("statistic") == name) & (pl.col("real") == real))
        first = rows.row(0, named=True)
        cells = [title(name), real, ", ".join(number(first[f"real_{k}"]) for k in ("low", "middle", "high"))]
        for simulated in SIMULATED:
            row = rows.row(by_predicate=pl.col("simulated") == simulated, named=True)
            cells += [f"{number(row['low'])}, {number(row['high'])}", f"{row['share']:.2f} {interval(row)}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *ends()]) + "\n"


def title(name: str) -> str:
    """Return what a statistic is, in words."""
    part, _, ring = name.rpartition("_")
    if not ring.isdecimal():
        return WORDS[name]
    place = {"film": "outside", "particle": "inside"}[part]
    return f"lg power {place}, {EDGES[int(ring)]:.2f}–{EDGES[int(ring) + 1]:.2f} 1/Å"


def number(value: float) -> str:
    """Return a number with two digits and a minus sign."""
    return f"{value:.2f}".replace("-", "−")


def interval(row: dict[str, float]) -> str:
    """Return the interval of a share, in brackets."""
    return f"[{row['share_low']:.2f}, {row['share_high']:.2f}]"


def verdict(found: pl.DataFrame) -> list[str]:
    """Return for each kind of real images how many statistics lie inside, and which do not."""
    lines = []
    for real, simulated in itertools.product(REAL, SIMULATED):
        rows = found.filter((pl.col("real") == real) & (pl.col("simulated") == simulated))
        middle = pl.col("real_middle").is_between(pl.col("low"), pl.col("high"))
        counted = {
            kind: (len(some.filter(middle)), len(some))
            for kind, some in (
                ("rings", rows.filter(~pl.col("statistic").is_in(list(WORDS)))),
                ("others", rows.filter(pl.col("statistic").is_in(list(WORDS)))),
            )
        }
        missed = [title(n) for n in rows.filter(~middle)["statistic"]]
        named = f"; outside: {'; '.join(missed)}" if 0 < len(missed) <= 6 else ""
        lines.append(
            f"- `{real}` against **{simulated}**: the real median lies inside in {counted['rings'][0]} of {counted['rings'][1]} rings and "
            f"{counted['others'][0]} of {counted['others'][1]} other statistics; mean share of windows inside {rows['share'].mean():.2f}{named}."
        )
    return lines


def ends() -> list[str]:
    """Return how the page was made, and what its numbers cannot say."""
    return [
        "Intervals: 95 % over real images and simulated specimens, both drawn again. Pixels within 5 Å of an outline count neither as inside nor as outside.",
        "",
        "**Chosen after looking.** `micrographs_300kv.yaml` began with the near part of `corrected_300kv.yaml`, more defocus, a Gaussian MTF of 0.05 to 1 and any `correlated_noise`. Five rounds of this comparison, with 5 to 26 specimens,",
        "changed it and the recipe: the blur of scintillators, a microscope without corrector, a Lorentzian MTF, relief of short lengths, and the weights of the parts. All are what such microscopes and cameras may have, but they were chosen with these",
        "images in sight: the page describes, and is no test on unseen data. No real image trains a network.",
        "",
        "**What is missing.** Inside the particles of `hand_labelled` the grey values vary less than on the film; in simulated images they vary as much or more. Absorption in thick particles is not simulated, and the recipe mixes sizes, whose",
        "contrast differs; which of the two counts was not tested.",
        "",
        "**What the labels and pictures limit.** Voltage, focus and dose of `hand_labelled` are unknown, its pixel size is inferred, and its grey values have eight bits. `team_2p2nm` has four windows, three with particles.",
        "",
        "Made by `python benchmarks/image_statistics.py --external DIR`; without the folder it writes the page again from the table.",
    ]


def picture(found: pl.DataFrame) -> None:
    """Draw the rings: bands of simulated images, lines of real ones."""
    from passband.figures import style

    q = (EDGES[1:] + EDGES[:-1]) / 2
    with style.figure(7.5, 5.6) as made:
        axes = made.subplots(2, 2, sharex=True, sharey=True)
        for column, (part, what) in enumerate((("film", "film"), ("particle", "particles"))):
            for ax, real in zip(axes[:, column], REAL, strict=True):
                rings = [f"{part}_{i}" for i in range(len(q))]
                for simulated, colour in zip(SIMULATED, (style.BLUE, style.ORANGE), strict=True):
                    rows = found.filter(
                        (pl.col("real") == real) & (pl.col("simulated") == simulated) & pl.col("statistic").is_in(rings)
                    )
                    low, high = (10 ** rows[k].to_numpy() for k in ("low", "high"))
                    ax.fill_between(q, low, high, color=colour, alpha=0.25, lw=0, label=f"simulated, {simulated}")
                for k, line in (("low", ":"), ("middle", "-"), ("high", ":")):
                    label = "real" if k == "middle" else None
                    ax.plot(q, 10 ** rows[f"real_{k}"].to_numpy(), line, color="black", label=label)
                ax.set_title(f"{real}, {what}", loc="left")
                style.log_scale(ax)
        for ax in axes[1]:
            ax.set_xlabel("spatial frequency [1/Å]")
        for ax in axes[:, 0]:
            ax.set_ylabel("power / white noise")
        axes[0, 0].legend(fontsize=8, loc="lower left")
        style.save(made, RESULTS / "figures", "image_statistics", ("png",))


def main() -> None:
    """Measure if real images are given, and write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--external", type=Path, help="folder of the real images; page and figure are made again without"
    )
    external = parser.parse_args().external
    if external is not None:
        missing = [str(external / name) for name in REAL if not any((external / name).glob("*_mask.png"))]
        if missing:
            parser.error(f"no NAME_mask.png in {', '.join(missing)}; give the folder that holds {', '.join(REAL)}")
        torch.set_num_threads(1)
        write_table(TABLE, measure(external))
    table = pl.read_parquet(TABLE)
    found = summary(table)
    write_text(RESULTS / "image_statistics.md", page(table, found))
    picture(found)
    print("\n".join(verdict(found)))


if __name__ == "__main__":
    main()
