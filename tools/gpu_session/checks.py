"""Whether what a GPU computes is what a CPU does: to rounding where it can be, else within what chance allows.

Each check returns what it measured, with `agrees` and the limit that decides.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from passband.learning.fleets import ARRANGEMENTS
from tools.gpu_session import cases
from tools.gpu_session.cases import Size

Facts = dict[str, Any]
#: Most that waves and images may differ, relative L2; of waves without the undiffracted beam, of images without their mean.
ROUNDING = 1e-4
#: Standard deviations that a mean, a variance or a correlation of counts may be off; with two dozen of them, chance passes it once in 70,000 runs.
SIGMAS = 5.0
#: Least probability of a histogram of counts.
LEAST_P = 1e-6
#: Standard deviations between seeds that the mean loss of a fleet, and any one loss, may be off: chance passes them once in 500 runs.
LOSS_SIGMAS, OUTLIER_SIGMAS = 4.0, 5.0
#: Share of an image's pixels by which each count of a test may differ: a GPU's convolutions round more coarsely.
PIXEL_SHARE = 0.005
# Least number of counts that a bin of a histogram is expected to have.
_LEAST_EXPECTED = 10


def waves(device: str, given: Mapping[str, np.ndarray], size: Size) -> Facts:
    """Compare exit waves."""
    made, known = cases.waves(device)["waves"], given["waves"]
    scattered = known.copy()
    # The undiffracted beam is nearly all of a wave, and would hide what differs.
    scattered[np.arange(len(known))[:, None], np.arange(known.shape[1]), np.abs(known).argmax(-1)] = 0
    return _rounding({"waves": float(np.linalg.norm(made - known) / np.linalg.norm(scattered))})


def images(device: str, given: Mapping[str, np.ndarray], size: Size) -> Facts:
    """Compare expected intensities under several conditions."""
    found = {}
    for name, made in cases.images(device, given).items():
        known = given[name]
        found[name] = float(np.linalg.norm(made - known) / np.linalg.norm(known - known.mean()))
    return _rounding(found)


def _rounding(found: dict[str, float]) -> Facts:
    return {"relative_l2": found, "limit": ROUNDING, "agrees": max(found.values()) <= ROUNDING}


def noise(device: str, given: Mapping[str, np.ndarray], size: Size) -> Facts:
    """Compare mean, variance, independence and histogram of counts with their known distributions."""
    found, conditions = {}, cases.noisy()
    for name, counts in cases.noise(device, size).items():
        condition = conditions[name.split(",")[0]]
        mean = condition.dose_per_angstrom2 * condition.pixel_size_angstrom**2
        readout = condition.detector.readout_electrons or 0.0
        found[name] = count_statistics(counts.astype(float), mean, readout)
    most = max(abs(value) for row in found.values() for key, value in row.items() if key != "p")
    least = min(row.get("p", 1.0) for row in found.values())
    return {
        "standard_deviations": found,
        "limit": SIGMAS,
        "least_p": LEAST_P,
        "agrees": most <= SIGMAS and least >= LEAST_P,
    }


def count_statistics(counts: np.ndarray, mean: float, readout: float) -> dict[str, float]:
    """Return by how many standard deviations counts [N, n, n] are off Poisson numbers of a mean with normal readout noise.

    Their mean, their variance, and the correlations of neighbours and of images; without readout noise `p` of their histogram, too.
    """
    size, variance = counts.size, mean + readout**2
    # The fourth moments of a sum of independent numbers.
    fourth = mean * (1 + 3 * mean) + 6 * mean * readout**2 + 3 * readout**4
    off = counts - mean
    found = {
        "mean": off.mean() / math.sqrt(variance / size),
        "variance": ((off**2).mean() - variance) / math.sqrt((fourth - variance**2) / size),
        "neighbours": (off[:, 1:] * off[:, :-1]).sum() / (variance * math.sqrt(off[:, 1:].size)),
        "images": (off[1:] * off[:-1]).sum() / (variance * math.sqrt(off[1:].size)),
    }
    if readout == 0:
        values = np.arange(int(counts.max()) + 2)
        expected, seen = stats.poisson(mean).pmf(values) * size, np.bincount(counts.astype(int).ravel(), minlength=0)
        seen = np.pad(seen, (0, len(values) - len(seen)))
        inside = expected >= _LEAST_EXPECTED
        # What is outside makes one bin more.
        bins = [
            np.append(v[inside], rest)
            for v, rest in ((seen, seen[~inside].sum()), (expected, size - expected[inside].sum()))
        ]
        found["p"] = float(stats.chi2.sf(((bins[0] - bins[1]) ** 2 / bins[1].clip(1e-9)).sum(), len(bins[0]) - 1))
    return {name: float(value) for name, value in found.items()}


def network(device: str, given: Mapping[str, np.ndarray], size: Size) -> Facts:
    """Compare the losses of a network that is trained alone with those of a CPU's seeds."""
    made, known = cases.network(device, given, size)["network"], given["fleet"]
    off = (made - known[0].mean(0)) / _spread(known)
    return {
        "losses": made.tolist(),
        "mean_losses_cpu": known[0].mean(0).tolist(),
        "standard_deviations": off.tolist(),
        "limit": OUTLIER_SIGMAS,
        "agrees": bool((np.abs(off) <= OUTLIER_SIGMAS).all()),
    }


def fleet(device: str, given: Mapping[str, np.ndarray], size: Size) -> Facts:
    """Compare the losses of a fleet, in each arrangement, with those of a CPU's: each with the seeds of its defocus, and all in the mean."""
    found = {}
    for arrangement in ARRANGEMENTS:
        made = cases.fleet(device, given, size, arrangement)[0]["fleet"]
        found[arrangement] = fleet_statistics(made, given["fleet"])
    return {"arrangements": found, "agrees": all(facts["agrees"] for facts in found.values())}


def fleet_statistics(made: np.ndarray, known: np.ndarray) -> Facts:
    """Return how far losses [defoci, seeds, 2] are off known ones, which have other noise."""
    spread, count = _spread(known), made[..., 0].size
    off = (made - known).mean((0, 1)) / (spread * math.sqrt(2 / count))
    outliers = int((np.abs(made - known.mean(1, keepdims=True)) > OUTLIER_SIGMAS * spread).any(-1).sum())
    return {
        "networks": count,
        "mean_losses": made.mean((0, 1)).tolist(),
        "mean_losses_cpu": known.mean((0, 1)).tolist(),
        "standard_deviations": off.tolist(),
        "limit": LOSS_SIGMAS,
        "outliers": outliers,
        "largest_difference": float((np.abs(made - known) / known).max()),
        "agrees": bool((np.abs(off) <= LOSS_SIGMAS).all()) and outliers == 0,
    }


def _spread(losses: np.ndarray) -> np.ndarray:
    """Return the standard deviation between seeds of losses [defoci, seeds, 2], shape [2]."""
    return np.sqrt(losses.var(1, ddof=1).mean(0))


def tests(device: str, given: Mapping[str, np.ndarray], size: Size) -> Facts:
    """Compare the pixel counts of the same networks on the same images."""
    made, known = cases.tests(device, given)["tests"], given["tests"]
    most = int(np.abs(made - known).max())
    limit = math.ceil(PIXEL_SHARE * known[0, 0].sum())
    return {"pixels": most, "limit": limit, "of": int(known[0, 0].sum()), "agrees": most <= limit}


#: All checks by name, in the order in which they are made.
CHECKS = {"waves": waves, "images": images, "noise": noise, "network": network, "fleet": fleet, "tests": tests}
