"""The live page in a browser: it reloads itself without a server, and tells when nobody writes it any more."""

import re

import pytest

from support import watching
from support.browser import browser


@pytest.mark.browser
def test_the_page_reloads_itself_and_tells_when_it_is_old(tmp_path):
    (tmp_path / "session").mkdir()
    with watching.watched(tmp_path / "session", tmp_path / "out", None) as session:
        session._live()
    text = session.page.read_text(encoding="utf-8")
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(session.page.as_uri())
        assert "No verdict yet." in page.inner_text("body") and not page.locator("#silent").is_visible()
        old = re.sub(r"(Date.now\(\) / 1000 - )(\d+)", lambda match: f"{match[1]}{int(match[2]) - 600}", text)
        session.page.write_text(old.replace("No verdict yet.", "A later page."), encoding="utf-8")
        page.get_by_text("A later page.").wait_for(timeout=30_000)
        assert "written nothing for 10 minutes" in page.inner_text("#silent")
