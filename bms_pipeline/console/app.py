"""The application: all pages behind one guard, and how it is served."""

from __future__ import annotations

import logging
import socket
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware

from bms_pipeline.console import pages_after, pages_preview, pages_review, pages_setup
from bms_pipeline.console.security import ENTER, STATIC
from bms_pipeline.console.shell import Console, console_of
from bms_pipeline.errors import PipelineError
from bms_pipeline.settings import Settings

_log = logging.getLogger(__name__)

_STATIC = {
    "console.css": ("text/css", ("shared.css", "console/static/console.css")),
    "console.js": ("text/javascript", ("console/static/console.js",)),
}


def create_app(settings: Settings, port: int, env_file: Path = Path(".env")) -> FastAPI:
    """The console on the home folder of ``settings``; ``app.state.console.address`` is what opens it."""
    console = Console(settings, env_file, port)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        console.reading.start()
        try:
            yield
        finally:
            console.reading.close()

    app = FastAPI(title="BMS to Passportal", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.console = console
    app.add_middleware(BaseHTTPMiddleware, dispatch=_whole)
    app.add_middleware(BaseHTTPMiddleware, dispatch=console.guard)
    for pages in (pages_setup, pages_review, pages_preview, pages_after):
        app.include_router(pages.router)
    app.add_api_route(ENTER, _enter, methods=["GET"])
    app.add_api_route(STATIC + "{name}", _static, methods=["GET"])
    app.add_exception_handler(PipelineError, _failed)  # type: ignore[arg-type]  # called for nothing else
    app.add_exception_handler(HTTPException, _no_page)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _not_understood)  # type: ignore[arg-type]
    return app


def serve(settings: Settings, port: int, say: Callable[[str], None], *, show: bool = False) -> None:
    """Serve the console on 127.0.0.1 until Ctrl-C; ``say`` its address once it answers, ``show`` it in the browser.

    ``port`` 0 is any free one. Raises ``PipelineError`` where the port is taken.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise PipelineError(
            f"Port {port} cannot be listened on: {error.strerror}.", "Choose another: --port."
        ) from error
    with listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = create_app(settings, listener.getsockname()[1])

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                say(app.state.console.address)
                if show:
                    webbrowser.open(app.state.console.address)

        # Its access log would hold the token.
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        Server(config).run([listener])


async def _enter(request: Request, token: str = "") -> Response:
    console = console_of(request)
    return console.guard.enter(token) or console.refused(
        request, 403, "This is not the token of this console.", "Open the whole address that it printed."
    )


async def _static(name: str) -> Response:
    if name not in _STATIC:
        raise HTTPException(404)
    kind, files = _STATIC[name]
    text = "".join(resources.files("bms_pipeline").joinpath(each).read_text(encoding="utf-8") for each in files)
    return Response(text, media_type=kind)


def _failed(request: Request, error: PipelineError) -> Response:
    return console_of(request).failed(request, error)


def _no_page(request: Request, error: HTTPException) -> Response:
    message = "There is no such page." if error.status_code in (404, 405) else f"{error.detail}."
    return console_of(request).refused(request, error.status_code, message, "Choose one from the menu.")


def _not_understood(request: Request, _: RequestValidationError) -> Response:
    return console_of(request).refused(request, 400, "The address has a part that no page understands.", "Go back.")


async def _whole(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """A defect is told as a page, too, and never by a traceback."""
    try:
        return await proceed(request)
    except Exception as error:  # what was not raised on purpose
        _log.exception("A page failed.")
        return console_of(request).refused(
            request, 500, f"The console has a defect ({type(error).__name__}).", "Please report what you did."
        )
