"""A model whose loss follows a known law: made without training."""

import json

import numpy as np
import polars as pl
from safetensors.torch import save

from passband.conditions import Condition, StemCondition
from passband.conditions.sets import ConditionDraw
from passband.learning import NetworkConfig, build
from passband.models.card import ModelCard, Specimens
from passband.models.store import WEIGHTS, write_model
from passband.verdicts.calibration import with_scores
from passband.verdicts.features import IMAGE_FEATURES, SOURCES, condition_features

BASE = Condition(energy_ev=300e3, pixel_size_angstrom=0.8, focal_spread_angstrom=25.0)
HAADF = StemCondition(
    energy_ev=300e3,
    convergence_semiangle_mrad=20.0,
    source_size_angstrom=0.4,
    pixel_size_angstrom=0.8,
    detector={"kind": "haadf", "inner_mrad": 60.0, "outer_mrad": 200.0},
)
NETWORK = NetworkConfig(widths=(4, 8))
OWN = 0.1


def draw(count, seed, defocus=300.0, base=BASE):
    ranges = {
        "defocus_angstrom": {"uniform": [-defocus, defocus]},
        "C12": {"uniform": [0, 60]},
        "focal_spread_angstrom": {"uniform": [18, 45]},
        "dose_per_angstrom2": {"log_uniform": [100, 3000]},
    }
    if base is not BASE:
        # Seven foci of a probe take as long as seven probes.
        del ranges["focal_spread_angstrom"]
    return ConditionDraw(base=base, draw=ranges, count=count, seed=seed, method="random").conditions()


def law(condition, rng):
    """Loss: the own one near zero defocus, rising with it, and at low dose; 3 % of noise."""
    dose = max(np.log(1000 / condition.dose_per_angstrom2), 0)
    rise = (max(abs(condition.defocus_angstrom) - 80, 0) / 120) ** 2
    return OWN * np.exp(rise + 0.3 * dose + rng.normal(0, 0.03))


def card(**changes):
    content = {
        "name": "made",
        "intended_use": "tests",
        "licence": "GPL-3.0-or-later",
        "network": NETWORK,
        "pixel_size_angstrom": 0.8,
        "pixel_band_angstrom": (0.1, 0.9),
        "field_pixels": 64,
        "divisor": NETWORK.divisor,
        "q_max_per_angstrom": 0.6,
        "specimens": Specimens(
            elements=("Au",), support="carbon", thickness_angstrom=(20, 30), diameter_angstrom=(14, 28)
        ),
        "conditions": tuple(draw(4, 7, defocus=60.0)),
    }
    return ModelCard(**(content | changes))


def bare_model(folder, **changes):
    """A model that has not been scored."""
    weights = save({k: v.contiguous() for k, v in build(NETWORK, seed=1).state_dict().items()})
    return write_model(folder, card(**changes), {WEIGHTS: weights})


def scores(model, conditions):
    """Rows as scoring makes them, by the law; image features follow the loss."""
    rng = np.random.default_rng(3)
    numbers = condition_features(model.card, [c for _, c in conditions])
    rows = []
    for i, (role, condition) in enumerate(conditions):
        loss = law(condition, rng)
        image = 5 + np.log(loss) + rng.normal(0, 0.05, len(IMAGE_FEATURES) - 1)
        row = {"role": role, "condition": json.dumps(condition.to_dict()), "loss": loss, "dice": float(np.exp(-loss))}
        row |= {"instance_f1": float(np.exp(-2 * loss)), "surface_dice": float(np.exp(-3 * loss))}
        row |= {"tp": 1, "fp": 0, "fn": 0, "tn": 0, "n_images": 4}
        for source in SOURCES[1:]:
            row |= {source: image.tolist()}
            row |= {f"{target}_{source}": row[target] for target in ("loss", "dice", "instance_f1", "surface_dice")}
        rows.append(row | {f"feature_{name}": float(values[i]) for name, values in numbers.items()})
    return pl.DataFrame(rows)


def scored_model(folder, held_out=50, base=BASE, calibration=70, **changes):
    model = bare_model(folder, **changes)
    conditions = [("trained", c) for c in model.card.conditions]
    conditions += [("calibration", c) for c in draw(calibration, 8, base=base)]
    conditions += [("held_out", c) for c in draw(held_out, 9, base=base)]
    return with_scores(model, scores(model, conditions))


def scanned_model(folder):
    """A scored model for HAADF scans."""
    trained = tuple(draw(4, 7, defocus=60.0, base=HAADF))
    return scored_model(folder, held_out=10, base=HAADF, calibration=46, modality="stem", conditions=trained)
