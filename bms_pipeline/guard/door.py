"""Whether a connection may come in: the address it names, the page it comes from, the session it has.

The pages listen on the loopback address, where any page that is open in the browser, and any user of the machine, could
reach them. So a request has to name the address that it was meant for (no DNS rebinding), come from one of our own
pages to change anything, and have the session that a one-time code opened.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from bms_pipeline.guard.store import Store
from bms_pipeline.settings import Settings

ENTER = "/enter"
SESSION_SECONDS = 24 * 3600
LONGEST_NAME = 60
_NAME_SECONDS = 365 * 86400
_BY_PROXY = "proxy"


class Refused(Exception):
    """A request that does not come in: HTTP status, what happened, what to do."""

    def __init__(self, status: int, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.next_step = status, message, next_step


class NotSignedIn(Refused):
    """A request without a session: a code opens one."""

    def __init__(self) -> None:
        super().__init__(
            403,
            "This browser has not signed in.",
            "Run `bms-pipeline sign-in` on the machine that serves this page, and open the address that it prints.",
        )


@dataclass(frozen=True)
class Visitor:
    """Who came in: the id of the session, and the name that the person gave (empty: none)."""

    session: str
    name: str


class Door:
    """The door of the pages that listen on ``port``. With ``proxy`` the operator's own log-in stands in front."""

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
        """The door of these settings; ``behind_proxy``: these pages may rely on the operator's own log-in."""
        hosts = [host.strip().lower() for host in settings.bms_pipeline_hosts.split(",") if host.strip()]
        proxy = behind_proxy and settings.bms_pipeline_trusted_proxy
        return cls(Store(settings.guard_folder), port, hosts=hosts, proxy=proxy)

    def check(self, connection: HTTPConnection) -> Visitor:
        """Who comes in with ``connection``. Raises ``Refused``."""
        self.check_address(connection)
        visitor = self.visitor(connection)
        if visitor is None:
            raise NotSignedIn
        return visitor

    def check_address(self, connection: HTTPConnection) -> None:
        """Raises ``Refused`` for a request that names another address, or that another page sent."""
        hosts = connection.headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._own:
            raise Refused(400, "This address is not ours.", "Open the address that `bms-pipeline sign-in` prints.")
        is_socket = connection.scope["type"] == "websocket"
        method = "GET" if is_socket else connection.scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            raise Refused(405, f"{method[:10]} is not known here.")
        if (is_socket or method == "POST") and not self._is_from_own_page(connection, is_socket=is_socket):
            raise Refused(403, "This was sent from another page than our own.", "Open our page, and do it there.")
        if method != "POST" and not _is_wanted(connection):
            raise Refused(403, "Another page asked for this.", "Open it in a tab of its own.")

    def visitor(self, connection: HTTPConnection) -> Visitor | None:
        """Who has the session of ``connection``, if it has one."""
        if self._proxy:
            return Visitor(_BY_PROXY, "")
        session, _, signed = connection.cookies.get(self.cookie, "").partition(".")
        since, _, signature = signed.partition(".")
        if not self.store.is_signed("session", f"{session}.{since}", signature) or not since.isdigit():
            return None
        if abs(time.time() - int(since)) > SESSION_SECONDS:  # one from the future would not end for as long
            return None
        return Visitor(session, cleaned_name(unquote(connection.cookies.get(self.name_cookie, ""))))

    def enter(self, connection: HTTPConnection) -> Response | None:
        """Open a session for the code in the address, and go on to the first page; None where it opens none.

        A page of our own leads on, and no redirect: a browser that came from elsewhere sends its cookie only then.
        """
        code = connection.query_params.get("code", "")
        if self.visitor(connection) is not None:
            return _onwards()
        if connection.scope["method"] != "GET" or not code or not self.store.take_code(code):
            return None
        session = f"{secrets.token_urlsafe(24)}.{int(time.time())}"
        response = _onwards()
        response.set_cookie(
            self.cookie,
            f"{session}.{self.store.sign('session', session)}",
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            path="/",
        )
        return response

    def remember_name(self, response: Response, name: str) -> None:
        """Keep the person's ``name`` in this browser for a year."""
        response.set_cookie(
            self.name_cookie, quote(name), max_age=_NAME_SECONDS, httponly=True, samesite="strict", path="/"
        )

    @property
    def cookie(self) -> str:
        """The name of the session's cookie: one for each home folder, since cookies do not tell ports apart."""
        return f"bms_pipeline_{self.store.sign('cookie', '')[:12]}"

    @property
    def name_cookie(self) -> str:
        """The name of the cookie that keeps the person's name."""
        return f"{self.cookie}_name"

    def _is_from_own_page(self, connection: HTTPConnection, *, is_socket: bool) -> bool:
        origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
        host = connection.headers.get("host", "").lower()
        own = [each for each in self._origins if each.partition("://")[2] == host]
        if site is None:
            return origin in own
        # Under our referrer policy browsers send "null" for a form of our own; only the site tells it from others'.
        return site == "same-origin" and origin in (own if is_socket else [*own, "null"])


def cleaned_name(text: str) -> str:
    """A person's name as decisions keep it: one line, nothing invisible, not too long."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:LONGEST_NAME]


def _is_wanted(connection: HTTPConnection) -> bool:
    """Whether the person opened a page, or one of our own pages asks: a foreign page may link, and nothing else."""
    if connection.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return True
    mode, destination = connection.headers.get("sec-fetch-mode"), connection.headers.get("sec-fetch-dest")
    return mode == "navigate" and destination == "document"


def _onwards() -> Response:
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
        '<title>Signed in</title><p>You are signed in. <a href="/">Go on</a></p></html>\n'
    )
    return HTMLResponse(page)
