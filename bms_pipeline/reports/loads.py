"""Loads, operation by operation: what a plan did to which record, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bms_pipeline.core.entities import ENTITIES, EntityName
from bms_pipeline.reports import figures, links
from bms_pipeline.reports.read_models import FieldChange, RunWrites
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows

_RECORDS = " UNION ALL ".join(
    f"SELECT '{entity.name}' AS entity, bms_id, name,"
    f" {'account_id' if entity.has_client else 'bms_id' if entity.name == 'clients' else 'NULL'} AS account_id"
    f" FROM bms.{entity.name}"
    for entity in ENTITIES
)
"""SQL for every record of BMS: its entity, id and name, and the client it is inside; a client is its own."""


@dataclass(frozen=True)
class Load:
    """A plan that wrote something. ``undoes``: the plan whose load it took back; ``undone_by``: the reverse."""

    plan_id: int
    hash: str
    made_at: datetime
    loaded_at: datetime | None
    approved_by: str | None
    operations: int
    undoes: int | None
    undone_by: int | None


@dataclass(frozen=True)
class Wanted:
    """The operations that a page asks for; None for any. ``text`` is a part of the name, or an id in BMS.

    ``client`` is a client's id in BMS, ``client_text`` a part of a client's name.
    """

    entity: EntityName | None = None
    operation: str | None = None
    outcome: str | None = None
    client: int | None = None
    client_text: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class LoadedOperation:
    """What a load did to one record; ``outcome`` is ``unknown`` where the answer was lost."""

    entity: EntityName
    bms_id: int
    name: str | None
    client_bms_id: int | None
    client: str | None
    passportal_id: str | None
    operation: str
    reason: str
    outcome: str
    detail: str | None
    changes: Sequence[FieldChange] | None
    intent_at: datetime


def last_loads(warehouse: Warehouse) -> dict[int | None, int]:
    """Return client → the last plan that wrote anything of it; under None the last plan that wrote anything at all."""
    with warehouse.open() as connection:
        rows = connection.execute(
            f"SELECT r.account_id, max(j.plan_id) FROM sync.journal j JOIN ({_RECORDS}) r"
            " ON r.entity = j.entity AND r.bms_id = j.bms_id WHERE r.account_id IS NOT NULL GROUP BY ALL"
            " UNION ALL SELECT NULL, max(plan_id) FROM sync.journal HAVING count(*) > 0"
        ).fetchall()
    return dict(rows)


def find_load(warehouse: Warehouse, plan_id: int) -> Load | None:
    """Return the load of a plan; None where the plan loaded nothing."""
    with warehouse.open() as connection:
        rows = named_rows(connection, sql.read("reports/load_head"), {"plan_id": plan_id})
    return Load(**rows[0]) if rows else None


def count_writes(warehouse: Warehouse, plan_id: int) -> dict[EntityName, RunWrites]:
    """Return entity → its operations by outcome, of the entities that a load wrote to."""
    query = sql.read("reports/load_counts").format(counts=figures.WRITES)
    with warehouse.open() as connection:
        rows = named_rows(connection, query, {"plan_id": plan_id})
    return {row["entity"]: figures.writes_in(row) for row in rows}


def list_operations(
    warehouse: Warehouse, plan_id: int, wanted: Wanted, most: int, skipped: int
) -> tuple[list[LoadedOperation], int]:
    """Return up to ``most`` operations of a load after the first ``skipped``, and how many there are in all."""
    of_records, filters = _of_records(wanted)
    query = sql.read("reports/load_operations").format(records=_RECORDS, of_records=of_records)
    values = {
        "plan_id": plan_id,
        "entity": wanted.entity,
        "operation": wanted.operation,
        "outcome": wanted.outcome,
        "most": most,
        "skipped": skipped,
        **filters,
    }
    with warehouse.open() as connection:
        rows = named_rows(connection, query, values)
        links.show_titles(connection, rows)
    found = rows[0]["found"] if rows else 0
    return [LoadedOperation(**{name: row[name] for name in row if name != "found"}) for row in rows], found


def _of_records(wanted: Wanted) -> tuple[str, dict[str, object]]:
    """Return SQL over ``sync.journal j`` for what ``wanted`` says about the records, and its values."""
    asked: dict[str, object] = {"client": wanted.client, "client_text": wanted.client_text, "text": wanted.text}
    filters = {name: value for name, value in asked.items() if value is not None}
    conditions = {
        "client": "account_id = $client",
        "client_text": "account_id IN"
        " (SELECT bms_id FROM bms.clients WHERE contains(lower(name), lower($client_text)))",
        "text": "(contains(lower(name), lower($text)) OR bms_id::VARCHAR = $text)",
    }
    if not filters:
        return "true", filters
    where = " AND ".join(conditions[name] for name in filters)
    return f"(j.entity, j.bms_id) IN (SELECT (entity, bms_id) FROM record WHERE {where})", filters
