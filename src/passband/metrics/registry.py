"""The registry: every shift metric by name, measured in one pass over the band, memory bounded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor

from passband.conditions import Condition
from passband.metrics import (
    channel_information,
    contrast_correlation,
    delocalisation,
    information,
    overlap,
    overlap_cosine,
    overlap_product,
    phase_rms,
    phase_saturating,
    signed_overlap,
    snr,
    wave_overlap,
)
from passband.metrics.band import Q_MAX, Band, Spectrum, View, gauge, make_band
from passband.metrics.coefficient_distance import coefficient_distance
from passband.metrics.defocus_difference import defocus_difference
from passband.metrics.dose_difference import dose_difference
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


def _family(
    name: str, symbol: str, meaning: str, compute: Any, finish: Any, extra: Sequence[Weight], **rest: Any
) -> list[Metric]:
    """Return a metric and its versions under other weights."""
    first = Metric(name, symbol, meaning, "pair", compute, finish, **rest)
    return [first] + [
        Metric(
            f"{name}_{w}",
            f"{symbol} ({WEIGHTS[w].symbol})",
            f"{meaning}; {WEIGHTS[w].meaning}",
            "pair",
            compute,
            finish,
            **(rest | {"weight": w}),
        )
        for w in extra
    ]


_EPSILON = information.sums
_PHASE = {"unit": "rad", "weight": "core"}
_DISTORTED: tuple[Weight, ...] = ("structure_factor", "exit_wave")
#: Every metric, by name.
METRICS: dict[str, Metric] = {
    m.name: m
    for m in [
        Metric("epsilon", "ε", "share of the band that is transferred", "condition", _EPSILON, similar=True),
        Metric("epsilon_p2", "ε (p=2)", "share of the band's power", "condition", partial(_EPSILON, power=2), similar=True),
        *[
            Metric(f"epsilon_{w}", f"ε ({weight.symbol})", f"ε, {weight.meaning}", "condition", _EPSILON, weight=w, similar=True)
            for w, weight in WEIGHTS.items()
            if w not in ("uniform", "core")
        ],
        Metric("snr_gain", "Wiener gain", "ε with shot noise", "condition", snr.gain_sums, similar=True),
        Metric("image_snr", "ln SNR", "log signal-to-noise power of the image of a weak object", "condition", snr.image_sums,
               snr.image_finish, similar=True),
        Metric(
            "channel_information", "bits", "mutual information of image and object, mean over the band",
            "condition", channel_information.sums, similar=True, unit="bit",
        ),
        *_family("sigma", "σ", "share of the training transfer that the test condition transfers, too", overlap.sums, overlap.finish,
                 ("radial", "structure_factor", "exit_wave"), similar=True),
        Metric("sigma_p2", "σ (p=2)", "σ of the power |T|²", "pair", partial(overlap.sums, power=2), overlap.finish, similar=True),
        Metric("sigma_product", "σ (product)", "σ with |T||T′| for the minimum", "pair", overlap_product.sums, overlap_product.finish, similar=True),
        Metric("sigma_cosine", "σ (cosine)", "cosine of |T| and |T′|", "pair", overlap_cosine.sums, overlap_cosine.finish, similar=True),
        *_family("signed_overlap", "signed σ", "σ, reversed contrast subtracted", signed_overlap.sums, signed_overlap.finish,
                 _DISTORTED, similar=True),
        *_family("contrast_correlation", "correlation", "correlation of the two images of a weak object",
                 contrast_correlation.sums, contrast_correlation.finish, _DISTORTED, similar=True),
        *_family("phase_rms", "rms Δχ", "rms difference of the aberration phases", phase_rms.sums, phase_rms.finish,
                 ("uniform", *_DISTORTED), **_PHASE),
        *_family("phase_rms_gauge_free", "rms Δχ, free", "rms Δχ, mean phase and image shift removed",
                 partial(phase_rms.sums, gauge_free=True), phase_rms.finish, _DISTORTED, gauge_free=True, **_PHASE),
        *_family("phase_saturating", "1−⟨cos Δχ⟩", "phase difference that saturates", phase_saturating.sums,
                 phase_saturating.finish, _DISTORTED, weight="core"),
        *_family("phase_saturating_gauge_free", "1−|⟨exp iΔχ⟩|", "saturating, mean phase and image shift removed",
                 partial(phase_saturating.sums, gauge_free=True), phase_saturating.finish_gauge_free, _DISTORTED, gauge_free=True, weight="core"),
        *_family("wave_overlap", "wave overlap", "coherent overlap of the wave transfers", wave_overlap.sums, wave_overlap.finish,
                 _DISTORTED, similar=True),
        *_family("delocalisation", "Δ|∇χ|/2π", "rms difference of the delocalisation", delocalisation.sums, delocalisation.finish,
                 ("exit_wave",), weight="core", unit="Å"),
        Metric("psf_distance", "PSF distance", "total variation of the point-spread functions", "direct", psf_distance),
        Metric("snr_overlap", "σ (SNR)", "σ with shot noise", "pair", snr.overlap_sums, snr.finish, similar=True),
        Metric("shared_information", "shared bits", "σ in bits of a Gaussian channel", "pair", channel_information.overlap_sums,
               channel_information.finish, similar=True),
        Metric("defocus_difference", "|Δdefocus|", "difference of the defocus", "direct", defocus_difference, trivial=True, unit="Å",
               column="defocus_difference_angstrom"),
        Metric("dose_difference", "Δ ln dose", "log ratio of the doses", "direct", dose_difference, trivial=True),
        Metric("coefficient_distance", "Euclid", "Euclidean distance of the coefficients", "direct", coefficient_distance, trivial=True),
    ]
}  # fmt: skip


def measure(
    names: Sequence[str],
    train: Sequence[Condition] | Parameters,
    test: Sequence[Condition] | Parameters,
    q_max: float = Q_MAX,
    *,
    exit_wave: Spectrum | None = None,
    band: Band | None = None,
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
        band: nodes to use instead of an automatic band (then all metrics take its weight).

    Raises:
        KeyError: for a name that is not a metric.
    """
    metrics = [METRICS[name] for name in names]
    a, b = (x if isinstance(x, Parameters) else stack(x) for x in (train, test))
    result: dict[str, Tensor] = {}
    for metric in metrics:
        if metric.form == "direct":
            result[metric.name] = metric.compute(a, b, q_max)
    energy = float(a.energy_ev[0])
    power = carbon_film(energy) if exit_wave is None else exit_wave
    for weight in dict.fromkeys(m.weight for m in metrics if m.form != "direct"):
        chosen = [m for m in metrics if m.weight == weight and m.form != "direct"]
        nodes = band
        if nodes is None:
            if isinstance(train, Parameters) or isinstance(test, Parameters):
                raise TypeError("give conditions, or a band that resolves the parameters")
            nodes = make_band([*train, *test], q_max, WEIGHTS[weight].spectrum(q_max, power), power)
        result |= _over_band(chosen, a, b, nodes)
    ordered: dict[str, Tensor] = {}
    for name in names:
        keys = [name] if name in result else [f"{name}_train", f"{name}_test"]
        ordered |= {key: result[key] for key in keys}
    return ordered


def _over_band(metrics: list[Metric], train: Parameters, test: Parameters, band: Band) -> dict[str, Tensor]:
    size = max(64, _PIECE_BYTES // (16 * max(len(train), len(test))))
    needed = any(m.gauge_free for m in metrics)
    gauges = [gauge(p, band, size) if needed else band.qx.new_zeros(len(p), 3) for p in (train, test)]
    totals: dict[str, list[Tensor]] = {}
    for piece in band.split(size):
        views = [View(p, piece, g) for p, g in zip((train, test), gauges, strict=True)]
        for metric in metrics:
            if metric.form == "pair":
                parts = {metric.name: metric.compute(*views)}
            else:
                parts = {
                    f"{metric.name}_{side}": metric.compute(v) for side, v in zip(("train", "test"), views, strict=True)
                }
            for key, sums in parts.items():
                totals[key] = [t + s for t, s in zip(totals[key], sums, strict=True)] if key in totals else list(sums)
    finishes = {key: m.finish for m in metrics for key in (m.name, f"{m.name}_train", f"{m.name}_test")}
    nodes = len(band.qx)
    return {key: finish(*sums) if (finish := finishes.get(key)) else sums[0] / nodes for key, sums in totals.items()}
