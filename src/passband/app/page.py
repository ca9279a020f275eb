"""The page: a top line and three tabs."""

from pathlib import Path
from typing import Any

import panel as pn

from passband.app import html
from passband.app.micrograph_tab import MicrographTab
from passband.app.optics_tab import OpticsTab
from passband.app.parts import text
from passband.app.scene import Subject
from passband.app.study_tab import StudyTab
from passband.app.uploads import Uploads


def make_page(subject: Subject, study: Path | None, uploads: Uploads) -> Any:
    """Return the page of one browser tab: its top line at once, its tabs when the browser has shown that.

    Args:
        subject: model and specimen.
        study: folder to browse first, or None.
        uploads: its uploaded files.
    """
    head, body = text(margin=0), text(margin=20)
    head.object, body.object = html.header(subject.name), html.note("loading the tabs …")
    page = pn.Column(head, body, sizing_mode="stretch_width", css_classes=["page"])

    def fill() -> None:
        optics = OpticsTab(subject)
        page[1] = pn.Tabs(
            ("Optics", optics.layout()),
            ("Micrograph", MicrographTab(subject, uploads, optics.show_condition).layout()),
            ("Study", StudyTab(study).layout()),
            sizing_mode="stretch_width",
            css_classes=["tabs"],
        )

    pn.state.onload(fill)
    return page
