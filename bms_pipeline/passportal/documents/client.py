"""A client of Passportal's Documents API v2: sign-in, lists, one document, writes. Knows nothing of entities.

Facts: an access key is exchanged for a token, which goes into ``x-access-token`` [D][C]; lists end with an empty or
null page and have no total [C]; ``success`` is a boolean or a text [D]; a failure can come as HTTP 200 [C]. So only
``success`` being true is success, and an unreadable answer is never taken for "no documents".

Reads are tried again where this may help. A write is sent once: its sender checks whether it took effect. It is sent
again only after an answer of having done nothing (an expired token, HTTP 429).
"""

from __future__ import annotations

import email.utils
import hashlib
import hmac
import json
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Self

import msgspec

from bms_pipeline.core.errors import (
    AccessRefused,
    AnswerUnreadable,
    LoginRefused,
    PipelineError,
    RequestRefused,
    ServiceUnreachable,
    SettingsError,
)
from bms_pipeline.core.http import LOST, Answer, Retries, Service, checked_address
from bms_pipeline.core.settings import PASSPORTAL_NEEDS, Settings, check_given
from bms_pipeline.core.text import printable
from bms_pipeline.passportal.documents.encoding import decoded_name

TOKEN = "/api/v2/auth/client_token"  # noqa: S105  # a path
DOCUMENTS = "/api/v2/documents"
OTHER_LIST = f"{DOCUMENTS}/all"
"""Where documents are listed if not at ``DOCUMENTS`` [C][L]."""
CLIENTS = f"{DOCUMENTS}/clients"
PAGE_SIZE = 500
"""Rows to ask for; reading goes on even if a service gives fewer."""
LAST_PAGE = 9999
"""The highest ``pageNum`` [D]."""
MARGIN_SECONDS = 60.0
"""A token is replaced this long before it expires (or a quarter of its life, if that is less)."""
LONGEST_LIFE_SECONDS = 30 * 86400.0
TAKES_NO_JSON = frozenset({400, 415, 422})
"""The refusal of a JSON sign-in where the service requires a form [C]."""
KEY_UNKNOWN, HASH_WRONG, TOKEN_INVALID = 1000, 1001, 1006
"""Codes: key verification failed [D]; the hash does not verify [G], where that has a code of its own; no token [D]."""

CUSTOM_ID_ADVICE = (
    "Before the first load, try PASSPORTAL_MARKER=custom_id: a load then reads no document that it created."
    " If this tenant does not keep it, the first document shows that, and nothing else is sent."
)

Row = dict[str, Any]
"""A row of a list or a document, as it came."""


@dataclass(frozen=True)
class Read:
    """A document as it came, and when the service sent it (its own clock, seconds since the epoch)."""

    document: Row
    at: float


@dataclass(frozen=True)
class Access:
    """The reach of a key: the address, the number of its clients, and whether there are documents.

    ``advice``: one sentence about a setting that may be better, empty if there is none.
    """

    url: str
    clients: int
    has_documents: bool
    advice: str = ""


@dataclass(frozen=True)
class KeyExchange:
    """The sign-in that Passportal took: whether as a form, how it stated the expiry, and the token's seconds if known.

    ``is_form``: as a form, after it refused JSON. ``is_text``: ``expiry_time`` came as a text.
    """

    is_form: bool
    is_text: bool
    seconds: float | None


class DocumentsClient:
    """A signed-in key of one Passportal; signs in on first use. Safe to share between ``connections`` threads.

    Every method may raise ``SettingsError``, ``LoginRefused``, ``AccessRefused``, ``RequestRefused``,
    ``AnswerUnreadable``, ``CertificateRefused``, ``RedirectRefused`` or ``ServiceUnreachable``. ``before_write``
    is called before each try of a write, ``before_read`` before each of any other call. ``tries``: how often a call is
    made in all while its failure may pass. ``clock`` and ``sleep`` are for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        deadline_seconds: float = 60.0,
        before_write: Callable[[], None] | None = None,
        before_read: Callable[[], None] | None = None,
        tries: int = 4,
    ) -> None:
        self._settings = settings
        self._before_write = before_write
        self._before_read = before_read
        self._clock = clock
        self._retries = Retries(tries, sleep=sleep, clock=clock)
        self._service = Service(
            base_address(settings),
            name="Passportal",
            ca_file=settings.passportal_ca_file,
            private_host=settings.passportal_private_host,
            connections=settings.passportal_connections,
            deadline_seconds=deadline_seconds,
            retries=self._retries,
        )
        self._lock = Lock()
        self._token: _Token | None = None
        self._newest_date = 0.0  # of all answers, by the service's clock
        self._ahead: float | None = None  # how far the service's clock is ahead of ours, at least
        self._list_path = DOCUMENTS

    def __repr__(self) -> str:
        return f"DocumentsClient({self._service.base_url})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._service.close()

    def date(self) -> float:
        """Return the service's time of its newest answer, or ours before the first; seconds since the epoch."""
        with self._lock:
            return self._newest_date or self._clock()

    def passed(self, moment: float, seconds: float) -> float:
        """Return when, by our clock, an answer will be dated more than ``seconds`` after ``moment`` of the service.

        Answers are dated by whole seconds. The result is never long after now: a clock may be wrong.
        """
        with self._lock:
            at = math.floor(moment + seconds) + 1 - (self._ahead or 0.0)
        return min(at, self._clock() + seconds + 1)

    def check(self) -> Access:
        """Test the connection: sign in, and return the reach of the key.

        Raises ``LoginRefused`` for a wrong key or secret, ``AccessRefused`` where the key's user has no Documentation
        Manager, sees no client, or misses a client expected by the settings.
        """
        try:
            rows = next(self.pages(None, page_size=1))
        except AccessRefused as refusal:
            raise AccessRefused(
                f"The key is right, and its user has no access to Documentation Manager. {refusal.message}",
                "In Passportal, give the user that the key belongs to access to Documentation Manager.",
            ) from None
        clients = self.clients()
        if not clients:
            raise AccessRefused(
                "The key is right, and its user has access to no client.",
                "In Passportal, give the user that the key belongs to access to the clients that are to be synced.",
            )
        wanted = [name.strip() for name in self._settings.passportal_expected_clients.split(";") if name.strip()]
        missing = [name for name in wanted if name not in clients and name not in clients.values()]
        if missing:
            raise AccessRefused(
                f"The key is right, and its user has no access to {len(missing)} of the clients in"
                f" PASSPORTAL_EXPECTED_CLIENTS: {printable('; '.join(missing), 300)}.",
                "In Passportal, give the user access to them, or correct the setting.",
            )
        advice = "" if self._settings.passportal_marker == "custom_id" else CUSTOM_ID_ADVICE
        return Access(self._service.base_url, len(clients), bool(rows), advice)

    def pages(
        self, kind: str | None, *, client_id: str | None = None, newest_first: bool = False, page_size: int = PAGE_SIZE
    ) -> Iterator[list[Row]]:
        """Yield the documents of one type, page by page in the order of their ids; the last page is empty."""
        params = {"orderBy": "id", "orderDir": "desc" if newest_first else "asc"}
        params |= {"type": kind} if kind else {}
        params |= {"clientId": client_id} if client_id else {}
        return self._pages(self._documents_page, params, page_size, f"the {kind or 'document'}s")

    def clients(self) -> dict[str, str]:
        """Return every client of the key: id → name."""
        pages = self._pages(lambda params, what: self._get(CLIENTS, params, what), {}, PAGE_SIZE, "the clients")
        return {str(row["id"]): decoded_name(str(row.get("name") or "")) for page in pages for row in page}

    def document(self, document_id: str) -> Read | None:
        """Return a document with its ``details``; None if this key has none (403 "not found.", 404 or 400)."""
        what = f"document {document_id}"
        try:
            body, at = self._get(f"{DOCUMENTS}/{document_id}", None, what)
        except _Refused as refused:
            said = refused.message.lower()
            if refused.status == 404 or "not found" in said or "invalid id" in said:
                return None
            raise refused.error(what) from None
        found = document_in(body)
        if found is None or not isinstance(found.get("details") or {}, dict):
            raise _unreadable(f"{what} with JSON that is no document whose fields have names")
        return Read(found, at)

    def sign_in(self) -> None:
        """Have a probably valid token, so that the next call is the one asked for. Raises ``LoginRefused``."""
        self._signed_in(None)

    @property
    def key_exchange(self) -> KeyExchange | None:
        """The last sign-in, None before the first."""
        return self._token.exchange if self._token else None

    def ask(
        self, path: str, params: Mapping[str, str] | None = None, *, signed_in: bool = True, retry: bool = True
    ) -> Answer:
        """GET ``path`` with exactly these parameters, and return the answer as it came, a refusal too.

        ``signed_in``: with the token. ``retry``: again where the failure may pass.
        """
        headers = {"x-access-token": self._signed_in(None)} if signed_in else {}
        return self._service.get(path, params=params, headers=headers, retry=retry, before_send=self._before_read)

    def create(self, body: object) -> None:
        """POST a batch. Raises ``RequestRefused`` when it is refused; after another error it may have taken effect."""
        self._write(self._service.post_json, DOCUMENTS, body, "the new documents")

    def update(self, document_id: str | None, body: object) -> None:
        """PUT one document, or a batch where ``document_id`` is None; raises as ``create``."""
        path = f"{DOCUMENTS}/{document_id}" if document_id else DOCUMENTS
        self._write(self._service.put_json, path, body, f"the change of document {document_id or 'batches'}")

    def _write(self, send: Callable[..., Answer], path: str, body: object, what: str) -> None:
        for tried in range(1, self._retries.tries + 1):
            try:
                self._asked(lambda headers: send(path, body, headers=headers, before_send=self._before_write), what)
            except _Refused as refused:
                if refused.status == 429 and tried < self._retries.tries:
                    self._retries.sleep(self._retries.wait(tried, refused.retry_after))
                    continue
                raise refused.error(what) from None
            return

    def _pages(
        self,
        page: Callable[[Mapping[str, str], str], tuple[Row, float]],
        params: Mapping[str, str],
        page_size: int,
        of: str,
    ) -> Iterator[list[Row]]:
        before: list[Any] | None = None
        for number in range(1, LAST_PAGE + 1):
            what = f"page {number} of {of}"
            try:
                body, _ = page({**params, "resultsPerPage": str(page_size), "pageNum": str(number)}, what)
            except _Refused as refused:
                raise refused.error(what) from None
            rows = _rows(body, what)
            ids = [row["id"] for row in rows]
            if ids and ids == before:
                raise _unreadable(f"{what} with the page before it once more")
            before = ids
            yield rows
            if not rows:
                return
        raise _unreadable(f"{LAST_PAGE} pages of {of} and no end")

    def _documents_page(self, params: Mapping[str, str], what: str) -> tuple[Row, float]:
        try:
            return self._get(self._list_path, params, what)
        except _Refused as refused:
            if refused.status not in {404, 405} or params["pageNum"] != "1" or self._list_path == OTHER_LIST:
                raise
        answer = self._get(OTHER_LIST, params, what)
        self._list_path = OTHER_LIST
        return answer

    def _get(self, path: str, params: Mapping[str, str] | None, what: str) -> tuple[Row, float]:
        """GET, and try again after a 200 with a failure of the service; other statuses are tried again below."""
        tried = 1
        while True:
            try:
                return self._asked(lambda headers: self._read(path, params, headers), what)
            except _Refused as refused:
                if not refused.is_passing or tried == self._retries.tries:
                    raise
            self._retries.sleep(self._retries.wait(tried, None))
            tried += 1

    def _read(self, path: str, params: Mapping[str, str] | None, headers: Mapping[str, str]) -> Answer:
        """GET. Ask once more after an empty or broken answer: the fault may be temporary."""
        get = partial(self._service.get, path, params=params, headers=headers, before_send=self._before_read)
        answer = get(whole=_looks_whole)
        if answer.status == 200 and not _is_json(answer.body):
            answer = get(whole=_looks_whole)
        return answer

    def _asked(self, send: Callable[[Mapping[str, str]], Answer], what: str) -> tuple[Row, float]:
        """Return the envelope of a successful answer and the service's time; sign in once more for a refused token.

        Raises ``_Refused`` where the service refuses.
        """
        token = self._signed_in(None)
        try:
            return self._answered(send, token, what)
        except _Refused as refused:
            if refused.status != 401 and refused.code != TOKEN_INVALID:
                raise
        return self._answered(send, self._signed_in(token), what)

    def _answered(self, send: Callable[[Mapping[str, str]], Answer], token: str, what: str) -> tuple[Row, float]:
        answer = send({"x-access-token": token})
        now = self._clock()
        at = _service_time(answer, now)
        with self._lock:
            self._newest_date = max(self._newest_date, at)
            self._ahead = at - now if self._ahead is None else max(self._ahead, at - now)
        try:
            return _opened(answer, what), at
        except _Refused as refused:
            refused.message = self._redacted(refused.message, token)
            raise

    def _signed_in(self, rejected: str | None) -> str:
        """Return a probably valid token other than ``rejected``; only one thread signs in for all."""
        with self._lock:
            token = self._token
            if token is None or token.text == rejected or self._clock() >= token.renew_at:
                self._token = token = self._sign_in()
            return token.text

    def _sign_in(self) -> _Token:
        """Exchange the key for a token: as JSON [D], and as a form where JSON is refused [C]."""
        settings = self._settings
        key, secret = settings.passportal_key_id.strip(), settings.passportal_secret.get_secret_value()
        check_given(settings, PASSPORTAL_NEEDS)
        if not all("!" <= character <= "~" for character in key):
            raise SettingsError("PASSPORTAL_KEY_ID is no access key ID.", "Copy it anew from Settings > API Keys.")
        content = secrets.token_hex(16)
        headers = {"x-key": key, "x-hash": hmac.new(secret.encode(), content.encode(), hashlib.sha256).hexdigest()}
        form = {"scope": "docs_api", "content": content}
        refusals: list[_Refused] = []
        for post in (self._service.post_json, self._service.post_form):
            answer = self._posted(partial(post, TOKEN, form, headers=headers, before_send=self._before_read))
            try:
                return self._token_in(answer, is_form=bool(refusals))
            except _Refused as refused:
                refusals.append(refused)
                if refused.status not in TAKES_NO_JSON:
                    break
        first = refusals[0]
        why, code, status = self._redacted(first.message, headers["x-hash"]), first.code, first.status
        if status in LOST or status >= 500:
            raise first.error("the sign-in")
        if status == 404 or (status != 401 and code is None and status != 200):
            raise self._wrong_host(f"HTTP {status}")
        raise _login_refused(why, code)

    def _posted(self, post: Callable[[], Answer]) -> Answer:
        """Return the answer to a sign-in; try again where this may help, because it changes nothing."""
        for tried in range(1, self._retries.tries):
            try:
                return post()
            except ServiceUnreachable:
                self._retries.sleep(self._retries.wait(tried, None))
        return post()

    def _token_in(self, answer: Answer, *, is_form: bool) -> _Token:
        what = "the sign-in"
        try:
            body = _opened(answer, what)
        except AnswerUnreadable as error:
            raise self._wrong_host(error.found or "something else") from None
        text = body.get("access_token")
        if not isinstance(text, str) or not text or not all("!" <= character <= "~" for character in text):
            raise _unreadable(f"{what} and sent no usable token")
        now, expiry = self._clock(), body.get("expiry_time")
        try:
            life = float(expiry or "") - _service_time(answer, now)  # Unix time, number or text
        except (ValueError, TypeError, OverflowError):
            life = 0.0
        known = 0 < life < LONGEST_LIFE_SECONDS
        renew_at = now + life - min(MARGIN_SECONDS, life / 4) if known else float("inf")
        return _Token(text, renew_at, KeyExchange(is_form, isinstance(expiry, str), life if known else None))

    def _wrong_host(self, found: str) -> AnswerUnreadable:
        return AnswerUnreadable(
            f"{self._service.base_url} answered the sign-in with {found.rstrip('.')}: it is not Passportal's API.",
            "Check PASSPORTAL_URL: https://us-clover.passportalmsp.com (or ca, uk, de, au), or your own subdomain.",
        )

    def _redacted(self, message: str, *more: str) -> str:
        for secret in (self._settings.passportal_secret.get_secret_value(), *more):
            message = message.replace(secret, "***") if secret else message
        return message


@dataclass(frozen=True)
class _Token:
    """``renew_at``: seconds since the epoch by our clock; never where the expiry is not known."""

    text: str = field(repr=False)
    renew_at: float
    exchange: KeyExchange


class _Refused(Exception):
    """The service refuses. Internal: becomes the fitting error of the call."""

    def __init__(self, status: int, code: int | None, message: str, retry_after: str | None) -> None:
        super().__init__()
        self.args = ()  # a service's message may quote the values sent
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @property
    def is_passing(self) -> bool:
        """Whether the service itself reports a failure: a code or status from 500 to 599."""
        return self.status in LOST or any(500 <= (number or 0) < 600 for number in (self.status, self.code))

    def error(self, what: str) -> PipelineError:
        reason = self.message.rstrip(". ") or "no reason given"
        number = f" ({self.code})" if self.code is not None else f" (HTTP {self.status})"
        said = f"Passportal refused {what}: {reason}{number}."
        if self.status == 429:
            busy = ServiceUnreachable(said, "It is asked too much of. Run again later; it continues where it stopped.")
            busy.status = 429
            return busy
        if self.is_passing:
            lost = ServiceUnreachable(said, "Run again later; it looks first, and continues where it stopped.")
            lost.status = self.status
            return lost
        if self.status == 401 or self.code == TOKEN_INVALID:
            return AccessRefused(said, "It refuses a token that it just gave. Check that the key is still active.")
        if self.status == 403:
            return AccessRefused(said, "In Passportal, give the user that the key belongs to access to it.")
        refused = RequestRefused(said, "If the reason does not say what to do, compare with the tenant's swagger page.")
        refused.reason = self.message
        return refused


def base_address(settings: Settings) -> str:
    """Return scheme and host of ``PASSPORTAL_URL``, which people copy with the path of the open page.

    Raises ``SettingsError`` where it is no usable address, or has a query or fragment.
    """
    text = settings.passportal_url.strip()
    if not text:
        check_given(settings, PASSPORTAL_NEEDS)
    text = text if "://" in text else f"https://{text}"
    parts = checked_address(text, name="passportal", private_host=settings.passportal_private_host)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"


def is_success(value: object) -> bool:
    """Return whether ``success`` of an envelope is true: as a boolean or as a text [D]."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _opened(answer: Answer, what: str) -> Row:
    """Return the envelope of ``answer``. Raises ``_Refused`` for a refusal, ``AnswerUnreadable`` if unclear."""
    try:
        body = json.loads(answer.body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        body = None
    said = body if isinstance(body, dict) else {}
    if 200 <= answer.status < 300 and is_success(said.get("success")):
        return said
    if answer.status >= 400 or ("success" in said and said["success"] is not None):
        message, code, status = said.get("message"), str(said.get("code", "")), said.get("status")
        raise _Refused(
            status if answer.status < 400 and type(status) is int else answer.status,
            int(code) if code.isdecimal() and len(code) < 9 else None,
            printable(message, 300) if isinstance(message, str) else "",
            answer.headers.get("Retry-After"),
        )
    found = f"{_kind(answer.body, is_json=body is not None)} instead of an answer of its API"
    error = _unreadable(f"{what} with {found}")
    error.found = found
    raise error


def _kind(body: bytes, *, is_json: bool) -> str:
    start = body[:2000].lstrip().lower()
    if not start:
        return "an empty body"
    if start.startswith(b"<"):
        return "an HTML page"
    return "JSON that says neither success nor failure" if is_json else "something that is not valid JSON"


def _unreadable(what: str) -> AnswerUnreadable:
    return AnswerUnreadable(
        f"Passportal answered {what}.",
        "If it is a login or maintenance page, wait or check PASSPORTAL_URL; then run again: it continues where it"
        " stopped.",
    )


def _rows(body: Row, what: str) -> list[Row]:
    """Return the rows of a page; only an empty array or an explicit null, also as text, means no rows [C]."""
    rows = body.get("results", body)
    if rows is None or (isinstance(rows, str) and rows.strip().lower() == "null"):
        return []
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise _unreadable(f"{what} with JSON that is no list of documents")
    return rows


def document_in(body: Row) -> Row | None:
    """Return the document in an envelope. Its place is unknown [G]: below one of these keys, or next to ``success``."""
    for key in ("results", "result", "document", "data"):
        found = body.get(key)
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        if isinstance(found, dict):
            return found if "id" in found or "details" in found else None
    found = {key: value for key, value in body.items() if key not in {"success", "message", "code", "status"}}
    return found if "id" in found or "details" in found else None


def _login_refused(why: str, code: int | None) -> LoginRefused:
    """Return the error for a refused key, with the service's distinctions."""
    what = f"Passportal refused the key: {why.rstrip('. ') or 'it does not say why'}" + (f" ({code})." if code else ".")
    if code == HASH_WRONG:
        return LoginRefused(
            what, "The secret is wrong. Set PASSPORTAL_SECRET, or make a new key in Settings > API Keys."
        )
    return LoginRefused(
        what,
        "Check PASSPORTAL_KEY_ID first: there is no such key, or it is not active. If it is right, PASSPORTAL_SECRET is"
        " wrong: some tenants answer the same to both. Both come from Settings > API Keys.",
    )


def _service_time(answer: Answer, otherwise: float) -> float:
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError):
        return otherwise


def _looks_whole(body: bytes) -> bool:
    """Return whether a JSON object is closed; the reader judges any other content."""
    start, end = body[:100].lstrip(b"\xef\xbb\xbf \t\r\n"), body[-100:].rstrip()
    return not start.startswith(b"{") or end.endswith(b"}")


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def _no_number(text: str) -> float:
    raise ValueError(text)
