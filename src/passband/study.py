"""A study: which specimens, conditions, networks and seeds, and the cells of work that follow from them."""

import functools
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from passband import configuration
from passband.condition_files import load_condition, preset_names
from passband.conditions import ABERRATIONS, ANGLES, ImagingCondition
from passband.distributions import ConditionSet
from passband.errors import BadInputError
from passband.imaging import band_warning, check_aperture, image_grid
from passband.multislice.config import ExitWaveConfig
from passband.networks import NetworkConfig, TrainingConfig
from passband.seeds import content_id
from passband.shift import Q_MAX
from passband.specimen import GivenRecipe, Recipe
from passband.specimen_files import load_recipe, with_crystals
from passband.store.atomic import write_text
from passband.store.exit_waves import wave_id
from passband.store.paths import StudyPaths

Count = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]


class Split(BaseModel):
    """How many specimens each part gets; a specimen is in the same part for every network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: Count = 176
    validation: Count = 24
    test: Count = 40

    @property
    def total(self) -> int:
        """Number of specimens."""
        return self.train + self.validation + self.test


class Study(BaseModel):
    """One out-of-distribution study: a network per condition and seed, each tested on every condition.

    Attributes:
        name: names the folder under runs/.
        specimens: the family of specimens.
        exit_waves: the multislice.
        conditions: trained on and tested on.
        split: specimens for training, validation and test.
        network: shape of the networks.
        training: how they are trained.
        seeds: networks per condition.
        q_max_per_angstrom: band over which ε and σ count information [1/Å].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    specimens: Recipe
    exit_waves: ExitWaveConfig = ExitWaveConfig()
    conditions: ConditionSet
    split: Split = Split()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    seeds: int = Field(default=1, ge=1, le=1000, strict=True)
    q_max_per_angstrom: float = Field(default=Q_MAX, gt=0, le=10, strict=True)
    _conditions: list[ImagingCondition] = PrivateAttr(default=[])

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) or name == "exit_waves":
            raise ValueError(f"{name!r} cannot name a folder; use up to 64 letters, digits, - _ . (and not exit_waves)")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        self._conditions = self.conditions.conditions()
        if isinstance(self.specimens, GivenRecipe) and len(self.specimens.scenes) < self.split.total:
            raise ValueError(
                f"split: asks for {self.split.total} specimens, and {len(self.specimens.scenes)} scenes are given; lower train, validation or test, or import more"
            )
        for condition in self._conditions:
            if condition.energy_ev != self.exit_waves.energy_ev:
                raise ValueError(
                    f"a condition has energy_ev {condition.energy_ev:g} and exit_waves has {self.exit_waves.energy_ev:g}; exit waves belong to one energy, make them equal"
                )
            finest = 1 / (2 * condition.pixel_size_angstrom)
            if finest < self.q_max_per_angstrom:
                raise ValueError(
                    f"pixel_size_angstrom {condition.pixel_size_angstrom:g} is too coarse for the band: it records up to {finest:.4g} 1/Å and q_max_per_angstrom is "
                    f"{self.q_max_per_angstrom:g}; use pixels of at most {1 / (2 * self.q_max_per_angstrom):.4g} Å or a smaller q_max_per_angstrom"
                )
            grid = image_grid(
                self.specimens.field_angstrom, self.exit_waves.band_per_angstrom, condition.pixel_size_angstrom
            )
            check_aperture(condition, grid)
            if grid.pixels % self.network.divisor or grid.pixels == self.network.divisor:
                raise ValueError(
                    f"an image of {grid.pixels} pixels cannot be halved {len(self.network.widths) - 1} times after a stem of {self.network.stem}; "
                    f"its side must be a multiple of {self.network.divisor}, and at least {2 * self.network.divisor}: change field_angstrom, pixel_size_angstrom or the network"
                )
        return self

    def all_conditions(self) -> list[ImagingCondition]:
        """Return the conditions in the order of the tables."""
        return self._conditions

    def labels(self) -> dict[str, str]:
        """Return what sets each condition apart, by its id."""
        return {c.id: label for c, label in zip(self._conditions, self.conditions.labels(), strict=True)}

    def warnings(self) -> list[str]:
        """Return what is allowed but may surprise, a line each."""
        band, field = self.exit_waves.band_per_angstrom, self.specimens.field_angstrom
        grids = {c.pixel_size_angstrom: image_grid(field, band, c.pixel_size_angstrom) for c in self._conditions}
        said = {band_warning(c, grids[c.pixel_size_angstrom]) for c in self._conditions}
        said |= {doubt for c in self._conditions for doubt in c.doubts()}
        return sorted(line for line in said if line is not None)

    @functools.cached_property
    def specimen_content(self) -> dict[str, Any]:
        """What decides the images of a condition, and their parts."""
        return {"waves": wave_id(self.specimens, self.exit_waves), "split": self.split.model_dump()}

    @functools.cached_property
    def network_content(self) -> dict[str, Any]:
        """What decides a network beside condition, seed and specimens."""
        return {"network": self.network.model_dump(mode="json"), "training": self.training.model_dump(mode="json")}

    def extends(self, other: "Study") -> bool:
        """Tell whether this study is another with more conditions or seeds, so that all the other's work still counts."""
        own, theirs = (s.model_dump(mode="json", exclude={"name", "conditions", "seeds"}) for s in (self, other))
        conditions = {c.id for c in self.all_conditions()}
        return own == theirs and self.seeds >= other.seeds and all(c.id in conditions for c in other.all_conditions())

    @property
    def id(self) -> str:
        """The hash of what decides the result; the name does not."""
        return content_id(self.model_dump(mode="json", exclude={"name"}))


def load_study(path: Path) -> Study:
    """Read a study; `specimens` may be a mapping or the path of a recipe file beside the study.

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    content, lines = configuration.read_yaml(path)
    if isinstance(content, dict):
        content = dict(content)
        content.setdefault("name", path.stem)
        if isinstance(content.get("specimens"), str):
            recipe = path.parent / content["specimens"]
            if not recipe.is_file():
                raise BadInputError(
                    f"{path}:{lines.get(('specimens',), 1)}: recipe {content['specimens']!r} not found beside the study; correct the path"
                )
            content["specimens"] = load_recipe(recipe).model_dump(mode="json")
        elif "specimens" in content:
            content["specimens"] = with_crystals(content["specimens"], path, lines, ("specimens",))
        content["conditions"] = _with_presets(content.get("conditions"), path, lines)
    return configuration.validate(Study, content, path, lines)


def _with_presets(conditions: Any, path: Path, lines: configuration.Lines) -> Any:
    """Put a preset's condition where a base names it."""
    if not isinstance(conditions, dict):
        return conditions
    conditions = dict(conditions)
    if isinstance(conditions.get("mixture"), list):
        conditions["mixture"] = [_with_presets(part, path, lines) for part in conditions["mixture"]]
    if isinstance(conditions.get("base"), str):
        if conditions["base"] not in preset_names():
            raise BadInputError(
                f"{path}:{lines.get(('conditions', 'base'), 1)}: base {conditions['base']!r} is no preset; presets are {', '.join(preset_names())}"
            )
        conditions["base"] = load_condition(Path(conditions["base"])).to_dict()
    return conditions


def locate(target: Path, out: Path | None = None) -> tuple[Study, Path]:
    """Return a study and its folder, given either its YAML file or its folder.

    Args:
        target: a YAML file, or a study folder.
        out: the folder to use with a YAML file; runs/<name> if None.

    Raises:
        BadInputError: if the target is neither, or the folder holds another study.
    """
    if target.is_dir():
        if out is not None:
            raise BadInputError(
                f"--out {out}: goes with a study's YAML file, and {target} is a folder; leave --out away"
            )
        held = StudyPaths(target).study
        if not held.is_file():
            raise BadInputError(
                f"{target}: is not a study folder (it has no study.yaml); give the study's YAML file or a folder made by `passband study run`"
            )
        return load_study(held), target
    if not target.exists():
        raise BadInputError(
            f"{target}: no such file or folder; give a study's YAML file, such as studies/defocus.yaml, or its folder"
        )
    study = load_study(target)
    folder = Path("runs") / study.name if out is None else out
    check_folder(study, folder)
    return study, folder


def adopt(study: Study, folder: Path) -> None:
    """Make a folder this study's by its study.yaml.

    Raises:
        BadInputError: if the folder holds something else.
    """
    check_folder(study, folder)
    write_text(StudyPaths(folder).study, configuration.dump(study))


def check_folder(study: Study, folder: Path) -> None:
    """Refuse a folder that holds something else than this study, or less of it.

    Raises:
        BadInputError: if the folder is not empty and holds neither this study nor one that it extends.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder}: is a file, not a folder; choose another with --out")
    held = StudyPaths(folder).study
    if held.is_file():
        other = load_study(held)
        if other.id != study.id and not study.extends(other):
            raise BadInputError(
                f"{folder}: holds study {other.name!r} ({other.id}), not this one ({study.name!r}, {study.id}), nor is this one the same with more conditions or seeds; "
                "choose another folder with --out, or delete this one"
            )
    elif folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
        raise BadInputError(f"{folder}: is not empty and holds no study.yaml; choose another folder with --out")


def condition_row(condition: ImagingCondition, label: str) -> dict[str, Any]:
    """Return a condition as a flat row of the conditions table."""
    content = condition.to_dict()
    aberrations = content.pop("aberrations")
    return {
        "condition": condition.id,
        "label": label,
        "defocus_angstrom": condition.defocus_angstrom,
        **content,
        **{symbol: float(aberrations.get(symbol, 0.0)) for symbol in [*ABERRATIONS, *ANGLES.values()]},
    }
