import asyncio
import base64
import http.client
import io
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("panel")

import panel as pn

from passband.app.downloads import Offer
from passband.app.serving import PageServer, listen, serve, write_forward
from passband.base.errors import BadInputError
from support import made

LIMIT = 300_000


class Served:
    """A page in a thread with a loop of its own."""

    def __init__(self, folder):
        self.started = threading.Event()
        self.folder = folder
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()
        assert self.started.wait(60)
        self.port = int(self.gate.hosts[0].rpartition(":")[2])
        self.cookie = f"{self.gate.cookie}={self.gate.secret}"

    async def run(self):
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        server = PageServer(lambda stores: pn.pane.HTML("the page"), self.folder, listen(0), LIMIT)
        self.gate, self.stores = server.gate, server.stores
        self.uploads, self.labels = server.stores.micrographs, server.stores.labels
        server.start()
        self.started.set()
        await self.ended.wait()
        server.stop()

    def end(self):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(30)

    def ask(self, path="/", method="GET", body=None, **headers):
        """Status, headers and text; underscores in names of headers are dashes, and a header None is left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {"Host": self.gate.hosts[0], "Cookie": self.cookie, "Origin": None} | headers
        sent = {name.replace("_", "-"): value for name, value in sent.items() if value is not None}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def handshake(self, origin, cookie=None):
        """The first line that answers a request for a web socket."""
        key = base64.b64encode(bytes(16)).decode()
        lines = [
            "GET /ws HTTP/1.1", f"Host: {self.gate.hosts[0]}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13", f"Cookie: {self.cookie if cookie is None else cookie}", "Sec-WebSocket-Protocol: bokeh, none",
        ]  # fmt: skip
        lines += [] if origin is None else [f"Origin: {origin}"]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            return connection.recv(4096).decode().splitlines()[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("uploads"))
    yield made
    made.end()


def test_only_this_computer_is_listened_to(served):
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with pytest.raises(OSError), socket.create_connection((address, served.port), timeout=5):
            pass


def test_without_the_token_nothing_is_shown(served):
    for path in ("/", "/?token=", "/?token=wrong", "/static/js/bokeh.min.js", "/favicon.ico", "/nothing"):
        status, _, text = served.ask(path, Cookie=None)
        assert status == 403 and "needs its token" in text and "passband app" in text
    assert served.ask(Cookie=f"{served.gate.cookie}=wrong")[0] == 403
    assert served.ask(f"/static/js/bokeh.min.js?token={served.gate.token}", Cookie=None)[0] == 403


def test_the_token_buys_a_cookie_that_no_script_and_no_other_site_can_use(served):
    status, headers, text = served.ask(f"/?token={served.gate.token}", Cookie=None)
    assert status == 200 and 'url=/"' in text and served.gate.secret not in text
    cookie = headers["Set-Cookie"]
    assert served.gate.secret in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert served.gate.token != served.gate.secret and len(served.gate.token) >= 43


def test_the_page_and_all_that_it_needs_come_from_here(served):
    status, headers, text = served.ask()
    assert status == 200 and "Bokeh" in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text.replace(
        "https://github.com", ""
    )
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    # Bokeh puts headers and cookies of the request into the page; this one stays out, even encoded.
    parts = [p + "=" * (-len(p) % 4) for p in text.replace('"', " ").replace(".", " ").split() if len(p) > 40]
    decoded = b""
    for part in parts:
        try:
            decoded += base64.urlsafe_b64decode(part)
        except ValueError:
            continue
    assert served.gate.secret not in text and served.gate.secret.encode() not in decoded


def test_another_host_name_is_refused_even_with_the_cookie(served):
    for host in (
        "evil.example",
        f"evil.example:{served.port}",
        "127.0.0.1",
        f"127.0.0.1:{served.port}.evil.example",
        f"[::1]:{served.port}",
    ):
        status, _, text = served.ask(Host=host)
        assert status == 403 and "answers to" in text
    assert served.ask(f"/?token={served.gate.token}", Host=f"evil.example:{served.port}")[0] == 403
    assert served.ask(Host=f"localhost:{served.port}")[0] == 200


def test_another_origin_is_refused_even_with_the_cookie(served):
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{served.port}",
        f"http://127.0.0.1:{served.port + 1}",
    ):
        assert served.ask(Origin=origin)[0] == 403
        assert served.ask("/upload", "POST", b"x", Origin=origin, X_File_Name="a.tif")[0] == 403
    assert served.ask("/upload", "POST", b"x", X_File_Name="a.tif")[0] == 403


def test_web_sockets_are_for_our_own_page(served):
    own = served.gate.origins[0]
    for origin in ("http://evil.example", "null", None, f"http://127.0.0.1:{served.port + 1}"):
        assert " 403 " in served.handshake(origin)
    assert " 403 " in served.handshake(own, cookie="")
    # Ours is let through to Bokeh, which wants its own session besides.
    assert " 403 " not in served.handshake(own)


def test_a_micrograph_arrives_under_a_name_of_ours(served):
    own = served.gate.origins[0]
    name = "..%2F..%2Fevil%20%C3%BC.TIF"
    status, _, text = served.ask("/upload", "POST", b"content", Origin=own, X_File_Name=name)
    assert status == 200
    [upload] = served.uploads._files.values()
    assert (
        upload.path.parent == served.folder and upload.path.suffix == ".tif" and upload.path.read_bytes() == b"content"
    )
    assert upload.name == "../../evil ü.TIF" and upload.path.stem in text
    assert not upload.path.stat().st_mode & 0o111
    served.uploads.remove(upload.path.stem)
    assert not upload.path.exists() and served.uploads.find(upload.path.stem) is None


def test_what_is_no_micrograph_is_refused(served):
    own = served.gate.origins[0]
    for name in ("a.exe", "a", "a.py", ""):
        status, _, text = served.ask("/upload", "POST", b"x", Origin=own, X_File_Name=name)
        assert status == 415 and "\n" not in text and "Traceback" not in text
    assert served.ask("/upload")[0] == 405


def test_too_much_is_refused_and_leaves_nothing(served):
    own = served.gate.origins[0]
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    head = {"Host": served.gate.hosts[0], "Cookie": served.cookie, "Origin": own, "X-File-Name": "a.tif"}
    connection.request("POST", "/upload", None, head | {"Content-Length": str(LIMIT + 1)})
    answer = connection.getresponse()
    assert answer.status == 413 and "a.tif: has more than 0.3 MB" in answer.read().decode()
    connection.close()
    # One that does not say how long it is, is cut off.
    pieces = (bytes(50_000) for _ in range(20))
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.request("POST", "/upload", pieces, head, encode_chunked=True)
        assert connection.getresponse().status in (400, 413)
    except OSError:
        pass  # it was hung up on while it was sending
    connection.close()
    status, *_ = served.ask("/upload", "POST", bytes(LIMIT), Origin=own, X_File_Name="a.tif")
    assert status == 200
    for key in list(served.uploads._files):
        served.uploads.remove(key)
    deadline = time.monotonic() + 10
    while any(served.folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(served.folder.iterdir())


def test_only_so_many_files_wait(served):
    own = served.gate.origins[0]
    for _ in range(6):
        served.ask("/upload", "POST", b"x", Origin=own, X_File_Name="a.tif")
    assert len(list(served.folder.iterdir())) == 4


def test_a_port_that_is_taken_is_told_before_any_work(served):
    def prepare():
        raise AssertionError("work began")

    with pytest.raises(BadInputError, match="port .* is taken; leave it out"):
        serve(prepare, lambda address, forward: None, port=served.port)


def test_a_page_says_at_once_that_it_is_loading(served):
    for path, cookie in ((f"/?token={served.gate.token}", None), ("/", served.cookie)):
        assert "passband is loading" in served.ask(path, Cookie=cookie)[2]


def test_the_browser_gets_a_file_of_this_user_alone_and_no_token(served, tmp_path):
    path = write_forward(tmp_path / "open.html", served.gate.address)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [address] = re.findall(r"url=(http[^\"]+)", path.read_text(encoding="utf-8"))
    assert served.ask(address.removeprefix(f"http://{served.gate.hosts[0]}"), Cookie=None)[0] == 200
    with pytest.raises(FileExistsError):
        write_forward(path, "another")


def test_no_command_line_has_the_token(tmp_path):
    """Start the app with a browser that writes down its arguments, and read every command line of the system."""
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments; sleep 20\n')
    script.chmod(0o755)
    code = "from pathlib import Path; from passband.app.serving import serve; import panel as pn, webbrowser\nserve(lambda: lambda stores: pn.pane.HTML(''), lambda a, f: (print(a, flush=True), webbrowser.open(f.as_uri())))"
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"BROWSER": f"{script} %s &"}, stdout=subprocess.PIPE, text=True) as app:  # fmt: skip
        try:
            token = app.stdout.readline().partition("token=")[2].strip()
            deadline = time.monotonic() + 30
            while not (tmp_path / "arguments").is_file() and time.monotonic() < deadline:
                time.sleep(0.05)
            lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
            assert len(token) >= 43 and (tmp_path / "arguments").read_text().startswith("file:///")
            assert not any(token.encode() in line for line in lines)
        finally:
            app.send_signal(signal.SIGTERM)
            assert app.wait(30) == -signal.SIGTERM


def test_labels_go_to_a_place_of_their_own_and_installed_models_can_be_had(served, tmp_path, monkeypatch):
    own, before = served.gate.origins[0], [*served.uploads._files]
    status, _, text = served.ask("/upload-labels", "POST", b"x", Origin=own, X_File_Name="a_mask.npy")
    assert status == 200 and [*served.uploads._files] == before
    [key] = served.labels._files
    assert key in text
    served.labels.remove(key)
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path))
    made.bare_model(tmp_path / "made")
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", "/model/made.zip", None, {"Host": served.gate.hosts[0], "Cookie": served.cookie})
    answer = connection.getresponse()
    with zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
        assert answer.status == 200 and "weights.safetensors" in archive.namelist()
    connection.close()
    assert served.ask("/model/none.zip")[0] == 404 and served.ask("/model/made.zip", Cookie=None)[0] == 403
    assert served.ask("/model/..%2Fmade.zip")[0] == 404


def test_an_offered_file_is_made_when_it_is_asked_for_and_sent_once_its_key_is_known(served):
    calls = []

    def make():
        calls.append(1)
        return "a;b\nµ".encode()

    downloads = served.stores.downloads
    key = downloads.add(Offer("table", "my täble.csv", make))
    assert not calls
    status, headers, text = served.ask(f"/file/{key}")
    assert (status, text, calls) == (200, "a;b\nµ", [1]) and headers["Content-Type"] == "text/csv"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''my%20t%C3%A4ble.csv"
    assert served.ask(f"/file/{key}", Cookie=None)[0] == 403

    def fail():
        raise BadInputError("has no particle", remedy="draw one")

    status, _, text = served.ask(f"/file/{downloads.add(Offer('table', 'a.csv', fail))}")
    assert status == 409 and text == "has no particle; draw one"
    downloads.remove(key)
    assert served.ask(f"/file/{key}")[0] == 404 and served.ask("/file/..")[0] == 404
