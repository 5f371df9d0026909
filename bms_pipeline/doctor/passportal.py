"""Look at Passportal: its key, its lists, a document of each type, and its page about its own API.

The calls of a wave go out at once::

    sign-in ─┬─ clients              ┌─ clients, assets: page 2; the newest asset ┐
             ├─ assets               ├─ contacts, locations                        ├─ a document of each type
             └─ all documents        └─ the page about the API                     └─ the file that it names
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import AccessRefused, AnswerUnreadable, PipelineError, ServiceError, ServiceUnreachable
from bms_pipeline.core.http import Answer
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.text import printable
from bms_pipeline.doctor.bounds import (
    SECONDS_A_CALL,
    TRIES,
    Bounds,
    all_at_once,
    pause,
)
from bms_pipeline.passportal.documents.client import (
    CLIENTS,
    DOCUMENTS,
    LAST_PAGE,
    OTHER_LIST,
    PAGE_SIZE,
    DocumentsClient,
    KeyExchange,
    Row,
    base_address,
    document_in,
    is_success,
)
from bms_pipeline.passportal.documents.encoding import template_id

MOST_CALLS = 16
KINDS = {entity.singular: entity for entity in ENTITIES if entity.has_client}
"""Type of documents → the entity that is kept in them."""
API_PAGE = "/api/documentation/v2/swagger"
API_PAGE_BYTES = 4 * 2**20
_NAMED_FILE = re.compile(r"""["']([^"'\s<>]*(?:swagger|openapi|api-docs)[^"'\s<>]*\.json)["']""", re.IGNORECASE)


class ListEnd(StrEnum):
    """What stands in place of the rows of a page; ``ROWS``: there are some."""

    ROWS = "rows"
    EMPTY = "an empty list"
    NULL = "null"
    TEXT = "null as a text"
    ABSENT = "nothing"


@dataclass(frozen=True)
class PageAnswer:
    """A page of a list. ``is_text``: ``success`` came as a text. ``status``: not 200 where the call was refused."""

    rows: tuple[Row, ...] = field(default=(), repr=False)
    end: ListEnd = ListEnd.ROWS
    is_text: bool = False
    status: int = 200

    @property
    def ids(self) -> list[str]:
        """The ids of the rows, in order."""
        return [str(row.get("id")) for row in self.rows]


@dataclass
class PassportalSeen:
    """The answers of one Passportal. ``errors``: question → why it has no answer.

    ``pages``: question → answer. ``documents``: type → a document with its details and the envelope that it came in.
    ``api_page``: the description of the API, ``None`` where there is none.
    """

    url: str
    exchange: KeyExchange | None = None
    path: str = DOCUMENTS
    pages: dict[str, PageAnswer] = field(default_factory=dict)
    documents: dict[str, tuple[Row, Row]] = field(default_factory=dict)
    api_page: Mapping[str, Any] | None = None
    errors: dict[str, PipelineError] = field(default_factory=dict)

    def rows(self, question: str) -> tuple[Row, ...]:
        """Return the rows of an answer; none where there is no answer."""
        return self.pages[question].rows if question in self.pages else ()


def look_at_passportal(settings: Settings, bounds: Bounds) -> PassportalSeen:
    """Ask Passportal at most ``bounds`` calls. An error ends only the questions that need its answer."""
    seen = PassportalSeen("")
    try:
        seen.url = base_address(settings)
        with (
            DocumentsClient(
                settings, sleep=pause, deadline_seconds=SECONDS_A_CALL, before_read=bounds.take, tries=TRIES
            ) as client,
            ThreadPoolExecutor(settings.passportal_connections) as pool,
        ):
            _Looking(client, pool, bounds, seen).look()
    except PipelineError as error:
        seen.errors["sign-in"] = error
    return seen


@dataclass
class _Looking:
    client: DocumentsClient
    pool: ThreadPoolExecutor
    bounds: Bounds
    seen: PassportalSeen

    def look(self) -> None:
        """Ask wave by wave."""
        seen = self.seen
        self.client.sign_in()
        seen.exchange = self.client.key_exchange
        self._at_once(
            self._page("clients", CLIENTS) | self._documents("asset") | self._page("all documents", OTHER_LIST, size=1)
        )
        if "asset" in seen.pages and seen.pages["asset"].status in {404, 405}:
            seen.path = OTHER_LIST
            self._at_once(self._documents("asset"))
        self._at_once(
            {
                **self._page("clients, page 2", CLIENTS, pageNum=2),
                **self._documents("contact"),
                **self._documents("location"),
                **self._documents("asset", "assets, page 2", pageNum=2),
                **self._documents("asset", "the newest asset", size=1, orderDir="desc"),
                "the page about the API": self._api_page,
            }
        )
        if not any(page.end is not ListEnd.ROWS for page in seen.pages.values()):
            self._at_once(self._page("past the end", CLIENTS, pageNum=LAST_PAGE))
        self._at_once({f"a {kind}": partial(self._document, kind) for kind in KINDS if self._typical(kind)})

    def _at_once(self, questions: Mapping[str, Callable[[], None]]) -> None:
        self.seen.errors.update(all_at_once(self.pool, questions))

    def _documents(
        self, kind: str, name: str = "", *, size: int = PAGE_SIZE, **params: object
    ) -> dict[str, Callable[[], None]]:
        """Return the question for documents of one type, in the order of their ids unless ``params`` say otherwise."""
        wanted = {"orderBy": "id", "orderDir": "asc", "type": kind, **params}
        return self._page(name or kind, self.seen.path, size=size, **wanted)

    def _page(self, name: str, path: str, *, size: int = PAGE_SIZE, **params: object) -> dict[str, Callable[[], None]]:
        """Return the question for a page of a list, called ``name``."""

        def ask() -> None:
            wanted = {"resultsPerPage": size, "pageNum": 1, **params}
            answer = self.client.ask(path, {key: str(value) for key, value in wanted.items()})
            self.seen.pages[name] = _page_in(answer, f"the list of {name}")

        return {name: ask}

    def _typical(self, kind: str) -> str | None:
        """Return the newest readable document of the template with most documents of this type."""
        rows = [row for row in self.seen.rows(kind) if row.get("accessible") is not False]
        if not rows:
            return None
        most = Counter(template_of(row) for row in rows).most_common(1)[0][0]
        return [str(row.get("id")) for row in rows if template_of(row) == most][-1]

    def _document(self, kind: str) -> None:
        number = self._typical(kind)
        what = f"document {number}"
        body = _body_of(self.client.ask(f"{DOCUMENTS}/{number}"), what)
        if not is_success(body.get("success")):
            raise _refused(body, what)
        document = document_in(body)
        if document is None:
            raise AnswerUnreadable(f"Passportal answered {what} with JSON that is no document.", _NEW_API)
        self.seen.documents[kind] = document, body

    def _api_page(self) -> None:
        """Read the tenant's own description of its API, if there is one: without the token, then with it."""
        answer = self.client.ask(API_PAGE, signed_in=False, retry=False)
        signed_in = answer.status in {401, 403}
        if signed_in:
            answer = self.client.ask(API_PAGE, signed_in=True, retry=False)
        self.seen.api_page = _description(answer)
        if self.seen.api_page is None and (named := self._named_file(answer)) is not None:
            self.seen.api_page = _description(self.client.ask(named, signed_in=signed_in, retry=False))

    def _named_file(self, answer: Answer) -> str | None:
        """Return the path of the file that a page names, if it is on the same host."""
        found = _NAMED_FILE.search(answer.body[:API_PAGE_BYTES].decode("utf-8", "replace"))
        if answer.status != 200 or found is None:
            return None
        there, here = urlsplit(urljoin(f"{self.seen.url}{API_PAGE}", found.group(1))), urlsplit(self.seen.url)
        is_here = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        return f"{there.path}{f'?{there.query}' if there.query else ''}" if is_here else None


_NEW_API = "If it stays, its API changed: check for a newer version of this program."


def template_of(row: Row) -> str:
    """Return the id of the template of a row or document."""
    return template_id(row.get("templateId") or row.get("template_id") or row.get("templateUid"))


def _description(answer: Answer) -> Mapping[str, Any] | None:
    """Return the description of an API in an answer: an object with paths."""
    if answer.status != 200 or len(answer.body) > API_PAGE_BYTES:
        return None
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("paths"), dict) else None


def _page_in(answer: Answer, what: str) -> PageAnswer:
    body = _body_of(answer, what)
    is_text = isinstance(body.get("success"), str)
    if not is_success(body.get("success")):
        stated = body.get("status")
        status = stated if answer.status == 200 and isinstance(stated, int) else answer.status
        if status in {404, 405}:
            return PageAnswer(is_text=is_text, status=status)
        raise _refused(body, what)
    rows = body.get("results", ListEnd.ABSENT)
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return PageAnswer(tuple(rows), ListEnd.ROWS if rows else ListEnd.EMPTY, is_text)
    if rows is None:
        return PageAnswer((), ListEnd.NULL, is_text)
    if rows is ListEnd.ABSENT:
        return PageAnswer((), ListEnd.ABSENT, is_text)
    if isinstance(rows, str) and rows.strip().lower() == "null":
        return PageAnswer((), ListEnd.TEXT, is_text)
    raise AnswerUnreadable(f"Passportal answered {what} with JSON that is no list of documents.", _NEW_API)


def _body_of(answer: Answer, what: str) -> Row:
    """Return the JSON object of an answer, also of a refusal."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or "success" not in body:
        raise AnswerUnreadable(
            f"Passportal answered {what} with HTTP {answer.status} and no answer of its API.",
            "If it is a login or maintenance page, wait or check PASSPORTAL_URL; then run again.",
        )
    return body


def _refused(body: Row, what: str) -> ServiceError:
    """Return the error for a refusal, with Passportal's reason; for a fault of its own, it is unreachable."""
    reason = body.get("message")
    why = printable(reason, 200).rstrip(". ") if isinstance(reason, str) else "no reason given"
    if any(isinstance(number, int) and number >= 500 for number in (body.get("status"), body.get("code"))):
        return ServiceUnreachable(f"Passportal failed at {what}: {why}.", "Run again later.")
    step = "In Passportal, give the user that the key belongs to access to Documentation Manager and its clients."
    return AccessRefused(f"Passportal refused {what}: {why}.", step)
