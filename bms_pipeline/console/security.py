"""Access control of the console: every request passes here first.

The guard shares its door with Dagster's pages (``guard.door``). A request that changes anything must be one of our
forms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from bms_pipeline.guard.door import ENTER, Door, NotSignedIn, VisitRefused
from bms_pipeline.guard.gate import sign_in_page
from bms_pipeline.reconcile.undo import Undo

NAME = "/name"
STATIC = "/static/"
MOST_BYTES = 512 * 1024
MOST_FIELDS = 5_000
MOST_SESSIONS = 1_000
FORM_SECONDS = 30.0
"""A form must arrive within this time."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


Refuse = Callable[[Request, int, str, str], Response]
"""Makes the page for a refused request: status, what happened, next step."""


@dataclass(frozen=True)
class Done:
    """A decision of this session: what happened, in words, what changed with it, and its undo.

    ``is_refused``: it was not taken.
    """

    text: str
    changes: tuple[str, ...] = ()
    undo: Undo | None = None
    is_refused: bool = False


@dataclass
class Session:
    """One signed-in browser, with the messages its next page shows once.

    ``news``: the decisions that the next list shows once. ``done``: those that can be undone, the last one last.
    """

    id: str
    told: list[str] = field(default_factory=list)
    news: list[Done] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)


class SubmittedForm:
    """The content of one of our forms: the texts of each field, in their order."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields

    def all(self, name: str) -> list[str]:
        """Return every text of one field."""
        return [text for field_name, text in self.fields if field_name == name]

    def get(self, name: str, default: str = "") -> str:
        """Return the first text of one field."""
        return next(iter(self.all(name)), default)

    def __contains__(self, name: str) -> bool:
        return any(field_name == name for field_name, _ in self.fields)


class Guard:
    """Lets a request through or refuses it."""

    def __init__(self, door: Door, refuse: Refuse) -> None:
        self.door = door
        self._refuse = refuse
        self._sessions: dict[str, Session] = {}

    async def __call__(self, request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer ``request`` with the page it asks for, or with one that explains the refusal."""
        try:
            self.door.check_address(request)
            if request.url.path != ENTER and not request.url.path.startswith(STATIC):
                self._find_session(request)
            if request.method == "POST":
                await self._read_form(request)
            knows_who = getattr(request.state, "name", "?") or request.url.path == NAME
            response = await proceed(request) if knows_who else RedirectResponse(NAME, status_code=303)
        except NotSignedIn as error:
            response = sign_in_page(error)
        except VisitRefused as error:
            response = self._refuse(request, error.status, error.message, error.next_step)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    def csrf(self, session: Session, action: str) -> str:
        """Return the CSRF token for a form of ``session`` that is sent to ``action``."""
        return self.door.store.sign("form", f"{session.id}\n{action}")

    def _find_session(self, request: Request) -> None:
        visitor = self.door.check(request)
        while len(self._sessions) >= MOST_SESSIONS and visitor.session not in self._sessions:
            self._sessions.pop(next(iter(self._sessions)))
        request.state.session = self._sessions.setdefault(visitor.session, Session(visitor.session))
        request.state.name = visitor.name

    async def _read_form(self, request: Request) -> None:
        """Put the content of a POST into ``request.state.form``, if it is one of our forms."""
        kind = request.headers.get("content-type", "").split(";")[0].strip()
        length = request.headers.get("content-length", "")
        if kind != "application/x-www-form-urlencoded" or not length.isdigit() or int(length) > MOST_BYTES:
            raise VisitRefused(400, "This is no form of the console's.")
        try:
            text = (await asyncio.wait_for(request.body(), FORM_SECONDS)).decode("ascii")
            form = SubmittedForm(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
        except (ValueError, TimeoutError):
            raise VisitRefused(400, "This form cannot be read.", "Open the page again.") from None
        session = getattr(request.state, "session", None)
        action = request.url.path
        if not session or not self.door.store.is_signed("form", f"{session.id}\n{action}", form.get("csrf")):
            raise VisitRefused(
                403, "This form is not one that the console gave to this browser.", "Open the page again."
            )
        request.state.form = form
