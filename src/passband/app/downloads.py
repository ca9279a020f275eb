"""Files that the page offers: made when they are asked for, and sent as attachments."""

import asyncio
import mimetypes
import secrets
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

import panel as pn
import param
from panel.custom import JSComponent
from tornado.web import RequestHandler

from passband.app.parts import STYLE, WIDE, script
from passband.base.errors import BadInputError


class Offer(NamedTuple):
    """A file: the words on its link, its name, and what makes its content; a text can also be copied to the clipboard."""

    label: str
    name: str
    make: Callable[[], bytes]
    copied: bool = False


class Downloads:
    """The files of all pages, by random keys."""

    def __init__(self) -> None:
        """Offer nothing yet."""
        self._offers: dict[str, Offer] = {}

    def add(self, offer: Offer) -> str:
        """Offer a file; return its key."""
        key = secrets.token_hex(16)
        self._offers[key] = offer
        return key

    def find(self, key: str) -> Offer | None:
        """Return the file of a key, or None."""
        return self._offers.get(key)

    def remove(self, key: str) -> None:
        """Offer a file no longer."""
        self._offers.pop(key, None)


class DownloadHandler(RequestHandler):
    """Answers with an offered file."""

    def initialize(self, downloads: Downloads) -> None:
        """Take the offers."""
        self._downloads = downloads

    async def get(self, key: str) -> None:
        """Make and send the file of a key."""
        offer = self._downloads.find(key)
        if offer is None:
            return await self._refuse(404, "This file is no longer here; load the page again.")
        try:
            content = await asyncio.to_thread(offer.make)
        except BadInputError as error:
            return await self._refuse(409, str(error))
        self.set_header("Content-Type", mimetypes.guess_type(offer.name)[0] or "application/octet-stream")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{quote(offer.name)}")
        self.set_header("Cache-Control", "no-store")
        return await self.finish(content)

    async def _refuse(self, status: int, reason: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        await self.finish(" ".join(reason.split()))


class FileLinks(JSComponent):
    """A row of links to files, and buttons that copy those that are texts.

    Attributes:
        title: text before them.
        links: of each file label, address, and whether it is copied.
    """

    title = param.String(default="")
    links = param.List(default=[])

    _stylesheets: ClassVar[list[str]] = [STYLE]
    _esm = script("file_links.js")

    def __init__(self, downloads: Downloads, **settings: Any):
        """Offer nothing yet."""
        super().__init__(visible=False, **(WIDE | {"margin": (0, 10)} | settings))
        self._downloads, self._keys = downloads, list[str]()
        if pn.state.curdoc.session_context is not None:
            pn.state.on_session_destroyed(lambda context: self._forget())

    def offer(self, offers: Sequence[Offer]) -> None:
        """Offer these files instead of the former ones."""
        self._forget()
        self._keys = [self._downloads.add(offer) for offer in offers]
        self.links = [[o.label, f"file/{key}", o.copied] for o, key in zip(offers, self._keys, strict=True)]
        self.visible = bool(offers)

    def _forget(self) -> None:
        for key in self._keys:
            self._downloads.remove(key)
        self._keys = []


def stem(name: str) -> str:
    """Return what names of files made from an uploaded file begin with: letters, digits and a few signs of its name."""
    kept = "".join(c if c.isalnum() or c in "._ -" else "_" for c in PurePath(name.replace("\\", "/")).stem)
    return kept.strip(". ")[:100] or "image"
