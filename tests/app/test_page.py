"""The page in a browser: what a user does, and what is then to be seen."""

import re
import statistics

import numpy as np
import pytest
import tifffile

from passband.models.card import Specimens
from passband.verdicts.calibration import with_scores
from support import made
from support.browser import MOVE, browser, running_app
from support.study_tables import study

pytestmark = pytest.mark.browser

RECIPE = {
    "field_angstrom": 51.2,
    "particles": [{"crystal": "Au", "count": [3, 3], "diameter_angstrom": [9.0, 12.0]}],
    "substrate": {"material": "carbon", "thickness_angstrom": 10.0},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    specimens = Specimens(
        elements=("Au",), support="carbon", thickness_angstrom=(9, 30), diameter_angstrom=(9, 28), recipe=RECIPE
    )
    bare = made.bare_model(tmp_path_factory.mktemp("models") / "made", specimens=specimens)
    conditions = [("trained", c) for c in bare.card.conditions] + [("calibration", c) for c in made.draw(90, 8)]
    return with_scores(bare, made.scores(bare, conditions)).folder


@pytest.fixture(scope="module")
def opened(model, tmp_path_factory):
    """A page that has been opened, and what it asked for, failed at or complained of."""
    folder = tmp_path_factory.mktemp("app")
    with browser() as chromium, running_app("--model", model, "--study", study(folder), cache=folder) as address:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address)
        page.get_by_text(re.compile("predicted")).first.wait_for(timeout=60_000)
        yield page


def picture(page):
    return page.locator("canvas").first.screenshot()


def test_a_slider_changes_the_picture_and_the_verdict(opened, tmp_path):
    assert "token" not in opened.url
    before, said = picture(opened), opened.locator(".verdict").first.inner_text()
    times = opened.evaluate(MOVE, [[float(v) for v in np.linspace(-250, 260, 18)], 150])
    print(f"from slider to picture: median {statistics.median(times):.0f} ms, {[round(t) for t in times]}")
    opened.wait_for_timeout(1000)
    assert picture(opened) != before and opened.locator(".verdict").first.inner_text() != said
    assert "does not work" in opened.locator(".verdict").first.inner_text()
    opened.get_by_role("button", name="What to do?").click()
    opened.get_by_text("go to a defocus of").wait_for(timeout=60_000)
    opened.screenshot(path=tmp_path / "optics.png")


def test_a_number_beyond_the_slider_and_a_wrong_one(opened):
    box = opened.locator(".box-defocus input")
    box.fill("abc")
    box.press("Enter")
    opened.get_by_text("'abc' is not a number").wait_for(timeout=30_000)
    box.fill("900")
    box.press("Enter")
    opened.get_by_text("defocus 900 Å is outside the calibrated range").wait_for(timeout=30_000)
    box.fill("40")
    box.press("Enter")
    opened.get_by_text("made works").wait_for(timeout=30_000)


def test_a_micrograph_is_dropped_and_judged(opened, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.poisson(100 - 30 * (np.hypot(*(np.mgrid[:160, :160] - 80)) < 20)).astype(np.float32)
    tifffile.imwrite(tmp_path / "gold.tif", image)
    opened.get_by_text("Micrograph", exact=True).click()
    opened.get_by_label("Drop a micrograph here").set_input_files(tmp_path / "gold.tif")
    opened.get_by_text("gold.tif: its pixel size is not known").wait_for(timeout=60_000)
    for field, value in (("pixel", "0.8"), ("energy", "300000")):
        box = opened.locator(f".field-{field} input")
        box.fill(value)
        box.press("Enter")
    opened.get_by_role("button", name="Analyze again").click()
    opened.get_by_text("pixel size 0.8000 Å, given").wait_for(timeout=60_000)
    opened.locator(".micrograph-verdict .verdict").wait_for(timeout=120_000)
    opened.get_by_text("The optics", exact=True).wait_for(timeout=120_000)
    assert "made" in opened.locator(".micrograph-verdict .verdict").inner_text()
    opened.get_by_text("probability", exact=True).wait_for(timeout=120_000)
    assert opened.locator(".micrograph-title h3").inner_text() == "gold.tif"
    opened.screenshot(path=tmp_path / "micrograph.png")


def test_particles_are_corrected_on_the_canvas(opened, tmp_path):
    opened.get_by_role("button", name="Correct the particles").click()
    canvas = opened.locator(".editor .view")
    canvas.wait_for(timeout=120_000)
    said = opened.locator(".editor-message p")

    def draw(tool, *path):
        opened.locator(f".tool-{tool}").click()
        box = canvas.bounding_box()
        for i, (x, y) in enumerate(path):
            opened.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
            if i == 0:
                opened.mouse.down()
        opened.mouse.up()

    # Nothing is left, and then there are one, two, one and two particles.
    opened.locator(".editor input[type=range]").fill("100")
    rows = [0.05 + 0.1 * i for i in range(10)]
    draw("erase", *[(x, y) for y in rows for x in (0.01, 0.99)])
    opened.locator(".editor input[type=range]").fill("70")
    draw("brush", (0.2, 0.5), (0.8, 0.5))
    said.filter(has_text="1 particle, ").wait_for(timeout=30_000)
    draw("split", (0.5, 0.2), (0.5, 0.8))
    said.filter(has_text="2 particles, ").wait_for(timeout=30_000)
    draw("merge", (0.3, 0.5), (0.7, 0.5))
    said.filter(has_text="1 particle, ").wait_for(timeout=30_000)
    opened.get_by_role("button", name="Undo").click()
    said.filter(has_text="2 particles, ").wait_for(timeout=30_000)
    opened.screenshot(path=tmp_path / "editor.png")
    with opened.expect_download() as download:
        opened.get_by_text("labels (TIFF)").click()
    assert download.value.suggested_filename == "gold_labels.tif"
    assert len(np.unique(tifffile.imread(download.value.path()))) == 3
    opened.get_by_role("button", name="Add to the tab Labels").click()
    said.filter(has_text="added to the tab Labels").wait_for(timeout=30_000)
    opened.get_by_role("button", name="Done").click()
    opened.get_by_role("button", name="Correct the particles").wait_for(timeout=60_000)
    opened.get_by_text("2 particles on").wait_for(timeout=30_000)
    opened.get_by_text("Labels", exact=True).first.click()
    opened.get_by_text("gold_labels.tif").wait_for(timeout=30_000)
    opened.get_by_text("Micrograph", exact=True).click()


def test_many_files_are_judged_and_a_click_shows_one(opened, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        image = rng.poisson(100 - 30 * (np.hypot(*(np.mgrid[:160, :160] - 70)) < 20)).astype(np.float32)
        tifffile.imwrite(tmp_path / f"shot {i}.tif", image)
    (tmp_path / "notes.txt").write_text("no image")
    opened.get_by_label("Drop a micrograph here").set_input_files(
        [tmp_path / name for name in ("shot 0.tif", "notes.txt", "shot 1.tif")]
    )
    opened.get_by_text("contact sheet (PNG)").wait_for(timeout=240_000)
    assert opened.locator(".rows tr").count() == 4
    opened.locator(".rows tr", has_text="notes.txt").get_by_text("failed").wait_for()
    opened.get_by_role("button", name="shot 1.tif").click()
    opened.locator(".micrograph-title h3", has_text="shot 1.tif").wait_for(timeout=120_000)
    opened.get_by_text("Save as a card (PNG)").wait_for(timeout=120_000)
    opened.screenshot(path=tmp_path / "batch.png")
    with opened.expect_download() as download:
        opened.get_by_text("Save as a card (PNG)").click()
    assert download.value.suggested_filename == "shot 1_verdict.png"


def test_what_is_no_image_is_one_line(opened, tmp_path):
    for name, said in (("notes.txt", "has an ending that is not known"), ("broken.tif", "broken.tif: ")):
        (tmp_path / name).write_bytes(b"no image at all")
        opened.get_by_label("Drop a micrograph here").set_input_files(tmp_path / name)
        opened.locator(".micrograph-message .refusal").filter(has_text=said).wait_for(timeout=60_000)
    assert opened.get_by_text("Traceback").count() == 0


def test_a_study_is_browsed(opened, tmp_path):
    opened.get_by_text("Study", exact=True).click()
    opened.get_by_text("4 pairs, 2 networks each").wait_for(timeout=30_000)
    opened.get_by_text("Dice", exact=True).last.click()
    opened.screenshot(path=tmp_path / "study.png")
    # The matrix is wider than a phone, and scrolls by itself.
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.wait_for_timeout(500)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.set_viewport_size({"width": 1440, "height": 900})
    box = opened.locator(".study-folder input")
    box.fill(str(tmp_path))
    box.press("Enter")
    opened.locator(".refusal:visible").filter(has_text="has no scores.parquet").wait_for(timeout=30_000)


def test_no_tab_scrolls_sideways(opened):
    for width in (390, 1280):
        opened.set_viewport_size({"width": width, "height": 800})
        for tab in ("Optics", "Micrograph", "Labels", "Study"):
            opened.get_by_text(tab, exact=True).first.click()
            opened.wait_for_timeout(500)
            assert opened.evaluate("document.documentElement.scrollWidth") <= width, (tab, width)


def test_no_request_has_left_this_computer_and_nothing_was_complained_of(opened):
    host = re.match(r"http://[^/]+/", opened.url)[0]
    assert len(opened.asked) > 5
    assert [url for url in opened.asked if not url.startswith((host, "data:", f"blob:{host}"))] == []
    # The browser itself notes the upload that was refused.
    assert [line for line in opened.complaints if "415" not in line] == []
