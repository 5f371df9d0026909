"""The mapping as it is stored: a setting, read by every piece that names a field in Passportal."""

from __future__ import annotations

import json
from typing import Any

import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.mapping_parsing import parse_mapping

NAME = "mapping"
"""Its name in ``sync.settings``, in their history, and among a plan's inputs."""


def read_mapping(connection: duckdb.DuckDBPyConnection) -> Mapping:
    """Return the stored mapping; the one without any setting where none was ever stored."""
    row = connection.execute("SELECT value FROM sync.settings WHERE name = ?", [NAME]).fetchone()
    return parse_mapping(json.loads(row[0])) if row else Mapping()


def mapped(connection: duckdb.DuckDBPyConnection, entity: Entity) -> Entity:
    """Return the entity with the fields that the stored mapping adds."""
    return read_mapping(connection).entity(entity)


def earlier_mappings(connection: duckdb.DuckDBPyConnection) -> list[Mapping]:
    """Return the mappings that were in force before, the newest first."""
    rows = connection.execute(
        "SELECT before FROM sync.settings_history WHERE name = ? ORDER BY changed_at DESC", [NAME]
    ).fetchall()
    return [parse_mapping(_table(row[0])) for row in rows]


def _table(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}
