"""The plan: one operation for every record read, saved with a hash of its changes.

A person sees and approves the plan, and load executes the plan and nothing else. Operations are create, adopt (link to
an existing record and fill its empty fields), update and skip.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity, EntityName
from bms_pipeline.core.errors import (
    PlanDiscarded,
    PlanKept,
    PlanMissing,
    PlanNotCurrent,
    PlanStale,
    RecordsUnexplained,
)
from bms_pipeline.core.mapping import Mapping
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.vocabulary import Count, Operation
from bms_pipeline.plan.breakers import hold_back, hold_unproved
from bms_pipeline.plan.field_questions import FieldQuestions
from bms_pipeline.plan.undo import fill_undo
from bms_pipeline.reconcile.matching import Scope, reconcile_all, reconciled
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.warehouse import outcomes, schema, sql
from bms_pipeline.warehouse.inputs import OF_LOADS, Inputs, add_made_from, forget_results, read_inputs
from bms_pipeline.warehouse.stored_mapping import read_mapping

OUTCOMES = tuple(count.value for count in Count)
"""Every record read is counted under exactly one of these."""

MOVED_SHOWN = 20
"""The number of changed operations listed one by one."""


@dataclass(frozen=True)
class Plan:
    """A saved plan.

    ``operations`` counts the changes it would make. Only a person's finish may load three kinds of them.
    ``needs_approval`` rest on people's decisions. ``held_back`` are updates of clients with too many changes at
    once. ``unproved`` are new matches and creates from lists not read to a provable end. ``stale``: its inputs
    changed since, which need not change any operation (see ``what_moved``). ``undoes``: the plan whose load this
    plan takes back. ``discarded_at`` and ``discarded_by``: when a person discarded it, and who.
    """

    plan_id: int
    hash: str
    made_at: datetime
    operations: int
    entities: tuple[EntityName, ...]
    clients: tuple[int, ...] | None
    approved: bool
    loaded_at: datetime | None
    stale: bool
    needs_approval: int
    held_back: int
    unproved: int
    undoes: int | None = None
    discarded_at: datetime | None = None
    discarded_by: str | None = None

    @property
    def discarded(self) -> bool:
        """Whether a person discarded it. What was loaded of it before stays."""
        return self.discarded_at is not None

    @property
    def loaded(self) -> bool:
        """Whether every operation has a final outcome."""
        return self.loaded_at is not None

    @property
    def waiting(self) -> int:
        """The number of its operations that only a person's finish may load."""
        return self.needs_approval + self.held_back + self.unproved

    @property
    def is_to_be_made_anew(self) -> bool:
        """Whether a whole plan takes its place: it was discarded, or its inputs changed since."""
        return self.discarded or (self.stale and self.undoes is None and self.clients is None)


def build_plan(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], scope: Scope, now: datetime) -> Plan:
    """Replace the current plan by a plan for ``entities``, which have been reconciled.

    Raises ``RecordsUnexplained`` when the plan does not hold each record read exactly once.
    """
    fill_plan(connection, entities, scope)
    return save_plan(connection, entities, scope, now)


def fill_plan(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], scope: Scope) -> None:
    """Replace the operations by those for the reconciled ``entities``; records outside ``scope`` are skipped."""
    inputs, settings = read_inputs(connection), read_sync_settings(connection)
    made_from = {entity.name: _made_from(inputs, entity, scope, settings.mapping) for entity in entities}
    changed = [
        entity
        for entity in ENTITIES
        if entity.name not in made_from or not inputs.is_made_from(_planned(entity), made_from[entity.name])
    ]
    forget_results(connection, [_planned(entity) for entity in changed])
    for entity in changed:
        connection.execute(f"TRUNCATE sync.planned_{entity.name}")
    remade = [entity for entity in entities if entity in changed]
    refused = _entities_refused(connection) if remade else set()
    needing = _entities_needing(connection) if remade else set()
    for entity in remade:
        if _is_reconciled(connection, entity):
            fields = settings.mapping.entity(entity)
            questions = FieldQuestions(fields, settings, scope, needs=entity.name in needing)
            connection.execute(questions.operations_sql())
            if entity.name in refused:
                connection.execute(_hold_refused_sql(fields))
    hold_back(connection, remade, settings)
    if changed:
        hold_unproved(connection, entities, scope.clients)  # also the records inside a client proved by now
    for entity in remade:
        add_made_from(connection, _planned(entity), made_from[entity.name])


def _planned(entity: Entity) -> str:
    """Return the name of the operations on ``entity`` in ``sync.made_from``."""
    return f"planned.{entity.name}"


def _made_from(inputs: Inputs, entity: Entity, scope: Scope, mapping: Mapping) -> str:
    """Return the inputs of the operations on ``entity``: those of now, and those it was reconciled from.

    The records to which it links are among them.
    """
    linked = [inputs.of(BY_NAME[link.entity]) for link in mapping.links(entity).values()]
    return json.dumps([inputs.of(entity), *linked, inputs.made_from.get(reconciled(entity)), scope.clients])


def _is_reconciled(connection: duckdb.DuckDBPyConnection, entity: Entity) -> bool:
    return connection.execute(f"FROM sync.reconciled_{entity.name} LIMIT 1").fetchone() is not None


def save_plan(
    connection: duckdb.DuckDBPyConnection,
    entities: Sequence[Entity],
    scope: Scope,
    now: datetime,
    undoes: int | None = None,
) -> Plan:
    """Save the operations in the tables as the current plan, under their hash."""
    if undoes is not None:
        forget_results(connection, [_planned(entity) for entity in entities])
    for entity in entities:
        _check_each_record_once(connection, entity)
    mapping = read_mapping(connection)
    operations, fingerprint = _fingerprint(connection, entities, mapping)
    (plan_id,) = connection.execute("SELECT coalesce(max(plan_id), 0) + 1 FROM sync.plans").fetchone() or (1,)
    connection.execute(
        "INSERT INTO sync.plans (plan_id, hash, made_at, scope, inputs, operations, undoes, mapping)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            plan_id,
            fingerprint,
            now,
            json.dumps({"entities": [entity.name for entity in entities], "clients": scope.clients}),
            _inputs(connection),
            operations,
            undoes,
            json.dumps(mapping.as_json()),
        ],
    )
    count_plan_results(connection, now)
    return read_plan(connection)


_WAITING = "SELECT sum(needs_approval), sum(held_back), sum(unproved) FROM ({})".format(
    # From the tables and not from sync.operations: DuckDB would plan its lists of changes with every query.
    " UNION ALL ".join(
        "SELECT count(*) FILTER (needs_approval) AS needs_approval, count(*) FILTER (held_back) AS held_back,"
        f" count(*) FILTER (unproved) AS unproved FROM sync.planned_{entity.name}"
        for entity in ENTITIES
    )
)
"""The query for the number of operations of the current plan that wait for a person, by reason."""


def read_plan(connection: duckdb.DuckDBPyConnection) -> Plan:
    """Return the plan made last. Raises ``PlanError`` where none was ever made."""
    row = connection.execute(
        "SELECT plan_id, hash, made_at, operations, scope, approved_at IS NOT NULL, loaded_at, inputs,"
        " undoes, discarded_at, discarded_by FROM sync.plans ORDER BY plan_id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise PlanMissing("There is no plan yet.", "Run `bms-pipeline preview` to make one.")
    scope = json.loads(row[4])
    needs_approval, held_back, unproved = connection.execute(_WAITING).fetchone() or (0, 0, 0)
    return Plan(
        plan_id=row[0],
        hash=row[1],
        made_at=row[2],
        operations=row[3],
        entities=tuple(scope["entities"]),
        clients=None if scope["clients"] is None else tuple(scope["clients"]),
        approved=row[5],
        loaded_at=row[6],
        stale=row[7] != _inputs(connection),
        needs_approval=int(needs_approval),
        held_back=int(held_back),
        unproved=int(unproved),
        undoes=row[8],
        discarded_at=row[9],
        discarded_by=row[10],
    )


def plan_loaded_at(connection: duckdb.DuckDBPyConnection, plan_hash: str) -> datetime | None:
    """Return when a plan of this hash (8 characters or more) was loaded; None where the current one is not yet."""
    row = connection.execute(
        "SELECT loaded_at FROM sync.plans WHERE len($hash) >= 8 AND starts_with(hash, lower($hash))"
        " ORDER BY plan_id = (SELECT max(plan_id) FROM sync.plans) DESC, loaded_at DESC NULLS LAST LIMIT 1",
        {"hash": plan_hash},
    ).fetchone()
    return row[0] if row else None


def approve_plan(connection: duckdb.DuckDBPyConnection, plan_hash: str, by: str, now: datetime) -> Plan:
    """Mark the current plan as approved by a person, named by its hash (the first 8 or more characters).

    Raises ``PlanStale`` when the hash is not the current plan's, or when a plan made now would differ.
    """
    plan = read_plan(connection)
    check_named(plan, plan_hash)
    check_not_discarded(plan)
    check_not_stale(connection, plan)
    connection.execute(
        "UPDATE sync.plans SET approved_at = ?, approved_by = ? WHERE plan_id = ?", [now, by, plan.plan_id]
    )
    return read_plan(connection)


def mark_discarded(connection: duckdb.DuckDBPyConnection, plan_hash: str, by: str, now: datetime) -> Plan:
    """Mark the current plan as discarded by a person; one discarded before stays as it is.

    ``plan_hash`` names the plan; empty: whatever the current one is. Raises ``PlanNotCurrent``, and ``PlanKept`` when
    the plan was loaded, has nothing to load, or has a write whose outcome is unknown.
    """
    plan = read_plan(connection)
    if plan_hash:
        check_named(plan, plan_hash)
    if plan.discarded:
        return plan
    short = plan.hash[:12]
    if plan.loaded and plan.operations:
        raise PlanKept(
            f"Plan {short} was loaded at {plan.loaded_at:%Y-%m-%d %H:%M} UTC, so there is nothing left to discard.",
            f"To take its load back: `bms-pipeline undo {plan.plan_id}`, then look at that plan and finish it.",
        )
    if not plan.operations:
        raise PlanKept(f"Plan {short} has nothing to load, so there is nothing to discard.", "Nothing is to be done.")
    unknown = _count(
        connection, f"SELECT count(*) FROM sync.journal WHERE plan_id = {plan.plan_id} AND outcome IS NULL"
    )
    if unknown:
        raise PlanKept(
            f"Plan {short} is loaded in part, and for {unknown:,} of its writes nobody knows yet whether they arrived.",
            "Run `bms-pipeline sync`: it looks these writes up in Passportal. Then discard the rest of the plan.",
        )
    connection.execute(
        "UPDATE sync.plans SET discarded_at = ?, discarded_by = ? WHERE plan_id = ?", [now, by, plan.plan_id]
    )
    return read_plan(connection)


def check_not_discarded(plan: Plan) -> None:
    """Raise ``PlanDiscarded`` when a person discarded the plan."""
    if plan.discarded:
        raise PlanDiscarded(
            f"Plan {plan.hash[:12]} was discarded by {plan.discarded_by} at {plan.discarded_at:%Y-%m-%d %H:%M} UTC.",
            "Make a new plan with `bms-pipeline preview`, and approve that one.",
        )


def is_named(plan: Plan, plan_hash: str) -> bool:
    """Return whether ``plan_hash`` (the first 8 or more characters) names ``plan``."""
    return len(plan_hash) >= 8 and plan.hash.startswith(plan_hash.lower())


def check_named(plan: Plan, plan_hash: str) -> None:
    """Raise ``PlanNotCurrent`` when ``plan_hash`` (the first 8 or more characters) does not name ``plan``."""
    if not is_named(plan, plan_hash):
        raise PlanNotCurrent(
            f"Plan {plan_hash} is not the current plan; that is {plan.hash[:12]} of {plan.made_at:%Y-%m-%d %H:%M} UTC.",
            "Look at the current plan with `bms-pipeline preview --saved`, then approve it by its hash.",
        )


def check_not_stale(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Raise ``PlanStale`` when a plan made now would differ, and name the changed operations one by one.

    Where its inputs changed but every operation is still the same, the plan stays valid. A plan loaded in part is not
    checked here: load refuses each operation whose record changed in between.
    """
    check_same_mapping(connection, plan)
    if not plan.stale or _is_begun(connection, plan):
        return
    inputs, moved = moved_inputs(connection, plan), what_moved(connection, plan)
    if not moved:
        connection.execute("UPDATE sync.plans SET inputs = ? WHERE plan_id = ?", [_inputs(connection), plan.plan_id])
        return
    listed = "".join(f"\n  {sentence}" for sentence in moved[:MOVED_SHOWN])
    more = f"\n  and {len(moved) - MOVED_SHOWN:,} more" if len(moved) > MOVED_SHOWN else ""
    raise PlanStale(
        f"Plan {plan.hash[:12]} is stale: {', '.join(inputs)} changed since it was made, and {len(moved):,} operations"
        f" with it:{listed}{more}",
        f"Make a new plan with `bms-pipeline {'preview' if plan.undoes is None else f'undo {plan.undoes}'}` and approve"
        " that one.",
    )


def check_same_mapping(connection: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Raise ``PlanStale`` when the mapping changed since the plan was made: its load would write to other places.

    This holds for a plan loaded in part, too.
    """
    row = connection.execute("SELECT mapping FROM sync.plans WHERE plan_id = ?", [plan.plan_id]).fetchone()
    made_with = parse_mapping(json.loads(row[0])) if row and row[0] else Mapping()
    if made_with != read_mapping(connection):
        raise PlanStale(
            f"Plan {plan.hash[:12]} is stale: the mapping changed since it was made, so its values would go to other"
            " places in Passportal than the plan showed.",
            f"Make a new plan with `bms-pipeline {'preview' if plan.undoes is None else f'undo {plan.undoes}'}` and"
            " approve that one.",
        )


def moved_inputs(connection: duckdb.DuckDBPyConnection, plan: Plan) -> list[str]:
    """Return the inputs changed since the plan was made: ``bms.clients``, ``passportal.users``, ``settings``, ..."""
    row = connection.execute("SELECT inputs FROM sync.plans WHERE plan_id = ?", [plan.plan_id]).fetchone()
    before = json.loads(row[0]) if row else {}
    after = json.loads(_inputs(connection))
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def what_moved(connection: duckdb.DuckDBPyConnection, plan: Plan) -> list[str]:
    """Return one sentence for each operation that a plan made now would lack or change.

    Everything is decided again on the stored records and then put back as it was, also the plan itself.
    """
    entities, mapping = planned_entities(plan), read_mapping(connection)
    for entity in entities:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE saved_{entity.name} AS FROM sync.planned_{entity.name}")
    reconcile_all(connection, entities)
    if plan.undoes is None:
        fill_plan(connection, entities, Scope(plan.clients))
    else:
        fill_undo(connection, entities, plan.undoes)
    moved: list[str] = []
    for entity in entities:
        rows = connection.execute(_moved_sql(mapping.entity(entity))).fetchall()
        moved += [_moved_sentence(entity, *row) for row in rows]
        connection.execute(f"TRUNCATE sync.planned_{entity.name}")
        connection.execute(f"INSERT INTO sync.planned_{entity.name} BY NAME FROM saved_{entity.name}")
        connection.execute(f"DROP TABLE saved_{entity.name}")
    forget_results(connection, [_planned(entity) for entity in ENTITIES])
    return moved


def _moved_sql(entity: Entity) -> str:
    values = [f"{side}_{column}" for column in entity.columns for side in ("before", "after")]
    same = " AND ".join(
        f"was.{column} IS NOT DISTINCT FROM now.{column}"
        for column in ("operation", "client_id", "passportal_id", "template_id", "unmark_id", *values)
    )
    changed = ", ".join(
        f"CASE WHEN was.after_{column} IS DISTINCT FROM now.after_{column}"
        f" OR was.before_{column} IS DISTINCT FROM now.before_{column} THEN '{column}' END"
        for column in entity.columns
    )
    return sql.read("plan/moved_operations").format(entity=entity.name, same=same, changed=changed)


def _moved_sentence(
    entity: Entity, bms_id: int, name: str | None, was: str | None, now: str | None, why: str | None, changed: list[str]
) -> str:
    became = f"is {now} now" if now != was else f"changed in {', '.join(changed) or 'whom it concerns'}"
    found = "BMS no longer lists it" if now is None else f"it {became} ({why})"
    planned = "nothing" if was in (None, Operation.SKIP) else was
    return f"{entity.singular} {bms_id} {name or '(no name)'}: {planned} was planned, {found}"


def _is_begun(connection: duckdb.DuckDBPyConnection, plan: Plan) -> bool:
    return _count(connection, f"SELECT count(*) FROM sync.journal WHERE plan_id = {plan.plan_id}") > 0


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def count_plan_results(connection: duckdb.DuckDBPyConnection, now: datetime) -> dict[EntityName, dict[str, int]]:
    """Count the current plan's records by outcome; store and return them: entity → {"read": n, "created": n, ...}."""
    rows = connection.execute(sql.read("plan/results")).fetchall()
    results = {row[0]: dict(zip(("read", *OUTCOMES), map(int, row[1:]), strict=True)) for row in rows}
    (plan_id,) = connection.execute("SELECT coalesce(max(plan_id), 0) FROM sync.plans").fetchone() or (0,)
    connection.execute("DELETE FROM sync.results WHERE plan_id = ?", [plan_id])
    for entity, counts in results.items():
        if counts["read"] != sum(counts[outcome] for outcome in OUTCOMES):
            raise RecordsUnexplained(f"{entity}: the outcomes do not add up to the records read: {counts}.")
        connection.execute(
            f"INSERT INTO sync.results (plan_id, entity, counted_at, read, {', '.join(OUTCOMES)})"
            f" VALUES ({', '.join('?' * (len(OUTCOMES) + 4))})",
            [plan_id, entity, now, counts["read"], *(counts[outcome] for outcome in OUTCOMES)],
        )
    return {entity.name: results[entity.name] for entity in ENTITIES if entity.name in results}


def _entities_needing(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the entities with a template of new records that is known to require an element."""
    rows = connection.execute("SELECT DISTINCT entity FROM passportal.new_records WHERE len(needs) > 0").fetchall()
    return {entity for (entity,) in rows}


def _entities_refused(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the entities of which Passportal ever refused a record's values."""
    rows = connection.execute("SELECT DISTINCT entity FROM sync.journal WHERE refuses_values").fetchall()
    return {row[0] for row in rows}


def _hold_refused_sql(entity: Entity) -> str:
    """Return SQL to skip operations that would send what Passportal refused before."""
    return sql.read("plan/hold_refused").format(
        entity=entity.name,
        blanked=", ".join(f"{side}_{column} = NULL" for column in entity.columns for side in ("before", "after")),
        changes=schema.changes_sql(entity),
        document=outcomes.document_state("last.refused_id"),
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


def _fingerprint(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], mapping: Mapping
) -> tuple[int, str]:
    """Return the number of operations with changes, and their hash, which does not depend on the order of rows.

    The mapping is part of it: it says under which labels the values go. So is the template of each document.
    """
    operations, parts = 0, []
    for entity in map(mapping.entity, entities):
        values = ", ".join(f"coalesce({side}_{c}, chr(0))" for c in entity.columns for side in ("before", "after"))
        row = connection.execute(sql.read("plan/plan_fingerprint").format(entity=entity.name, texts=values)).fetchone()
        if row and row[0]:
            operations += int(row[0])
            parts.append(f"{entity.name}:{row[0]}:{row[1]}")
    if mapping.hash:
        parts.append(f"mapping:{mapping.hash}")
    return operations, hashlib.md5(",".join(parts).encode(), usedforsecurity=False).hexdigest()


def _inputs(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute(
        "SELECT name, version FROM sync.input_versions WHERE NOT starts_with(name, $of_loads) ORDER BY name",
        {"of_loads": OF_LOADS},
    ).fetchall()
    return json.dumps(dict(rows))


def planned_entities(plan: Plan) -> list[Entity]:
    """Return the plan's entities in loading order."""
    return [BY_NAME[entity.name] for entity in ENTITIES if entity.name in plan.entities]
