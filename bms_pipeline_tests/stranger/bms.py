"""A BMS after the vendor's OpenAPI document and other people's clients. Every habit is a switch."""

from __future__ import annotations

import copy
import html
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bms_pipeline_tests.contract.document import on_the_wire
from bms_pipeline_tests.stranger.serving import Answer, Request, as_json, packed

Record = dict[str, Any]
"""A record by the vendor's own (Pascal case) names."""

USERNAME, PASSWORD, TENANT = "api.employee", "p&ss wörd=1", "Stranger & Söhne GmbH"

LISTS = {
    "/v2/crm/accounts/summary": "accounts",
    "/v2/crm/contacts/summary": "contacts",
    "/v2/hr/employees/searchselect": "employees",
    "/v2/servicedesk/hardwareasset/searchselect": "assets",
}
WITH_TOTAL = {"accounts", "contacts", "employees"}
WITH_STAMPS = {"accounts", "contacts"}
SINGLE = "/v2/crm/accounts/summary/"
DETAIL = "/v2/servicedesk/hardwareasset/"
TYPES = (
    {"Id": 11, "Name": "Customer", "IsActive": True, "IsClient": True, "IsVendor": False},
    {"Id": 12, "Name": "Vendor", "IsActive": True, "IsClient": False, "IsVendor": True},
    {"Id": 13, "Name": "Prospect", "IsActive": True, "IsClient": False, "IsVendor": False},
)


@dataclass(frozen=True)
class BmsHabits:
    """How this BMS answers; the defaults are the vendor's document, in camelCase as clients see it."""

    keys: str = "camel"  # of records: camel, pascal, lower, upper, snake, mixed
    envelope: str = "camel"
    renamed: Mapping[str, str] = field(default_factory=dict)  # "contacts.IsActive" -> new name, "" drops the key
    clamp: int = 100
    pages: str = "honoured"  # ignored, from zero, everything at once, everything each time
    past_end: str = "empty"  # null, last, first, 204, 400, 404, 500, success false, no result
    total: str = "given"  # absent, null, page, zero, text, float, minus one, one more, one less, also for assets
    order: str = "stable"  # another each call, descending, by name
    hole: str = "none"  # empty once, empty always, short once, short always, null once: page 2
    repeated: bool = False  # the last row of a page comes again as the first of the next
    nulls: str = "sent"  # omitted
    numbers: str = "numbers"  # text, floats
    booleans: str = "booleans"  # text, numbers
    text: str = "plain"  # html entities
    blank: str = "null"  # empty text, instead of null in texts
    stamps: str = "bare"  # zulu, offset, seven digits, date only
    extra: bool = False  # fields that the document does not know
    faults: str = "none"  # now and then: 500, 503, 429, html, error in 200, empty 200, cut, lost, two 401, one 401
    fault_share: float = 0.12
    login: str = "both"  # multipart, form, no tenant is fine
    tokens: str = "long"  # short: a few seconds
    success: str = "boolean"  # text, absent
    sort: str = "honoured"  # ignored, only rising, refused 400, refused 422, refused 500
    modified: str = "honoured"  # ignored, refused 400, with zone, date only
    unknown_parameters: str = "ignored"  # refused
    accounts: str = "honoured"  # ignored, refused 400, as text: Filter.AccountId
    single: str = "bare"  # enveloped, other id, 404: one account by its id
    coding: str = "none"  # see serving.packed
    types: str = "list"  # null, empty, names only
    detail: str = "enveloped"  # bare, other id, no id, empty object, null


class Bms:
    """One tenant of the stranger's BMS; ``answer`` takes its requests."""

    def __init__(self, records: Mapping[str, list[Record]], habits: BmsHabits, seed: int = 0) -> None:
        self.records = {name: list(rows) for name, rows in records.items()}
        self.habits = habits
        self.calls: list[str] = []
        self.served: dict[str, set[int]] = {name: set() for name in LISTS.values()}
        self._random = random.Random(seed)
        self._tokens: dict[str, datetime] = {}
        self._once: set[str] = set()
        self._denied = 0

    # -- what a person does in BMS -------------------------------------------------------------------------------

    def change(self, name: str, bms_id: int, **values: Any) -> None:
        """Change a record, as somebody does in the web page."""
        record = next(row for row in self.records[name] if row["Id"] == bms_id)
        record.update(values)
        if name in WITH_STAMPS:
            record["ModifiedOn"] = _now().isoformat(timespec="seconds")

    def add(self, name: str, record: Record) -> None:
        """Add a record."""
        self.records[name].append(record)
        if name in WITH_STAMPS:
            record["ModifiedOn"] = record["CreatedOn"] = _now().isoformat(timespec="seconds")

    # -- answering -----------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Answer a request, in this BMS's way."""
        self.calls.append(f"{request.method} {request.path}?{'&'.join(f'{k}={v}' for k, v in request.query.items())}")
        path = request.path.lower().rstrip("/")
        if path.endswith(("/security/authenticate", "/security/refreshtoken")):
            return packed(self._login(request, path), self.habits.coding)
        if refused := self._unauthorised(request):
            return refused
        fault = self._fault(request)
        if fault is not None:
            return fault
        return packed(self._read(request, path), self.habits.coding)

    def _login(self, request: Request, path: str) -> Answer:
        form, multipart = request.form(), request.multipart()
        fields = {"both": form if form is not None else multipart, "multipart": multipart, "form": form}[
            self.habits.login
        ]
        if fields is None:
            return as_json({"type": "https://tools.ietf.org/html/rfc7231#section-6.5.13", "status": 415}, 415)
        if path.endswith("/refreshtoken"):
            if fields.get("accesstoken") not in self._tokens:
                return self._error(401, 978001, "Security Error")
            self._tokens.pop(fields["accesstoken"])
        elif (fields.get("username"), fields.get("password"), fields.get("tenant")) != (USERNAME, PASSWORD, TENANT):
            return self._error(401, 978001, "Security Error")
        token = f"stranger-{self._random.getrandbits(64):x}"
        life = timedelta(seconds=3) if self.habits.tokens == "short" else timedelta(minutes=30)
        self._tokens[token] = _now() + life
        stamp = (_now() + life).isoformat(timespec="seconds") + "Z"
        result = {"AccessToken": token, "RefreshToken": token[::-1], "AccessTokenExpireOn": stamp}
        return self._envelope({**result, "RefreshTokenExpireOn": stamp})

    def _unauthorised(self, request: Request) -> Answer | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        expires = self._tokens.get(token) if kind.lower() == "bearer" else None
        if expires is None or expires < _now():
            answer = self._error(401, 978001, "Security Error")
            return Answer(401, answer.body, {**answer.headers, "token-expired": "true"})
        if self._denied:
            self._denied -= 1
            return self._error(401, 978001, "Security Error")
        if self.habits.faults in ("one 401", "two 401") and self._now_and_then():
            self._denied = 1 if self.habits.faults == "two 401" else 0
            return self._error(401, 978001, "Security Error")
        return None

    def _now_and_then(self) -> bool:
        return self._random.random() < self.habits.fault_share

    def _fault(self, request: Request) -> Answer | None:
        makers: dict[str, Callable[[], Answer]] = {
            "500": lambda: self._error(500, 1, "Object reference not set to an instance of an object."),
            "502 html": lambda: Answer(502, b"<html><h1>502 Bad Gateway</h1></html>", {"Content-Type": "text/html"}),
            "503": lambda: Answer(503, b"", {"Retry-After": "0"}),
            "429": lambda: as_json({"message": "API calls quota exceeded!"}, 429, **{"Retry-After": "0"}),
            "html": lambda: Answer(200, b"<!doctype html><title>Maintenance</title>", {"Content-Type": "text/html"}),
            "error in 200": lambda: self._error(200, 500, "Internal error"),
            "empty 200": lambda: Answer(200, b"", {"Content-Type": "application/json"}),
            "cut": lambda: Answer(200, b'{"success":true,"result":[{"id":', {"Content-Type": "application/json"}),
            "lost": lambda: Answer(lost=True),
        }
        if self.habits.faults in makers and self._now_and_then():
            return makers[self.habits.faults]()
        return None

    def _read(self, request: Request, path: str) -> Answer:
        if path in LISTS:
            return self._list(LISTS[path], request.query)
        if path.endswith("/security/userinfo"):
            return self._envelope({"UserId": 7, "FullName": "API Employee", "TenantId": 1, "TimeZoneName": "UTC"})
        if path.endswith("/system/accounttypes/lookup"):
            return self._types()
        if path.startswith(SINGLE) and path.removeprefix(SINGLE).isdigit():
            return self._single(int(path.removeprefix(SINGLE)))
        if path.startswith(DETAIL) and path.removeprefix(DETAIL).isdigit():
            return self._detail(int(path.removeprefix(DETAIL)))
        return self._error(404, 404, "Not found")

    def _types(self) -> Answer:
        kinds = {
            "list": list(TYPES),
            "null": None,
            "empty": [],
            "names only": [{"Id": kind["Id"], "Name": kind["Name"]} for kind in TYPES],
        }
        found = kinds[self.habits.types]
        return self._envelope(found and [self._spelt(row, "types") for row in found])

    def _single(self, bms_id: int) -> Answer:
        row = next((row for row in self.records["accounts"] if row["Id"] == bms_id), None)
        kind = self.habits.single
        if row is None or kind == "404":
            return self._error(404, 404, "Not found")
        spelt = self._spelt({**row, "Id": bms_id + 1} if kind == "other id" else row, "accounts")
        return self._envelope(spelt) if kind == "enveloped" else as_json(spelt)

    def _detail(self, bms_id: int) -> Answer:
        row = next((row for row in self.records["assets"] if row["Id"] == bms_id), None)
        if row is None:
            return self._error(404, 404, "Not found")
        detail = {**row["_detail"], "Id": bms_id, "Name": row["AssetName"], "AccountId": row["AccountId"]}
        kind = self.habits.detail
        if kind == "other id":
            detail["Id"] = bms_id + 1
        elif kind == "no id":
            del detail["Id"]
        elif kind == "empty object":
            detail = {}
        spelt = None if kind == "null" else self._spelt(detail, "detail")
        return as_json(spelt) if kind == "bare" else self._envelope(spelt)

    def _list(self, name: str, query: Mapping[str, str]) -> Answer:
        refusal = self._refused_parameter(name, query)
        if refusal is not None:
            return refusal
        rows = self._filtered(name, query)
        self._ordered(rows, query)
        page, size = self._asked(query)
        found = self._page(name, rows, page, size)
        if isinstance(found, Answer):
            return found
        self.served[name] |= {row["Id"] for row in found or ()}
        total = self._total(name, rows, found)
        spelt = None if found is None else [self._spelt(row, name) for row in found]
        return self._envelope(spelt, total)

    def _asked(self, query: Mapping[str, str]) -> tuple[int, int]:
        size = min(int(query.get("pagesize", "10")), self.habits.clamp)
        page = int(query.get("pagenumber", "1"))
        if self.habits.pages == "from zero":
            page += 1
        return max(page, 1), max(size, 1)

    def _refused_parameter(self, name: str, query: Mapping[str, str]) -> Answer | None:
        if "sort" in query and self.habits.sort.startswith("refused"):
            return self._error(int(self.habits.sort.split()[1]), 400, "The sort is invalid")
        if "filter.accountid" in query and self.habits.accounts == "refused 400":
            return self._error(400, 400, "The value is not valid for AccountId")
        asked = query.get("filter.modifiedonfrom")
        if asked is not None and name in WITH_STAMPS:
            zoned = asked.endswith("Z") or "+" in asked[10:] or "-" in asked[10:]
            if self.habits.modified == "refused 400" or (self.habits.modified == "with zone" and not zoned):
                return self._error(400, 400, "The value is not valid for ModifiedOnFrom")
            if self.habits.modified == "date only" and len(asked) > 10:
                return self._error(400, 400, "The value is not valid for ModifiedOnFrom")
        return None

    def _filtered(self, name: str, query: Mapping[str, str]) -> list[Record]:
        rows = list(self.records[name])
        asked = query.get("filter.modifiedonfrom")
        if asked is not None and name in WITH_STAMPS and self.habits.modified != "ignored":
            rows = [row for row in rows if row["ModifiedOn"] is None or row["ModifiedOn"][:19] >= asked[:19]]
        account = query.get("filter.accountid")
        if account is not None and name in ("contacts", "assets") and self.habits.accounts != "ignored":
            begins = self.habits.accounts == "as text"  # a filter of texts finds 1 in 12
            rows = [
                row
                for row in rows
                if (str(row["AccountId"]).startswith(account) if begins else str(row["AccountId"]) == account)
            ]
        if (active := query.get("filter.isactive")) is not None:
            rows = [row for row in rows if bool(row["IsActive"]) == (active.lower() == "true")]
        return rows

    def _ordered(self, rows: list[Record], query: Mapping[str, str]) -> None:
        if self.habits.order == "another each call":
            self._random.shuffle(rows)
            return
        asked = query.get("sort", "").lower()
        falls = asked.startswith("-") or "desc" in asked
        if (self.habits.sort == "honoured" or (self.habits.sort == "only rising" and not falls)) and (
            asked.lstrip("-").startswith("id")
        ):
            rows.sort(key=lambda row: row["Id"], reverse=falls)
        if self.habits.order == "descending":
            rows.sort(key=lambda row: -row["Id"])
        elif self.habits.order == "by name":
            rows.sort(key=lambda row: str(row.get("AccountName") or row.get("LastName") or row.get("AssetName")))

    def _page(self, name: str, rows: list[Record], page: int, size: int) -> list[Record] | Answer | None:
        if self.habits.pages == "everything each time":
            return rows
        if self.habits.pages == "everything at once":
            return rows if page == 1 else []
        if self.habits.pages == "ignored":
            page = 1
        start = (page - 1) * size
        found = rows[start : start + size]
        if self.habits.repeated and found and page > 1:
            found = [rows[start - 1], *found]
        if not found and page > 1:
            return self._past_end(rows, size)
        if page == 2 and start + size < len(rows):
            return self._hole(name, found)
        return found

    def _hole(self, name: str, found: list[Record]) -> list[Record] | None:
        kind = self.habits.hole
        if kind == "none" or (kind.endswith("once") and name in self._once):
            return found
        self._once.add(name)
        return {"empty": [], "short": found[: len(found) // 2], "null": None}[kind.split()[0]]

    def _past_end(self, rows: list[Record], size: int) -> list[Record] | Answer | None:
        kind = self.habits.past_end
        if kind in ("400", "404", "500"):
            return self._error(int(kind), int(kind), "Page not found")
        if kind == "success false":
            return self._error(200, 404, "No records found")
        if kind == "204":
            return Answer(204)
        if kind == "no result":
            return as_json({"success": True, "error": None})
        last = rows[(len(rows) - 1) // size * size :] if rows else []
        return {"empty": [], "null": None, "last": last, "first": rows[:size]}[kind]

    def _total(self, name: str, rows: list[Record], page: Iterable[Record] | None) -> Any:
        count, kind = len(rows), self.habits.total
        if name not in WITH_TOTAL and kind != "also for assets":
            return ...
        return {
            "given": count,
            "also for assets": count,
            "absent": ...,
            "null": None,
            "page": len(list(page or [])),
            "zero": 0,
            "text": str(count),
            "float": float(count),
            "minus one": -1,
            "one more": count + 1,
            "one less": max(count - 1, 0),
            "words": "many",
        }[kind]

    # -- spelling ------------------------------------------------------------------------------------------------

    def _error(self, status: int, code: int, message: str) -> Answer:
        error = {"Code": code, "Message": message, "Details": None, "StackStrace": None, "SubErrors": None}
        body = {"Success": False, "Error": error, "Result": None}
        return as_json(_keys(body, lambda name: _case(name, self.habits.envelope)), status)

    def _envelope(self, result: Any, total: Any = ...) -> Answer:
        success: Any = {"boolean": True, "text": "true", "number": 1, "absent": ...}[self.habits.success]
        body = {"Success": success, "Error": None, "TotalRecords": total}
        spelt = {_case(name, self.habits.envelope): value for name, value in body.items() if value is not ...}
        if isinstance(result, dict):
            result = _keys(result, lambda name: _case(name, self.habits.envelope) if name[:1].isupper() else name)
        return as_json({**spelt, _case("Result", self.habits.envelope): result})

    def _spelt(self, record: Record, name: str) -> Record:
        visible = {key: value for key, value in copy.deepcopy(record).items() if not key.startswith("_")}
        if self.habits.extra:
            visible |= {"CustomFields": [{"Id": 1, "Value": {"Text": "x"}}], "RowVersion": "AAAB"}
        spelt: Record = self._value(visible, name)
        return spelt

    def _value(self, value: Any, where: str) -> Any:
        habits = self.habits
        if isinstance(value, dict):
            spelt = {}
            for key, inner in value.items():
                new = habits.renamed.get(f"{where}.{key}", key)
                if new and not (inner is None and habits.nulls == "omitted"):
                    spelt[_case(new, habits.keys)] = self._field(key, inner, f"{where}.{key}")
            return spelt
        if isinstance(value, list):
            return [self._value(inner, where) for inner in value]
        return self._field("", value, where)

    def _field(self, key: str, value: Any, where: str) -> Any:
        habits = self.habits
        if isinstance(value, (dict, list)):
            return self._value(value, where)
        if isinstance(value, bool):
            return {"booleans": value, "text": str(value).lower(), "numbers": int(value)}[habits.booleans]
        if isinstance(value, int):
            return {"numbers": value, "text": str(value), "floats": float(value)}[habits.numbers]
        if isinstance(value, str):
            if key.endswith(("On", "Date")) and value[:4].isdigit():
                return _stamp(value, habits.stamps)
            return html.escape(value, quote=True) if habits.text == "html entities" else value
        return value


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _stamp(value: str, kind: str) -> str:
    return {
        "bare": value,
        "zulu": value + "Z",
        "offset": value + "+00:00",
        "seven digits": value + ".1234567",
        "date only": value[:10],
    }[kind]


def _case(name: str, kind: str) -> str:
    camel = on_the_wire(name)
    return {
        "camel": camel,
        "pascal": name,
        "lower": name.lower(),
        "upper": name.upper(),
        "mixed": name if name in ("Id", "AccountId") else camel,
        "snake": "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in camel),
    }[kind]


def _keys(value: Any, spelt: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {spelt(key): _keys(inner, spelt) for key, inner in value.items()}
    return value
