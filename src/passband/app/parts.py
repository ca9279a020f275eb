"""Small parts that all tabs share: texts in one style, and the field that a file is dropped on."""

from importlib.resources import files
from typing import Any, ClassVar

import panel as pn
import param
from panel.custom import JSComponent

#: The style of everything.
STYLE = files("passband.app").joinpath("page.css").read_text(encoding="utf-8")


def text(**changes: Any) -> Any:
    """Return a pane for HTML in the page's style, empty."""
    return pn.pane.HTML("", stylesheets=[STYLE], **({"margin": (0, 10)} | changes))


class _Slider(pn.widgets.FloatSlider):
    # Panel gathers a widget's events for 50 ms, a quarter of the time that a picture may take; stale ones are dropped later.
    _debounce = 1


class Dial:
    """A slider with its label and a number box above it; the box takes values beyond the slider, which then grows.

    Attributes:
        value: where it stands; None while the box is empty.
    """

    def __init__(self, label: str, low: float, high: float, step: float, *, least: float | None, width: int, name: str):
        """Build it, standing at its low end.

        Args:
            label: with its unit.
            low: end of the slider.
            high: end of the slider.
            step: of the slider.
            least: smallest value that the box takes, or None.
            width: of all [pixels].
            name: of its CSS class.
        """
        self._low, self._high, self._moving = low, high, False
        self._label = pn.widgets.StaticText(value=label, width=width - 104, margin=(7, 0, 0, 0), stylesheets=[STYLE])
        self._box = pn.widgets.FloatInput(value=low, start=least, step=step, width=96, height=26, margin=(1, 0, 0, 8), css_classes=["box"], stylesheets=[STYLE])  # fmt: skip
        self._slider = _Slider(value=low, start=low, end=high, step=step, show_value=False, width=width - 8, height=16, margin=(1, 4, 3, 4), css_classes=[name])  # fmt: skip
        self.value: float | None = low

    def layout(self) -> Any:
        """Return what is shown."""
        return pn.Column(pn.Row(self._label, self._box, margin=0), self._slider, margin=(0, 10))

    def watch(self, moved: Any) -> None:
        """Call a function whenever it is moved by hand."""

        def taken(value: float | None, *, typed: bool) -> None:
            if not self._moving:
                self.put(value, typed=typed)
                moved()

        self._slider.param.watch(lambda event: taken(event.new, typed=False), "value")
        self._box.param.watch(lambda event: taken(event.new, typed=True), "value")

    def put(self, value: float | None, *, typed: bool = False) -> None:
        """Move it."""
        self._moving, self.value = True, value
        try:
            if not typed:
                self._box.value = value
            if value is not None:
                self._slider.param.update(start=min(self._low, value), end=max(self._high, value), value=value)
        finally:
            self._moving = False

    def enable(self, on: bool) -> None:
        """Let it be moved, or not."""
        self._slider.disabled = self._box.disabled = not on


class DropField(JSComponent):
    """A field to drop a file on, or to choose one with; it is sent over HTTP, in one piece and not through the page.

    Attributes:
        key: that the server gave the file.
        fault: why it did not take it.
        hint: what is written in the field.
        most_bytes: largest file that is sent [bytes].
    """

    key = param.String(default="")
    fault = param.String(default="")
    hint = param.String(default="")
    most_bytes = param.Integer(default=0)

    _stylesheets: ClassVar[list[str]] = [STYLE]
    _esm = """
export function render({ model }) {
  const field = document.createElement("label")
  field.className = "drop"
  const words = document.createElement("span")
  words.textContent = model.hint
  const input = document.createElement("input")
  input.type = "file"
  input.hidden = true
  field.append(words, input)
  const send = async (file) => {
    if (!file) return
    if (file.size > model.most_bytes) {
      model.fault = ""
      model.fault = `${file.name}: has ${Math.ceil(file.size / 1e6)} MB, more than ${Math.floor(model.most_bytes / 1e6)} MB; crop it, or use passband check --image`
      return
    }
    words.textContent = `sending ${file.name} …`
    try {
      const answer = await fetch("upload", {
        method: "POST", body: file, headers: { "X-File-Name": encodeURIComponent(file.name) },
      })
      const said = await answer.text()
      if (answer.ok) { model.fault = ""; model.key = JSON.parse(said).key }
      else { model.fault = ""; model.fault = said }
    } catch (error) {
      model.fault = ""
      model.fault = `${file.name}: could not be sent; is passband app still running?`
    }
    words.textContent = model.hint
    input.value = ""
  }
  input.addEventListener("change", () => send(input.files[0]))
  for (const name of ["dragenter", "dragover"])
    field.addEventListener(name, (event) => { event.preventDefault(); field.classList.add("over") })
  for (const name of ["dragleave", "drop"])
    field.addEventListener(name, (event) => { event.preventDefault(); field.classList.remove("over") })
  field.addEventListener("drop", (event) => send(event.dataTransfer.files[0]))
  return field
}
"""
