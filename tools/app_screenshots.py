"""Take the screenshots of `passband app` for docs/app.md, and measure the time from a slider to the image on screen.

    python tools/app_screenshots.py --model MODEL --study docs/results/tables/defocus_sweep

Needs playwright (extra dev) and an installed Chromium; nothing is downloaded.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.browser import ARGUMENTS, MOVE


def shoot(page: Page, address: str, out: Path) -> None:
    """Open the page, use each tab, and save a picture of it."""
    page.goto(address)
    page.get_by_text("Nearest training condition").first.wait_for(timeout=120_000)
    for name, rest in (("dragged", 100), ("moved now and then", 1500)):
        times = page.evaluate(MOVE, [[float(v) for v in np.linspace(-200, 0, 12)], rest])
        worst = sorted(times)[int(0.9 * len(times))]
        print(
            f"{name}: from slider to picture {statistics.median(times):.0f} ms in the median, 90 % within {worst:.0f} ms"
        )
    # Few electrons at a small defocus: the verdict is close.
    for name, value in (("defocus", "20"), ("dose_per_angstrom2", "120")):
        box = page.locator(f".box-{name} input")
        box.fill(value)
        box.press("Enter")
    page.wait_for_timeout(3000)
    page.get_by_role("button", name="What to do?").click()
    page.get_by_text("What to do", exact=True).first.wait_for(timeout=120_000)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / "app_optics.png")
    page.get_by_text("Micrograph", exact=True).click()
    page.get_by_role("button", name="Try the example").click()
    page.get_by_text("The optics", exact=True).wait_for(timeout=240_000)
    page.locator(".micrograph-verdict .verdict").wait_for(timeout=240_000)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / "app_micrograph.png")
    correct(page, out)
    page.get_by_text("Study", exact=True).click()
    page.wait_for_timeout(2500)
    page.screenshot(path=out / "app_study.png")


def correct(page: Page, out: Path) -> None:
    """Correct the particles of the micrograph that is shown, and save a picture of the canvas."""
    page.get_by_role("button", name="Correct the particles").click()
    canvas = page.locator(".editor .view")
    canvas.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    for tool, path in (("brush", [(0.1, 0.6), (0.2, 0.7)]), ("split", [(0.02, 0.55), (0.3, 0.75)])):
        page.locator(f".tool-{tool}").click()
        box = canvas.bounding_box()
        assert box is not None
        for i, (x, y) in enumerate(path):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=10)
            if i == 0:
                page.mouse.down()
        page.mouse.up()
        page.wait_for_timeout(4000)
    name = out / "app_correct.png"
    page.screenshot(path=name, clip={"x": 0, "y": 0, "width": 720, "height": 1000})
    # 256 colours make a third of the file.
    Image.open(name).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(name, optimize=True)
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Correct the particles").wait_for(timeout=60_000)


def main() -> None:
    """Start the app, take the pictures, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--study", required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args()
    found = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if found is None:
        sys.exit("no Chromium is installed")
    options = ["--no-browser", "--model", chosen.model, "--study", chosen.study]
    command = [sys.executable, "-m", "passband.cli", "app", *options]
    with sync_playwright() as running, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:  # noqa: S603 our own command
        assert app.stdout is not None
        try:
            address = re.match(r"http://\S+", app.stdout.readline())
            assert address is not None
            browser = running.chromium.launch(executable_path=found, args=ARGUMENTS)
            shoot(browser.new_page(viewport={"width": 1440, "height": 1000}), address[0], chosen.out)
            browser.close()
        finally:
            app.terminate()


if __name__ == "__main__":
    main()
