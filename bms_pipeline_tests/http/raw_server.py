"""A server that says exactly what a test wants, byte by byte: for cuts, trickles, silence and broken HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Handler = Callable[[socket.socket, "RawServer"], None]
"""Answers one request on a connection; the connection is closed afterwards."""


@dataclass
class RawServer:
    """Where it listens, what it was sent, and the end that handlers wait for."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def until_released(_: socket.socket, server: RawServer) -> None:
    """Answer nothing, until the test is over."""
    server.released.wait()


@contextmanager
def raw_server(handler: Handler) -> Iterator[RawServer]:
    """Serve one request a connection with ``handler``; ``released`` is set at the end, for handlers that wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = RawServer(listener.getsockname()[1])
        threads: list[threading.Thread] = []

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                server.requests.append(_request(connection))
                handler(connection, server)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    thread = threading.Thread(target=one, args=(connection,))
                    threads.append(thread)
                    thread.start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield server
        finally:
            server.released.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(60)
            for thread in threads:
                thread.join(60)


@contextmanager
def nobody_listening() -> Iterator[int]:
    """A port that refuses every connection, and that nobody else can get meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def says(*pieces: bytes) -> Handler:
    """Answer with ``pieces`` and close."""

    def handler(connection: socket.socket, server: RawServer) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return handler


def in_turn(*handlers: Handler) -> Handler:
    """Answer each request with the next handler; the last one answers all that follow."""
    left = list(handlers)

    def handler(connection: socket.socket, server: RawServer) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(connection, server)

    return handler


def http_answer(body: bytes = b"{}", *, status: int = 200, connection: str = "close", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", f"Connection: {connection}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
