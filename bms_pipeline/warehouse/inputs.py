"""The inputs of a plan: each counts up when it changes, so that a plan knows whether it is stale."""

from __future__ import annotations

from datetime import datetime

import duckdb


def count_input(connection: duckdb.DuckDBPyConnection, name: str, now: datetime) -> None:
    """Remember that an input of the plan changed: ``bms.clients``, ``passportal.users``, ``settings``, ..."""
    connection.execute(
        "MERGE INTO sync.inputs USING (SELECT $name AS name) AS changed USING (name)"
        " WHEN MATCHED THEN UPDATE SET version = sync.inputs.version + 1, changed_at = $now"
        " WHEN NOT MATCHED THEN INSERT VALUES (changed.name, 1, $now)",
        {"name": name, "now": now},
    )


def is_counted(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether the input was ever read or changed."""
    return connection.execute("FROM sync.inputs WHERE name = ?", [name]).fetchone() is not None
