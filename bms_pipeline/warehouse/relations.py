"""Tables that only one connection sees, handed from function to function by name.

A signature with a ``Relation`` shows which rows go in: nothing talks through the name of a table that is not passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NewType

import duckdb

Relation = NewType("Relation", str)
"""The name of a temporary table, to be put into SQL."""


@contextmanager
def temporary(
    connection: duckdb.DuckDBPyConnection, name: str, query: str, values: Mapping[str, Any] | None = None
) -> Iterator[Relation]:
    """Hold the rows of ``query`` in a temporary table called ``name``.

    After an error the table goes with its transaction, or is replaced by the next one of its name.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}", values)
    yield Relation(name)
    connection.execute(f"DROP TABLE {name}")


def has_rows(connection: duckdb.DuckDBPyConnection, relation: Relation) -> bool:
    """Return whether ``relation`` has any row."""
    return connection.execute(f"FROM {relation} LIMIT 1").fetchone() is not None
