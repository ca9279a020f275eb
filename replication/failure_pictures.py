"""Pictures for the page on failure: images, what networks call a particle in them, and how coarse the film's speckle is."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passband.figures import style
from passband.files.atomic import write_file
from passband.learning import predict
from passband.simulation.hrtem import Imager
from passband.simulation.imaging import normalize, radial_power
from passband.simulation.modality import camera_masks
from passband.studies.folder import StudyFolder
from passband.studies.jobs import test_images
from passband.studies.paths import StudyPaths
from passband.studies.study import Study, load_study
from passband.studies.wave_jobs import device, open_wave_set, read_waves
from replication.paths import ResultsPaths

#: The file of small arrays beside a study's tables.
PICTURES = "pictures.npz"
# Rings of a spectrum, up to Nyquist, and the highest frequency that is drawn [1/Å].
_RINGS, _FINEST = 32, 1.0
# Images are kept as bytes, from −3 to +3 standard deviations in as many steps: small files.
_REACH, _STEPS = 3.0, 8
_ROWS = ("c36", "c38")
# Title of each column, key of its image, and key of the mask that is drawn.
_COLUMNS = (
    ("trained on", "home", "home_truth"),
    ("tested on: truth", "image", "truth"),
    ("trained as it was", "image", "as_is"),
    ("on films of any thickness", "image", "film"),
    ("with random texture", "image", "texture"),
)


def write_pictures(sets: StudyPaths, texture: StudyPaths, target: Path) -> None:
    """Write the first test specimen under a bad test condition, and masks of it, for each network that fails.

    It is the condition of the upper quartile of the losses of the network as it was trained. The studies' jobs have to be there.

    Args:
        sets: the folder of the study of training sets.
        texture: that of the networks trained with random texture.
        target: the file to write.
    """
    arrays: dict[str, np.ndarray] = {}
    folders = [StudyFolder(load_study(paths.study), paths) for paths in (sets, texture)]
    jobs = {job.domain.id: job for folder in folders for job in folder.training_jobs if job.seed == 0}
    study, scores = folders[0].study, pl.read_parquet(sets.table("scores"))
    for name in _ROWS:
        as_is = scores.filter(pl.col("train_condition") == f"{name}.as_is-1-0", pl.col("seed") == 0).sort("loss")
        bad = as_is["test_condition"][3 * len(as_is) // 4]
        home = jobs[f"{name}.as_is-1-0"].domain.condition.id
        for seen, mask, place in (("home", "home_truth", home), ("image", "truth", bad)):
            [domain] = [test for test in study.tests if test.id == place]
            counts, masks = test_images(study, sets, domain)
            image = normalize(counts[:1])
            step = ((image[0].numpy() / _REACH).clip(-1, 1) + 1) / 2 * (_STEPS - 1)
            kept = (step.round() * 255 / (_STEPS - 1)).astype(np.uint8)
            arrays |= {f"{name} {seen}": kept, f"{name} {mask}": masks[0, 0].numpy() > 0}
        for variant, size in (("as_is", 1), ("film", 1), ("texture", 1)):
            network = jobs[f"{name}.{variant}-{size}-0"].network()
            arrays[f"{name} {variant}"] = predict(network, image[:, None].to(device()))[0, 0].cpu().numpy() > 0
    arrays |= {"condition": np.array([test.id for test in study.tests]), "speckle": _speckle(study, sets)}
    write_file(target, lambda path: np.savez_compressed(path, **arrays))  # type: ignore[arg-type]


def _speckle(study: Study, paths: StudyPaths) -> np.ndarray:
    """Return the power of the film's speckle over that of the shot noise, shape [test conditions, rings]: outside the particles."""
    recipe = study.recipes[""]
    stored, masks = read_waves(open_wave_set(recipe, study.exit_waves, paths.root), *study.split.test_range)
    spectra = []
    for test in study.tests:
        made = Imager(test.condition, recipe.field_angstrom, study.exit_waves)
        intensity = made.intensity(stored)
        film = ~camera_masks(masks, made.pixels).to(intensity.device)
        area = film.sum((1, 2), keepdim=True)
        mean = (intensity * film).sum((1, 2), keepdim=True) / area
        # What is left out has no power.
        power = radial_power((intensity - mean) * film, _RINGS) * made.pixels**2 / area[:, :, 0]
        dose = test.condition.dose_per_angstrom2
        assert dose is not None, "without a dose there is no shot noise to compare with"
        noise = 1 / (dose * test.condition.pixel_size_angstrom**2)
        spectra.append((power.mean(0) / noise).cpu().numpy())
    return np.array(spectra, dtype=np.float32)


def keep(names: Collection[str], paths: ResultsPaths) -> None:
    """Write the pictures beside the tables of the study of training sets, if this and the other were just run."""
    sets, texture = "failure", "failure_texture"
    if {sets, texture} <= set(names):
        made, textured = (StudyPaths(paths.run(name)) for name in (sets, texture))
        write_pictures(made, textured, paths.study(sets).folder / PICTURES)


def film_speckle(path: Path, conditions: pl.DataFrame, low: float, high: float) -> dict[str, float]:
    """Return the power of the film's speckle over that of the shot noise between two frequencies [1/Å], by a condition's number."""
    ids, q, speckle = _spectra(path, conditions)
    values = speckle[:, (q >= low) & (q <= high)].mean(1)
    return dict(zip(ids, values.tolist(), strict=True))


def _spectra(path: Path, conditions: pl.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the number of each condition as its label has it, the frequencies of the rings [1/Å], and the spectra."""
    with np.load(path, allow_pickle=False) as arrays:
        ids, speckle = arrays["condition"].tolist(), arrays["speckle"]
    labels = dict(conditions.select("condition", "label").iter_rows())
    q = (np.arange(speckle.shape[1]) + 0.5) / speckle.shape[1] / (2 * conditions["pixel_size_angstrom"][0])
    return [labels[condition].partition(":")[0].lstrip("0") for condition in ids], q, speckle


def draw_film(path: Path, conditions: pl.DataFrame, ax: Axes) -> None:
    """Draw the spectrum of the film's speckle under the conditions that networks fail from, and a band for all conditions.

    `conditions` has the columns condition, label and pixel_size_angstrom.
    """
    ids, q, speckle = _spectra(path, conditions)
    q, speckle = q[q < _FINEST], speckle[:, q < _FINEST]
    low, middle, high = np.percentile(speckle, [10, 50, 90], axis=0)
    ax.fill_between(q, low, high, color=style.GREY, alpha=0.2, linewidth=0, label="80 % of the conditions")
    ax.plot(q, middle, color=style.GREY, label="their median")
    for name, colour in zip(_ROWS, style.GROUPS[:2], strict=True):
        ax.plot(q, speckle[ids.index(name[1:])], color=colour, label=f"condition {name[1:]}")
    ax.set(xlabel="spatial frequency [1/Å]", ylabel="film's speckle / shot noise")
    style.log_scale(ax)
    ax.legend(fontsize=7)


def draw_pictures(path: Path, made: Figure) -> None:
    """Draw a row for each network that fails: images, with the truth or a mask as an outline."""
    with np.load(path, allow_pickle=False) as arrays:
        axes = made.subplots(len(_ROWS), len(_COLUMNS), squeeze=False)
        for ax, (title, _, _) in zip(axes[0], _COLUMNS, strict=True):
            ax.set_title(title, fontsize=9)
        for row, name in zip(axes, _ROWS, strict=True):
            for ax, (_, image, mask) in zip(row, _COLUMNS, strict=True):
                ax.imshow(arrays[f"{name} {image}"], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                colour = style.TRUTH if "truth" in mask else style.PREDICTION
                if arrays[f"{name} {mask}"].any():
                    ax.contour(arrays[f"{name} {mask}"], levels=[0.5], colors=[colour], linewidths=1.2)
                ax.set(xticks=[], yticks=[])
            row[0].set_ylabel(f"condition {name[1:]}", fontsize=9)
