"""The Live tab: watch the folder that the microscope writes to; each new micrograph is segmented and judged."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import panel as pn

from passband.app import html
from passband.app.model_choice import ModelChoice
from passband.app.parts import FIELDS_WIDTH, STYLE, WIDE, columns, number, text
from passband.base.errors import BadInputError, parameter
from passband.execution.processes import Processes
from passband.micrographs.micrograph import Calibration
from passband.models.store import Model
from passband.sessions import watch_page
from passband.sessions.image_job import Settings
from passband.sessions.watch import Watch

_EMPTY = "Name the folder that the microscope writes to: the answer for each new micrograph appears here, within seconds of its arrival."
_SHOWN = 700
# Seconds in which a field that loses the focus sends its value after a click.
_SETTLE = 0.1


class LiveTab:
    """The tab of one page; the watch ends with the page."""

    def __init__(self, choice: ModelChoice):
        """Build it, idle."""
        self._choice = choice
        self._later = pn.state.curdoc.add_next_tick_callback
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._folder = pn.widgets.TextInput(name="folder to watch", placeholder="/data/session", margin=(2, 10), **WIDE)
        self._out = pn.widgets.TextInput(name="folder of the results", value="segmented", margin=(2, 10), **WIDE)
        self._energy = pn.widgets.TextInput(name="energy [keV], if the files do not say", margin=(2, 10), **WIDE)
        self._pixel = pn.widgets.TextInput(name="pixel size [Å], if the files do not say", margin=(2, 10), **WIDE)
        self._start = pn.widgets.Button(name="Start", button_type="primary", margin=(6, 10), **WIDE)
        self._stop = pn.widgets.Button(name="Stop", margin=(6, 10), visible=False, **WIDE)
        self._message = text(css_classes=["live-message"])
        self._shown = pn.pane.HTML(
            html.note(_EMPTY),
            stylesheets=[STYLE, watch_page.STYLE],
            margin=(0, 10),
            css_classes=["live-session"],
            **WIDE,
        )
        self._start.on_click(lambda event: self._launch())
        self._stop.on_click(lambda event: self._end())
        if pn.state.curdoc.session_context is not None:
            pn.state.on_session_destroyed(lambda context: self._end())

    def layout(self) -> Any:
        """Return what is shown."""
        fields = [self._folder, self._out, self._choice.field(), self._energy, self._pixel, self._start, self._stop]
        return columns((FIELDS_WIDTH, [*fields, self._message]), (_SHOWN, [self._shown]))

    def _launch(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    async def _run(self) -> None:
        await asyncio.sleep(_SETTLE)
        self._later(lambda: self._running(running=True))
        try:
            model, _ = await asyncio.to_thread(self._choice.current)
            if model is None:
                raise BadInputError("no model is installed; install one with passband model import")
            self._watch, loop = self._prepared(model), asyncio.get_running_loop()
            await asyncio.to_thread(self._follow, self._watch, lambda act: loop.call_soon_threadsafe(self._later, act))
        except BadInputError as error:
            line = error.text(html.field)
            self._later(lambda: self._say(line, fault=True))
        except Exception as error:  # An unforeseen error must not end the page.
            line = f"the watch failed ({type(error).__name__}: {str(error)[:200]})"
            self._later(lambda: self._say(line, fault=True))
        finally:
            self._watch = None
            self._later(lambda: self._running(running=False))

    def _prepared(self, model: Model) -> Watch:
        """Return the watch that the fields describe."""
        folder = self._folder.value_input.strip() or self._folder.value.strip()
        if not folder:
            raise BadInputError("name the folder to watch")
        energy = number(self._energy.value, "energy [keV]")
        pixel = number(self._pixel.value, html.field("pixel_size_angstrom"))
        given = Calibration(pixel, None if energy is None else 1000 * energy)
        out = self._out.value.strip()
        if not out:
            raise BadInputError(f"{parameter('folder')} is empty", remedy="name one")
        settings = Settings.of("segment", Path(out).expanduser(), model, given=given)
        return Watch(settings, Path(folder).expanduser(), model=model.card.name, name=html.field)

    def _follow(self, watch: Watch, later: Callable[[Callable[[], None]], object]) -> None:
        """Show each image, until `_end`; runs in a thread of its own, and lets the page act `later`."""
        with watch, Processes(1) as executor:
            later(lambda: self._say(f"watching {watch.folder}; also in {watch.page}"))
            for image in watch.images(executor):
                later(partial(self._show, str(image), watch.content(), turned=image.turned))
            ended = f"ended; table and contact sheet: {watch.settings.out}"
            later(partial(self._show, ended, watch.content(ended=True)))
            watch.finish()

    def _show(self, line: str, content: str, *, turned: bool = False) -> None:
        self._say(line, fault=turned)
        self._shown.object = content

    def _say(self, line: str, *, fault: bool = False) -> None:
        self._message.object = html.refusal(line) if fault else html.note(line)

    def _running(self, *, running: bool) -> None:
        self._start.visible, self._stop.visible = not running, running
