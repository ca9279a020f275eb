"""The tab "Study": the matrix of a study's scores and its pairs over σ and Δε, from its tables."""

import json
from html import escape
from pathlib import Path
from typing import Any

import panel as pn

from passband.app import figures, html, views
from passband.app.latest import Latest
from passband.app.parts import FIELDS_WIDTH, WIDE, columns, figure_pane, text
from passband.base.errors import BadInputError
from passband.figures.matrix import short_labels
from passband.studies.paths import StudyPaths

_FIGURE = 420
_EMPTY = "Give the folder of a study that has been run, such as runs/defocus."
# Most labels on an axis.
_LABELS = 24


class StudyTab:
    """The tab of one page."""

    def __init__(self, folder: Path | None):
        """Build it, and read a study if one is given."""
        self._folder = pn.widgets.TextInput(name="Folder of a study", value="" if folder is None else str(folder), placeholder="runs/defocus", margin=(4, 10), css_classes=["study-folder"], **WIDE)  # fmt: skip
        self._read = pn.widgets.Button(name="Read", button_type="primary", margin=(6, 10), **WIDE)
        scores = {"loss": "loss", "Dice": "dice"}
        self._score = pn.widgets.RadioButtonGroup(options=scores, value="loss", margin=(6, 10), **WIDE)
        self._report = text(html.note(_EMPTY))
        self._matrix, self._sources, self._shades = figures.matrix()
        self._plane, sources, self._plane_shades = figures.shift_plane()
        self._sources |= sources
        self._panes = [figure_pane(figure, visible=False) for figure in (self._matrix, self._plane)]
        self._pairs: Any = None
        # Figures may change only while the document is locked, which a widget's callback does not guarantee.
        later = pn.state.curdoc.add_next_tick_callback
        # Large tables must not stop the page.
        self._reader = Latest(lambda paths: (paths, views.study_pairs(paths)), self._show, self._refuse, later)
        self._read.on_click(lambda event: self._load())
        self._folder.param.watch(lambda event: self._load(), "value")
        self._score.param.watch(lambda event: later(self._draw), "value")
        if folder is not None:
            self._load()

    def layout(self) -> Any:
        """Return what is shown."""
        fields = [self._folder, self._read, self._score, self._report]
        return columns((FIELDS_WIDTH, fields), *((_FIGURE, [pane]) for pane in self._panes))

    def _load(self) -> None:
        self._reader.submit(StudyPaths(Path(self._folder.value.strip()).expanduser()))

    def _refuse(self, fault: BadInputError) -> None:
        self._pairs, self._report.object = None, html.refusal(fault)
        for pane in self._panes:
            pane.visible = False

    def _show(self, result: tuple[StudyPaths, Any]) -> None:
        paths, pairs = result
        self._pairs = pairs
        trained, tested = pairs["train_condition"].n_unique(), pairs["test_condition"].n_unique()
        summary = f"<p><b>{trained}</b> training conditions or sets, tested under <b>{tested}</b>; {len(pairs)} pairs, {pairs['seeds'].max()} networks each</p>"
        if paths.report.is_file():
            summary += html.section("Its report", f"<p><code>{escape(str(paths.report.absolute()))}</code></p>")
        self._report.object = summary + html.section("Findings", html.bullets(_sentences(paths)))
        for pane in self._panes:
            pane.visible = True
        self._draw()

    def _draw(self) -> None:
        if self._pairs is None:
            return
        score, pairs = self._score.value, self._pairs
        values = pairs[score]
        low, high = float(values.min()), float(values.max())
        for shades in (self._shades, self._plane_shades):
            shades.update(palette=figures.colours(score), low=low, high=max(high, 1.001 * low))
        self._sources["cells"].data = views.matrix(pairs, score)
        for axis, role in ((self._matrix.xaxis, "test"), (self._matrix.yaxis, "train")):
            labels = pairs.unique(f"{role}_condition", maintain_order=True)[f"{role}_label"].to_list()
            shared, ticks = short_labels(labels)
            axis.ticker = list(range(len(labels)))[:: -(-len(labels) // _LABELS)]
            axis.major_label_overrides = dict(enumerate(ticks))
            axis.axis_label = f"{role}ed at {shared}" if shared else f"{role}ed on"
        self._matrix.xaxis.major_label_orientation = "vertical"
        self._matrix.x_range.update(start=-0.5, end=pairs["test_condition"].n_unique() - 0.5)
        self._matrix.y_range.update(start=pairs["train_condition"].n_unique() - 0.5, end=-0.5)
        name = "Loss" if score == "loss" else "Dice"
        self._matrix.title.text, self._plane.title.text = f"{name}, mean of all networks", f"{name} over σ and Δε"
        reach = 1.15 * max(float(pairs["delta_epsilon"].abs().max() or 0), 0.02)
        self._plane.y_range.update(start=-reach, end=reach)
        shown = pairs.select(*views.PAIR, "ratio").to_dict(as_series=False)
        self._sources["pairs"].data = {"score": values.to_numpy()} | shown


def _sentences(paths: StudyPaths) -> list[str]:
    """Return the findings of a study, or nothing if it has none."""
    try:
        lines = json.loads(paths.analysis.read_text(encoding="utf-8"))["findings"]["sentences"]
        return [str(line) for line in lines][:6]
    except (OSError, ValueError, KeyError, TypeError):
        return []
