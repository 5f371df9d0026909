"""One client: its records with their standings, of itself and of what is inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bms_pipeline.core.entities import EntityName
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.warehouse.connection import Warehouse

WAITING = (
    Standing.REFUSED, Standing.UNMATCHED, Standing.AMBIGUOUS, Standing.UNKNOWN, Standing.HANDED_OVER, Standing.BLOCKED,
    Standing.TO_PLAN, Standing.TO_MATCH, Standing.TO_CREATE, Standing.DIFFERS,
)  # fmt: skip
"""The standings of records that wait for something, those first that only a person can help."""


@dataclass(frozen=True)
class ClientRecord:
    """A record of a client, how it stands and why; ``detail`` is Passportal's reason for a refusal."""

    entity: EntityName
    bms_id: int
    name: str | None
    standing: Standing
    reason: str
    detail: str | None


RecordsByClient = dict[int, list[tuple[Any, ...]]]
"""Client → its records, each as the values of a ``ClientRecord``."""


def records_by_client(warehouse: Warehouse) -> RecordsByClient:
    """Return the records of every client, by entity and name: one question for as many pages as a console shows."""
    found: RecordsByClient = {}
    with warehouse.open() as connection:
        rows = connection.execute(
            "SELECT CASE WHEN entity = 'clients' THEN bms_id ELSE account_id END AS client,"
            " entity, bms_id, name, standing, reason, detail"
            f" FROM ({standings.all_records(connection)}) WHERE client IS NOT NULL"
            " ORDER BY list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), name, bms_id"
        ).fetchall()
    for client, *values in rows:
        found.setdefault(client, []).append(tuple(values))
    return found


def client_records(found: RecordsByClient, client: int) -> list[ClientRecord]:
    """Return the client's own record and all inside it; none where BMS never listed it."""
    return [
        ClientRecord(entity, bms_id, name, Standing(standing), reason, detail)
        for entity, bms_id, name, standing, reason, detail in found.get(client, ())
    ]


def counted(records: Sequence[ClientRecord]) -> dict[EntityName, dict[Standing, int]]:
    """Return entity → standing → records, of those that there are."""
    counts: dict[EntityName, dict[Standing, int]] = {}
    for record in records:
        of_entity = counts.setdefault(record.entity, {})
        of_entity[record.standing] = of_entity.get(record.standing, 0) + 1
    return counts
