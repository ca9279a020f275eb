"""Which model segments: one choice for all tabs of a page that read images."""

from pathlib import Path
from typing import Any

import panel as pn

from passband.app.parts import WIDE
from passband.app.scene import Subject
from passband.base.errors import BadInputError
from passband.models.store import SEGMENTING, Model, installed, read_model, require_task
from passband.verdicts.verdict_model import VerdictModel


class ModelChoice:
    """The model of the page, or another that is installed."""

    def __init__(self, subject: Subject):
        """Begin with the page's model."""
        own = {} if subject.model is None else {subject.model.card.name: subject.model.folder}
        self._folders: dict[str, Path] = own | {k: v for k, v in installed().items() if k not in own}
        self._loaded: dict[str, tuple[Model, VerdictModel | None]] = {}
        if subject.model is not None:
            self._loaded[subject.model.card.name] = subject.model, subject.judge
        self._name = next(iter(own), "")
        self._fields: list[Any] = []

    def field(self) -> Any:
        """Return a widget for a tab."""
        names = [*([] if self._name else [""]), *self._folders]
        made = pn.widgets.Select(
            name="model", options=names, value=self._name, margin=(2, 10), css_classes=["model-choice"], **WIDE
        )
        made.param.watch(lambda event: self.choose(event.new), "value")
        self._fields.append(made)
        return made

    def choose(self, name: str) -> None:
        """Choose a model in all tabs."""
        self._name = name
        for made in self._fields:
            if made.value != name:
                made.value = name

    def add(self, name: str, folder: Path) -> None:
        """Choose a model that is new."""
        self._folders[name] = folder
        for made in self._fields:
            made.options = [*self._folders]
        self.choose(name)

    def current(self) -> tuple[Model | None, VerdictModel | None]:
        """Return the chosen model, and the judge of its verdicts if it has been scored; BadInputError if it cannot be loaded."""
        name = self._name
        if not name:
            return None, None
        if name not in self._loaded:
            model = read_model(self._folders[name])
            require_task(model.card, *SEGMENTING)
            # It may be unusable.
            _ = model.network
            try:
                judge = VerdictModel(model)
            except BadInputError:
                judge = None
            self._loaded[name] = model, judge
        return self._loaded[name]
