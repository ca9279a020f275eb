"""The tab "Labels": score a model on your images and masks, tune it on them, and choose and download the tuned model."""

import asyncio
import secrets
import shutil
import time
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn
from numpy.typing import NDArray

from passband.app import figures, html, label_work
from passband.app.corrected import numbered
from passband.app.downloads import stem
from passband.app.latest import Latest
from passband.app.model_choice import ModelChoice
from passband.app.parts import FIELDS_WIDTH, WIDE, DropField, columns, figure_pane, number, text
from passband.app.uploads import LabelUploads
from passband.app.views import outlines
from passband.base.errors import BadInputError, parameter
from passband.base.progress import clock
from passband.execution.processes import Processes
from passband.figures.style import minus
from passband.micrographs.labels import MASK_ENDINGS, LabelledMicrograph, LabelledSet
from passband.micrographs.write_tiff import write_tiff
from passband.models import tuning
from passband.models.label_scores import LabelScores, score_labels
from passband.models.segment import Segmentation, segment
from passband.models.store import Model, user_folder
from passband.models.tuning_jobs import write_labelled

_PICTURE, _RIGHT = 400, 460
# Seconds after which the values of fields have reached the server, and between lines of progress.
_SETTLE, _TICK = 0.2, 1.0
_HINTS = {
    "images": "Drop your images here, or click to choose them",
    "masks": f"Drop their masks here: the images' names, also with _mask; {', '.join(e[1:] for e in MASK_ENDINGS)}",
}
_EMPTY = "Drop a few micrographs and their masks: how well the model's masks agree with yours appears here."
_WORSE = "The tuned model is worse and was not written: label more images, or tick the box and tune again."


class LabelsTab:
    """The tab of one page."""

    def __init__(
        self, uploads: LabelUploads, choice: ModelChoice, steps: int = 300, scenes: tuple[int, int] = tuning.SCENES
    ):
        """Build it, empty; `steps` and `scenes` are those of `tuning.tune`."""
        self._uploads, self._choice, self._steps, self._scenes = uploads, choice, steps, scenes
        self._later = pn.state.curdoc.add_next_tick_callback
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._keys: dict[str, list[str]] = {kind: [] for kind in _HINTS}
        self._labelled: LabelledSet | None = None
        self._model: Model | None = None
        self._drops = {
            kind: DropField(
                hint=hint,
                most_bytes=uploads.most_bytes,
                address="upload-labels",
                several=True,
                height=124,
                margin=10,
                css_classes=[f"drop-{kind}"],
                **WIDE,
            )
            for kind, hint in _HINTS.items()
        }
        self._pixel = pn.widgets.TextInput(name="pixel size [Å], if the files do not say", margin=(2, 10), **WIDE)
        self._score = pn.widgets.Button(name="Score", button_type="primary", margin=(6, 10), **WIDE)
        self._name = pn.widgets.TextInput(name="name of the tuned model", placeholder="mine", margin=(2, 10), **WIDE)
        self._anyway = pn.widgets.Checkbox(name="write it even if it is worse", margin=(2, 10))
        self._tune = pn.widgets.Button(name="Tune", margin=(6, 10), **WIDE)
        self._stop = pn.widgets.Button(name="Stop", margin=(6, 10), visible=False, **WIDE)
        self._clear = pn.widgets.Button(name="Remove all files", margin=(6, 10), **WIDE)
        self._image = pn.widgets.Select(name="image", options=[], margin=(2, 10), visible=False, **WIDE)
        self._files, self._scores, self._tuned = text(), text(html.note(_EMPTY)), text()
        self._message = text(css_classes=["labels-message"])
        self._picture, self._sources = figures.picture()
        self._pane = figure_pane(self._picture, visible=False)
        legend = "the model's outlines (orange), yours (blue, dashed)"
        self._legend = text(html.note(legend), visible=False)
        for kind, drop in self._drops.items():
            drop.param.watch(lambda event, kind=kind: self._arrived(kind, event.new), "keys")
            drop.param.watch(lambda event: self._rejected(event.new), "fault")
        self._score.on_click(lambda event: self._launch(self._run_score()))
        self._tune.on_click(lambda event: self._launch(self._run_tune()))
        self._stop.on_click(lambda event: setattr(self, "_stopped", True))
        self._clear.on_click(lambda event: self._remove())
        self._drawer = Latest(self._segmented, self._show_image, self._refuse, self._later)
        self._image.param.watch(lambda event: self._drawer.submit(event.new), "value")
        if pn.state.curdoc.session_context is not None:
            pn.state.on_session_destroyed(lambda context: self._remove_files())

    def layout(self) -> Any:
        """Return what is shown."""
        left = [*self._drops.values(), self._files, self._clear, self._choice.field(), self._pixel, self._score]
        left += [self._name, self._anyway, self._tune, self._stop, self._message]
        middle = [self._image, self._legend, self._pane]
        return columns((FIELDS_WIDTH, left), (_PICTURE, middle), (_RIGHT, [self._tuned, self._scores]))

    async def take(self, found: Segmentation) -> None:
        """Add the micrograph and the particles of a segmentation as an image and its mask; they replace those of their names."""
        start, pixel = stem(found.micrograph.name), found.pixel_size_angstrom
        contents: dict[str, tuple[str, NDArray[Any]]] = {
            "images": (f"{start}.tif", found.micrograph.intensity),
            "masks": (f"{start}_labels.tif", numbered(found.instances)),
        }
        for kind, (name, content) in contents.items():
            key, path = self._uploads.reserve(name)
            await asyncio.to_thread(write_tiff, path, content, pixel)
            self._uploads.add(key, path, name)
            former = [k for k in self._keys[kind] if (u := self._uploads.find(k)) and u.name == name]
            for k in former:
                self._uploads.remove(k)
            keys = [k for k in self._keys[kind] if k not in former]
            self._later(lambda kind=kind, keys=[*keys, key]: setattr(self._drops[kind], "keys", keys))

    def _launch(self, work: Any) -> None:
        if self._task is not None and not self._task.done():
            work.close()
            self._later(lambda: self._refuse("one piece of work is under way; wait for it, or stop it"))
            return
        self._task = asyncio.get_running_loop().create_task(self._guarded(work))

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except BadInputError as error:
            self._later(lambda error=error: self._refuse(error))
        except Exception as error:  # An unforeseen error must not end the page.
            line = f"this step failed ({type(error).__name__}: {str(error)[:200]})"
            self._later(lambda: self._refuse(line))

    def _arrived(self, kind: str, keys: list[str]) -> None:
        self._keys[kind] = [*keys]
        self._labelled = None
        self._later(self._list_files)

    def _list_files(self) -> None:
        found = {kind: [u for k in keys if (u := self._uploads.find(k))] for kind, keys in self._keys.items()}
        counts = [f"{len(files)} {kind}" for kind, files in found.items()]
        names = [escape(f.name) for files in found.values() for f in files][:60]
        self._files.object = html.note(", ".join(counts)) + (f"<div class='scroll'>{'<br>'.join(names)}</div>")
        self._message.object = ""

    def _remove_files(self) -> None:
        for kind, keys in self._keys.items():
            for key in keys:
                self._uploads.remove(key)
            self._drops[kind].keys = []
        self._labelled = None

    def _remove(self) -> None:
        self._remove_files()
        self._later(self._list_files)

    async def _prepared(self) -> tuple[Model, LabelledSet]:
        """Return the chosen model and the labelled images, read anew if files or pixel size have changed."""
        # A click can arrive before the value of the field that loses the focus.
        await asyncio.sleep(_SETTLE)
        model, _ = await asyncio.to_thread(self._choice.current)
        if model is None:
            raise BadInputError("no model is installed; install one with passband model import")
        pixel = number(self._pixel.value, html.field("pixel_size_angstrom"))
        self._say("reading images and masks …")
        labelled = await asyncio.to_thread(self._read, pixel)
        self._labelled, self._model = labelled, model
        return model, labelled

    def _read(self, pixel: float | None) -> LabelledSet:
        uploads = {k: [u for key in keys if (u := self._uploads.find(key))] for k, keys in self._keys.items()}
        if not uploads["images"]:
            raise BadInputError("there are no images; drop some, and their masks")
        folder = self._uploads.folder / secrets.token_hex(16)
        try:
            images = label_work.placed(uploads["images"], folder / "images")
            # Masks may lie among the images.
            masks = label_work.placed(uploads["masks"], folder / "masks") if uploads["masks"] else images
            return label_work.read_apart(label_work.ReadTask(images, masks, pixel, folder / "labels.npz"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _run_score(self) -> None:
        model, labelled = await self._prepared()
        self._say(f"segmenting {len(labelled)} images …")
        scores = await asyncio.to_thread(score_labels, model, labelled)
        self._later(lambda: self._show_scores(scores))

    def _segmented(self, name: str) -> tuple[LabelledMicrograph, Segmentation] | None:
        model, labelled = self._model, self._labelled
        item = next((item for item in labelled or () if item.name == name), None)
        return None if model is None or item is None else (item, segment(model, item.micrograph))

    def _show_scores(self, scores: LabelScores) -> None:
        self._message.object = ""
        self._scores.object = html.section("Agreement with your masks", minus(scores._repr_html_()))
        self._image.param.update(options=[*scores.names], value=scores.names[0], visible=True)
        # The value may be that of the former images.
        self._drawer.submit(scores.names[0])

    def _show_image(self, result: tuple[LabelledMicrograph, Segmentation] | None) -> None:
        if result is None:
            return
        item, segmentation = result
        seen = item.micrograph
        height, width = (n * seen.pixel_size_angstrom / 10 for n in seen.intensity.shape)
        figures.fit(self._picture, width, height)
        shades = np.ascontiguousarray(seen.grey()[0][::-1])
        self._sources["image"].data = figures.placed(shades, width, height)
        self._sources["bar"].data = figures.scale_bar(width, height)
        self._sources["prediction"].data = outlines(segmentation.mask, 0.5, width)
        self._sources["truth"].data = outlines(item.truth > 0, 0.5, width)
        self._pane.visible = self._legend.visible = True

    async def _run_tune(self) -> None:
        name = self._name.value.strip()
        if not name:
            raise BadInputError(f"{parameter('name')}: is empty; give the tuned model a name")
        if (user_folder() / name).exists():
            raise BadInputError(f"{parameter('name')} {name[:70]}: exists; choose another name", value=name)
        model, labelled = await self._prepared()
        folder = self._uploads.folder / secrets.token_hex(16)
        folder.mkdir()
        self._later(lambda: self._stop.param.update(visible=True))
        try:
            write_labelled(folder / "labels.npz", labelled)
            task = label_work.TuneTask(
                model.folder.absolute(),
                folder / "labels.npz",
                user_folder().absolute() / name,
                name,
                self._anyway.value,
                folder / "result.json",
                self._steps,
                self._scenes,
            )
            result = await self._tuned_apart(task, label_work.units(len(labelled), self._steps, self._scenes))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._later(lambda: self._stop.param.update(visible=False))
        self._later(lambda: self._show_tuned(name, task.folder, result))

    async def _tuned_apart(self, task: label_work.TuneTask, total: float) -> dict[str, Any]:
        began, done = time.monotonic(), 0.0

        def progress(units: float) -> None:
            nonlocal done
            done += units
            if self._stopped:
                raise BadInputError(f"tuning {task.name} was stopped")

        self._stopped, executor = False, Processes(1)
        work = asyncio.ensure_future(asyncio.to_thread(label_work.tune_apart, task, executor, progress))
        try:
            while not (await asyncio.wait([work], timeout=_TICK))[0]:
                share, elapsed = min(done / total, 0.99), time.monotonic() - began
                left = f", about {clock(elapsed * (1 - share) / share)} left" if share > 0.01 else ""
                self._say(f"tuning {task.name}: {share:.0%}{left}")
            return work.result()
        finally:
            await asyncio.to_thread(executor.close)

    def _show_tuned(self, name: str, folder: Path, result: dict[str, Any]) -> None:
        self._message.object = ""
        line = html.refusal(_WORSE)
        if result["written"]:
            self._choice.add(name, folder)
            link = f"<a href='model/{escape(name)}.zip' download>Download {escape(name)}.zip</a>"
            line = f"<p><b>{escape(name)}</b> is installed, and now chosen here and in the tab Micrograph. {link}</p>"
        self._tuned.object = html.section("Tuning", line + minus(result["html"]))

    def _say(self, line: str) -> None:
        self._later(lambda: self._message.param.update(object=html.note(line)))

    def _rejected(self, line: str) -> None:
        if line:
            self._refuse(line)

    def _refuse(self, fault: BadInputError | str) -> None:
        self._message.object = html.refusal(fault)
