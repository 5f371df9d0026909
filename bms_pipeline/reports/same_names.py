"""Records of Passportal that share a name in their client: what a person may merge there. Nothing here merges them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.reports.csv_file import csv_bytes, write_report
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows

_TEXTS = ("client", "client_id", "name", "passportal_id", "last_modified")


def same_names(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the records of Passportal with a namesake in their client, as the last snapshot showed them.

    Each has entity, client, client_id, name, passportal_id, records (of this name), linked_to (its BMS id), filled (its
    fields with a value), last_modified and is_suggested: the one of its name to keep, because it is linked to BMS, or
    else is the best filled, or else the newest.
    """
    with warehouse.open() as connection:
        return named_rows(connection, _same_names_sql(ENTITIES))


def write_same_names(warehouse: Warehouse, file: Path) -> int:
    """Write ``same_names`` as a spreadsheet into ``file``; return the number of rows written.

    Raises ``PipelineError`` where ``file`` cannot be written.
    """
    with warehouse.open() as connection:
        return write_report(connection, file, _same_names_sql(ENTITIES), _TEXTS)


def same_names_csv(warehouse: Warehouse) -> bytes:
    """Return ``same_names`` as a spreadsheet."""
    with warehouse.open() as connection:
        return csv_bytes(connection, _same_names_sql(ENTITIES), _TEXTS)


def _same_names_sql(entities: Sequence[Entity]) -> str:
    found = " UNION ALL ".join(
        sql.read("reports/same_names").format(
            entity=entity.name,
            has_client=str(entity.has_client).lower(),
            filled=" + ".join(f"({column} IS NOT NULL)::INTEGER" for column in entity.columns),
        )
        for entity in entities
    )
    names = [entity.name for entity in ENTITIES]
    return (
        f"FROM ({found}) ORDER BY list_position({names}, entity), lower(client) NULLS FIRST, client_id, lower(name),"
        " is_suggested DESC, passportal_id"
    )
