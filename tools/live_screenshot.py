"""Take the screenshot of the live page for docs/tonight.md: the commands of that page, then its live.html.

    python tools/live_screenshot.py

Needs playwright (extra dev) and an installed Chromium; nothing is downloaded. Takes three minutes.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.browser import ARGUMENTS

_ROOT = Path(__file__).parent.parent.resolve()
_PICTURE = _ROOT / "docs" / "images" / "live.png"
_PLAY = (str(_ROOT / "examples" / "simulated_session.py"), "session", "--images", "20", "--every", "5")
_WATCH = ("-m", "passband", "watch", "session", "--model", "au-300kv", "--energy", "300kV", "--until-idle", "60")


def main() -> None:
    """Play a session, watch it, and take a picture of the page that is left."""
    chromium = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if chromium is None:
        sys.exit("no Chromium is installed")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "session").mkdir()
        with subprocess.Popen([sys.executable, *_PLAY], cwd=folder):  # noqa: S603 our own command
            # Its exit code is 1, because the model does not work on the last images.
            subprocess.run([sys.executable, *_WATCH], cwd=folder, check=False)  # noqa: S603 our own command
        with sync_playwright() as running:
            browser = running.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1000, "height": 1130})
            page.goto((Path(folder) / "segmented" / "live.html").as_uri())
            page.wait_for_timeout(2000)
            page.screenshot(path=_PICTURE)
            browser.close()
    # 256 colours make a third of the file.
    Image.open(_PICTURE).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(_PICTURE, optimize=True)


if __name__ == "__main__":
    main()
