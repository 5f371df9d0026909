"""The whole way in one call: as a person starts it, as the schedule does, and for some clients alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bms_pipeline.core.entities import ENTITIES, Entity, with_clients
from bms_pipeline.core.settings import Settings, check_given, needed_settings
from bms_pipeline.load import apply
from bms_pipeline.plan import operations as plans
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.sync import extraction, loading, passportal_snapshot, planning, services
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse.connection import Warehouse, kept_open, open_warehouse


def read_services(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    full: bool = False,
    in_instalments: bool = False,
    progress: Progress = silent,
) -> list[extraction.Unfinished]:
    """Extract, land and snapshot, to bring the warehouse up to date with both services; return the unfinished lists."""
    reading = just_read(settings, entities=entities, full=full, in_instalments=in_instalments, progress=progress)
    with reading as unfinished:
        return unfinished


@contextlib.contextmanager
def just_read(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    full: bool = False,
    in_instalments: bool = False,
    progress: Progress = silent,
) -> Iterator[list[extraction.Unfinished]]:
    """Read like ``read_services``, and keep the open files open inside the block, where no service may be called."""
    check_given(settings, needed_settings(settings))
    warehouse, lists = open_warehouse(settings), extraction.list_calls(entities)
    unfinished: list[extraction.Unfinished] = []
    with contextlib.ExitStack() as kept:
        with contextlib.closing(services.open_target(settings)) as target, services.open_bms(settings) as client:
            progress("sign in to BMS", 0, None)
            ready = extraction.get_ready(warehouse, client, lists, full=full)
            for list_call in lists:
                swept = extraction.sweep_list(
                    settings, client, list_call, ready[list_call], progress, in_instalments=in_instalments
                )
                if list_call == lists[-1] and services.is_passportal_here(settings):
                    kept.enter_context(kept_open())  # it was the last call to a service
                extracted = extraction.land_swept(settings, warehouse, list_call, swept, progress)
                if isinstance(extracted, extraction.Unfinished):
                    unfinished.append(extracted)
            read_then = passportal_snapshot.read_snapshots(
                settings, warehouse, target, with_clients(entities), progress
            )
            if not services.is_passportal_here(settings):
                kept.enter_context(kept_open())
            overdue = passportal_snapshot.land_snapshots(warehouse, target, read_then)
            if overdue:
                kept.close()
                passportal_snapshot.look_for(warehouse, target, overdue)
                kept.enter_context(kept_open())
        yield unfinished


def prepare(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    scope: Scope | None = None,
    full: bool = False,
    create_unmatched_by: str | None = None,
    progress: Progress = silent,
) -> plans.Plan:
    """Run every stage up to the plan: extract, land, snapshot, reconcile. Changes nothing in Passportal.

    ``create_unmatched_by``: the person who decided to create all records that only lack a decision.
    """
    read_services(settings, entities=entities, full=full, progress=progress)
    return planning.plan_from_stored(
        open_warehouse(settings),
        entities=entities,
        scope=scope,
        create_unmatched_by=create_unmatched_by,
        progress=progress,
    )


@dataclass(frozen=True)
class Synced:
    """The end of a sync: the current plan, whether this sync made it, and whether a person has to approve it."""

    plan: plans.Plan
    is_new: bool
    waits: bool


def synchronise(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    scope: Scope | None = None,
    full: bool = False,
    create_unmatched_by: str | None = None,
    wait: bool = True,
    progress: Progress = silent,
) -> Synced:
    """Run one whole sync on a person's command: read, plan, and load what may be; do nothing where nothing is new.

    ``create_unmatched_by``: the person who decided, and approves in advance, to create all records that only lack a
    decision. Raises the errors of the stages. ``wait``: see ``finish``.
    """
    warehouse = open_warehouse(settings)
    is_whole = scope in (None, Scope()) and not full and len(entities) == len(ENTITIES)
    loading.resume(settings, wait=wait, progress=progress)
    with contextlib.ExitStack() as kept:
        kept.enter_context(just_read(settings, entities=entities, full=full, progress=progress))
        done = planning.plan_done(warehouse, creates=create_unmatched_by is not None) if is_whole else None
        if done is not None:
            return Synced(done, is_new=False, waits=False)
        plan = planning.plan_from_stored(
            warehouse, entities=entities, scope=scope, create_unmatched_by=create_unmatched_by, progress=progress
        )
        if not services.is_passportal_here(settings):
            kept.close()
        if create_unmatched_by:
            with contextlib.closing(services.open_target(settings)) as target:
                planning.approve_unseen(settings, warehouse, target, create_unmatched_by)
        return Synced(plan, is_new=True, waits=_load_what_may_be(settings, warehouse, wait, progress))


def _load_what_may_be(settings: Settings, warehouse: Warehouse, wait: bool, progress: Progress) -> bool:
    """Load the current plan unless a person has to approve it; return whether one has to, for all or for the rest."""
    if not planning.waits_for_person(warehouse):
        loading.finish(settings, wait=wait, progress=progress)
    return planning.waits_for_person(warehouse)


def incremental(
    settings: Settings, *, full: bool = False, wait: bool = True, progress: Progress = silent
) -> plans.Plan:
    """Run ``synchronise_new`` and return its plan."""
    return synchronise_new(settings, full=full, wait=wait, progress=progress).plan


def synchronise_new(
    settings: Settings, *, full: bool = False, wait: bool = True, progress: Progress = silent
) -> Synced:
    """Run one whole sync for the schedule: read the changes; where there are any, plan, and load what may be.

    The rest of the plan waits for a person. Where nothing was new, the plan is the one already there. A list needing
    more calls than the hour has left goes on the next time; the other lists do not wait for it. Raises
    ``BreakerOpen`` and the errors of the stages. ``wait``: see ``finish``.
    """
    warehouse = open_warehouse(settings)
    loading.resume(settings, wait=wait, progress=progress)
    with contextlib.ExitStack() as kept:
        kept.enter_context(just_read(settings, full=full, in_instalments=True, progress=progress))
        with warehouse.open() as connection:
            at_hand = planning.plan_at_hand(connection)
        if at_hand is not None:
            return Synced(at_hand, is_new=False, waits=not at_hand.loaded and planning.waits_for_person(warehouse))
        plan = planning.plan_from_stored(warehouse, progress=progress)
        if not services.is_passportal_here(settings):
            kept.close()
        return Synced(plan, is_new=True, waits=_load_what_may_be(settings, warehouse, wait, progress))


def import_clients(
    settings: Settings, clients: Sequence[int], *, progress: Progress = silent
) -> Iterator[list[apply.ClientLoaded]]:
    """Load the records inside ``clients`` (BMS account ids), one group of clients after another.

    The plan is the approved one until it is loaded whole (the initial bulk import). Afterwards it is a plan for these
    clients alone, made from the last sweep of BMS and a new snapshot of Passportal; the operations the settings allow
    are loaded. Writes whose answer was lost stay unknown: call it again when their time has passed. Raises
    ``PlanWaits`` when a person has to approve the plan first.
    """
    warehouse = open_warehouse(settings)
    with contextlib.closing(services.open_target(settings)) as target:
        services.check_target(warehouse, target)
        passportal_snapshot.settle(settings, warehouse, target, progress)
        plan = planning.current_plan(warehouse)
        if plan.loaded or plan.discarded or not plan.approved:
            with warehouse.open() as connection:
                finished = read_sync_settings(connection).initial_sync_finished
            if not finished:
                apply.check_approved(warehouse)  # the waiting plan is the one to approve
            passportal_snapshot.snapshots(settings, warehouse, target, ENTITIES)
            planning.plan_from_stored(warehouse, scope=Scope(clients=tuple(clients)))
        plan = apply.check_approved(warehouse)
        loading.count_loads(warehouse, plans.planned_entities(plan))
        yield from apply.load_clients(
            warehouse, target, plan, clients, lambda done, total: progress("load clients", done, total)
        )
        apply.close_plan(warehouse, plan)
