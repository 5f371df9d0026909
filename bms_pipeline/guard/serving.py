"""Serve pages within bounds, on a socket that is open before anything else starts.

uvicorn waits for ever for the first line of a request. So an idle connection is closed after some seconds. When too
many are open, the oldest idle one makes room: idle connections keep nobody out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from bms_pipeline.core.errors import PipelineError

REQUEST_SECONDS = 10.0
"""Longest time for the head of a request to arrive, and for its body."""
MOST_CONNECTIONS = 400
"""Most open connections if some are idle: below the limit of 1,024 open files a process."""
MOST_AT_WORK = 500
"""From this number on, requests are answered 503."""


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Return a socket listening on ``port`` (0: any free one). Raises ``PipelineError`` if it cannot."""
    try:
        listener = socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise PipelineError(
            f"Port {port} of {host} cannot be listened on: {error.strerror}.",
            "Stop what uses it (another `bms-pipeline dev`?), or choose another port.",
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(app: ASGIApp, listener: socket.socket, started: Callable[[], None] = lambda: None) -> None:
    """Serve ``app`` until SIGTERM or SIGINT. ``started`` is called once it answers."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

    Server(configured(app)).run([listener])


def configured(app: ASGIApp) -> uvicorn.Config:
    """Return the server's configuration: bounded, and without an access log, which would hold codes."""
    return uvicorn.Config(
        app,
        http=Bounded,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        limit_concurrency=MOST_AT_WORK,
        ws_max_size=2**20,
    )


class Bounded(H11Protocol):
    """A connection that is closed when it stays idle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # uvicorn's own
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._is_upgraded = False

    @property
    def is_at_work(self) -> bool:
        """Whether the server is answering a whole request."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room, and wait a limited time for a request."""
        waiting = [
            connection
            for connection in self.connections
            if isinstance(connection, Bounded) and not connection.is_at_work
        ]
        if len(self.connections) >= MOST_CONNECTIONS and waiting:
            min(waiting, key=lambda other: other.since).hang_up()
        super().connection_made(transport)
        self.since = self.loop.time()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Handle new data. The time limit runs on until a request is complete."""
        before = self.cycle
        super().data_received(data)
        if self.is_at_work or self._is_upgraded:
            self._stop_waiting()
        elif self.cycle is not before or self._timer is None:
            self._stop_waiting()
            self._wait()

    def handle_websocket_upgrade(self, event: Any) -> None:  # noqa: ANN401  # of h11
        """Hand the connection over: a WebSocket has its own rules."""
        self._is_upgraded = True
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Let uvicorn close the connection unless another request follows."""
        self._stop_waiting()
        self.since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def hang_up(self) -> None:
        """Close the connection at once."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(REQUEST_SECONDS, self.hang_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
