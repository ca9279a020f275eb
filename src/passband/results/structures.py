"""Check 1: another specimen instead of another condition."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.analysis.resampling import RESAMPLES, Figure
from passband.report import matrix, style
from passband.results.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from passband.seeds import seed_from

_STUDY = "structures"
_IMAGE = "mmd"


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return how much of the loss is the specimen's and how much the condition's, and what predicts each."""
    found = Outcome()
    study = studies[_STUDY]
    families, loss, features = _laid_out(study)
    shares = _measured(loss, features, _shares)
    within = _measured(loss, features, lambda y, f: [_explained(y, f, same_family=True)])[0]
    across = _measured(loss, features, lambda y, f: [_explained(y, f, same_family=False)])[0]
    weighted = _measured(
        loss,
        features,
        lambda y, f: [
            _explained(y, f, same_family=False, names=("sigma_structure_factor", "delta_epsilon_structure_factor"))
        ],
    )[0]
    images = _measured(loss, features, lambda y, f: [_images(y, f)])[0]
    ratio = _measured(loss, features, lambda y, f: [float(np.median(_alike(y)))])[0]
    worst = float(np.max(_alike(loss)))
    found.text.append(
        f"Under the same condition (σ = 1, Δε = 0) a network loses {ratio.value:.1f} times its own on another family of specimens in the median, and "
        f"up to {worst:.0f} times. Of the variance of the logarithm of the loss, over all networks, families and defoci, {shares[0].value:.0%} is the "
        f"pair of families', {shares[1].value:.0%} the pair of defoci's, and {shares[2].value:.0%} of neither alone. σ and Δε, which cannot see the specimen, explain "
        f"{within} of the variance within a family (R² in sample) and {across} between families."
    )
    found.claims += [
        Claim(
            "Metrics of the transfer do not predict the loss under a change of the specimen",
            f"R² in sample of σ and Δε between families {across}, within a family {within}",
            judged(across, below=0.3),
        ),
        Claim(
            "Weighting the transfer by the lattice's structure factor does not help (supplemental figure 7)",
            f"R² in sample of σ and Δε weighted by gold's reflections, between families {weighted}",
            judged(weighted, below=0.3),
        ),
        Claim(
            "A change of the specimen matters as much as one of the condition",
            f"share of the variance of ln loss: families {shares[0]}, defoci {shares[1]}, interaction {shares[2]}",
            "agrees"
            if shares[0].low > shares[1].high
            else "differs"
            if shares[0].high < shares[1].low
            else "cannot tell",
        ),
        Claim(
            "ours: where the transfer is the same, a distance between the images tells how another specimen fares",
            f"rank correlation of the images' MMD with ln loss over own, same defocus {images}",
            judged(images, above=0.3),
        ),
    ]
    _draw(families, loss, folder, found)
    own = np.array([[loss[a, c, a, c] for c in range(loss.shape[1])] for a in range(loss.shape[0])]).mean(1)
    rows = [
        [
            a,
            f"{own[i]:.3f}",
            *[
                f"{np.median([loss[i, c, j, c] / loss[i, c, i, c] for c in range(loss.shape[1])]):.1f}"
                for j in range(len(families))
            ],
        ]
        for i, a in enumerate(families)
    ]
    found.text.append(
        "Loss over the network's own at the same defocus, median over defoci; rows: trained on, columns: tested on.\n\n"
        + table(["", "own loss", *families], rows)
    )
    return found


def _laid_out(study: StudyTables) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Return families, mean loss and features, shape [families, conditions, families, conditions]."""
    square = study.square
    families = list(dict.fromkeys(name.split("/")[0] for name in square.names))
    shape = (len(families), len(square.names) // len(families)) * 2
    pairs = square.pairs
    return families, pairs.loss.reshape(shape), {k: v.reshape(shape) for k, v in pairs.features.items()}


def _measured(loss: np.ndarray, features: dict[str, np.ndarray], statistic: Callable[..., list[float]]) -> list[Figure]:
    """Return statistics with intervals from drawing families and conditions again."""
    rng = np.random.default_rng(seed_from("structures"))
    drawn = []
    for _ in range(RESAMPLES):
        a = rng.integers(loss.shape[0], size=loss.shape[0])
        c = rng.integers(loss.shape[1], size=loss.shape[1])
        again = np.ix_(a, c, a, c)
        if len(np.unique(a)) > 2 and len(np.unique(c)) > 1:
            drawn.append(statistic(loss[again], {k: v[again] for k, v in features.items()}))
    low, high = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    return [
        Figure(float(v), float(lo), float(hi)) for v, lo, hi in zip(statistic(loss, features), low, high, strict=True)
    ]


def _shares(loss: np.ndarray, features: dict[str, np.ndarray]) -> list[float]:
    """Return the shares of the variance of ln loss of the pair of families, the pair of conditions, and the rest."""
    y = np.log(loss)
    total = ((y - y.mean()) ** 2).mean()
    family = ((y.mean((1, 3)) - y.mean()) ** 2).mean() / total
    condition = ((y.mean((0, 2)) - y.mean()) ** 2).mean() / total
    return [float(family), float(condition), float(1 - family - condition)]


def _log_ratio(loss: np.ndarray) -> np.ndarray:
    a, c = np.indices(loss.shape[:2])
    return np.log(loss) - np.log(loss[a, c, a, c])[:, :, None, None]


def _alike(loss: np.ndarray) -> np.ndarray:
    """Return the loss over own of pairs of different families under the same condition."""
    ratio = np.exp(_log_ratio(loss))
    n, m = loss.shape[:2]
    found = [ratio[i, c, j, c] for i in range(n) for j in range(n) for c in range(m) if i != j]
    return np.array([v for v in found if v != 1.0])


def _explained(
    loss: np.ndarray,
    features: dict[str, np.ndarray],
    *,
    same_family: bool,
    names: tuple[str, ...] = ("sigma", "delta_epsilon"),
) -> float:
    n = loss.shape[0]
    family = np.eye(n, dtype=bool)[:, None, :, None] & np.ones(loss.shape, dtype=bool)
    y = _log_ratio(loss)
    used = (family if same_family else ~family) & np.isfinite(y)
    if same_family:
        used &= y != 0
    columns = [features[name][used] for name in names if name in features]
    x = np.column_stack([np.ones(used.sum()), *columns, *[a * b for i, a in enumerate(columns) for b in columns[i:]]])
    fitted = x @ np.linalg.lstsq(x, y[used])[0]
    return float(1 - ((y[used] - fitted) ** 2).sum() / ((y[used] - y[used].mean()) ** 2).sum())


def _images(loss: np.ndarray, features: dict[str, np.ndarray]) -> float:
    y, distance = _log_ratio(loss), features[_IMAGE]
    n, m = loss.shape[:2]
    found = np.array(
        [[distance[i, c, j, c], y[i, c, j, c]] for i in range(n) for j in range(n) for c in range(m) if i != j]
    )
    found = found[found[:, 1] != 0]
    return float(spearmanr(found[:, 0], found[:, 1])[0])


def _draw(families: list[str], loss: np.ndarray, folder: Path, found: Outcome) -> None:
    ratio = np.exp(_log_ratio(loss))
    m = loss.shape[1]
    rows = [
        {"train_label": a, "test_label": b, "loss": float(np.median([ratio[i, c, j, c] for c in range(m)]))}
        for i, a in enumerate(families)
        for j, b in enumerate(families)
    ]
    with style.figure(6.8, 5.8) as made:
        ax = made.subplots()
        matrix.draw(pl.DataFrame(rows), ax, "loss")
        ax.set_title("Loss over the network's own, same defocus (median)")
        style.save(made, folder, "structures_matrix", ("png",))
    found.figures.append(
        (
            "structures_matrix",
            "Trained on (rows), tested on (columns), under the same condition: all of this is invisible to the transfer.",
        )
    )


EXPERIMENT = Experiment(
    "structures",
    "Another specimen",
    "The transfer function knows the microscope and nothing of the specimen. How does a network fare on another element, crystal structure, size or "
    "film, and how much of the loss is the specimen's?",
    (_STUDY,),
    evaluate,
)
