"""The registry: every shift metric by name, measured in one pass over the band, memory bounded; and the columns of its tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from torch import Tensor

from passband.conditions import AnyCondition
from passband.metrics import direct, overlap, phase
from passband.metrics.band import Q_MAX, Band, Spectrum, View, gauge, make_band
from passband.metrics.image_spectra import IMAGE_MEASURES
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
    metrics = [Metric(name, symbol, meaning, *rest, **facts)]
    for w in extra:
        texts = f"{name}_{w}", f"{symbol} ({WEIGHTS[w].symbol})", f"{meaning}; {WEIGHTS[w].meaning}"
        metrics.append(Metric(*texts, *rest, **facts | {"weight": w}))
    return metrics


_EPSILON = partial(overlap.information_sums, of=overlap.magnitude)
_SQUARE = partial(overlap.magnitude, power=2)
_PHASE: dict[str, Any] = {"unit": "rad", "weight": "core"}
_FREE: dict[str, Any] = {"weight": "core", "gauge_free": True}
_DISTORTED: tuple[Weight, ...] = ("structure_factor", "exit_wave")
_ALIKE: dict[str, Any] = {"similar": True}
#: Every metric, by name.
METRICS: dict[str, Metric] = {
    m.name: m
    for m in [
        Metric("epsilon", "ε", "share of the band that is transferred", "condition", _EPSILON, **_ALIKE),
        Metric("epsilon_p2", "ε (p=2)", "share of the band's power", "condition",
               partial(overlap.information_sums, of=_SQUARE), **_ALIKE),
        *[
            Metric(f"epsilon_{w}", f"ε ({weight.symbol})", f"ε, {weight.meaning}", "condition", _EPSILON, weight=w, **_ALIKE)
            for w, weight in WEIGHTS.items()
            if w not in ("uniform", "core")
        ],
        Metric("snr_gain", "Wiener gain", "ε with shot noise", "condition",
               partial(overlap.information_sums, of=overlap.gain), **_ALIKE),
        Metric("image_snr", "ln SNR", "log signal-to-noise power of the image of a weak object", "condition",
               overlap.snr_sums, overlap.snr_finish, **_ALIKE),
        Metric("channel_information", "bits", "mutual information of image and object, mean over the band", "condition",
               partial(overlap.information_sums, of=overlap.bits), unit="bit", **_ALIKE),
        *_family("sigma", "σ", "share of the training transfer that the test condition transfers, too", "pair",
                 partial(overlap.sums, of=overlap.magnitude), overlap.finish, extra=("radial", *_DISTORTED), **_ALIKE),
        Metric("sigma_p2", "σ (p=2)", "σ of the power |T|²", "pair", partial(overlap.sums, of=_SQUARE), overlap.finish, **_ALIKE),
        Metric("sigma_product", "σ (product)", "σ with |T||T′| for the minimum", "pair",
               overlap.product_sums, overlap.product_finish, **_ALIKE),
        Metric("sigma_cosine", "σ (cosine)", "cosine of |T| and |T′|", "pair",
               overlap.product_sums, overlap.cosine, **_ALIKE),
        *_family("signed_overlap", "signed σ", "σ, reversed contrast subtracted", "pair",
                 overlap.signed_sums, overlap.finish, extra=_DISTORTED, **_ALIKE),
        *_family("contrast_correlation", "correlation", "correlation of the two images of a weak object", "pair",
                 overlap.correlation_sums, overlap.cosine, extra=_DISTORTED, **_ALIKE),
        *_family("phase_rms", "rms Δχ", "rms difference of the aberration phases", "pair",
                 phase.sums, phase.finish, extra=("uniform", *_DISTORTED), **_PHASE),
        *_family("phase_rms_gauge_free", "rms Δχ, free", "rms Δχ, mean phase and image shift removed", "pair",
                 partial(phase.sums, quantity="gauge_free_phase"), phase.finish, extra=_DISTORTED, unit="rad", **_FREE),
        *_family("phase_saturating", "1−⟨cos Δχ⟩", "phase difference that saturates", "pair",
                 phase.saturating_sums, phase.saturating_finish, extra=_DISTORTED, weight="core"),
        *_family("phase_saturating_gauge_free", "1−|⟨exp iΔχ⟩|", "saturating, mean phase and image shift removed", "pair",
                 partial(phase.saturating_sums, quantity="gauge_free_phase"), phase.gauge_free_finish, extra=_DISTORTED, **_FREE),
        *_family("wave_overlap", "wave overlap", "coherent overlap of the wave transfers", "pair",
                 overlap.wave_sums, overlap.wave_finish, extra=_DISTORTED, **_ALIKE),
        *_family("delocalisation", "Δ|∇χ|/2π", "rms difference of the delocalisation", "pair",
                 partial(phase.sums, quantity="delocalisation"), phase.finish, extra=("exit_wave",), weight="core", unit="Å"),
        Metric("psf_distance", "PSF distance", "total variation of the point-spread functions", "direct", direct.psf_distance),
        Metric("snr_overlap", "σ (SNR)", "σ with shot noise", "pair",
               partial(overlap.sums, of=overlap.gain), overlap.finish, **_ALIKE),
        Metric("shared_information", "shared bits", "σ in bits of a Gaussian channel", "pair",
               partial(overlap.sums, of=overlap.bits), overlap.finish, **_ALIKE),
        Metric("defocus_difference", "|Δdefocus|", "difference of the defocus", "direct", direct.defocus_difference,
               trivial=True, unit="Å", column="defocus_difference_angstrom"),
        Metric("dose_difference", "Δ ln dose", "log ratio of the doses", "direct", direct.dose_difference, trivial=True),
        Metric("coefficient_distance", "Euclid", "Euclidean distance of the coefficients", "direct",
               direct.coefficient_distance, trivial=True),
    ]
}  # fmt: skip


def measure(
    names: Sequence[str],
    train: Sequence[AnyCondition] | Parameters,
    test: Sequence[AnyCondition] | Parameters,
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
    """
    metrics = [METRICS[name] for name in names]
    a = train if isinstance(train, Parameters) else stack(train)
    b = a if test is train else test if isinstance(test, Parameters) else stack(test)
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
    # Conditions that are compared with one another are computed once.
    sides = [train] if test is train else [train, test]
    gauges = [gauge(p, band, size) if needed else band.qx.new_zeros(len(p), 3) for p in sides]
    totals: dict[str, list[Tensor]] = {}
    for piece in band.split(size):
        views = [View(p, piece, g) for p, g in zip(sides, gauges, strict=True)]
        views = views * (3 - len(views))
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


@dataclass(frozen=True)
class Column:
    """Symbol and unit of a column of the table of pairs; trivial if it does not depend on contrast transfer."""

    symbol: str
    unit: str = ""
    trivial: bool = False


#: Columns that depend on the specimens, too: of texture, and the loss that a law of it predicts.
TEXTURE_COLUMNS = {
    "film_excess": Column("ln film excess"),
    "texture_contrast_train": Column("texture contrast train"),
    "texture_contrast_test": Column("texture contrast test"),
    "predicted_log_loss": Column("ln loss by texture"),
}


def column(name: str) -> Column:
    """Return symbol, unit and triviality of a column; KeyError for a name that is none.

    It is a metric; one of one condition, followed by _train or _test, or after delta_ (test less train); sigma_reverse;
    a distance between the conditions' images; or of their texture.
    """
    if name in TEXTURE_COLUMNS:
        return TEXTURE_COLUMNS[name]
    if name in IMAGE_MEASURES:
        return Column(IMAGE_MEASURES[name].symbol, trivial=True)
    if name == "sigma_reverse":
        return Column("σ reversed")
    by_column = {metric.column: metric for metric in METRICS.values()}
    base, _, side = name.rpartition("_")
    if name in by_column:
        base, symbol = name, "{}"
    elif name.startswith("delta_"):
        base, symbol = name.removeprefix("delta_"), "Δ{}" if name == "delta_epsilon" else "Δ {}"
    elif side in ("train", "test"):
        symbol = f"{{}} {side}"
    else:
        raise KeyError(name)
    metric = by_column[base]
    return Column(symbol.format(metric.symbol), metric.unit, metric.trivial)


def differences(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return delta_NAME, test less train, of each metric of one condition whose NAME_train and NAME_test are given."""
    names = [metric.column for metric in METRICS.values() if metric.form == "condition"]
    return {
        f"delta_{name}": features[f"{name}_test"] - features[f"{name}_train"]
        for name in names
        if f"{name}_train" in features
    }
