"""BMS's answers: the envelope ``{success, error, result, totalRecords}`` and the forms of a refusal.

Facts: a failure can come as HTTP 200 with ``success: false`` [C]; the wire is camelCase, an older host sent PascalCase
[C]; single reads may come without an envelope [S]; ``error`` is ``{code, message, ...}`` [S]. So keys match in any
case, and only ``success: true`` is success. An unreadable answer never counts as "no records".

Values stay undecoded (``msgspec.Raw``): the records pass through unchanged, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from bms_pipeline.core.errors import AccessRefused, AnswerUnreadable, BudgetExhausted, RequestRefused
from bms_pipeline.core.text import printable

if TYPE_CHECKING:
    from bms_pipeline.core.http import Answer

SECURITY_ERROR = 978001
"""Code of an expired or missing token [C]. It comes with 401; with 200 it means the same."""

_RIGHTS = {
    "/v2/crm/accounts": "Accounts",
    "/v2/crm/contacts": "Contacts",
    "/v2/hr/": "Employees",
    "/v2/servicedesk/hardwareasset": "Assets",
    "/v2/system/": "Account types (system lookups)",
}
# BMS's wording for missing rights is unknown [G]. In an error, these words have no other meaning.
_NO_RIGHT = re.compile(r"permission|access (is )?denied|not (authori[sz]ed|allowed)|unauthori[sz]ed|forbidden", re.I)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.I | re.S)

NOT_JSON = (ValueError, RecursionError)
"""Errors from decoding bytes that are not JSON (msgspec's are ``ValueError``) or are built to break a parser."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class EnvelopeRefused(Exception):
    """``success`` is not ``true``. Internal: the client turns it into the error for the call."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def is_passing(self) -> bool:
        """Whether the service itself reports a failure inside a 200: a code from 500 to 599."""
        return self.code is not None and 500 <= self.code < 600


@dataclass(frozen=True)
class Envelope:
    """A successful answer: ``result`` undecoded, and ``totalRecords`` if the list has it."""

    result: bytes
    total: int | None


def module_of(path: str) -> str:
    """Return BMS's name for the module of ``path``."""
    return next((name for prefix, name in _RIGHTS.items() if path.startswith(prefix)), path)


def fields(body: bytes) -> dict[str, bytes]:
    """Return the top-level keys (lower case) and undecoded values of a JSON object.

    Raises one of ``NOT_JSON`` when ``body`` is not a JSON object.
    """
    return {key.lower(): bytes(value) for key, value in _fields.decode(body.removeprefix(b"\xef\xbb\xbf")).items()}


def open_envelope(body: bytes, what: str) -> Envelope:
    """Open the envelope ``body``, an answer with status 200; ``what`` names the call in errors.

    Raises ``EnvelopeRefused`` for a failure, ``AnswerUnreadable`` without success or failure, and one of ``NOT_JSON``
    when ``body`` is no JSON object. In the last case the caller may salvage parts of it, or else call ``unreadable``.
    """
    parts = fields(body)
    success = parts.get("success", b"")
    if success == b"false":
        raise EnvelopeRefused(*_error(parts.get("error", b"null")))
    if success != b"true":
        raise AnswerUnreadable(
            f"BMS answered {what} with JSON that says neither success nor failure.",
            "Check that BMS_URL is a Kaseya BMS portal; if it is, its API changed.",
        )
    total = parts.get("totalrecords", b"null")
    return Envelope(parts.get("result", b"null"), int(total) if total.isdigit() else None)


def unreadable(body: bytes, what: str) -> AnswerUnreadable:
    """Return the error for a ``body`` that is not JSON, with the kind of content."""
    start = body[:2000].lstrip().lower()
    if not start:
        kind = "an empty body"
    elif start.startswith(b"<"):
        title = _TITLE.search(body[:20_000])
        shown = printable(title.group(1).decode("utf-8", "replace"), 80) if title else ""
        kind = f"an HTML page titled “{shown}”" if shown else "an HTML page"
    else:
        kind = "something that is not valid JSON"
    return AnswerUnreadable(
        f"BMS answered {what} with {kind} instead of JSON.",
        "If that is a login or maintenance page, wait or check BMS_URL and BMS_API_URL; then run again.",
    )


def reason_in(body: bytes) -> tuple[int | None, str]:
    """Return error code and message from the body of a refusal, as far as it has them."""
    try:
        parts = fields(body)
    except NOT_JSON:
        return None, ""
    return _error(parts.get("error", b"null")) if "error" in parts else _error(body)


def answer_refusal(answer: Answer, what: str, path: str) -> RequestRefused | BudgetExhausted:
    """Return the error for an answer with status 4xx (except 401)."""
    code, message = reason_in(answer.body)
    if answer.status == 403:
        return no_right(what, path, message)
    if answer.status == 429:
        return BudgetExhausted(
            f"BMS refused {what}: its own limit of calls is used up (HTTP 429), although ours is not.",
            "Something else uses the same limit. Wait up to an hour and run again; it continues where it stopped.",
        )
    return refused_call(what, path, code, message or f"HTTP {answer.status}")


def refused_call(what: str, path: str, code: int | None, message: str) -> RequestRefused:
    """Return the error for a refusal with BMS's reason."""
    if _NO_RIGHT.search(message) or code == SECURITY_ERROR:
        return no_right(what, path, message)
    number = f" ({code})" if code is not None else ""
    return RequestRefused(
        f"BMS refused {what}: {message or 'no reason given'}{number}.",
        "If the reason does not say what to do, run again; if it stays, show it to the BMS administrator.",
    )


def no_right(what: str, path: str, message: str) -> AccessRefused:
    """Return the error for a user without the right to read a module."""
    module = module_of(path)
    reason = f": {message}" if message else ""
    return AccessRefused(
        f"BMS refused {what}: this user may not read the module {module}{reason}.",
        f"In BMS, give the user's security role “Has API Access” and the right to view {module}.",
    )


def _error(raw: bytes) -> tuple[int | None, str]:
    """Return code and message of an ``ErrorInfo`` [S], or of a bare string."""
    try:
        info = msgspec.json.decode(raw)
    except NOT_JSON:
        return None, ""
    if isinstance(info, str):
        return None, printable(info, 200)
    if not isinstance(info, dict):
        return None, ""
    info = {str(key).lower(): value for key, value in info.items()}
    code = info.get("code")
    message = info.get("message") or info.get("details") or ""
    return (code if type(code) is int else None), printable(str(message), 200)
