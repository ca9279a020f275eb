"""A headless Chromium that is installed already, and a page of passband's own in a process of its own."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Moves the slider of the defocus through values, with rests [ms] between, and returns how long each picture took to be on the screen [ms].
MOVE = """async ([values, rest]) => {
  const models = [...Bokeh.documents[0]._all_models.values()]
  const slider = models.find((m) => m.css_classes?.includes("dial-defocus") && m.type.includes("Slider"))
  const source = models.find((m) => m.name === "picture")
  const times = []
  for (const value of values) {
    const began = performance.now()
    await new Promise((done) => {
      const changed = () => {
        source.properties.data.change.disconnect(changed)
        requestAnimationFrame(() => requestAnimationFrame(() => { times.push(performance.now() - began); done() }))
      }
      source.properties.data.change.connect(changed)
      slider.value = value
    })
    await new Promise((rested) => setTimeout(rested, rest))
  }
  return times
}"""


@contextmanager
def browser():
    """Yield a browser, or skip the test with the reason."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if found is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def running_app(*arguments, cache):
    """Yield the address that `passband app` prints, and end it with Ctrl-C, upon which it has to say nothing and end well."""
    command = [sys.executable, "-m", "passband.cli", "app", "--no-browser", *map(str, arguments)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PASSBAND_MODELS": str(cache / "none")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        found = re.match(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())
        assert found, process.communicate()
        yield found[0]
        process.send_signal(2)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "Traceback" not in said, said
    finally:
        process.kill()
        process.communicate()
