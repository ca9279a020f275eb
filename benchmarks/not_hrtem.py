"""Ask for verdicts on images that are no HRTEM images of particles, or whose scale is wrong, and count false alarms on HRTEM images.

python benchmarks/not_hrtem.py     # writes the tables of docs/limits.md; some ten minutes on 2 cores
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from other_specimens import FIELD, ROOT, SEED, WAVES, fields, mosaic, studied
from PIL import Image
from real_micrographs import fill_page
from scipy import ndimage

from passband.base.errors import BadInputError
from passband.base.frequencies import disc_indices
from passband.conditions import Condition, Detector
from passband.conditions.condition_files import load_distribution
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.models.segment import segment
from passband.models.store import Model, load_model
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.imaging import camera_on_grid, expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import specimen_exit_waves
from passband.simulation.recording import record
from passband.specimens import Specimen, draw_specimen, particle_mask
from passband.specimens.crystals import library_crystal
from passband.verdicts.image_kind import kind_objections
from passband.verdicts.verdict_model import VerdictModel

PAGE = ROOT / "docs" / "limits.md"
STEM = "HAADF-STEM, and the file says so"
PIXEL = 0.4
#: HAADF intensity goes with this power of the atomic number (Krivanek et al., Nature 464 (2010) 571).
Z_POWER = 1.64


def condition(pixel: float = PIXEL, **changes: float) -> Condition:
    """Return a condition well inside what au-300kv is trained on."""
    usual = Condition(
        energy_ev=300e3,
        aberrations={"C10": -120.0, "C12": 15.0, "C30": -5e4},
        focal_spread_angstrom=25.0,
        vibration_angstrom=0.2,
        pixel_size_angstrom=pixel,
        dose_per_angstrom2=800.0,
        detector=Detector(mtf=0.2, correlated_noise=0.95),
    )
    return usual.model_copy(update=changes)


def image(waves: torch.Tensor, how: Condition, seed: int = 0) -> np.ndarray:
    """Return an image of fields side by side."""
    grid = image_grid(FIELD, WAVES.band_per_angstrom, how.pixel_size_angstrom, 1)
    expected = expected_intensity(waves, transfer_on_grid(how, grid), grid, camera_on_grid(how, grid))
    return mosaic(list(record(expected, how, generator=torch.Generator().manual_seed(seed)).numpy())).T


def haadf(specimens: list[Specimen], pixel: float = PIXEL, probe: float = 0.5, dose: float = 2000.0) -> np.ndarray:
    """Return a HAADF-STEM image: Z-contrast of the atoms, incoherently blurred by a Gaussian probe [Å] (Pennycook and Jesson, Ultramicroscopy 37 (1991) 14)."""
    n, rng, parts = round(FIELD / pixel), np.random.default_rng(0), []
    for s in specimens:
        place = (s.atoms.positions[:, :2] / pixel).astype(int) % n
        strength = s.atoms.numbers.astype(float) ** Z_POWER
        sums = np.bincount(place[:, 0] * n + place[:, 1], strength, n * n).reshape(n, n)
        parts.append(ndimage.gaussian_filter(sums, probe / pixel, mode="wrap"))
    signal = mosaic(parts)
    # Of the beam, 2 % reach the detector on average.
    return rng.poisson(0.02 * dose * pixel**2 * signal / signal.mean()).astype(float)


def single_crystal(thickness: float = 20.0) -> Specimen:
    """Return gold along [110] that fills the field."""
    gold = library_crystal("Au").atoms() * (44, 44, 44)
    x, z = np.array([1, -1, 0]) / 2**0.5, np.array([1, 1, 0]) / 2**0.5
    axes = np.array([x, np.cross(z, x), z])
    turn = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])
    at = (gold.positions - gold.positions.mean(0)) @ (turn @ axes).T + np.array([FIELD / 2, FIELD / 2, thickness / 2])
    inside = ((at >= 0) & (at < [FIELD, FIELD, thickness])).all(1)
    atoms = gold[inside]
    atoms.positions = at[inside]
    atoms.cell, atoms.pbc = [FIELD, FIELD, thickness + 2], True
    one = draw_specimen(studied(), 0)
    return Specimen(atoms, np.ones(len(atoms), int), np.zeros(len(atoms), int), one.particles[:1])


def diffraction(waves: torch.Tensor, side: int = 512, spread: float = 1.5) -> np.ndarray:
    """Return a diffraction pattern of the first field: |ψ̂|² with a beam of some convergence, recorded with shot noise."""
    k = disc_indices(WAVES.band_per_angstrom * FIELD).numpy()
    power = (waves[0].abs() ** 2).mean(0).numpy()
    place = np.clip(k * 1.5 + side // 2, 0, side - 1).round().astype(int)
    pattern = np.bincount(place[:, 0] * side + place[:, 1], power, side * side).reshape(side, side)
    pattern = ndimage.gaussian_filter(pattern, spread)
    return np.random.default_rng(0).poisson(3e7 * pattern).astype(float)


def log_spectrum(picture: np.ndarray) -> np.ndarray:
    """Return the logarithm of an image's power spectrum, as programs show it."""
    return np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(picture - picture.mean()))) ** 2)


def eight_bit(picture: np.ndarray, tails: float = 0.35) -> np.ndarray:
    """Return an image in shades of grey, with a share [%] cut at either end, as ImageJ saves it."""
    low, high = np.percentile(picture, [tails, 100 - tails])
    return (np.clip((picture - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def kinds() -> list[tuple[str, np.ndarray, float, np.ndarray | None]]:
    """Return what each image is, the image, the pixel size that its user gives [Å], and the truth where it is an HRTEM image of particles."""
    base = studied().model_copy(update={"seed": SEED})
    waves, specimens = fields(base, 2)
    many, many_specimens = fields(base.model_copy(update={"seed": SEED + 1}), 4)
    empty = base.model_copy(update={"particles": [p.model_copy(update={"count": (0, 0)}) for p in base.particles]})
    film, _ = fields(empty, 2)
    crystal, fine = single_crystal(), WAVES.model_copy(update={"sampling_angstrom": 0.1})
    lattice = torch.as_tensor(specimen_exit_waves(base, [crystal], [0], fine)[0].coefficients)[None]
    usual, truth = image(waves, condition()), mosaic_mask(specimens, PIXEL)
    grey = eight_bit(usual)
    bar = grey.copy()
    bar[-60:-40, 40:290] = 255
    coarse, tiny = image(many, condition(1.6)), haadf(specimens * 4, 1.6)
    spots = diffraction(waves)
    return [
        ("HRTEM image", usual, PIXEL, truth),
        ("the same, 8 bit", grey, PIXEL, truth),
        ("with a scale bar burnt in", bar, PIXEL, truth),
        ("3 % of the pixels saturated at either end", eight_bit(usual, 3), PIXEL, truth),
        ("30 % of the pixels saturated at either end", eight_bit(usual, 30), PIXEL, truth),
        ("drift of 8 Å", image(waves, condition(drift_angstrom=8.0)), PIXEL, truth),
        ("negative", usual.max() - usual, PIXEL, truth),
        ("pixel size given 2 × too large", usual, PIXEL * 2, truth),
        ("pixel size given 1.3 × too large", usual, PIXEL * 1.3, truth),
        ("pixel size given 1.3 × too small", usual, PIXEL / 1.3, truth),
        ("pixel size given 2 × too small", usual, PIXEL / 2, truth),
        ("low magnification: pixels of 1.6 Å", coarse, 1.6, None),
        ("pixels of 1.6 Å, given as 0.4 Å", coarse, 0.4, mosaic_mask(many_specimens, 1.6)),
        ("HAADF-STEM", haadf(specimens), PIXEL, None),
        (STEM, haadf(specimens), PIXEL, None),
        ("HAADF-STEM, pixels of 1.6 Å given as 0.8 Å", tiny, 0.8, None),
        ("one crystal over all", image(lattice, condition()), PIXEL, None),
        ("film without particles", image(film, condition()), PIXEL, None),
        ("vacuum", np.random.default_rng(0).poisson(100.0, (768, 768)).astype(float), PIXEL, None),
        ("power spectrum (logarithm)", log_spectrum(usual), PIXEL, None),
        ("power spectrum, 8 bit", eight_bit(log_spectrum(usual)), PIXEL, None),
        ("diffraction pattern of particles", spots, PIXEL, None),
        ("the same, 8 bit", eight_bit(spots), PIXEL, None),
        ("diffraction pattern of a crystal", diffraction(lattice), PIXEL, None),
        ("mask", np.uint8(255) * truth, PIXEL, None),
        ("colour overlay", np.stack([grey, grey, np.where(truth, 255, grey)], -1), PIXEL, None),
    ]


def mosaic_mask(specimens: list[Specimen], pixel: float) -> np.ndarray:
    """Return where the particles are."""
    return mosaic([particle_mask(s, round(FIELD / pixel)) for s in specimens]).T


def told(model: Model, what: str, picture: np.ndarray, pixel: float, truth: np.ndarray | None) -> str:
    """Return a row of the table: what an image is, the answer, Dice predicted and measured, the reason and the notes of reading."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("image.png" if picture.dtype == np.uint8 else "image.tif")
        if picture.dtype == np.uint8:
            Image.fromarray(picture).save(path)
        else:
            tifffile.imwrite(path, picture.astype(np.float32))
        try:
            [micrograph] = read_micrographs(path, pixel_size_angstrom=pixel, energy_ev=300e3, sandbox=False)
            micrograph = replace(micrograph, scanned=what == STEM)
            verdict = VerdictModel(model).check_image(micrograph)
        except BadInputError as error:
            return f"| {what} | refused | – | – | {str(error).split(': ', 1)[1]} |"
    notes = [f"*note: {note}*" for note in micrograph.notes if note.startswith("areas")]
    reason = "; ".join([*map(str, verdict.cannot_say), *notes])
    measured = "–"
    if truth is not None:
        mask = segment(model, micrograph).mask
        measured = f"{2 * (mask & truth).sum() / (mask.sum() + truth.sum()):.2f}"
    dice = "–" if verdict.dice is None else f"{verdict.dice.predicted:.2f}"
    return f"| {what} | {verdict.answer} | {dice} | {measured} | {reason} |"


def false_alarms(model: Model, scenes: int = 48, count: int = 300) -> str:
    """Return how many HRTEM images, under conditions like those of the training, lose their verdict to each finding."""
    draw = load_distribution(ROOT / "studies" / "conditions" / "micrographs_300kv.yaml")
    conditions = draw.model_copy(update={"count": count, "seed": SEED}).conditions()
    recipe = studied().model_copy(update={"seed": SEED})
    stored = [scatter(recipe, [i], WAVES) for i in range(scenes)]
    found = dict.fromkeys(("pattern", "one_lattice", "bright", "lattice"), 0)
    for i, how in enumerate(conditions):
        waves, masks = stored[i % scenes]
        counts = Imager(how, FIELD, WAVES).images(waves, masks, seed=i).arrays()[0][0]
        for statement in kind_objections(Micrograph(counts, how.pixel_size_angstrom, how.energy_ev), model.card):
            found[statement.kind] += 1
    named = ", ".join(f"{kind.replace('_', ' ')} {n}" for kind, n in found.items())
    return f"False alarms on {count} simulated HRTEM images of {FIELD:g} Å under the training conditions of {model.card.name}: {named}."


def main() -> None:
    """Fill in the table and the count of false alarms on the page."""
    torch.set_num_threads(1)
    model = load_model("au-300kv")
    lines = ["| image | answer | Dice predicted | Dice measured | reason |", "|---|---|---|---|---|"]
    for row in kinds():
        lines.append(told(model, *row))
        print(lines[-1], flush=True)
    fill_page(PAGE, {"other images": "\n".join([*lines, "", false_alarms(model)])})


if __name__ == "__main__":
    main()
