"""One answer of a BMS list, read without any expectation: what it holds, and in which form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.bms.envelope import (
    NOT_JSON,
    EnvelopeRefused,
    answer_refusal,
    fields,
    open_envelope,
    refused_call,
    unreadable,
)
from bms_pipeline.core.entities import ListCall
from bms_pipeline.core.errors import AnswerUnreadable, ServiceUnreachable

Row = Mapping[str, Any]
"""A record with its keys in lower case."""


class Form(StrEnum):
    """The form of an answer to a list call."""

    ROWS = "records"
    EMPTY = "empty"
    NULL = "null"
    REFUSED = "not accepted"


class TotalForm(StrEnum):
    """The form of ``totalRecords``."""

    NUMBER = "given"
    ABSENT = "absent"
    OTHER = "not a whole number"


@dataclass(frozen=True)
class ListAnswer:
    """An answer to a list call. ``number``: the total, if it is a whole number. ``keys``: of records, as spelled.

    ``refusal``: how a refused call was refused (``HTTP 400``). ``may_pass``: the service called it a fault of its own.
    """

    form: Form
    rows: tuple[Row, ...] = field(default=(), repr=False)
    total: TotalForm = TotalForm.ABSENT
    number: int | None = None
    keys: frozenset[str] = frozenset()
    envelope: frozenset[str] = frozenset()
    refusal: str = ""
    may_pass: bool = False

    @property
    def ids(self) -> list[Any]:
        """The ids of the records, in order; the text of one that is a list or an object."""
        return [str(found) if isinstance(found := row.get("id"), list | dict) else found for row in self.rows]

    @property
    def goes_on(self) -> bool:
        """Whether the total says that the list is longer than this answer."""
        return self.number is not None and self.number > len(self.rows)


def ask_list(client: BmsClient, call: ListCall, params: Mapping[str, object], *, may_refuse: bool) -> ListAnswer:
    """Ask for a page of a list. ``may_refuse``: a refusal is an answer too; else it is the error that a sync has."""
    what = f"page {params.get('PageNumber', 1)} of {call.name}"
    try:
        answer = client.ask(call.path, {name: str(value) for name, value in params.items()}, what)
    except ServiceUnreachable as error:
        if may_refuse and error.status is not None:
            return ListAnswer(Form.REFUSED, refusal=f"HTTP {error.status}", may_pass=True)
        raise
    if answer.status != 200:
        if may_refuse and answer.status not in {401, 403, 429}:
            return ListAnswer(Form.REFUSED, refusal=f"HTTP {answer.status}")
        raise answer_refusal(answer, what, call.path)
    try:
        return _opened(answer.body, what)
    except EnvelopeRefused as refused:
        if may_refuse:
            return ListAnswer(Form.REFUSED, refusal="success is false", may_pass=refused.is_passing)
        raise refused_call(what, call.path, refused.code, refused.message) from None


def _opened(body: bytes, what: str) -> ListAnswer:
    try:
        result = msgspec.json.decode(open_envelope(body, what).result)
        spelled: Collection[str] = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=dict[str, msgspec.Raw])
        raw = fields(body).get("totalrecords", b"null")
    except NOT_JSON:
        raise unreadable(body, what) from None
    total = TotalForm.NUMBER if raw.isdigit() else TotalForm.ABSENT if raw == b"null" else TotalForm.OTHER
    number = int(raw) if raw.isdigit() else None
    envelope = frozenset(spelled)
    if result is None:
        return ListAnswer(Form.NULL, (), total, number, envelope=envelope)
    if not isinstance(result, list) or not all(isinstance(row, dict) for row in result):
        raise AnswerUnreadable(
            f"BMS answered {what} with something else than a list of records.",
            "Its API may have changed: check for a newer version of this program.",
        )
    keys = frozenset(key for row in result for key in row)
    rows = tuple({key.lower(): value for key, value in row.items()} for row in result)
    return ListAnswer(Form.ROWS if rows else Form.EMPTY, rows, total, number, keys, envelope)


def spelling(keys: Collection[str]) -> str:
    """Return the spelling of ``keys``, as people call it; empty where single words in lower case do not show it."""
    if not set(keys) - {"success", "error", "result", "id"}:
        return ""
    if all(key[:1].isupper() for key in keys):
        return "CAPITALS" if all(key == key.upper() for key in keys) else "PascalCase"
    if all(key == key.lower() for key in keys):
        return "snake_case" if any("_" in key for key in keys) else "lower case"
    return "camelCase" if all(key[:1].islower() for key in keys) else "mixed"
