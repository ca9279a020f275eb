"""Evaluate `check --image` on images of specimens outside the model's calibration, without information about the specimen.

python benchmarks/other_specimens.py     # writes docs/results/tables/other_specimens.parquet, which verdicts.py shows
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from passband.conditions import Condition, Detector
from passband.files.tables import write_table
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import segment
from passband.models.store import Model, load_model
from passband.simulation.imaging import camera_on_grid, expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.simulation.recording import record
from passband.specimens import Specimen, SpecimenRecipe, draw_specimen, particle_mask
from passband.specimens.recipe_files import load_recipe
from passband.verdicts.verdict_model import VerdictModel

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "results" / "tables" / "other_specimens.parquet"
WAVES = ExitWaveConfig(
    phonon_configurations=1, sampling_angstrom=0.16, slice_thickness_angstrom=4.0, band_per_angstrom=1.0
)
PIXEL, FIELD = 0.8, 153.6
SEED = 4711
IDEAL = Detector()
#: Well inside what au-300kv is trained on: defocus [Å] and dose [e/Å²].
CONDITIONS = ((-150.0, 400.0), (60.0, 800.0), (200.0, 300.0))


def studied() -> SpecimenRecipe:
    """Return the recipe that the model was trained on."""
    recipe = load_recipe(ROOT / "studies" / "recipes" / "au_in_crowds.yaml")
    assert isinstance(recipe, SpecimenRecipe)
    return recipe


def families() -> dict[str, SpecimenRecipe]:
    """Return the recipe that the model was trained on, and others that change one thing."""
    # Another seed: specimens that the network was not trained on.
    base: dict[str, Any] = studied().model_dump(mode="json") | {"seed": SEED}
    # Fields lie side by side.
    del base["boundary"]

    def changed(
        crystal: str = "Au", thickness: list[float] | None = None, diameter: list[float] | None = None
    ) -> SpecimenRecipe:
        content = json.loads(json.dumps(base))
        first = content["particles"][0]
        first["count"] = [2, 6] if diameter is None else [1, 1]
        content["particles"] = [first]
        if crystal != "Au":
            first |= {"crystal": crystal, "shape": {"kind": "random", "facets": 14}, "twins": [0, 0]}
        if diameter is not None:
            first["diameter_angstrom"] = diameter
        if thickness is not None:
            content["substrate"]["thickness_angstrom"] = thickness
        return SpecimenRecipe.model_validate(content)

    return {
        "gold, as studied": changed(),
        "silver": changed("Ag"),
        "palladium": changed("Pd"),
        "CdSe": changed("CdSe-wurtzite"),
        "CeO2": changed("CeO2"),
        "gold on 200 Å of carbon": changed(thickness=[190.0, 210.0]),
        "gold of 80 Å": changed(diameter=[75.0, 85.0]),
    }


def fields(recipe: SpecimenRecipe, side: int) -> tuple[torch.Tensor, list[Specimen]]:
    """Return exit waves and specimens of side × side fields of a recipe."""
    numbers = list(range(side**2))
    specimens = [draw_specimen(recipe, i) for i in numbers]
    waves = specimen_exit_waves(recipe, specimens, numbers, WAVES)
    return torch.stack([torch.as_tensor(w.coefficients) for w in waves]), specimens


def mosaic(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return square numbers of images side by side."""
    side = round(len(images) ** 0.5)
    return np.block([list(images[i * side : (i + 1) * side]) for i in range(side)])


def recorded(waves: torch.Tensor, condition: Condition, name: str) -> Micrograph:
    """Return a micrograph of fields side by side under a condition."""
    grid = image_grid(FIELD, WAVES.band_per_angstrom, condition.pixel_size_angstrom, 1)
    expected = expected_intensity(waves, transfer_on_grid(condition, grid), grid, camera_on_grid(condition, grid))
    counts = record(expected, condition, generator=torch.Generator().manual_seed(0)).numpy()
    return Micrograph(
        mosaic(list(counts)).T.astype(np.float32), condition.pixel_size_angstrom, condition.energy_ev, name=name
    )


def true_dice(model: Model, micrograph: Micrograph, specimens: Sequence[Specimen]) -> float:
    """Return the Dice of a model on a micrograph of fields side by side."""
    mask = segment(model, micrograph).mask
    pixels = len(mask) // round(len(specimens) ** 0.5)
    truth = mosaic([particle_mask(s, pixels) for s in specimens]).T
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def condition_at(defocus: float, dose: float, pixel: float = PIXEL, detector: Detector = IDEAL) -> Condition:
    """Return a condition well inside what au-300kv is trained on but for these: defocus [Å], dose [e/Å²], pixel [Å], camera."""
    return Condition(
        energy_ev=300e3,
        aberrations={"C10": -defocus, "C12": 15.0, "C30": -5e4},
        focal_spread_angstrom=25.0,
        vibration_angstrom=0.2,
        pixel_size_angstrom=pixel,
        dose_per_angstrom2=dose,
        detector=detector,
    )


def main() -> None:
    """Image four fields of each family side by side, judge, and score against the truth."""
    torch.set_num_threads(1)
    model, rows = load_model("au-300kv"), []
    verdicts = VerdictModel(model)
    for name, recipe in families().items():
        waves, specimens = fields(recipe, 2)
        for defocus, dose in CONDITIONS:
            condition = condition_at(defocus, dose)
            micrograph = recorded(waves, condition, name)
            verdict = verdicts.check_image(micrograph)
            dice = vars(verdict.dice) if verdict.dice else dict.fromkeys(("predicted", "low", "high"))
            rows.append(
                {
                    "specimen": name,
                    "defocus_angstrom": defocus,
                    "dose_per_angstrom2": dose,
                    "answer": verdict.answer,
                    **{f"dice_{k}": v for k, v in dice.items()},
                    "dice": true_dice(model, micrograph, specimens),
                }
            )
            print(rows[-1], flush=True)
    write_table(TABLE, pl.DataFrame(rows, infer_schema_length=None))


if __name__ == "__main__":
    main()
