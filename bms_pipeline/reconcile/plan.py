"""The plan: one operation for every record read, saved with a hash of what it would change.

The plan is what a person sees and approves and what load executes, nothing else. Operations are create, adopt (link to
an existing record, filling what is empty there), update and skip.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from bms_pipeline.entities import BY_NAME, ENTITIES, Entity, EntityName
from bms_pipeline.errors import BreakerOpen, PlanError, PlanStale, RecordsUnexplained
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import SyncSettings
from bms_pipeline.warehouse import sql

OUTCOMES = (
    "created", "adopted", "updated", "unchanged", "excluded", "unmatched", "ambiguous", "out_of_scope", "blocked",
    "failed", "pending",
)  # fmt: skip
"""Every record read is counted under exactly one of these; ``pending`` waits for its plan to be loaded."""

BREAKER_MINIMUM = 10
"""Fewer updates than this never open a breaker: a share of three records says nothing."""


@dataclass(frozen=True)
class Plan:
    """A saved plan; ``operations`` counts what it would change, ``stale`` says that its inputs changed since."""

    plan_id: int
    hash: str
    made_at: datetime
    operations: int
    entities: tuple[EntityName, ...]
    clients: tuple[int, ...] | None
    create_unmatched: bool
    approved: bool
    loaded: bool
    stale: bool


def make_plan(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], scope: Scope, now: datetime) -> Plan:
    """Replace the current plan by one for ``entities``, which have been reconciled.

    Raises ``RecordsUnexplained`` when it does not hold each record read exactly once.
    """
    for entity in ENTITIES:
        connection.execute(f"TRUNCATE sync.planned_{entity.name}")
    for entity in entities:
        connection.execute(_operations_sql(entity))
        _check_each_record_once(connection, entity)
    operations, fingerprint = _fingerprint(connection, entities)
    (plan_id,) = connection.execute("SELECT coalesce(max(plan_id), 0) + 1 FROM sync.plans").fetchone() or (1,)
    connection.execute(
        "INSERT INTO sync.plans (plan_id, hash, made_at, scope, inputs, operations) VALUES (?, ?, ?, ?, ?, ?)",
        [
            plan_id,
            fingerprint,
            now,
            json.dumps(
                {
                    "entities": [each.name for each in entities],
                    "clients": scope.clients,
                    "create_unmatched": scope.create_unmatched,
                }
            ),
            _inputs(connection),
            operations,
        ],
    )
    count_results(connection, now)
    return current_plan(connection)


def current_plan(connection: duckdb.DuckDBPyConnection) -> Plan:
    """The plan made last. Raises ``PlanError`` where none was ever made."""
    row = connection.execute(
        "SELECT plan_id, hash, made_at, operations, scope, approved_at IS NOT NULL, loaded_at IS NOT NULL, inputs"
        " FROM sync.plans ORDER BY plan_id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise PlanError("There is no plan yet.", "Run `bms-pipeline preview` to make one.")
    scope = json.loads(row[4])
    return Plan(
        plan_id=row[0],
        hash=row[1],
        made_at=row[2],
        operations=row[3],
        entities=tuple(scope["entities"]),
        clients=None if scope["clients"] is None else tuple(scope["clients"]),
        create_unmatched=scope["create_unmatched"],
        approved=row[5],
        loaded=row[6],
        stale=row[7] != _inputs(connection),
    )


def approve(connection: duckdb.DuckDBPyConnection, plan_hash: str, now: datetime) -> Plan:
    """Mark the current plan as approved by a person who names its hash (the first 8 or more characters).

    Raises ``PlanStale`` when it is not the current plan or its inputs changed.
    """
    plan = current_plan(connection)
    if len(plan_hash) < 8 or not plan.hash.startswith(plan_hash.lower()):
        raise PlanStale(
            f"Plan {plan_hash} is not the current plan; that is {plan.hash[:12]} of {plan.made_at:%Y-%m-%d %H:%M} UTC.",
            "Look at the current plan with `bms-pipeline preview`, then approve it by its hash.",
        )
    check_not_stale(connection, plan)
    connection.execute("UPDATE sync.plans SET approved_at = ? WHERE plan_id = ?", [now, plan.plan_id])
    return current_plan(connection)


def check_not_stale(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Raises ``PlanStale`` naming the inputs that changed since the plan was made."""
    if not plan.stale:
        return
    row = connection.execute("SELECT inputs FROM sync.plans WHERE plan_id = ?", [plan.plan_id]).fetchone()
    before = json.loads(row[0]) if row else {}
    after = json.loads(_inputs(connection))
    moved = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    raise PlanStale(
        f"Plan {plan.hash[:12]} is stale: {', '.join(moved)} changed since it was made.",
        "Make a new plan with `bms-pipeline preview` and approve that one.",
    )


def check_breakers(connection: duckdb.DuckDBPyConnection, plan: Plan, settings: SyncSettings) -> None:
    """After the initial sync, stop a plan that nobody approved and that would update too much.

    Raises ``BreakerOpen`` naming the entity and the share; the plan is kept.
    """
    if not settings.initial_sync_finished or plan.approved:
        return
    rows = connection.execute(
        "SELECT entity, count(*) FILTER (operation = 'update') AS updates, count(*) FILTER (disposition = 'matched')"
        " FROM sync.operations GROUP BY entity ORDER BY entity"
    ).fetchall()
    for entity, updates, matched in rows:
        if updates >= BREAKER_MINIMUM and updates > settings.update_share * matched:
            raise BreakerOpen(
                f"Plan {plan.hash[:12]} would update {updates} of {matched} matched {entity}, more than"
                f" {settings.update_share:.0%}; nothing was loaded and the plan is kept.",
                f"Look at it with `bms-pipeline preview`; to allow it: `bms-pipeline finish {plan.hash[:12]}`.",
            )


def count_results(connection: duckdb.DuckDBPyConnection, now: datetime) -> dict[EntityName, dict[str, int]]:
    """Count the current plan's records by outcome, remember and return it: entity → {"read": n, "created": n, ...}."""
    rows = connection.execute(sql.read("results")).fetchall()
    results = {row[0]: dict(zip(("read", *OUTCOMES), map(int, row[1:]), strict=True)) for row in rows}
    (plan_id,) = connection.execute("SELECT coalesce(max(plan_id), 0) FROM sync.plans").fetchone() or (0,)
    connection.execute("DELETE FROM sync.results WHERE plan_id = ?", [plan_id])
    for entity, counts in results.items():
        if counts["read"] != sum(counts[each] for each in OUTCOMES):
            raise RecordsUnexplained(f"{entity}: the outcomes do not add up to the records read: {counts}.")
        connection.execute(
            f"INSERT INTO sync.results (plan_id, entity, counted_at, read, {', '.join(OUTCOMES)})"
            f" VALUES ({', '.join('?' * (len(OUTCOMES) + 4))})",
            [plan_id, entity, now, counts["read"], *(counts[each] for each in OUTCOMES)],
        )
    return {each.name: results[each.name] for each in ENTITIES if each.name in results}


def _operations_sql(entity: Entity) -> str:
    def written(column: str) -> str:
        return (
            f"(b.{column} IS NOT NULL AND b.{column} IS DISTINCT FROM p.{column} AND CASE WHEN l.bms_id IS NULL"
            f" THEN p.{column} IS NULL ELSE b.{column} IS DISTINCT FROM l.bms_{column}"
            f" AND p.{column} IS NOT DISTINCT FROM l.passportal_{column} END)"
        )

    def kept(column: str) -> str:
        # Names that are identical as matching understands it need no mention.
        differs = "b.name_key IS DISTINCT FROM p.name_key" if column == "name" else "true"
        there = f"b.{column} IS NOT NULL AND b.{column} IS DISTINCT FROM p.{column}"
        return f"({there} AND {differs} AND NOT {written(column)})"

    def value(column: str) -> str:
        chosen = f"CASE WHEN operation = 'create' OR operation <> 'skip' AND {written(column)}"
        return f"{chosen} THEN p.{column} END AS before_{column}, {chosen} THEN b.{column} END AS after_{column}"

    columns = entity.columns
    return sql.read("plan_operations").format(
        entity=entity.name,
        values=", ".join(value(each) for each in columns),
        kept=", ".join(
            f"CASE WHEN {kept(each)} THEN {{'field': '{each}', 'bms': b.{each}, 'passportal': p.{each}}} END"
            for each in columns
        ),
        anything_written=" OR ".join(written(each) for each in columns),
        anything_kept=" OR ".join(kept(each) for each in columns),
    )


def _check_each_record_once(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    row = connection.execute(
        f"SELECT (SELECT count(*) FROM bms.{entity.name} WHERE missing_since IS NULL), count(*), count(DISTINCT bms_id)"
        f" FROM sync.planned_{entity.name}"
    ).fetchone()
    if row and not row[0] == row[1] == row[2]:
        raise RecordsUnexplained(
            f"{entity.name}: {row[0]} records were read, the plan has {row[1]} rows for {row[2]} of them.",
            "The stored records changed since they were reconciled, or this is a defect: run again, then report it.",
        )


def _fingerprint(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity]) -> tuple[int, str]:
    """How many operations change something, and a hash of them that no order of rows affects."""
    operations, parts = 0, []
    for entity in entities:
        values = ", ".join(f"coalesce({each}_{c}, chr(0))" for c in entity.columns for each in ("before", "after"))
        row = connection.execute(sql.read("plan_fingerprint").format(entity=entity.name, values=values)).fetchone()
        if row and row[0]:
            operations += int(row[0])
            parts.append(f"{entity.name}:{row[0]}:{row[1]}")
    return operations, hashlib.md5(",".join(parts).encode(), usedforsecurity=False).hexdigest()


def _inputs(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute("SELECT name, version FROM sync.inputs ORDER BY name").fetchall()
    return json.dumps(dict(rows))


def planned_entities(plan: Plan) -> list[Entity]:
    """The plan's entities in the order they are loaded."""
    return [BY_NAME[each.name] for each in ENTITIES if each.name in plan.entities]
