"""The server behind the page: on 127.0.0.1 alone, behind its guard, with every script and font from this computer."""

import asyncio
import contextlib
import errno
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from panel.config import config
from panel.io.application import build_applications
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from passband.app.guard import Gate, Guard
from passband.app.uploads import MOST_BYTES, UploadHandler, Uploads
from passband.base.errors import BadInputError

# Only this computer's own programs reach it.
_ADDRESS = "127.0.0.1"
# Largest request that is no upload, and largest message from the page: a condition file is the most that it sends [bytes].
_BODY_BYTES, _MESSAGE_BYTES = 1_000_000, 2_000_000

#: Makes the page for one browser tab, given the place of its uploads.
Page = Callable[[Uploads], Any]


class PageServer:
    """A page being served.

    Attributes:
        gate: its rules; `gate.address` is what to open.
        uploads: files that it has been sent.
    """

    def __init__(
        self, page: Page, folder: Path, *, port: int = 0, most_bytes: int = MOST_BYTES, title: str = "passband"
    ):
        """Bind a port; call it where an event loop runs.

        Args:
            page: makes what is shown.
            folder: for uploads.
            port: to listen at; 0 takes a free one.
            most_bytes: largest upload.
            title: of the page.

        Raises:
            BadInputError: if the port is taken or not ours to take.
        """
        try:
            listening = socket.create_server((_ADDRESS, port), backlog=128)
        except OSError as error:
            why = {errno.EADDRINUSE: "is taken", errno.EACCES: "is reserved"}.get(
                error.errno or 0, f"cannot be used ({error.strerror})"
            )
            raise BadInputError(f"--port {port}: {why}; leave it out for a free one") from None
        listening.setblocking(False)
        self.gate, self.uploads = Gate(listening.getsockname()[1]), Uploads(folder, most_bytes)
        config.disconnect_notification = (
            "passband has ended; start it again with passband app, and open the new address"
        )
        application = BokehTornado(
            build_applications(lambda: page(self.uploads), title=title, location=False),
            extra_websocket_origins=list(self.gate.hosts),
            extra_patterns=[("/upload", UploadHandler, {"uploads": self.uploads})],
            use_index=False,
            websocket_max_message_size_bytes=_MESSAGE_BYTES,
            # Neither goes into the page, where scripts could read them.
            include_headers=["Host"],
            exclude_cookies=[self.gate.cookie],
        )
        http = HTTPServer(Guard(application, self.gate), max_body_size=_BODY_BYTES, max_header_size=65536)
        http.add_sockets([listening])
        self._server = BaseServer(IOLoop.current(), application, http)

    def start(self) -> None:
        """Answer requests from now on."""
        self._server.start()

    def stop(self) -> None:
        """End all sessions."""
        self._server.stop(wait=False)


def serve(page: Page, announce: Callable[[str], None], *, port: int = 0) -> None:
    """Serve a page until interrupted.

    Args:
        page: makes what is shown.
        announce: called with the address to open once it answers.
        port: to listen at; 0 takes a free one.

    Raises:
        BadInputError: if the port cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="passband-app-") as name, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(page, announce, Path(name), port))


async def _serve(page: Page, announce: Callable[[str], None], folder: Path, port: int) -> None:
    server = PageServer(page, folder, port=port)
    server.start()
    try:
        announce(server.gate.address)
        await asyncio.Event().wait()
    finally:
        server.stop()
