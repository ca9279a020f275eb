"""Which conditions to train on for a session: chosen by their transfer, beside uniform draws and single conditions."""

from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition_files import load_distribution
from passband.conditions.sets import ConditionDraw, ConditionGrid, ConditionMixture
from passband.files.atomic import write_text
from passband.files.yaml_config import dump
from passband.learning import NetworkConfig, TrainingConfig
from passband.metrics import information
from passband.metrics.band import Q_MAX
from passband.metrics.shift_table import set_shift_table
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe
from passband.studies.study import Study
from passband.studies.training_sets import TrainingSets, choose_sets
from passband.verdicts import set_loss

#: Draws of each kind that are not guided, for their spread.
_DRAWS = 4
# Conditions that the session may meet, to judge on.
_MET = 64
#: Test conditions of the study that trains the design.
_TESTS = 32


def load_session(path: Path) -> ConditionDraw | ConditionMixture:
    """Return the distribution of a YAML file, or of a preset's residual aberrations.

    Raises:
        BadInputError: if it is none.
    """
    source = load_distribution(path)
    if isinstance(source, ConditionGrid):
        raise BadInputError(
            f"{path}: lists its conditions by `vary`; a session is a distribution, by `draw` or `mixture`"
        )
    pixels = {c.pixel_size_angstrom for c in source.conditions()}
    if len(pixels) > 1:
        raise BadInputError(
            f"{path}: has pixels of several sizes; give pixel_size_angstrom one value, images are resampled to it"
        )
    return source


def band_of(source: ConditionDraw | ConditionMixture) -> float:
    """Return the band of ε and σ that the session's pixels can record, at most the usual one [1/Å]."""
    pixel = source.conditions()[0].pixel_size_angstrom
    return min(Q_MAX, float(f"{1 / (2 * pixel):.4g}"))


def session_conditions(study: Study, count: int) -> list[Condition]:
    """Return conditions that a study's session may meet, other than those that it tests on.

    Raises:
        BadInputError: if the study has no training sets, or so many cannot be drawn.
    """
    source = study.conditions
    if study.training_sets is None or isinstance(source, ConditionGrid):
        raise BadInputError(f"{study.name}: has no training sets; make a design with: passband design")
    try:
        return source.model_copy(update={"count": count, "seed": source.seed + 2, "method": "sobol"}).conditions()
    except ValueError as error:
        raise BadInputError(f"--score-on {count}: cannot be drawn: {' '.join(str(error).split())}") from None


def design(
    source: ConditionDraw | ConditionMixture, count: int, q_max: float, method: str = "guided"
) -> tuple[list[Condition], dict[str, Any]]:
    """Return training conditions, and what is expected of them and of other choices.

    Expected are mean loss and mean loss of the worst tenth of the conditions that may be met, each with the factors within which 90 % of the
    sets of the standard study lie, and over that of uniform draws of the same size.

    Args:
        source: what the session may meet.
        count: budget: conditions to train on.
        q_max: band of ε and σ for the choice [1/Å].
        method: guided (by their transfer) or uniform.

    Raises:
        BadInputError: if the method is unknown, or the distribution cannot give so many conditions.
    """
    if method not in ("guided", "uniform"):
        raise BadInputError(f"--method {method}: is neither guided nor uniform")
    plans = {
        "guided": TrainingSets(sizes=(count,), method="guided"),
        "uniform": TrainingSets(sizes=(count,), draws=_DRAWS),
        "single": TrainingSets(sizes=(1,), draws=_DRAWS),
    }
    try:
        sets = {name: members for name, (_, members) in choose_sets(plans, source, q_max).items()}
        met = source.model_copy(update={"count": _MET, "seed": source.seed + 1, "method": "sobol"}).conditions()
    except ValueError as error:
        raise BadInputError(f"--count {count}: cannot be drawn: {' '.join(str(error).split())}") from None
    chosen = sets[f"{method}-{count}-0"]
    epsilon = information(chosen, q_max).numpy()
    objections = set_loss.beyond(met)
    answer: dict[str, Any] = {
        "count": count,
        "method": method,
        "epsilon": [float(e) for e in epsilon],
        "expected": None,
        "cannot_say": objections,
    }
    if not objections:
        tests = [(str(i), c) for i, c in enumerate(met)]
        shift = set_shift_table(list(sets.items()), tests, Q_MAX)
        features = set_loss.set_features(shift, {name: len(members) for name, members in sets.items()}, tests)
        found = {row["train_condition"]: row for row in set_loss.predict(features).to_dicts()}
        reach = set_loss.learnt_spread()
        expected = {}
        for kind in plans:
            own = [row for name, row in found.items() if name.startswith(f"{kind}-")]
            expected[kind] = {
                score: {
                    "loss": (value := float(np.mean([row[score] for row in own]))),
                    "low": value * reach[score][0],
                    "high": value * reach[score][1],
                }
                for score in ("mean", "worst")
            }
        for scores in expected.values():
            for score, values in scores.items():
                values["over_uniform"] = values["loss"] / expected["uniform"][score]["loss"]
        answer["expected"] = expected
    return chosen, answer


def write_design(
    path: Path,
    chosen: list[Condition],
    source: ConditionDraw | ConditionMixture,
    recipe: Recipe,
    q_max: float,
) -> Study:
    """Write a design: a study, complete in itself, that trains one network on the chosen conditions and tests it on others.

    Args:
        path: of the YAML file.
        chosen: training conditions.
        source: what the session may meet.
        recipe: of the specimens.
        q_max: band of ε and σ [1/Å].

    Raises:
        BadInputError: if conditions, recipe and network do not fit each other, or the file exists or cannot be written.
    """
    if path.exists():
        raise BadInputError(f"{path}: exists; choose another name, or delete it first")
    try:
        study = Study(
            name=path.stem,
            specimens=recipe,
            exit_waves=ExitWaveConfig(energy_ev=chosen[0].energy_ev),
            conditions=source.model_copy(update={"count": _TESTS}),
            training_sets={"designed": TrainingSets(conditions=tuple(chosen))},
            network=NetworkConfig(widths=(16, 32, 64, 128)),
            training=TrainingConfig(epochs=30, learning_rate=0.006),
            q_max_per_angstrom=q_max,
        )
    except ValueError as error:
        raise BadInputError(f"{path}: these conditions and this recipe make no study: {_message(error)}") from None
    write_text(path, dump(study))
    return study


def _message(error: ValueError) -> str:
    from pydantic import ValidationError

    from passband.files.yaml_config import message

    return message(error) if isinstance(error, ValidationError) else str(error)
