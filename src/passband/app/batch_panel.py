"""Many micrographs at once: each is segmented and judged, one after the other, and has a row; a click on it shows the micrograph."""

import asyncio
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import param
import polars as pl
from panel.custom import JSComponent

from passband.app import html
from passband.app.downloads import Downloads, FileLinks, Offer
from passband.app.label_work import link
from passband.app.model_choice import ModelChoice
from passband.app.parts import STYLE, WIDE, script, text
from passband.app.tables import written
from passband.app.uploads import SessionUploads, Upload
from passband.base.errors import BadInputError
from passband.base.progress import clock
from passband.execution.base import Progress
from passband.execution.processes import Processes
from passband.micrographs.micrograph import Calibration
from passband.models.store import Model
from passband.sessions.image_files import CONTACT_SHEET, ImageFiles
from passband.sessions.image_job import Settings
from passband.sessions.image_run import COLUMNS, ImageRun, run_images

# Seconds between lines of progress.
_TICK = 0.5
_HEAD = ["file", "verdict", "Dice (90 %)", "particles", "diameter [nm]", "|defocus| [Å]", "why, or what is wrong"]
# Not among the results to download: what is large, and what names folders of this computer.
_LEFT_OUT = ("_probability.tif", "_probability.hspy", "_segmentation.json")


class RowTable(JSComponent):
    """A table whose rows can be clicked.

    Attributes:
        head: titles of the columns.
        lines: of each row its kind, and its cells.
        chosen: number of the marked row; −1 is none.
    """

    head = param.List(default=[])
    lines = param.List(default=[])
    chosen = param.Integer(default=-1)

    _stylesheets: ClassVar[list[str]] = [STYLE]
    _esm = script("row_table.js")

    def __init__(self, clicked: Callable[[int], None]):
        """`clicked` is called with the number of a row."""
        super().__init__(margin=(0, 10), **WIDE)
        self._clicked = clicked

    def _handle_msg(self, data: Any) -> None:
        if isinstance(data, int) and 0 <= data < len(self.lines):
            self.chosen = data
            self._clicked(data)


class _Share:
    """Adds up the progress of a run."""

    def __init__(self) -> None:
        self.done = 0.0

    def note(self, text: str) -> None:
        pass

    def stage(self, name: str, total: int, done: int) -> Progress:
        def advance(share: float) -> None:
            self.done += share

        return advance


class BatchPanel:
    """The table of one page, and the work on its rows."""

    def __init__(
        self,
        uploads: SessionUploads,
        downloads: Downloads,
        choice: ModelChoice,
        given: Callable[[], dict[str, float | None]],
        show: Callable[[str, int | None], None],
        refuse: Callable[[BadInputError | str], None],
    ):
        """`given` returns the calibration in the fields, `show` takes key and frame of a micrograph, `refuse` a line."""
        self._uploads, self._choice, self._given, self._open, self._refuse = uploads, choice, given, show, refuse
        self._later = pn.state.curdoc.add_next_tick_callback
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._keys: list[str] = []
        self._folder: Path | None = None
        # Of each row: key of the file, and its columns.
        self._rows: list[tuple[str, dict[str, Any]]] = []
        self._message = text(css_classes=["batch-message"])
        self._bar = pn.indicators.Progress(value=0, max=1000, margin=(4, 10), height=14, **WIDE)
        self._table = RowTable(self._clicked)
        self._table.head = _HEAD
        self._links = FileLinks(downloads, title="Save:")
        self._stop = pn.widgets.Button(name="Stop after this image", margin=(4, 10))
        self._stop.on_click(lambda event: setattr(self, "_stopped", True))
        parts = [self._message, self._bar, self._stop, self._table, self._links]
        self.layout = pn.Column(*parts, visible=False, **WIDE)
        if pn.state.curdoc.session_context is not None:
            pn.state.on_session_destroyed(lambda context: self._leave())

    def start(self, batch: list[list[str]]) -> None:
        """Begin with files that were dropped together: name, key and fault of each."""
        if not batch:
            return
        if self._task is not None and not self._task.done():
            for _, key, _ in batch:
                self._uploads.remove(key)
            self._refuse("these files were not taken: other files are being segmented; wait for them, or stop them")
            return
        self._forget()
        self._keys, self._stopped = [key for _, key, _ in batch if key], False
        self._task = asyncio.get_running_loop().create_task(self._guarded(batch))

    async def _guarded(self, batch: list[list[str]]) -> None:
        try:
            await self._run(batch)
        except BadInputError as error:
            self._later(lambda error=error: self._end(html.refusal(error)))
        except Exception as error:  # An unforeseen error must not end the page.
            line = html.refusal(f"this step failed ({type(error).__name__}: {str(error)[:200]})")
            self._later(lambda: self._end(line))

    async def _run(self, batch: list[list[str]]) -> None:
        # A drop can arrive before the value of the field that loses the focus.
        await asyncio.sleep(0.2)
        given = Calibration(**self._given())
        model, _ = await asyncio.to_thread(self._choice.current)
        if model is None:
            raise BadInputError("no model is installed; install one with passband model import")
        self._folder = folder = self._uploads.folder / secrets.token_hex(16)
        refused = [("", _failed(name, fault)) for name, key, fault in batch if not key]
        found = [(key, upload) for _, key, _ in batch if key and (upload := self._uploads.find(key))]
        self._rows = []
        self._later(lambda: self._begin(refused))
        executor = Processes(1)
        settings = Settings.of("segment", folder / "results", model, given=given)
        paths: list[Path] = []
        try:
            executor.start("passband.sessions.image_job")
            began = time.monotonic()
            for i, (key, upload) in enumerate(found):
                if self._stopped:
                    break
                # Files of one name do not replace each other.
                path = await asyncio.to_thread(link, upload, folder / "images" / str(i))
                share = _Share()
                work = asyncio.ensure_future(asyncio.to_thread(_one, settings, path, executor, share, model))
                while not (await asyncio.wait([work], timeout=_TICK))[0]:
                    self._say(i, min(share.done, 0.95), len(found), upload, began)
                paths.append(path)
                rows = [(key, row) for row in work.result()]
                self._later(lambda rows=rows: self._add(rows, refused))
            run = await asyncio.to_thread(_together, settings, paths, executor, model)
        finally:
            await asyncio.to_thread(executor.close)
        self._later(lambda: self._finish(run, settings.out, len(paths) < len(found)))

    def _say(self, i: int, share: float, count: int, upload: Upload, began: float) -> None:
        done, elapsed = (i + share) / count, time.monotonic() - began
        left = f", about {clock(elapsed * (1 - done) / done)} left" if done > 0.02 else ""
        line = html.note(f"image {i + 1} of {count}: {upload.name}{left}")
        self._later(lambda: (self._message.param.update(object=line), self._bar.param.update(value=int(1000 * done))))

    def _begin(self, refused: list[tuple[str, dict[str, Any]]]) -> None:
        self._message.object = html.note("starting …")
        self._bar.param.update(value=0, visible=True)
        self._stop.visible = self.layout.visible = True
        self._links.offer([])
        self._table.chosen = -1
        self._add([], refused)

    def _add(self, rows: list[tuple[str, dict[str, Any]]], refused: list[tuple[str, dict[str, Any]]]) -> None:
        known = [row for row in self._rows if row not in refused]
        self._rows = [*known, *rows, *refused]
        self._table.lines = [_line(row) for _, row in self._rows]

    def _end(self, line: str) -> None:
        self._message.object = line
        self._bar.visible = self._stop.visible = False
        self.layout.visible = True

    def _finish(self, run: ImageRun | None, out: Path, stopped: bool) -> None:
        faults = sum(bool(row["fault"]) for _, row in self._rows)
        self._end(html.note(("stopped; " if stopped else "") + (f"{faults} of {len(self._rows)} files cannot be used" if run is None else _headline(run, faults))))  # fmt: skip
        table = pl.DataFrame([row for _, row in self._rows], schema=COLUMNS).drop("results")
        offers = [
            Offer("table (CSV)", "summary.csv", written(table, ",")),
            Offer("copy table", "summary.tsv", written(table, "\t"), copied=True),
        ]
        if run is not None:
            offers.append(Offer("contact sheet (PNG)", CONTACT_SHEET, (out / CONTACT_SHEET).read_bytes))
            offers.append(Offer("masks, regions and tables (zip)", "segmented.zip", lambda: _zipped(out)))
        self._links.offer(offers)

    def _clicked(self, number: int) -> None:
        key, row = self._rows[number]
        if key:
            self._open(key, row["frame"])
        else:
            self._refuse(f"{row['file']}: {row['fault']}")

    def _leave(self) -> None:
        self._stopped = True
        if self._task is None or self._task.done():
            self._forget()
        else:
            self._task.add_done_callback(lambda task: self._forget())

    def _forget(self) -> None:
        for key in self._keys:
            self._uploads.remove(key)
        self._keys = []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _one(settings: Settings, path: Path, executor: Processes, share: _Share, model: Model) -> list[dict[str, Any]]:
    """Return the rows of one file; a file that cannot be used has one, with the reason."""
    try:
        run = run_images(settings, ImageFiles((path,)), executor, share, model=model.card.name, name=html.field)
    except BadInputError as error:
        # The user knows the file by its name, not by its place among the uploads.
        return [_failed(path.name, error.text(html.field).replace(f"{path.parent}/", ""))]
    return [row | {"file": path.name} for row in run.table.iter_rows(named=True)]


def _together(settings: Settings, paths: list[Path], executor: Processes, model: Model) -> ImageRun | None:
    """Return the run of all files, which are finished; None if none can be used."""
    try:
        return run_images(
            settings, ImageFiles(tuple(paths)), executor, _Share(), model=model.card.name, name=html.field
        )
    except BadInputError:
        return None


def _failed(name: str, fault: str) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {"file": name, "fault": fault.removeprefix(f"{name}: ")}


def _headline(run: ImageRun, faults: int) -> str:
    more = faults - run.failed
    return run.headline + (f"; {more} more could not be taken" if more else "")


def _line(row: dict[str, Any]) -> list[str]:
    """Return the kind and the cells of a row."""

    def number(name: str, digits: int, unit: float = 1.0) -> str:
        return "" if row[name] is None else f"{row[name] / unit:.{digits}f}"

    verdict = "failed" if row["fault"] else row["verdict"] or ""
    dice = "" if row["dice"] is None else f"{row['dice']:.2f} ({row['dice_low']:.2f} to {row['dice_high']:.2f})"
    deviation = number("diameter_deviation_angstrom", 2, 10)
    size = number("mean_diameter_angstrom", 2, 10) + (f" ± {deviation}" if deviation else "")
    name = row["file"] if row["frame"] is None else f"{row['file']} #{row['frame']}"
    cells = [name, verdict, dice, number("particles", 0), size, number("defocus_angstrom", 0)]
    return [verdict.replace(" ", "-"), *cells, row["fault"] or row["reasons"] or ""]


def _zipped(out: Path) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(out.rglob("*")):
            place = path.relative_to(out)
            own = place.parts[0] == "finished" or place.name.startswith((".", "summary."))
            if path.is_file() and not own and not place.name.endswith(_LEFT_OUT):
                archive.write(path, place)
    return content.getvalue()
