"""Who may use the console, and from where: every request passes here first.

It listens on the loopback address, where any page that is open in the browser, and any user of the machine, could
reach it. So a request has to name the address that it was meant for (no DNS rebinding), come with the session that the
printed address opened, and, to change anything, from a form of our own.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from fastapi import Request, Response
from starlette.responses import RedirectResponse

ENTER = "/enter"
NAME = "/name"
STATIC = "/static/"
LONGEST_NAME = 60
MOST_BYTES = 512 * 1024
MOST_FIELDS = 5_000
MOST_SESSIONS = 1_000
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


class Refused(Exception):
    """A request that the guard does not let through: HTTP status, what happened, what to do."""

    def __init__(self, status: int, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.next_step = status, message, next_step


Refuse = Callable[[Request, int, str, str], Response]
"""Makes the page that refuses a request: status, what happened, what to do."""


@dataclass
class Session:
    """One browser that opened the printed address; ``told`` is what the next page tells it, once."""

    id: str
    told: list[str] = field(default_factory=list)


class Form:
    """What a form of ours sent: each field's texts, in their order."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields

    def all(self, name: str) -> list[str]:
        """Every text of one field."""
        return [text for each, text in self.fields if each == name]

    def get(self, name: str, default: str = "") -> str:
        """The first text of one field."""
        return next(iter(self.all(name)), default)

    def __contains__(self, name: str) -> bool:
        return any(each == name for each, _ in self.fields)


class Guard:
    """Lets a request through or refuses it. ``token`` opens a session; ``port`` is where the console listens."""

    def __init__(self, port: int, refuse: Refuse) -> None:
        self.token = secrets.token_urlsafe(32)
        self._refuse = refuse
        self._key = secrets.token_bytes(32)
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        # Cookies do not tell ports apart, and another console may be open in the same browser.
        self._cookie, self._name_cookie = f"bms_console_{port}", f"bms_console_name_{port}"
        self._sessions: dict[str, Session] = {}

    async def __call__(self, request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer ``request``: by the page it asks for, or by one that says why not."""
        try:
            self._check_address(request)
            if request.url.path != ENTER and not request.url.path.startswith(STATIC):
                self._find_session(request)
            if request.method == "POST":
                await self._read_form(request)
            knows_who = getattr(request.state, "name", "?") or request.url.path == NAME
            response = await proceed(request) if knows_who else RedirectResponse(NAME, status_code=303)
        except Refused as error:
            response = self._refuse(request, error.status, error.message, error.next_step)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response

    def csrf(self, session: Session, action: str) -> str:
        """What a form of ``session`` that is sent to ``action`` has to bring along."""
        return hmac.new(self._key, f"{session.id}\n{action}".encode(), "sha256").hexdigest()

    def enter(self, token: str) -> Response | None:
        """A new session for a browser that brings the token; None for one that does not."""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return None
        session = Session(secrets.token_urlsafe(32))
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        self._sessions[session.id] = session
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(self._cookie, session.id, httponly=True, samesite="strict", path="/")
        return response

    def remember_name(self, response: Response, name: str) -> None:
        """Let this browser's decisions bear ``name`` for a year."""
        response.set_cookie(
            self._name_cookie, quote(name), max_age=365 * 86400, httponly=True, samesite="strict", path="/"
        )

    def _check_address(self, request: Request) -> None:
        if request.headers.get("host", "") not in self._hosts:
            raise Refused(
                400, "This address is not the console's.", "Open the address that `bms-pipeline console` printed."
            )
        if request.method not in ("GET", "HEAD", "POST"):
            raise Refused(405, f"The console does not know {request.method[:10]}.")
        if request.method == "POST" and not self._is_from_own_page(request.headers):
            raise Refused(
                403, "This was sent from another page than the console's own.", "Open the console, and do it there."
            )

    def _find_session(self, request: Request) -> None:
        session = self._sessions.get(request.cookies.get(self._cookie, ""))
        if session is None:
            raise Refused(
                403,
                "This browser has not opened the console yet, or the console was started again since.",
                "Open the whole address that `bms-pipeline console` printed, with its token.",
            )
        request.state.session = session
        request.state.name = cleaned_name(unquote(request.cookies.get(self._name_cookie, "")))

    def _is_from_own_page(self, headers: Mapping[str, str]) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        own = [f"http://{each}" for each in self._hosts if each == headers.get("host")]
        if site is None:
            return origin in own
        # Under our referrer policy browsers send "null" for a form of our own; only the site tells it from others'.
        return site == "same-origin" and origin in (*own, "null")

    async def _read_form(self, request: Request) -> None:
        """Put what a POST brings along into ``request.state.form``, if it is one of our forms."""
        kind = request.headers.get("content-type", "").split(";")[0].strip()
        length = request.headers.get("content-length", "")
        if kind != "application/x-www-form-urlencoded" or not length.isdigit() or int(length) > MOST_BYTES:
            raise Refused(400, "This is no form of the console's.")
        try:
            text = (await request.body()).decode("ascii")
            form = Form(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"))
        except ValueError:
            raise Refused(400, "This form cannot be read.", "Open the page again.") from None
        session = getattr(request.state, "session", None)
        expected = self.csrf(session, request.url.path) if session else ""
        if not expected or not hmac.compare_digest(form.get("csrf").encode(), expected.encode()):
            raise Refused(403, "This form is not one that the console gave to this browser.", "Open the page again.")
        request.state.form = form


def cleaned_name(text: str) -> str:
    """A person's name as decisions bear it: one line, nothing invisible, not too long."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:LONGEST_NAME]
