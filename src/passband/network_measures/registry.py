"""The registry: every measure of a trained network on images, by name.

A measure of a `network` takes a `NetworkOnImages`; one of a `pair` takes two of the same weights, at home (the condition of its
training) and away (another). A new one is a pure function in a file of this room, and a row of `MEASURES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from passband.network_measures import confidence_estimates as confidence
from passband.network_measures import (
    energy,
    expected_scores,
    feature_distance,
    gradients,
    label_free,
    loss_barrier,
    predictions,
    spectra,
    subspaces,
)
from passband.network_measures.mano import mano
from passband.network_measures.nuclear_norm import nuclear_norm
from passband.network_measures.orientation_agreement import orientation_agreement, orientation_dice
from passband.network_measures.seed_agreement import seed_agreement, seed_dice


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: column of tables; of a network it has _train (at home) and _test (away).
        title: what it is, in a few words.
        symbol: in figures and tables.
        of: network, or pair.
        needs_labels: whether it needs labels away from home; at home they are known.
        source: who proposed it.
        cost: the most expensive thing that it takes of each condition. What is at hand is not computed again.
        compute: the function; a float of a NetworkOnImages, or of two.
        at_home_only: whether it takes too long to be computed for every pair.
        same_specimens: whether both conditions have to show the same specimens, whose predictions at home then stand for labels.
    """

    name: str
    title: str
    symbol: str
    of: Literal["network", "pair"]
    needs_labels: bool
    source: str
    cost: Literal["prediction", "gradient", "head", "barrier", "spectrum"]
    compute: Callable[..., float]
    at_home_only: bool = False
    same_specimens: bool = False


_CLASSES = "Li et al., MICCAI 2022"
_TURNED = "Wang et al., Neurocomputing 338, 34 (2019)"
_ALIGNMENT = "Hemati et al., ICCV 2023"
#: Every measure, by name.
MEASURES: dict[str, Measure] = {
    m.name: m
    for m in [
        Measure("gradient_norm", "norm of the gradient", "|g|", "network", True,
                "Zhao, Zhang and Hu, ICML 2022", "gradient", gradients.gradient_norm),
        Measure("sharpness", "rise of the loss by a step of 0.05 along its gradient", "SAM", "network", True,
                "Foret et al., ICLR 2021", "gradient", gradients.sharpness),
        Measure("step_gain", "gain of the best step against the gradient, quadratic", "(gᵀg)²/2gᵀGg", "network", True,
                "Nocedal and Wright, Numerical Optimization, 2006", "gradient", spectra.step_gain),
        Measure("hessian_top", "largest eigenvalue of the Hessian", "λ₁(H)", "network", True,
                "Keskar et al., ICLR 2017", "spectrum", spectra.hessian_top),
        Measure("fisher_top", "largest eigenvalue of the Fisher information", "λ₁(F)", "network", False,
                "Karakida, Akaho and Amari, AISTATS 2019", "spectrum", spectra.fisher_top),
        Measure("hessian_trace", "trace of the Hessian", "tr H", "network", True,
                "Yao et al., IEEE Big Data 2020", "spectrum", spectra.hessian_trace, at_home_only=True),
        Measure("hessian_soft_rank", "trace of the Hessian over its largest eigenvalue", "tr H/λ₁", "network", True,
                "Tropp, Found. Trends Mach. Learn. 8, 1 (2015)", "spectrum", spectra.hessian_soft_rank, at_home_only=True),
        Measure("head_top", "largest eigenvalue of the head's Hessian", "λ₁(H head)", "network", True,
                "Keskar et al., ICLR 2017", "head", spectra.head_top),
        Measure("head_trace", "trace of the head's Hessian", "tr H head", "network", True,
                "Rame, Dancette and Cord, ICML 2022", "head", spectra.head_trace),
        Measure("head_fisher_trace", "trace of the head's Fisher information", "tr F head", "network", False,
                "Rame, Dancette and Cord, ICML 2022", "head", spectra.head_fisher_trace),
        Measure("head_soft_rank", "trace of the head's Fisher information over its largest eigenvalue", "tr F/λ₁ head",
                "network", False, "Tropp, Found. Trends Mach. Learn. 8, 1 (2015)", "head", spectra.head_soft_rank),
        Measure("gradient_alignment", "cosine between gradients", "cos g", "pair", True,
                "Fort et al., arXiv:1901.09491", "gradient", gradients.gradient_alignment),
        Measure("average_confidence", "mean confidence of the pixels", "conf.", "network", False,
                "Hendrycks and Gimpel, ICLR 2017", "prediction", label_free.of_logits(confidence.average_confidence)),
        Measure("entropy", "mean entropy of the pixels", "H(p)", "network", False,
                "Guillory et al., ICCV 2021", "prediction", label_free.of_logits(expected_scores.expected_cross_entropy)),
        Measure("expected_loss", "loss that the network expects", "E[L]", "network", False,
                _CLASSES, "prediction", label_free.of_logits(expected_scores.expected_loss)),
        Measure("expected_dice", "Dice that the network expects", "E[Dice]", "network", False,
                _CLASSES, "prediction", label_free.of_logits(expected_scores.expected_dice)),
        Measure("average_energy", "mean energy of the pixels", "E(z)", "network", False,
                "Liu et al., NeurIPS 2020", "prediction", label_free.of_logits(energy.average_energy)),
        Measure("meta_distribution_energy", "meta-distribution energy", "MDE", "network", False,
                "Peng et al., ICLR 2024", "prediction", label_free.of_logits(energy.meta_distribution_energy)),
        Measure("mano", "matrix norm of normalised logits", "MaNo", "network", False,
                "Xie et al., NeurIPS 2024", "prediction", label_free.of_logits(mano)),
        Measure("nuclear_norm", "nuclear norm of the predictions", "‖P‖*", "network", False,
                "Deng et al., ICML 2023", "prediction", label_free.of_logits(nuclear_norm)),
        Measure("orientation_agreement", "pixels alike in two orientations", "acc. turned", "network", False,
                _TURNED, "prediction", label_free.of_orientations(orientation_agreement)),
        Measure("orientation_dice", "Dice between two orientations", "Dice turned", "network", False,
                _TURNED, "prediction", label_free.of_orientations(orientation_dice)),
        Measure("seed_agreement", "pixels alike with other seeds", "acc. seeds", "network", False,
                "Jiang et al., ICLR 2022", "prediction", label_free.of_siblings(seed_agreement)),
        Measure("seed_dice", "Dice with other seeds", "Dice seeds", "network", False,
                "Jiang et al., ICLR 2022", "prediction", label_free.of_siblings(seed_dice)),
        Measure("own_gradient_norm", "norm of the head's gradient by the network's own predictions", "GdScore", "network", False,
                "Xie et al., Trans. Mach. Learn. Res. 2025", "head", label_free.own_gradient_norm),
        Measure("difference_of_confidences", "accuracy at home less the loss of confidence", "DoC", "pair", False,
                "Guillory et al., ICCV 2021", "prediction", label_free.of_labelled_home(confidence.difference_of_confidences)),
        Measure("thresholded_confidence", "accuracy by thresholded confidence", "ATC", "pair", False,
                "Garg et al., ICLR 2022", "prediction", label_free.of_labelled_home(confidence.thresholded_confidence)),
        Measure("thresholded_dice", "Dice by thresholded confidence", "ATC Dice", "pair", False,
                _CLASSES, "prediction", label_free.of_labelled_home(confidence.thresholded_dice)),
        Measure("calibrated_loss", "loss that the network expects, calibrated at home", "E[L] cal.", "pair", False,
                "Guo et al., ICML 2017", "prediction", label_free.calibrated(expected_scores.expected_loss)),
        Measure("calibrated_dice", "Dice that the network expects, calibrated at home", "E[Dice] cal.", "pair", False,
                _CLASSES, "prediction", label_free.calibrated(expected_scores.expected_dice)),
        Measure("reverse_dice", "Dice at home of a head refitted to predictions", "reverse Dice", "pair", False,
                "Valindria et al., IEEE Trans. Med. Imaging 36, 1597 (2017)", "head", label_free.reverse_dice),
        Measure("feature_frechet_distance", "Fréchet distance of the deepest features", "FD", "pair", False,
                "Deng and Zheng, CVPR 2021", "prediction", label_free.of_features(feature_distance.feature_frechet_distance)),
        Measure("feature_mmd", "maximum mean discrepancy of the deepest features", "MMD", "pair", False,
                "Gretton et al., J. Mach. Learn. Res. 13, 723 (2012)", "prediction", label_free.of_features(feature_distance.feature_mmd)),
        Measure("spectral_frechet_distance", "Fréchet distance of the images' power spectra", "FD of spectra", "pair", False,
                "Heusel et al., NeurIPS 2017", "prediction", label_free.spectral_distance),
        Measure("hessian_grassmann", "Grassmann distance of the Hessians' dominant subspaces", "d(H)", "pair", True,
                "Edelman, Arias and Smith, SIMAX 20, 303 (1998)", "spectrum", subspaces.hessian_grassmann),
        Measure("hessian_alignment", "Frobenius cosine of the Hessians, from their eigenpairs", "cos H", "pair", True,
                _ALIGNMENT, "spectrum", subspaces.hessian_alignment),
        Measure("fisher_grassmann", "Grassmann distance of the dominant subspaces of the Fisher information", "d(F)", "pair", False,
                "Edelman, Arias and Smith, SIMAX 20, 303 (1998)", "spectrum", subspaces.fisher_grassmann),
        Measure("fisher_alignment", "Frobenius cosine of the Fisher information, from eigenpairs", "cos F", "pair", False,
                _ALIGNMENT, "spectrum", subspaces.fisher_alignment),
        Measure("head_alignment", "Frobenius cosine of the head's Hessians", "cos H head", "pair", True,
                _ALIGNMENT, "head", subspaces.head_alignment),
        Measure("head_grassmann", "Grassmann distance of the dominant subspaces of the head's Hessians", "d(H head)", "pair", True,
                "Edelman, Arias and Smith, SIMAX 20, 303 (1998)", "head", subspaces.head_grassmann),
        Measure("head_fisher_alignment", "Frobenius cosine of the head's Fisher information", "cos F head", "pair", False,
                _ALIGNMENT, "head", subspaces.head_fisher_alignment),
        Measure("loss_barrier", "loss halfway to the network trained there, less the mean of both", "barrier", "pair", True,
                "Frankle et al., ICML 2020; Ainsworth et al., ICLR 2023", "barrier", loss_barrier.between),
        Measure("prediction_kl", "Kullback–Leibler divergence of the predictions", "KL", "pair", False,
                "Kullback and Leibler, Ann. Math. Stat. 22, 79 (1951)", "prediction", predictions.prediction_kl, same_specimens=True),
        Measure("prediction_fisher_rao", "Fisher–Rao distance of the predictions", "d(p)", "pair", False,
                "Rao, Bull. Calcutta Math. Soc. 37, 81 (1945)", "prediction", predictions.prediction_fisher_rao, same_specimens=True),
        Measure("prediction_loss", "loss if predictions at home were labels", "L(ŷ)", "pair", False,
                "Lee, ICML Workshop on Representation Learning 2013", "prediction", predictions.prediction_loss, same_specimens=True),
        Measure("prediction_dice", "Dice between the predictions", "Dice ŷ", "pair", False,
                "Dice, Ecology 26, 297 (1945)", "prediction", predictions.prediction_dice, same_specimens=True),
    ]
}  # fmt: skip
