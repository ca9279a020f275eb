"""The page: a top line and four tabs."""

from html import escape
from pathlib import Path
from typing import Any

import panel as pn

from passband.app import html
from passband.app.labels_tab import LabelsTab
from passband.app.live_tab import LiveTab
from passband.app.micrograph_tab import MicrographTab
from passband.app.model_choice import ModelChoice
from passband.app.optics_tab import OpticsTab
from passband.app.parts import WIDE, text
from passband.app.scene import Subject
from passband.app.stores import Stores
from passband.app.study_tab import StudyTab

_QUESTION = "Does the network work under these conditions?"


def make_page(subject: Subject, study: Path | None, stores: Stores) -> Any:
    """Return the page of one browser tab, `study` open in it: its top line at once, its tabs when the browser has shown that."""
    head = text(f"<header><b>passband</b><span>{_QUESTION}</span><i>{escape(subject.name)}</i></header>", margin=0)
    page = pn.Column(head, text(html.note("loading the tabs …"), margin=20), css_classes=["page"], **WIDE)

    def fill() -> None:
        optics, choice = OpticsTab(subject), ModelChoice(subject)
        labels = LabelsTab(stores.labels, choice)
        micrographs = MicrographTab(subject, stores, optics.show_condition, choice, labels.take)
        page[1] = pn.Tabs(
            ("Optics", optics.layout()),
            ("Micrograph", micrographs.layout()),
            ("Live", LiveTab(choice).layout()),
            ("Labels", labels.layout()),
            ("Study", StudyTab(study).layout()),
            css_classes=["tabs"],
            **WIDE,
        )

    pn.state.onload(fill)
    return page
