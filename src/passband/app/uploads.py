"""Uploaded files: streamed into a temporary folder, limited in size and number, and named at random."""

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
from passband.micrographs.labels import IMAGE_ENDINGS, MASK_ENDINGS
from passband.models.store import export_zip, installed, read_model

#: Largest upload [bytes].
MOST_BYTES = 600_000_000
# Most micrographs at a time; the oldest is deleted first.
_FILES = 4
# Most files of one kind that are together, and their size [bytes]; more are refused.
_TOGETHER, _TOGETHER_BYTES = 400, 2_000_000_000


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
        self.check(path)
        return key, path

    def check(self, path: Path) -> None:
        """Raise BadInputError for a file that is not taken."""
        formats.check_ending(path)

    @property
    def room(self) -> int:
        """Most bytes of the next file."""
        return self.most_bytes

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


class SessionUploads(Uploads):
    """Uploaded micrographs, many at a time; more than are taken together are refused."""

    @property
    def room(self) -> int:
        """Most bytes of the next file."""
        taken = sum(upload.path.stat().st_size for upload in self._files.values() if upload.path.exists())
        return max(min(self.most_bytes, _TOGETHER_BYTES - taken), 0)

    def check(self, path: Path) -> None:
        """Raise BadInputError for a file that is no micrograph, and for one too many."""
        super().check(path)
        self._check_count()

    def _check_count(self) -> None:
        if len(self._files) >= _TOGETHER:
            raise BadInputError(f"is one of more than {_TOGETHER} files; remove some, or use the command line")

    def add(self, key: str, path: Path, name: str) -> None:
        """Register a complete file."""
        self._files[key] = Upload(path, name)


class LabelUploads(SessionUploads):
    """Uploaded images and masks, many at a time."""

    def check(self, path: Path) -> None:
        """Raise BadInputError for a file that is neither image nor mask, and for one too many."""
        known = sorted({*IMAGE_ENDINGS, *MASK_ENDINGS})
        if path.suffix not in known:
            raise BadInputError(f"is neither an image nor a mask; give one of {', '.join(known)}")
        self._check_count()


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
        limit = self._uploads.room
        # Without a stated length, the limit applies while reading.
        length = self.request.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > limit:
            what = f"has more than {limit / 1e6:g} MB; crop it, or read it in Python or by the command line."
            if limit < self._uploads.most_bytes:
                what = f"has more than the {limit / 1e6:.0f} MB that are left for all files; drop fewer, or use the command line."
            return await self._refuse(413, f"{self._name}: {what}")
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


class ModelHandler(RequestHandler):
    """Answers with an installed model as one zip file."""

    def initialize(self, folder: Path) -> None:
        """Take a folder for the file while it is sent."""
        self._folder = folder

    def get(self, name: str) -> None:
        """Send the model of a name."""
        place = installed().get(name)
        if place is None:
            self.set_status(404)
            self.finish(f"No model is called {name}.")
            return
        path = self._folder / f"{secrets.token_hex(16)}.zip"
        try:
            content = export_zip(read_model(place), path).read_bytes()
        finally:
            path.unlink(missing_ok=True)
        self.set_header("Content-Type", "application/zip")
        self.set_header("Content-Disposition", f'attachment; filename="{name}.zip"')
        self.write(content)
