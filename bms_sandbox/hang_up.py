"""A connection closed before any answer, so the client cannot know whether its call took effect."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_CONNECTION = "sandbox.connection"


class HangUp(Response):
    """An answer never sent. The application must be wrapped in ``able_to_hang_up``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection."""
        scope["extensions"][_CONNECTION].close()
        while (await receive())["type"] != "http.disconnect":
            pass


def able_to_hang_up(app: ASGIApp) -> ASGIApp:
    """Wrap ``app`` for ``HangUp``: ASGI itself gives no way to end a connection without an answer."""

    async def with_connection(scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn's ``send`` is a method of the connection's owner; elsewhere there is nothing to close.
        cycle: Any = getattr(send, "__self__", None)
        scope["extensions"] = {**(scope.get("extensions") or {}), _CONNECTION: getattr(cycle, "transport", None)}
        await app(scope, receive, send)

    return with_connection
