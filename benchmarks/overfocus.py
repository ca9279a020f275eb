"""Does `check` notice overfocus that the model was not calibrated on? Simulated images as in `examples/simulated_session.py`.

python benchmarks/overfocus.py     # writes the table of docs/limits.md; some 3 minutes on one core
"""

import runpy
from pathlib import Path

import numpy as np
import torch
from real_micrographs import fill_page

import passband as pb
from passband.micrographs.micrograph import Micrograph
from passband.models.store import load_model
from passband.verdicts.verdict_model import VerdictModel

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "limits.md"
MODEL, RECIPE, FIELDS = "au-300kv", "gold_on_carbon_wide", 8
SESSION = runpy.run_path(str(ROOT / "examples" / "simulated_session.py"))
#: Positive = underfocus [Å].
DEFOCI = (1000.0, 500.0, -500.0, -750.0, -1000.0, -1250.0)


def row(model: VerdictModel, defocus: float) -> str:
    """Return a row of the table: answers on fields, and their Dice, predicted where there is one and measured."""
    made = pb.simulate(RECIPE, SESSION["condition"](defocus), n=FIELDS, seed=4716)
    answers, predicted, measured = [], [], []
    for image, truth in zip(made.images, made.masks, strict=True):
        micrograph = Micrograph(np.asarray(image, np.float32), SESSION["PIXEL_ANGSTROM"], 300e3, name="image")
        verdict, mask = model.check_image(micrograph), pb.segment(MODEL, micrograph).mask
        dice = float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
        answers.append(verdict.answer)
        if verdict.answer == "yes" and verdict.dice:
            predicted.append(verdict.dice.predicted)
            measured.append(dice)
        print(defocus, verdict.answer, verdict.dice and verdict.dice.predicted, dice, flush=True)
    counts = " | ".join(str(answers.count(a)) for a in ("yes", "no", "cannot say"))
    of_yes = f"{np.mean(predicted):.2f} | {np.mean(measured):.2f} ({min(measured):.2f} to {max(measured):.2f})" if measured else "– | –"  # fmt: skip
    return f"| {defocus:+.0f} Å | {counts} | {of_yes} |".replace("-", "−")


def main() -> None:
    """Simulate and write the table."""
    torch.set_num_threads(1)
    model = VerdictModel(load_model(MODEL))
    lines = ["| defocus | yes | no | cannot say | Dice predicted, of *yes* | measured |", "|---|---|---|---|---|---|"]
    fill_page(PAGE, {"overfocus": "\n".join([*lines, *(row(model, defocus) for defocus in DEFOCI)])})


if __name__ == "__main__":
    main()
