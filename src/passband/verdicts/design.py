"""Design a training set for a session: conditions chosen by the predicted loss, with the expected loss beside that of other choices."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from passband.analysis.loss_prediction import worst_losses
from passband.base.errors import BadInputError, parameter
from passband.conditions import Condition
from passband.conditions.condition_files import load_distribution
from passband.conditions.sets import ConditionDraw, ConditionGrid, ConditionMixture
from passband.files.atomic import write_text
from passband.files.yaml_config import dump, message
from passband.learning import NetworkConfig, TrainingConfig
from passband.metrics import information
from passband.metrics.band import Q_MAX
from passband.metrics.shift_table import set_shift_table
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe
from passband.studies.study import Study
from passband.studies.training_sets import TrainingSets, choose_sets
from passband.verdicts import set_loss
from passband.verdicts.statements import Statement

#: Random draws of each kind that is not guided, and of those that the predicted loss chooses from.
_DRAWS, _CANDIDATES = 4, 32
# Conditions of the session that the expected loss is an average over.
_MET = 64
#: Test conditions of the design's study.
_TESTS = 32


def load_session(path: Path) -> ConditionDraw | ConditionMixture:
    """Return the distribution of conditions of a YAML file, or of a preset's residual aberrations; BadInputError if it is none."""
    source = load_distribution(path)
    if isinstance(source, ConditionGrid):
        what = "lists its conditions by `vary`; a session is a distribution, by `draw` or `mixture`"
        raise BadInputError(what, place=path)
    pixels = {c.pixel_size_angstrom for c in source.conditions()}
    if len(pixels) > 1:
        what = "has pixels of several sizes; give pixel_size_angstrom one value, images are resampled to it"
        raise BadInputError(what, place=path)
    return source


def band_of(source: ConditionDraw | ConditionMixture) -> float:
    """Return the radius of the band for ε and σ: the pixels' Nyquist frequency, at most the default [1/Å]."""
    pixel = source.conditions()[0].pixel_size_angstrom
    return min(Q_MAX, float(f"{1 / (2 * pixel):.4g}"))


def session_conditions(study: Study, count: int) -> list[Condition]:
    """Return conditions of a study's session other than its test conditions; BadInputError if it has none, or so many cannot be drawn."""
    source = study.conditions
    if study.training_sets is None or isinstance(source, ConditionGrid):
        raise BadInputError(f"{study.name}: has no training sets; design it from the conditions of a session")
    try:
        return source.model_copy(update={"count": count, "seed": source.seed + 2, "method": "sobol"}).conditions()
    except ValueError as error:
        raise _cannot_draw("score_on", count, error) from None


@dataclass(frozen=True)
class Expected:
    """A predicted loss with its 90 % interval, the Dice of such a loss, and the loss relative to uniform draws of the same size."""

    loss: float
    low: float
    high: float
    over_uniform: float
    dice: float


@dataclass(frozen=True)
class Design:
    """Training conditions by a method, with ε of each, and what a network trained on them, or on others, is predicted to reach."""

    conditions: tuple[Condition, ...]
    method: str
    epsilon: tuple[float, ...]
    #: By choice (guided, uniform, single), for the mean over the session and for its worst tenth; None outside the domain.
    expected: dict[str, dict[str, Expected]] | None = None
    cannot_say: tuple[Statement, ...] = ()
    #: Predicted worst loss of the chosen set, and the median over the draws that it was chosen from; None if it was not chosen so.
    predicted_worst: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "count": len(self.conditions),
            "method": self.method,
            "epsilon": list(self.epsilon),
            "expected": asdict(self)["expected"],
            "predicted_worst": None if self.predicted_worst is None else list(self.predicted_worst),
            "cannot_say": [str(why) for why in self.cannot_say],
            "conditions": [c.to_dict() for c in self.conditions],
        }

    def __str__(self) -> str:
        count = len(self.conditions)
        lines = [f"{count} conditions ({self.method}), ε {min(self.epsilon):.2f} to {max(self.epsilon):.2f}"]
        if self.predicted_worst is not None:
            lines.append(
                f"predicted worst loss {self.predicted_worst[0]:.3f}, the least of {_CANDIDATES} uniform draws; their median {self.predicted_worst[1]:.3f}"
            )
        lines += [f"its loss cannot be predicted: {why}" for why in self.cannot_say]
        if self.expected is None:
            return "\n".join(lines)
        heads = f"{'trained on':<22}{'Dice, mean':>12}{'worst tenth':>13}{'loss, mean':>24}{'worst tenth':>24}"
        lines.append(f"{heads}   both over uniform's")
        titles = {"guided": f"{count} by their transfer", "uniform": f"{count} drawn uniformly", "single": "1 drawn"}
        for kind, title in titles.items():
            mean, worst = (self.expected[kind][score] for score in ("mean", "worst"))
            mean_loss, worst_loss = (f"{v.loss:.3f} [{v.low:.3f}, {v.high:.3f}]" for v in (mean, worst))
            lines.append(
                f"{title:<22}{mean.dice:>12.2f}{worst.dice:>13.2f}{mean_loss:>24}{worst_loss:>24}   "
                f"× {mean.over_uniform:.2f}, × {worst.over_uniform:.2f}"
            )
        lines.append(
            "Predicted for the small U-Net of the standard results on gold on carbon; elsewhere expect the same ranking, not the same values."
        )
        return "\n".join(lines)


def design(
    source: ConditionDraw | ConditionMixture, count: int, q_max: float, recipe: Recipe, method: str = "predicted"
) -> Design:
    """Return training conditions for a session, and the expected loss of them and of other choices, in a band for ε and σ [1/Å].

    The method is predicted (of 32 uniform draws that of the least predicted worst loss on specimens of the recipe; uniform where the law of the
    loss does not know the session), uniform, or guided (by their transfer), which gains nothing measurable. BadInputError for another one, or if the distribution cannot give so many conditions.
    """
    if method not in ("predicted", "guided", "uniform"):
        what = f"{parameter('method')} {method} is none of predicted, uniform and guided"
        raise BadInputError(what, value=method)
    plans = {
        "guided": TrainingSets(sizes=(count,), method="guided"),
        "uniform": TrainingSets(sizes=(count,), draws=_DRAWS),
        "single": TrainingSets(sizes=(1,), draws=_DRAWS),
    }
    candidates = {"uniform": TrainingSets(sizes=(count,), draws=_CANDIDATES if method == "predicted" else 1)}
    try:
        sets = {name: members for name, (_, members) in choose_sets(plans, source, q_max).items()}
        drawn = [members for _, members in choose_sets(candidates, source, q_max).values()]
        met = source.model_copy(update={"count": _MET, "seed": source.seed + 1, "method": "sobol"}).conditions()
    except ValueError as error:
        raise _cannot_draw("count", count, error) from None
    losses = worst_losses(drawn, met, recipe) if method == "predicted" else None
    if losses is None:
        method = "uniform" if method == "predicted" else method
        chosen = tuple(sets[f"{method}-{count}-0"])
    else:
        chosen = tuple(drawn[losses.index(min(losses))])
    worst = None if losses is None else (min(losses), statistics.median(losses))
    epsilon = tuple(information(chosen, q_max).tolist())
    objections = tuple(set_loss.outside_domain(met))
    return Design(chosen, method, epsilon, None if objections else _expected(plans, sets, met), objections, worst)


def _expected(
    kinds: Iterable[str], sets: Mapping[str, Sequence[Condition]], met: Sequence[Condition]
) -> dict[str, dict[str, Expected]]:
    """Return what networks trained on sets are predicted to reach, averaged over the sets whose name begins with a kind."""
    tests = [(str(i), c) for i, c in enumerate(met)]
    shift = set_shift_table(list(sets.items()), tests, Q_MAX)
    features = set_loss.set_features(shift, {name: len(members) for name, members in sets.items()}, tests)
    kind = pl.col("train_condition").str.split("-").list.first().alias("kind")
    means = set_loss.predict(features).group_by(kind).agg(pl.selectors.float().mean())
    averages, reach = means.rows_by_key("kind", named=True, unique=True), set_loss.learnt_facts()

    def expected(kind: str, score: str) -> Expected:
        loss = averages[kind][score]
        low, high = (loss * factor for factor in reach[score])
        return Expected(loss, low, high, loss / averages["uniform"][score], averages[kind][f"{score}_dice"])

    return {kind: {score: expected(kind, score) for score in ("mean", "worst")} for kind in kinds}


def write_design(
    path: Path, chosen: Sequence[Condition], source: ConditionDraw | ConditionMixture, recipe: Recipe, q_max: float
) -> Study:
    """Write a study that trains one network on the chosen conditions and tests it on others, as YAML; BadInputError if they make none."""
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
        fault = message(error) if isinstance(error, ValidationError) else error
        raise BadInputError(f"{path}: these conditions and this recipe make no study: {fault}") from None
    write_text(path, dump(study))
    return study


def _cannot_draw(name: str, count: int, error: ValueError) -> BadInputError:
    return BadInputError(f"{parameter(name)} {count}: cannot be drawn: {' '.join(str(error).split())}", value=count)
