"""Check a connection: the address it names, the page it comes from, its session.

The pages listen on the loopback address. Any page open in the browser, and any user of the machine, could reach them.
So each request has to name our own address (no DNS rebinding) and have a session, which a one-time code opens. A
request that changes anything has to come from one of our own pages.
"""

from __future__ import annotations

import html
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from bms_pipeline.core.settings import Settings
from bms_pipeline.guard.store import Store

ENTER = "/enter"
SESSION_SECONDS = 24 * 3600
LONGEST_NAME = 60
LONGEST_ADDRESS = 2_000
_NAME_SECONDS = 365 * 86400
_WANTED_SECONDS = 900
_BY_PROXY = "proxy"


class VisitRefused(Exception):
    """A refused request: HTTP status, what happened, next step."""

    def __init__(self, status: int, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.next_step = status, message, next_step


class NotSignedIn(VisitRefused):
    """A request without a session. A code opens one."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "This browser has not signed in.",
            "Run `bms-pipeline sign-in` on the machine that serves this page, and open the address that it prints.",
        )


@dataclass(frozen=True)
class Visitor:
    """The person behind a session: the session's id, and the person's name (empty: none)."""

    session: str
    name: str


class Door:
    """The access check for the pages on ``port``. With ``proxy``, the operator's own log-in is in front of them."""

    def __init__(self, store: Store, port: int, *, hosts: Collection[str] = (), proxy: bool = False) -> None:
        self.store = store
        self._own = {f"{host}:{port}" for host in ("127.0.0.1", "localhost")}
        self._origins = {f"http://{host}" for host in self._own}
        if proxy:
            self._own |= set(hosts)
            self._origins |= {f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")}
        self._proxy = proxy

    @classmethod
    def of(cls, settings: Settings, port: int, *, behind_proxy: bool = False) -> Door:
        """Return the door for these settings; ``behind_proxy``: these pages may rely on the operator's own log-in."""
        hosts = [host.strip().lower() for host in settings.bms_pipeline_hosts.split(",") if host.strip()]
        proxy = behind_proxy and settings.bms_pipeline_trusted_proxy
        return cls(Store(settings.guard_folder), port, hosts=hosts, proxy=proxy)

    def check(self, connection: HTTPConnection) -> Visitor:
        """Return the visitor of ``connection``. Raises ``VisitRefused``."""
        self.check_address(connection)
        visitor = self.visitor(connection)
        if visitor is None:
            raise NotSignedIn
        return visitor

    def check_address(self, connection: HTTPConnection) -> None:
        """Raise ``VisitRefused`` for a request that names another address or comes from another page."""
        hosts = connection.headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._own:
            raise VisitRefused(400, "This address is not ours.", "Open the address that `bms-pipeline sign-in` prints.")
        is_socket = connection.scope["type"] == "websocket"
        method = "GET" if is_socket else connection.scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            raise VisitRefused(405, f"{method[:10]} is not known here.")
        if (is_socket or method == "POST") and not self._is_from_own_page(connection, is_socket=is_socket):
            raise VisitRefused(403, "This was sent from another page than our own.", "Open our page, and do it there.")
        if method != "POST" and not _is_wanted(connection):
            raise VisitRefused(403, "Another page asked for this.", "Open it in a tab of its own.")

    def visitor(self, connection: HTTPConnection) -> Visitor | None:
        """Return the visitor with the session of ``connection``; ``None`` without a session."""
        if self._proxy:
            return Visitor(_BY_PROXY, "")
        session, _, signed = connection.cookies.get(self.cookie, "").partition(".")
        since, _, signature = signed.partition(".")
        if not self.store.is_signed("session", f"{session}.{since}", signature) or not since.isdigit():
            return None
        if abs(time.time() - int(since)) > SESSION_SECONDS:  # a start in the future would not expire for as long
            return None
        return Visitor(session, cleaned_name(unquote(connection.cookies.get(self.name_cookie, ""))))

    def enter(self, connection: HTTPConnection) -> Response | None:
        """Open a session for the code in the address and go on to the first page; ``None`` if the code is not valid.

        The answer is a page and not a redirect: after a visit from another site, a browser sends its cookie only then.
        """
        code, wanted = connection.query_params.get("code", ""), self.wanted(connection)
        if self.visitor(connection) is not None:
            return self._onwards(wanted)
        if connection.scope["method"] != "GET" or not code or not self.store.take_code(code):
            return None
        session = f"{secrets.token_urlsafe(24)}.{int(time.time())}"
        response = self._onwards(wanted)
        response.set_cookie(
            self.cookie,
            f"{session}.{self.store.sign('session', session)}",
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            path="/",
        )
        return response

    def wanted(self, connection: HTTPConnection) -> str:
        """Return the local address that a visitor asked for before the log-in; ``/`` without one."""
        address = unquote(connection.cookies.get(self.wanted_cookie, ""))
        return address if is_local(address) else "/"

    def remember_wanted(self, connection: HTTPConnection, response: Response) -> None:
        """Keep the address of a page asked for without a session, to open it after the log-in."""
        path, query = connection.scope["path"], connection.scope["query_string"].decode("latin-1")
        address = f"{quote(path)}?{query}" if query else quote(path)
        is_navigation = connection.headers.get("sec-fetch-mode", "navigate") == "navigate"
        if is_navigation and connection.scope["method"] == "GET" and path != ENTER and is_local(address):
            response.set_cookie(
                self.wanted_cookie, quote(address), max_age=_WANTED_SECONDS, httponly=True, samesite="strict", path="/"
            )

    def remember_name(self, response: Response, name: str) -> None:
        """Keep the person's ``name`` in this browser for a year."""
        response.set_cookie(
            self.name_cookie, quote(name), max_age=_NAME_SECONDS, httponly=True, samesite="strict", path="/"
        )

    @property
    def cookie(self) -> str:
        """Name of the session's cookie. Each home folder has its own, because cookies do not distinguish ports."""
        return f"bms_pipeline_{self.store.sign('cookie', '')[:12]}"

    @property
    def name_cookie(self) -> str:
        """Name of the cookie with the person's name."""
        return f"{self.cookie}_name"

    @property
    def wanted_cookie(self) -> str:
        """Name of the cookie with the address that a visitor asked for before the log-in."""
        return f"{self.cookie}_wanted"

    def _onwards(self, address: str) -> Response:
        """Return the page that leads to ``address`` after the log-in, which is forgotten with that."""
        shown = html.escape(address)
        response = HTMLResponse(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={shown}">'
            f'<title>Signed in</title><p>You are signed in. <a href="{shown}">Go on</a></p></html>\n'
        )
        response.delete_cookie(self.wanted_cookie, path="/", httponly=True, samesite="strict")
        return response

    def _is_from_own_page(self, connection: HTTPConnection, *, is_socket: bool) -> bool:
        origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
        host = connection.headers.get("host", "").lower()
        own = [allowed for allowed in self._origins if allowed.partition("://")[2] == host]
        if site is None:
            return origin in own
        # Under our referrer policy, browsers send "null" for our own forms. Only the site distinguishes them from
        # others'.
        return site == "same-origin" and origin in (own if is_socket else [*own, "null"])


def cleaned_name(text: str) -> str:
    """Return a person's name as decisions store it: one line, nothing invisible, not too long."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:LONGEST_NAME]


def is_local(address: str) -> bool:
    """Return whether ``address`` leads to a page of ours and nowhere else, as every browser reads it.

    A browser drops control characters, reads a backslash as ``/``, and takes what follows ``//`` for another host.
    """
    return (
        address.startswith("/")
        and not address.startswith("//")
        and "\\" not in address
        and address.isprintable()
        and len(address) <= LONGEST_ADDRESS
    )


def _is_wanted(connection: HTTPConnection) -> bool:
    """Return whether a person opened the page or one of our own pages asks. A foreign page may only link to it."""
    if connection.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return True
    mode, destination = connection.headers.get("sec-fetch-mode"), connection.headers.get("sec-fetch-dest")
    return mode == "navigate" and destination == "document"
