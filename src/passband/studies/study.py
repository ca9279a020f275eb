"""A study: specimens, conditions, networks and seeds, and the domains that they are trained and tested on."""

import functools
import pickle
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from passband.base.distribution import Distribution
from passband.base.errors import BadInputError, parameter
from passband.base.frozen_model import FrozenModel
from passband.base.identity import content_id
from passband.base.version import __version__
from passband.conditions import AnyCondition, StemCondition
from passband.conditions.condition import by_kind, doubt_kinds, first_of
from passband.conditions.sets import ConditionGrid, ConditionSet
from passband.files import bundled, yaml_config
from passband.learning import SEGMENTATION, NetworkConfig, Task, TrainingConfig, task_of
from passband.learning.classes import Classes, classes_of
from passband.learning.regression import ConditionValue
from passband.metrics import Q_MAX
from passband.simulation.least_contrast import least_contrast
from passband.simulation.modalities import AnyConfig, modality_of
from passband.simulation.modality import Modality
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.stem import StemConfig
from passband.specimens import GivenRecipe, Recipe
from passband.specimens.recipe_files import load_recipe, with_crystals
from passband.studies.training_sets import TrainingSets, choose_sets

# Begins the last line of a study.yaml that passband wrote.
_CHECKSUM = "# checksum "
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FAMILY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
# Conditions that stand for a distribution of the defocus: its quantiles, each as likely.
_FOCI = 12
# Specimens that the focus of least contrast is found from.
_IN_VACUUM = 8
# Fields that few studies have, at their defaults.
_RARE = {"zero_c10_angstrom": 0.0, "defocus_spread_angstrom": 0.0, "task": SEGMENTATION.name, "stem": None}
Count = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]


class Split(FrozenModel):
    """How many specimens each part gets; a specimen is in the same part for every network."""

    train: Count = 176
    validation: Count = 24
    test: Count = 40

    @property
    def total(self) -> int:
        """Number of specimens."""
        return self.train + self.validation + self.test

    @property
    def test_range(self) -> tuple[int, int]:
        """The first test specimen, and one past the last."""
        return self.total - self.test, self.total


@dataclass(frozen=True)
class Domain:
    """A domain that networks are trained or tested on: specimens under one condition, or several.

    Specimens take turns under conditions that lie around one; under others, to train on, each image draws any.

    Attributes:
        id: in the columns train_condition and test_condition of tables.
        label: in words.
        recipe: the specimens.
        conditions: one, or those of a set, of the study's modality.
        curriculum: whether the conditions join one by one, in their order.
        centre: that the conditions lie around, if their defocus is distributed.
    """

    id: str
    label: str
    recipe: Recipe
    conditions: tuple[Any, ...]
    curriculum: bool = False
    centre: Any = None

    @property
    def condition(self) -> Any:
        """The condition, of a domain with one, or that its conditions lie around."""
        if self.centre is not None:
            return self.centre
        [condition] = self.conditions
        return condition


class Study(FrozenModel):
    """One out-of-distribution study: each network is trained on one domain and tested on all.

    Networks are trained under each condition, or with `structures` on each family of specimens under each condition, or with
    `training_sets` on sets of conditions. They are tested under every condition, on every family of specimens.

    Attributes:
        name: names the folder under runs/.
        specimens: the family of specimens.
        structures: several families by name, in the place of `specimens`.
        exit_waves: the multislice, for HRTEM.
        stem: how specimens are stored for STEM; what the conditions need if left out.
        conditions: tested on, and trained on unless there are training sets.
        training_sets: ways to choose sets of training conditions, by name.
        split: specimens for training, validation and test.
        network: shape of the networks; their number of outputs is the task's.
        training: how they are trained.
        seeds: networks per condition.
        q_max_per_angstrom: band over which ε and σ count information [1/Å].
        zero_c10_angstrom: C10 from which all conditions count theirs [Å], or one for each of `structures` by name; in a file,
            `zero: least_contrast` finds it.
        task: what networks predict: segmentation, instances, thickness, columns, classes, mean_diameter or defocus (`passband.learning.tasks`).
        defocus_spread_angstrom: standard deviation of the defocus over the images of each condition, normal about its own [Å].
    """

    name: str
    specimens: Recipe | None = None
    structures: dict[str, Recipe] | None = None
    exit_waves: ExitWaveConfig = ExitWaveConfig()
    stem: StemConfig | None = None
    conditions: ConditionSet
    training_sets: dict[str, TrainingSets] | None = None
    split: Split = Split()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    task: str = SEGMENTATION.name
    seeds: int = Field(default=1, ge=1, le=1000, strict=True)
    q_max_per_angstrom: float = Field(default=Q_MAX, gt=0, le=10, strict=True)
    zero_c10_angstrom: float | dict[str, float] = 0.0
    defocus_spread_angstrom: float = Field(default=0.0, ge=0, le=1e5, strict=True)

    @model_serializer(mode="wrap")
    def _without_what_is_rare(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what few studies have where it is absent, so that ids stay when studies learn more."""
        content: dict[str, Any] = write(self)
        kept = {name: value for name, value in content.items() if name not in _RARE or value != _RARE[name]}
        if self.stored_as is not self.exit_waves:
            del kept["exit_waves"]
        return kept

    def __str__(self) -> str:
        """Return the study as its YAML file."""
        return yaml_config.dump(self).rstrip()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or name == "exit_waves":
            raise ValueError(f"{name!r} cannot name a folder; use up to 64 letters, digits, - _ . (and not exit_waves)")
        return name

    @field_validator("task")
    @classmethod
    def _known_task(cls, name: str) -> str:
        return task_of(name).name

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        if self.task != SEGMENTATION.name and self.training.loss != TrainingConfig().loss:
            raise ValueError(
                f"training.loss {self.training.loss} is of segmentation, and task is {self.task}; leave it out"
            )
        if (self.specimens is None) == (self.structures is None):
            raise ValueError("give either specimens (one family) or structures (several families by name)")
        if self.structures is not None:
            if len(self.structures) < 2:
                raise ValueError("structures has fewer than two families; add one, or give it as specimens")
            for name in self.structures:
                if not _FAMILY.fullmatch(name):
                    raise ValueError(f"structures: {name!r} is no name; use up to 64 letters, digits, - _ . +")
        if self.training_sets is not None:
            self._check_training_sets(self.training_sets)
        elif len(self.recipes) * len(self.test_conditions) < 2:
            raise ValueError(
                "a study of one family trained under one condition compares nothing; list another value to vary"
            )
        if isinstance(zeros := self.zero_c10_angstrom, dict) and zeros.keys() != self.recipes.keys():
            raise ValueError(
                f"zero_c10_angstrom names {', '.join(zeros) or 'no family'}, and structures has {', '.join(self.recipes)}; give one for each, or a number"
            )
        self._check_modality()
        for recipe in self.all_recipes:
            self._check_family(recipe)
        if isinstance(self.learnt, ConditionValue):
            self._check_values(self.learnt)
        self._set_outputs()
        return self

    def _check_values(self, task: ConditionValue) -> None:
        for training in self.trainings:
            values = {task.of_condition(condition) for condition in training.conditions}
            if len(values) == 1:
                raise ValueError(
                    f"task {self.task}: its target is {values.pop():g} in all training images of {training.label}, so nothing can be learnt; "
                    "give training_sets of conditions that differ in it, or choose another task"
                )

    def _set_outputs(self) -> None:
        outputs = self.learnt.outputs
        if self.network.outputs not in (1, outputs):
            raise ValueError(
                f"network.outputs {self.network.outputs} does not suit task {self.task}, which needs {outputs}; leave it out"
            )
        if self.network.outputs != outputs:
            # The study is frozen for others.
            object.__setattr__(self, "network", self.network.model_copy(update={"outputs": outputs}))

    def _check_modality(self) -> None:
        conditions = [*self.test_conditions, *(c for s in (self.training_sets or {}).values() for c in s.conditions)]
        scanning = [isinstance(condition, StemCondition) for condition in conditions]
        if len(set(scanning)) > 1:
            raise ValueError("conditions mix STEM and HRTEM, whose images networks do not share; make a study of each")
        if scanning[0] and self.exit_waves != ExitWaveConfig():
            raise ValueError("exit_waves are of HRTEM, and the conditions of STEM; use stem instead, or leave it out")
        if not scanning[0] and self.stem is not None:
            raise ValueError(
                "stem says how specimens are stored for STEM, and the conditions are of HRTEM; leave it out"
            )

    def _check_training_sets(self, choices: dict[str, TrainingSets]) -> None:
        if isinstance(self.conditions, ConditionGrid) and any(choice.sizes for choice in choices.values()):
            raise ValueError(
                "training_sets with sizes are drawn from a distribution; give the conditions of each set, or the study's by draw or mixture"
            )
        if self.structures is not None:
            raise ValueError("training_sets and structures do not go together; leave one of them out")
        for name in choices:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.+-]{0,31}", name):
                raise ValueError(f"training_sets: {name!r} is no name; use up to 32 letters, digits, _ . + -")
        kinds = [(c.method, c.order if size > 1 else "", size) for c in choices.values() for size in c.sizes]
        if len(set(kinds)) < len(kinds):
            raise ValueError("training_sets has the same method, order and size twice; keep one of them")
        if len({(c.pixel_size_angstrom, c.binning) for c in self.test_conditions}) > 1:
            raise ValueError("conditions of a training set need the same pixel_size_angstrom and binning; fix them")

    def _check_family(self, recipe: Recipe) -> None:
        if isinstance(recipe, GivenRecipe) and len(recipe.scenes) < self.split.total:
            raise ValueError(
                f"split: asks for {self.split.total} specimens, and {len(recipe.scenes)} scenes are given; lower train, validation or test, or import more"
            )
        for condition in self.test_conditions:
            imager, divisor = self.modality.imager(condition, recipe, self.stored_as), self.network.divisor
            pixel, q_max = condition.pixel_size_angstrom, self.q_max_per_angstrom
            if 1 / (2 * pixel) < q_max:
                raise ValueError(
                    f"pixel_size_angstrom {pixel:g} is too coarse for the band: it records up to {1 / (2 * pixel):.4g} 1/Å and q_max_per_angstrom is "
                    f"{q_max:g}; use pixels of at most {1 / (2 * q_max):.4g} Å or a smaller q_max_per_angstrom"
                )
            window = self.training.crop_pixels or imager.pixels
            for pixels in (imager.pixels, window):
                if pixels % divisor or pixels == divisor:
                    raise ValueError(
                        f"an image of {pixels} pixels does not suit the network, which makes it {divisor} times as coarse at its deepest; "
                        f"its side must be a multiple of {divisor}, and at least {2 * divisor}: change field_angstrom, pixel_size_angstrom, training.crop_pixels or the network"
                    )
            if window > imager.pixels:
                raise ValueError(
                    f"training.crop_pixels {window} is more than the field's {imager.pixels} pixels; lower it, or enlarge field_angstrom"
                )

    @property
    def learnt(self) -> Task:
        """The task, with the loss that the networks are trained with and scored by."""
        classes = classes_of(self.all_recipes) if self.task == Classes.name else ()
        return task_of(self.task, self.training.loss, classes)

    @property
    def modality(self) -> Modality:
        """The kind of microscopy."""
        return modality_of(self.stored_as)

    @functools.cached_property
    def stored_as(self) -> AnyConfig:
        """How specimens are stored: exit waves, or for STEM the settings given or else those that the conditions need."""
        if not isinstance(self.test_conditions[0], StemCondition):
            return self.exit_waves
        sets = (self.training_sets or {}).values()
        return self.stem or StemConfig.of(self.test_conditions + [c for chosen in sets for c in chosen.conditions])

    @property
    def test_conditions(self) -> list[Any]:
        """The conditions that are tested, in the order of the tables."""
        return self.conditions.conditions()

    @property
    def recipes(self) -> dict[str, Recipe]:
        """The families of specimens by name; a single one has none."""
        return self.structures or ({} if self.specimens is None else {"": self.specimens})

    @property
    def all_recipes(self) -> list[Recipe]:
        """The families of specimens, each once: those that are tested, then those that only training sets have."""
        sets = (self.training_sets or {}).values()
        every = [*self.recipes.values(), *(s.specimens for s in sets if s.specimens is not None)]
        return [recipe for i, recipe in enumerate(every) if recipe not in every[:i]]

    @functools.cached_property
    def tests(self) -> list[Domain]:
        """The test domains in the order of the tables: every condition, for every family of specimens."""
        labelled = list(zip(self.test_conditions, self.conditions.labels(), strict=True))
        domains = []
        for name, recipe in self.recipes.items():
            for condition, label in labelled:
                around, centre = self._focused(condition, name)
                own = (centre or around[0]).id
                place = (f"{name}/{own}", f"{name}, {label}") if name else (own, label)
                domains.append(Domain(*place, recipe, around, centre=centre))
        return domains

    def _focused(self, condition: AnyCondition, family: str) -> tuple[tuple[AnyCondition, ...], AnyCondition | None]:
        """Return the conditions that images under one are under, their C10 counted from a family's zero, and their middle if several."""
        zero = self.zero_c10_angstrom
        zero = zero[family] if isinstance(zero, dict) else zero

        def moved(by: float) -> AnyCondition:
            return condition.varied(C10=round(condition.aberrations.get("C10", 0.0) + by, 6)) if by else condition

        if self.defocus_spread_angstrom == 0:
            return (moved(zero),), None
        foci = Distribution(normal=[zero, self.defocus_spread_angstrom]).at((np.arange(_FOCI) + 0.5) / _FOCI)
        return tuple(moved(c10) for c10 in np.round(foci, 2).tolist()), moved(zero)

    @functools.cached_property
    def trainings(self) -> list[Domain]:
        """The training domains in the order of the tables: every test domain, or every training set."""
        if self.training_sets is None:
            return self.tests
        sets = choose_sets(self.training_sets, self.conditions, self.q_max_per_angstrom)
        domains = []
        for name, (choice, chosen) in sets.items():
            focused = [self._focused(condition, "") for condition in chosen]
            around = tuple(member for members, _ in focused for member in members)
            centre = focused[0][1] if len(chosen) == 1 else None
            recipe = choice.specimens or self.recipes[""]
            domains.append(Domain(name, name, recipe, around, choice.order == "high_epsilon_first", centre))
        return domains

    @property
    def trains_on_tests(self) -> bool:
        """Whether the networks are trained on the test domains, and not on training sets."""
        return self.training_sets is None

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """What sets each domain apart, by its id."""
        return {t.id: t.label for t in self.trainings} | {t.id: t.label for t in self.tests}

    def warnings(self) -> list[str]:
        """Return warnings, a line each."""
        recipe = next(iter(self.recipes.values()))
        conditions = self.test_conditions
        lines = [self.modality.imager(c, recipe, self.stored_as).warning() for c in conditions]
        limits = by_kind(list(filter(None, lines)))
        return [first_of(kind) for kind in sorted(limits + doubt_kinds(conditions))]

    def extends(self, other: "Study") -> bool:
        """Tell whether this study is another with more conditions, sets or seeds, so that all finished work of the other stays valid."""
        grows = {"name", "conditions", "training_sets", "seeds"}
        ours, theirs = (s.model_dump(mode="json", exclude=grows) for s in (self, other))
        if ours != theirs or self.seeds < other.seeds or self.trains_on_tests != other.trains_on_tests:
            return False
        tests, trainings = {t.id: t for t in self.tests}, {t.id: t for t in self.trainings}
        return all(tests.get(t.id) == t for t in other.tests) and all(trainings.get(t.id) == t for t in other.trainings)

    @property
    def id(self) -> str:
        """The hash of everything but the name."""
        return content_id(self.model_dump(mode="json", exclude={"name"}))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a few bytes: each of thousands of jobs takes its study to a worker, which unpacks it once."""
        return _unpacked, (self._packed,)

    @functools.cached_property
    def _packed(self) -> bytes:
        # Workers need not choose the domains again.
        assert self.tests and self.trainings
        return zlib.compress(pickle.dumps((type(self), self.__getstate__())))


@functools.lru_cache(maxsize=4)
def _unpacked(content: bytes) -> Study:
    kind, state = pickle.loads(zlib.decompress(content))  # noqa: S301 (from another process of the same run)
    study: Study = kind.__new__(kind)
    study.__setstate__(state)
    return study


def load_study(path: str | Path, *, budget: str | None = None, variant: str | None = None) -> Study:
    """Read a study from its YAML file, or a bundled one by its name, such as quick.

    `specimens` may be a mapping, the path of a recipe file beside the study, or a bundled recipe's name; `conditions` a mapping, the path
    of a file beside it, or `{file: …}` with changes. `budgets` and `variants` of
    the file are changes by name, merged into the rest key by key: first those of the variant, then those of the budget. A budget
    that the file lacks changes nothing.

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    path = bundled.find(path, bundled.studies())
    dumped = _require_unchanged(path)
    content, lines = yaml_config.read_yaml(path)
    if not isinstance(content, dict):
        return yaml_config.validate(Study, content, path, lines)
    if "energy_ev" in content:
        what = "describes one condition, and no study"
        raise BadInputError(what, remedy="give a file with specimens and conditions", place=path)
    content = {"name": path.stem if variant is None else f"{path.stem}-{variant}"} | content
    for group, chosen in (("variants", variant), ("budgets", budget)):
        changes: Any = content.pop(group, None) or {}
        if not isinstance(changes, dict) or not all(isinstance(c, dict) for c in changes.values()):
            raise BadInputError(
                f"{path}:{lines.get((group,), 1)}: {group} names changes to the study; write a mapping such as quick: {{seeds: 1}}"
            )
        if chosen in changes:
            content = yaml_config.merged(content, changes[chosen])
            lines |= {place[2:]: n for place, n in lines.items() if place[:2] == (group, chosen) and place[2:]}
        elif group == "variants" and chosen is not None:
            raise BadInputError(f"{path}: has no variant {chosen!r}; it has {', '.join(changes) or 'none'}")
    if content.get("specimens") is not None:
        content["specimens"] = _recipe(content["specimens"], path, lines, ("specimens",))
    if isinstance(families := content.get("structures"), dict):
        content["structures"] = {n: _recipe(given, path, lines, ("structures", n)) for n, given in families.items()}
    if isinstance(sets := content.get("training_sets"), dict):
        content["training_sets"] = {
            n: _with_recipe(given, path, lines, ("training_sets", n)) for n, given in sets.items()
        }
    content["conditions"] = _from_file(content.get("conditions"), path, lines)
    if (zero := content.pop("zero", None)) is not None:
        if zero != "least_contrast" or "zero_c10_angstrom" in content:
            raise BadInputError(
                f"{path}:{lines.get(('zero',), 1)}: zero is {zero!r}; write zero: least_contrast, or zero_c10_angstrom: a number, not both"
            )
        content["zero_c10_angstrom"] = _least_contrast(yaml_config.validate(Study, content, path, lines))
    try:
        return yaml_config.validate(Study, content, path, lines)
    except BadInputError as fault:
        if not dumped:
            raise
        remedy = f"use the version that wrote it, not this {__version__}, or choose another {parameter('folder')}"
        raise BadInputError(fault.what.partition("; ")[0], remedy=remedy) from None


def _least_contrast(study: Study) -> float | dict[str, float]:
    """Return the C10 of least contrast of a study's particles in vacuum [Å], of each family by name if it has several."""
    indices, condition = range(min(_IN_VACUUM, study.split.total)), study.test_conditions[0]
    found = {n: least_contrast(r, condition, study.exit_waves, indices) for n, r in study.recipes.items()}
    return found if study.structures else found[""]


def dump_study(study: Study) -> str:
    """Return a study as the text of study.yaml, which ends in a comment with its checksum."""
    text = yaml_config.dump(study)
    return f"{text}{_CHECKSUM}{content_id(text, 32)}\n"


def is_dump(text: str) -> bool:
    """Tell whether passband wrote this text of a study; older versions wrote no checksum."""
    if _CHECKSUM in text:
        return True
    content = yaml.safe_load(text)
    return {"name", "conditions", "split", "network", "seeds"} <= content.keys() and text == yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True
    )


def _require_unchanged(path: Path) -> bool:
    """Tell whether a study.yaml is as `dump_study` wrote it, or a user's; refuse one that was changed."""
    text = yaml_config.read_text(path, "YAML file", damaged=True)
    content, mark, checksum = text.rpartition(_CHECKSUM)
    if mark and checksum.strip() != content_id(content, 32):
        raise BadInputError(
            "is not as passband wrote it",
            remedy="if you edited it, delete its last line, the checksum; if it is damaged, delete it and run the study's own YAML file into this folder again",
            place=path,
        )
    return bool(mark)


def _recipe(given: Any, path: Path, lines: yaml_config.Lines, place: tuple[str | int, ...]) -> Any:
    """Return a recipe given as a mapping, as the path of a file beside the study, or as a bundled recipe's name."""
    if not isinstance(given, str):
        return with_crystals(given, path, lines, place)
    recipe = path.parent / given
    if not recipe.is_file() and not (recipe := bundled.recipes().get(given, recipe)).is_file():
        raise BadInputError(
            f"{path}:{lines.get(place, 1)}: recipe {given!r} is neither beside the study nor bundled; correct the path"
        )
    return load_recipe(recipe)


def _with_recipe(training_set: Any, path: Path, lines: yaml_config.Lines, place: tuple[str, str]) -> Any:
    """Put a recipe where a training set names its file."""
    if not isinstance(training_set, dict) or training_set.get("specimens") is None:
        return training_set
    return training_set | {"specimens": _recipe(training_set["specimens"], path, lines, (*place, "specimens"))}


def _from_file(conditions: Any, path: Path, lines: yaml_config.Lines) -> Any:
    """Return conditions given as the path of a file beside the study, or as a mapping with `file` and what is changed of it."""
    changed = {"file": conditions} if isinstance(conditions, str) else conditions
    if not isinstance(changed, dict) or "file" not in changed:
        return conditions
    file = path.parent / str(changed["file"])
    if not file.is_file():
        what = f"{path}:{lines.get(('conditions',), 1)}: conditions {changed['file']!r} is no file beside the study; correct the path"
        raise BadInputError(what)
    content, _ = yaml_config.read_yaml(file)
    if not isinstance(content, dict):
        raise BadInputError(f"{file}: holds no conditions; see docs/conditions.md for distributions of them")
    return content | {name: value for name, value in changed.items() if name != "file"}
