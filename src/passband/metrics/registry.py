"""The registry: every shift metric by name, measured in one pass over the band, memory bounded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from passband.conditions import Condition
from passband.metrics import baselines, correlation, noise, overlap, phase
from passband.metrics.band import Q_MAX, Band, Spectrum, View, gauge, make_band
from passband.metrics.psf_distance import psf_distance
from passband.metrics.weights import WEIGHTS, Weight, carbon_film
from passband.optics import Parameters, stack

# Bytes that the views of one piece of the band may take, all quantities together about eight times this.
_PIECE_BYTES = 32_000_000


@dataclass(frozen=True)
class Metric:
    """One shift metric.

    Attributes:
        name: column of tables.
        symbol: in figures and tables.
        meaning: what it measures, in a few words.
        form: condition (one value a condition), pair (summed over the band), or direct (not a sum over the band).
        compute: sums of a view, sums of two views, or the function of two Parameters and q_max.
        finish: from the sums to the metric; None for the mean over the band.
        weight: spectral weight; core is the inner half of the band.
        similar: True if larger means more alike.
        trivial: True if it does not depend on contrast transfer.
        unit: of the value.
        gauge_free: True if mean phase and image shift are removed first (`View.gauge`).
        column: in tables, if it differs from the name; metrics of one condition have it with _train and _test.
    """

    name: str
    symbol: str
    meaning: str
    form: Literal["condition", "pair", "direct"]
    compute: Callable[..., Any]
    finish: Callable[..., Tensor] | None = None
    weight: Weight = "uniform"
    similar: bool = False
    trivial: bool = False
    unit: str = ""
    gauge_free: bool = False
    column: str = ""

    def __post_init__(self) -> None:
        """Use the name as column by default."""
        if not self.column:
            object.__setattr__(self, "column", self.name)


def _family(name: str, symbol: str, meaning: str, *rest: Any, extra: Sequence[Weight], **facts: Any) -> list[Metric]:
    """Return a metric and its versions under other weights."""
    first = Metric(name, symbol, meaning, *rest, **facts)
    return [first] + [
        replace(first, name=(n := f"{name}_{w}"), column=n, symbol=f"{symbol} ({v.symbol})", meaning=f"{meaning}; {v.meaning}", weight=w)
        for w, v in ((w, WEIGHTS[w]) for w in extra)
    ]  # fmt: skip


_EPSILON = overlap.information_sums
_PHASE: dict[str, Any] = {"unit": "rad", "weight": "core"}
_FREE: dict[str, Any] = {"weight": "core", "gauge_free": True}
_DISTORTED: tuple[Weight, ...] = ("structure_factor", "exit_wave")
_ALIKE: dict[str, Any] = {"similar": True}
#: Every metric, by name.
METRICS: dict[str, Metric] = {
    m.name: m
    for m in [
        Metric("epsilon", "ε", "share of the band that is transferred", "condition", _EPSILON, **_ALIKE),
        Metric("epsilon_p2", "ε (p=2)", "share of the band's power", "condition", partial(_EPSILON, power=2), **_ALIKE),
        *[
            Metric(f"epsilon_{w}", f"ε ({weight.symbol})", f"ε, {weight.meaning}", "condition", _EPSILON, weight=w, **_ALIKE)
            for w, weight in WEIGHTS.items()
            if w not in ("uniform", "core")
        ],
        Metric("snr_gain", "Wiener gain", "ε with shot noise", "condition", noise.gain_sums, **_ALIKE),
        Metric("image_snr", "ln SNR", "log signal-to-noise power of the image of a weak object", "condition",
               noise.image_sums, noise.image_finish, **_ALIKE),
        Metric("channel_information", "bits", "mutual information of image and object, mean over the band", "condition",
               noise.bit_sums, unit="bit", **_ALIKE),
        *_family("sigma", "σ", "share of the training transfer that the test condition transfers, too", "pair",
                 overlap.sums, overlap.finish, extra=("radial", *_DISTORTED), **_ALIKE),
        Metric("sigma_p2", "σ (p=2)", "σ of the power |T|²", "pair", partial(overlap.sums, power=2), overlap.finish, **_ALIKE),
        Metric("sigma_product", "σ (product)", "σ with |T||T′| for the minimum", "pair",
               overlap.product_sums, overlap.product_finish, **_ALIKE),
        Metric("sigma_cosine", "σ (cosine)", "cosine of |T| and |T′|", "pair",
               overlap.product_sums, correlation.finish, **_ALIKE),
        *_family("signed_overlap", "signed σ", "σ, reversed contrast subtracted", "pair",
                 overlap.signed_sums, overlap.finish, extra=_DISTORTED, **_ALIKE),
        *_family("contrast_correlation", "correlation", "correlation of the two images of a weak object", "pair",
                 correlation.image_sums, correlation.finish, extra=_DISTORTED, **_ALIKE),
        *_family("phase_rms", "rms Δχ", "rms difference of the aberration phases", "pair",
                 phase.sums, phase.finish, extra=("uniform", *_DISTORTED), **_PHASE),
        *_family("phase_rms_gauge_free", "rms Δχ, free", "rms Δχ, mean phase and image shift removed", "pair",
                 partial(phase.sums, quantity="gauge_free_phase"), phase.finish, extra=_DISTORTED, unit="rad", **_FREE),
        *_family("phase_saturating", "1−⟨cos Δχ⟩", "phase difference that saturates", "pair",
                 phase.saturating_sums, phase.saturating_finish, extra=_DISTORTED, weight="core"),
        *_family("phase_saturating_gauge_free", "1−|⟨exp iΔχ⟩|", "saturating, mean phase and image shift removed", "pair",
                 partial(phase.saturating_sums, quantity="gauge_free_phase"), phase.gauge_free_finish, extra=_DISTORTED, **_FREE),
        *_family("wave_overlap", "wave overlap", "coherent overlap of the wave transfers", "pair",
                 correlation.wave_sums, correlation.wave_finish, extra=_DISTORTED, **_ALIKE),
        *_family("delocalisation", "Δ|∇χ|/2π", "rms difference of the delocalisation", "pair",
                 partial(phase.sums, quantity="delocalisation"), phase.finish, extra=("exit_wave",), weight="core", unit="Å"),
        Metric("psf_distance", "PSF distance", "total variation of the point-spread functions", "direct", psf_distance),
        Metric("snr_overlap", "σ (SNR)", "σ with shot noise", "pair", noise.gain_overlap_sums, overlap.finish, **_ALIKE),
        Metric("shared_information", "shared bits", "σ in bits of a Gaussian channel", "pair",
               noise.bit_overlap_sums, overlap.finish, **_ALIKE),
        Metric("defocus_difference", "|Δdefocus|", "difference of the defocus", "direct", baselines.defocus_difference,
               trivial=True, unit="Å", column="defocus_difference_angstrom"),
        Metric("dose_difference", "Δ ln dose", "log ratio of the doses", "direct", baselines.dose_difference, trivial=True),
        Metric("coefficient_distance", "Euclid", "Euclidean distance of the coefficients", "direct",
               baselines.coefficient_distance, trivial=True),
    ]
}  # fmt: skip


def measure(
    names: Sequence[str],
    train: Sequence[Condition] | Parameters,
    test: Sequence[Condition] | Parameters,
    q_max: float = Q_MAX,
    *,
    exit_wave: Spectrum | None = None,
    band: Band | Callable[[Weight], Band] | None = None,
) -> dict[str, Tensor]:
    """Return the metrics by name: a pair's shape [B, B′]; a condition's as NAME_train [B] and NAME_test [B′].

    Memory is bounded whatever the number of frequencies: only the results grow with B · B′. Given Parameters that require
    gradients, the result can be differentiated.

    Args:
        names: of METRICS.
        train: B training conditions.
        test: B′ test conditions.
        q_max: radius of the band [1/Å].
        exit_wave: power spectral density of the specimen's exit waves [Å²] over |q|; without it, that of 25 Å of carbon.
        band: nodes to use instead of an automatic band, for all metrics whatever their weight, or those of a weight.

    Raises:
        KeyError: for a name that is not a metric.
    """
    metrics = [METRICS[name] for name in names]
    a, b = (x if isinstance(x, Parameters) else stack(x) for x in (train, test))
    result: dict[str, Tensor] = {m.name: m.compute(a, b, q_max) for m in metrics if m.form == "direct"}
    power = carbon_film(float(a.energy_ev[0])) if exit_wave is None else exit_wave
    for weight in dict.fromkeys(m.weight for m in metrics if m.form != "direct"):
        chosen = [m for m in metrics if m.weight == weight and m.form != "direct"]
        nodes = band(weight) if callable(band) else band
        if nodes is None:
            if isinstance(train, Parameters) or isinstance(test, Parameters):
                raise TypeError("give conditions, or a band that resolves the parameters")
            nodes = make_band([*train, *test], q_max, WEIGHTS[weight].spectrum(q_max, power), power)
        result |= _over_band(chosen, a, b, nodes)
    keys = [key for name in names for key in ([name] if name in result else [f"{name}_train", f"{name}_test"])]
    return {key: result[key] for key in keys}


def _over_band(metrics: list[Metric], train: Parameters, test: Parameters, band: Band) -> dict[str, Tensor]:
    size = max(64, _PIECE_BYTES // (16 * max(len(train), len(test))))
    needed = any(m.gauge_free for m in metrics)
    gauges = [gauge(p, band, size) if needed else band.qx.new_zeros(len(p), 3) for p in (train, test)]
    totals: dict[str, list[Tensor]] = {}
    for piece in band.split(size):
        views = [View(p, piece, g) for p, g in zip((train, test), gauges, strict=True)]
        for metric in metrics:
            calls = {metric.name: views}
            if metric.form == "condition":
                calls = {f"{metric.name}_train": views[:1], f"{metric.name}_test": views[1:]}
            for key, arguments in calls.items():
                sums = metric.compute(*arguments)
                totals[key] = [t + s for t, s in zip(totals[key], sums, strict=True)] if key in totals else list(sums)
    finishes = {key: m.finish for m in metrics for key in (m.name, f"{m.name}_train", f"{m.name}_test")}
    nodes = len(band.qx)
    return {key: finish(*sums) if (finish := finishes.get(key)) else sums[0] / nodes for key, sums in totals.items()}
