"""The effect of each fault on an answer. ``EFFECTS`` is the only list of them.

A fault can change the list before it is read, the rows of the page, or the finished reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bms_sandbox.behaviour import FAULT_KINDS, Fault, FaultKind
from bms_sandbox.listing import Listing, Page
from bms_sandbox.records import Failure

JSON_TYPE = "application/json"
_TRICKLE_SECONDS = 0.2
_HUGE_BYTES = 256 * 1024 * 1024
_DEEP_LEVELS = 100_000
_LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Log In</title></head><body><form action='/login'></form></body></html>"
)
_NAME_FIELDS = ("accountName", "assetName", "lastName", "name", "id")


@dataclass(frozen=True)
class Reply:
    """An answer before it becomes bytes on a socket."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """Return the reply as sent without a fault."""
        return Response(self.body, self.status, dict(self.headers), media_type=JSON_TYPE)


def envelope(result: bytes, error: Failure | None = None, total: int | None = None, *, pascal: bool = False) -> bytes:
    """Return ``result`` in the envelope of every list and most single reads."""
    success, err, res, tot = (
        ("Success", "Error", "Result", "TotalRecords") if pascal else ("success", "error", "result", "totalRecords")
    )
    failed = b"null" if error is None else error.encode()
    counted = b"" if total is None else b',"%b":%d' % (tot.encode(), total)
    return b'{"%b":%b,"%b":%b,"%b":%b%b}' % (
        success.encode(), b"true" if error is None else b"false", err.encode(), failed, res.encode(), result, counted,
    )  # fmt: skip


def refusal(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a refusal, in the shape of ``ErrorInfo``."""
    failure = Failure(code=code, message=message, details=None, stack_strace=None, sub_errors=[])
    return Reply(envelope(b"null", failure), status, headers or {})


@dataclass(frozen=True)
class Effect:
    """The changes of one kind of fault; parts it leaves out stay as they are."""

    on_listing: Callable[[Listing, Mapping[str, str], Fault], None] = lambda listing, query, fault: None
    on_page: Callable[[Page, Fault], list[bytes]] = lambda page, fault: page.rows
    on_reply: Callable[[Reply, Fault], Response] = lambda reply, fault: reply.response()


def _on_record(spoil: Callable[[bytes, str], bytes]) -> Effect:
    """Return the effect of spoiling the field ``fault.field`` of the row ``fault.row``."""

    def on_page(page: Page, fault: Fault) -> list[bytes]:
        if fault.row >= len(page.rows):
            return page.rows
        row = page.rows[fault.row]
        keys: dict[str, Any] = msgspec.json.decode(row)
        name = fault.field or next(key for key in _NAME_FIELDS if key in keys)
        return [*page.rows[: fault.row], spoil(row, name), *page.rows[fault.row + 1 :]]

    return Effect(on_page=on_page)


def _replaced(row: bytes, name: str, value: bytes | None) -> bytes:
    """Return ``row`` with the field set to a raw JSON value, or without it."""
    fields: dict[str, msgspec.Raw] = msgspec.json.decode(row, type=dict[str, msgspec.Raw])
    members = [b'"%b":%b' % (key.encode(), bytes(raw)) for key, raw in fields.items() if key != name]
    if value is not None:
        members.append(b'"%b":%b' % (name.encode(), value))
    return b"{%b}" % b",".join(members)


def _retyped(row: bytes, name: str) -> bytes:
    """Give the field another type: a number becomes an array, everything else a number."""
    value = msgspec.json.decode(row).get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _replaced(row, name, b'["%d"]' % value if is_number else b"4.25")


def _twice(row: bytes, name: str) -> bytes:
    """Add the field a second time, with another value."""
    second = b"-1" if name == "id" else b'"the second value"'
    return b'%b,"%b":%b}' % (row[:-1], name.encode(), second)


def _deep(page: Page, fault: Fault) -> list[bytes]:
    levels = fault.amount or _DEEP_LEVELS
    return _on_record(lambda row, name: _replaced(row, name, b"[" * levels + b"]" * levels)).on_page(page, fault)


def _shift(listing: Listing, query: Mapping[str, str], fault: Fault) -> None:
    listing.shift(query, -1 if fault.amount is None else fault.amount)


def _duplicate(page: Page, fault: Fault) -> list[bytes]:
    """Repeat the last row of the page before; on the first page, its own first row."""
    again = page.before or (page.rows[0] if page.rows else None)
    return page.rows if again is None else [again, *page.rows]


def _missing_row(page: Page, fault: Fault) -> list[bytes]:
    return [row for number, row in enumerate(page.rows) if number != fault.row]


def _status(reply: Reply, fault: Fault) -> Response:
    wrong = refusal(fault.status, fault.status, "The service is not available for this request.", reply.headers)
    return wrong.response()


def _success_false(reply: Reply, fault: Fault) -> Response:
    return Reply(refusal(200, 1000, "An error occurred while reading the data.").body).response()


def _success_text(reply: Reply, fault: Fault) -> Response:
    body = refusal(200, 1000, "An error occurred while reading the data.").body
    return Reply(body.replace(b'"success":false', b'"success":"false"')).response()


def _redirect(reply: Reply, fault: Fault) -> Response:
    return Response(status_code=307, headers={"location": fault.target})


class _Pieces(Response):
    """A body sent in pieces: slowly, without end, or not to its end."""

    def __init__(self, reply: Reply, pieces: Callable[[bytes], list[bytes]], *, pause: float, then: str) -> None:
        super().__init__(reply.body, reply.status, dict(reply.headers), media_type=JSON_TYPE)
        self._pieces = pieces(reply.body)
        self._pause = pause
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces; then hold the line, hang up, or finish."""
        if self._then == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if self._pause:
                await asyncio.sleep(self._pause)
        if self._then == "finish":
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _cut(reply: Reply, fault: Fault) -> Response:
    """Announce the length, send half of the body, and close the connection."""
    return _Pieces(reply, lambda body: [body[: len(body) // 2]], pause=0, then="hang up")


def _hang(reply: Reply, fault: Fault) -> Response:
    return _Pieces(reply, lambda body: [], pause=0, then="hang")


def _trickle(reply: Reply, fault: Fault) -> Response:
    return _Pieces(
        reply, lambda body: [body[n : n + 1] for n in range(len(body))], pause=_TRICKLE_SECONDS, then="finish"
    )


class _Huge(Response):
    """A body of very many blanks after a good beginning."""

    def __init__(self, amount: int) -> None:
        super().__init__(b"", 200, {"content-length": str(amount)}, media_type=JSON_TYPE)
        self._amount = amount

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it in megabytes."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        left, block = self._amount, b" " * 1_048_576
        while left > 0:
            piece = block[: min(left, len(block))]
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


EFFECTS: dict[FaultKind, Effect] = {
    "status": Effect(on_reply=_status),
    "html": Effect(on_reply=lambda reply, fault: Response(_LOGIN_PAGE, 200, media_type="text/html")),
    "truncated": Effect(
        on_reply=lambda reply, fault: Reply(reply.body[: len(reply.body) // 2], reply.status).response()
    ),
    "cut": Effect(on_reply=_cut),
    "hang": Effect(on_reply=_hang),
    "trickle": Effect(on_reply=_trickle),
    "empty_body": Effect(on_reply=lambda reply, fault: Reply(b"").response()),
    "result_null": Effect(on_reply=lambda reply, fault: Reply(envelope(b"null")).response()),
    "success_false": Effect(on_reply=_success_false),
    "success_text": Effect(on_reply=_success_text),
    "redirect": Effect(on_reply=_redirect),
    "huge": Effect(on_reply=lambda reply, fault: _Huge(fault.amount or _HUGE_BYTES)),
    "shift": Effect(on_listing=_shift),
    "duplicate": Effect(on_page=_duplicate),
    "missing_row": Effect(on_page=_missing_row),
    "retyped": _on_record(_retyped),
    "missing_field": _on_record(lambda row, name: _replaced(row, name, None)),
    "unknown_field": _on_record(lambda row, name: _replaced(row, "newVendorField", b'"new"')),
    "nan": _on_record(lambda row, name: _replaced(row, name, b"NaN")),
    "deep": Effect(on_page=_deep),
    "lone_surrogate": _on_record(lambda row, name: _replaced(row, name, b'"half \\ud83d of a pair"')),
    "duplicate_keys": _on_record(_twice),
}
assert set(EFFECTS) == set(FAULT_KINDS)  # noqa: S101  # a kind without effect would be a silent lie
NO_EFFECT = Effect()
