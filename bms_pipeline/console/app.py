"""The web application: every page behind one guard, and the server that serves it."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware

from bms_pipeline.console.context import FAILED, Console, NotFound, console_of
from bms_pipeline.console.pages import compare, fields, health, history, loads, preview, refused, review, setup
from bms_pipeline.console.security import STATIC
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.settings import Settings
from bms_pipeline.guard import serving as guard
from bms_pipeline.guard.door import ENTER, NotSignedIn
from bms_pipeline.guard.gate import sign_in_page

_log = logging.getLogger(__name__)

_STATIC = {
    "console.css": ("text/css", ("reports/templates/shared.css", "console/static/console.css")),
    "icon.svg": ("image/svg+xml", ("console/static/icon.svg",)),
    "console.js": (
        "text/javascript",
        ("console/static/moments.js", "console/static/console.js", "console/static/walk.js"),
    ),
}


def create_app(settings: Settings, port: int, env_file: Path = Path(".env")) -> FastAPI:
    """Create the console for the home folder of ``settings``.

    ``app.state.console.new_address()`` returns an address to open it.
    """
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
    for pages in (setup, fields, compare, review, preview, history, loads, refused, health):
        app.include_router(pages.router)
    app.add_api_route(ENTER, _enter, methods=["GET"])
    app.add_api_route(FAILED + "{number:int}", _failure, methods=["GET"])
    app.add_api_route(STATIC + "{name}", _static, methods=["GET"])
    app.add_exception_handler(PipelineError, _failed)  # type: ignore[arg-type]  # called for nothing else
    app.add_exception_handler(HTTPException, _no_page)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _not_understood)  # type: ignore[arg-type]
    return app


def serve_console(settings: Settings, listener: socket.socket, started: Callable[[Console], None]) -> None:
    """Serve the console on ``listener`` until Ctrl-C, and call ``started`` once it answers."""
    with listener:
        app = create_app(settings, listener.getsockname()[1])
        console: Console = app.state.console
        try:
            with console.guard.door.store.serving("console", console.origin):
                guard.serve(app, listener, lambda: started(console))
        finally:
            console.runs.end()
            console.examinations.end()


async def _enter(request: Request) -> Response:
    door = console_of(request).guard.door
    used = "code" in request.query_params
    return door.enter(request) or sign_in_page(NotSignedIn(), used=used, here=door.wanted(request))


async def _static(name: str) -> Response:
    if name not in _STATIC:
        raise HTTPException(404)
    kind, files = _STATIC[name]
    text = "".join(resources.files("bms_pipeline").joinpath(file).read_text(encoding="utf-8") for file in files)
    return Response(text, media_type=kind)


def _failed(request: Request, error: PipelineError) -> Response:
    return console_of(request).failed(request, error)


async def _failure(request: Request, number: int) -> Response:
    failure = request.state.session.failures.get(number)
    if failure is None:
        raise NotFound("This message is not kept any more.", "Choose a page from the menu.")
    return console_of(request).failure_page(request, failure)


def _no_page(request: Request, error: HTTPException) -> Response:
    message = "There is no such page." if error.status_code in (404, 405) else f"{error.detail}."
    return console_of(request).refused(request, error.status_code, message, "Choose one from the menu.")


def _not_understood(request: Request, _: RequestValidationError) -> Response:
    return console_of(request).refused(request, 400, "The address has a part that no page understands.", "Go back.")


async def _whole(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """Show a defect as a page, never as a traceback."""
    try:
        return await proceed(request)
    except Exception as error:  # any error that no code of ours raised on purpose
        _log.exception("A page failed.")
        return console_of(request).refused(
            request, 500, f"The console has a defect ({type(error).__name__}).", "Please report what you did."
        )
