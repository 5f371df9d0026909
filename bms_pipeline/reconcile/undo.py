"""Undo a decision: put back what was decided about its records before, exactly.

The opposite verb is not the same: un-matching remembers a non-match, and a match loses the values it was compared with.
So a decision that can be undone keeps the rows of its records from before::

    remember → the decision → note its batch and how the records stand now
    undo: do they still stand so, and is that batch their last? → put the rows back → reconcile → write the ledger
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import xor
from typing import Any

import duckdb

from bms_pipeline.core.entities import Entity, with_clients
from bms_pipeline.core.errors import DecisionRefused
from bms_pipeline.core.reasons import Reason
from bms_pipeline.reconcile import comparison
from bms_pipeline.reconcile.decisions import (
    VERSION,
    DecisionResult,
    Selection,
    ViewedVersion,
    check_viewed,
    overtaken,
)
from bms_pipeline.reconcile.matching import note_reconciled, reconcile_all
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.decision_log import OF_RECORDS, put_rows
from bms_pipeline.warehouse.inputs import bump_version

Rows = dict[str, list[dict[str, Any]]]
"""Table of ``sync`` → its rows about the records of one decision."""


@dataclass(frozen=True)
class Undo:
    """All that undoing one decision takes.

    ``batch`` and ``taken_at``: the decision's number and time in the ledger. ``stamps``: BMS id → the record's version
    after it. ``before``: the rows of the records before it.
    """

    entity: Entity
    batch: int
    taken_at: datetime
    stamps: dict[int, int]
    before: Rows

    @property
    def bms_ids(self) -> tuple[int, ...]:
        """The records of the decision."""
        return tuple(self.stamps)

    @property
    def seen(self) -> ViewedVersion:
        """The records' state after the decision."""
        return ViewedVersion(len(self.stamps), reduce(xor, self.stamps.values(), 0), self.batch)

    def of_record(self, bms_id: int) -> Undo:
        """Return the undo for one record of a decision about several."""
        rows = {table: [row for row in rows if row["bms_id"] == bms_id] for table, rows in self.before.items()}
        return Undo(self.entity, self.batch, self.taken_at, {bms_id: self.stamps[bms_id]}, rows)


def remember(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Sequence[int]) -> Rows:
    """Return what is decided about these records now. Call it before the decision, in its transaction."""
    return {table: _rows(connection, table, entity, bms_ids) for table in _tables(entity)}


def undo_of(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Sequence[int], before: Rows, now: datetime
) -> Undo:
    """Return the undo of the decision just taken. Call it in the decision's transaction."""
    rows = connection.execute(
        f"SELECT r.bms_id, {VERSION} FROM sync.reconciled_{entity.name} r"
        " WHERE r.bms_id IN (SELECT unnest(?::BIGINT[])) ORDER BY r.bms_id",
        [list(bms_ids)],
    ).fetchall()
    return Undo(entity, _last_batch(connection), now, dict(rows), before)


def undo(connection: duckdb.DuckDBPyConnection, undone: Undo, by: str, now: datetime) -> DecisionResult:
    """Take back one decision. Call it inside a transaction, which a refusal must end.

    Raises ``DecisionOvertaken`` where anything changed the records since, and ``DecisionRefused`` where the decision
    was loaded, or a record of Passportal was matched to another one.
    """
    entity, ids = undone.entity, list(undone.bms_ids)
    check_viewed(connection, entity, Selection(bms_ids=undone.bms_ids), undone.seen)
    decided = connection.execute(
        "FROM sync.decisions WHERE entity = ? AND batch > ? AND bms_id IN (SELECT unnest(?::BIGINT[])) LIMIT 1",
        [entity.name, undone.batch, ids],
    ).fetchone()
    if decided:
        raise overtaken(connection, entity, undone.bms_ids, undone.batch)
    _check_not_loaded(connection, undone)
    entities = with_clients([entity])
    reconcile_all(connection, entities)
    comparison.remember_dispositions(connection, entities)
    _put_back(connection, undone)
    reconcile_all(connection, entities)
    _check_one_to_one(connection, entity, ids)
    connection.execute(
        sql.read("reconcile/undo_ledger").format(entity=entity.name),
        {"batch": _last_batch(connection) + 1, "now": now, "by": by, "ids": ids, "undone": undone.batch},
    )
    bump_version(connection, "decisions", now)
    note_reconciled(connection, entities)
    return DecisionResult(len(ids), 0, comparison.disposition_changes(connection, entities))


def _tables(entity: Entity) -> tuple[str, ...]:
    return (*OF_RECORDS, f"base_{entity.name}")


def _of_records(table: str, entity: Entity) -> str:
    """Return SQL: whether a row of ``table`` is about one of the records, whose ids are its one parameter."""
    about = f"entity = '{entity.name}' AND " if table in OF_RECORDS else ""
    return f"{about}bms_id IN (SELECT unnest(?::BIGINT[]))"


def _rows(
    connection: duckdb.DuckDBPyConnection, table: str, entity: Entity, bms_ids: Sequence[int]
) -> list[dict[str, Any]]:
    row = connection.execute(
        f"SELECT to_json(list(r)) FROM (FROM sync.{table} WHERE {_of_records(table, entity)}) r", [list(bms_ids)]
    ).fetchone()
    return json.loads(row[0]) if row and row[0] else []


def _put_back(connection: duckdb.DuckDBPyConnection, undone: Undo) -> None:
    for table in _tables(undone.entity):
        connection.execute(
            f"DELETE FROM sync.{table} WHERE {_of_records(table, undone.entity)}", [list(undone.bms_ids)]
        )
        if undone.before[table]:
            put_rows(connection, table, undone.before[table])


def _check_not_loaded(connection: duckdb.DuckDBPyConnection, undone: Undo) -> None:
    """Refuse where a load wrote any of the records since the decision: only a load takes that back."""
    row = connection.execute(
        "SELECT any_value(bms_id), any_value(plan_id) FROM sync.journal WHERE entity = ? AND intent_at >= ?"
        " AND bms_id IN (SELECT unnest(?::BIGINT[]))",
        [undone.entity.name, undone.taken_at, list(undone.bms_ids)],
    ).fetchone()
    if row and row[0] is not None:
        raise DecisionRefused(
            f"This decision cannot be undone: plan {row[1]} has loaded {undone.entity.singular} {row[0]} since.",
            "Take that load back (Runs), or decide about the record once more.",
        )


def _check_one_to_one(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Sequence[int]) -> None:
    """Refuse a match put back whose record of Passportal is matched to another one by now."""
    rows = connection.execute(
        f"SELECT m.bms_id, m.passportal_id, o.bms_id FROM sync.matches m JOIN sync.reconciled_{entity.name} o"
        " ON o.passportal_id = m.passportal_id AND o.bms_id <> m.bms_id"
        " WHERE m.entity = $entity AND m.bms_id IN (SELECT unnest($ids::BIGINT[]))"
        " AND $branch NOT IN (m.reason, o.reason) ORDER BY ALL LIMIT 1",
        {"entity": entity.name, "ids": list(bms_ids), "branch": Reason.BRANCH_BY_PERSON},
    ).fetchall()
    for bms_id, passportal_id, other in rows:
        raise DecisionRefused(
            f"The match of {entity.singular} {bms_id} cannot be put back: {passportal_id} is matched to"
            f" {entity.singular} {other} now.",
            f"Unmatch {entity.singular} {other} first.",
        )


def _last_batch(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("SELECT coalesce(max(batch), 0) FROM sync.decisions").fetchone()
    return int(row[0]) if row else 0
