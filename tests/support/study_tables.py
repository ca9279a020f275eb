"""The tables of a study of two conditions."""

import polars as pl

from passband.studies.paths import StudyPaths


def study(folder):
    conditions = pl.DataFrame(
        {"condition": ["a", "b"], "label": ["defocus -50 Å", "defocus 50 Å"], "defocus_angstrom": [-50.0, 50.0]}
    )
    pairs = [(a, b) for a in "ab" for b in "ab"]
    train, test = zip(*pairs, strict=True)
    scores = pl.DataFrame({"train_condition": train * 2, "test_condition": test * 2, "seed": [0] * 4 + [1] * 4, "loss": [0.1, 0.4, 0.5, 0.2, 0.3, 0.4, 0.5, 0.2], "dice": [0.9] * 8})  # fmt: skip
    shift = pl.DataFrame({"train_condition": train, "test_condition": test, "sigma": [1.0, 0.5, 0.6, 1.0], "epsilon_train": [0.4] * 4, "epsilon_test": [0.4] * 4, "delta_epsilon": [0.0] * 4})  # fmt: skip
    for name, table in (("conditions", conditions), ("scores", scores), ("shift", shift)):
        table.write_parquet(StudyPaths(folder).table(name))
    return folder
