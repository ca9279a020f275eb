"""What a GPU is checked on: small pieces of work whose results a CPU makes beforehand.

A case is a function of the device, and of what the CPU found, that returns arrays by name. The CPU's are stored in a pack
(`pack.py`), and those of the GPU are compared with them (`checks.py`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms

from passband.conditions import Condition
from passband.learning import Member, NetworkConfig, Predictors, TrainingConfig, build, count_pixels, train, train_group
from passband.learning.fleets import Arrangement
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import normalize
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.engine import exit_waves
from passband.simulation.poisson import fast_poisson
from passband.specimens import SpecimenRecipe

Arrays = dict[str, np.ndarray]
FIELD = 25.6
WAVES = ExitWaveConfig(phonon_configurations=1)
RECIPE = SpecimenRecipe.model_validate(
    {
        "seed": 5,
        "field_angstrom": FIELD,
        "particles": [{"diameter_angstrom": 13.0}],
        "substrate": {"thickness_angstrom": 6.0},
    }
)
#: Defoci [Å] of the members of a fleet.
DEFOCI = (-150.0, -50.0, 50.0, 150.0)


class Size(NamedTuple):
    """How large the cases are.

    Attributes:
        train: specimens that networks are trained on; 8 validate and 8 test.
        epochs: of each network.
        seeds: networks under each defocus of the fleet.
        images: images of each kind of noise.
    """

    train: int
    epochs: int
    seeds: int
    images: int


FULL, SMALL = Size(48, 8, 8, 64), Size(8, 2, 2, 16)


def _condition(defocus: float, dose: float | None = 500.0, **more: Any) -> Condition:
    aberrations = {"C10": -defocus, "C30": -5e4} | more.pop("aberrations", {})
    usual = {"energy_ev": 300e3, "focal_spread_angstrom": 20.0, "pixel_size_angstrom": 0.4}
    return Condition.model_validate(usual | {"aberrations": aberrations, "dose_per_angstrom2": dose} | more)


def imaged() -> dict[str, Condition]:
    """Return conditions by name that together use all of what imaging does before the noise."""
    twisted = {"C12": 30.0, "phi12": 0.4, "C21": 600.0, "phi21": -1.0, "C23": 400.0, "phi23": 2.0}
    camera = {"mtf": [[0.0, 1.0], [0.5, 0.7], [1.0, 0.4]], "binning": 2}
    return {
        "round": _condition(60.0),
        "twisted": _condition(-80.0, aberrations=twisted, convergence_mrad=0.3),
        "camera": _condition(40.0, detector=camera, vibration_angstrom=0.4, drift_angstrom=0.5, drift_angle_rad=0.4),
        "aperture": _condition(90.0, aperture_mrad=15.0, contrast=0.6),
    }


def noisy() -> dict[str, Condition]:
    """Return conditions by name whose counts have a known mean and variance."""
    return {
        "few electrons": _condition(0.0, 5.0),
        "many electrons": _condition(0.0, 600.0),
        "readout": _condition(0.0, 100.0, detector={"readout_electrons": 3.0}),
    }


def waves(device: str) -> Arrays:
    """Return exit waves of two scenes of two elements and unequal height."""
    rng, scenes = np.random.default_rng(1), []
    for height in (40.0, 31.0):
        places = rng.uniform(2, [38, 38, height - 2], (300, 3))
        scenes.append(Atoms(["Au"] * 100 + ["C"] * 200, places, cell=[40.0, 40.0, height]))
    config = ExitWaveConfig(phonon_configurations=2)
    made = exit_waves(scenes, config, {"Au": 0.08, "C": 0.06}, [3, 4], device=device)
    return {"waves": np.stack([wave.coefficients for wave in made])}


def specimens(size: Size) -> Arrays:
    """Return exit waves and masks that images and networks are made of, the CPU's on every device."""
    stored, masks = scatter(RECIPE, range(size.train + 16), WAVES)
    return {"stored": stored.numpy(), "masks": masks.numpy()}


def images(device: str, given: Mapping[str, np.ndarray]) -> Arrays:
    """Return expected intensities under each condition, specimens as they lie and turned, and those of a fleet, made in one pass."""
    stored, made = torch.from_numpy(given["stored"][:8]).to(device), {}
    turns = torch.arange(8, device=device)
    for name, condition in imaged().items():
        imager = Imager(condition, FIELD, WAVES)
        turned = imager.intensity(stored, turns)
        made[f"image, {name}"] = torch.cat([imager.intensity(stored[:2]), turned]).cpu().numpy()
    imagers = [Imager(_condition(defocus), FIELD, WAVES) for defocus in DEFOCI]
    joint = Imager.joint(imagers, torch.device(device))
    made["image, fleet"] = joint.intensity(stored, turns % len(imagers), turns).cpu().numpy()
    return made


def noise(device: str, size: Size) -> Arrays:
    """Return counts of even images, whose pixels all have the same distribution: as tests and as training draw them."""
    generator, made = torch.Generator(device).manual_seed(7), {}
    for name, condition in noisy().items():
        imager = Imager(condition, FIELD, WAVES)
        even = torch.ones(size.images, imager.grid.physical, imager.grid.physical, device=device)
        for use, poisson in (("tests", torch.poisson), ("training", fast_poisson)):
            counts = imager.record(even, generator=generator, poisson=poisson)
            made[f"{name}, {use}"] = counts.cpu().numpy()
    return made


NETWORK = NetworkConfig(widths=(8, 16, 32), stem=2)


def members(device: str, given: Mapping[str, np.ndarray], size: Size) -> list[Member]:
    """Return the members of a fleet: every defocus with every seed."""
    stored, masks = torch.from_numpy(given["stored"]).to(device), torch.from_numpy(given["masks"])
    found = []
    for defocus in DEFOCI:
        imager, n = Imager(_condition(defocus), FIELD, WAVES), size.train
        parts = [ImageSource(stored[s], masks[s], imager) for s in (slice(0, n), slice(n, n + 8))]
        found += [Member(*parts, seed=seed) for seed in range(size.seeds)]
    return found


def training(size: Size) -> TrainingConfig:
    """Return how the networks are trained."""
    return TrainingConfig(epochs=size.epochs, batch_size=8)


def fleet(
    device: str, given: Mapping[str, np.ndarray], size: Size, arrangement: Arrangement = "grouped"
) -> tuple[Arrays, list[torch.nn.Module]]:
    """Return the last losses of each member, [defoci, seeds, 2]: training and validation; and the networks."""
    trained = train_group(NETWORK, training(size), members(device, given, size), arrangement=arrangement)
    for one in trained:
        if isinstance(one, FloatingPointError):
            raise one
    losses = [[h[-1]["train_loss"], h[-1]["validation_loss"]] for _, h in trained]  # type: ignore[misc]
    models = [model for model, _ in trained]  # type: ignore[misc]
    return {"fleet": np.array(losses).reshape(len(DEFOCI), size.seeds, 2)}, models


def network(device: str, given: Mapping[str, np.ndarray], size: Size) -> Arrays:
    """Return the last losses of the fleet's first member, trained alone, [2]."""
    first = members(device, given, size)[0]
    _, history = train(NETWORK, training(size), first.train_images, first.validation_images, seed=first.seed)
    return {"network": np.array([history[-1]["train_loss"], history[-1]["validation_loss"]])}


def tested(size: Size, given: Mapping[str, np.ndarray], models: list[torch.nn.Module]) -> Arrays:
    """Return test images, and the weights of one network of each defocus, made on a CPU."""
    stored, masks = (torch.from_numpy(given[name][size.train + 8 :]) for name in ("stored", "masks"))
    made = Imager(_condition(DEFOCI[0]), FIELD, WAVES).images(stored, masks, seed=3)
    found = {"test images": normalize(made.counts)[:, None].numpy(), "test masks": made.masks[:, None].numpy()}
    for i, model in enumerate(models[:: size.seeds]):
        found |= {f"weights {i} {name}": value.numpy() for name, value in model.state_dict().items()}
    return found


def tests(device: str, given: Mapping[str, np.ndarray]) -> Arrays:
    """Return tp, fp, fn and tn of each network on each image, [networks, images, 4], of the CPU's weights and images."""
    models = []
    for i in range(len(DEFOCI)):
        start = f"weights {i} "
        state = {k.removeprefix(start): torch.from_numpy(v) for k, v in given.items() if k.startswith(start)}
        models.append(build(NETWORK))
        models[-1].load_state_dict(state)
    shown, truth = (torch.from_numpy(given[name]).to(device) for name in ("test images", "test masks"))
    logits = torch.cat(list(Predictors(NETWORK, models, torch.device(device)).logits(shown)), 1)
    counts = [count_pixels(one, truth.float()) for one in logits.split(1, 1)]
    return {"tests": np.array([[c[name] for name in ("tp", "fp", "fn", "tn")] for c in counts]).transpose(0, 2, 1)}


def reference(size: Size) -> Arrays:
    """Return what a CPU makes of all cases, in some seconds to a minute."""
    given = specimens(size)
    losses, models = fleet("cpu", given, size)
    given |= tested(size, given, models)
    return given | waves("cpu") | images("cpu", given) | losses | tests("cpu", given) | {"size": np.array(size)}
