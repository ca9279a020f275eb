"""Every shift metric between training and test conditions, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from passband.conditions import ImagingCondition
from passband.frequencies import polar_band
from passband.optics import intensity_transfer, stack
from passband.shift.defocus_difference import defocus_difference
from passband.shift.information import information
from passband.shift.overlap import overlap

#: Radius of the band B over which information is counted [1/Å].
Q_MAX = 1.0


@dataclass(frozen=True)
class Shift:
    """Metrics between B training and B′ test conditions.

    Attributes:
        epsilon_train: ε of the training conditions, shape [B].
        epsilon_test: ε of the test conditions, shape [B′].
        sigma: σ(train, test), shape [B, B′].
        sigma_reverse: σ(test, train), shape [B, B′].
        defocus_difference: |Δdefocus| [Å], shape [B, B′].
    """

    epsilon_train: Tensor
    epsilon_test: Tensor
    sigma: Tensor
    sigma_reverse: Tensor
    defocus_difference: Tensor


def compare(train: Sequence[ImagingCondition], test: Sequence[ImagingCondition], q_max: float = Q_MAX) -> Shift:
    """Return the shift metrics over the band 0 < |q| ≤ q_max.

    Args:
        train: B training conditions.
        test: B′ test conditions.
        q_max: radius of the band [1/Å].
    """
    qx, qy = polar_band(q_max)
    train_parameters, test_parameters = stack(train), stack(test)
    t_train = intensity_transfer(train_parameters, qx, qy)
    t_test = intensity_transfer(test_parameters, qx, qy)
    return Shift(
        epsilon_train=information(t_train),
        epsilon_test=information(t_test),
        sigma=overlap(t_train, t_test),
        sigma_reverse=overlap(t_test, t_train).T,
        defocus_difference=defocus_difference(train_parameters, test_parameters),
    )
