"""Sets and distributions of imaging conditions: grids, random and Sobol draws, mixtures; seeded and serialised."""

import difflib
import itertools
import math
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from passband.base.distribution import Distribution, Values
from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.conditions.condition import ABERRATIONS, ALIASES, ANGLES, SHORT_NAMES, Condition, canonical, short_names
from passband.conditions.detector import Detector
from passband.conditions.stem_condition import STEM_PRESETS, AnyCondition, StemCondition, StemDetector, is_of_stem
from passband.files import yaml_config
from passband.files.yaml_config import Config

_MOST_CONDITIONS = 2000
_UNITS = {"per_angstrom2": "e/Å²", "angstrom": "Å", "mrad": "mrad", "rad": "rad", "ev": "eV"}
_SHORT = {"defocus_angstrom": "defocus"} | {
    name: short.replace("_", " ") for name, short in (short_names(StemCondition) | SHORT_NAMES).items()
}
_SHORT["pixel_size_angstrom"] = "pixel"
# Values without a unit that can be varied, and one that is counted.
_PLAIN = {"contrast", "background", *Detector.model_fields} - {"binning"}
_UNITS["electrons"] = "e"
# What only STEM has.
_SCANNED = {*StemCondition.model_fields, *StemDetector.model_fields} - {"modality", "detector", "kind", "quadrants"}


def _preset(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    return StemCondition.preset(given) if given in STEM_PRESETS else Condition.preset(given)


def _modality(given: Any) -> str:
    return "StemCondition" if isinstance(given, StemCondition) or is_of_stem(given) else "Condition"


#: A condition of HRTEM or STEM, or a preset by name.
Base = Annotated[
    Annotated[Condition, Tag("Condition")] | Annotated[StemCondition, Tag("StemCondition")],
    Discriminator(_modality),
    BeforeValidator(_preset),
]


class _Set(Config):
    """Different conditions that are built from the fields once; a copy with other fields builds its own."""

    #: What is wrong if two of the `count` conditions are the same.
    _REPEATED: ClassVar[str]
    _built: tuple[list[Any], list[Any]] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _no_condition_twice(self) -> Self:
        conditions = self.conditions()
        if len({condition.id for condition in conditions}) < len(conditions):
            raise ValueError(self._REPEATED.format(count=len(conditions)))
        return self

    def _build(self) -> list[Any]:
        raise NotImplementedError

    def conditions(self) -> list[Any]:
        """Return the conditions in their order; BadInputError if one is not valid."""
        fields = list(self.__dict__.values())
        if self._built is None or any(a is not b for a, b in zip(self._built[0], fields, strict=True)):
            try:
                self._built = fields, self._build()
            except BadInputError as error:
                raise BadInputError(f"a varied condition is not valid: {error}") from None
        return list(self._built[1])


def check_names(names: list[str]) -> None:
    """Raise ValueError for names that cannot be varied, or that are the same value twice."""
    known = {*_SHORT, *_PLAIN, *_SCANNED, *ABERRATIONS, *ANGLES.values(), *ALIASES, "defocus"}
    for name in names:
        if name not in known:
            last = name.rpartition(".")[2]
            close = [k for k in sorted(known) if k == last or k.startswith(f"{last}_")]
            close += difflib.get_close_matches(last, known, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"cannot vary {name!r}; {remedy}")
        same = [other for other in names if canonical(other, 0.0)[0] == canonical(name, 0.0)[0]]
        if len(same) > 1:
            raise ValueError(f"{' and '.join(same)} are the same coefficient; vary one of them")


class ConditionGrid(_Set):
    """All combinations of some values, put into a base condition.

    On input, `focal_series` gives the defoci [Å], a list or {start, stop, step}, beside `base` or beside the keys of a single condition.
    """

    base: Base
    #: Values by name, each a list or {start, stop, step}: a field of a condition file, `defocus_angstrom`, or an aberration.
    vary: dict[str, Values] = Field(min_length=1)
    _REPEATED: ClassVar[str] = (
        "two combinations of `vary` are the same condition (an angle without its coefficient?); remove one"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_a_focal_series(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "focal_series" not in content:
            return content
        rest = {name: value for name, value in content.items() if name not in ("focal_series", "vary", "base")}
        vary, aberrations = content.get("vary", {}), rest.get("aberrations", {})
        if not isinstance(vary, dict):
            raise ValueError(f"vary is {vary!r}; write a mapping such as {{C12: [0, 40]}}")
        for name in (*rest, *vary, *(aberrations if isinstance(aberrations, dict) else ())):
            if canonical(str(name), 0.0)[0] == "C10":
                raise ValueError(f"focal_series and {name} both give the defocus; keep one of them")
        try:
            vary = {"defocus_angstrom": TypeAdapter(Values).validate_python(content["focal_series"]), **vary}
        except ValidationError as error:
            raise ValueError(f"focal_series {yaml_config.message(error).lstrip(': ')}") from None
        return rest | {"base": content["base"], "vary": vary} if "base" in content else {"base": rest, "vary": vary}

    @field_validator("vary")
    @classmethod
    def _known_names(cls, vary: dict[str, list[float]]) -> dict[str, list[float]]:
        check_names(list(vary))
        for name, values in vary.items():
            if len(set(values)) < len(values):
                raise ValueError(f"{name} lists a value twice; each condition is trained once, so keep one")
        count = math.prod(len(values) for values in vary.values())
        if count > _MOST_CONDITIONS:
            raise ValueError(
                f"the values make {count} conditions; a study compares up to {_MOST_CONDITIONS}, so list fewer values"
            )
        return vary

    def _build(self) -> list[AnyCondition]:
        """Return all combinations, the last name varying fastest."""
        combinations = itertools.product(*self.vary.values())
        return [self.base.varied(dict(zip(self.vary, values, strict=True))) for values in combinations]

    def labels(self) -> list[str]:
        """Return what sets each condition apart, for axes and tables."""
        return [", ".join(_described(c, name) for name in self.vary) for c in self.conditions()]


class ConditionDraw(_Set):
    """Conditions drawn independently in each value, or by a scrambled Sobol sequence that covers them evenly.

    Sobol covers best with a power of two; conditions do not change when `count` grows.
    """

    base: Base
    draw: dict[str, Distribution] = Field(min_length=1)
    count: int = Field(default=16, ge=1, le=_MOST_CONDITIONS, strict=True)
    method: Literal["sobol", "random"] = "sobol"
    seed: int = Field(default=0, ge=0, strict=True)
    _REPEATED: ClassVar[str] = (
        "fewer than {count} different conditions can be drawn; lower `count`, or draw more values"
    )

    @field_validator("draw")
    @classmethod
    def _known_names(cls, draw: dict[str, Distribution]) -> dict[str, Distribution]:
        check_names(list(draw))
        return draw

    def _build(self) -> list[AnyCondition]:
        """Return `count` conditions, values rounded to six digits."""
        if self.method == "sobol":
            # scipy.stats takes a second to import, and few studies draw.
            from scipy.stats import qmc

            sampler = qmc.Sobol(len(self.draw), scramble=True, rng=np.random.default_rng(seed_from("sobol", self.seed)))
            # Powers of two, so that a longer draw begins as a shorter one and SciPy need not warn.
            drawn = sampler.random_base2(math.ceil(math.log2(self.count)))[: self.count]
            shares = np.clip(drawn, 1e-9, 1 - 1e-9)
        else:
            rng = np.random.default_rng(seed_from("draw", self.seed))
            shares = rng.uniform(1e-9, 1 - 1e-9, (self.count, len(self.draw)))
        columns = [spread.at(shares[:, i]) for i, spread in enumerate(self.draw.values())]
        return [
            self.base.varied({name: float(f"{v:.6g}") for name, v in zip(self.draw, row, strict=True)})
            for row in zip(*columns, strict=True)
        ]

    def labels(self) -> list[str]:
        """Return a number and the first drawn value of each condition, for axes and tables."""
        return _numbered(self.conditions(), next(iter(self.draw)))


class Part(Config):
    """A component of a mixture: its share, and how its conditions are drawn."""

    weight: float = Field(gt=0, strict=True)
    base: Base
    draw: dict[str, Distribution] = Field(min_length=1)


class ConditionMixture(_Set):
    """Conditions from several distributions, `count` in all, in exact proportion to their weights (largest remainder)."""

    mixture: list[Part] = Field(min_length=1)
    count: int = Field(default=16, ge=1, le=_MOST_CONDITIONS, strict=True)
    method: Literal["sobol", "random"] = "sobol"
    seed: int = Field(default=0, ge=0, strict=True)
    _REPEATED: ClassVar[str] = "two components draw the same condition; change one of them"

    def _build(self) -> list[AnyCondition]:
        for part in self.mixture:
            check_names(list(part.draw))
        exact = self.count * np.array([part.weight for part in self.mixture]) / sum(p.weight for p in self.mixture)
        counts = np.floor(exact).astype(int)
        counts[np.argsort(counts - exact, kind="stable")[: self.count - counts.sum()]] += 1
        conditions = []
        for i, (part, count) in enumerate(zip(self.mixture, counts.tolist(), strict=True)):
            seed = seed_from("part", self.seed, i)
            if count:
                draw = ConditionDraw(base=part.base, draw=part.draw, count=count, method=self.method, seed=seed)
                conditions += draw.conditions()
        return conditions

    def labels(self) -> list[str]:
        """Return a number and the first drawn value of each condition, for axes and tables."""
        return _numbered(self.conditions(), next(iter(self.mixture[0].draw)))


def _as_set(content: Any) -> Any:
    if not isinstance(content, dict | _Set):
        raise ValueError(f"a {type(content).__name__} is no set of conditions; give base with vary or draw, or mixture")
    return content


def _kind(content: Any) -> str:
    if isinstance(content, BaseModel):
        return type(content).__name__
    keys = content if isinstance(content, dict) else {}
    return "ConditionMixture" if "mixture" in keys else "ConditionDraw" if "draw" in keys else "ConditionGrid"


#: Any of the three, told apart by their keys: vary, draw, mixture.
ConditionSet = Annotated[
    Annotated[ConditionGrid, Tag("ConditionGrid")]
    | Annotated[ConditionDraw, Tag("ConditionDraw")]
    | Annotated[ConditionMixture, Tag("ConditionMixture")],
    Discriminator(_kind),
    BeforeValidator(_as_set),
]


def _numbered(conditions: list[AnyCondition], name: str) -> list[str]:
    width = len(str(len(conditions)))
    return [f"{i + 1:0{width}d}: {_described(c, name)}" for i, c in enumerate(conditions)]


def axis_label(name: str) -> str:
    """Return the label of an axis along which a value varies, with its unit."""
    unit = _unit(name)
    return f"{_SHORT.get(name, name)} [{unit}]" if unit else _SHORT.get(name, name)


def _unit(name: str) -> str:
    usual = "rad" if "phi" in ALIASES.get(name, name) else "Å"
    usual = "" if name in _PLAIN else usual
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), usual)


def _described(condition: AnyCondition, name: str) -> str:
    flat: dict[str, Any] = dict(condition) | condition.aberrations | condition.detector.model_dump()
    flat |= dict.fromkeys(("defocus", "defocus_angstrom"), condition.defocus_angstrom)
    value = flat.get(ALIASES.get(name, name)) or 0.0
    sign = "+" if name.startswith("defocus") and value > 0 else ""
    return f"{_SHORT.get(name, name)} {sign}{value:.12g} {_unit(name)}".rstrip()
