"""|Δdefocus|: the baseline for every other metric."""

from torch import Tensor

from passband.optics import Parameters


def defocus_difference(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return |defocus′ − defocus| [Å], shape [B, B′].

    Args:
        train: B training conditions.
        test: B′ test conditions.
        q_max: unused.
    """
    return (_c10(train)[:, None] - _c10(test)[None, :]).abs()


def _c10(parameters: Parameters) -> Tensor:
    return parameters.coefficients.get("C10", 0 * parameters.energy_ev)
