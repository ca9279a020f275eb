"""Measure time and memory of analysing the scores of 12,000 networks under 200 conditions (synthetic scores).

python benchmarks/gather.py
"""

import resource
import time

import numpy as np
import polars as pl
from rows import Row, write

from passband import analysis
from passband.conditions import Condition
from passband.metrics.shift_table import shift_table
from passband.studies.result_tables import condition_row

CONDITIONS, SEEDS = 200, 60


def main() -> None:
    rng = np.random.default_rng(0)
    given = [
        Condition(energy_ev=300e3, aberrations={"C10": float(c), "C30": -5e4}, focal_spread_angstrom=20.0,
                         dose_per_angstrom2=500.0)
        for c in np.linspace(-300, 300, CONDITIONS)
    ]  # fmt: skip
    began = time.perf_counter()
    shift = shift_table(given, 1.25, rng.uniform(1, 2, (CONDITIONS, 4, 64)))
    metrics = time.perf_counter() - began
    conditions = pl.DataFrame([condition_row(c, f"{-c.aberrations['C10']:.0f} Å") for c in given])
    ids = pl.Series([c.id for c in given])
    count = CONDITIONS**2 * SEEDS
    train, test = (
        np.repeat(np.arange(CONDITIONS), CONDITIONS * SEEDS),
        np.tile(np.arange(CONDITIONS), CONDITIONS * SEEDS),
    )
    scores = pl.DataFrame(
        {
            "train_condition": ids.gather(train),
            "test_condition": ids.gather(test),
            "seed": np.tile(np.repeat(np.arange(SEEDS), CONDITIONS), CONDITIONS),
            "loss": 0.1 + np.abs(train - test) / CONDITIONS + 0.02 * rng.standard_normal(count),
            "dice": 0.9 - np.abs(train - test) / CONDITIONS,
        }
    )
    training = pl.DataFrame(
        {"condition": ids, "seed": 0, "epoch": 1, "train_loss": 0.1, "validation_loss": 0.1, "epsilon": 1.0}
    )
    began = time.perf_counter()
    pairs = analysis.join_pairs(scores, shift, conditions)
    fits = analysis.fit_all(pairs)
    analysis.findings(pairs, training, fits)
    fitted = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = f"of which {metrics:.0f} s shift metrics; {most:.1f} GiB at most; nothing to compare with"
    write(Row("analysis of 12,000 networks × 200 conditions", metrics + fitted, None, "s", None, None, note=note))


if __name__ == "__main__":
    main()
