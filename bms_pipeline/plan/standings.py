"""Standings: the present state of each record, from what is stored, matched and loaded, independent of the plan.

A plan's outcomes describe one sync; a standing describes the present. An undo, a plan for one client or an empty plan
changes the displayed outcomes, and no standing before it is loaded. ``standings.sql`` is the definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import duckdb

from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity, EntityName
from bms_pipeline.core.errors import PlanError
from bms_pipeline.core.reasons import Reason
from bms_pipeline.plan.field_questions import takes, writes
from bms_pipeline.plan.operations import read_plan
from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import named_rows
from bms_pipeline.warehouse.stored_mapping import read_mapping


class Standing(StrEnum):
    """The state of a record. Every record listed by BMS has exactly one, and so has a matched record gone from BMS."""

    IN_SYNC = "in sync"
    DIFFERS = "differs"
    TO_MATCH = "to match"
    TO_CREATE = "to create"
    TO_PLAN = "to plan"
    UNMATCHED = "unmatched"
    AMBIGUOUS = "ambiguous"
    BLOCKED = "blocked"
    HANDED_OVER = "handed over"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    EXCLUDED = "excluded"
    OUT_OF_SCOPE = "out of scope"
    GONE = "gone"


MEANS: dict[Standing, str] = {
    Standing.IN_SYNC: "matched, loaded, and nothing is left to write",
    Standing.DIFFERS: "matched, and BMS has values that the next load writes",
    Standing.TO_MATCH: "the rules or a person found its record in Passportal; the next load links the two",
    Standing.TO_CREATE: "the next load creates it",
    Standing.TO_PLAN: "read or unblocked since the last plan; the next plan decides",
    Standing.UNMATCHED: "waits for a person: match, create or exclude",
    Standing.AMBIGUOUS: "several records fit; waits for a person",
    Standing.BLOCKED: "waits for its client",
    Standing.HANDED_OVER: "waits for the import of a file into Passportal",
    Standing.REFUSED: "Passportal refused its last operation",
    Standing.UNKNOWN: "nobody knows yet whether its last operation arrived; the next run looks",
    Standing.EXCLUDED: "a person excluded it",
    Standing.OUT_OF_SCOPE: "left out by the settings",
    Standing.GONE: "matched, and gone from BMS; kept in Passportal",
}
"""Standing → its meaning in plain words."""

WAITS_FOR_PERSON = (Standing.UNMATCHED, Standing.AMBIGUOUS)
TO_LOAD = (Standing.DIFFERS, Standing.TO_MATCH, Standing.TO_CREATE)

NOT_CREATED = (
    Reason.NO_PLACE_FOR_MARKER,
    Reason.REQUIRED_VALUE_MISSING,
    Reason.TEMPLATE_NEEDS,
    Reason.TEMPLATE_UNKNOWN,
)
"""Reasons for which a plan does not create what the rules would create, before a person changes something."""

RARE = (Standing.TO_PLAN, Standing.HANDED_OVER, Standing.REFUSED, Standing.UNKNOWN)
"""Standings to leave out of a table while no record has them."""

Counts = dict[EntityName, dict[Standing, int]]
"""Entity → standing → records, with every entity and every standing."""


def counts(connection: duckdb.DuckDBPyConnection) -> Counts:
    """Count the records of each entity by standing."""
    found: Counts = {entity.name: dict.fromkeys(Standing, 0) for entity in ENTITIES}
    query = sql.read("plan/standing_counts").format(standings=all_records(connection))
    for entity, standing, records in connection.execute(query).fetchall():
        found[entity][Standing(standing)] = records
    return found


def by_client(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Count the records inside each client: a row with ``bms_id``, ``name`` and each standing.

    Clients with refused records come first, then those with the most records waiting for a person.
    """
    counted = ", ".join(f"count(*) FILTER (s.standing = '{standing}') AS \"{standing}\"" for standing in Standing)
    first = (
        f'"{Standing.REFUSED}" DESC, "{Standing.UNMATCHED}" + "{Standing.AMBIGUOUS}" DESC, "{Standing.BLOCKED}" DESC'
    )
    query = sql.read("plan/client_standings").format(counted=counted, first=first, standings=all_records(connection))
    return named_rows(connection, query)


class NextStep(StrEnum):
    """The step to advance a record. Each user interface has its own words for it."""

    NOTHING = "nothing"
    SYNC = "sync"
    PLAN = "plan"
    FINISH = "finish"
    DECIDE = "decide"
    INCLUDE = "include"
    IMPORT_FILE = "import the file"
    CHANGE_SETTINGS = "change the settings"
    CORRECT = "correct the record"
    LOOK_IN_BMS = "look in BMS"


@dataclass(frozen=True)
class Story:
    """One record's standing, its reason, the client it waits for, and its next step.

    ``detail`` is Passportal's reason for a refusal. ``waits_for`` is the client it waits for; ``next_step`` is then the
    next step of that client. ``plan_hash`` is the plan to finish, for ``NextStep.FINISH``. ``blocks``: of a client,
    entity → the waiting records inside it.
    """

    standing: Standing
    means: str
    reason: str
    detail: str | None
    next_step: NextStep
    plan_hash: str | None = None
    waits_for: ClientWaitedFor | None = None
    blocks: dict[EntityName, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientWaitedFor:
    """A client a record waits for; ``name`` and ``standing`` are None where BMS does not list it."""

    bms_id: int
    name: str | None
    standing: Standing | None


_AT_ONCE: dict[Standing, NextStep] = {
    Standing.IN_SYNC: NextStep.NOTHING,
    Standing.TO_PLAN: NextStep.PLAN,
    Standing.UNMATCHED: NextStep.DECIDE,
    Standing.AMBIGUOUS: NextStep.DECIDE,
    Standing.HANDED_OVER: NextStep.IMPORT_FILE,
    Standing.REFUSED: NextStep.CORRECT,
    Standing.UNKNOWN: NextStep.SYNC,
    Standing.EXCLUDED: NextStep.INCLUDE,
    Standing.GONE: NextStep.NOTHING,
    Standing.OUT_OF_SCOPE: NextStep.CHANGE_SETTINGS,
}


def story(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> Story | None:
    """Return one record's story, or None for a record gone from BMS and never matched."""
    record = _one(connection, entity, bms_id)
    if record is None:
        return None
    standing = Standing(record["standing"])
    if standing is Standing.TO_CREATE and (why := _why_not_created(connection, entity, bms_id)):
        return Story(standing, why.text, why, None, NextStep.CORRECT)
    client, step, plan_hash = None, NextStep.SYNC, None
    if standing is Standing.BLOCKED and record["reason"] != Reason.NOT_LISTED_IN_PASSPORTAL:
        client, step, plan_hash = _client_waited_for(connection, record["account_id"])
    elif standing is Standing.BLOCKED:
        step = NextStep.IMPORT_FILE
    elif standing in TO_LOAD:
        step, plan_hash = _to_be_loaded(connection, entity, bms_id)
        if entity.has_client:
            client = _client_created_first(connection, record["account_id"])
    elif record["reason"] != Reason.LEFT_ITS_CLIENT:  # about which the next sync of all clients knows more
        step = _AT_ONCE[standing]
    blocks = _blocked_inside(connection, bms_id) if entity.name == "clients" else {}
    return Story(standing, MEANS[standing], record["reason"], record["detail"], step, plan_hash, client, blocks)


def _why_not_created(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> Reason | None:
    """Return why the current plan does not create a record that the rules would create; None where it may."""
    row = connection.execute(
        f"SELECT reason FROM sync.planned_{entity.name} WHERE bms_id = ? AND operation = 'skip'"
        " AND list_contains(?, reason)",
        [bms_id, list(NOT_CREATED)],
    ).fetchone()
    return next((reason for reason in NOT_CREATED if row and reason == row[0]), None)


def _client_waited_for(
    connection: duckdb.DuckDBPyConnection, account_id: int | None
) -> tuple[ClientWaitedFor | None, NextStep, str | None]:
    """Return the client a record waits for, and the next step of that client."""
    if account_id is None:
        return None, NextStep.LOOK_IN_BMS, None
    client, stands = _one(connection, BY_NAME["clients"], account_id), story(connection, BY_NAME["clients"], account_id)
    if client is None or stands is None:
        return ClientWaitedFor(account_id, None, None), NextStep.LOOK_IN_BMS, None
    if stands.standing is Standing.GONE:
        return ClientWaitedFor(account_id, client["name"], stands.standing), NextStep.LOOK_IN_BMS, None
    return ClientWaitedFor(account_id, client["name"], stands.standing), stands.next_step, stands.plan_hash


def _client_created_first(connection: duckdb.DuckDBPyConnection, account_id: int | None) -> ClientWaitedFor | None:
    """Return the client of a record, where it has to be created before the record."""
    client = _one(connection, BY_NAME["clients"], account_id) if account_id is not None else None
    if client is None or client["standing"] != Standing.TO_CREATE:
        return None
    return ClientWaitedFor(client["bms_id"], client["name"], Standing.TO_CREATE)


def _to_be_loaded(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> tuple[NextStep, str | None]:
    """Return the next step of a record to load: a new plan, a person's finish, or the next sync by itself."""
    try:
        plan = read_plan(connection)
    except PlanError:
        return NextStep.PLAN, None
    row = connection.execute(
        "SELECT waits_for_person FROM sync.outcomes"
        " WHERE entity = ? AND bms_id = ? AND is_operation AND outcome = 'pending'",
        [entity.name, bms_id],
    ).fetchone()
    if plan.loaded or plan.discarded or row is None:
        return NextStep.PLAN, None
    by_rule = read_sync_settings(connection).initial_sync_finished and plan.undoes is None and not row[0]
    return (NextStep.SYNC, None) if plan.approved or by_rule else (NextStep.FINISH, plan.hash)


def _blocked_inside(connection: duckdb.DuckDBPyConnection, account_id: int) -> dict[EntityName, int]:
    rows = connection.execute(
        f"SELECT entity, count(*) FROM ({all_records(connection)}) WHERE account_id = ? AND entity <> 'clients'"
        f" AND standing = '{Standing.BLOCKED}' GROUP BY ALL ORDER BY ALL",
        [account_id],
    ).fetchall()
    return dict(rows)


def is_taken_apart(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether the current plan unmatched records that are still reconciled as matched."""
    rows = connection.execute(
        "SELECT DISTINCT entity FROM sync.journal WHERE plan_id = (SELECT max(plan_id) FROM sync.plans)"
        " AND outcome = 'done' AND unmark_id = passportal_id"
    ).fetchall()
    return any(
        connection.execute(
            f"FROM sync.reconciled_{entity} r WHERE r.disposition = 'matched' AND NOT r.is_new_match"
            " AND NOT EXISTS (FROM sync.matches m WHERE m.entity = ? AND m.bms_id = r.bms_id) LIMIT 1",
            [entity],
        ).fetchone()
        for (entity,) in rows
    )


def _one(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> dict[str, Any] | None:
    query = f"FROM ({_records_sql(connection, [entity])}) WHERE bms_id = ?"
    rows = named_rows(connection, query, [bms_id])
    return rows[0] if rows else None


def refused_records(connection: duckdb.DuckDBPyConnection, most: int) -> list[dict[str, Any]]:
    """Return up to ``most`` records whose last operation Passportal refused.

    Columns: entity, bms_id, and the reason as ``detail``.
    """
    query = f"SELECT entity, bms_id, detail FROM ({all_records(connection)}) WHERE standing = '{Standing.REFUSED}'"
    return named_rows(connection, f"{query} ORDER BY ALL LIMIT {most}")


def all_records(connection: duckdb.DuckDBPyConnection) -> str:
    """Return SQL for every record and its standing: entity, bms_id, account_id, name, standing, reason, detail."""
    return _records_sql(connection, ENTITIES)


def compare(connection: duckdb.DuckDBPyConnection) -> None:
    """Compare the fields of changed records, and store which records differ, for every count until the next change.

    After an interruption the next count compares them itself.
    """
    states = _states(connection)
    settings = read_sync_settings(connection)
    for entity in ENTITIES:
        (state, as_of), found = states[entity.name], [entity.name]
        if state == as_of:
            continue
        connection.execute("DELETE FROM sync.differing_as_of WHERE entity = ?", found)
        connection.execute("DELETE FROM sync.differing WHERE entity = ?", found)
        records, differs = settings.mapping.records_sql(entity), _differs(entity, settings)
        connection.execute(sql.read("plan/differing").format(entity=entity.name, records=records, differs=differs))
        connection.execute("INSERT INTO sync.differing_as_of VALUES (?, ?)", [*found, state])


def remember_counts(connection: duckdb.DuckDBPyConnection, counted: Counts, now: datetime) -> None:
    """Store ``counted`` for plots over time, where it differs from the last stored counts."""
    rows = connection.execute("SELECT entity, arg_max(counts, counted_at) FROM sync.standing_counts GROUP BY entity")
    kept = dict(rows.fetchall())
    for entity, by_standing in counted.items():
        values = {standing.value: records for standing, records in by_standing.items() if records}
        if kept.get(entity) != values:
            connection.execute(
                "INSERT INTO sync.standing_counts SELECT $entity, $now, MAP($names, $records::BIGINT[])",
                {"entity": entity, "now": now, "names": list(values), "records": list(values.values())},
            )


def history(connection: duckdb.DuckDBPyConnection, entity: EntityName, last: int) -> list[dict[str, Any]]:
    """Return the last counts of ``entity`` in order: ``counted_at`` and each standing."""
    each_standing = ", ".join(f"coalesce(counts['{standing}'], 0) AS \"{standing}\"" for standing in Standing)
    rows = named_rows(
        connection,
        f"SELECT counted_at, {each_standing} FROM sync.standing_counts WHERE entity = ?"
        " ORDER BY counted_at DESC LIMIT ?",
        [entity, last],
    )
    return rows[::-1]


def count_waiting(counted: Counts) -> dict[EntityName, int]:
    """Return entity → the records waiting for a person's decision."""
    return {name: total(counted[name], WAITS_FOR_PERSON) for name in counted}


def total(counted: dict[Standing, int], standings: Sequence[Standing]) -> int:
    """Count the records with one of ``standings``."""
    return sum(counted[standing] for standing in standings)


_NO_CLIENTS = "SELECT NULL::BIGINT AS bms_id, NULL AS passportal_id, NULL AS standing, NULL AS is_there WHERE false"


def _records_sql(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity]) -> str:
    """Return SQL for the records of ``entities``.

    The clients come first, because they decide about the records inside them.
    """
    settings = read_sync_settings(connection)
    compared = {name for name, (state, as_of) in _states(connection).items() if state == as_of}
    clients = _entity_sql(BY_NAME["clients"], settings, compared)
    parts = [
        "FROM client_now" if entity.name == "clients" else f"FROM ({_entity_sql(entity, settings, compared)})"
        for entity in entities
    ]
    return f"WITH client_now AS MATERIALIZED ({clients}) {' UNION ALL BY NAME '.join(parts)}"


def _entity_sql(entity: Entity, settings: SyncSettings, compared: set[EntityName]) -> str:
    """SQL for the records of ``entity``. Of those ``compared``, ``sync.differing`` holds which differ."""
    known = f"EXISTS (FROM sync.differing d WHERE d.entity = '{entity.name}' AND d.bms_id = b.bms_id)"
    return sql.read("plan/standings").format(
        entity=entity.name,
        records=settings.mapping.records_sql(entity),
        has_client=str(entity.has_client).lower(),
        can_write=str(entity.name in settings.can_write).lower(),
        clients="FROM client_now" if entity.has_client else _NO_CLIENTS,
        differs=known if entity.name in compared else _differs(entity, settings),
    )


def _differs(entity: Entity, settings: SyncSettings) -> str:
    """Whether a load would write a field: one that its document has a place for, as in the plan."""
    columns = settings.mapping.entity(entity).columns
    return " OR ".join(f"({writes(entity, settings, name)}) AND {takes(name)}" for name in columns)


def _states(connection: duckdb.DuckDBPyConnection) -> dict[EntityName, tuple[str, str | None]]:
    """Entity → the state of what is compared now, and that of which ``sync.differing`` holds the result."""
    mapping = read_mapping(connection)

    def state_sql(entity: Entity) -> str:
        targets = {link.entity for link in mapping.links(entity).values()}
        linked = f"{sorted(targets | {'clients'}) if targets else []}::VARCHAR[]"
        return sql.read("plan/differing_state").format(entity=entity.name, linked=linked)

    query = " UNION ALL ".join(
        f"SELECT '{entity.name}', ({state_sql(entity)}),"
        f" (SELECT any_value(state) FROM sync.differing_as_of WHERE entity = '{entity.name}')"
        for entity in ENTITIES
    )
    return {entity: (state, as_of) for entity, state, as_of in connection.execute(query).fetchall()}
