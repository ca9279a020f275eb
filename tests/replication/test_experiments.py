"""Each experiment on made-up losses of which the law is known: does the page say what the law is?"""

import functools
import json
import re

import numpy as np
import polars as pl
import pytest

from passband.conditions import Condition
from passband.metrics.shift_table import EVERY, shift_table
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import condition_row
from replication import pages
from replication.outcome import StudyTables
from replication.paths import ResultsPaths
from replication.verdict_data import learn_zones
from replication.zero_places import file_of

FACTS = {
    "study_id": "made-up",
    "provenance": {
        "waves": {"specimens": 8},
        "core_seconds": {"waves": 10.0, "train": 3600.0},
        "platform": "Linux x86_64",
        "versions": {"passband": "0", "torch": "0"},
    },
}
EXPERIMENTS = {e.name: e for e in pages.EXPERIMENTS}
SWEEP = [-250.0, -200.0, -150.0, -100.0, -50.0, 0.0, 50.0, 100.0, 150.0, 200.0, 250.0]
NEAR = [-200.0, -100.0, -40.0, -30.0, -25.0, -20.0, -10.0, 0.0, 10.0, 20.0, 25.0, 30.0, 40.0, 100.0, 200.0]


def condition(defocus, c30=-5e4, dose=500.0, **more):
    aberrations = {"C10": -defocus, "C30": c30} | more
    return Condition(energy_ev=300e3, aberrations=aberrations, focal_spread_angstrom=20.0, dose_per_angstrom2=dose)


def several(name):
    """Conditions of which every fifth lies near zero contrast."""
    rng = np.random.default_rng(4 if name == "metrics" else 5)
    found = []
    for k in range(20):
        near = k % 5 == 0
        defocus, c30, c12 = (
            rng.uniform(-5, 5) if near else rng.uniform(-200, 200),
            rng.uniform(-5e4, 5e4),
            rng.uniform(0, 5 if near else 60),
        )
        dose = 10 ** rng.uniform(2, 3.3)
        found.append(condition(defocus, c30, dose if name == "metrics" else 500.0, C12=c12))
    return found


def conditions_of(name):
    if name.startswith("defocus"):
        return [condition(d) for d in SWEEP]
    if name == "zero_defocus":
        return [condition(d, c) for c in (-2e5, 2e5) for d in NEAR]
    if name == "structures":
        return [condition(d) for d in (-150.0, -100.0, -50.0, 50.0, 100.0, 200.0)]
    if name.startswith("overfitting"):
        return [condition(d) for d in (0.0, 100.0)]
    return several(name)


@functools.cache
def shift_of(conditions, names):
    """The table of pairs; several laws are tried on the same conditions."""
    spectra = np.random.default_rng(1).uniform(1, 2, (len(names), 4, 16))
    return shift_table(list(conditions), 1.0, spectra, names=list(names), metrics=EVERY)


def write(folder, name, law, seeds=2, epochs=10, curve=None):
    """Write the tables of a study whose loss is law(pairs, i, j, rng): pairs is the shift table's row."""
    paths = StudyPaths(folder)
    rng = np.random.default_rng(0)
    given = conditions_of(name)
    families = ["gold", "silver", "copper", "CdSe"] if name == "structures" else [""]
    named = [(f"{f}/{c.id}" if f else c.id, c, f) for f in families for c in given]
    shift = shift_of(tuple(c for _, c, _ in named), tuple(n for n, _, _ in named))
    rows = []
    for row in shift.to_dicts():
        i, j = (
            next(k for k, (n, _, _) in enumerate(named) if n == row[c]) for c in ("train_condition", "test_condition")
        )
        for seed in range(seeds):
            loss = float(law(row, named[i], named[j], rng))
            rows.append(
                {
                    "train_condition": row["train_condition"],
                    "test_condition": row["test_condition"],
                    "seed": seed,
                    "loss": loss,
                    "dice": 1 - loss / 3,
                    "tp": 900,
                    "fp": round(300 * loss),
                    "fn": 100,
                }
            )
    epsilon = dict(shift.select("train_condition", "epsilon_train").iter_rows())
    training = [
        {"condition": n, "seed": s, "epoch": e + 1, "train_loss": t, "validation_loss": v}
        for n, _, _ in named
        for s in range(seeds)
        for e in range(epochs)
        for t, v in [(curve or (lambda eps, share, rng: (0.1, 0.1)))(epsilon[n], e / epochs, rng)]
    ]
    tables = {
        "scores": pl.DataFrame(rows),
        "shift": shift,
        "training": pl.DataFrame(training),
        "conditions": pl.DataFrame(
            [condition_row(c, f"{f} defocus {c.defocus_angstrom:g} Å".strip(), n) | {"epsilon": epsilon[n]} for n, c, f in named]
        ),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for key, table in tables.items():
        table.write_parquet(paths.table(key))
    paths.analysis.write_text(json.dumps(FACTS))
    if name == "zero_defocus":
        places = [{"C30": c, "least_epsilon": 1.2e-4 * c, "least_contrast": 5e-5 * c} for c in (-2e5, 2e5)]
        contrast = {c.id: 0.02 + 0.001 * from_contrast(c) for c in given}
        file_of(paths).write_text(json.dumps({"defocus_angstrom": places, "vacuum_contrast": contrast}))
    return StudyTables(paths)


def from_contrast(at):
    """Distance from the made-up focus of least contrast [Å]."""
    return abs(at.defocus_angstrom - 5e-5 * at.aberrations["C30"])


def write_sets(folder, level):
    """Write scores of training sets whose loss is level(kind, size)."""
    rng = np.random.default_rng(0)
    hard = np.exp(0.3 * rng.standard_normal(20))
    plans = (
        [("uniform", s) for s in (1, 4, 16)] + [("even", 4)] + [("guided", s) for s in (4, 16)] + [("curriculum", 4)]
    )
    rows = [
        {
            "train_condition": f"{kind}-{size}-{d}",
            "test_condition": f"t{t}",
            "seed": 0,
            "loss": 0.1 * level(kind, size) * hard[t] * np.exp(0.02 * rng.standard_normal()),
            "dice": 0.9,
        }
        for kind, size in plans
        for d in range(4)
        for t in range(20)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame(rows)
    table.write_parquet(StudyPaths(folder).table("scores"))
    # Guided sets serve every test condition; others leave one at 0.2.
    served = pl.when(pl.col("train_condition").str.starts_with("guided")).then(0.7).otherwise(0.2 + pl.col("loss"))
    table.select("train_condition", "test_condition", sigma_best=served).write_parquet(
        StudyPaths(folder).table("shift")
    )
    StudyPaths(folder).analysis.write_text(json.dumps(FACTS))
    return StudyTables(StudyPaths(folder))


def verdicts(name, studies, tmp_path):
    outcome = EXPERIMENTS[name].evaluate(studies, tmp_path / "figures")
    for figure, _ in outcome.figures:
        assert (tmp_path / "figures" / f"{figure}.png").stat().st_size > 5000
    return {c.text: c.verdict for c in outcome.claims}


def noisy(value, rng, width=0.05):
    return value * np.exp(width * rng.standard_normal())


def by_distance(row, train, test, rng):
    return noisy(0.1 * np.exp(abs(train[1].defocus_angstrom - test[1].defocus_angstrom) / 200), rng)


def by_nothing(row, train, test, rng):
    return 0.1 * np.exp(0.4 * rng.standard_normal())


def starts(found, text):
    [verdict] = [v for claim, v in found.items() if claim.startswith(text)]
    return verdict


def test_the_defocus_sweep_sees_distance_where_there_is_one(tmp_path):
    found = verdicts("defocus_sweep", {"defocus_sweep": write(tmp_path / "a", "defocus_sweep", by_distance)}, tmp_path)
    assert starts(found, "Tested at another defocus") == "agrees"
    assert starts(found, "The loss grows") == "agrees"
    assert starts(found, "A network generalises to the opposite") == "cannot tell"
    found = verdicts("defocus_sweep", {"defocus_sweep": write(tmp_path / "b", "defocus_sweep", by_nothing)}, tmp_path)
    assert starts(found, "Tested at another defocus") == "differs"
    assert starts(found, "The loss grows") != "agrees"


def linear(row, train, test, rng):
    return noisy(1.2 - 0.9 * row["sigma"] - 0.2 * row["delta_epsilon"], rng, 0.02)


def by_dose(row, train, test, rng):
    return noisy(0.3 * np.exp(0.5 * abs(row["dose_difference"] - 0.3)), rng)


@pytest.mark.slow
def test_sigma_and_delta_epsilon_predict_what_follows_them_and_nothing_else(tmp_path):
    laws = {"metrics": by_dose, "metrics_one_dose": linear, "defocus_sweep": by_nothing}
    found = verdicts("metrics", {n: write(tmp_path / n, n, law) for n, law in laws.items()}, tmp_path)
    assert [v for c, v in found.items() if c.startswith("A linear model of σ and Δε")] == [
        "differs",
        "agrees",
        "differs",
    ]
    assert [v for c, v in found.items() if c.startswith("The loss varies predictably")][1] == "agrees"
    assert starts(found, "ours: given σ and Δε") == "differs"
    assert [v for c, v in found.items() if c.startswith("σ outperforms")][1] == "agrees"


def by_signature(row, train, test, rng):
    own = row["train_condition"] == row["test_condition"]
    if row["sigma"] < 0.5 and row["delta_epsilon"] < -0.2 and not own:
        return noisy(0.5, rng, 0.02)
    return noisy(0.1, rng, 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("law, verdict", [(by_signature, "agrees"), (by_nothing, "differs")])
def test_the_signatures_hold_where_they_are_the_law(tmp_path, law, verdict):
    names = EXPERIMENTS["signatures"].studies
    studies = {n: write(tmp_path / n, n, law) for n in names}
    found = verdicts("signatures", studies, tmp_path)
    assert {v for c, v in found.items() if c.startswith("σ < 0.5 and Δε < −0.2")} == {verdict}
    leaves = learn_zones(studies)["trees"]["plane"]["leaves"]
    assert sum(leaf["pairs"] for leaf in leaves) == 2 * 20 * 19 + 11 * 10 + 30 * 29
    if law is by_signature:
        assert starts(found, "ours: a tree learnt") == "agrees"
        assert starts(found, "ours: the collapse rule adds") == "agrees"
        worst = max(leaves, key=lambda leaf: leaf["shares"]["collapse"])
        assert worst["shares"]["collapse"] > 0.9


def test_what_to_train_on(tmp_path):
    better = {
        "uniform": {1: 3.0, 4: 1.5, 16: 1.2},
        "even": {4: 1.5},
        "guided": {4: 1.2, 16: 1.0},
        "curriculum": {4: 1.6},
    }
    found = verdicts(
        "training_sets", {"training_sets": write_sets(tmp_path / "a", lambda k, s: better[k][s])}, tmp_path
    )
    assert list(found.values()) == ["agrees", "agrees", "agrees", "agrees", "differs"]
    worse = {
        "uniform": {1: 1.0, 4: 1.0, 16: 1.5},
        "even": {4: 1.0},
        "guided": {4: 1.5, 16: 1.8},
        "curriculum": {4: 1.0},
    }
    found = verdicts("training_sets", {"training_sets": write_sets(tmp_path / "b", lambda k, s: worse[k][s])}, tmp_path)
    assert list(found.values()) == ["differs", "differs", "differs", "differs", "agrees"]


def fails_at(where):
    def law(row, train, test, rng):
        distance = {
            "least ε": 100 * row["epsilon_test"],
            "least contrast": 2 * from_contrast(test[1]),
            "zero": 2 * abs(test[1].defocus_angstrom),
        }[where]
        own = row["train_condition"] == row["test_condition"]
        return noisy((0.2 if own else 0.6) if distance < 20 else 0.1, rng) * np.exp(-min(distance, 70) / 200)

    return law


@pytest.mark.slow
@pytest.mark.parametrize(
    "where, zero, over_zero, over_epsilon",
    [
        ("least contrast", "agrees", "agrees", "agrees"),
        ("least ε", "differs", "agrees", "cannot tell"),
        ("zero", "differs", "differs", "agrees"),
    ],
)
def test_three_zeros_are_told_apart(tmp_path, where, zero, over_zero, over_epsilon):
    found = verdicts("zero_defocus", {"zero_defocus": write(tmp_path / "a", "zero_defocus", fails_at(where))}, tmp_path)
    assert starts(found, "Tested near zero defocus") == zero
    assert starts(found, "ours: the loss near zero follows the closeness to the least contrast") == over_zero
    assert starts(found, "ours: it follows the closeness to the least contrast") == over_epsilon
    assert starts(found, "ours: tested near zero, networks trained far away miss") != "cannot tell"


def by_family(row, train, test, rng):
    return noisy(0.1 if train[2] == test[2] else 0.5 + 0.2 * len(test[2]), rng)


@pytest.mark.slow
def test_families_and_conditions_are_told_apart(tmp_path):
    found = verdicts("structures", {"structures": write(tmp_path / "a", "structures", by_family)}, tmp_path)
    assert starts(found, "ours: another specimen costs more") == "agrees"
    assert starts(found, "Metrics of the transfer") == "agrees"
    found = verdicts("structures", {"structures": write(tmp_path / "b", "structures", linear)}, tmp_path)
    assert starts(found, "ours: another specimen costs more") == "differs"
    assert starts(found, "Metrics of the transfer") == "differs"


def faster(epsilon, share, rng):
    return (0.3 - 0.2 * epsilon) * (1 + 3 * (1 - share) * (1 - epsilon)), 0.2 + 0.3 * max(share - 0.5, 0)


def slower(epsilon, share, rng):
    return (0.1 + 0.2 * epsilon) * (1 + 3 * (1 - share) ** (1 / (0.2 + epsilon))), 0.2


@pytest.mark.slow
@pytest.mark.parametrize("curve, verdict, over", [(faster, "agrees", "agrees"), (slower, "differs", "differs")])
def test_training_follows_epsilon_where_it_does(tmp_path, curve, verdict, over):
    names = (*EXPERIMENTS["convergence"].studies, *EXPERIMENTS["convergence"].extra)
    found = verdicts(
        "convergence", {n: write(tmp_path / n, n, by_nothing, curve=curve, epochs=40) for n in names}, tmp_path
    )
    assert starts(found, "Training conditions of higher ε end with a lower training loss; one dose") == verdict
    assert {v for c, v in found.items() if c.startswith("The validation loss rises")} == {over}


@pytest.mark.parametrize(
    ("law", "predicted", "together", "elsewhere", "under"),
    [(linear, "agrees", "agrees", 0.6, "agrees"), (by_nothing, "differs", "differs", 0.95, "differs")],
)
def test_other_tasks(tmp_path, law, predicted, together, elsewhere, under):
    of_task = {
        "task_thickness": "mean_absolute_error_angstrom",
        "task_columns": "column_f1",
        "task_classes": "mean_dice",
    }
    studies = {"metrics_corrected": write(tmp_path / "metrics_corrected", "metrics_corrected", law)}
    for seed, (name, column) in enumerate(of_task.items()):
        found = write(tmp_path / name, name, lambda *given, s=seed: law(*given) * (1 + 0.1 * s))
        # Seeds of other studies draw other numbers.
        scores = found.scores.drop("dice", "tp", "fp", "fn").with_columns(pl.col("loss").alias(column))
        if law is by_nothing:
            scores = scores.with_columns(pl.col("loss").shuffle(seed))
        home = pl.col("train_condition") == pl.col("test_condition")
        if name == "task_classes":
            wrong = pl.when(home).then(0.1).otherwise(1 - elsewhere)
            scores = scores.with_columns(dice_particles=0.9, wrong_crystal=wrong, wrong_crystal_trivial=0.5)
        scores.write_parquet(found.paths.table("scores"))
        if name == "task_thickness":
            shares = scores.select("train_condition", "test_condition", "seed").with_columns(
                coverage=pl.when(home).then(0.9).otherwise(elsewhere), half_width_angstrom=0.5, images=40
            )
            shares.write_parquet(found.paths.table("coverage"))
        studies[name] = StudyTables(found.paths)
    found = verdicts("tasks", studies, tmp_path)
    assert {c[-14:]: v for c, v in found.items() if c.startswith("ours: 90% intervals")} == {"mean thickness": under}
    assert {v for c, v in found.items() if c.startswith("The framework carries over")} == {predicted}
    assert {v for c, v in found.items() if c.startswith("ours: conditions that fail")} == {together}
    assert starts(found, "ours: under other conditions, networks give more") == under


@pytest.mark.parametrize(("law", "predicted"), [(linear, "agrees"), (by_nothing, "differs")])
def test_other_modes(tmp_path, law, predicted):
    studies = {"metrics_corrected": write(tmp_path / "metrics_corrected", "metrics_corrected", law)}
    for seed, name in enumerate(("stem_haadf", "stem_bf")):
        found = write(tmp_path / name, name, law)
        renamed = {c: f"{name}-{c}" for c in found.conditions["condition"]}
        for table in ("scores", "shift", "conditions", "training"):
            held = found.table(table)
            columns = [c for c in ("condition", "train_condition", "test_condition") if c in held.columns]
            held = held.with_columns(pl.col(columns).replace(renamed)).sample(fraction=1, shuffle=True, seed=seed)
            if law is by_nothing and table == "scores":
                held = held.with_columns(pl.col("loss").shuffle(seed))
            held.write_parquet(found.paths.table(table))
        studies[name] = StudyTables(found.paths)
    found = verdicts("modes", studies, tmp_path)
    assert {v for c, v in found.items() if c.startswith("The framework carries over")} == {predicted}
    alike = {v for c, v in found.items() if c.startswith("ours: aberrations that fail")}
    assert alike == {"agrees" if law is linear else "differs"}
    # The same law in both modes.
    assert (
        law is by_nothing
        or found["ours: σ and Δε predict better where contrast does not reverse, in dark field"] != "agrees"
    )


def test_zero_defocus_in_dark_field(tmp_path):
    studies = {"metrics_corrected": write(tmp_path / "a", "metrics_corrected", by_nothing)}
    studies["stem_haadf"] = StudyTables(studies["metrics_corrected"].paths)
    studies["defocus_sweep"] = write(tmp_path / "b", "defocus_sweep", fails_at("zero"))
    claim = "ours: in dark field no network fails at zero defocus"
    for law, verdict in ((by_nothing, "agrees"), (fails_at("zero"), "differs")):
        studies["stem_haadf_sweep"] = write(tmp_path / verdict, "defocus_sweep", law)
        assert verdicts("modes", studies, tmp_path)[claim] == verdict


def test_other_networks(tmp_path):
    base = write(tmp_path / "a", "defocus_sweep", by_distance)
    alike, other = (
        write(tmp_path / "b", "defocus_sweep", by_distance, seeds=1),
        write(tmp_path / "c", "defocus_sweep", by_nothing),
    )
    for study, verdict in ((alike, "agrees"), (other, "differs")):
        found = verdicts("networks", {"defocus_sweep": base, "defocus_sweep-large": study}, tmp_path)
        assert list(found.values()) == [verdict]
    found = verdicts("networks", {"defocus_sweep": base, "defocus_sweep-sgd": alike}, tmp_path)
    assert list(found.values()) == ["cannot tell"]


@pytest.mark.slow
def test_pages_from_tables_again_and_again(tmp_path):
    paths = ResultsPaths(tmp_path / "runs", tmp_path / "pages")
    laws = {"defocus_sweep": by_distance, "zero_defocus": fails_at("zero"), "structures": by_family}
    for name, law in laws.items():
        write(paths.study(name).folder, name, law)
    write_sets(paths.study("training_sets").folder, lambda kind, size: 1.0)
    answer = pages.write_pages(paths, "quick")
    assert set(answer["missing"]) == {"metrics", "signatures", "failure", "convergence", "networks", "tasks", "modes"}
    assert {c["experiment"] for c in answer["claims"]} == {
        "defocus_sweep",
        "zero_defocus",
        "structures",
        "training_sets",
    }
    index = paths.index.read_text()
    assert "Quick budget" in index
    assert all(c["figure"].replace("|", "\\|") in index for c in answer["claims"])
    for page in (paths.index, paths.page("structures"), paths.page("zero_defocus")):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists() or link in ("threats.md",), link
    before = {p: p.read_bytes() for p in paths.pages.rglob("*") if p.suffix in (".md", ".json", ".png")}
    assert pages.held_budget(paths) == "quick"
    pages.write_pages(paths, pages.held_budget(paths))
    assert {p: p.read_bytes() for p in before} == before
