"""Widgets that the tabs share: texts in one style, sliders with a number box, and the drop field for files."""

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
    # Panel collects events of a widget for 50 ms, which is too slow; `Latest` drops stale ones.
    _debounce = 1


class Dial:
    """A slider with a label and a number box above it; a value beyond the slider extends it.

    Attributes:
        value: the current one; None while the box is empty.
    """

    def __init__(self, label: str, low: float, high: float, step: float, *, least: float | None, width: int, name: str):
        """Build it, set to its low end.

        Args:
            label: with its unit.
            low: end of the slider.
            high: end of the slider.
            step: of the slider.
            least: smallest value of the box, or None.
            width: in all [pixels].
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
        """Call a function whenever the user moves it."""

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
        """Enable or disable it."""
        self._slider.disabled = self._box.disabled = not on


class DropField(JSComponent):
    """A field to drop or choose a file; the browser uploads it over HTTP, not through the page's socket.

    Attributes:
        key: of the file on the server.
        fault: why the server refused it.
        hint: text of the field.
        most_bytes: largest file [bytes].
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
  const label = document.createElement("span")
  label.textContent = model.hint
  const input = document.createElement("input")
  input.type = "file"
  input.hidden = true
  field.append(label, input)
  const send = async (file) => {
    if (!file) return
    if (file.size > model.most_bytes) {
      model.fault = ""
      model.fault = `${file.name}: has ${Math.ceil(file.size / 1e6)} MB, more than ${Math.floor(model.most_bytes / 1e6)} MB; crop it, or read it in Python or by the command line`
      return
    }
    label.textContent = `sending ${file.name} …`
    try {
      const answer = await fetch("upload", {
        method: "POST", body: file, headers: { "X-File-Name": encodeURIComponent(file.name) },
      })
      const reply = await answer.text()
      if (answer.ok) { model.fault = ""; model.key = JSON.parse(reply).key }
      else { model.fault = ""; model.fault = reply }
    } catch (error) {
      model.fault = ""
      model.fault = `${file.name}: could not be sent; is passband app still running?`
    }
    label.textContent = model.hint
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
