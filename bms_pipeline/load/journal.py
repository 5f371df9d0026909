"""The journal: an intent before each call to the target, a mark when the call leaves, an outcome after it.

Intents become durable in portions of many calls, in one transaction. Marks and outcomes go into the portion's file
(``warehouse/portions.py``), durable without the database. ``Warehouse.open`` takes the file in::

    intents of a portion ──▶ mark ──▶ call ──▶ outcomes ──▶ mark ──▶ call ──▶ ...  ──▶ taken in ──▶ next portion
        database            file      target     file                              database, file removed

    pending ──▶ intent ──mark──▶ marked ──answer──▶ done | refused | not_sent
                  │                │
                  │                └──no answer──▶ unknown ──a reading finds it─────────────────────────▶ done
                  │                                   │
                  │                                   └──its time has passed, a second reading does not──▶ not_sent
                  ├──taken in, and the file is whole: its call was never made───────────────────────────▶ not_sent
                  └──the file is lost, cut or damaged────▶ unknown

The state after a kill, moment by moment:

    before the commit of the intents   a file without marks, no intents: the file is removed
    after it, before the first mark    every intent was never sent
    in the middle of a mark            half a line: this call did not leave, the calls before it have their outcomes
    between a mark and its outcomes    this call is unknown, whether it left or not; the calls after it never left
    in the middle of outcomes          half a line: this call is unknown
    while it is taken in               the transaction is undone, the file is there: it is taken in again
    after that, before the removal     the file is there: it changes only intents without outcome, so nothing more

Neither side is believed alone. An intent counts as never sent only where the database has it without outcome, *and* the
file of its portion is whole and has no mark for it. In the database alone, an intent without outcome is unknown.

The time of an unknown write (``Target.unknown_seconds``) counts from the last moment at which the call may have left
this machine: the answer that never came, the mark, or the target's own last write. An unknown operation is never sent.
An operation not sent is pending again under the same approval, with an intent of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import duckdb

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.passportal.target import Write
from bms_pipeline.warehouse import outcomes, schema, sql
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.relations import Relation, has_rows, temporary
from bms_pipeline.warehouse.stored_mapping import mapped, read_mapping

SETTLED = "settled by reading Passportal"


class Due(NamedTuple):
    """A due operation. ``account_id``: the client of its record, by BMS id; users have none."""

    account_id: int | None
    bms_id: int


@dataclass(frozen=True)
class Call:
    """Operations of one kind that leave together. ``is_sent``: links of branches are no call to Passportal."""

    creates: bool
    writes: list[Write]
    is_sent: bool = True


@dataclass(frozen=True)
class NextPortion:
    """Operations whose intents become durable together, in the order of their calls."""

    number: int
    calls: list[Call]


@dataclass(frozen=True)
class Open:
    """Intents without outcome: how many writes of one kind, and the last moment (UTC) at which one may have left."""

    entity: EntityName
    operation: str
    writes: int
    left_at: datetime


def due(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    plan_id: int,
    *,
    approved: bool,
    clients: Collection[int] | None = None,
) -> list[Due]:
    """Return the plan's due operations, in the order of sending.

    ``approved``: also those that need a person's finish. ``clients``: only operations inside these, by BMS account id.
    """
    accounts, bms_ids = connection.execute(
        "SELECT coalesce(list(account_id ORDER BY operation = 'create', account_id, bms_id), []),"
        " coalesce(list(bms_id ORDER BY operation = 'create', account_id, bms_id), [])"
        f" FROM ({_due(entity, '$clients IS NULL OR o.account_id IN (SELECT unnest($clients))')})",
        {"plan_id": plan_id, "approved": approved, "clients": clients and list(clients)},
    ).fetchone() or ([], [])
    return list(map(Due, accounts, bms_ids))


def begin_portion(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    plan_id: int,
    operations: Collection[Due],
    call_size: int,
    now: datetime,
    *,
    approved: bool,
) -> NextPortion:
    """Write the intents of these operations, as far as they are still due; commit before calling the target.

    A record whose client this plan did not link is refused here; one whose client it may still link waits.
    """
    number = _next_number(connection, now)
    accounts = [operation.account_id for operation in operations if operation.account_id is not None]
    have_accounts = len(accounts) == len(operations) > 0
    query = sql.read("load/next_portion").format(
        entity=entity.name,
        changes=schema.changes_sql(mapped(connection, entity)),
        is_branch=outcomes.is_branch(entity, "o", "coalesce(o.passportal_id, due.client_id)"),
        due=_due(entity, "o.bms_id IN (SELECT unnest($bms_ids))"),
        among=f"o.account_id BETWEEN {min(accounts)} AND {max(accounts)}" if have_accounts else "true",
    )
    bms_ids = [operation.bms_id for operation in operations]
    values = {"plan_id": plan_id, "approved": approved, "bms_ids": bms_ids}
    with temporary(connection, "portion", query, values) as portion:
        _write_intents(connection, entity, plan_id, portion, number, now)
        return NextPortion(number, _calls(connection, portion, call_size))


def _write_intents(
    connection: duckdb.DuckDBPyConnection, entity: Entity, plan_id: int, portion: Relation, number: int, now: datetime
) -> None:
    connection.execute(
        "INSERT INTO sync.journal BY NAME SELECT $plan_id AS plan_id, $entity AS entity, bms_id, operation, reason,"
        " client_id, passportal_id, changes, unmark_id, $now AS intent_at, $number AS portion,"
        " CASE WHEN is_refused THEN $refused END AS outcome, CASE WHEN is_refused THEN $now END AS outcome_at,"
        f" CASE WHEN is_refused THEN 'its client is not linked in Passportal' END AS detail FROM {portion}",
        {
            "plan_id": plan_id,
            "entity": entity.name,
            "now": now,
            "number": number,
            "refused": Outcome.REFUSED.value,
        },
    )


def _calls(connection: duckdb.DuckDBPyConnection, portion: Relation, call_size: int) -> list[Call]:
    """Return the operations of a portion cut into calls, in the order of sending: the creates last."""
    rows = connection.execute(
        "SELECT operation = 'create', NOT is_branch, bms_id, client_id, passportal_id, changes, replaces_marker_of,"
        f" unmark_id, template_id FROM {portion} WHERE NOT is_refused"
        " ORDER BY operation = 'create', is_branch, account_id, bms_id"
    ).fetchall()
    calls: list[Call] = []
    for creates, is_sent, bms_id, client_id, passportal_id, changes, replaces_marker_of, unmark_id, template_id in rows:
        kind = (creates, is_sent)
        if not calls or (calls[-1].creates, calls[-1].is_sent) != kind or len(calls[-1].writes) == call_size:
            calls.append(Call(creates, [], is_sent))
        calls[-1].writes.append(
            Write(
                bms_id=bms_id,
                client_id=client_id,
                passportal_id=passportal_id,
                values={change["field"]: change["after"] for change in changes},
                before={change["field"]: change["before"] for change in changes},
                replaces_marker_of=replaces_marker_of,
                unmark_id=unmark_id,
                template_id=(template_id or "") if creates else "",
            )
        )
    return calls


def _due(entity: Entity, among: str) -> str:
    """Return SQL: the due operations of the plan, ``among`` the given ones."""
    return sql.read("load/due").format(
        entity=entity.name, has_client=str(entity.has_client).lower(), waits=schema.WAITS_FOR_PERSON, among=among
    )


def _next_number(connection: duckdb.DuckDBPyConnection, now: datetime) -> int:
    """Return a number unused by any portion of this home: a moment, to stay unused after a copy is put back."""
    microseconds = int(now.replace(tzinfo=UTC).timestamp() * 1_000_000)
    row = connection.execute("SELECT coalesce(max(portion), 0) + 1 FROM sync.journal").fetchone()
    return max(microseconds, int(row[0]) if row else 1)


def open_intents(connection: duckdb.DuckDBPyConnection) -> list[Open]:
    """Return the intents without outcome, of every plan, by entity and operation."""
    rows = connection.execute(sql.read("load/open_intents")).fetchall()
    return [Open(*row) for row in rows]


def settles_at(unknown: Collection[Open], unknown_seconds: float) -> datetime:
    """Return the moment (UTC) from which all of these writes (at least one) may be settled as not sent."""
    return max(intent.left_at for intent in unknown) + timedelta(seconds=unknown_seconds)


def settle_found(
    connection: duckdb.DuckDBPyConnection, entity: Entity, last_write_at: datetime | None, now: datetime
) -> int:
    """Settle the intents on ``entity`` that took effect by the snapshot just taken; return how many stay unknown.

    A create or an adoption took effect if its record has the marker inside its client, an update if the record holds
    the new values. ``last_write_at``: see ``Target.last_write_at``; a later moment than ``now`` counts as now.
    """
    if not _count_unknown(connection, entity):
        return 0
    connection.execute(
        "UPDATE sync.journal"
        " SET left_at = least(coalesce(left_at, greatest(intent_at, marked_at, $last_write_at)), $now)"
        " WHERE entity = $entity AND outcome IS NULL",
        {"entity": entity.name, "last_write_at": last_write_at, "now": now},
    )
    columns = mapped(connection, entity).columns
    present = " ".join(f"WHEN '{column}' THEN p.{column}" for column in columns)
    holds = f'len(list_filter(u.changes, lambda e: e."after" IS DISTINCT FROM CASE e.field {present} END)) = 0'
    query = sql.read("load/settle_unknown").format(entity=entity.name, holds_the_values=f"coalesce({holds}, true)")
    with temporary(connection, "settled", query, {"entity": entity.name}) as settled:
        _settle_done(connection, entity, settled, now)
    return _count_unknown(connection, entity)


def overdue(
    connection: duckdb.DuckDBPyConnection, entity: Entity, unknown_seconds: float, now: datetime
) -> list[Write]:
    """Return the unknown writes whose time has passed: to be looked for once more, then settled."""
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
    """Settle writes whose time has passed: creates ``found`` by a second reading are done, the others were not sent.

    An update missing in the snapshot can be sent again without harm: it names the values that it replaces.
    """
    query = (
        "SELECT j.*, CASE WHEN j.operation = 'create' THEN f.found_id END AS found_id FROM sync.journal j"
        " LEFT JOIN (SELECT unnest($ids) AS bms_id, unnest($found) AS found_id) f USING (bms_id)"
        " WHERE j.entity = $entity AND j.outcome IS NULL AND j.bms_id IN (SELECT unnest($looked_for))"
    )
    values = {
        "ids": list(found),
        "found": list(found.values()),
        "entity": entity.name,
        "looked_for": [write.bms_id for write in looked_for],
    }
    with (
        temporary(connection, "overdue", query, values) as late,
        temporary(connection, "settled", f"FROM {late} WHERE found_id IS NOT NULL") as settled,
    ):
        connection.execute(
            f"UPDATE sync.journal SET outcome = 'not_sent', outcome_at = $now, detail = $detail FROM {late} s"
            " WHERE journal.entity = s.entity AND journal.bms_id = s.bms_id AND journal.outcome IS NULL"
            " AND s.found_id IS NULL",
            {"now": now, "detail": SETTLED},
        )
        bump_version(connection, "unknown_writes", now)
        _settle_done(connection, entity, settled, now)


def _count_unknown(connection: duckdb.DuckDBPyConnection, entity: Entity) -> int:
    row = connection.execute(
        "SELECT count(*) FROM sync.journal WHERE entity = ? AND outcome IS NULL", [entity.name]
    ).fetchone()
    return int(row[0]) if row else 0


def _settle_done(connection: duckdb.DuckDBPyConnection, entity: Entity, settled: Relation, now: datetime) -> None:
    """Mark the operations in ``settled``, which a reading found, as done."""
    connection.execute(
        f"UPDATE sync.journal SET outcome = 'done', outcome_at = $now, detail = $detail FROM {settled} s"
        " WHERE journal.entity = s.entity AND journal.bms_id = s.bms_id AND journal.outcome IS NULL",
        {"now": now, "detail": SETTLED},
    )
    if has_rows(connection, settled):
        bump_version(connection, "unknown_writes", now)
        outcomes.remember_values(connection, entity, settled, now)


def send_again(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Collection[int] | None, now: datetime
) -> int:
    """Let the next plan send what Passportal refused of these records, or of all; return the number of records."""
    rows = connection.execute(
        "UPDATE sync.journal SET refuses_values = false WHERE entity = $entity AND refuses_values"
        " AND ($bms_ids::BIGINT[] IS NULL OR list_contains($bms_ids::BIGINT[], bms_id)) RETURNING bms_id",
        {"entity": entity.name, "bms_ids": None if bms_ids is None else list(bms_ids)},
    ).fetchall()
    if rows:
        bump_version(connection, f"refused_values.{entity.name}", now)
    return len(set(rows))


def remember_agreement(
    connection: duckdb.DuckDBPyConnection, entity: Entity, clients: Collection[int] | None = None
) -> None:
    """Store the values on which both sides agree without us as the base of the next comparison.

    Where details were read for the first time, store both sides' present values. ``clients``: only inside these, by BMS
    account id.
    """
    table = f"sync.base_{entity.name}"
    mapping = read_mapping(connection)
    entity = mapping.entity(entity)
    joined = (
        f"{mapping.records_sql(entity)} b JOIN sync.matches m ON m.entity = '{entity.name}' AND m.bms_id = b.bms_id"
        f" JOIN passportal.{entity.name} p ON p.passportal_id = m.passportal_id"
        " AND ($clients IS NULL OR b.account_id IN (SELECT unnest($clients)))"
    )
    values = {"clients": clients and list(clients)}
    agreeing = " OR ".join(
        f"(b.{column} = p.{column} AND"
        f" (l.bms_{column} IS DISTINCT FROM b.{column} OR l.passportal_{column} IS DISTINCT FROM p.{column}))"
        for column in entity.columns
    )
    # These rows are found first, because they are few in a large table.
    agreed = ", ".join(
        f"CASE WHEN b.{column} = p.{column} THEN b.{column} END AS {column}" for column in entity.columns
    )
    query = f"SELECT b.bms_id, {agreed} FROM {table} l JOIN {joined} ON b.bms_id = l.bms_id WHERE {agreeing}"
    columns = ", ".join(
        f"{side}_{column} = coalesce(a.{column}, {side}_{column})"
        for column in entity.columns
        for side in ("bms", "passportal")
    )
    with temporary(connection, "agreed", query, values) as agreed_values:
        connection.execute(f"UPDATE {table} SET {columns} FROM {agreed_values} a WHERE {table}.bms_id = a.bms_id")
    if entity.details:
        met = ", ".join(
            f"bms_{field.name} = {outcomes.first_base(field.name)},"
            f" passportal_{field.name} = {outcomes.first_in_passportal(entity, field.name)}"
            for field in entity.detail_fields
            if not mapping.is_left_out(entity, field.name)
        )
        connection.execute(
            f"UPDATE {table} SET with_details = true, {met} FROM {joined} WHERE {table}.bms_id = b.bms_id"
            f" AND b.details_read_at IS NOT NULL AND {table}.with_details IS NOT true",
            values,
        )
