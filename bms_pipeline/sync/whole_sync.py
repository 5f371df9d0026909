"""The whole way in one call: as a person starts it, as the schedule does, and for some clients alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.entities import CLIENTS, ENTITIES, Entity, with_clients
from bms_pipeline.core.errors import SettingsError
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
    clients: Sequence[int] | None = None,
    full: bool = False,
    in_instalments: bool = False,
    progress: Progress = silent,
) -> Iterator[list[extraction.Unfinished]]:
    """Read like ``read_services``, and keep the open files open inside the block, where no service may be called.

    ``clients``: read the records of these clients alone.
    """
    check_given(settings, needed_settings(settings))
    warehouse = open_warehouse(settings)
    unfinished: list[extraction.Unfinished] = []
    with contextlib.ExitStack() as kept:
        with contextlib.closing(services.open_target(settings)) as target, services.open_bms(settings) as bms:
            services.check_target(warehouse, target)  # before BMS is read: another Passportal would waste those calls
            progress("sign in to BMS", 0, None)
            if clients is None:
                how = _Reading(settings, warehouse, bms, kept, progress)
                unfinished += how.lists(entities, full=full, in_instalments=in_instalments)
            else:
                _Reading(settings, warehouse, bms, kept, progress).clients(entities, clients)
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


@dataclass(frozen=True)
class _Reading:
    """One reading of BMS. ``kept``: what stays open behind it, from its last call on."""

    settings: Settings
    warehouse: Warehouse
    bms: BmsClient
    kept: contextlib.ExitStack
    progress: Progress

    def lists(self, entities: Sequence[Entity], *, full: bool, in_instalments: bool) -> list[extraction.Unfinished]:
        """Sweep and land list after list; return the unfinished ones."""
        lists, unfinished = extraction.list_calls(entities), []
        ready = extraction.get_ready(self.warehouse, self.bms, lists, full=full, incremental=in_instalments)
        for list_call in lists:
            swept = extraction.sweep_list(
                self.settings, self.bms, list_call, ready[list_call], self.progress, in_instalments=in_instalments
            )
            if list_call == lists[-1]:
                self._keep_open()
            extracted = extraction.land_swept(
                self.settings, self.warehouse, list_call, swept, self.progress, is_first=list_call == lists[0]
            )
            if isinstance(extracted, extraction.Unfinished):
                unfinished.append(extracted)
        return unfinished

    def clients(self, entities: Sequence[Entity], clients: Sequence[int]) -> None:
        """Sweep the lists of each client alone, then land them all: a client that cannot be read stores nothing."""
        tenant = services.check_tenant(self.warehouse, self.bms)
        account_types = services.account_types(self.bms)
        lists = extraction.client_lists(entities)
        swept = [
            extraction.sweep_client(self.settings, self.bms, client, lists, tenant, self.progress)
            for client in dict.fromkeys(clients)
        ]
        self._keep_open()
        services.update_account_types(self.warehouse, account_types)
        for client_swept in swept:
            extraction.land_client(
                self.settings, self.warehouse, client_swept, self.progress, is_first=client_swept is swept[0]
            )

    def _keep_open(self) -> None:
        """Keep the warehouse open behind the last call to a service."""
        if services.is_passportal_here(self.settings):
            self.kept.enter_context(kept_open())


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
    entities, clients = _what_to_read(entities, scope)
    with just_read(settings, entities=entities, clients=clients, full=full, progress=progress):
        pass
    return planning.plan_from_stored(
        open_warehouse(settings),
        entities=entities,
        scope=scope,
        create_unmatched_by=create_unmatched_by,
        progress=progress,
    )


CALLS_OF_SIGN_IN = 3
"""Signing in, the tenant, and the kinds of accounts."""
MOST_ALONE = 50
"""More clients than this are not read one by one: then the whole lists cost fewer calls."""


def _what_to_read(entities: Sequence[Entity], scope: Scope | None) -> tuple[Sequence[Entity], Sequence[int] | None]:
    """Return the entities to read and plan, and the clients to read alone; None for the whole lists.

    Users belong to no client, so a plan of some clients leaves them alone. Raises ``SettingsError`` where nothing is
    left.
    """
    if scope is None or scope.clients is None:
        return entities, None
    inside = tuple(entity for entity in entities if entity.list_call.of_client is not None)
    if not inside:
        raise SettingsError("Users belong to no client.", "Leave out --client, or name other entities.")
    return inside, scope.clients if 0 < len(scope.clients) <= MOST_ALONE else None


def what_reading_takes(settings: Settings, clients: Sequence[int]) -> str:
    """Return in words what reading ``clients`` takes of each service, before anything is read."""
    in_passportal = (
        "none to Passportal, which is a file here"
        if services.is_passportal_here(settings)
        else "to Passportal its lists and one for each document that changed since it was read last"
    )
    if len(clients) > MOST_ALONE:
        return f"{len(clients):,} clients are too many to read one by one: the whole lists of BMS are read."
    own = extraction.CALLS_OF_CLIENT * len(clients) + CALLS_OF_SIGN_IN
    read = "This client is read alone" if len(clients) == 1 else f"These {len(clients):,} clients are read alone"
    return f"{read}. Calls: about {own:,} to BMS, {in_passportal}."


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
    entities, clients = _what_to_read(entities, scope)
    loading.resume(settings, wait=wait, progress=progress)
    with contextlib.ExitStack() as kept:
        kept.enter_context(just_read(settings, entities=entities, clients=clients, full=full, progress=progress))
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

    The plan is the approved one until it is loaded whole (the initial bulk import). Otherwise these clients are read
    alone, and the plan is for them; the operations the settings allow are loaded. Writes whose answer was lost stay
    unknown: call it again when their time has passed. Raises ``PlanWaits`` when a person has to approve a plan first:
    one of all clients that waits already, or before the first finish the one just made.
    """
    warehouse = open_warehouse(settings)
    with contextlib.closing(services.open_target(settings)) as target:
        services.check_target(warehouse, target)
        passportal_snapshot.settle(settings, warehouse, target, progress)
    if not _is_approved_for(warehouse, clients):
        _check_none_waits(warehouse)
        loading.resume(settings, wait=False, progress=progress)  # of other clients, left in its middle
        prepare(settings, scope=Scope(clients=tuple(clients)), progress=progress)
    with contextlib.closing(services.open_target(settings)) as target:
        plan = apply.check_approved(warehouse)
        loading.count_loads(warehouse, plans.planned_entities(plan))
        if plan.clients is not None:
            loading.load(settings, warehouse, target, CLIENTS, plan, progress)
        yield from apply.load_clients(
            warehouse, target, plan, clients, lambda done, total: progress("load clients", done, total)
        )
        apply.close_plan(warehouse, plan)


def _is_approved_for(warehouse: Warehouse, clients: Sequence[int]) -> bool:
    """Return whether the current plan is approved, about all ``clients``, and left to be loaded."""
    plan = planning.plan_made_last(warehouse)
    if plan is None or plan.loaded or plan.discarded or not plan.approved:
        return False
    return plan.clients is None or set(clients) <= set(plan.clients)


def _check_none_waits(warehouse: Warehouse) -> None:
    """Raise ``PlanWaits`` before the first finish where a plan of all clients waits: that is the one to approve."""
    plan = planning.plan_made_last(warehouse)
    with warehouse.open() as connection:
        finished = read_sync_settings(connection).initial_sync_finished
    if plan is not None and not plan.loaded and not plan.discarded and plan.clients is None and not finished:
        apply.check_approved(warehouse)
