"""The panel: segment the selected image, ask whether the model works on it, estimate its optics."""

from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox, Container, FloatSpinBox, PushButton, TextEdit
from napari.qt.threading import thread_worker

from passband.base.errors import BadInputError
from passband.estimation.estimate import estimate
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import Segmentation, segment
from passband.models.store import installed, load_model
from passband.napari_plugin.layers import micrograph_of, particles_layer
from passband.verdicts.verdict_model import VerdictModel

# Parameters in messages as the panel calls them.
_FIELDS = {"pixel_size_angstrom": "pixel size [Å]"}


class Panel(Container):
    """Choose an image layer and a model; answers are texts, and particles a layer of labels."""

    def __init__(self, napari_viewer: Any):
        """Make the panel for a viewer."""
        self._viewer = napari_viewer
        self.image = ComboBox(label="image", choices=self._images, nullable=True)
        self.model = ComboBox(label="model", choices=sorted(installed()))
        self.pixel_size = FloatSpinBox(label="pixel size [Å]", min=0.0, max=3.0, step=0.001, value=0.0)
        self.pixel_size.tooltip = "0 takes that of the layer"
        self.segment = PushButton(text="Segment")
        self.check = PushButton(text="Does the model work here?")
        self.estimate = PushButton(text="Estimate the optics")
        self.answer = TextEdit(label="")
        self.answer.read_only = True
        self._buttons = (self.segment, self.check, self.estimate)
        super().__init__(widgets=[self.image, self.model, self.pixel_size, *self._buttons, self.answer])
        for button, work in zip(self._buttons, (self._segmented, self._checked, estimate), strict=True):
            button.changed.connect(lambda _, work=work: self._start(work))
        layers = napari_viewer.layers
        for event in (layers.events.inserted, layers.events.removed):
            event.connect(lambda event: self.image.reset_choices())
        layers.selection.events.active.connect(self._follow)
        self._follow()

    def _images(self, _: Any) -> list[tuple[str, Any]]:
        return [(layer.name, layer) for layer in self._viewer.layers if layer._type_string == "image"]

    def _follow(self, event: Any = None) -> None:
        """Choose the layer that is selected in the viewer, if it is an image."""
        active = self._viewer.layers.selection.active
        if active in [layer for _, layer in self._images(None)]:
            self.image.value = active

    def _segmented(self, micrograph: Micrograph) -> Segmentation:
        return segment(load_model(self.model.value), micrograph)

    def _checked(self, micrograph: Micrograph) -> Any:
        return VerdictModel(load_model(self.model.value)).check_image(micrograph)

    def _start(self, work: Callable[[Micrograph], Any]) -> None:
        """Do the work in a thread, so that the viewer stays usable."""
        layer = self.image.value
        if layer is None:
            self.answer.value = "open a micrograph first"
            return
        try:
            position = layer.world_to_data(self._viewer.dims.point[-layer.ndim :])
            micrograph = micrograph_of(layer, [round(float(p)) for p in position], self.pixel_size.value or None)
        except BadInputError as error:
            self._failed(error)
            return
        self._enable(False)
        self.answer.value = f"{micrograph.name}: working …"
        worker = thread_worker(work)(micrograph)
        worker.returned.connect(lambda answer: self._show(layer, answer))
        worker.errored.connect(self._failed)
        worker.finished.connect(lambda: self._enable(True))
        worker.start()

    def _show(self, layer: Any, answer: Any) -> None:
        self.answer.value = str(answer)
        if isinstance(answer, Segmentation):
            labels, attributes, _ = particles_layer(answer)
            self._viewer.add_labels(labels, translate=layer.translate[-2:], **attributes)
            self._viewer.layers.selection.active = layer

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, BadInputError):
            raise error
        self.answer.value = error.text(lambda name: _FIELDS.get(name, name))

    def _enable(self, enabled: bool) -> None:
        for button in self._buttons:
            button.enabled = enabled
