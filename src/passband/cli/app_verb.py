"""The verb `passband app`: parsing and printing only. Only this verb imports Panel and Bokeh, when it runs."""

import webbrowser
from pathlib import Path
from typing import Annotated

from typer import Option

from passband.base.errors import BadInputError, parameter, require
from passband.base.terminal import note


def app(
    port: Annotated[int, Option(min=0, max=65535, help="Port on this computer; 0 takes a free one.")] = 0,
    model: Annotated[
        str | None, Option(help="A model by name, or its folder.", show_default="the first that is installed")
    ] = None,
    study: Annotated[Path | None, Option(help="Folder of a study to browse.")] = None,
    no_browser: Annotated[bool, Option("--no-browser", help="Print the address without opening a browser.")] = False,
) -> None:
    """Open a page in the browser: live optics, the verdict on a micrograph, a study to browse. Ends on Ctrl-C.

    The page is served on 127.0.0.1 only, and only to whoever has the address with its token.

    Example:  passband app --model au-300kv
    """
    from passband.models.store import SEGMENTING, installed, load_model, require_task

    require("app", "passband app", "panel", "bokeh", "tornado", "param")
    if study is not None and not study.is_dir():
        what = f"{parameter('study')} {study}: is no folder; give the folder of a study that has been run"
        raise BadInputError(what, value=study)
    name = model or next(iter(installed()), None)
    chosen = None if name is None else load_model(name)
    if chosen is not None:
        require_task(chosen.card, *SEGMENTING)
    absent = "no model is installed, so there is no prediction and no verdict; install one with passband model import, or name a folder with --model"
    if chosen is None:
        note(absent)

    from passband.app.page import make_page
    from passband.app.scene import subject_of
    from passband.app.serving import Page, serve

    def prepare() -> Page:
        note("computing the sample specimen; the first time takes about ten seconds")
        subject = subject_of(chosen, absent)
        return lambda stores: make_page(subject, study, stores)

    def announce(address: str, forward: Path) -> None:
        print(f"{address}\nOpen this address in a browser on this computer; Ctrl-C ends it.", flush=True)
        if not no_browser:
            webbrowser.open(forward.as_uri())

    serve(prepare, announce, port=port)
