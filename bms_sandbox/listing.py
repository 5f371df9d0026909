"""One list of records with the paging of BMS: order, filters, pages of ready bytes.

Which rows a query selects, and in which order, is worked out once and kept until a row changes.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

MAX_PAGE_SIZE = 100
_REMEMBERED_QUERIES = 64

Test = Callable[[Any], bool]


class BadQuery(ValueError):
    """A query parameter with a value unreadable for BMS."""


def equal_number(text: str) -> Test:
    """Filter: the field is this number."""
    wanted = _whole_number(text)
    return lambda value: value == wanted


def other_number(text: str) -> Test:
    """Filter: the field is not this number."""
    wanted = _whole_number(text)
    return lambda value: value != wanted


def one_of_numbers(text: str) -> Test:
    """Filter: the field is one of these numbers, separated by commas."""
    wanted = {_whole_number(number) for number in text.split(",")}
    return lambda value: value in wanted


def truth_value(text: str) -> Test:
    """Filter: the field is this truth value."""
    if text.casefold() not in {"true", "false"}:
        raise BadQuery(f"The value '{text}' is not valid.")
    wanted = text.casefold() == "true"
    return lambda value: value is wanted


def containing(text: str) -> Test:
    """Filter: the text is in the field, whatever its case (the text filters of BMS are not documented)."""
    wanted = text.casefold()
    return lambda value: value is not None and wanted in str(value).casefold()


def in_any_entry(key: str) -> Callable[[str], Test]:
    """Filter: the text is in ``key`` of any element of the array."""

    def read(text: str) -> Test:
        test = containing(text)
        return lambda values: any(test(element.get(key)) for element in values or ())

    return read


def not_before(text: str) -> Test:
    """Filter: the stamp is this or later."""
    wanted = _stamp(text)
    return lambda value: value is not None and value >= wanted


def not_after(text: str) -> Test:
    """Filter: the stamp is this or earlier."""
    wanted = _stamp(text)
    return lambda value: value is not None and value <= wanted


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadQuery(f"The value '{text}' is not valid.") from None


def _stamp(text: str) -> str:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None).isoformat()
    except ValueError:
        raise BadQuery(f"The value '{text}' is not valid.") from None


@dataclass(frozen=True)
class Filter:
    """A query parameter: its field, and the function from its text to a test."""

    field: str
    read: Callable[[str], Test]


@dataclass(frozen=True)
class Page:
    """Part of a selection. ``before`` is the row ahead of it, if any."""

    rows: list[bytes]
    total: int
    before: bytes | None


class Listing:
    """The rows of one list call."""

    def __init__(self, rows: list[bytes], filters: Mapping[str, Filter]) -> None:
        self.rows = rows
        self._filters = {f"filter.{name.casefold()}": parameter for name, parameter in filters.items()}
        self._selections: OrderedDict[tuple[tuple[str, str], ...], array[int]] = OrderedDict()
        self._columns: dict[str, Sequence[Any]] = {}
        self._positions: dict[int, int] | None = None

    def changed(self) -> None:
        """Clear the caches: a row was added, changed or removed."""
        self._selections.clear()
        self._columns.clear()
        self._positions = None

    def by_id(self, record_id: int) -> bytes | None:
        """Return the record with this id."""
        if self._positions is None:
            self._positions = {row_id: position for position, row_id in enumerate(self._column("id"))}
        position = self._positions.get(record_id)
        return None if position is None else self.rows[position]

    def page(self, query: Mapping[str, str]) -> Page:
        """Return the page for ``query`` (names in lower case); empty past the end."""
        size = min(max(1, _whole_number(query.get("pagesize", str(MAX_PAGE_SIZE)))), MAX_PAGE_SIZE)
        number = max(1, _whole_number(query.get("pagenumber", "1")))
        selection = self._selection(query)
        start = (number - 1) * size
        rows = [self.rows[position] for position in selection[start : start + size]]
        before = self.rows[selection[start - 1]] if rows and start else None
        return Page(rows, len(selection), before)

    def shift(self, query: Mapping[str, str], amount: int) -> None:
        """Insert ``amount`` rows at the front of the list of ``query``; a negative amount takes rows away there.

        The inserted rows repeat others under ids that none had before.
        """
        selection = self._selection(query)
        if amount < 0:
            gone = set(selection[:-amount])
            self.rows[:] = [row for position, row in enumerate(self.rows) if position not in gone]
        elif selection:
            ids = self._column("id")
            sort = query.get("sort", "").casefold()
            newest_first = sort.endswith(" desc") or sort.startswith("-")
            start, step = (max(ids), 1) if newest_first else (min(ids), -1)
            self.rows[:0] = [
                b'{"id":%d,%b' % (start + step * n, self.rows[position].split(b",", 1)[1])
                for n, position in enumerate(selection[-amount:], start=1)
            ]
        self.changed()

    def _selection(self, query: Mapping[str, str]) -> array[int]:
        wanted = tuple(sorted((name, text) for name, text in query.items() if name == "sort" or name in self._filters))
        if wanted in self._selections:
            self._selections.move_to_end(wanted)
            return self._selections[wanted]
        selection = self._selections[wanted] = self._select(dict(wanted))
        if len(self._selections) > _REMEMBERED_QUERIES:
            self._selections.popitem(last=False)
        return selection

    def _select(self, wanted: dict[str, str]) -> array[int]:
        sort = wanted.pop("sort", "")
        positions: Sequence[int] = range(len(self.rows))
        for name, text in wanted.items():
            test, column = self._filters[name].read(text), self._column(self._filters[name].field)
            positions = [position for position in positions if test(column[position])]
        if sort.strip():
            field, _, direction = sort.strip().partition(" ")
            if field.startswith("-"):
                field, direction = field[1:], "desc"
            column = self._column(self._spelled(field))
            # Ids are never null nor text: they need no sort keys, which would be slow for a million rows.
            keys = column if isinstance(column, array) else [_sort_key(value) for value in column]
            positions = sorted(positions, key=keys.__getitem__, reverse=direction.strip().casefold() == "desc")
        return array("I", positions)

    def _spelled(self, field: str) -> str:
        """Return the wire spelling of ``field``; BMS ignores its case."""
        keys: dict[str, Any] = msgspec.json.decode(self.rows[0]) if self.rows else {}
        for key in keys:
            if key.casefold() == field.casefold():
                return key
        raise BadQuery(f"No property or field '{field}' exists.")

    def _column(self, field: str) -> Sequence[Any]:
        """Return the values of one field of all rows."""
        if field not in self._columns:
            if field == "id":
                self._columns[field] = array("q", (int(row[6 : row.index(b",")]) for row in self.rows))
            else:
                only = msgspec.defstruct("Only", [("value", Any, msgspec.field(name=field, default=None))])
                decode = msgspec.json.Decoder(only).decode
                self._columns[field] = [decode(row).value for row in self.rows]  # type: ignore[attr-defined]
        return self._columns[field]


def _sort_key(value: object) -> tuple[int, Any]:
    """Return the sort key: null first, then by value, text without case."""
    if value is None:
        return 0, 0
    return (2, value.casefold()) if isinstance(value, str) else (1, value)
