"""Connections that ask nothing keep nobody out."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from bms_pipeline.guard import serving as guard
from bms_pipeline.guard.serving import MOST_CONNECTIONS
from bms_pipeline_tests.guard.conftest import serving

IDLE = 1_100


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer anything."""
    if scope["type"] == "http":
        await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
def port() -> Iterator[int]:
    with serving(lambda _: hello) as found:
        yield found


@pytest.fixture
def _many_files() -> Iterator[None]:
    """The other ends are in this process too, which the server's bound is not about."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_files")
@pytest.mark.parametrize(
    "said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n"]
)
def test_idle_connections_keep_nobody_out_and_are_bounded(port: int, said: bytes) -> None:
    with contextlib.ExitStack() as held:
        for number in range(IDLE):
            idle = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            idle.sendall(said)
            if number % 200 == 199:
                assert answer(port) == "hello"
        assert answer(port) == "hello"
        assert len(_connections(port)) <= MOST_CONNECTIONS + 1


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"])
def test_a_connection_that_does_not_get_to_a_request_is_closed(
    monkeypatch: pytest.MonkeyPatch, port: int, said: bytes
) -> None:
    monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as idle:
        idle.sendall(said)
        with contextlib.suppress(ConnectionResetError):
            while idle.recv(4096):
                pass


def test_a_connection_that_sends_a_byte_now_and_then_is_closed_too(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            _trickle(slow)


def _trickle(slow: socket.socket) -> None:
    for _ in range(300):
        slow.sendall(b"a")
        time.sleep(0.1)


def answer(port: int) -> str:
    return requests.get(f"http://127.0.0.1:{port}/", headers={"Connection": "close"}, timeout=30).text


def _connections(port: int) -> list[str]:
    """The ends of connections that are the server's."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return [line for line in lines if f":{port:04X}" in line.split()[1] and line.split()[3] == "01"]
