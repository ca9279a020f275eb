"""The tab "Optics": sliders with the image, the prediction, the transfer, the position in the plane and the verdict, live."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
from numpy.typing import NDArray

from passband.app import figures, html, views
from passband.app.latest import Latest
from passband.app.parts import FIELDS_WIDTH, WIDE, columns, figure_pane, text
from passband.app.scene import PIXELS, Subject
from passband.app.sliders import Sliders
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.conditions.condition import PRESETS
from passband.conditions.condition_files import load_condition
from passband.figures.style import minus
from passband.models.network import predict
from passband.verdicts.verdict import Verdict

_PICTURE, _RIGHT = 360, 420
# Seconds without a change before the reasons are computed.
_REST = 0.4
_MEASURED = "<span>Dice of this image; the verdict predicts the mean of many:"
_NOTHING: dict[str, Any] = {"xs": [], "ys": []}


@dataclass(frozen=True)
class Picture:
    """The picture under a condition."""

    condition: Condition
    image: NDArray[np.float32]
    doubts: list[str]


@dataclass(frozen=True)
class Opinion:
    """The prediction for a picture, and the verdict on its condition."""

    curve: dict[str, Any]
    outlines: dict[str, Any]
    dice: float | None
    verdict: Verdict | None = None
    place: tuple[float | None, float] | None = None


class OpticsTab:
    """The tab of one page."""

    def __init__(self, subject: Subject):
        """Build it and request the first picture."""
        self._subject, self._outlines = subject, _NOTHING
        field = subject.scenes.recipe.field_angstrom
        self._message, self._verdict, self._why = (text() for _ in range(3))
        layers = {"prediction (orange)": "prediction", "truth (blue, dashed)": "truth"}
        shown = ["prediction"] if subject.sees_waves else ["truth"]
        self._layers = pn.widgets.CheckButtonGroup(options=layers, value=shown, button_style="outline", margin=(4, 10))
        self._advise = pn.widgets.Button(name="What to do?", margin=(4, 10), visible=subject.judge is not None)
        self._picture, self._sources = figures.picture()
        self._curves, curves = figures.curves()
        self._plane, plane = figures.plane()
        self._sources |= curves | plane
        # Figures may change only while the document is locked, which a widget's callback does not guarantee.
        later = pn.state.curdoc.add_next_tick_callback
        training = self._sources["training"]
        self._band = Latest(views.training_band, lambda band: setattr(training, "data", band), self._refuse, later)
        self._fill(field)
        self._drawer = Latest(self._draw, self._show_picture, self._refuse, later)
        self._predictor = Latest(self._predict, self._show_opinion, self._refuse, later)
        # Separate, so that no picture waits for it.
        self._explainer = Latest(self._explain, self._show_why, self._refuse, later, _REST)
        self._advisor = Latest(partial(self._explain, advised=True), self._show_advice, self._refuse, later)
        self._advised: Condition | None = None
        self._sliders = Sliders(self._presets(), field / PIXELS, self._changed, self._refuse)
        self.show_condition = self._sliders.start_from
        self._layers.param.watch(lambda event: later(self._show_layers), "value")
        self._advise.on_click(lambda event: self._advisor.submit(self._sliders.condition))
        self._changed(self._sliders.condition)

    def layout(self) -> Any:
        """Return what is shown."""
        buttons = pn.FlexBox(self._layers, self._advise, **WIDE)
        middle = [figure_pane(self._picture), buttons, self._message, self._verdict, self._why]
        right = [figure_pane(self._curves), figure_pane(self._plane), self._note]
        return columns((FIELDS_WIDTH, self._sliders.layout()), (_PICTURE, middle), (_RIGHT, right))

    def _presets(self) -> dict[str, Callable[[], Condition]]:
        presets: dict[str, Callable[[], Condition]] = {n: partial(load_condition, Path(n)) for n in PRESETS}
        judge = self._subject.judge
        if judge is not None and judge.card.conditions:
            return {"a training condition": judge.usual_training_condition} | presets
        return dict(sorted(presets.items(), key=lambda item: item[0] != "team05_300kv"))

    def _fill(self, field: float) -> None:
        """Fill the figures with what no slider changes."""
        judge, self._note = self._subject.judge, text()
        if judge is not None:
            table = judge.calibration_table()
            self._sources["scored"].data = table.drop("role").to_dict(as_series=False)
            self._plane.y_range.end = 1.15 * float(table["epsilon"].max() or 1)
            self._band.submit(list(judge.card.conditions))
            self._note.object = html.note(
                "Each mark is a condition under which the model was scored. Where kinds of marks overlap, σ and ε alone do not decide; "
                "the verdict does not rest on them alone."
            )
        # The mask does not depend on the energy.
        self._truth = views.outlines(self._subject.scenes.any().mask, 0.5, field)
        figures.fit(self._picture, field, field)
        self._sources["bar"].data = figures.scale_bar(field, field, 0.1)

    def _changed(self, condition: Condition) -> None:
        if not self._subject.scenes.ready(condition.energy_ev):
            wait = f"the specimen's exit wave at {condition.energy_ev / 1e3:g} kV is being computed once; this takes about ten seconds"
            self._message.object = html.note(wait)
        self._why.object, self._advised = "", None
        self._drawer.submit(condition)
        self._explainer.submit(condition)

    def _draw(self, condition: Condition) -> Picture:
        scene = self._subject.scenes.at(condition.energy_ev)
        warning = scene.imager(condition).warning()
        doubts = condition.doubts() + ([] if warning is None else [warning])
        return Picture(condition, scene.image(condition), doubts)

    def _show_picture(self, picture: Picture) -> None:
        field = self._subject.scenes.recipe.field_angstrom
        self._sources["image"].data = figures.placed(views.grey(picture.image), field, field)
        self._message.object = "".join(html.note(line) for line in picture.doubts)
        self._predictor.submit(picture)

    def _predict(self, picture: Picture) -> Opinion:
        condition, model, judge = picture.condition, self._subject.model, self._subject.judge
        lines, dice = _NOTHING, None
        if model is not None and self._subject.sees_waves:
            scene = self._subject.scenes.at(condition.energy_ev)
            prediction = predict(model.network, model.card, picture.image, scene.pixel_size_angstrom)
            lines = views.outlines(prediction.probability[0], prediction.threshold, scene.recipe.field_angstrom)
            dice = views.dice(prediction.masks[0], scene.mask)
        if judge is None:
            return Opinion(views.curve(condition), lines, dice)
        verdict = judge.check(condition, explained=False, advised=False)
        return Opinion(views.curve(condition), lines, dice, verdict, judge.position(condition))

    def _show_opinion(self, opinion: Opinion) -> None:
        self._outlines = opinion.outlines
        self._sources["curve"].data = opinion.curve
        self._show_layers()
        if opinion.place is not None and opinion.place[0] is not None:
            self._sources["current"].data = {"sigma": [opinion.place[0]], "epsilon": [opinion.place[1]]}
        measured = "" if opinion.dice is None else f"{_MEASURED} <b>{opinion.dice:.3f}</b></span>"
        if opinion.verdict is None:
            self._verdict.object = html.note(self._subject.absent) + measured
        else:
            self._verdict.object = minus(opinion.verdict.headline_html(measured))

    def _show_layers(self) -> None:
        for name, lines in (("prediction", self._outlines), ("truth", self._truth)):
            self._sources[name].data = lines if name in self._layers.value else _NOTHING

    def _explain(self, condition: Condition, *, advised: bool = False) -> tuple[Condition, str]:
        judge = self._subject.judge
        if judge is None:
            return condition, ""
        verdict = judge.check(condition, advised=advised)
        works = advised and verdict.answer == "yes"
        nothing = html.section("What to do", "<p>Nothing: the model works under this condition.</p>") if works else ""
        return condition, nothing + verdict.details_html(html.field)

    def _show_why(self, result: tuple[Condition, str]) -> None:
        # Advice includes the reasons; those that are ready only later do not take its place.
        if result[0] == self._sliders.condition and self._advised != result[0]:
            self._why.object = minus(result[1])

    def _show_advice(self, result: tuple[Condition, str]) -> None:
        self._show_why(result)
        self._advised = result[0]

    def _refuse(self, fault: BadInputError) -> None:
        self._message.object = html.refusal(fault)
