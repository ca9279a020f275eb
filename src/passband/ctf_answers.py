"""What `passband ctf` answers: plain, JSON-like values."""

import math
from pathlib import Path
from typing import Any

import polars as pl

from passband.analysis import first_zero, transfer_curves
from passband.conditions import ImagingCondition
from passband.electron import wavelength
from passband.errors import BadInputError
from passband.report import ctf_curves, style
from passband.shift import METRICS, information, measure


def show(condition: ImagingCondition, q_max: float) -> dict[str, Any]:
    """Return id, wavelength, ε, the lowest zero of T in any direction, and the curve along +x.

    Args:
        condition: what to show.
        q_max: radius of the band [1/Å].
    """
    curve = transfer_curves([condition], q_max)
    return {
        "id": condition.id,
        "condition": condition.to_dict(),
        "wavelength_angstrom": wavelength(condition.energy_ev),
        "defocus_angstrom": condition.defocus_angstrom,
        "epsilon": information([condition], q_max).item(),
        "q_max_per_angstrom": q_max,
        "first_zero_per_angstrom": first_zero(condition, q_max),
        "curve": {name: curve[name].to_list() for name in ("q_per_angstrom", "transfer", "magnitude")},
    }


def compare(train: ImagingCondition, test: ImagingCondition, q_max: float) -> dict[str, Any]:
    """Return every shift metric between two conditions; an undefined σ is None.

    Args:
        train: the training condition.
        test: the test condition.
        q_max: radius of the band [1/Å].
    """
    found = {name: value.item() for name, value in measure(list(METRICS), [train], [test], q_max).items()}
    backward = measure(["sigma"], [test], [train], q_max)["sigma"].item()
    epsilon_train, epsilon_test = found["epsilon_train"], found["epsilon_test"]
    sigmas = {"sigma_train_test": found["sigma"], "sigma_test_train": backward}
    return {
        "epsilon_train": epsilon_train,
        "epsilon_test": epsilon_test,
        "delta_epsilon": epsilon_test - epsilon_train,
        **{name: None if math.isnan(value) else value for name, value in sigmas.items()},
        "defocus_difference_angstrom": found["defocus_difference"],
        "q_max_per_angstrom": q_max,
    }


def draw(condition: ImagingCondition, q_max: float, path: Path) -> None:
    """Draw T(q) into a PNG or SVG file.

    Raises:
        BadInputError: if the suffix is neither.
    """
    if path.suffix not in (".png", ".svg"):
        raise BadInputError(
            f"--figure {path}: ends in {path.suffix or 'nothing'!r}; give a name ending in .png or .svg"
        )
    curves = transfer_curves([condition], q_max).with_columns(label=pl.lit(condition.id))
    with style.figure(6.4, 3.6) as made:
        ax = made.subplots()
        ctf_curves.draw(curves, ax)
        if not condition.is_round:
            ax.set_ylabel("T(q) along +x")
        ax.set_title(f"defocus {condition.defocus_angstrom:+g} Å, {condition.energy_ev / 1e3:g} kV")
        style.save(made, path.parent, path.stem, (path.suffix[1:],))
