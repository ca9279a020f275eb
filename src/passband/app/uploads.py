"""Uploaded micrographs: streamed into a temporary folder, limited in size and number, and named at random."""

import contextlib
import re
import secrets
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote

from tornado.web import RequestHandler, stream_request_body

from passband.app import html
from passband.base.errors import BadInputError
from passband.micrographs import formats

#: Largest upload [bytes].
MOST_BYTES = 600_000_000
# Most files at a time; the oldest is deleted first.
_FILES = 4


class Upload(NamedTuple):
    """An uploaded file: its path on this computer, and its name as the user knows it."""

    path: Path
    name: str


class Uploads:
    """The uploaded files by their random names."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES):
        """Store files in a folder, each of at most `most_bytes` bytes."""
        self.folder, self.most_bytes = folder, most_bytes
        self._files: dict[str, Upload] = {}

    def reserve(self, name: str) -> tuple[str, Path]:
        """Return a key and a path with the ending of a file's name.

        Raises:
            BadInputError: if the ending is not that of a micrograph.
        """
        # Only the ending is used; the name never becomes a path.
        suffix = re.sub(r"[^.a-z0-9]", "", Path(name).suffix.lower())
        key = secrets.token_hex(16)
        path = self.folder / f"{key}{suffix}"
        formats.check_ending(path)
        return key, path

    def add(self, key: str, path: Path, name: str) -> None:
        """Register a complete file."""
        while len(self._files) >= _FILES:
            self.remove(next(iter(self._files)))
        self._files[key] = Upload(path, name)

    def find(self, key: str) -> Upload | None:
        """Return the file of a key, or None."""
        return self._files.get(key)

    def remove(self, key: str) -> None:
        """Forget a file and delete it."""
        upload = self._files.pop(key, None)
        if upload is not None:
            upload.path.unlink(missing_ok=True)


@stream_request_body
class UploadHandler(RequestHandler):
    """Writes the body of a POST to a file, in pieces; the header X-File-Name has its name, percent-encoded."""

    def initialize(self, uploads: Uploads) -> None:
        """Take the uploads."""
        self._uploads, self._size, self._complete = uploads, 0, False
        self._name, self._key = "", ""
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    async def prepare(self) -> None:
        """Refuse other methods, other endings and too large files before the first byte."""
        # Close the connection after each upload, so that the rest of a refused one is not read.
        self.set_header("Connection", "close")
        if self.request.method != "POST":
            return await self._refuse(405, "Send a file with POST.")
        self._name = unquote(self.request.headers.get("X-File-Name", ""))[:200]
        limit = self._uploads.most_bytes
        # Without a stated length, the limit applies while reading.
        length = self.request.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > limit:
            remedy = "crop it, or read it in Python or by the command line."
            return await self._refuse(413, f"{self._name}: has more than {limit / 1e6:g} MB; {remedy}")
        self.request.connection.set_max_body_size(limit)
        try:
            self._key, self._path = self._uploads.reserve(self._name)
            self._file = self._path.open("xb")
        except BadInputError as error:
            return await self._refuse(415, f"{self._name}: {error.text(html.field)}")
        except OSError as error:
            return await self._refuse(507, f"{self._name}: cannot be stored: {error.strerror}; free some space.")
        return None

    def data_received(self, chunk: bytes) -> None:
        """Write a piece."""
        if self._file is None:
            return
        self._size += len(chunk)
        try:
            self._file.write(chunk)
        except OSError:
            self._drop()

    async def post(self) -> None:
        """Answer with the key of the file."""
        if self._file is None or self._path is None:
            return await self._refuse(507, f"{self._name}: cannot be stored; free some space.")
        self._file.close()
        self._complete = True
        self._uploads.add(self._key, self._path, self._name)
        self.write({"key": self._key, "name": self._name, "bytes": self._size})
        return None

    def on_finish(self) -> None:
        """Delete an incomplete upload."""
        if not self._complete:
            self._drop()

    on_connection_close = on_finish

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _refuse(self, status: int, reason: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        await self.finish(" ".join(reason.split()))
