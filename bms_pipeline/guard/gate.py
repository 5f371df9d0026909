"""The door in front of an unmodified ASGI application: HTTP and WebSocket.

The application's calls that change anything are JSON by POST. So no other kind passes: no call by GET, no form, and no
body that a foreign page could send without a preflight.
"""

from __future__ import annotations

import html
from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bms_pipeline.guard.door import ENTER, Door, NotSignedIn, Visitor, VisitRefused

VISITOR = "bms_pipeline.visitor"
"""Key in the ASGI scope under which an application finds its ``Visitor``."""
MOST_BYTES = 32 * 1024 * 1024
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


class Gate:
    """Passes the requests accepted by ``door`` on to ``app``. Paths in ``calls`` refuse a query in a GET's address."""

    def __init__(self, app: ASGIApp, door: Door, *, calls: Collection[str] = ()) -> None:
        self._app, self._door, self._calls = app, door, calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection (ASGI)."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        answer = self._answer(connection)
        if isinstance(answer, Visitor):
            scope[VISITOR] = answer
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, _with_headers(send))

    def _answer(self, connection: HTTPConnection) -> Visitor | Response:
        """Return the visitor, or the response to a refused request."""
        try:
            if connection.scope["path"] == ENTER and connection.scope["type"] == "http":
                self._door.check_address(connection)
                return self._door.enter(connection) or sign_in_page(
                    NotSignedIn(), used="code" in connection.query_params, here=self._door.wanted(connection)
                )
            visitor = self._door.check(connection)
            self._check_call(connection)
        except VisitRefused as error:
            response = sign_in_page(error)
            if isinstance(error, NotSignedIn) and connection.scope["type"] == "http":
                self._door.remember_wanted(connection, response)
            return response
        return visitor

    def _check_call(self, connection: HTTPConnection) -> None:
        if connection.scope["type"] == "websocket":
            return
        is_post = connection.scope["method"] == "POST"
        if not is_post and connection.scope["query_string"] and connection.scope["path"].rstrip("/") in self._calls:
            raise VisitRefused(405, "A question in the address is not answered here.", "Send it as JSON, by POST.")
        if not is_post:
            return
        kinds, length = connection.headers.getlist("content-type"), connection.headers.get("content-length", "")
        if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
            raise VisitRefused(415, "Only JSON is taken here.", "Send it as application/json.")
        if not length.isdigit() or int(length) > MOST_BYTES:
            raise VisitRefused(413, f"More than {MOST_BYTES // 2**20} MB, or a body without its length.")


def sign_in_page(error: VisitRefused, *, used: bool = False, here: str = "") -> Response:
    """Return the page with the reason for a refusal. For a visitor without a session, it has a form for the code."""
    parts = ["This code was used already, or it is too old." if used else error.message, error.next_step]
    form = ""
    if isinstance(error, NotSignedIn):
        form = (
            f'<form action="{ENTER}"><label>One-time code <input name="code" autocomplete="off" autofocus></label>'
            " <button>Sign in</button></form>"
            f'<p>You came by a link, and signed in before? <a href="{html.escape(here)}">Open it</a></p>'
        )
    text = "".join(f"<p>{html.escape(part)}</p>" for part in parts if part)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in</title>'
    head += '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
    page = f"{head}<main><h1>Sign in</h1>{text}{form}</main></html>\n"
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(page, status_code=error.status, headers=headers)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
