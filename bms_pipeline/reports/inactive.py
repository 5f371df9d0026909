"""What is documented in Passportal and inactive in BMS: out of scope, so nothing else speaks of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.reports.csv_file import csv_bytes, write_report
from bms_pipeline.reports.read_models import Inactive
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows
from bms_pipeline.warehouse.stored_mapping import read_mapping

_TEXTS = ("name", "client", "passportal_id", "says")


def inactive(warehouse: Warehouse, entities: Sequence[Entity] = ENTITIES) -> list[dict[str, Any]]:
    """Return the documented records that are inactive in BMS, by client.

    Each has entity, bms_id, name, client_bms_id, client, passportal_id, and ``says``: what the field says in Passportal
    that the mapping lets follow; None without one.
    """
    with warehouse.open() as connection:
        return named_rows(connection, _inactive_sql(entities, read_mapping(connection)))


def write_inactive(warehouse: Warehouse, file: Path, entities: Sequence[Entity] = ENTITIES) -> int:
    """Write ``inactive`` as a spreadsheet into ``file``; return the number of rows written.

    Raises ``PipelineError`` where ``file`` cannot be written.
    """
    with warehouse.open() as connection:
        return write_report(connection, file, _inactive_sql(entities, read_mapping(connection)), _TEXTS)


def inactive_csv(warehouse: Warehouse) -> bytes:
    """Return ``inactive`` as a spreadsheet."""
    with warehouse.open() as connection:
        return csv_bytes(connection, _inactive_sql(ENTITIES, read_mapping(connection)), _TEXTS)


def count_inactive(connection: duckdb.DuckDBPyConnection) -> list[Inactive]:
    """Return how many records of each entity are documented and inactive in BMS, and in how many clients."""
    found = _inactive_sql(ENTITIES, read_mapping(connection))
    rows = named_rows(
        connection,
        f"SELECT entity, count(*) AS records, count(DISTINCT client_bms_id) AS clients FROM ({found}) GROUP BY entity"
        f" ORDER BY list_position({[entity.name for entity in ENTITIES]}, entity)",
    )
    return [Inactive(**row) for row in rows]


def _inactive_sql(entities: Sequence[Entity], mapping: Mapping) -> str:
    found = " UNION ALL ".join(
        sql.read("reports/inactive").format(
            entity=entity.name,
            has_client=str(entity.has_client).lower(),
            says=next((f"p.{column}" for column in mapping.says_inactive(entity)), "NULL::VARCHAR"),
        )
        for entity in entities
    )
    names = [entity.name for entity in ENTITIES]
    return (
        f"FROM ({found}) ORDER BY lower(client) NULLS FIRST, client_bms_id, list_position({names}, entity),"
        " lower(name), bms_id"
    )
