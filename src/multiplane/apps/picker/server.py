"""The page over HTTP, for the browser of the person at this computer and nobody else.

Bound to 127.0.0.1; a secret in the address; no path ever comes from the browser: pictures are asked
for by number.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from multiplane.apps.picker.session import Session

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY = 16_384
PAGE = {
    "": ("page.html", "text/html; charset=utf-8"),
    "picker.js": ("picker.js", "text/javascript; charset=utf-8"),
    "picker.css": ("picker.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PICTURE = re.compile(r"pictures/(\d{1,9})/(\d{1,3})")
_ITEM = re.compile(r"items/(\d{1,9})")
_MAGIC = ((b"\x89PNG", "image/png"), (b"RIFF", "image/webp"), (b"\xff\xd8", "image/jpeg"))


class PickerServer(ThreadingHTTPServer):
    """Serves one session until it is finished from the page or `shutdown` is called."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, session: Session, port: int = 0) -> None:
        """port: 0 takes a free one. Raises OSError when the port is taken."""
        self.session = session
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, port), PickerHandler)
        except OSError as error:
            raise OSError(f"port {port} cannot be used ({error}): choose another") from error

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def url(self) -> str:
        """The address to open, with its secret."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def finish(self) -> None:
        """End `serve_forever`, from any thread and without waiting for it."""
        threading.Thread(target=self.shutdown, daemon=True).start()


class PickerHandler(BaseHTTPRequestHandler):
    """One request. Everything but the right secret gets the same answer: 404."""

    server: PickerServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "multiplane"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, handle: Callable[[str], None]) -> None:
        try:
            route = self._route()
            if route is None:
                self.close_connection = True  # a body that was sent is not read
                self._send_error(HTTPStatus.NOT_FOUND, "nothing here")
            else:
                handle(route)
        except LookupError as error:
            self._send_error(HTTPStatus.NOT_FOUND, str(error))
        except ValueError as error:
            self._send_error(HTTPStatus.BAD_REQUEST, str(error))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # the browser went on to the next picture
        except OSError as error:
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _route(self) -> str | None:
        """The path behind the secret; None for another secret, or for a page of another site that
        had its name point here."""
        allowed = {f"{name}:{self.server.port}" for name in (HOST, "localhost")}
        if self.headers.get("Host") not in allowed:
            return None
        if self.headers.get("Origin", "http://" + self.headers["Host"]) not in {
            f"http://{host}" for host in allowed
        }:
            return None
        parts = self.path.partition("?")[0].split("/", 2)
        if len(parts) != 3 or not hmac.compare_digest(
            parts[1].encode(), self.server.token.encode()
        ):
            return None
        return parts[2]

    def _get(self, route: str) -> None:
        session = self.server.session
        if route in PAGE:
            name, kind = PAGE[route]
            self._send((resources.files("multiplane.apps.picker") / name).read_bytes(), kind)
        elif route == "state":
            self._send_json(session.state())
        elif match := _ITEM.fullmatch(route):
            self._send_json(session.describe(int(match[1])))
        elif match := _PICTURE.fullmatch(route):
            data = session.picture(int(match[1]), int(match[2]))
            kinds = (kind for magic, kind in _MAGIC if data.startswith(magic))
            self._send(data, next(kinds, "application/octet-stream"), keep=True)
        else:
            raise LookupError("nothing here")

    def _post(self, route: str) -> None:
        session = self.server.session
        said = self._body()
        if route == "decisions":
            answer, reasons = said.get("answer"), said.get("reasons", [])
            self._send_json(session.decide(said.get("index"), answer, reasons))
        elif route == "undo":
            self._send_json(session.undo())
        elif route == "finish":
            self._send_json({"undecided": session.undecided()})
            self.server.finish()
        else:
            raise LookupError("nothing here")

    def _body(self) -> dict[str, Any]:
        """The JSON object sent. Raises ValueError for anything else."""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True
            raise ValueError(f"a body of 0 to {MAX_BODY} bytes is needed, got {length!r}")
        data = self.rfile.read(int(length))
        if self.headers.get("Content-Type") != "application/json":
            raise ValueError("the body must be application/json")
        said = json.loads(data)
        if not isinstance(said, dict):
            raise ValueError("the body must be a JSON object")
        return said

    def _send_json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send_error(self, status: HTTPStatus, text: str) -> None:
        self._send(json.dumps({"error": text}).encode(), "application/json", status)
        log.info("%s %s: %s", self.command, status.value, text)

    def _send(
        self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, keep: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        kept = "private, max-age=86400, immutable" if keep else "no-store"
        self.send_header("Cache-Control", kept)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Addresses hold the secret: nothing of a request is logged."""


def serve(session: Session, port: int, ready: Callable[[str], None]) -> None:
    """Serve until the page says it is finished, or Ctrl-C. ready: told the address."""
    with PickerServer(session, port) as server:
        ready(server.url)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            log.info("ended by Ctrl-C; every decision is kept")
