"""The server of the page: on 127.0.0.1 only, behind its guard, with all scripts and fonts from this computer."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from panel.config import config
from panel.io.application import build_applications
from panel.io.state import state
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from passband.app.downloads import DownloadHandler
from passband.app.guard import Gate, Guard, forward
from passband.app.stores import Stores
from passband.app.uploads import MOST_BYTES, ModelHandler, UploadHandler
from passband.base.errors import BadInputError, parameter

# Reachable from this computer only.
_ADDRESS = "127.0.0.1"
# Largest request other than an upload, and largest message of the page, which a condition file needs [bytes].
_BODY_BYTES, _MESSAGE_BYTES = 1_000_000, 2_000_000

#: Builds the page of one browser tab.
Page = Callable[[Stores], Any]
_GONE = "passband has ended; start it again with passband app, and open the new address"
# The page until its scripts have drawn it.
_TEMPLATE = """{% block postamble %}<style>body:has([data-root-id] > *) #loading { display: none }</style>{% endblock %}
{% block contents %}<p id="loading" style="font: 16px system-ui, sans-serif; margin: 2em">passband is loading …</p>{{ super() }}{% endblock %}"""


class PageServer(BaseServer):
    """A page being served; `start` and `stop` are bokeh's.

    Attributes:
        gate: its access rules; `gate.address` opens the page.
        stores: the uploaded files and those to download.
    """

    def __init__(self, page: Page, folder: Path, listening: socket.socket, most_bytes: int = MOST_BYTES):
        """Take a folder for uploads of at most `most_bytes` and a socket from `listen`; needs a running event loop."""
        self.gate = Gate(listening.getsockname()[1])
        self.stores = stores = Stores.in_folder(folder, most_bytes)
        config.disconnect_notification = _GONE

        def build() -> Any:
            state.curdoc.template = _TEMPLATE
            return page(stores)

        application = BokehTornado(
            build_applications(build, title="passband", location=False),
            extra_websocket_origins=list(self.gate.hosts),
            extra_patterns=[
                ("/upload", UploadHandler, {"uploads": stores.micrographs}),
                ("/upload-labels", UploadHandler, {"uploads": stores.labels}),
                ("/upload-session", UploadHandler, {"uploads": stores.session}),
                (r"/file/([0-9a-f]+)", DownloadHandler, {"downloads": stores.downloads}),
                (r"/model/([\w.-]+)\.zip", ModelHandler, {"folder": folder}),
            ],
            use_index=False,
            websocket_max_message_size_bytes=_MESSAGE_BYTES,
            # Keep both out of the page, where scripts could read them.
            include_headers=["Host"],
            exclude_cookies=[self.gate.cookie],
        )
        http = HTTPServer(Guard(application, self.gate), max_body_size=_BODY_BYTES, max_header_size=65536)
        http.add_sockets([listening])
        super().__init__(IOLoop.current(), application, http)


def listen(port: int) -> socket.socket:
    """Return a socket of this computer alone at a port; 0 takes a free one.

    Raises:
        BadInputError: if the port is taken or reserved.
    """
    try:
        listening = socket.create_server((_ADDRESS, port), backlog=128)
    except OSError as error:
        other = f"cannot be used ({error.strerror})"
        why = {errno.EADDRINUSE: "is taken", errno.EACCES: "is reserved"}.get(error.errno or 0, other)
        line = f"{parameter('port')} {port}: {why}"
        raise BadInputError(line, value=port, remedy="leave it out for a free one") from None
    listening.setblocking(False)
    return listening


def serve(prepare: Callable[[], Page], announce: Callable[[str, Path], None], *, port: int = 0) -> None:
    """Serve a page until interrupted.

    Args:
        prepare: called once the port is bound, for what builds the page; may take long.
        announce: called with the address once the server answers, and with a file that only this user can read and that forwards to it: a
            command line, such as a browser's, is read by every user of the computer.
        port: to listen at; 0 takes a free one.

    Raises:
        BadInputError: if the port cannot be used.
    """
    with listen(port) as listening:
        page = prepare()
        with tempfile.TemporaryDirectory(prefix="passband-app-") as name, contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(page, announce, Path(name), listening))


async def _serve(page: Page, announce: Callable[[str, Path], None], folder: Path, listening: socket.socket) -> None:
    server, ended = PageServer(page, folder, listening), asyncio.Event()
    # The caller's handler would raise in the middle of an answer; it is called below, when all is closed.
    handler = signal.getsignal(signal.SIGTERM)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server.start()
    try:
        announce(server.gate.address, write_forward(folder / "open.html", server.gate.address))
        await ended.wait()
    finally:
        server.stop()
        signal.signal(signal.SIGTERM, handler)
    signal.raise_signal(signal.SIGTERM)


def write_forward(path: Path, address: str) -> Path:
    """Write a page that forwards to an address and that only this user can read; return its path."""
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(forward(address))
    return path
