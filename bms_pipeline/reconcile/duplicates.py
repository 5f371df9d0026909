"""Records of Passportal with the same BMS id: found in the snapshot, resolved by a person.

A create that arrives late, a repeated import or another tool can make them, also before this pipeline was installed.
Nothing is deleted in Passportal: one record keeps the id, and the others lose it with the next finish. No rule matches
them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.errors import DecisionRefused
from bms_pipeline.reconcile.decisions import Decision, apply_decisions
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import named_rows
from bms_pipeline.warehouse.inputs import bump_version


def query(entities: Sequence[Entity] = ENTITIES) -> str:
    """Return SQL for ``find``."""
    return " UNION ALL ".join(sql.read("reconcile/duplicate_markers").format(entity=entity.name) for entity in entities)


def find(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity] = ENTITIES) -> list[dict[str, Any]]:
    """Return the records that share a BMS id, as the last snapshot showed them.

    Columns: entity, bms_id, passportal_id, client_id, name, is_matched (the BMS record is linked to it).
    """
    return named_rows(connection, f"FROM ({query(entities)}) ORDER BY entity, bms_id, passportal_id")


def count_duplicates(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity] = ENTITIES) -> int:
    """Count the BMS ids which several records carry."""
    row = connection.execute(f"SELECT count(DISTINCT (entity, bms_id)) FROM ({query(entities)})").fetchone()
    return int(row[0]) if row else 0


def keep_marker(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int, passportal_id: str, by: str, now: datetime
) -> list[str]:
    """Let only ``passportal_id`` keep the BMS id, and return the records that lose it with the next finish.

    Raises ``DecisionRefused`` where it does not share that id with another record.
    """
    carriers = [row["passportal_id"] for row in find(connection, [entity]) if row["bms_id"] == bms_id]
    if passportal_id not in carriers:
        raise DecisionRefused(
            f"{passportal_id} does not share the id of {entity.singular} {bms_id} with another record"
            + (f"; these do: {', '.join(carriers)}." if carriers else ": no two records carry that id."),
            "`bms-pipeline duplicates` lists the records that share one.",
        )
    others = [carrier for carrier in carriers if carrier != passportal_id]
    (batch,) = connection.execute("SELECT coalesce(max(batch), 0) + 1 FROM sync.decisions").fetchone() or (1,)
    for carrier in others:
        values = {"entity": entity.name, "bms_id": bms_id, "other": carrier, "by": by, "now": now}
        connection.execute("INSERT INTO sync.non_matches VALUES ($entity, $bms_id, $other, $by, $now)", values)
        connection.execute(
            "INSERT INTO sync.decisions VALUES ($batch, $now, $by, 'keep', $entity, $bms_id, $other,"
            " 'carries the same id', $became, '')",
            {**values, "batch": batch, "became": f"loses it to {passportal_id}"},
        )
    bump_version(connection, "decisions", now)
    linked = connection.execute(
        "SELECT passportal_id FROM sync.matches WHERE entity = ? AND bms_id = ?", [entity.name, bms_id]
    ).fetchone()
    if linked and linked[0] in others:
        why = f"shares its id with {passportal_id}"
        apply_decisions(
            connection,
            [
                Decision("unmatch", entity.name, bms_id, why=why),
                Decision("match", entity.name, bms_id, passportal_id, why=why),
            ],
            by,
            now,
        )
    return others
