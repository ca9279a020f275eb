"""Access control: only a browser on this computer that has the token, and only passband's page.

Any site in a browser may send requests to 127.0.0.1, and may point its own name there (DNS rebinding). So every request, also of files
and web sockets, is checked for its host, its origin, and the cookie that was exchanged for the token.
"""

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, ResponseStartLine
from tornado.routing import Router
from tornado.web import Application, RequestHandler

#: A browser may load from this address only. BokehJS compiles functions from text, which needs unsafe-eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' blob: {sockets}; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_LEAVE_OPEN = "open the address that `passband app` printed"


class Gate:
    """The access rules of one port.

    Attributes:
        hosts: allowed hosts of a request.
        origins: allowed origins of a request.
        token: in the printed address.
        secret: value of the cookie.
        address: to open, with the token.
        cookie: name of the cookie; browsers share cookies among the ports of a host.
    """

    def __init__(self, port: int):
        """Draw a token and the secret of the cookie, 256 bits each."""
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.origins = tuple(f"http://{host}" for host in self.hosts)
        self.token, self.secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.address = f"{self.origins[0]}/?token={self.token}"
        self.cookie = f"passband-app-{port}"

    def objection(self, request: HTTPServerRequest) -> str | None:
        """Return why the host or origin of a request is refused, in a sentence, or None."""
        if request.host not in self.hosts:
            return f"This page answers to {self.hosts[0]} only; {_LEAVE_OPEN}."
        socket = request.headers.get("Upgrade", "").lower() == "websocket"
        # Browsers state the origin of every request that may change something.
        origin = request.headers.get("Origin")
        if origin not in self.origins and (origin is not None or socket or request.method not in ("GET", "HEAD")):
            return f"Another page asked for this one; {_LEAVE_OPEN}."
        return None

    def presents_token(self, request: HTTPServerRequest) -> bool:
        """Whether a request for the page itself carries the token."""
        token = request.query_arguments.get("token", [b""])[-1]
        return request.path == "/" and hmac.compare_digest(token, self.token.encode())

    def presents_cookie(self, request: HTTPServerRequest) -> bool:
        """Whether a request carries the cookie."""
        try:
            cookie = SimpleCookie(request.headers.get("Cookie", "")).get(self.cookie)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.secret.encode())


class Guard(Router):
    """Passes only requests to an application that its gate allows."""

    def __init__(self, inner: Application, gate: Gate):
        """Guard an application."""
        self._inner, self._gate = inner, gate

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return the handler of a request: the application, the exchange of token for cookie, or a refusal."""
        gate = self._gate
        sockets = " ".join(f"ws://{host}" for host in gate.hosts)
        request.connection = _Hardened(request.connection, POLICY.format(sockets=sockets))
        objection = gate.objection(request)
        if objection is not None:
            return self._inner.get_handler_delegate(request, Refusal, {"reason": objection})
        if gate.presents_token(request):
            return self._inner.get_handler_delegate(request, Entrance, {"gate": gate})
        if not gate.presents_cookie(request):
            reason = f"This page needs its token; {_LEAVE_OPEN}, which carries it."
            return self._inner.get_handler_delegate(request, Refusal, {"reason": reason})
        return self._inner.find_handler(request, **kwargs)


class Refusal(RequestHandler):
    """Answers with the reason of a refusal."""

    def initialize(self, reason: str) -> None:
        """Take the reason."""
        self._refusal = reason

    async def prepare(self) -> None:
        """Answer any method."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Connection", "close")
        await self.finish(f"passband: {self._refusal}\n")


class Entrance(RequestHandler):
    """Exchanges the token for the cookie and forwards to the page."""

    def initialize(self, gate: Gate) -> None:
        """Take the gate."""
        self._gate = gate

    def get(self) -> None:
        """Answer with a page that forwards by itself: after a link from elsewhere, a redirect would not send the SameSite cookie."""
        gate = self._gate
        self.set_cookie(gate.cookie, gate.secret, httponly=True, samesite="Strict", path="/", expires_days=None)
        self.set_header("Cache-Control", "no-store")
        self.write(forward("/"))


def forward(address: str) -> str:
    """Return a page that forwards to an address, and says until then that it is loading."""
    return (
        f'<!doctype html><meta charset="utf-8"><title>passband</title><meta http-equiv="refresh" content="0; url={address}">'
        '<p style="font: 16px system-ui, sans-serif; margin: 2em">passband is loading …</p>\n'
    )


class _Hardened:
    """A connection that adds security headers to every answer."""

    def __init__(self, connection: Any, policy: str):
        self._connection, self._policy = connection, policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def write_headers(self, start: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None) -> Any:
        headers["Content-Security-Policy"] = self._policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return self._connection.write_headers(start, headers, chunk)
