"""A stand-in on the loopback address, which ends with the process that started it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

_ORPHAN_CHECK_SECONDS = 0.5


def serve_app(
    app: ASGIApp, *, port: int = 0, ready: Callable[[str], None] = lambda url: None, parent: int | None = None
) -> None:
    """Serve ``app`` on the loopback address until SIGTERM or SIGINT, or until the process ``parent`` is gone.

    ``ready`` is called with the address once calls are answered.
    """
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        # Head and body of an answer are written apart; without this, each answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            log_level="critical",
            access_log=False,
            date_header=False,  # the service sends the date of its own clock
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_run(uvicorn.Server(config), listener, lambda: ready(url), parent))


async def _run(server: uvicorn.Server, listener: socket.socket, ready: Callable[[], None], parent: int | None) -> None:
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    ready()
    while not serving.done():
        if parent is not None and os.getppid() != parent:
            server.should_exit = True
        await asyncio.wait([serving], timeout=_ORPHAN_CHECK_SECONDS)
    await serving
