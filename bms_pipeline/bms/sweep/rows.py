"""The records of a page: their ids, and the few unstorable ones.

Records are not decoded. msgspec reads only the ids and skips over the rest of each record (about 0.1 ms for 100). It
still validates the JSON, and refuses what DuckDB would refuse too (measured on 1.5): lone surrogates, raw control
characters, broken escapes. msgspec does not check skipped text for invalid UTF-8, so this module does.

A refused record is *quarantined*: identified and set aside, while the others go on. Only then does a tokenizer split
the page. It does not recurse, because nesting 100,000 deep can crash a parser, and it trusts nothing in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from bms_pipeline.bms.envelope import NOT_JSON
from bms_pipeline.core.errors import AnswerUnreadable

ID_LIMIT = 2**63
RECORD_BYTES = 15 * 1024 * 1024
"""Largest record: DuckDB refuses JSON objects over 16 MB, and with one its whole page."""


class ImpossibleId(ValueError):
    """A whole number as id, too large for 64 bits: a hostile record, not another API."""


class _Row(msgspec.Struct):
    id: int


_rows = msgspec.json.Decoder(list[_Row])
_WHERE = re.compile(r"\$\[(\d+)\]")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s"\[\]{},:]++', re.S)


@dataclass(frozen=True)
class Quarantined:
    """A record that cannot be stored. ``position`` counts from 1 in its page; ``id`` is set only if it is sure."""

    position: int
    why: str
    id: int | None
    raw: bytes = field(repr=False)


@dataclass(frozen=True)
class Rows:
    """A page's records: the JSON array without the quarantined ones, and its ids in order."""

    records: bytes = field(repr=False)
    ids: list[int]
    quarantined: tuple[Quarantined, ...] = ()


def rows_of(array: bytes, what: str) -> Rows:
    """Return the records in the JSON ``array``, untouched if all of them can be stored.

    Raises ``AnswerUnreadable`` naming ``what`` (list call and page) and the position when a record has no whole number
    as id. Then the API is not the one we know, and skipping records would be guessing. Raises one of ``NOT_JSON`` when
    ``array`` holds a record to quarantine: see ``salvaged``.
    """
    if not array.startswith(b"["):
        kind = "null" if array == b"null" else "no list"
        raise AnswerUnreadable(
            f"BMS answered {what} with {kind} where the records should be.",
            "This is not taken for “no records”. Run again; if it stays, look at the user's rights in BMS.",
        )
    if not array.isascii():
        array.decode()  # raises ValueError for invalid UTF-8
    ids = _ids(array, what)
    if len(array) > RECORD_BYTES:
        raise ValueError("a record may be too large")
    return Rows(array, ids)


def salvaged(body: bytes, what: str) -> tuple[bytes, Rows]:
    """Split the answer ``body`` into its envelope, with an empty list, and its records, with the bad ones set aside.

    Raises ``ValueError`` when ``body`` is not an object with a list of objects called ``result``: cut, or not JSON at
    all. Raises ``AnswerUnreadable`` as ``rows_of`` does.
    """
    start, end, elements = _split(body)
    good: list[bytes] = []
    ids: list[int] = []
    quarantined: list[Quarantined] = []
    for position, element in enumerate(elements, start=1):
        why = _why_bad(element)
        if why is None:
            try:
                ids += _ids(b"[%b]" % element, what, position)
                good.append(element)
                continue
            except ImpossibleId:
                why = "its id is no 64-bit number"
        quarantined.append(Quarantined(position, why, _loose_id(element), element))
    envelope = body[:start] + b"[]" + body[end:]
    return envelope, Rows(b"[%b]" % b",".join(good), ids, tuple(quarantined))


def _ids(array: bytes, what: str, position: int = 0) -> list[int]:
    """Return the ids of an array's records; ``position``: place in the page, for an array of a single record.

    Raises ``ImpossibleId`` when an id is no 64-bit number, ``AnswerUnreadable`` when it is missing or no number.
    """
    try:
        ids = [row.id for row in _rows.decode(array)]
    except msgspec.ValidationError as error:
        problem = str(error)
    else:
        if ids and not (min(ids) >= -ID_LIMIT and max(ids) < ID_LIMIT):
            raise ImpossibleId
        return ids
    if "out of range" in problem:  # thousands of digits
        raise ImpossibleId
    place = _WHERE.search(problem)
    raise AnswerUnreadable(
        f"BMS answered {what} with a record without a whole number as id "
        f"(record {position or (int(place.group(1)) if place else 0) + 1} of the page).",
        "The API may have changed: look at that record in BMS, and check for a newer version of this program.",
    )


def _why_bad(element: bytes) -> str | None:
    """Return the reason why a record cannot be stored; ``None`` if it can."""
    if len(element) > RECORD_BYTES:
        return f"larger than {RECORD_BYTES // 2**20} MB"
    if not element.startswith(b"{"):
        return None  # the id check reports it
    try:
        element.decode()
        msgspec.json.decode(element, type=dict[str, msgspec.Raw])
    except UnicodeDecodeError:
        return "invalid UTF-8"
    except RecursionError:
        return "nested too deeply"
    except NOT_JSON as error:
        return str(error).partition(" (byte")[0]
    return None


def _tokens(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield start, depth *before* it, and the token itself, through a JSON text of any depth."""
    depth = 0
    for match in _TOKEN.finditer(body):
        token = match.group()
        if token in b"]}":
            depth -= 1
        yield match.start(), depth, token
        if token in b"[{":
            depth += 1


def _split(body: bytes) -> tuple[int, int, list[bytes]]:
    """Return start and end of the ``result`` array in an envelope, and its elements.

    Raises ``ValueError`` without one.
    """
    key, start, cuts = b"", -1, list[int]()
    for at, depth, token in _tokens(body):
        if start < 0:
            if depth == 1 and token.startswith(b'"'):
                key = token.lower()
            elif depth == 1 and token == b"[" and key == b'"result"':
                start, cuts = at, [at]
        elif depth == 2 and token == b",":
            cuts.append(at)
        elif depth == 1 and token == b"]":
            cuts.append(at)
            elements = [body[left + 1 : right].strip() for left, right in pairwise(cuts)]
            return start, at + 1, [] if elements == [b""] else elements
    raise ValueError("no list of records")


def _loose_id(element: bytes) -> int | None:
    """Return the ``id`` of an undecodable record, read from its top level only."""
    key = b""
    for _, depth, token in _tokens(element):
        if depth == 1 and token.startswith(b'"'):
            key = token
        elif depth == 1 and key.lower() == b'"id"' and token not in b":":
            return int(token) if token.isdigit() and len(token) < 19 else None
        elif depth == 1 and token == b",":
            key = b""
    return None
