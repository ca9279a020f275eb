"""Correct the particles of a micrograph by hand: the canvas, the table that follows it, and where the labels go."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import panel as pn
from numpy.typing import NDArray

from passband.app import html
from passband.app.corrected import corrected, label_files
from passband.app.downloads import Downloads, FileLinks
from passband.app.latest import Latest
from passband.app.mask_editor import MaskEditor, opening, patch
from passband.app.mask_edits import MaskEdits
from passband.app.parts import WIDE, text
from passband.app.views import dice
from passband.base.errors import BadInputError
from passband.models.segment import Segmentation
from passband.specimens.crystals import Crystal

# Seconds without a stroke before the table is computed.
_REST = 0.3


class EditPanel:
    """The canvas of one page, and what goes with it.

    Attributes:
        found: the segmentation that is corrected, or None.
        result: the corrected segmentation, or None before any correction.
    """

    def __init__(
        self,
        downloads: Downloads,
        changed: Callable[[Segmentation], None],
        closed: Callable[[], Awaitable[None]],
        use: Callable[[Segmentation], Awaitable[None]] | None = None,
    ):
        """`changed` is called with each corrected segmentation, `closed` at the end, which hides the layout; `use` takes labels to tune a model on."""
        self._changed, self._closed = changed, closed
        self._later = pn.state.curdoc.add_next_tick_callback
        # Strokes are applied in their order, and not while their numbers are copied.
        self._turn, self._guard = asyncio.Lock(), threading.Lock()
        self._tasks = set[asyncio.Task[None]]()
        self._measurer = Latest(self._measure, self._show, self._refuse, self._later, _REST)
        self.found: Segmentation | None = None
        self._crystals: Sequence[Crystal] = ()
        self._edits: MaskEdits | None = None
        self._step = 1
        self.result: Segmentation | None = None
        self.editor = MaskEditor(self._received)
        self._message = text(css_classes=["editor-message"])
        self._links = FileLinks(downloads, title="Save the labels:")
        self._use = pn.widgets.Button(name="Add to the tab Labels", margin=(4, 10), visible=use is not None)
        self._end = pn.widgets.Button(name="Done", button_type="primary", margin=(4, 10))
        if use is not None:
            self._use.on_click(lambda event: self._launch(self._use_labels(use)))
        self._end.on_click(lambda event: self._launch(self._finish()))
        buttons = pn.FlexBox(self._end, self._use, **WIDE)
        self.layout = pn.Column(buttons, self._message, self.editor, self._links, visible=False, **WIDE)

    def forget(self) -> None:
        """Leave a micrograph and its corrections."""
        self.found = self._edits = self.result = None
        self.editor.scene, self.layout.visible = {}, False

    async def open(self, found: Segmentation, crystals: Sequence[Crystal]) -> None:
        """Show a segmentation, with the corrections so far if it is the same; crystals are those of its lattices."""
        if self._edits is None or self.found is not found:
            self.found, self._crystals, self.result = found, crystals, None
            self._edits = MaskEdits(found.instances, found.pixel_size_angstrom)
        edits = self._edits
        scene = await asyncio.to_thread(opening, found.micrograph, edits.numbers)

        self._step = scene["width"] // scene["shown"][0]

        def show() -> None:
            state = {"undo": edits.can_undo, "redo": edits.can_redo, "numbers": _marks(self.result or found)}
            self.editor.scene = scene | state
            self.layout.visible = True
            self._show(self.result or found)

        self._later(show)

    def _received(self, message: dict[str, Any]) -> None:
        self._launch(self._answer(message, self.found, self._edits))

    async def _answer(self, message: dict[str, Any], found: Segmentation | None, edits: MaskEdits | None) -> None:
        if found is None or edits is None:
            return
        async with self._turn:
            try:
                news, fault = await asyncio.to_thread(self._apply, message, edits), ""
            except BadInputError as error:
                news, fault = {}, html.refusal(error)
        if edits is not self._edits:
            return

        def show() -> None:
            self.editor.tell(id=message.get("id", 0), undo=edits.can_undo, redo=edits.can_redo, **news)
            if fault:
                self._message.object = fault
            elif news:
                self._message.object = html.note("measuring …")
                self._measurer.submit((found, edits))

        self._later(show)

    def _apply(self, message: dict[str, Any], edits: MaskEdits) -> dict[str, Any]:
        with self._guard:
            return _applied(message, edits, self._step)

    def _copy(self, edits: MaskEdits) -> NDArray[np.int32]:
        with self._guard:
            return edits.numbers.copy()

    def _measure(self, request: tuple[Segmentation, MaskEdits]) -> Segmentation:
        found, edits = request
        return corrected(found, self._copy(edits))

    def _show(self, result: Segmentation) -> None:
        edits, found = self._edits, self.found
        if edits is None or found is None or result.micrograph is not found.micrograph:
            return
        if edits.count or self.result is not None:
            self.result = result
            self._changed(result)
        self.editor.tell(numbers=_marks(result))
        self._links.offer(label_files(result))
        self._message.object = html.note(_agreement(found, result, edits.count))

    def _launch(self, work: Any) -> None:
        # The loop itself holds tasks weakly.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _use_labels(self, use: Callable[[Segmentation], Awaitable[None]]) -> None:
        result = self.result or self.found
        if result is None:
            return
        try:
            await use(result)
        except BadInputError as error:
            line = html.refusal(error)
        else:
            line = html.note("added to the tab Labels, as an image with its mask")
        self._later(lambda: self._message.param.update(object=line))

    async def _finish(self) -> None:
        found, edits = self.found, self._edits
        if found is not None and edits is not None and self.result is not None:
            self._later(lambda: self._message.param.update(object=html.note("measuring sizes and lattices …")))
            numbers = await asyncio.to_thread(self._copy, edits)
            result = await asyncio.to_thread(corrected, found, numbers, self._crystals)
            if edits is self._edits:
                self.result = result
                self._later(lambda: self._show(result))
        await self._closed()

    def _refuse(self, fault: BadInputError) -> None:
        self._message.object = html.refusal(fault)


def _marks(result: Segmentation) -> list[list[Any]]:
    """Return place, number and diameter of each particle, in pixels of the image."""
    table, p = result.particles, result.pixel_size_angstrom
    columns = [(table[f"{axis}_angstrom"] / p + 0.5).to_list() for axis in "xy"]
    sizes = (table["equivalent_diameter_angstrom"] / p).to_list()
    return [[*mark] for mark in zip(*columns, map(str, table["particle"]), sizes, strict=True)]


def _applied(message: dict[str, Any], edits: MaskEdits, step: int) -> dict[str, Any]:
    """Apply a stroke, undo or redo, and return what the canvas has to draw anew."""
    kind = message.get("kind")
    if kind == "stroke":
        try:
            tool, radius = str(message["tool"]), float(message["radius"])
            points = np.asarray(message["points"], dtype=float).reshape(-1, 2)
        except (KeyError, TypeError, ValueError):
            raise BadInputError("this stroke cannot be read; draw it again") from None
        window = edits.stroke(tool, points, radius)
    else:
        again = edits.redo() if kind == "redo" else edits.undo()
        if again is None:
            return {}
        window = again
    return patch(edits.numbers, window, step)


def _agreement(found: Segmentation, result: Segmentation, strokes: int) -> str:
    """Return how many strokes there are, and how well the model's mask agrees with the corrected one."""
    counted = f"{len(result.particles)} particle{'s' * (len(result.particles) != 1)}"
    if not strokes:
        return counted
    value = dice(found.mask, result.mask)
    score = "" if value is None else f"; Dice of the model's mask with yours {value:.3f}"
    return f"{counted}, {strokes} correction{'s' * (strokes != 1)}{score}"
