"""The tab "Micrograph": drop a file and see its metadata, its optics, its particles and the verdict."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import panel as pn

from passband.app import analyze, figures, html
from passband.app.analyze import Analysis
from passband.app.batch_panel import BatchPanel
from passband.app.downloads import FileLinks, Offer, stem
from passband.app.edit_panel import EditPanel
from passband.app.model_choice import ModelChoice
from passband.app.parts import FIELDS_WIDTH, WIDE, DropField, columns, figure_pane, number, text
from passband.app.scene import Subject
from passband.app.stores import Stores
from passband.app.tables import table_files
from passband.app.uploads import Upload
from passband.app.verdict_card import verdict_card
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.figures.style import minus
from passband.micrographs.formats import endings
from passband.models.segment import Segmentation, known_crystals
from passband.verdicts.verdict_model import VerdictModel

_PICTURE, _RIGHT = 400, 380
# Seconds after which the values of fields have reached the server.
_SETTLE = 0.2
_HINT = f"Drop a micrograph here, or several, or click to choose: {endings()}"
_EMPTY = "Drop a micrograph, or try the example: its particles, their sizes, its optics and the verdict appear here."
#: Labels of the fields, by the parameter that they set.
_FIELDS = {
    "pixel_size_angstrom": "pixel size [Å], if the file does not say",
    "energy_ev": "energy [eV], if the file does not say",
    "dose_per_angstrom2": "dose [e/Å²], if known",
}


class MicrographTab:
    """The tab of one page."""

    def __init__(
        self,
        subject: Subject,
        stores: Stores,
        show_condition: Callable[[Condition], None],
        choice: ModelChoice | None = None,
        use_labels: Callable[[Segmentation], Awaitable[None]] | None = None,
    ):
        """Build it, empty.

        `show_condition` shows an estimated condition in the other tab, `choice` is of the model, `use_labels` takes corrected particles.
        """
        self._subject, self._uploads, self._session = subject, stores.micrographs, stores.session
        self._choice = choice or ModelChoice(subject)
        self._later = pn.state.curdoc.add_next_tick_callback
        self._task: asyncio.Task[None] | None = None
        self._key = ""
        self._analysis: Analysis | None = None
        self._drawn: Any = None
        self._drop = DropField(hint=_HINT, most_bytes=self._uploads.most_bytes, several=True, batch_address="upload-session", height=124, margin=10, **WIDE)  # fmt: skip
        self._fields = {
            key: pn.widgets.TextInput(name=name, margin=(2, 10), css_classes=[f"field-{key.split('_')[0]}"], **WIDE)
            for key, name in _FIELDS.items()
        }
        self._number = pn.widgets.IntInput(name="image of a stack, from 0", value=0, start=0, margin=(2, 10), **WIDE)
        self._example = pn.widgets.Button(name="Try the example", margin=(4, 10), **WIDE)
        self._again = pn.widgets.Button(name="Analyze again", button_type="primary", margin=10, disabled=True, **WIDE)
        self._take = pn.widgets.Button(name="Show these optics", margin=(4, 10), visible=False, **WIDE)
        self._correct = pn.widgets.Button(name="Correct the particles", margin=(4, 10), visible=False, **WIDE)
        self._report, self._particles = text(), text()
        self._card = FileLinks(stores.downloads)
        self._tables = FileLinks(stores.downloads, title="Tables:")
        self._editing = EditPanel(stores.downloads, self._corrected, self._edited, use_labels)
        absent = html.note(subject.absent) if subject.model is None else ""
        self._title = text(html.note(_EMPTY), css_classes=["micrograph-title"])
        self._message = text(css_classes=["micrograph-message"])
        self._verdict = text(absent, css_classes=["micrograph-verdict"])
        self._picture, self._sources = figures.picture()
        self._sizes, sizes = figures.sizes(230)
        self._sources |= sizes
        self._panes = {f: figure_pane(f, visible=False) for f in (self._picture, self._sizes)}
        self._drop.param.watch(lambda event: self._arrived(event.new), "key")
        self._drop.param.watch(lambda event: self._rejected(event.new), "fault")
        self._batch = BatchPanel(
            stores.session, stores.downloads, self._choice, self._given, self._show_one, self._refuse
        )
        self._drop.param.watch(lambda event: self._batch.start(event.new), "batch")
        self._example.on_click(lambda event: self._launch(self._try()))
        self._again.on_click(lambda event: self._start())
        self._correct.on_click(lambda event: self._edit())
        self._take.on_click(
            lambda event: self._analysis and self._analysis.condition and show_condition(self._analysis.condition)
        )

    def layout(self) -> Any:
        """Return what is shown."""
        fields = [self._drop, self._example, self._choice.field(), *self._fields.values(), self._number]
        left = [*fields, self._again, self._message, self._take, self._report]
        picture, sizes = self._panes.values()
        middle = [self._title, picture, self._correct, self._editing.layout]
        right = [self._verdict, self._card, sizes, self._tables, self._particles]
        made = columns((FIELDS_WIDTH, left), (_PICTURE, middle), (_RIGHT, right))
        self._fields_column = made.objects[0]
        return pn.Column(self._batch.layout, made, **WIDE)

    def _launch(self, work: Any) -> None:
        self._stop()
        self._task = asyncio.get_running_loop().create_task(work)

    async def _try(self) -> None:
        self._later(lambda: self._clear("simulating the example …"))
        key, condition = await asyncio.to_thread(analyze.example, self._subject, self._uploads)

        def show() -> None:
            for name, field in self._fields.items():
                known = None if name == "pixel_size_angstrom" else getattr(condition, name)
                field.value = "" if known is None else f"{known:g}"
            self._arrived(key)

        self._later(show)

    def _arrived(self, key: str) -> None:
        self._uploads.remove(self._key)
        self._key = key
        self._again.disabled = False
        self._start()

    def _show_one(self, key: str, frame: int | None) -> None:
        """Show a micrograph of many."""
        self._number.value = frame or 0
        self._arrived(key)

    def _find(self, key: str) -> Upload | None:
        return self._uploads.find(key) or self._session.find(key)

    def _given(self) -> dict[str, float | None]:
        return {name: number(field.value, html.field(name)) for name, field in self._fields.items()}

    def _start(self) -> None:
        upload = self._find(self._key)
        if upload is None:
            self._stop()
            self._refuse("this file is no longer here; drop it again")
            return
        # Figures may change only while the document is locked, which a widget's callback does not guarantee.
        self._later(lambda: self._clear(f"reading {upload.name} …"))
        self._launch(self._run(self._key))

    async def _run(self, key: str) -> None:
        # A click can arrive before the value of the field that loses the focus.
        await asyncio.sleep(_SETTLE)
        upload = self._find(key)
        if upload is None:
            return
        try:
            analysis = await asyncio.to_thread(analyze.read, upload, self._number.value, **self._given())
        except BadInputError as error:
            unscaled = await asyncio.to_thread(analyze.without_scale, upload, self._number.value or 0, error)
            self._later(lambda error=error: self._fail(upload.name, error, unscaled))
            return
        try:
            model, judge = await asyncio.to_thread(self._choice.current)
        except BadInputError as error:
            self._later(lambda error=error: self._refuse(error))
            return
        steps: dict[str, Callable[[Analysis], Analysis]] = {}
        # Particles first, because they are quick; the verdict last, because it needs the optics.
        if model is not None:
            steps["segmenting …"] = lambda seen: analyze.add_segmentation(seen, model)
        steps["estimating the optics …"] = lambda seen: analyze.add_estimate(seen, judge)
        if model is not None:
            steps["predicting the verdict …"] = lambda seen: analyze.add_verdict(seen, judge or VerdictModel(model))
        for doing, step in steps.items():
            self._later(lambda seen=analysis, doing=doing: self._show(seen, doing))
            analysis = await asyncio.to_thread(analyze.attempt, step, analysis)
        self._later(lambda: self._show(analysis, ""))

    def _clear(self, doing: str) -> None:
        self._message.object = html.note(doing)
        for pane in (self._title, self._report, self._verdict, self._particles):
            pane.object = ""
        self._take.visible = self._correct.visible = False
        self._analysis = self._drawn = None
        self._tables.offer([])
        self._card.offer([])
        self._editing.forget()
        for pane in self._panes.values():
            pane.visible = False
        for name in ("bars", "image", "bar", "prediction", "numbers"):
            source = self._sources[name]
            source.data = {column: [] for column in source.data}

    def _fail(self, name: str, error: BadInputError, unscaled: Any) -> None:
        self._refuse(error)
        self._title.object = html.section(name, "" if unscaled is None else html.note("shown without a scale"))
        if unscaled is not None:
            self._draw(unscaled, unscaled.shape[1], unscaled.shape[0])

    def _draw(self, picture: Any, width: float, height: float) -> None:
        self._drawn = picture
        figures.fit(self._picture, width, height)
        self._sources["image"].data = figures.placed(picture, width, height)
        self._panes[self._picture].visible = True

    def _show(self, analysis: Analysis, doing: str) -> None:
        self._analysis = analysis
        seen = analysis.micrograph
        h, w = (n * seen.pixel_size_angstrom / 10 for n in seen.intensity.shape)
        if analysis.picture is not self._drawn:
            self._draw(analysis.picture, w, h)
            self._sources["bar"].data = figures.scale_bar(w, h)
            self._title.object = html.section(seen.name, html.note(f"{w:.3g} × {h:.3g} nm"))
        stack = [f"image {self._number.value} of {analysis.images}"] if analysis.images > 1 else []
        self._report.object = html.section("The file", html.bullets([*stack, *seen.notes]))
        if analysis.estimate is not None:
            self._report.object += html.section("The optics", minus(analysis.estimate._repr_html_()))
        faults = "".join(html.refusal(line) for line in analysis.faults)
        self._message.object = (html.note(doing) if doing else "") + faults
        self._take.visible = analysis.condition is not None
        if analysis.segmentation is not None:
            self._show_particles(analysis.segmentation)
            self._correct.visible = not doing
            self._sources["prediction"].data = analysis.outlines or {"xs": [], "ys": []}
            self._sources["numbers"].data = analyze.numbers(analysis.segmentation.particles, w, h)
        if analysis.verdict is not None:
            self._verdict.object = minus(analysis.verdict.headline_html() + analysis.verdict.details_html(html.field))
        if not doing:
            name = f"{stem(seen.name)}_verdict.png"
            self._card.offer([Offer("Save as a card (PNG)", name, lambda: verdict_card(analysis))])

    def _show_particles(self, found: Segmentation) -> None:
        bars = analyze.histogram(found.particles)
        self._sources["bars"].data = bars
        self._sizes.x_range.end = 1.1 * float(bars["right"][-1])
        self._sizes.y_range.end = 1.5 * max(float(bars["top"].max()), 1)
        self._panes[self._sizes].visible = True
        self._particles.object = found.table_html()
        self._tables.offer(table_files(found))

    def _edit(self) -> None:
        seen = self._analysis
        if seen is None or seen.segmentation is None or seen.model is None:
            return
        crystals = known_crystals(seen.model.card.specimens)
        # The fields give their room to the canvas, and no other file is dropped by mistake.
        self._fields_column.visible = self._panes[self._picture].visible = self._correct.visible = False
        self._launch(self._editing.open(self._editing.found or seen.segmentation, crystals))

    def _corrected(self, result: Segmentation) -> None:
        if self._analysis is not None:
            self._show_particles(result)

    async def _edited(self) -> None:
        """Show the picture again, with the corrected particles."""
        seen, result = self._analysis, self._editing.result
        if seen is not None and result is not None:
            seen = await asyncio.to_thread(analyze.with_particles, seen, result)

        def show() -> None:
            # In one step: of two that follow each other at once, a browser may miss the second.
            self._editing.layout.visible = False
            self._fields_column.visible = self._panes[self._picture].visible = True
            if seen is not None:
                self._show(seen, "")

        self._later(show)

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
