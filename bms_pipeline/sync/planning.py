"""Reconcile, plan and approve: what happens to each record, and who agreed."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from bms_pipeline.core.entities import ENTITIES, Entity, EntityName, with_clients
from bms_pipeline.core.errors import (
    DecisionsMissing,
    PipelineError,
    PlanError,
    PlanMissing,
    PlanWaits,
    Stage,
    StageMissing,
)
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Disposition
from bms_pipeline.load import apply, journal
from bms_pipeline.passportal.target import Target
from bms_pipeline.plan import operations as plans
from bms_pipeline.plan.breakers import check_breakers, check_held_back, check_sweeps
from bms_pipeline.reconcile import decisions, matching
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.sync import passportal_snapshot
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.inputs import has_version


def reconcile(
    warehouse: Warehouse, entity: Entity, scope: Scope, *, create_unmatched_by: str | None = None
) -> dict[str, int]:
    """Decide the disposition of every record of ``entity``; return the number of records for each.

    ``create_unmatched_by``: the person who decided to create all records inside ``scope`` that only lack a decision.
    """
    with warehouse.transaction() as connection:
        return _reconcile(connection, [entity], scope, create_unmatched_by)[entity.name]


def _reconcile(
    connection: duckdb.DuckDBPyConnection,
    entities: Sequence[Entity],
    scope: Scope,
    create_unmatched_by: str | None,
    progress: Progress = silent,
) -> dict[EntityName, dict[str, int]]:
    """Reconcile ``entities``, which are in loading order; return the number of their records for each disposition."""
    if create_unmatched_by:
        _check_not_rebuilding(connection)
    basis = matching.read_basis(connection)
    found: dict[EntityName, dict[str, int]] = {}
    for entity in entities:
        progress(f"reconcile {entity.name}", 0, None)
        counts = matching.reconcile_entity(connection, entity, basis)
        if create_unmatched_by and counts.get(Disposition.UNMATCHED):
            decisions.create_unmatched_of(connection, entity, create_unmatched_by, now(), scope)
            counts = matching.dispositions(connection, entity)
            basis = matching.read_basis(connection)  # the decisions are an input of the next entities
        records = sum(counts.values())
        progress(f"reconcile {entity.name}", records, records)
        found[entity.name] = counts
    return found


def check_stages(warehouse: Warehouse, stages: Sequence[tuple[Stage, Entity]]) -> None:
    """Raise ``StageMissing`` where one of ``stages`` never ran in this home folder: it has no result to use."""
    with warehouse.open() as connection:
        missing = [(stage, entity.name) for stage, entity in stages if not _has_run(connection, stage, entity)]
    if missing:
        listed = ", ".join(f"{stage} {name}" for stage, name in missing)
        raise StageMissing(
            f"This rests on what never ran in this home folder: {listed}.",
            "Run `bms-pipeline preview`, which reads both services.",
            missing,
        )


def _has_run(connection: duckdb.DuckDBPyConnection, stage: Stage, entity: Entity) -> bool:
    match stage:
        case Stage.BMS:
            found = connection.execute(
                "FROM sync.sweeps WHERE list_call = ? AND client IS NULL LIMIT 1", [entity.list_call.name]
            ).fetchone()
            return found is not None
        case Stage.PASSPORTAL:
            is_listed = entity.name in read_sync_settings(connection).can_list
            return not is_listed or has_version(connection, f"passportal.{entity.name}")
        case Stage.RECONCILED:
            stored, decided = connection.execute(
                f"SELECT (SELECT count(*) FROM bms.{entity.name} WHERE missing_since IS NULL),"
                f" (SELECT count(*) FROM sync.reconciled_{entity.name})"
            ).fetchone() or (0, 0)
            return not stored or bool(decided)


def make_plan(warehouse: Warehouse, entities: Sequence[Entity], scope: Scope) -> plans.Plan:
    """Save the operations of the next load as the current plan.

    Raises ``DecisionsMissing`` where Passportal has our markers and this database never loaded anything.
    """
    with warehouse.transaction() as connection:
        _check_not_lost(connection, has_second_copies=warehouse.has_second_copies)
        return plans.build_plan(connection, entities, scope, now())


def approve(settings: Settings, warehouse: Warehouse, target: Target, plan_hash: str, by: str) -> plans.Plan:
    """Record a person's approval of the current plan, named by its hash.

    Passportal is read again first: a change there since the plan was made may change the plan. A plan approved before,
    and left in the middle, is taken up as it is. Raises ``PlanNotCurrent``, before anything is read, when the hash is
    not the current plan's. Raises ``PlanStale`` when a plan made now would differ.
    """
    plan = current_plan(warehouse)
    plans.check_named(plan, plan_hash)
    plans.check_not_discarded(plan)
    if not plan.approved:
        passportal_snapshot.snapshots(settings, warehouse, target, plans.planned_entities(plan))
    with warehouse.transaction() as connection:
        return plans.approve_plan(connection, plan_hash, by, now())


def approve_unseen(settings: Settings, warehouse: Warehouse, target: Target, by: str) -> plans.Plan:
    """Approve the current plan on the strength of an approval given before the plan was made.

    Such an approval holds inside the breakers only. Raises ``SweepIncomplete`` or ``BreakerOpen``, the latter also
    where a part of the plan is held back; then a person has to name the hash.
    """
    with warehouse.open() as connection:
        _check_not_rebuilding(connection)
        plan = plans.read_plan(connection)
        check_breakers(connection, plan, read_sync_settings(connection))
        check_sweeps(connection, plan)
    check_held_back(plan)
    return approve(settings, warehouse, target, plan.hash, by)


_RESTORE = "`bms-pipeline restore` puts back the newest good copy and every decision since."
_PUT_BACK = "Put back the newest backup of PostgreSQL and of the lake's data."
"""The two ways to have people's decisions again: of a file, and of a lake."""


def _check_not_lost(connection: duckdb.DuckDBPyConnection, *, has_second_copies: bool) -> None:
    """Raise ``DecisionsMissing`` where a new database meets a Passportal loaded from another database."""
    if connection.execute("FROM sync.journal LIMIT 1").fetchone() is not None:
        return
    answered = "SELECT count(*) FROM sync.settings WHERE name IN ('rebuilt_at', 'restored_at')"
    if connection.execute(answered).fetchone() != (0,):
        return
    marked = {}
    for entity in ENTITIES:
        row = connection.execute(sql.read("sync/own_markers").format(entity=entity.name)).fetchone()
        if row and row[0]:
            marked[entity.name] = row[0]
    if marked:
        counts = ", ".join(f"{count:,} {name}" for name, count in marked.items())
        raise DecisionsMissing(
            f"This database is new, and Passportal holds {counts} with this program's markers: another database"
            " loaded them. What people excluded and decided there is not known here.",
            f"{_RESTORE if has_second_copies else _PUT_BACK} Without one,"
            " `bms-pipeline rebuild` starts over: nothing is created until you have finished a plan by its hash.",
        )


def _check_not_rebuilding(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise ``PlanWaits`` while the exclusions of a lost database are unknown."""
    rebuilt_at = read_sync_settings(connection).rebuilt_at
    if read_sync_settings(connection).is_rebuilding:
        raise PlanWaits(
            f"The database was started over at {rebuilt_at} UTC, so nobody knows what was excluded. Nothing is created"
            " by advance approval.",
            "Look at every create with `bms-pipeline preview`, exclude what has to stay out, then `bms-pipeline finish"
            " HASH`.",
        )


def current_plan(warehouse: Warehouse) -> plans.Plan:
    """Return the plan made last. Raises ``PlanError`` where none was ever made."""
    with warehouse.open() as connection:
        return plans.read_plan(connection)


def plan_made_last(warehouse: Warehouse) -> plans.Plan | None:
    """Return the plan made last; None where none was ever made."""
    with warehouse.open() as connection:
        try:
            return plans.read_plan(connection)
        except PlanMissing:
            return None


def clients_to_link(warehouse: Warehouse) -> list[tuple[int, str | None]]:
    """Return id and name of the clients that only a person may link, because not all accounts were read yet."""
    with warehouse.open() as connection:
        return connection.execute(sql.read("sync/clients_to_link")).fetchall()


def waits_for_person(warehouse: Warehouse) -> bool:
    """Return whether the current plan would change something, and a person has to approve it first."""
    return isinstance(why_not_loaded(warehouse), PlanWaits)


def why_not_loaded(warehouse: Warehouse) -> PipelineError | None:
    """Return why the current plan may not be loaded now: the error ``finish`` would raise; None where it would load."""
    try:
        apply.check_approved(warehouse)
    except PlanError as error:
        return error
    return None


def count_results(warehouse: Warehouse) -> dict[EntityName, dict[str, int]]:
    """Count the current plan's records by outcome, as of now."""
    with warehouse.transaction() as connection:
        return plans.count_plan_results(connection, now())


def plan_from_stored(
    warehouse: Warehouse,
    *,
    entities: Sequence[Entity] = ENTITIES,
    scope: Scope | None = None,
    create_unmatched_by: str | None = None,
    progress: Progress = silent,
) -> plans.Plan:
    """Reconcile and plan from the stored records; neither service is read."""
    scope = scope or Scope()
    with warehouse.open():
        with warehouse.transaction() as connection:
            _reconcile(connection, with_clients(entities), scope, create_unmatched_by, progress)
        progress("plan", 0, None)
        plan = make_plan(warehouse, entities, scope)
        progress("plan", plan.operations, plan.operations)
        return plan


def plan_done(warehouse: Warehouse, *, creates: bool) -> plans.Plan | None:
    """Return the current plan if it has nothing to load, and a plan made now would be the same; else None.

    A plan with operations is not returned: its load would be counted as done by this sync. After such a load an empty
    plan shows the two sides in sync. ``creates``: the caller creates all records that only lack a decision.
    """
    with warehouse.open() as connection:
        plan = plan_at_hand(connection)
        if plan is None or plan.operations or journal.open_intents(connection):
            return None
        if creates and any(decisions.waits_for_creation(connection, entity) for entity in ENTITIES):
            return None
        return plan


def is_anything_new(warehouse: Warehouse) -> bool:
    """Return whether a whole plan made now could differ from the current plan, or has operations left to load."""
    with warehouse.open() as connection:
        return plan_at_hand(connection) is None


def plan_at_hand(connection: duckdb.DuckDBPyConnection) -> plans.Plan | None:
    """Return the current plan if a whole plan made now would equal it, and nothing of it loads by itself."""
    try:
        plan = plans.read_plan(connection)
    except PlanError:
        return None
    if (
        plan.discarded
        or plan.stale
        or plan.clients is not None
        or plan.undoes is not None
        or len(plan.entities) < len(ENTITIES)
    ):
        return None
    if not plan.operations and not plan.loaded:
        return None  # a breaker is open, although nothing would be written
    row = connection.execute(sql.read("sync/is_anything_to_load")).fetchone()
    return None if row and row[0] else plan


def changed_inputs(warehouse: Warehouse) -> list[str]:
    """Return the inputs changed since the current plan was made (``bms.clients``, ``settings``, ...)."""
    with warehouse.open() as connection:
        try:
            return plans.moved_inputs(connection, plans.read_plan(connection))
        except PlanError:
            return []
