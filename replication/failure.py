"""What makes a network fail elsewhere: networks that fail, trained again with more texture of one kind at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullFormatter

from passband.analysis.pairs import dense
from passband.base.identity import seed_from
from passband.figures import style
from replication import resampling
from replication.failure_pictures import PICTURES, draw_film, draw_pictures, film_speckle
from replication.outcome import Claim, Experiment, Outcome, StudyTables, Verdict, judged, table
from replication.resampling import Statistic, rank_correlation, with_percentiles

_SETS, _NO_FILM = "failure", "failure_no_film"
_STUDIES = (
    _SETS,
    "failure_controls",
    "failure_texture",
    "failure_texture-coarse",
    "failure_texture-fine",
    "failure_texture-finest",
    _NO_FILM,
)
_FIRST = "metrics_one_dose"
# Networks of the first study that are called its worst, and conditions that are said to hide the film.
_WORST, _HIDDEN = 4, 10
#: The training conditions by their number in metrics_one_dose, and how networks do that are trained there.
NAMES = {"c36": "36, fails", "c38": "38, fails", "c17": "17, median", "c54": "54, best"}
_FAIL, _CONTROL = ("c36", "c38"), ("c17", "c54")
#: What was varied in training, and in words.
VARIANTS = {
    "as_is": "nothing",
    "same": "hardly anything: eight conditions within 0.5 Å and 1 % of the dose",
    "dose": "dose, 100 to 2000 e/Å²",
    "blur": "blur: focal spread 18 to 45 Å, vibration up to 0.4 Å",
    "film": "film, 5 to 80 Å thick",
    "focus": "focus, ±50 Å",
    "all": "film, focus, dose and blur",
    "texture": "random texture, 0.05 to 1.25 1/Å",
    "coarse": "random texture, 0.05 to 0.5 1/Å",
    "fine": "random texture, 0.5 to 1.25 1/Å",
    "finest": "random texture, 1 to 1.25 1/Å",
}
#: The variant of networks that are tested without a film, trained as they were; and all.
NO_FILM = "no_film"
ALL = (*VARIANTS, NO_FILM)
# Variants that controls were not trained with.
_NOT_COSTED = ("same", "dose", "blur")


@dataclass(frozen=True)
class Drawn:
    """What the networks of each training condition and variant did, mean over some seeds, under some test conditions.

    Attributes:
        loss: mean ln loss over seeds, shape [condition, variant, test]; NaN where there are no networks.
        shares: false positives (fp) and false negatives (fn) over the particles' area, shape [condition, variant].
    """

    loss: np.ndarray
    shares: dict[str, np.ndarray]

    def excess(self, names: tuple[str, ...], variant: str, over: str = "as_is") -> float:
        """Return the mean ln loss of networks over that of others, which were trained as they were if none are named."""
        return self.level(names, variant) - self.level(names, over)

    def level(self, names: tuple[str, ...], variant: str) -> float:
        """Return the mean ln loss of the networks of some conditions."""
        return float(self.loss[_rows(names), list(ALL).index(variant)].mean())

    def failure(self) -> float:
        """Return by how much the mean ln loss of networks that fail exceeds that of the control that was the median."""
        return self.level(_FAIL, "as_is") - self.level(("c17",), "as_is")

    def share(self, name: str, variant: str) -> float:
        """Return false positives (fp) or false negatives (fn) of the networks that fail, over the particles' area."""
        return float(self.shares[name][_rows(_FAIL), list(ALL).index(variant)].mean())


class Networks:
    """The losses and pixel counts of networks, and statistics of them with intervals from drawing tests and seeds again."""

    def __init__(self, scores: pl.DataFrame, conditions: pl.DataFrame):
        """Lay out scores by condition, variant, seed and test_condition.

        A training condition c36 is the test condition whose label begins with its number, 36. Networks trained as they were in
        the first study, seed 0, are left out if there are others: they were chosen for how they did.
        """
        first = pl.col("variant").is_in(["as_is", NO_FILM]) & (pl.col("seed") == 0)
        scores = scores.filter(~(first & (pl.col("seed").max().over("condition", "variant") > 0)))
        axes = {
            "condition": list(NAMES),
            "variant": list(ALL),
            "seed": scores["seed"].unique().sort().to_list(),
            "test_condition": conditions["condition"].to_list(),
        }
        self._loss = np.log(dense(scores, axes, "loss"))
        self._pixels = {name: np.nan_to_num(dense(scores, axes, name)) for name in ("tp", "fp", "fn")}
        self._known = np.isfinite(self._loss).all(3)
        numbers = conditions["label"].str.extract(r"^0*(\d+):").to_list()
        self._home = [numbers.index(name[1:]) for name in NAMES]
        self.whole = self._drawn(self._known.astype(float), np.arange(len(conditions)))

    @cached_property
    def _resampled(self) -> list[Drawn]:
        rng = np.random.default_rng(seed_from("failure"))
        tests = self._loss.shape[3]
        found = []
        for _ in range(resampling.RESAMPLES):
            weight = np.zeros(self._known.shape)
            for place in np.argwhere(self._known.any(2)):
                seeds = np.flatnonzero(self._known[tuple(place)])
                np.add.at(weight[tuple(place)], rng.choice(seeds, size=len(seeds)), 1.0)
            found.append(self._drawn(weight, rng.integers(tests, size=tests)))
        return found

    def _drawn(self, weight: np.ndarray, tests: np.ndarray) -> Drawn:
        """Return means over seeds with a weight each, [condition, variant, seed], under some test conditions."""
        total = weight.sum(2)
        share = weight / np.where(total > 0, total, np.nan)[..., None]
        loss = np.einsum("cvs,cvst->cvt", share, np.nan_to_num(self._loss[..., tests]))
        tp, fp, fn = (np.einsum("cvs,cvst->cv", share, self._pixels[n][..., tests]) for n in ("tp", "fp", "fn"))
        area = np.where(tp + fn > 0, tp + fn, np.nan)
        return Drawn(loss, {"fp": fp / area, "fn": fn / area})

    def measured(self, statistic: Callable[[Drawn], float]) -> Statistic:
        """Return a statistic with its interval from drawing the test conditions, and the seeds of each network, again."""
        return with_percentiles(statistic(self.whole), [statistic(drawn) for drawn in self._resampled])

    def gone(self, variant: str) -> Statistic:
        """Return the share of the failure that is gone with a variant."""
        return self.measured(lambda d: -d.excess(_FAIL, variant) / d.failure())

    def factor(self, names: tuple[str, ...], variant: str) -> Statistic:
        """Return the geometric mean loss of networks over that of those trained as they were."""
        return self.measured(lambda d: float(np.exp(d.excess(names, variant))))

    def at_home(self, names: tuple[str, ...], variant: str) -> float:
        """Return the loss under the training condition over that of the networks trained as they were."""
        own = np.array([self.whole.loss[i, :, self._home[i]] for i in _rows(names)]).mean(0)
        return float(np.exp(own[list(ALL).index(variant)] - own[0]))

    def reverse(self) -> float:
        """Return the controls' loss under the training conditions of networks that fail, over the loss of those."""
        places = [(i, self._home[i]) for i in _rows(_FAIL)]
        own = np.mean([self.whole.loss[i, 0, place] for i, place in places])
        others = np.mean([self.whole.loss[_rows(_CONTROL), 0, place] for _, place in places])
        return float(np.exp(others - own))


def _rows(names: tuple[str, ...]) -> list[int]:
    return [list(NAMES).index(name) for name in names]


def named(scores: pl.DataFrame, study: str) -> pl.DataFrame:
    """Return the scores of one of the studies with a condition and a variant, from sets named CONDITION.VARIANT-SIZE-0."""
    variant = pl.col("train_condition").str.extract(r"\.(\w+)-")
    if study == _NO_FILM:
        variant = pl.lit(NO_FILM)
    elif "-" in study:
        variant = pl.lit(study.partition("-")[2])
    return scores.select(
        pl.col("train_condition").str.extract(r"^(\w+)\.").alias("condition"),
        variant.alias("variant"),
        *("test_condition", "seed", "loss", "tp", "fp", "fn"),
    )


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return what each kind of texture does to networks that fail and to controls, and what is left without a film."""
    outcome, conditions = Outcome(), studies[_SETS].conditions
    scores = pl.concat([named(studies[name].scores, name) for name in _STUDIES])
    networks = Networks(scores, conditions)
    whole, measured = networks.whole, networks.measured
    gone = {v: networks.gone(v) for v in VARIANTS}
    bare = measured(lambda d: d.share("fp", NO_FILM) / d.share("fp", "as_is"))
    specific = measured(lambda d: d.excess(_FAIL, "finest", "coarse") / d.failure())
    cost = {v: networks.factor(_CONTROL, v) for v in ("film", "texture", "focus", "all")}
    causes = [
        Claim(
            "ours: random texture on the training images, which knows neither specimen nor optics, takes away most of the failure",
            f"share of the failure that is gone {gone['texture']}; mean loss × {networks.factor(_FAIL, 'texture')}",
            judged(gone["texture"], above=0.5),
        ),
        Claim(
            "ours: the film is what is mistaken: without it, most of what is falsely called particle is gone",
            f"false positives on the same particles without the film over those on it × {bare}",
            judged(bare, below=0.5),
        ),
        Claim(
            "ours: films of random thickness in training take away most of the failure",
            f"share gone {gone['film']}; mean loss × {networks.factor(_FAIL, 'film')}",
            judged(gone["film"], above=0.5),
        ),
    ]
    outcome.claims += [
        *causes,
        Claim(
            "ours: it is texture as coarse as what the training optics hide that helps, more than the finest texture",
            f"share gone with random texture of 0.05 to 0.5 1/Å {gone['coarse']}, 0.5 to 1.25 1/Å {gone['fine']}, 1 to 1.25 1/Å {gone['finest']}; the first less the last {specific}",
            judged(specific, above=0.0),
        ),
        Claim(
            "ours: a jitter of the focus in training, which shows the film, takes away most of the failure",
            f"share gone {gone['focus']}; with film, dose and blur too {gone['all']}",
            judged(gone["focus"], above=0.5),
        ),
        Claim(
            "ours: other doses in training do not (less than a quarter)",
            f"share gone {gone['dose']}",
            judged(gone["dose"], below=0.25),
        ),
        Claim(
            "ours: as many conditions that hardly differ do not (control; less than a quarter)",
            f"share gone {gone['same']}",
            judged(gone["same"], below=0.25),
        ),
        Claim(
            "ours: films of random thickness cost little where a network works anyway (controls: mean loss at most 5 % higher)",
            f"mean loss of the controls × {cost['film']}, under their training condition × {networks.at_home(_CONTROL, 'film'):.2f}",
            judged(cost["film"], below=1.05),
        ),
        Claim(
            "ours: random texture costs little where a network works anyway (controls: mean loss at most 5 % higher)",
            f"mean loss of the controls × {cost['texture']}, under their training condition × {networks.at_home(_CONTROL, 'texture'):.2f}",
            judged(cost["texture"], below=1.05),
        ),
    ]
    outcome.text.append(
        f"Trained under condition 36 or 38, networks have a loss (geometric mean) of {np.exp(whole.level(_FAIL, 'as_is')):.2f} over 64 conditions, networks trained under the study's median condition {np.exp(whole.level(('c17',), 'as_is')):.2f}. "
        f"They call film a particle over {whole.share('fp', 'as_is'):.0%} of the particles' area; without the film, over {bare} times as much. Films of random thickness in training take away "
        f"{gone['film']} of the failure; random texture on the images, which knows neither specimen nor optics, {gone['texture']}; a jitter of the focus {gone['focus']}; other doses {gone['dose']}; eight "
        f"conditions that hardly differ {gone['same']}. "
        + (
            "So such a network fails because it meets texture that its training images did not show."
            if {c.verdict for c in causes} == {"agrees"}
            else ""
        )
    )
    _figures(outcome, folder, networks, studies[_SETS], conditions)
    outcome.text += [
        _mechanism(studies[_SETS], conditions, networks),
        _which_texture(gone, outcome.claims[len(causes)].verdict),
        *([_all_networks(studies[_SETS], conditions, studies[_FIRST])] if _FIRST in studies else []),
        _what_to_do(networks, cost, gone),
        _not_explained(studies[_SETS].scores, networks, gone),
        "Trained under condition 36 or 38 (the last two columns: the controls, under condition 17 or 54), with one thing varied; tested under 64 conditions on the same specimens. *Failure gone*: the "
        "share of the mean ln loss in excess of that of networks trained under condition 17, the median of the study, that is gone. *False positives* and *false negatives*: over the particles' area. *At home*: loss under the training condition "
        "over that of networks trained as they were. Mean losses are geometric.\n\n" + _variants(networks, gone),
    ]
    return outcome


def _mechanism(study: StudyTables, conditions: pl.DataFrame, networks: Networks) -> str:
    pictures, amount = study.paths.folder / PICTURES, "hardly any of it"
    if pictures.is_file():
        power = film_speckle(pictures, conditions, 0.2, 0.4)
        amount = (
            f"between 0.2 and 0.4 1/Å, its speckle has {power['36']:.2f} and {power['38']:.2f} times the power of the shot noise, and {np.median(list(power.values())):.1f} times in the median "
            "of the 64 conditions"
        )
    return (
        "**The mechanism.** A network learns from its training images what film looks like. Conditions 36 and 38 lie within 5 Å of zero defocus, where the film is all but invisible "
        f"({amount}). All that stands out of the noise is then a particle, and the network learns just that. Under other conditions the same film shows as speckle, 2 to 5 Å coarse. "
        "The network has never met such speckle without a particle, and calls it a particle. "
        f"The reverse is milder: the controls, which have met speckle, have {networks.reverse():.1f} times the loss of networks trained under condition 36 or 38 when they are tested there."
    )


def _which_texture(gone: dict[str, Statistic], coarse_is_better: Verdict) -> str:
    answers: dict[Verdict, str] = {
        "agrees": "So not any noise will do: it has to be about as coarse as the film's speckle.",
        "differs": "So the texture need not be like the film's: what matters is to have met some that is no particle.",
        "cannot tell": "These networks cannot tell whether it has to be as coarse as the film's speckle.",
    }
    answer = answers[coarse_is_better]
    if coarse_is_better == "agrees" and gone["fine"].value > gone["coarse"].low:
        answer = "So not any noise will do, but texture just finer than the hidden speckle does as well as texture of its size."
    return (
        f"**Which texture.** Random texture below 0.5 1/Å, where conditions 36 and 38 hide the film, takes away {gone['coarse']} of the failure; texture of 0.5 to 1.25 1/Å {gone['fine']}; texture of 1 to 1.25 1/Å, "
        f"much finer than the film's, {gone['finest']}. {answer} (One network for each condition and band; the spectrum of a texture reaches a third beyond its band.)"
    )


def _all_networks(study: StudyTables, conditions: pl.DataFrame, first: StudyTables) -> str:
    """Return whether the networks of the first study do the worse the less film they have seen, if the tables say."""
    pictures = study.paths.folder / PICTURES
    level = first.scores.group_by("train_condition").agg(pl.col("loss").log().mean())
    level = conditions.select("condition", "label", "epsilon").join(
        level, left_on="condition", right_on="train_condition", maintain_order="left"
    )
    if not pictures.is_file() or len(level) < len(conditions):
        return ""
    power = film_speckle(pictures, conditions, 0.2, 0.4)
    seen = np.array([power[label.partition(":")[0].lstrip("0")] for label in level["label"]])
    loss, epsilon = level["loss"].to_numpy(), level["epsilon"].to_numpy()
    worst, rank = np.argsort(-loss)[:_WORST], seen.argsort().argsort() + 1
    hidden = np.setdiff1d(np.flatnonzero(rank <= _HIDDEN), worst[:2])
    correlation = style.minus(f"{rank_correlation(seen, loss):.2f}")
    return (
        f"**All networks of the study.** Of the {len(loss)} networks of metrics_one_dose the {_WORST} worst were trained where the film shows least: by the power of its speckle their conditions "
        f"are number {_listed(rank[worst])} from below. Over all conditions that power and the mean loss have a rank correlation of {correlation}: a network fails that has met hardly any speckle, and how "
        f"strong it is otherwise does not matter. To hide the film is not enough, though. Conditions 36 and 38 transfer the lattice well (ε = {epsilon[worst[0]]:.2f} and {epsilon[worst[1]]:.2f}); the other {len(hidden)} of "
        f"the {_HIDDEN} conditions with the least speckle transfer less of everything (ε = {epsilon[hidden].min():.2f} to {epsilon[hidden].max():.2f}), and their networks fail less: mean "
        f"losses of {np.exp(loss[hidden].min()):.2f} to {np.exp(loss[hidden].max()):.2f}, where the median of all is {np.exp(np.median(loss)):.2f}."
    )


def _listed(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"


def _what_to_do(networks: Networks, cost: dict[str, Statistic], gone: dict[str, Statistic]) -> str:
    home = {v: networks.at_home(_FAIL, v) for v in ("film", "texture", "focus", "all")}
    return (
        "**What to do.** Look at bare film under the training condition. If it does not show there, but will where the network is used, vary it in training. In simulated training images, draw the film's "
        f"thickness widely (`thickness_angstrom: [5, 80]` in the recipe; loss under the training condition × {home['film']:.2f}, mean loss of the controls × {cost['film']}) and the focus, by ±50 Å or more "
        f"(× {home['focus']:.2f}, × {cost['focus']}). With both, more doses and more blur, × {home['all']:.2f} and × {cost['all']}. If nothing of that can be made, `training: {{texture: 1.0}}` in a study adds random texture "
        f"to the images (× {home['texture']:.2f}, × {cost['texture']}). More doses alone are no substitute: the share of the failure that is gone is {gone['dose']}, and less than 0 is worse."
    )


def _not_explained(scores: pl.DataFrame, networks: Networks, gone: dict[str, Statistic]) -> str:
    losses = [
        scores.filter(pl.col("train_condition") == f"{name}.as_is-1-0")
        .group_by("seed")
        .agg(pl.col("loss").log().mean().exp())
        .sort("seed")["loss"]
        .to_list()
        for name in _FAIL
    ]
    others = " and ".join(", ".join(f"{loss:.2f}" for loss in own[1:]) for own in losses)
    return (
        f"**What it does not explain.** Luck has a part: the first networks under conditions 36 and 38 were chosen because they were the worst of 64, with mean losses of {losses[0][0]:.2f} and {losses[1][0]:.2f}; "
        f"others that differ in their seed alone have {others or 'not been trained'}, and only those count in the figures here. Random texture trades one error for another: false negatives go from "
        f"{networks.whole.share('fn', 'as_is'):.0%} to {networks.whole.share('fn', 'texture'):.0%} of the particles' area. More blur in training takes away {gone['blur']} of the failure, though it shows no more of the film. "
        "Networks that miss particles elsewhere, the small differences between networks that work, other architectures and real films were not tested."
    )


def _variants(networks: Networks, gone: dict[str, Statistic]) -> str:
    """Return a table with a row for each variant."""
    rows = [
        [
            words,
            str(gone[v]),
            f"{np.exp(networks.whole.level(_FAIL, v)):.2f}",
            *[f"{networks.whole.share(pixels, v):.0%}" for pixels in ("fp", "fn")],
            f"{networks.at_home(_FAIL, v):.2f}",
            *(
                [str(networks.factor(_CONTROL, v)), f"{networks.at_home(_CONTROL, v):.2f}"]
                if v not in _NOT_COSTED
                else ["–", "–"]
            ),
        ]
        for v, words in VARIANTS.items()
    ]
    header = ["varied in training", "failure gone", "mean loss", "false positives", "false negatives", "at home ×"]
    return table([*header, "controls: mean loss ×", "at home ×"], rows)


def _figures(outcome: Outcome, folder: Path, networks: Networks, study: StudyTables, conditions: pl.DataFrame) -> None:
    """Draw the images, if they are there, and the spectra and losses."""
    pictures = study.paths.folder / PICTURES
    if pictures.is_file():
        caption = "The first test specimen under the training condition, and under the test condition where the loss of the network of the study is at its upper quartile. Blue: truth. Orange: what a network calls particle."
        with outcome.figure(folder, "failure_images", caption, 8.0, 3.7) as made:
            draw_pictures(pictures, made)
    caption = (
        "Left: the film's speckle under each condition, as power over that of the shot noise. Right: geometric mean of the loss over 64 test conditions, by what was varied in training, with the "
        "central 95 % when test conditions and seeds are drawn again."
    )
    with outcome.figure(folder, "failure", caption, 9.6, 3.9) as made:
        left, right = made.subplots(1, 2, width_ratios=(1, 1.3))
        if pictures.is_file():
            draw_film(pictures, conditions, left)
        _draw_losses(networks, right)


def _draw_losses(networks: Networks, ax: Axes) -> None:
    """Draw the mean loss with each variant, a colour for each training condition."""
    places = np.arange(len(VARIANTS), dtype=float)[::-1]
    for i, (name, words) in enumerate(NAMES.items()):
        found = [networks.measured(lambda d, v=v, n=name: float(np.exp(d.level((n,), v)))) for v in VARIANTS]  # type: ignore[misc]
        middle, low, high = (np.array([getattr(s, end) for s in found]) for end in ("value", "low", "high"))
        error = np.array([middle - low, high - middle])
        colour, marker = style.GROUPS[i], style.MARKERS[i]
        at = places + 0.24 - 0.16 * i
        ax.errorbar(middle, at, xerr=error, fmt=marker, color=colour, markersize=4, linewidth=1, label=words)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator([0.1, 0.15, 0.2, 0.3, 0.5]))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    short = [words.partition(":")[0] for words in VARIANTS.values()]
    ax.set(xlabel="mean loss under 64 conditions", yticks=places, yticklabels=short)
    ax.legend(fontsize=7, title="trained under", title_fontsize=7)


EXPERIMENT = Experiment(
    "failure",
    "What makes a network fail elsewhere",
    "Networks that were trained under two of 64 conditions fail under nearly all others. Is it because they meet texture there, such as the film's speckle, that "
    "their training images did not show? If so, more texture in training must help, and so must taking the film away.",
    _STUDIES,
    evaluate,
    extra=(_FIRST,),
)
