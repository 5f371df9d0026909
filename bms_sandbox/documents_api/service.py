"""What the stand-in for Passportal answers: one method per kind of call, and the rules that hold for every call.

Paths, parameters and shapes are those of the reference. Where it is silent, ``PassportalBehaviour`` has a switch, or
the choice is the one that forgives a client least: an answer never says more, and a request is never half taken.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bms_sandbox.behaviour import FaultsDue
from bms_sandbox.clock import Clock
from bms_sandbox.documents_api import wire
from bms_sandbox.documents_api.behaviour import PassportalBehaviour
from bms_sandbox.documents_api.security import KEY_ID, Tokens, verifies
from bms_sandbox.documents_api.store import Record, Selection, Store
from bms_sandbox.documents_api.templates import DOCUMENT_TYPES, named
from bms_sandbox.documents_api.wire import BadRequest, Json
from bms_sandbox.faults import EFFECTS, Reply
from bms_sandbox.hang_up import HangUp

KEY_UNKNOWN, HASH_WRONG, TOKEN_INVALID, METHOD_NOT_ALLOWED = 1000, 1001, 1006, 3000
LAST_PAGE = 9999
_DEFAULT_PAGE = 50
_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"


class Refused(Exception):
    """The service says no, with an HTTP status, a code of its own and a message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Call:
    """One call being answered. ``body``: the JSON that was sent, None for none, or the fields of a form."""

    query: Mapping[str, str]
    path: Mapping[str, Any]
    headers: Mapping[str, str]
    body: Any = None
    is_form: bool = False

    @classmethod
    async def read(cls, request: Request) -> Call:
        """The call that ``request`` makes. Raises ``BadRequest`` where its body is no JSON."""
        sent = await request.body()
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = dict(parse_qsl(sent.decode("utf-8", "replace")))
            return cls(request.query_params, request.path_params, request.headers, form, is_form=True)
        try:
            body = msgspec.json.decode(sent) if sent else None
        except msgspec.DecodeError as error:
            raise BadRequest(f"the body is not JSON: {error}") from error
        return cls(request.query_params, request.path_params, request.headers, body)


@dataclass(frozen=True)
class VendorRoute:
    """One call of the API. ``writes``: it changes documents."""

    method: str
    path: str
    answer: Callable[[DocumentsService, Call], Json]
    public: bool = False
    writes: bool = False

    @property
    def template(self) -> str:
        """What calls are counted by."""
        return f"{self.method} {self.path}"


class DocumentsService:
    """Answers for the Passportal in ``store``."""

    def __init__(self, store: Store, behaviour: PassportalBehaviour, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.calls: Counter[str] = Counter()
        self._tokens = Tokens(clock)
        self._lists = 0
        self._listed_from: dict[int, int] = {}
        self.behave(behaviour)

    def behave(self, behaviour: PassportalBehaviour) -> None:
        """From now on behave like this; faults and writes are counted anew."""
        self.behaviour = behaviour
        self._faults = FaultsDue(behaviour.faults, behaviour.failing_share, behaviour.failing_seed)
        self._writes = 0

    def endpoint(self, route: VendorRoute) -> Callable[[Request], Awaitable[Response]]:
        """The handler of ``route``: counts, delays, authorises, answers, and lets go wrong what is due."""

        async def dated(request: Request) -> Response:
            response = await handle(request)
            response.headers["date"] = formatdate(self.clock(), usegmt=True)
            return response

        async def handle(request: Request) -> Response:
            behaviour = self.behaviour
            self.calls[route.template] += 1
            fault = self._faults.at(route.template, self.calls[route.template])
            if behaviour.latency_seconds:
                await asyncio.sleep(behaviour.latency_seconds)
            if fault is not None and fault.kind == "status":
                return self.refusal(fault.status, fault.status, "The service is not available.").response()
            number = self._number_of_write(route)
            if _is_lost(behaviour.lose_calls, number, f"{behaviour.failing_seed}/call"):
                return self._lost()
            reply = await self._reply(route, request)
            if _is_lost(behaviour.lose_answers, number, f"{behaviour.failing_seed}/answer"):
                return self._lost()
            return reply.response() if fault is None else EFFECTS[fault.kind].on_reply(reply, fault)

        return dated

    def refusal(self, status: int, code: int, message: str) -> Reply:
        """A reply that says no."""
        said = {"success": self._said(False), "message": message, "code": code, "status": status}
        return Reply(msgspec.json.encode(said), 200 if self.behaviour.refused_with_200 else status)

    def _number_of_write(self, route: VendorRoute) -> int:
        """The number of this write since the switches were set; 0 where it is none."""
        self._writes += route.writes
        return self._writes if route.writes else 0

    def _lost(self) -> Response:
        return (
            HangUp() if self.behaviour.lost_shows == "nothing" else Response(_GATEWAY_PAGE, 502, media_type="text/html")
        )

    async def _reply(self, route: VendorRoute, request: Request) -> Reply:
        try:
            call = await Call.read(request)
            if not route.public:
                self._authorise(call)
            return Reply(msgspec.json.encode({"success": self._said(True), **route.answer(self, call)}))
        except BadRequest as error:
            return self.refusal(400, 400, str(error))
        except Refused as error:
            return self.refusal(error.status, error.code, error.message)

    def _said(self, success: bool) -> bool | str:
        return str(success).lower() if self.behaviour.success_text else success

    def _authorise(self, call: Call) -> None:
        if not self._tokens.good(call.headers.get("x-access-token", "")):
            raise Refused(401, TOKEN_INVALID, "Invalid token.")
        if not self.behaviour.documentation_manager:
            raise Refused(403, 403, "This user has no access to Documentation Manager.")

    # Reading

    def token(self, call: Call) -> Json:
        """``POST /api/v2/auth/client_token``."""
        if self.behaviour.sign_in != "either" and call.is_form != (self.behaviour.sign_in == "form"):
            raise BadRequest("the body is not as it should be")
        if not isinstance(call.body, dict) or call.body.get("scope") != "docs_api":
            raise BadRequest("scope must be docs_api")
        content = call.body.get("content")
        if not isinstance(content, str) or not content:
            raise BadRequest("content is required")
        if call.headers.get("x-key") != KEY_ID:
            raise Refused(401, KEY_UNKNOWN, "Key verification failed.")
        if not verifies(content, call.headers.get("x-hash", "")):
            code = KEY_UNKNOWN if self.behaviour.same_login_error else HASH_WRONG
            raise Refused(401, code, "Key verification failed.")
        token, expiry = self._tokens.give(self.behaviour.token_lifetime_seconds)
        refresh, _ = self._tokens.give(0)
        shown = str(int(expiry)) if self.behaviour.expiry_text else int(expiry)
        return {"access_token": token, "refresh_token": refresh, "expiry_time": shown}

    def clients(self, call: Call) -> Json:
        """``GET /api/v2/documents/clients``."""
        seen = [each for each in self.store.of_type("client") if each.id not in self.behaviour.hidden_clients]
        return self._page(call, [wire.client_row(each, self.behaviour) for each in self._cut(call, seen)])

    def documents(self, call: Call) -> Json:
        """``GET /api/v2/documents``."""
        return self._list(call, "documents")

    def all_documents(self, call: Call) -> Json:
        """``GET /api/v2/documents/all`` [C][L]."""
        return self._list(call, "all")

    def document(self, call: Call) -> Json:
        """``GET /api/v2/documents/{id}``."""
        found = self._visible(call.path["id"])
        client = self.store.client(found.client_id or 0)
        template = wire.template_of(found, self.store.templates, self.behaviour)
        listed = wire.row(found, client, self.store.templates, self.behaviour)
        shown = {**listed, "details": wire.details(found, template, self.behaviour)}
        return shown if self.behaviour.one_document == "flat" else {"results": shown}

    def _list(self, call: Call, path: str) -> Json:
        if self.behaviour.list_path not in (path, "both"):
            raise Refused(404, 404, "not found.")
        self._lists += 1
        found = self.store.documents(_selection(call.query, self.store.templates))
        hidden = {id_ for id_, first in self._listed_from.items() if self._lists < first}
        closed = self.behaviour.hidden_clients
        if hidden or closed:
            found = [each for each in found if each.id not in hidden and each.client_id not in closed]
        page = self._cut(call, found)
        templates = self.store.templates
        return self._page(
            call, [wire.row(each, self.store.client(each.client_id or 0), templates, self.behaviour) for each in page]
        )

    def _cut(self, call: Call, rows: list[Record]) -> list[Record]:
        """The page of ``rows`` that the call asks for."""
        number = _number(call.query, "pageNum", 1)
        if not 1 <= number <= LAST_PAGE:
            raise Refused(404, 404, "pageNum must be from 1 to 9999.")
        size = _number(call.query, "resultsPerPage", _DEFAULT_PAGE)
        if size < 1:
            raise BadRequest("resultsPerPage must be positive")
        size = min(size, self.behaviour.page_cap)
        return rows[(number - 1) * size : number * size]

    def _page(self, call: Call, rows: list[Json]) -> Json:
        ends: dict[str, object] = {"empty": [], "null": None, "text": "null"}
        return {"results": rows or ends[self.behaviour.end_of_pages]}

    def _visible(self, document_id: object) -> Record:
        """The document with this id, if the key's user may see it."""
        found = self.store.document(_id(document_id, "invalid id"))
        if found is None or found.client_id in self.behaviour.hidden_clients:
            raise Refused(403, 403, "not found.")
        return found

    # Writing

    def create(self, call: Call) -> Json:
        """``POST /api/v2/documents``: ids are not told [D]."""
        self._each(self._batch(call.body), self._created, self._keep_new)
        return {}

    def update_one(self, call: Call) -> Json:
        """``PUT /api/v2/documents/{id}``."""
        if self.behaviour.update != "one":
            raise Refused(405, METHOD_NOT_ALLOWED, "Method not allowed.")
        self.store.put([self._updated({**_object(call.body), "id": call.path["id"]})])
        return {}

    def update_batch(self, call: Call) -> Json:
        """``PUT /api/v2/documents``."""
        if self.behaviour.update != "batch":
            raise Refused(405, METHOD_NOT_ALLOWED, "Method not allowed.")
        self._each(self._batch(call.body), self._updated, self.store.put)
        return {}

    def _batch(self, body: object) -> list[Json]:
        if self.behaviour.body == "object":
            body = _object(body).get("documents")
        if not isinstance(body, list) or not body:
            raise BadRequest("the body must hold documents, as the API's description says")
        return [_object(each) for each in body]

    def _each(
        self, batch: Iterable[Json], read: Callable[[Json], Record], keep: Callable[[list[Record]], None]
    ) -> None:
        """Keep the documents that ``batch`` describes: all or none, or those of them that are good."""
        good: list[Record] = []
        wrong: list[tuple[int, Exception]] = []
        for number, each in enumerate(batch, 1):
            try:
                good.append(read(each))
            except (BadRequest, Refused) as error:
                wrong.append((number, error))
        if not wrong or self.behaviour.batch_refusal == "partial":
            keep(good)
        if wrong:
            raise BadRequest("; ".join(f"document {number}: {error}" for number, error in wrong))

    def _created(self, sent: Json) -> Record:
        template = named(sent.get("templateUid"), self.behaviour.template_uids, self.store.templates)
        if template is None or template.name in self.behaviour.deleted_templates:
            raise BadRequest("templateUid is not known")
        new = Record(0, template.type, "", 0, template=template.id)
        return self._written(new, {**sent, "details": {}} if self.behaviour.ignores_details else sent)

    def _updated(self, sent: Json) -> Record:
        held = self._visible(sent.get("id"))
        named_by_call = named(sent.get("templateUid"), self.behaviour.template_uids, self.store.templates)
        if "templateUid" in sent and (named_by_call is None or named_by_call.id != held.template):
            raise BadRequest("templateUid cannot be changed")
        written = self._written(held, sent)
        if written.client_id != held.client_id:
            raise BadRequest("clientId cannot be changed")
        return written

    def _written(self, held: Record, sent: Json) -> Record:
        """``held`` as it is once ``sent`` is written: what is left out is gone."""
        title = sent.get("title")
        if not isinstance(title, str) or not title.strip():
            raise BadRequest("title is required")
        client_id = _id(sent.get("clientId"), "clientId is required")
        if self.store.client(client_id) is None or client_id in self.behaviour.hidden_clients:
            raise Refused(403, 403, "client not found.")
        template = wire.template_of(held, self.store.templates, self.behaviour)
        return msgspec.structs.replace(
            held,
            title=title,
            client_id=client_id,
            values=wire.read_details(sent.get("details", {}), held.values, template, self.behaviour),
            description=_optional_text(sent, "description"),
            custom_id=_optional_text(sent, "customId") if self.behaviour.custom_id_writable else held.custom_id,
            modified=int(self.clock()),
        )

    def _keep_new(self, documents: list[Record]) -> None:
        for each in documents:
            each.id = self.store.new_id()
            if self.behaviour.listed_after:
                self._listed_from[each.id] = self._lists + self.behaviour.listed_after + 1
        self.store.put(documents)


def _is_lost(which: float | tuple[int, ...], number: int, seed: str) -> bool:
    """Whether the write with this number is one of ``which``: a share of them all, or some by number."""
    if number == 0 or not which:
        return False
    if isinstance(which, tuple):
        return number in which
    return Random(f"{seed}/{number}").random() < which


def _selection(query: Mapping[str, str], templates: wire.Templates) -> Selection:
    kind, by, direction = query.get("type"), query.get("orderBy", "id"), query.get("orderDir", "asc").lower()
    if kind is not None and kind not in DOCUMENT_TYPES:
        raise BadRequest("type is not known")
    if by not in {"label", "id"} or direction not in {"asc", "desc"}:
        raise BadRequest("orderBy must be label or id, orderDir asc or desc")
    uid = query.get("templateUid")
    template = named(uid, "either", templates) if uid else None
    client_id = _number(query, "clientId", 0) if "clientId" in query else None
    return Selection(
        kind,
        template.id if template else 0 if uid else None,
        client_id,
        query.get("searchTxt", ""),
        by,
        direction == "desc",
    )


def _number(query: Mapping[str, str], name: str, otherwise: int) -> int:
    text = query.get(name)
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdigit():
        raise Refused(404, 404, "not found.") if name == "pageNum" else BadRequest(f"{name} must be a number")
    return int(text)


def _id(value: object, otherwise: str) -> int:
    """An id sent as a number or as its digits."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(otherwise)
    return int(text)


def _object(value: object) -> Json:
    if not isinstance(value, dict):
        raise BadRequest("a document must be an object")
    return value


def _optional_text(sent: Json, name: str) -> str | None:
    value = sent.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be a text")
    return value or None


def refused_by_router(service: DocumentsService, error: HTTPException) -> Response:
    """The envelope for a path or a method that the API does not have."""
    if error.status_code == 405:
        return service.refusal(405, METHOD_NOT_ALLOWED, "Method not allowed.").response()
    return service.refusal(error.status_code, error.status_code, str(error.detail)).response()


ROUTES = (
    VendorRoute("POST", "/api/v2/auth/client_token", DocumentsService.token, public=True),
    VendorRoute("GET", "/api/v2/documents", DocumentsService.documents),
    VendorRoute("POST", "/api/v2/documents", DocumentsService.create, writes=True),
    VendorRoute("PUT", "/api/v2/documents", DocumentsService.update_batch, writes=True),
    VendorRoute("GET", "/api/v2/documents/all", DocumentsService.all_documents),
    VendorRoute("GET", "/api/v2/documents/clients", DocumentsService.clients),
    VendorRoute("GET", "/api/v2/documents/{id}", DocumentsService.document),
    VendorRoute("PUT", "/api/v2/documents/{id}", DocumentsService.update_one, writes=True),
)
