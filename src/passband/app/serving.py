"""The server of the page: on 127.0.0.1 only, behind its guard, with all scripts and fonts from this computer."""

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
from passband.base.errors import BadInputError, parameter

# Reachable from this computer only.
_ADDRESS = "127.0.0.1"
# Largest request other than an upload, and largest message of the page, which a condition file needs [bytes].
_BODY_BYTES, _MESSAGE_BYTES = 1_000_000, 2_000_000

#: Builds the page of one browser tab.
Page = Callable[[Uploads], Any]


class PageServer:
    """A page being served.

    Attributes:
        gate: its access rules; `gate.address` opens the page.
        uploads: the uploaded files.
    """

    def __init__(
        self, page: Page, folder: Path, *, port: int = 0, most_bytes: int = MOST_BYTES, title: str = "passband"
    ):
        """Bind a port; needs a running event loop.

        Args:
            page: builds the page.
            folder: for uploads.
            port: to listen at; 0 takes a free one.
            most_bytes: largest upload.
            title: of the page.

        Raises:
            BadInputError: if the port is taken or reserved.
        """
        try:
            listening = socket.create_server((_ADDRESS, port), backlog=128)
        except OSError as error:
            why = {errno.EADDRINUSE: "is taken", errno.EACCES: "is reserved"}.get(
                error.errno or 0, f"cannot be used ({error.strerror})"
            )
            raise BadInputError(
                f"{parameter('port')} {port}: {why}", value=port, remedy="leave it out for a free one"
            ) from None
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
            # Keep both out of the page, where scripts could read them.
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
        page: builds the page.
        announce: called with the address once the server answers.
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
