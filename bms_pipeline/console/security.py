"""Access control of the console: every request passes here first.

The guard shares its door with Dagster's pages (``guard.door``). A request for a change must be one of our
forms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from urllib.parse import parse_qsl, quote

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.guard.door import ENTER, Door, NotSignedIn, VisitRefused, is_local
from bms_pipeline.guard.gate import sign_in_page
from bms_pipeline.reconcile.undo import Undo
from bms_pipeline.sync.mapping import Foretold

NAME = "/name"
STATIC = "/static/"
OPEN = frozenset({"/healthz", "/metrics"})
"""Pages for monitoring, without log-in: they hold counts and no record. They are for GET only, as everything is that
needs no form of ours."""
MOST_BYTES = 512 * 1024
MOST_UPLOADED = 8 * 1024 * 1024
UPLOADS = ("/setup/users-file",)
"""Forms with a file."""
MOST_FIELDS = 5_000
MOST_SESSIONS = 1_000
MOST_FAILURES = 5
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
class Attempt:
    """A refused form: why, the texts entered, and the secrets entered, which no page shows.

    ``is_incomplete``: its fields show everything wrong with it.
    """

    error: PipelineError
    entered: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_incomplete: bool = False


@dataclass(frozen=True)
class Failure:
    """A failed request: its path and error, and its form's fields if they may be sent again."""

    path: str
    error: PipelineError
    again: list[tuple[str, str]] | None
    back: str | None


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
    """One signed-in browser.

    ``told`` are the messages its next page shows once, ``attempts`` the refused forms of Set-up, and
    ``failures`` the last failed requests by number, for the pages with their explanation. ``news``: the decisions the
    next list shows once. ``done``: the decisions a person can undo, the last one last. ``mapping``: the draft of
    *Fields*, and ``foretold`` what it would do, with its hash.
    """

    id: str
    told: list[str] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    is_authenticated: bool = False
    mapping: FieldMapping | None = None
    foretold: tuple[str, Foretold] | None = None
    news: list[Done] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)

    def remember(self, failure: Failure) -> int:
        """Keep ``failure`` and forget the oldest ones; return its number."""
        number = max(self.failures, default=0) + 1
        self.failures[number] = failure
        for old in sorted(self.failures)[:-MOST_FAILURES]:
            del self.failures[old]
        return number


class SubmittedForm:
    """The content of one of our forms: the texts of each field, in their order, and its files by field."""

    def __init__(self, fields: list[tuple[str, str]], files: Mapping[str, bytes] | None = None) -> None:
        self.fields = fields
        self.files = files or {}

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
        """Answer ``request`` with the page it asks for, or with an explanation of the refusal."""
        try:
            self.door.check_address(request)
            path = request.url.path
            if path != ENTER and path not in OPEN and not path.startswith(STATIC):
                self._find_session(request)
            if request.method == "POST":
                await self._read_form(request)
            knows_who = getattr(request.state, "name", "?") or path == NAME
            response = await proceed(request) if knows_who else RedirectResponse(_ask_name(request), status_code=303)
        except NotSignedIn as error:
            response = sign_in_page(error)
            self.door.remember_wanted(request, response)
        except VisitRefused as error:
            response = self._refuse(request, error.status, error.message, error.next_step)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    def csrf(self, session: Session, action: str) -> str:
        """Return the CSRF token for a form of ``session`` sent to ``action``."""
        return self.door.store.sign("form", f"{session.id}\n{action}")

    def _find_session(self, request: Request) -> None:
        visitor = self.door.check(request)
        while len(self._sessions) >= MOST_SESSIONS and visitor.session not in self._sessions:
            self._sessions.pop(next(iter(self._sessions)))
        request.state.session = self._sessions.setdefault(visitor.session, Session(visitor.session))
        request.state.name = visitor.name

    async def _read_form(self, request: Request) -> None:
        """Put the content of a POST into ``request.state.form``, if it is one of our forms."""
        kind, length = request.headers.get("content-type", ""), request.headers.get("content-length", "")
        bare_kind = kind.split(";")[0].strip()
        is_upload = bare_kind == "multipart/form-data" and request.url.path in UPLOADS
        if not length.isdigit() or not (is_upload or bare_kind == "application/x-www-form-urlencoded"):
            raise VisitRefused(400, "Unrecognised form submission.", "Open the page again.")
        most = MOST_UPLOADED if is_upload else MOST_BYTES
        if int(length) > most:
            raise VisitRefused(413, f"The form is larger than {most // 1024:,} KB.", "Choose less, or a smaller file.")
        try:
            body = await asyncio.wait_for(request.body(), FORM_SECONDS)
            form = _form_with_files(kind, body) if is_upload else _form_of(body)
        except (ValueError, TimeoutError):
            raise VisitRefused(400, "This form cannot be read.", "Open the page again.") from None
        session = getattr(request.state, "session", None)
        action = request.url.path
        if not session or not self.door.store.is_signed("form", f"{session.id}\n{action}", form.get("csrf")):
            raise VisitRefused(
                403, "This form is not one that the console gave to this browser.", "Open the page again."
            )
        request.state.form = form


def _form_of(body: bytes) -> SubmittedForm:
    """Return the form in ``body``. Raises ``ValueError``."""
    text = body.decode("ascii")
    return SubmittedForm(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))


def _form_with_files(kind: str, body: bytes) -> SubmittedForm:
    """Return the form in a ``multipart/form-data`` body. Raises ``ValueError``."""
    message = message_from_bytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body, policy=policy.HTTP)
    fields: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise ValueError("a part of the form has no name or no content")
        if part.get_filename() is None:
            fields.append((name, content.decode("utf-8")))
        else:
            files[name] = content
    return SubmittedForm(fields, files)


def _ask_name(request: Request) -> str:
    """Return the address of the page for entering a name, which leads on to the page asked for now."""
    wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    is_kept = request.method == "GET" and wanted != "/" and is_local(wanted)
    return f"{NAME}?then={quote(wanted, safe='/')}" if is_kept else NAME
