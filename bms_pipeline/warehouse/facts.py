"""The habits of both services, as far as they were seen: ``sync.facts``.

Only a proven value is stored: something an answer showed, never its absence. The rows are a history:
a new row is added when a value changes, so a name's newest row says the value and since when it holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import duckdb

from bms_pipeline.warehouse import sql

SORT = "BMS-SORT"
"""The fact about the order of a list."""
HONOURED, ONLY_RISING = "honoured", "only rising"
"""Values of that fact: in both directions, or by rising ids only."""
NOT_ACCEPTED = "not accepted"
"""The value of a fact about a refused parameter."""

UPDATE, BODY, VALUES, TEMPLATE_PREFIX = "PP-UPDATE", "PP-BODY", "PP-SENT-VALUES", "PP-TEMPLATE-PREFIX"
"""The facts about the form of a change in Passportal."""
KEEPS = "PP-KEEPS"
"""The fact about what a change keeps of the rest of a document."""
SENT_CUSTOM_ID = "PP-SENT-CUSTOM-ID"
"""The fact about a ``customId`` in a change."""
KEPT = "kept"
"""Its value where it is kept."""
LINKS = "PP-LINKS"
"""The fact about a link to another document that is sent by its id."""
BY_ID, BY_TEXT, LOST = "by their id", "by their text", "lost"
"""Its values: kept like that, or lost."""
NO_PREFIX = "no prefix"


@dataclass(frozen=True)
class Fact:
    """A habit of a service. ``name``: its code (``BMS-SORT``); ``how`` it was seen, ``seen_at``: first when (UTC)."""

    name: str
    value: str
    how: str
    seen_at: datetime


def read_facts(connection: duckdb.DuckDBPyConnection) -> dict[str, Fact]:
    """Return the newest fact of each name."""
    return {row[0]: Fact(*row) for row in connection.execute(sql.read("warehouse/facts")).fetchall()}


def add_facts(connection: duckdb.DuckDBPyConnection, seen: Iterable[Fact]) -> dict[str, Fact]:
    """Store the facts of ``seen`` with another value than stored; return all stored ones as they were before."""
    before = read_facts(connection)
    for fact in seen:
        if fact.name not in before or before[fact.name].value != fact.value:
            row = [fact.name, fact.value, fact.how, fact.seen_at]
            connection.execute("INSERT INTO sync.facts VALUES (?, ?, ?, ?)", row)
    return before


def is_sort_accepted(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether BMS may accept ``Sort``: it was never seen to refuse it, or not last."""
    fact = read_facts(connection).get(SORT)
    return fact is None or fact.value != NOT_ACCEPTED


def is_sort_honoured(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether BMS was seen to honour ``Sort`` in both directions, last of all."""
    fact = read_facts(connection).get(SORT)
    return fact is not None and fact.value == HONOURED


def prefix_value(prefix: str) -> str:
    """Return the value of the fact about a template's id with this prefix."""
    return prefix or NO_PREFIX


def prefix_in(value: str) -> str:
    """Return the prefix in the value of the fact about a template's id."""
    return "" if value == NO_PREFIX else value
