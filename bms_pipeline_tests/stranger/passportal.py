"""A Passportal after the vendor's pages and after what other people's clients get from it. Every habit is a switch."""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from bms_pipeline_tests.stranger.serving import Answer, Request, as_json, packed

KEY_ID, SECRET = "AKSTRANGER0001", "s3cret/with+signs="

LABELS = {
    "asset": (
        "Name", "Type", "Status", "Serial Number", "Manufacturer", "Model", "Location", "Hostname", "Primary IP",
        "MAC Address", "Default Gateway", "Operating System", "Platform", "Asset Tag", "Assigned User",
        "Purchase Date", "Install Date", "Expiration Date", "Notes", "ID", "Integration Type",
    ),
    "contact": (
        "Contact Type", "Primary Contact", "Job Title", "First Name", "Middle Name", "Last Name", "Location", "Phone",
        "Mobile Phone", "Extension", "Fax", "Email Address", "Notes",
    ),
    "location": (
        "Name", "Address 1", "Address 2", "City", "State / Province", "ZIP / Postal Code", "Country", "Phone", "Fax",
        "Notes",
    ),
}  # fmt: skip
TEMPLATES = {"asset": 79, "contact": 5000, "location": 5001}


@dataclass(frozen=True)
class PassportalHabits:
    """How this Passportal answers; the defaults are what most clients saw."""

    details_at: str = "top"  # results, results list
    details_form: str = "positions"  # labels
    values: str = "elements"  # bare
    nulls: str = "sent"  # omitted: elements without a value are left out
    template_uid: str = "tpl-"  # bare, upper; what a create may name
    template_id: str = "number"  # text, tpl-
    titles: str = "plain"  # url, html, url and html
    success: str = "boolean"  # text, absent
    ids: str = "numbers"  # text
    end: str = "empty"  # null, null text, absent
    per_page: int = 1000  # resultsPerPage is clamped to it
    order: str = "honoured"  # ignored, another each call
    paths: str = "both"  # all: only /documents/all; documents: only /documents
    token: str = "both"  # form, json
    expiry: str = "number"  # text, short
    token_status: int = 401  # an invalid token: 401, or 200 with success false
    late: int = 0  # a new document is listed only after so many further list calls
    lost: str = "none"  # answers to writes: lost after the write, lost before, 500 after the write, 504 after the write
    lost_share: float = 0.25
    faults: str = "none"  # now and then, reads: 500, 429, empty 200, html, null, success false, lost
    fault_share: float = 0.1
    body: str = "both"  # array, object
    strict_keys: bool = False  # "Name" among the details of a template without such an element is refused
    links: bool = False  # Location and Manufacturer of what is there already are links
    lacks: tuple[tuple[str, str], ...] = ()  # (type, label) that the templates do not have
    spelt: Mapping[str, str] = field(default_factory=dict)  # label -> as this tenant spells it
    required: tuple[tuple[str, str], ...] = ()
    rich_notes: bool = False  # Notes come back as rich text
    please_select: bool = False  # an empty Status reads "Please Select"
    unreadable: bool = False  # one document of a person's is listed and answers 403
    bare_templates: bool = False  # no document shows all labels of its template: what is empty has no name
    foreign_ids: bool = False  # documents that were there carry ID and Integration Type of another integration
    coding: str = "none"


@dataclass
class Document:
    """One document. ``elements``: label -> text or link; ``hidden``: list calls until it is listed."""

    id: int
    type: str
    client_id: int
    title: str
    elements: dict[str, Any]
    tags: list[Any] = field(default_factory=list)
    hidden: int = 0
    readable: bool = True
    modified: float = field(default_factory=time.time)


class Passportal:
    """One tenant of the stranger's Passportal; ``answer`` takes its requests."""

    def __init__(self, habits: PassportalHabits, seed: int = 0) -> None:
        self.habits = habits
        self.clients: dict[int, str] = {}
        self.documents: dict[int, Document] = {}
        self.writes: list[str] = []
        self.refusals: list[str] = []
        self.calls: list[str] = []
        self._random = random.Random(seed)
        self._tokens: dict[str, float] = {}
        self._next = 52000

    # -- what a person does in Passportal ------------------------------------------------------------------------

    def add_client(self, name: str) -> int:
        """A client, as the import makes it from a line of its file."""
        self._next += self._random.choice((1, 3, 17))
        self.clients[self._next] = name
        return self._next

    def labels(self, kind: str) -> list[str]:
        """The labels of this tenant's template of a type, in its spelling."""
        lacking = {label for of, label in self.habits.lacks if of == kind}
        return [self.habits.spelt.get(label, label) for label in LABELS[kind] if label not in lacking]

    def add_document(self, kind: str, client_id: int, title: str, **values: Any) -> Document:
        """A document that a person has written. ``values`` by label, with ``_`` for blanks."""
        self._next += 1
        elements: dict[str, Any] = dict.fromkeys(self.labels(kind))
        elements |= {self.habits.spelt.get(label, label): value for label, value in values.items()}
        document = Document(self._next, kind, client_id, title, elements)
        self.documents[document.id] = document
        return document

    # -- answering -----------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Answer a request, in this Passportal's way."""
        self.calls.append(f"{request.method} {request.path}?{'&'.join(f'{k}={v}' for k, v in request.query.items())}")
        path = request.path.rstrip("/")
        if path == "/api/v2/auth/client_token":
            return packed(self._token(request), self.habits.coding)
        if self._tokens.get(request.headers.get("x-access-token", ""), 0) < time.time():
            return self._failure(self.habits.token_status, 1006, "invalid token")
        if request.method == "GET":
            return packed(self._fault() or self._read(path, request), self.habits.coding)
        if not path.startswith("/api/v2/documents") or request.method not in ("POST", "PUT"):
            return self._failure(405, 3000, "method not allowed")
        return self._written(path, request)

    def _token(self, request: Request) -> Answer:
        fields = request.form() if self.habits.token in ("both", "form") else None
        if fields is None and self.habits.token in ("both", "json"):
            try:
                fields = json.loads(request.body)
            except ValueError:
                fields = None
        if not fields:
            return self._failure(400, 1000, "the request has no content")
        content = str(fields.get("content", ""))
        mine = hmac.new(SECRET.encode(), content.encode(), hashlib.sha256).hexdigest()
        if request.headers.get("x-key") != KEY_ID or not content or fields.get("scope") != "docs_api":
            return self._failure(401, 1000, "key verification failed")
        if not hmac.compare_digest(request.headers.get("x-hash", ""), mine):
            return self._failure(401, 1000, "key verification failed")
        token = f"{self._random.getrandbits(96):x}"
        life = 3 if self.habits.expiry == "short" else 3300
        until = time.time() + life
        self._tokens[token] = until
        expiry: Any = str(int(until)) if self.habits.expiry == "text" else int(until)
        return self._success({"access_token": token, "refresh_token": token[::-1], "expiry_time": expiry})

    def _success(self, body: dict[str, Any]) -> Answer:
        value: Any = {"boolean": True, "text": "true", "absent": None}[self.habits.success]
        return as_json(body if value is None else {"success": value, **body})

    def _failure(self, status: int, code: int, message: str) -> Answer:
        self.refusals.append(f"{status} {message}")
        value: Any = "false" if self.habits.success == "text" else False
        return as_json({"success": value, "message": message, "code": code, "status": status}, status)

    def _fault(self) -> Answer | None:
        if self.habits.faults == "none" or self._random.random() >= self.habits.fault_share:
            return None
        return {
            "500": lambda: self._failure(500, 500, "server error"),
            "429": lambda: as_json({"message": "Too Many Requests"}, 429, **{"Retry-After": "0"}),
            "empty 200": lambda: Answer(200, b"", {"Content-Type": "application/json"}),
            "html": lambda: Answer(200, b"<html>Please wait</html>", {"Content-Type": "text/html"}),
            "cut": lambda: Answer(200, b'{"success":true,"results":[{"id"', {"Content-Type": "application/json"}),
            "success false": lambda: self._failure(200, 500, "server error"),
            "lost": lambda: Answer(lost=True),
        }[self.habits.faults]()

    # -- reading -------------------------------------------------------------------------------------------------

    def _read(self, path: str, request: Request) -> Answer:
        if path == "/api/v2/documents/clients":
            rows = [{"id": self._id(number), "name": self._encoded(name)} for number, name in self.clients.items()]
            return self._page(rows, request.query)
        listing = {"/api/v2/documents/all": ("both", "all"), "/api/v2/documents": ("both", "documents")}
        if path in listing:
            if self.habits.paths not in listing[path]:
                return self._failure(404, 404, "not found.")
            return self._listed(request.query)
        number = path.rsplit("/", 1)[1]
        document = self.documents.get(int(number)) if number.isdigit() else None
        if document is None:
            return self._failure(403, 403, "not found.") if number.isdigit() else self._failure(400, 400, "invalid id")
        if not document.readable:
            return self._failure(403, 403, "not found.")
        return self._single(document)

    def _listed(self, query: Mapping[str, str]) -> Answer:
        found = list(self.documents.values())
        for document in found:
            document.hidden = max(document.hidden - 1, -1)
        found = [each for each in found if each.hidden < 0 or self.habits.late == 0]
        if (kind := query.get("type")) is not None:
            found = [each for each in found if each.type == kind]
        if (client := query.get("clientid")) is not None:
            found = [each for each in found if str(each.client_id) == client]
        if (uid := query.get("templateuid")) is not None:
            found = [each for each in found if str(TEMPLATES[each.type]) == uid.lower().removeprefix("tpl-")]
        if (text := query.get("searchtxt")) is not None:
            found = [each for each in found if text.lower() in each.title.lower()]
        if self.habits.order == "another each call":
            self._random.shuffle(found)
        elif self.habits.order == "honoured":
            by_id = query.get("orderby") == "id"
            found.sort(key=lambda each: (each.id if by_id else 0, each.title.lower(), each.id))
            if query.get("orderdir", "asc").lower() == "desc":
                found.reverse()
        return self._page([self._row(each) for each in found], query)

    def _row(self, document: Document) -> dict[str, Any]:
        number = TEMPLATES[document.type]
        template: Any = {"number": number, "text": str(number), "tpl-": f"tpl-{number}"}[self.habits.template_id]
        return {
            "id": self._id(document.id), "organization_id": self._id(17), "label": self._encoded(document.title),
            "description": "", "client_id": self._id(document.client_id),
            "clientName": self._encoded(self.clients.get(document.client_id, "")), "customId": None,
            "templateId": template, "templateName": f"Generic {document.type.title()}", "type": document.type,
            "accessible": document.readable,
            "last_modified": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(document.modified)),
        }  # fmt: skip

    def _page(self, rows: list[dict[str, Any]], query: Mapping[str, str]) -> Answer:
        number = query.get("pagenum", "1")
        if not number.isdigit() or not 1 <= int(number) <= 9999:
            return self._failure(404, 404, "not found.")
        size = max(1, min(int(query.get("resultsperpage", "20")), self.habits.per_page))
        found: Any = rows[(int(number) - 1) * size : int(number) * size]
        if found:
            return self._success({"results": found})
        ends: dict[str, dict[str, Any]] = {
            "empty": {"results": []}, "null": {"results": None}, "null text": {"results": "null"}, "absent": {}
        }  # fmt: skip
        return self._success(ends[self.habits.end])

    def _single(self, document: Document) -> Answer:
        details = {"name": self._encoded(document.title), "tags": document.tags}
        for place, (label, value) in enumerate(document.elements.items()):
            key = str(place) if self.habits.details_form == "positions" else label.lower().replace(" ", "_")
            element = self._element(label, value)
            if element is not None or self.habits.nulls == "sent":
                details[key] = element
        whole = {**self._row(document), "details": details}
        body: dict[str, Any] = {
            "top": whole,
            "results": {"results": whole},
            "results list": {"results": [whole]},
        }[self.habits.details_at]
        return self._success(body)

    def _element(self, label: str, value: Any) -> Any:
        if value is None or value == "":
            if self.habits.please_select and label == "Status":
                value = "Please Select"
            else:
                return None
        if isinstance(value, dict):
            return {"name": label, "description": "", "value": value, "attribute": [value]}
        if self.habits.rich_notes and label == "Notes":
            value = "<p>" + html.escape(value, quote=False).replace("\n", "</p><p>") + "</p>"
        if self.habits.values == "bare" and self.habits.details_form == "labels":
            return value
        return {"name": label, "description": "", "value": {"type": "string", "text": value}}

    def _encoded(self, text: str) -> str:
        if self.habits.titles in ("html", "url and html"):
            text = html.escape(text, quote=True)
        if self.habits.titles in ("url", "url and html"):
            text = quote(text)
        return text

    def _id(self, number: int) -> Any:
        return str(number) if self.habits.ids == "text" else number

    # -- writing -------------------------------------------------------------------------------------------------

    def _written(self, path: str, request: Request) -> Answer:
        fate = self.habits.lost if self.habits.lost != "none" and self._random.random() < self.habits.lost_share else ""
        if fate == "lost before":
            return Answer(lost=True)
        if fate == "500 before":
            return self._failure(500, 500, "server error")
        self.writes.append(f"{request.method} {path} {request.body.decode(errors='replace')}")
        items = self._items(path, request.body)
        if items is None:
            return self._failure(400, 400, "invalid body")
        answer = self._create(items) if request.method == "POST" else self._update(path, items)
        if fate == "lost":
            return Answer(lost=True)
        if fate in ("500", "504"):
            return self._failure(int(fate), int(fate), "server error")
        return answer

    def _items(self, path: str, body: bytes) -> list[dict[str, Any]] | None:
        """The documents of a body; None where this Passportal does not take that form."""
        try:
            items = json.loads(body)
        except ValueError:
            return None
        if isinstance(items, dict):
            as_one = self.habits.body != "array" or path != "/api/v2/documents"
            return [items] if as_one else None
        return items if self.habits.body != "object" else None

    def _kind_of(self, uid: Any) -> str | None:
        text = str(uid)
        spellings: dict[str, Callable[[int], tuple[str, ...]]] = {
            "tpl-": lambda number: (f"tpl-{number}",),
            "bare": lambda number: (str(number),),
            "upper": lambda number: (f"TPL-{number}",),
            "any": lambda number: (f"tpl-{number}", str(number), f"TPL-{number}"),
        }
        accepted = spellings[self.habits.template_uid]
        return next((kind for kind, number in TEMPLATES.items() if text in accepted(number)), None)

    def _create(self, items: list[dict[str, Any]]) -> Answer:
        made = []
        for item in items:
            kind = self._kind_of(item.get("templateUid"))
            client = str(item.get("clientId", ""))
            if kind is None or not client.isdigit() or int(client) not in self.clients or not item.get("title"):
                return self._failure(400, 400, "invalid id")
            elements, problem = self._elements(kind, item)
            if problem:
                return self._failure(400, 400, problem)
            made.append((kind, int(client), str(item["title"]), elements))
        for kind, client_id, title, elements in made:
            self._next += 1
            blank: dict[str, Any] = dict.fromkeys(self.labels(kind))
            document = Document(self._next, kind, client_id, title, {**blank, **elements}, hidden=self.habits.late)
            self.documents[document.id] = document
            self.writes.append(f"create {kind} {client_id} {title}")
        return self._success({})

    def _update(self, path: str, items: list[dict[str, Any]]) -> Answer:
        for item in items:
            number = path.rsplit("/", 1)[1] if path != "/api/v2/documents" else str(item.get("id", ""))
            document = self.documents.get(int(number)) if number.isdigit() else None
            if document is None:
                return self._failure(403, 403, "not found.")
            elements, problem = self._elements(document.type, item)
            if problem:
                return self._failure(400, 400, problem)
            document.title = str(item.get("title") or item.get("label") or document.title)
            blank: dict[str, Any] = dict.fromkeys(self.labels(document.type))
            document.elements = {**blank, **elements}  # what is left out is removed
            document.tags = item.get("tags", item.get("details", {}).get("tags", []))
            document.modified = time.time()
            self.writes.append(f"update {document.type} {document.id} {document.title}")
        return self._success({})

    def _elements(self, kind: str, item: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The values that were sent, by label; each by its position, its key, or its inner name."""
        labels = self.labels(kind)
        by_key = {label.lower().replace(" ", "_"): label for label in labels} | {
            label.lower(): label for label in labels
        }
        found: dict[str, Any] = {}
        for key, sent in (item.get("details") or {}).items():
            if key in ("name", "tags") or (
                not self.habits.strict_keys and key.lower() == "name" and "Name" not in labels
            ):
                continue
            named = sent.get("name") if isinstance(sent, dict) else None
            label = by_key.get(str(named or key).lower())
            if label is None and str(key).isdigit() and int(key) < len(labels):
                label = labels[int(key)]
            if label is None:
                return {}, f"unknown field {key}"
            value = sent.get("value", sent) if isinstance(sent, dict) else sent
            if isinstance(value, dict) and "id" not in value:
                value = value.get("text")
            found[label] = value if isinstance(value, (dict, str)) or value is None else str(value)
        for of, label in self.habits.required:
            if of == kind and not found.get(self.habits.spelt.get(label, label)):
                return {}, f"{label} is required"
        return found, ""
