"""How many images must be labelled: scores of held-out images against the number of images that a model was tuned on."""

import html
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.base.identity import seed_from
from passband.models.label_scores import COVERAGE, html_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Scores of the curve, and their titles; `edge_dice` is of the untuned model with the edge offset calibrated on the same images.
SCORES = {"dice": "Dice", "surface_dice": "surface Dice", "instance_f1": "F1", "edge_dice": "Dice, edge alone"}
_RESAMPLES = 2000
# Smaller errors, 1 − score, count as this: a line through their logarithms would follow single pixels.
_LEAST_ERROR = 0.002
# Fewest numbers of images for a line, and for a line that is tested on the last.
_LINE, _TESTED = 2, 3
# Points of the line: the first images teach the edge, which is steeper than what follows.
_LAST = 3

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreEstimate:
    """A score, measured or estimated, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False, repr=False)
class LearningCurve:
    """Scores of held-out images against the number of labelled images that a model was tuned on, and an estimate for twice as many.

    Intervals come from drawing folds, and images in them, again with replacement. Estimates continue the line of ln(1 − score) against
    ln(images) through the last three points, never downwards. Their intervals contain the last point's lower end, because a curve may
    end there, and are at least as wide as the error of the same estimate of the last point.

    Attributes:
        model: name of the untuned model.
        names: of the labelled images.
        table: a row for each number of images and each image: images (0 is the untuned model, edges as drawn), fold, image, and SCORES.
    """

    model: str
    names: tuple[str, ...]
    table: pl.DataFrame

    @property
    def sizes(self) -> list[int]:
        """Numbers of images; the last is of all images but those of a fold, a mean."""
        return self.table["images"].unique().sort().to_list()

    @cached_property
    def points(self) -> dict[int, dict[str, ScoreEstimate]]:
        """By the number of images, each score with its interval."""
        ends = _interval(self._drawn)
        means = self._values.mean(-1)
        return {
            size: {key: ScoreEstimate(float(means[k, s]), *map(float, ends[:, k, s])) for k, key in enumerate(SCORES)}
            for s, size in enumerate(self.sizes)
        }

    @cached_property
    def estimates(self) -> dict[int, dict[str, ScoreEstimate]]:
        """The same for all images, and for twice as many; empty with fewer than two numbers of images."""
        count = len(self.names)
        return {} if len(self.sizes) <= _LINE else {at: self._estimated(at) for at in (count, 2 * count)}

    @cached_property
    def test(self) -> dict[str, tuple[float, float]] | None:
        """For each score, the last point as estimated from those before it, and as measured; None with fewer than three."""
        if len(self.sizes) <= _TESTED:
            return None
        means, sizes = self._values.mean(-1)[:, 1:], self.sizes[1:]
        estimated = continued(means[:, :-1], sizes[:-1], sizes[-1])
        return {key: (float(estimated[k]), float(means[k, -1])) for k, key in enumerate(SCORES)}

    @property
    def gain(self) -> ScoreEstimate | None:
        """What labelling as many images again is estimated to add to the Dice; never less than nothing."""
        if not self.estimates:
            return None
        count = len(self.names)
        means = np.concatenate([self._values.mean(-1)[None], self._drawn])[:, 0, 1:]
        once, twice = (continued(means, self.sizes[1:], at) for at in (count, 2 * count))
        return ScoreEstimate(float((twice - once)[0]), 0.0, float(_interval((twice - once)[1:])[1]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        gain = self.gain
        return {
            "model": self.model,
            "images": list(self.names),
            "coverage": COVERAGE,
            "points": [{"images": n, "networks": self._networks(n), **_plain(p)} for n, p in self.points.items()],
            "estimates": [{"images": n, **_plain(p)} for n, p in self.estimates.items()],
            "gain_of_doubling": None if gain is None else vars(gain),
            "test": None
            if self.test is None
            else {key: {"estimated": e, "measured": m} for key, (e, m) in self.test.items()},
            "table": self.table.to_dicts(),
        }

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve of the Dice, with its intervals and estimates."""
        from passband.figures import learning_curve, style

        if ax is None:
            with style.shown(5.2, 3.6) as figure:
                return self.plot(figure.subplots())
        rows = [
            {"images": n, "kind": kind, "score": SCORES[key], "value": e.value, "low": e.low, "high": e.high}
            for kind, points in (("measured", self.points), ("estimated", self.estimates))
            for n, scores in points.items()
            for key, e in scores.items()
        ]
        learning_curve.draw(pl.DataFrame(rows), ax)
        return ax

    @cached_property
    def _folds(self) -> list[int]:
        return self.table.filter(pl.col("images") == 0).sort("image")["fold"].to_list()

    @cached_property
    def _values(self) -> Values:
        """Scores, shape [scores, numbers of images, images]."""
        rows = self.table.sort("images", "image").select(*SCORES).to_numpy()
        return rows.reshape(len(self.sizes), -1, len(SCORES)).transpose(2, 0, 1)

    @cached_property
    def _drawn(self) -> Values:
        """Means of folds and images drawn again, shape [draws, scores, numbers of images]."""
        rng, folds = np.random.default_rng(seed_from("learning curve")), np.array(self._folds)
        numbers = np.unique(folds)
        times = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=_RESAMPLES)
        weights = np.zeros((_RESAMPLES, len(folds)))
        for k, fold in enumerate(numbers):
            members = np.flatnonzero(folds == fold)
            weights[:, members] = rng.multinomial(times[:, k] * len(members), np.full(len(members), 1 / len(members)))
        return np.einsum("ksi,ri->rks", self._values, weights / weights.sum(1, keepdims=True))

    def _networks(self, images: int) -> int:
        return len({*self._folds}) if images else 1

    def _estimated(self, images: int) -> dict[str, ScoreEstimate]:
        means, sizes = self._values.mean(-1)[:, 1:], self.sizes[1:]
        values = continued(means, sizes, images)
        low, high = _interval(continued(self._drawn[:, :, 1:], sizes, images))
        # The line may be wrong, which drawing again does not show.
        low = np.minimum(low, _interval(self._drawn[:, :, -1])[0])
        miss = np.zeros(len(SCORES)) if self.test is None else np.array([abs(e - m) for e, m in self.test.values()])
        low, high = np.clip([np.minimum(low, values - miss), np.maximum(high, values + miss)], 0, 1)
        return {key: ScoreEstimate(*map(float, (values[k], low[k], high[k]))) for k, key in enumerate(SCORES)}

    def _cells(self) -> list[list[str]]:
        rows = [["images", "networks", *SCORES.values()]]
        rows += [[str(n), str(self._networks(n)), *map(str, p.values())] for n, p in self.points.items()]
        return rows + [[f"{n}, estimated", "", *map(str, p.values())] for n, p in self.estimates.items()]

    def _remarks(self) -> list[str]:
        lines = [
            "0 images: the model as it is, edges as drawn; edge alone: not tuned, its edge moved by the offset of the same images"
        ]
        if self.test is not None:
            estimated, measured = self.test["dice"]
            last = self.sizes[-1]
            lines.append(
                f"tested: for {last} images, the same estimate from fewer is Dice {estimated:.3f}; measured {measured:.3f}"
            )
        if (gain := self.gain) is not None:
            count, most = len(self.names), f"at most {gain.high:.3f} ({COVERAGE:.0%})"
            lines.append(f"{count} more images like these are estimated to add {gain.value:.3f} to the Dice, {most}")
        return lines

    def __str__(self) -> str:
        """Return the table and remarks as lines."""
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        table = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        title = f"{self.model} tuned on some of {len(self.names)} labelled images, scored on others"
        return "\n".join([title, *table, *self._remarks()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        remarks = "".join(f"<p>{html.escape(line)}</p>" for line in self._remarks())
        return f"<div class='scroll'>{html_table(self._cells())}</div>{remarks}"


def continued(scores: Values, sizes: list[int], images: int) -> Values:
    """Return scores [...] that a power law of the error, 1 − score, through scores [..., sizes] gives for more images.

    The law passes through the last score, with the slope of the least-squares line of the last three, at most zero.
    """
    x, error = np.log(sizes[-_LAST:]), np.log(np.maximum(1 - scores[..., -_LAST:], _LEAST_ERROR))
    apart = x - x.mean()
    slope = np.minimum((error * apart).sum(-1) / (apart**2).sum(), 0.0)
    return np.asarray(1 - (1 - scores[..., -1]) * np.exp(slope * (np.log(images) - x[-1])))


def _interval(drawn: Values) -> Values:
    return np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)


def _plain(point: dict[str, ScoreEstimate]) -> dict[str, dict[str, float]]:
    return {key: vars(e) for key, e in point.items()}
