"""The tab "Micrograph": drop a file, and see what it says, what the network finds, and whether that holds."""

import asyncio
from collections.abc import Callable
from typing import Any

import panel as pn

from passband.app import figures, looking, words
from passband.app.looking import Given, Looked
from passband.app.parts import DropField, text
from passband.app.uploads import Upload, Uploads
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.models.store import Model
from passband.verdicts.verdict_model import VerdictModel

_LEFT, _PICTURE, _RIGHT = 310, 640, 430
# Seconds in which fields reach the server.
_SETTLE = 0.2
_HINT = "Drop a micrograph here, or click to choose: dm3, dm4, emd, hspy, mrc, tif, png"


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
            model: that looks, or None.
            judge: of its verdicts, or None if it has not been scored.
            absent: why there is none, in a line.
            uploads: where files arrive.
            show_condition: shows an estimated condition in the other tab.
        """
        self._judge = judge
        self._model, self._absent, self._uploads, self._show_condition = model, absent, uploads, show_condition
        self._later = pn.state.curdoc.add_next_tick_callback
        self._task: asyncio.Task[None] | None = None
        self._key = ""
        self._looked: Looked | None = None
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
            name="Look again", button_type="primary", width=_LEFT - 30, margin=(10, 10), disabled=True
        )
        self._take = pn.widgets.Button(name="Show these optics", width=_LEFT - 30, margin=(4, 10), visible=False)
        self._said = text(width=_LEFT - 20)
        self._message = text(width=_LEFT - 20, css_classes=["micrograph-message"])
        self._verdict = text(width=_RIGHT, css_classes=["micrograph-verdict"])
        self._summary, self._table = text(width=_RIGHT), text(width=_RIGHT)
        self._picture, self._sources = figures.picture(_PICTURE)
        self._sizes, sizes = figures.sizes(_RIGHT, 210)
        self._sources |= sizes
        self._drop.param.watch(lambda event: self._arrived(event.new), "key")
        self._drop.param.watch(lambda event: self._turned_down(event.new), "fault")
        self._again.on_click(lambda event: self._look())
        self._take.on_click(
            lambda event: self._looked and self._looked.condition and show_condition(self._looked.condition)
        )
        if model is None:
            self._verdict.object = words.note(absent)

    def layout(self) -> Any:
        """Return what is shown."""
        left = pn.Column(self._drop, *self._fields.values(), self._number, self._again, self._message, self._take, self._said, width=_LEFT, css_classes=["sidebar"])  # fmt: skip
        middle = pn.Column(pn.pane.Bokeh(self._picture, margin=(0, 10)), width=_PICTURE + 20)
        right = pn.Column(self._verdict, self._summary, pn.pane.Bokeh(self._sizes, margin=(4, 10)), self._table, width=_RIGHT + 20)  # fmt: skip
        return pn.Row(left, middle, right)

    def _arrived(self, key: str) -> None:
        self._uploads.remove(self._key)
        self._key = key
        self._again.disabled = False
        self._look()

    def _look(self) -> None:
        self._stop()
        upload = self._uploads.find(self._key)
        if upload is None:
            self._refuse("this file is no longer here; drop it again")
            return
        # Figures may be changed only where the document is locked, which a widget's callback is not sure to be.
        self._later(lambda: self._clear(f"reading {upload.name} …"))
        self._task = asyncio.get_running_loop().create_task(self._run(upload))

    async def _run(self, upload: Upload) -> None:
        # A click arrives before the number that it took the focus from.
        await asyncio.sleep(_SETTLE)
        given = Given(upload.path, upload.name, self._fields["pixel"].value, self._fields["energy"].value, self._fields["dose"].value, self._number.value)  # fmt: skip
        try:
            looked = await asyncio.to_thread(looking.read, given)
        except BadInputError as error:
            self._later(lambda line=str(error): self._refuse(line))
            return
        model, judge = self._model, self._judge
        steps: list[tuple[str, Callable[[Looked], Looked]]] = [
            ("estimating the optics …", lambda seen: looking.estimated(seen, judge))
        ]
        if model is not None:
            # Particles first, for they are seen at once; the verdict last, for it rests on the optics.
            steps.insert(0, ("finding particles …", lambda seen: looking.segmented(seen, model)))
            steps.append(("weighing the verdict …", lambda seen: looking.judged(seen, judge or VerdictModel(model))))
        for doing, step in steps:
            self._later(lambda seen=looked, doing=doing: self._show(seen, doing))
            looked = await asyncio.to_thread(looking.attempt, step, looked)
        self._later(lambda: self._show(looked, ""))

    def _clear(self, doing: str) -> None:
        self._message.object = words.note(doing)
        for pane in (self._said, self._verdict, self._summary, self._table):
            pane.object = ""
        self._take.visible = False
        for name in ("bars", "image", "bar", "found"):
            source = self._sources[name]
            source.data = {column: [] for column in source.data}

    def _show(self, looked: Looked, doing: str) -> None:
        self._looked = looked
        seen = looked.micrograph
        h, w = (n * seen.pixel_size_angstrom / 10 for n in seen.intensity.shape)
        if looked.picture is not self._drawn:
            self._drawn = looked.picture
            figures.fit(self._picture, w, h)
            self._sources["image"].data = {"image": [looked.picture], "x": [0], "y": [0], "dw": [w], "dh": [h]}
            self._sources["bar"].data = figures.scale_bar(w, h)
        stack = [f"image {self._number.value} of {looked.images}"] if looked.images > 1 else []
        self._said.object = words.section("The file", words.bullets([*stack, *seen.notes])) + words.section(
            "The optics", words.bullets(looked.estimated)
        )
        self._message.object = (words.note(doing) if doing else "") + "".join(
            words.refusal(line) for line in looked.faults
        )
        self._take.visible = looked.condition is not None
        if looked.particles is not None:
            bars = looking.histogram(looked.particles)
            self._sources["bars"].data = bars
            self._sizes.x_range.end, self._sizes.y_range.end = (
                1.1 * float(bars["right"][-1]),
                1.5 * max(float(bars["top"].max()), 1),
            )
            self._sources["found"].data = looked.outlines or {"xs": [], "ys": []}
            self._table.object = words.particle_table(looked.particles)
            self._summary.object = words.found(looked.particles)
        if looked.verdict is not None:
            self._verdict.object = looked.verdict.headline_html() + looked.verdict.details_html()

    def _stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _turned_down(self, line: str) -> None:
        if line:
            # What is still said of the file before would hide it.
            self._stop()
            self._refuse(line)

    def _refuse(self, line: str) -> None:
        self._message.object = words.refusal(line)
