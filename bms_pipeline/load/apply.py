"""Apply the current plan, one entity and one client after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bms_pipeline.entities import Entity
from bms_pipeline.errors import PlanError, PlanWaits, ServiceError
from bms_pipeline.load import journal
from bms_pipeline.passportal.target import Target
from bms_pipeline.reconcile import plan as plans
from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings, store_sync_setting
from bms_pipeline.warehouse.connection import Warehouse, now

Progress = Callable[[int, int], None]
"""Called with the operations done and the operations there are."""


@dataclass(frozen=True)
class Loaded:
    """Operations of one entity: how many were done, and how many the target refused."""

    done: int
    refused: int


def check_approved(warehouse: Warehouse) -> plans.Plan:
    """The current plan, if it or a part of it may be loaded.

    Before the first finish a person has to approve a plan by its hash. Afterwards the settings are the standing
    approval, inside the breakers, for all operations but those that rest on a person's decision; a plan of nothing
    else, or one that takes back a load, waits. Raises ``PlanWaits``, ``PlanStale``, ``BreakerOpen``, or ``PlanError``
    when it was loaded already.
    """
    with warehouse.transaction() as connection:
        plan = plans.current_plan(connection)
        settings = read_sync_settings(connection)
        if plan.loaded:
            raise PlanError(f"Plan {plan.hash[:12]} was loaded already.", "Make a new one with `bms-pipeline preview`.")
        plans.check_not_stale(connection, plan)
        why = "" if plan.approved or not plan.operations else _waits_because(plan, settings)
        if why:
            raise PlanWaits(
                f"Plan {plan.hash[:12]} waits for a person: {why}.",
                f"Look at it with `bms-pipeline preview --saved`, then load it with"
                f" `bms-pipeline finish {plan.hash[:12]}`.",
            )
        plans.check_breakers(connection, plan, settings)
        return plan


def _waits_because(plan: plans.Plan, settings: SyncSettings) -> str:
    if plan.undoes is not None:
        return f"it takes back the load of plan {plan.undoes}"
    if not settings.initial_sync_finished:
        return "the initial sync is not finished yet"
    return "all of it rests on people's decisions" if plan.by_person == plan.operations else ""


def load_entity(
    warehouse: Warehouse, target: Target, entity: Entity, plan: plans.Plan, on_progress: Progress | None = None
) -> Loaded:
    """Apply the plan's operations on ``entity``. The plan has passed ``check_approved``.

    What only a person's finish may load is left alone until somebody approves the plan by its hash.
    When a call to the target fails, its operations stay unknown and the error is raised; the next run settles them.
    """
    with warehouse.open() as connection:
        row = connection.execute(
            f"SELECT count(*) FROM sync.planned_{entity.name} WHERE operation <> 'skip' AND (NOT by_person OR $all)",
            {"all": plan.approved},
        ).fetchone()
        total = int(row[0]) if row else 0
    done = refused = 0
    found: dict[int, str] = {}
    why: dict[int, str] = {}
    while True:
        # The outcomes of one batch and the intents of the next become durable together.
        with warehouse.transaction() as connection:
            moment = now()
            journal.record_outcomes(connection, entity, plan.plan_id, found, why, moment)
            batch = None
            if total:
                batch = journal.next_batch(
                    connection, entity, plan.plan_id, target.batch_size, by_person=plan.approved, now=moment
                )
            if batch is None:
                journal.remember_agreement(connection, entity)
        done += len(found)
        refused += len(why)
        if on_progress and total:
            on_progress(done + refused, total)
        if batch is None:
            return Loaded(done, refused)
        found, why = _send(target, batch) if batch.writes else ({}, {})


def close_plan(warehouse: Warehouse, plan: plans.Plan) -> dict[str, dict[str, int]]:
    """Note that the plan was loaded and count its outcomes; the first unrestricted one ends the initial sync.

    A plan of which a part still waits for a person stays open.
    """
    with warehouse.transaction() as connection:
        if plan.by_person and not plan.approved:
            return plans.count_results(connection, now())
        ended = now()
        connection.execute("UPDATE sync.plans SET loaded_at = ? WHERE plan_id = ?", [ended, plan.plan_id])
        settings = read_sync_settings(connection)
        whole = plan.clients is None and plan.approved and plan.undoes is None
        whole = whole and len(plan.entities) == len(settings.sync)
        if whole and not settings.initial_sync_finished:
            store_sync_setting(connection, "initial_sync_finished_at", ended.isoformat(sep=" "), ended)
        return plans.count_results(connection, ended)


def _send(target: Target, batch: journal.Batch) -> tuple[dict[int, str], dict[int, str]]:
    """Send one batch; (bms_id → passportal_id of what was done, bms_id → why of what was refused)."""
    call = target.create if batch.creates else target.update
    outcomes = call(batch.entity, batch.writes)
    refused = {each.bms_id: each.detail for each in outcomes if not each.done}
    accepted = [each for each in batch.writes if each.bms_id not in refused]
    if not batch.creates:
        return {each.bms_id: each.passportal_id for each in accepted if each.passportal_id}, refused
    found = target.find(batch.entity, accepted)
    missing = [each.bms_id for each in accepted if each.bms_id not in found]
    if missing:
        raise ServiceError(
            f"Passportal accepted {len(accepted)} new {batch.entity.name} and does not list {len(missing)} of them"
            f" (BMS ids {', '.join(map(str, missing[:5]))}).",
            "Nothing was sent twice. Run again: what took effect by then is found by its marker.",
        )
    return found, refused
