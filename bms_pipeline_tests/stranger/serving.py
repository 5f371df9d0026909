"""An HTTP server on loopback, in a thread, that answers whatever a function says, down to the coding of the body."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked. The names of parameters and headers are in lower case, as ASP.NET binds them."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> dict[str, str] | None:
        """The fields of a form-encoded body by lower-case name; None if it is no form."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return None
        return {name.lower(): value for name, value in parse_qsl(self.body.decode(), keep_blank_values=True)}

    def multipart(self) -> dict[str, str] | None:
        """The fields of a multipart body by lower-case name; None if it is none."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data") or "boundary=" not in kind:
            return None
        boundary = kind.split("boundary=", 1)[1].strip('"').encode()
        fields = {}
        for part in self.body.split(b"--" + boundary)[1:-1]:
            head, _, value = part.partition(b"\r\n\r\n")
            name = head.split(b'name="', 1)[1].split(b'"', 1)[0].decode()
            fields[name.lower()] = value.removesuffix(b"\r\n").decode()
        return fields


@dataclass(frozen=True)
class Answer:
    """What the server sends back. ``lost``: the connection is closed before a byte of it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    """``value`` as a JSON answer."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **headers})


def packed(answer: Answer, coding: str) -> Answer:
    """The same answer in a content coding."""
    if coding == "none" or not answer.body or answer.lost:
        return answer
    middle = len(answer.body) // 2
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    codings: dict[str, Callable[[], tuple[bytes, str]]] = {
        "gzip": lambda: (gzip.compress(answer.body), "gzip"),
        "x-gzip": lambda: (gzip.compress(answer.body), "x-gzip"),
        "GZIP": lambda: (gzip.compress(answer.body), "GZIP"),
        "gzip in members": lambda: (gzip.compress(answer.body[:middle]) + gzip.compress(answer.body[middle:]), "gzip"),
        "deflate": lambda: (zlib.compress(answer.body), "deflate"),
        "raw deflate": lambda: (raw.compress(answer.body) + raw.flush(), "deflate"),
        "identity": lambda: (answer.body, "identity"),
        "charset": lambda: (answer.body, "utf-8"),
        "gzip twice": lambda: (gzip.compress(gzip.compress(answer.body)), "gzip, gzip"),
        "byte order mark": lambda: (b"\xef\xbb\xbf" + answer.body, ""),
        "chunked": lambda: (answer.body, ""),
    }
    body, name = codings[coding]()
    coded = {"Content-Encoding": name} if name else {}
    chunks = {"Transfer-Encoding": "chunked"} if coding == "chunked" else {}
    return Answer(answer.status, body, {**answer.headers, **coded, **chunks})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.answer(Request(self.command, parts.path, query, headers, body))  # type: ignore[attr-defined]
        if answer.lost:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.headers.get("Transfer-Encoding") == "chunked":
            self.end_headers()
            for start in range(0, len(answer.body), 999):
                chunk = answer.body[start : start + 999]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
        elif answer.status == 204:
            self.end_headers()
        else:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is its own business."""


@contextlib.contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[str]:
    """A server that answers by ``answer``, one request at a time; its address."""
    turn = threading.Lock()

    def in_turn(request: Request) -> Answer:
        with turn:
            return answer(request)

    server = _Server(("127.0.0.1", 0), _Handler)
    server.answer = in_turn  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
