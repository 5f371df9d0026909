"""The journal: an intent before each call to the target, an outcome after it.

An intent without an outcome is *unknown*: the process died, or the answer was lost. It is settled by reading the
target, never by guessing::

    intent ──answer──▶ done | refused
       │
       └─no answer──▶ unknown ──a reading finds it────────────────────────────────────▶ done
                         │
                         └──its time has passed, and a second reading does not find it──▶ not_sent

Its time (``Target.unknown_seconds``) counts from the last moment at which the call may have left this machine. What is
unknown is never sent. What was not sent is pending again under the same approval, with an intent of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import duckdb

from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.entities import Entity, EntityName
from bms_pipeline.passportal.target import Write
from bms_pipeline.reconcile.undo import TAKEN_BACK
from bms_pipeline.warehouse import keys, schema, sql
from bms_pipeline.warehouse.inputs import count_input

SETTLED = "settled by reading Passportal"


@dataclass(frozen=True)
class Batch:
    """Operations of one kind that go to the target in one call."""

    entity: Entity
    creates: bool
    writes: list[Write]


@dataclass(frozen=True)
class Sent:
    """What became of a batch: BMS id → Passportal id of what was done, → why of what was refused, unknown, not sent."""

    done: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    unknown: Mapping[int, str] = field(default_factory=dict)
    not_sent: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Open:
    """Intents without outcome: how many writes of one kind, and the last moment (UTC) at which one may have left."""

    entity: EntityName
    operation: str
    writes: int
    left_at: datetime


def next_batch(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    plan_id: int,
    size: int,
    now: datetime,
    *,
    approved: bool,
    clients: Collection[int] | None = None,
) -> Batch | None:
    """The next operations of the plan that are due, client by client; None when there is none.

    ``approved``: also those that only a person's finish may load. ``clients``: only what is inside these, by BMS
    account id. Their intents are written; commit before calling the target. A record whose client this plan did not
    link is refused here; one whose client it may still link waits.
    """
    connection.execute(
        sql.read("next_batch").format(
            entity=entity.name,
            has_client=str(entity.has_client).lower(),
            changes=schema.changes_sql(entity),
            waits=schema.WAITS_FOR_PERSON,
        ),
        {"plan_id": plan_id, "size": size, "approved": approved, "clients": clients and list(clients)},
    )
    connection.execute(
        "INSERT INTO sync.journal BY NAME SELECT $plan_id AS plan_id, $entity AS entity, bms_id, operation, reason,"
        " client_id, passportal_id, changes, releases, $now AS intent_at,"
        " CASE WHEN is_refused THEN $refused END AS outcome, CASE WHEN is_refused THEN $now END AS outcome_at,"
        " CASE WHEN is_refused THEN 'its client is not linked in Passportal' END AS detail FROM batch",
        {"plan_id": plan_id, "entity": entity.name, "now": now, "refused": Outcome.REFUSED.value},
    )
    rows = connection.execute("SELECT * FROM batch ORDER BY account_id, bms_id").fetchall()
    if not rows:
        return None
    writes = [
        Write(
            bms_id=bms_id,
            client_id=client_id,
            passportal_id=passportal_id,
            values={change["field"]: change["after"] for change in changes},
            before={change["field"]: change["before"] for change in changes},
            replaces=replaces,
            releases=releases,
        )
        for _, bms_id, _, _, client_id, passportal_id, changes, replaces, releases, is_refused in rows
        if not is_refused
    ]
    return Batch(entity, creates=rows[0][2] == "create", writes=writes)


def record_outcomes(
    connection: duckdb.DuckDBPyConnection, entity: Entity, plan_id: int, sent: Sent, now: datetime
) -> None:
    """Note what became of a batch.

    What is done becomes a match, and both sides' values become the base of the next comparison. What is unknown keeps
    its open intent; its time counts from ``now``.
    """
    _note_outcome(connection, entity, plan_id, Outcome.REFUSED, sent.refused, now)
    _note_outcome(connection, entity, plan_id, Outcome.NOT_SENT, sent.not_sent, now)
    _note_outcome(connection, entity, plan_id, Outcome.DONE, dict.fromkeys(sent.done, ""), now)
    if sent.unknown:
        connection.execute(
            "UPDATE sync.journal SET left_at = $now, detail = o.detail"
            " FROM (SELECT unnest($ids) AS bms_id, unnest($details) AS detail) o"
            " WHERE journal.entity = $entity AND journal.bms_id = o.bms_id AND journal.outcome IS NULL",
            {
                "now": now,
                "ids": list(sent.unknown),
                "details": list(sent.unknown.values()),
                "entity": entity.name,
            },
        )
    if not sent.done:
        return
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE settled AS SELECT j.*, d.found_id FROM sync.journal j JOIN"
        " (SELECT unnest($ids) AS bms_id, unnest($found) AS found_id) d USING (bms_id)"
        " WHERE j.entity = $entity AND j.plan_id = $plan_id AND j.outcome = 'done'",
        {"ids": list(sent.done), "found": list(sent.done.values()), "entity": entity.name, "plan_id": plan_id},
    )
    _bring_snapshot_up_to_date(connection, entity)
    _remember(connection, entity, now)


def open_intents(connection: duckdb.DuckDBPyConnection) -> list[Open]:
    """The intents without outcome, of every plan, by entity and operation."""
    rows = connection.execute(sql.read("open_intents")).fetchall()
    return [Open(*row) for row in rows]


def settles_at(unknown: Collection[Open], unknown_seconds: float) -> datetime:
    """The moment (UTC) from which on all of these writes, one at least, may be settled as not sent."""
    return max(intent.left_at for intent in unknown) + timedelta(seconds=unknown_seconds)


def settle_found(
    connection: duckdb.DuckDBPyConnection, entity: Entity, last_write_at: datetime | None, now: datetime
) -> int:
    """Settle the intents on ``entity`` that took effect, going by the snapshot just taken; how many stay unknown.

    A create or an adoption took effect if its record bears the marker inside its client, an update if the record holds
    the new values. ``last_write_at``: see ``Target.last_write_at``; a later moment than ``now`` counts as now.
    """
    if not _count_unknown(connection, entity):
        return 0
    connection.execute(
        "UPDATE sync.journal SET left_at = least(coalesce(left_at, greatest(intent_at, $last_write_at)), $now)"
        " WHERE entity = $entity AND outcome IS NULL",
        {"entity": entity.name, "last_write_at": last_write_at, "now": now},
    )
    present = " ".join(f"WHEN '{column}' THEN p.{column}" for column in entity.columns)
    holds = f'len(list_filter(u.changes, lambda e: e."after" IS DISTINCT FROM CASE e.field {present} END)) = 0'
    connection.execute(
        sql.read("settle_unknown").format(entity=entity.name, holds_the_values=f"coalesce({holds}, true)"),
        {"entity": entity.name},
    )
    _settle_done(connection, entity, now)
    return _count_unknown(connection, entity)


def overdue(
    connection: duckdb.DuckDBPyConnection, entity: Entity, unknown_seconds: float, now: datetime
) -> list[Write]:
    """The writes that are unknown although their time has passed: to be looked for once more, then settled."""
    rows = connection.execute(
        "SELECT bms_id, client_id, passportal_id FROM sync.journal WHERE entity = $entity AND outcome IS NULL"
        " AND left_at <= $latest ORDER BY bms_id",
        {"entity": entity.name, "latest": now - timedelta(seconds=unknown_seconds)},
    ).fetchall()
    return [Write(bms_id, client_id, passportal_id) for bms_id, client_id, passportal_id in rows]


def settle_overdue(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    looked_for: Collection[Write],
    found: Mapping[int, str],
    now: datetime,
) -> None:
    """Settle writes whose time has passed: creates that a second reading ``found`` are done, the others were not sent.

    An update that the snapshot did not show can be sent again without harm: it names the values that it replaces.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE settled AS SELECT j.*,"
        " CASE WHEN j.operation = 'create' THEN f.found_id END AS found_id FROM sync.journal j"
        " LEFT JOIN (SELECT unnest($ids) AS bms_id, unnest($found) AS found_id) f USING (bms_id)"
        " WHERE j.entity = $entity AND j.outcome IS NULL AND j.bms_id IN (SELECT unnest($looked_for))",
        {
            "ids": list(found),
            "found": list(found.values()),
            "entity": entity.name,
            "looked_for": [write.bms_id for write in looked_for],
        },
    )
    connection.execute(
        "UPDATE sync.journal SET outcome = 'not_sent', outcome_at = $now, detail = $detail FROM settled s"
        " WHERE journal.entity = s.entity AND journal.bms_id = s.bms_id AND journal.outcome IS NULL"
        " AND s.found_id IS NULL",
        {"now": now, "detail": SETTLED},
    )
    count_input(connection, "unknown_writes", now)
    _settle_done(connection, entity, now)


def _count_unknown(connection: duckdb.DuckDBPyConnection, entity: Entity) -> int:
    row = connection.execute(
        "SELECT count(*) FROM sync.journal WHERE entity = ? AND outcome IS NULL", [entity.name]
    ).fetchone()
    return int(row[0]) if row else 0


def _settle_done(connection: duckdb.DuckDBPyConnection, entity: Entity, now: datetime) -> None:
    """What is in ``settled`` with a ``found_id`` took effect."""
    connection.execute("DELETE FROM settled WHERE found_id IS NULL")
    connection.execute(
        "UPDATE sync.journal SET outcome = 'done', outcome_at = $now, detail = $detail FROM settled s"
        " WHERE journal.entity = s.entity AND journal.bms_id = s.bms_id AND journal.outcome IS NULL",
        {"now": now, "detail": SETTLED},
    )
    row = connection.execute("SELECT count(*) FROM settled").fetchone()
    if row and row[0]:
        count_input(connection, "unknown_writes", now)
        _remember(connection, entity, now)


def remember_agreement(
    connection: duckdb.DuckDBPyConnection, entity: Entity, clients: Collection[int] | None = None
) -> None:
    """Where both sides came to hold the same value without us, take that as the base of the next comparison.

    And where details were read for the first time: what both sides have of them now. ``clients``: only inside these,
    by BMS account id.
    """
    table = f"sync.loaded_{entity.name}"
    joined = (
        f"bms.{entity.name} b JOIN sync.matches m ON m.entity = '{entity.name}' AND m.bms_id = b.bms_id"
        f" JOIN passportal.{entity.name} p ON p.passportal_id = m.passportal_id"
        " AND ($clients IS NULL OR b.account_id IN (SELECT unnest($clients)))"
    )
    values = {"clients": clients and list(clients)}
    agreeing = " OR ".join(
        f"(b.{each} = p.{each} AND"
        f" (l.bms_{each} IS DISTINCT FROM b.{each} OR l.passportal_{each} IS DISTINCT FROM p.{each}))"
        for each in entity.columns
    )
    # Found first, because they are few and the table is not.
    agreed = ", ".join(f"CASE WHEN b.{each} = p.{each} THEN b.{each} END AS {each}" for each in entity.columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE agreed AS SELECT b.bms_id, {agreed}"
        f" FROM {table} l JOIN {joined} ON b.bms_id = l.bms_id WHERE {agreeing}",
        values,
    )
    columns = ", ".join(
        f"{side}_{each} = coalesce(agreed.{each}, {side}_{each})"
        for each in entity.columns
        for side in ("bms", "passportal")
    )
    connection.execute(f"UPDATE {table} SET {columns} FROM agreed WHERE {table}.bms_id = agreed.bms_id")
    if entity.details:
        met = ", ".join(
            f"bms_{each.name} = {_first_base(each.name)}, passportal_{each.name} = p.{each.name}"
            for each in entity.detail_fields
        )
        connection.execute(
            f"UPDATE {table} SET with_details = true, {met} FROM {joined} WHERE {table}.bms_id = b.bms_id"
            f" AND b.details_read_at IS NOT NULL AND {table}.with_details IS NOT true",
            values,
        )


def _note_outcome(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    plan_id: int,
    outcome: Outcome,
    details: Mapping[int, str],
    now: datetime,
) -> None:
    if not details:
        return
    connection.execute(
        "UPDATE sync.journal SET outcome = $outcome, outcome_at = $now, detail = nullif(o.detail, '')"
        " FROM (SELECT unnest($ids) AS bms_id, unnest($details) AS detail) o"
        " WHERE journal.entity = $entity AND journal.plan_id = $plan_id AND journal.bms_id = o.bms_id"
        " AND journal.outcome IS NULL",
        {
            "outcome": outcome.value,
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
    values = ", ".join(
        f"CASE WHEN {_taken_back(each)} THEN {_after(each)} ELSE coalesce({_after(each)}, p.{each}) END AS {each}"
        for each in entity.columns
    )
    connection.execute(
        f"UPDATE {table} p SET bms_id = NULL FROM settled l WHERE p.passportal_id = l.releases AND p.bms_id = l.bms_id"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE written AS"
        f" SELECT l.found_id AS passportal_id, coalesce(p.client_id, l.client_id) AS client_id, {values},"
        f" CASE WHEN l.releases IS DISTINCT FROM l.found_id THEN l.bms_id END AS bms_id,"
        f" p.last_modified, p.claimed_id, {_of_new('template')}, {_of_new('places')}"
        f" FROM settled l LEFT JOIN {table} p ON p.passportal_id = l.found_id"
        f" LEFT JOIN passportal.new_records n ON n.entity = '{entity.name}'"
    )
    connection.execute(f"DELETE FROM {table} WHERE passportal_id IN (SELECT passportal_id FROM written)")
    connection.execute(f"INSERT INTO {table} BY NAME {keys.with_keys(entity, 'FROM written')}")


def _of_new(column: str) -> str:
    """SQL: what a snapshot says of a record, or of new ones where none has shown it so far."""
    return f"CASE WHEN p.passportal_id IS NULL THEN n.{column} ELSE p.{column} END AS {column}"


def _remember(connection: duckdb.DuckDBPyConnection, entity: Entity, now: datetime) -> None:
    """Make what was ``settled`` last: as matches with their values, or as pairs that are taken apart."""
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE loaded AS FROM settled s WHERE found_id IS DISTINCT FROM releases"
        # A person took the two apart before it was known that they had come together: the person's word holds.
        " AND NOT EXISTS (FROM sync.partings t WHERE t.entity = s.entity AND t.bms_id = s.bms_id"
        " AND t.passportal_id = s.found_id)"
    )
    _remember_partings(connection, entity, now)
    _remember_left(connection, entity)
    _remember_matches(connection, entity, now)
    _remember_values(connection, entity)


def _remember_partings(connection: duckdb.DuckDBPyConnection, entity: Entity, now: datetime) -> None:
    """What lost its marker has no match either, and gets none by a rule."""
    released = "(SELECT bms_id FROM settled WHERE found_id = releases)"
    connection.execute(
        "DELETE FROM sync.matches m USING settled s WHERE m.entity = s.entity AND m.bms_id = s.bms_id"
        " AND m.passportal_id = s.releases"
    )
    connection.execute(f"DELETE FROM sync.loaded_{entity.name} WHERE bms_id IN {released}")
    connection.execute(
        "INSERT INTO sync.partings SELECT entity, bms_id, releases, 'plan ' || plan_id, $now FROM settled s"
        " WHERE releases IS NOT NULL AND NOT EXISTS (FROM sync.partings t WHERE t.entity = s.entity"
        " AND t.bms_id = s.bms_id AND t.passportal_id = s.releases)",
        {"now": now},
    )


def _remember_left(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """What a record held in the document that it leaves for another one, in case that it comes back to it."""
    left = f"sync.left_{entity.name}"
    connection.execute(
        f"DELETE FROM {left} b USING loaded l WHERE b.bms_id = l.bms_id AND b.passportal_id = l.found_id"
    )
    connection.execute(
        f"INSERT INTO {left} BY NAME SELECT b.*, m.passportal_id FROM loaded l"
        f" JOIN sync.loaded_{entity.name} b ON b.bms_id = l.bms_id"
        f" JOIN sync.matches m ON m.entity = l.entity AND m.bms_id = l.bms_id AND m.passportal_id <> l.found_id"
    )


def _remember_matches(connection: duckdb.DuckDBPyConnection, entity: Entity, now: datetime) -> None:
    """A record has one match: one just made replaces what it had (it moved to another client).

    The word that it be created is fulfilled. An update leaves the match as it was, with its reason.
    """
    made = "(SELECT bms_id FROM loaded WHERE operation <> 'update')"
    for table in ("matches", "creations"):
        connection.execute(f"DELETE FROM sync.{table} WHERE entity = '{entity.name}' AND bms_id IN {made}")
    connection.execute(
        "INSERT INTO sync.matches SELECT entity, bms_id, found_id, reason, $now FROM loaded"
        " WHERE operation <> 'update'",
        {"now": now},
    )


def _remember_values(connection: duckdb.DuckDBPyConnection, entity: Entity) -> None:
    """Both sides' values become the base of the next comparison.

    What was written is the base of both. What an update left alone keeps its base, so that a person's edit goes on
    being one; what an adoption found is taken as it was, and so is what was taken back.
    """
    table = f"sync.loaded_{entity.name}"
    details = [each.name for each in entity.detail_fields]
    connection.execute(
        sql.read("remember_values").format(
            entity=entity.name,
            values=", ".join(_base_of(each, is_detail=each in details) for each in entity.columns)
            + (", b.details_read_at IS NOT NULL AS with_details" if details else ""),
        )
    )
    connection.execute(f"DELETE FROM {table} WHERE bms_id IN (SELECT bms_id FROM loaded)")
    connection.execute(f"INSERT INTO {table} BY NAME FROM remembered")


def _base_of(column: str, *, is_detail: bool) -> str:
    """SQL for both bases of one field, over ``loaded l``, the two records ``b`` and ``p``, and the old base ``o``."""
    after, taken_back = _after(column), _taken_back(column)
    has_old = "o.with_details" if is_detail else "o.bms_id IS NOT NULL"
    first = _first_base(column) if is_detail else f"b.{column}"
    # What has no place has not met yet: it is filled once its template has a field for it.
    has_no_place = f"p.{column} IS NULL AND NOT coalesce(list_contains(p.places, '{column}'), true)"
    return (
        f"CASE WHEN {taken_back} THEN b.{column}"
        f" WHEN {after} IS NOT NULL THEN {after} WHEN b.{column} = p.{column} THEN b.{column}"
        f" WHEN {has_no_place} THEN NULL"
        f" WHEN l.operation = 'create' THEN p.{column} WHEN {has_old} THEN o.bms_{column}"
        f" ELSE {first} END AS bms_{column},"
        f" CASE WHEN {taken_back} OR {after} IS NOT NULL THEN {after} WHEN b.{column} = p.{column} THEN p.{column}"
        f" WHEN {has_old} THEN o.passportal_{column}"
        f" ELSE p.{column} END AS passportal_{column}"
    )


def _first_base(column: str) -> str:
    """SQL: what counts as BMS's base of a detail when both sides first meet in it.

    Where Passportal has nothing it is nothing, so that the next plan fills it, whatever kept this one from it.
    """
    return f"CASE WHEN p.{column} IS NOT NULL THEN b.{column} END"


def _after(column: str) -> str:
    """SQL: what was written into the field, NULL where nothing was."""
    return f"list_filter(l.changes, lambda e: e.field = '{column}')[1].\"after\""


def _taken_back(column: str) -> str:
    """SQL: whether the field was put back to what it was before a load, which may be nothing."""
    return f"(l.reason = '{TAKEN_BACK}' AND len(list_filter(l.changes, lambda e: e.field = '{column}')) > 0)"
