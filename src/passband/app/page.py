"""The page: a top line and three tabs."""

from pathlib import Path
from typing import Any

import panel as pn
import torch

from passband.app import html
from passband.app.micrograph_tab import MicrographTab
from passband.app.optics_tab import OpticsTab, Subject
from passband.app.parts import text
from passband.app.scene import Scenes
from passband.app.study_tab import StudyTab
from passband.app.uploads import Uploads
from passband.base.errors import BadInputError
from passband.models.store import Model
from passband.verdicts.verdict_model import VerdictModel


def subject_of(model: Model | None, absent: str, cache: Path | None = None) -> Subject:
    """Return model and specimen of the page, with the exit wave in memory.

    Args:
        model: the network, or None.
        absent: why there is no model, in a line.
        cache: folder of exit waves; the user's cache by default.

    Raises:
        BadInputError: if the network cannot be run here.
    """
    # Transforms this small are slower with several threads.
    torch.set_num_threads(1)
    judge = None
    if model is not None:
        # Load the network before the page opens: it may be unusable.
        _ = model.network
        try:
            judge = VerdictModel(model)
        except BadInputError as error:
            absent = html.error_text(error)
    subject = Subject(Scenes(model, cache), model, judge, absent)
    subject.scenes.at(judge.domain.energy_ev if judge is not None else 300e3)
    return subject


def make_page(subject: Subject, model: Model | None, study: Path | None, uploads: Uploads) -> Any:
    """Return the page of one browser tab.

    Args:
        subject: model and specimen.
        model: the network, or None.
        study: folder to browse first, or None.
        uploads: its uploaded files.
    """
    optics = OpticsTab(subject)
    tabs = pn.Tabs(
        ("Optics", optics.layout()),
        ("Micrograph", MicrographTab(model, subject.judge, subject.absent, uploads, optics.show_condition).layout()),
        ("Study", StudyTab(study).layout()),
        dynamic=False,
        css_classes=["tabs"],
    )
    name = "no model" if model is None else model.card.name
    on = (
        ""
        if model is None
        else f", {', '.join(model.card.specimens.elements)} on {model.card.specimens.support or 'nothing'}"
    )
    head = text(sizing_mode="stretch_width", margin=0)
    head.object = html.header(name + on)
    return pn.Column(head, tabs, sizing_mode="stretch_width", css_classes=["page"])
