"""One client: its records with their standings, of itself and of what is inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bms_pipeline.core.entities import EntityName
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.warehouse.connection import Warehouse, named_rows

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


def client_records(warehouse: Warehouse, client: int) -> list[ClientRecord]:
    """Return the client's own record and all inside it, by entity and name; none where BMS never listed it."""
    order = "list_position(['clients', 'users', 'locations', 'contacts', 'assets'], entity), name, bms_id"
    with warehouse.open() as connection:
        rows = named_rows(
            connection,
            "SELECT entity, bms_id, name, standing, reason, detail"
            f" FROM ({standings.all_records(connection)})"
            " WHERE account_id = $client AND entity <> 'clients' OR entity = 'clients' AND bms_id = $client"
            f" ORDER BY {order}",
            {"client": client},
        )
    return [ClientRecord(**row | {"standing": Standing(row["standing"])}) for row in rows]


def counted(records: Sequence[ClientRecord]) -> dict[EntityName, dict[Standing, int]]:
    """Return entity → standing → records, of those that there are."""
    counts: dict[EntityName, dict[Standing, int]] = {}
    for record in records:
        of_entity = counts.setdefault(record.entity, {})
        of_entity[record.standing] = of_entity.get(record.standing, 0) + 1
    return counts
