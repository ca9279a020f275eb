"""Evaluate verdicts of a model that was calibrated with an ideal camera on images of other cameras.

python benchmarks/other_cameras.py     # writes docs/results/tables/other_cameras.parquet, which verdicts.py shows
"""

from pathlib import Path

import polars as pl
import torch
from other_specimens import condition_at, families, fields, recorded, true_dice

from passband.conditions import Detector
from passband.files.tables import write_table
from passband.models.store import load_model
from passband.verdicts.verdict_model import VerdictModel

TABLE = Path(__file__).parent.parent / "docs" / "results" / "tables" / "other_cameras.parquet"
_FLAT = [[0.0, 1.0], [1.0, 1.0]]
#: White noise, noise that is as blurred as the signal (DQE 1), and a scintillator with both.
CAMERAS = {
    "ideal": Detector(),
    "MTF 0.2 at Nyquist, white noise": Detector(mtf=0.2),
    "MTF 0.2 at Nyquist, noise as blurred": Detector(mtf=0.2, dqe=_FLAT),
    "MTF 0.05 at Nyquist, noise as blurred": Detector(mtf=0.05, dqe=_FLAT),
    "scintillator: MTF 0.1, DQE 0.8 to 0.2": Detector(
        mtf=[[0.0, 1.0], [0.1, 0.75], [0.25, 0.5], [0.5, 0.3], [1.0, 0.1]],
        dqe=[[0.0, 0.8], [0.25, 0.6], [0.5, 0.45], [1.0, 0.2]],
    ),
}
#: Of the camera [Å]: the network's own, and half of that.
PIXELS = (0.8, 0.4)
CONDITIONS = ((-150.0, 400.0), (200.0, 150.0), (60.0, 800.0), (450.0, 100.0), (-250.0, 60.0), (120.0, 2000.0))


def main() -> None:
    """Image nine fields side by side with each camera, judge from the condition and from the image, score against the truth."""
    torch.set_num_threads(1)
    model, rows = load_model("au-300kv"), []
    verdicts = VerdictModel(model)
    waves, specimens = fields(families()["gold, as studied"], 3)
    for pixel in PIXELS:
        for name, detector in CAMERAS.items():
            for defocus, dose in CONDITIONS:
                condition = condition_at(defocus, dose, pixel, detector)
                micrograph = recorded(waves, condition, name)
                row: dict[str, str | float | None] = {
                    "camera": name,
                    "pixel_size_angstrom": pixel,
                    "defocus_angstrom": defocus,
                }
                row |= {"dose_per_angstrom2": dose, "dice": true_dice(model, micrograph, specimens)}
                for source, verdict in (
                    ("condition", verdicts.check(condition)),
                    ("image", verdicts.check_image(micrograph)),
                ):
                    found: dict[str, float | None] = {
                        "predicted": None,
                        "low": None,
                        "high": None,
                        **(vars(verdict.dice) if verdict.dice else {}),
                    }
                    row |= {f"answer_{source}": verdict.answer}
                    row |= {f"dice_{k}_{source}": v for k, v in found.items()}
                rows.append(row)
                print(row, flush=True)
    write_table(TABLE, pl.DataFrame(rows, infer_schema_length=None))


if __name__ == "__main__":
    main()
