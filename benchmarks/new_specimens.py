"""Score au-300kv under the held-out conditions on specimens that neither its training nor its calibration used.

python benchmarks/new_specimens.py     # 8 minutes; writes docs/results/tables/new_specimens.parquet, which verdicts.py shows
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
import torch
from other_specimens import FIELD, WAVES, studied

from passband.conditions import Condition
from passband.files.tables import write_table
from passband.learning import count_pixels, predict
from passband.learning.crop import cropped
from passband.models.network import Network
from passband.models.store import load_model
from passband.simulation.imaging import (
    camera_on_grid,
    expected_intensity,
    image_grid,
    transfer_on_grid,
)
from passband.simulation.multislice import specimen_exit_waves
from passband.simulation.recording import record
from passband.specimens import draw_specimen, particle_mask
from passband.verdicts.features import as_seen

TABLE = Path(__file__).parent.parent / "docs" / "results" / "tables" / "new_specimens.parquet"
SEED, COUNT, _AT_ONCE = 4712, 60, 20


def main() -> None:
    """Score the held-out conditions on new specimens of the same kind."""
    model = load_model("au-300kv")
    assert model.scores is not None
    recipe = studied().model_copy(update={"seed": SEED})
    specimens = [draw_specimen(recipe, i) for i in range(COUNT)]
    waves = torch.stack(
        [torch.as_tensor(w.coefficients) for w in specimen_exit_waves(recipe, specimens, list(range(COUNT)), WAVES)]
    )
    grid = image_grid(FIELD, WAVES.band_per_angstrom, model.card.pixel_size_angstrom)
    truth = torch.from_numpy(np.stack([particle_mask(s, grid.pixels) for s in specimens]))[:, None].float()
    network, rows = Network(model), []
    for row in model.scores.filter(pl.col("role") == "held_out").iter_rows(named=True):
        condition = as_seen(Condition(**json.loads(row["condition"])), model.card)
        transfer, camera = transfer_on_grid(condition, grid), camera_on_grid(condition, grid)
        random, found = torch.Generator().manual_seed(SEED), []
        for part, masks in zip(waves.split(_AT_ONCE), truth.split(_AT_ONCE), strict=True):
            counts = record(expected_intensity(part, transfer, grid, camera), condition, generator=random)
            seen, true = cropped(counts, masks[:, 0], model.card.field_pixels, random)
            found.append(count_pixels(predict(network, seen.mT[:, None]).mT, true[:, None]))
        total = {name: sum(sum(f[name]) for f in found) for name in ("loss", "tp", "fp", "fn")}
        dice = 2 * total["tp"] / max(2 * total["tp"] + total["fp"] + total["fn"], 1)
        rows.append({"condition": row["condition"], "loss": total["loss"] / COUNT, "dice": dice, "n_images": COUNT})
        print(len(rows), rows[-1]["loss"], row["loss"], flush=True)
    write_table(TABLE, pl.DataFrame(rows))


if __name__ == "__main__":
    main()
