"""What `check --image` says of images of specimens that the model was not studied on, when nothing is said of the specimen.

python benchmarks/other_specimens.py     # writes docs/results/tables/other_specimens.parquet; verdicts.py shows it
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from passband.conditions import ImagingCondition
from passband.deploy.check_image import check_image
from passband.deploy.micrograph import Micrograph
from passband.deploy.models import load_model
from passband.deploy.segment import segment
from passband.imaging import expected_intensity, image_grid, record, transfer_on_grid
from passband.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimen import SpecimenRecipe, draw_specimen, particle_mask
from passband.specimen_files import load_recipe
from passband.store.tables import write_table

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "results" / "tables" / "other_specimens.parquet"
WAVES = ExitWaveConfig(phonon_configurations=1, band_per_angstrom=1.2)
PIXEL, FIELD = 0.8, 102.4
#: Well inside what au-300kv is trained on: defocus [Å] and dose [e/Å²].
CONDITIONS = ((-150.0, 400.0), (60.0, 800.0), (200.0, 300.0))


def families() -> dict[str, SpecimenRecipe]:
    """Return the recipe that the model was trained on, and others that change one thing."""
    base: dict[str, Any] = load_recipe(ROOT / "studies" / "recipes" / "au_on_carbon_wide.yaml").model_dump(mode="json")

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


def main() -> None:
    """Image four fields of each family side by side, judge, and score against the truth."""
    torch.set_num_threads(1)
    model, grid, rows = load_model("au-300kv"), image_grid(FIELD, 1.2, PIXEL, 1), []
    for name, recipe in families().items():
        specimens = [draw_specimen(recipe, i) for i in range(4)]
        waves = torch.stack(
            [torch.as_tensor(w.coefficients) for w in specimen_exit_waves(recipe, specimens, list(range(4)), WAVES)]
        )
        masks = [particle_mask(s, grid.pixels) for s in specimens]
        truth = np.block([masks[:2], masks[2:]])
        for defocus, dose in CONDITIONS:
            condition = ImagingCondition(
                energy_ev=300e3,
                aberrations={"C10": -defocus, "C12": 15.0, "C30": -5e4},
                focal_spread_angstrom=25.0,
                vibration_angstrom=0.2,
                pixel_size_angstrom=PIXEL,
                dose_per_angstrom2=dose,
            )
            expected = expected_intensity(waves, transfer_on_grid(condition, grid), grid, None)
            n = record(expected, condition, generator=torch.Generator().manual_seed(0)).numpy()
            micrograph = Micrograph(np.block([[n[0], n[1]], [n[2], n[3]]]).astype(np.float32), PIXEL, 300e3, name=name)
            verdict, mask = check_image(model, micrograph), segment(model, micrograph).mask
            found: dict[str, float | None] = {"predicted": None, "low": None, "high": None, **(verdict.dice or {})}
            rows.append(
                {
                    "specimen": name,
                    "defocus_angstrom": defocus,
                    "dose_per_angstrom2": dose,
                    "answer": verdict.answer,
                    **{f"dice_{k}": v for k, v in found.items()},
                    "dice": float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())),
                }
            )
            print(rows[-1], flush=True)
    write_table(TABLE, pl.DataFrame(rows, infer_schema_length=None))


if __name__ == "__main__":
    main()
