"""Design a training set for a session: conditions chosen by their transfer, with the expected loss beside that of other choices."""

from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError, parameter
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

#: Random draws of each kind that is not guided.
_DRAWS = 4
# Conditions of the session that the expected loss is an average over.
_MET = 64
#: Test conditions of the design's study.
_TESTS = 32


def load_session(path: Path) -> ConditionDraw | ConditionMixture:
    """Return the distribution of conditions of a YAML file, or of a preset's residual aberrations.

    Raises:
        BadInputError: if it is not a distribution.
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
    """Return the radius of the band for ε and σ: the pixels' Nyquist frequency, at most the default [1/Å]."""
    pixel = source.conditions()[0].pixel_size_angstrom
    return min(Q_MAX, float(f"{1 / (2 * pixel):.4g}"))


def session_conditions(study: Study, count: int) -> list[Condition]:
    """Return conditions of a study's session other than its test conditions.

    Raises:
        BadInputError: if the study has no training sets, or so many cannot be drawn.
    """
    source = study.conditions
    if study.training_sets is None or isinstance(source, ConditionGrid):
        raise BadInputError(f"{study.name}: has no training sets; make a design with: passband design")
    try:
        return source.model_copy(update={"count": count, "seed": source.seed + 2, "method": "sobol"}).conditions()
    except ValueError as error:
        raise _cannot_draw("score_on", count, error) from None


def design(
    source: ConditionDraw | ConditionMixture, count: int, q_max: float, method: str = "guided"
) -> tuple[list[Condition], dict[str, Any]]:
    """Return training conditions, and the expected loss of them and of other choices.

    Expected are the mean loss over the session and over its worst tenth, each with a 90 % interval, and relative to uniform draws of the same
    size.

    Args:
        source: conditions of the session.
        count: number of conditions to train on.
        q_max: radius of the band for ε and σ [1/Å].
        method: guided (by their transfer) or uniform.

    Raises:
        BadInputError: if the method is unknown, or the distribution cannot give so many conditions.
    """
    if method not in ("guided", "uniform"):
        raise BadInputError(f"{parameter('method')} {method} is neither guided nor uniform", value=method)
    plans = {
        "guided": TrainingSets(sizes=(count,), method="guided"),
        "uniform": TrainingSets(sizes=(count,), draws=_DRAWS),
        "single": TrainingSets(sizes=(1,), draws=_DRAWS),
    }
    try:
        sets = {name: members for name, (_, members) in choose_sets(plans, source, q_max).items()}
        met = source.model_copy(update={"count": _MET, "seed": source.seed + 1, "method": "sobol"}).conditions()
    except ValueError as error:
        raise _cannot_draw("count", count, error) from None
    chosen = sets[f"{method}-{count}-0"]
    epsilon = information(chosen, q_max).numpy()
    objections = set_loss.outside_domain(met)
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
        rows = {row["train_condition"]: row for row in set_loss.predict(features).to_dicts()}
        reach = set_loss.learnt_spread()
        expected = {}
        for kind in plans:
            of_kind = [row for name, row in rows.items() if name.startswith(f"{kind}-")]
            expected[kind] = {
                score: {
                    "loss": (value := float(np.mean([row[score] for row in of_kind]))),
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
    """Write a design: a self-contained study that trains one network on the chosen conditions and tests it on others.

    Args:
        path: of the YAML file.
        chosen: training conditions.
        source: conditions of the session.
        recipe: of the specimens.
        q_max: radius of the band for ε and σ [1/Å].

    Raises:
        BadInputError: if conditions, recipe and network do not fit each other, or the file exists or cannot be written.
    """
    if path.exists():
        raise BadInputError("exists", remedy="choose another name, or delete it first", place=path)
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


def _cannot_draw(name: str, count: int, error: ValueError) -> BadInputError:
    return BadInputError(f"{parameter(name)} {count}: cannot be drawn: {' '.join(str(error).split())}", value=count)


def _message(error: ValueError) -> str:
    from pydantic import ValidationError

    from passband.files.yaml_config import message

    return message(error) if isinstance(error, ValidationError) else str(error)
