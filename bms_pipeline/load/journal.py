"""The journal: an intent before each call to the target, an outcome after it.

An intent without an outcome is *unknown*: the process died, or the answer was lost. It is settled by reading the
target (a fresh snapshot), never by guessing and never by sending again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from bms_pipeline.entities import Entity
from bms_pipeline.passportal.target import Write
from bms_pipeline.warehouse import names, schema, sql


@dataclass(frozen=True)
class Batch:
    """Operations of one kind that go to the target in one call."""

    entity: Entity
    creates: bool
    writes: list[Write]


def next_batch(connection: duckdb.DuckDBPyConnection, entity: Entity, plan_id: int, size: int) -> Batch | None:
    """The next operations of the plan that have no intent yet, client by client; None when all are done.

    Their intents are written; commit before calling the target. A record whose client was not created is refused here.
    """
    connection.execute(
        sql.read("next_batch").format(
            entity=entity.name, has_client=str(entity.has_client).lower(), changes=schema.changes_sql(entity)
        ),
        {"plan_id": plan_id, "size": size},
    )
    connection.execute(
        "INSERT INTO sync.journal SELECT $plan_id, $entity, bms_id, operation, reason, client_id, passportal_id,"
        " changes, now(), CASE WHEN has_no_client THEN 'refused' END, CASE WHEN has_no_client THEN now() END,"
        " CASE WHEN has_no_client THEN 'its client is not in Passportal' END FROM batch",
        {"plan_id": plan_id, "entity": entity.name},
    )
    rows = connection.execute("SELECT * FROM batch ORDER BY account_id, bms_id").fetchall()
    if not rows:
        return None
    writes = [
        Write(
            bms_id=bms_id,
            client_id=client_id,
            passportal_id=passportal_id,
            values={each["field"]: each["after"] for each in changes},
            before={each["field"]: each["before"] for each in changes},
        )
        for _, bms_id, _, _, client_id, passportal_id, changes, has_no_client in rows
        if not has_no_client
    ]
    return Batch(entity, creates=rows[0][2] == "create", writes=writes)


def record_outcomes(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    plan_id: int,
    done: Mapping[int, str],
    refused: Mapping[int, str],
    now: datetime,
) -> None:
    """Note what became of a batch: ``done`` is bms_id → passportal_id, ``refused`` is bms_id → why.

    What is done becomes a match, and both sides' values become the base of the next comparison.
    """
    _settle(connection, entity, plan_id, "refused", refused, now)
    _settle(connection, entity, plan_id, "done", dict.fromkeys(done, ""), now)
    if not done:
        return
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE loaded AS SELECT j.*, d.found_id FROM sync.journal j JOIN"
        " (SELECT unnest($ids) AS bms_id, unnest($found) AS found_id) d USING (bms_id)"
        " WHERE j.entity = $entity AND j.plan_id = $plan_id",
        {"ids": list(done), "found": list(done.values()), "entity": entity.name, "plan_id": plan_id},
    )
    _bring_snapshot_up_to_date(connection, entity)
    _remember_match(connection, entity, now)
    _remember_values(connection, entity)


def settle_unknown(connection: duckdb.DuckDBPyConnection, entity: Entity, now: datetime) -> int:
    """Give every intent without outcome one, by what the snapshot just taken shows; how many took effect.

    A create or an adoption took effect if its record bears the marker inside its client, an update if the record holds
    the new values. What did not take effect is planned again.
    """
    present = " ".join(f"WHEN '{each}' THEN p.{each}" for each in entity.columns)
    connection.execute(
        sql.read("settle_unknown").format(entity=entity.name, present=f"CASE e.field {present} END"),
        {"entity": entity.name},
    )
    _remember_match(connection, entity, now)
    _remember_values(connection, entity)
    connection.execute(
        "UPDATE sync.journal SET outcome = CASE WHEN EXISTS (FROM loaded l WHERE l.bms_id = journal.bms_id"
        " AND l.plan_id = journal.plan_id) THEN 'done' ELSE 'not_sent' END, outcome_at = $now,"
        " detail = 'settled by reading Passportal' WHERE entity = $entity AND outcome IS NULL",
        {"entity": entity.name, "now": now},
    )
    row = connection.execute("SELECT count(*) FROM loaded").fetchone()
    return int(row[0]) if row else 0


def remember_agreement(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Where both sides came to hold the same value without us, take that as the base of the next comparison."""
    columns = ", ".join(
        f"bms_{each} = CASE WHEN b.{each} = p.{each} THEN b.{each} ELSE bms_{each} END,"
        f" passportal_{each} = CASE WHEN b.{each} = p.{each} THEN p.{each} ELSE passportal_{each} END"
        for each in entity.columns
    )
    agreeing = " OR ".join(
        f"(b.{each} = p.{each} AND"
        f" (l.bms_{each} IS DISTINCT FROM b.{each} OR l.passportal_{each} IS DISTINCT FROM p.{each}))"
        for each in entity.columns
    )
    joined = (
        f"bms.{entity.name} b JOIN sync.matches m ON m.entity = '{entity.name}' AND m.bms_id = b.bms_id"
        f" JOIN passportal.{entity.name} p ON p.passportal_id = m.passportal_id"
    )
    table = f"sync.loaded_{entity.name}"
    connection.execute(
        f"UPDATE {table} SET {columns} FROM {joined} WHERE {table}.bms_id = b.bms_id"
        f" AND b.bms_id IN (SELECT l.bms_id FROM {table} l JOIN {joined} ON b.bms_id = l.bms_id WHERE {agreeing})"
    )


def _settle(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    plan_id: int,
    outcome: str,
    details: Mapping[int, str],
    now: datetime,
) -> None:
    if not details:
        return
    connection.execute(
        "UPDATE sync.journal SET outcome = $outcome, outcome_at = $now, detail = nullif(o.detail, '')"
        " FROM (SELECT unnest($ids) AS bms_id, unnest($details) AS detail) o"
        " WHERE journal.entity = $entity AND journal.plan_id = $plan_id AND journal.bms_id = o.bms_id",
        {
            "outcome": outcome,
            "now": now,
            "ids": list(details),
            "details": list(details.values()),
            "entity": entity.name,
            "plan_id": plan_id,
        },
    )


def _bring_snapshot_up_to_date(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Put what was just written into the snapshot, so that it need not be read again."""
    table = f"passportal.{entity.name}"
    after = "list_filter(l.changes, lambda e: e.field = '{0}')[1].\"after\""
    values = ", ".join(f"coalesce({after.format(each)}, p.{each}) AS {each}" for each in entity.columns)
    columns = list(schema.passportal_columns(entity))
    keys = "".join(f", {expression} AS {key}" for key, expression in entity.keys.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE written AS SELECT *, {names.name_key('name')} AS name_key{keys} FROM"
        f" (SELECT l.found_id AS passportal_id, coalesce(p.client_id, l.client_id) AS client_id, {values}, l.bms_id,"
        f" p.last_modified FROM loaded l LEFT JOIN {table} p ON p.passportal_id = l.found_id)"
    )
    connection.execute(f"DELETE FROM {table} WHERE passportal_id IN (SELECT passportal_id FROM written)")
    selected = ", ".join(columns)
    connection.execute(f"INSERT INTO {table} ({selected}) SELECT {selected} FROM written")


def _remember_match(connection: duckdb.DuckDBPyConnection, entity: Entity, now: datetime) -> None:
    """A record has one match: the one just made replaces what it had (it moved to another client)."""
    connection.execute(
        "DELETE FROM sync.matches WHERE entity = $entity AND bms_id IN (SELECT bms_id FROM loaded)",
        {"entity": entity.name},
    )
    connection.execute(
        "INSERT INTO sync.matches SELECT $entity, bms_id, found_id, reason, $now FROM loaded",
        {"entity": entity.name, "now": now},
    )


def _remember_values(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Both sides' values become the base of the next comparison.

    What was written is the base of both. What an update left alone keeps its base, so that a person's edit goes on
    being one; what an adoption found is taken as it was.
    """
    table = f"sync.loaded_{entity.name}"
    connection.execute(
        sql.read("remember_values").format(
            entity=entity.name,
            values=", ".join(_base_of(each) for each in entity.columns),
        )
    )
    connection.execute(f"DELETE FROM {table} WHERE bms_id IN (SELECT bms_id FROM loaded)")
    connection.execute(f"INSERT INTO {table} BY NAME FROM remembered")


def _base_of(column: str) -> str:
    """SQL for both bases of one field, over ``loaded l``, the two records ``b`` and ``p``, and the old base ``o``."""
    after = f"list_filter(l.changes, lambda e: e.field = '{column}')[1].\"after\""
    return (
        f"CASE WHEN {after} IS NOT NULL THEN {after} WHEN b.{column} = p.{column} THEN b.{column}"
        f" WHEN l.operation = 'create' THEN p.{column} WHEN o.bms_id IS NOT NULL THEN o.bms_{column}"
        f" ELSE b.{column} END AS bms_{column},"
        f" CASE WHEN {after} IS NOT NULL THEN {after} WHEN b.{column} = p.{column} THEN p.{column}"
        f" WHEN o.bms_id IS NOT NULL THEN o.passportal_{column}"
        f" ELSE p.{column} END AS passportal_{column}"
    )
