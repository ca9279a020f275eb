"""The tab "Micrograph": drop a file and see its metadata, its optics, its particles and the verdict."""

import asyncio
from collections.abc import Callable
from typing import Any

import panel as pn

from passband.app import analyze, figures, html
from passband.app.analyze import Analysis, Request
from passband.app.parts import DropField, text
from passband.app.uploads import Upload, Uploads
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.micrographs.formats import endings
from passband.models.store import Model
from passband.verdicts.verdict_model import VerdictModel

_LEFT, _PICTURE, _RIGHT = 310, 640, 430
# Seconds after which the values of fields have reached the server.
_SETTLE = 0.2
_HINT = f"Drop a micrograph here, or click to choose: {endings()}"


class MicrographTab:
    """The tab of one page."""

    def __init__(
        self,
        model: Model | None,
        judge: VerdictModel | None,
        absent: str,
        uploads: Uploads,
        show_condition: Callable[[Condition], None],
    ):
        """Build it, empty.

        Args:
            model: to segment with, or None.
            judge: of its verdicts, or None if it is not calibrated.
            absent: why there is no model, in a line.
            uploads: where files arrive.
            show_condition: shows an estimated condition in the other tab.
        """
        self._model, self._judge, self._uploads = model, judge, uploads
        self._later = pn.state.curdoc.add_next_tick_callback
        self._task: asyncio.Task[None] | None = None
        self._key = ""
        self._analysis: Analysis | None = None
        self._drawn: Any = None
        self._drop = DropField(hint=_HINT, most_bytes=uploads.most_bytes, width=_LEFT - 20, height=124, margin=10)
        fields = {
            "pixel": "pixel size [Å], if the file does not say",
            "energy": "energy [eV], if the file does not say",
            "dose": "dose [e/Å²], if known",
        }
        self._fields = {key: pn.widgets.FloatInput(name=name, value=None, width=_LEFT - 30, margin=(2, 10), css_classes=[f"field-{key}"]) for key, name in fields.items()}  # fmt: skip
        self._number = pn.widgets.IntInput(
            name="image of a stack, from 0", value=0, start=0, width=_LEFT - 30, margin=(2, 10)
        )
        self._again = pn.widgets.Button(
            name="Analyze again", button_type="primary", width=_LEFT - 30, margin=(10, 10), disabled=True
        )
        self._take = pn.widgets.Button(name="Show these optics", width=_LEFT - 30, margin=(4, 10), visible=False)
        self._report = text(width=_LEFT - 20)
        self._message = text(width=_LEFT - 20, css_classes=["micrograph-message"])
        self._verdict = text(width=_RIGHT, css_classes=["micrograph-verdict"])
        self._particles = text(width=_RIGHT)
        self._picture, self._sources = figures.picture(_PICTURE)
        self._sizes, sizes = figures.sizes(_RIGHT, 210)
        self._sources |= sizes
        self._drop.param.watch(lambda event: self._arrived(event.new), "key")
        self._drop.param.watch(lambda event: self._rejected(event.new), "fault")
        self._again.on_click(lambda event: self._start())
        self._take.on_click(
            lambda event: self._analysis and self._analysis.condition and show_condition(self._analysis.condition)
        )
        if model is None:
            self._verdict.object = html.note(absent)

    def layout(self) -> Any:
        """Return what is shown."""
        left = pn.Column(self._drop, *self._fields.values(), self._number, self._again, self._message, self._take, self._report, width=_LEFT, css_classes=["sidebar"])  # fmt: skip
        middle = pn.Column(pn.pane.Bokeh(self._picture, margin=(0, 10)), width=_PICTURE + 20)
        right = pn.Column(self._verdict, pn.pane.Bokeh(self._sizes, margin=(4, 10)), self._particles, width=_RIGHT + 20)  # fmt: skip
        return pn.Row(left, middle, right)

    def _arrived(self, key: str) -> None:
        self._uploads.remove(self._key)
        self._key = key
        self._again.disabled = False
        self._start()

    def _start(self) -> None:
        self._stop()
        upload = self._uploads.find(self._key)
        if upload is None:
            self._refuse("this file is no longer here; drop it again")
            return
        # Figures may change only while the document is locked, which a widget's callback does not guarantee.
        self._later(lambda: self._clear(f"reading {upload.name} …"))
        self._task = asyncio.get_running_loop().create_task(self._run(upload))

    async def _run(self, upload: Upload) -> None:
        # A click can arrive before the value of the field that loses the focus.
        await asyncio.sleep(_SETTLE)
        request = Request(upload.path, upload.name, self._fields["pixel"].value, self._fields["energy"].value, self._fields["dose"].value, self._number.value)  # fmt: skip
        try:
            analysis = await asyncio.to_thread(analyze.read, request)
        except BadInputError as error:
            self._later(lambda error=error: self._refuse(error))
            return
        model, judge = self._model, self._judge
        steps: list[tuple[str, Callable[[Analysis], Analysis]]] = [
            ("estimating the optics …", lambda seen: analyze.add_estimate(seen, judge))
        ]
        if model is not None:
            # Particles first, because they are quick; the verdict last, because it needs the optics.
            steps.insert(0, ("segmenting …", lambda seen: analyze.add_segmentation(seen, model)))
            steps.append(
                ("predicting the verdict …", lambda seen: analyze.add_verdict(seen, judge or VerdictModel(model)))
            )
        for doing, step in steps:
            self._later(lambda seen=analysis, doing=doing: self._show(seen, doing))
            analysis = await asyncio.to_thread(analyze.attempt, step, analysis)
        self._later(lambda: self._show(analysis, ""))

    def _clear(self, doing: str) -> None:
        self._message.object = html.note(doing)
        for pane in (self._report, self._verdict, self._particles):
            pane.object = ""
        self._take.visible = False
        for name in ("bars", "image", "bar", "prediction"):
            source = self._sources[name]
            source.data = {column: [] for column in source.data}

    def _show(self, analysis: Analysis, doing: str) -> None:
        self._analysis = analysis
        seen = analysis.micrograph
        h, w = (n * seen.pixel_size_angstrom / 10 for n in seen.intensity.shape)
        if analysis.picture is not self._drawn:
            self._drawn = analysis.picture
            figures.fit(self._picture, w, h)
            self._sources["image"].data = {"image": [analysis.picture], "x": [0], "y": [0], "dw": [w], "dh": [h]}
            self._sources["bar"].data = figures.scale_bar(w, h)
        stack = [f"image {self._number.value} of {analysis.images}"] if analysis.images > 1 else []
        self._report.object = html.section("The file", html.bullets([*stack, *seen.notes]))
        if analysis.estimate is not None:
            self._report.object += html.section("The optics", analysis.estimate._repr_html_())
        faults = "".join(html.refusal(line) for line in analysis.faults)
        self._message.object = (html.note(doing) if doing else "") + faults
        self._take.visible = analysis.condition is not None
        if analysis.segmentation is not None:
            bars = analyze.histogram(analysis.segmentation.particles)
            self._sources["bars"].data = bars
            self._sizes.x_range.end = 1.1 * float(bars["right"][-1])
            self._sizes.y_range.end = 1.5 * max(float(bars["top"].max()), 1)
            self._sources["prediction"].data = analysis.outlines or {"xs": [], "ys": []}
            self._particles.object = analysis.segmentation._repr_html_()
        if analysis.verdict is not None:
            self._verdict.object = analysis.verdict.headline_html() + analysis.verdict.details_html(html.field)

    def _stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _rejected(self, line: str) -> None:
        if line:
            # The analysis of the former file would overwrite the message.
            self._stop()
            self._refuse(line)

    def _refuse(self, fault: BadInputError | str) -> None:
        self._message.object = html.refusal(fault)
