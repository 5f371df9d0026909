"""Apply the current plan, one entity and one client after another."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import PlanError, PlanWaits, ServiceUnreachable
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.load import journal
from bms_pipeline.load.import_files import ImportFile
from bms_pipeline.passportal.target import Leaving, Target
from bms_pipeline.plan import operations as plans
from bms_pipeline.plan.breakers import check_breakers
from bms_pipeline.reconcile.sync_settings import SyncSettings, read_sync_settings, store_sync_setting
from bms_pipeline.warehouse import lease, portions, schema, sql
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.portions import Sent

PORTION = 1000
"""Operations whose intents become durable together: enough to make a transaction cheap next to their calls."""

MOST_PORTIONS = 50
"""An entity with more operations gets larger portions. Each portion scans whole tables; so a load of any size has a
bounded number of scans."""

LOST_IN_A_ROW = 3
"""After this many calls without any answer, stop: the service takes no writes now. More calls would only be unknown."""

Progress = Callable[[int, int], None]
"""Called with the number of operations (or clients) done and their total."""


@dataclass(frozen=True)
class Loaded:
    """Counts of an entity's operations: done, refused, without answer, and put into a file."""

    done: int
    refused: int
    unknown: int = 0
    handed_over: ImportFile | None = None


def check_approved(warehouse: Warehouse) -> plans.Plan:
    """Return the current plan, if it or a part of it may be loaded.

    Before the first finish a person has to approve a plan by its hash. Afterwards the settings are the standing
    approval, inside the breakers. Operations that rest on a person's decision or are held back are excepted: a plan of
    nothing else waits, and so does a plan that takes back a load. Raises ``PlanWaits``, ``PlanDiscarded``,
    ``PlanStale``, ``BreakerOpen``, or ``PlanError`` when it was loaded already.
    """
    with warehouse.transaction() as connection:
        plan = plans.read_plan(connection)
        settings = read_sync_settings(connection)
        if plan.loaded:
            raise PlanError(f"Plan {plan.hash[:12]} was loaded already.", "Make a new one with `bms-pipeline preview`.")
        plans.check_not_discarded(plan)
        plans.check_not_stale(connection, plan)
        if plan.approved:
            return plan
        if settings.initial_sync_finished and plan.undoes is None:
            check_breakers(connection, plan, settings)
            plan = plans.read_plan(connection)  # its waiting part may have changed by now
        why = _waits_because(plan, settings) if plan.operations else ""
        if why:
            raise PlanWaits(
                f"Plan {plan.hash[:12]} waits for a person: {why}.",
                f"Look at it with `bms-pipeline preview --saved`, then load it with"
                f" `bms-pipeline finish {plan.hash[:12]}`.",
            )
        return plan


def _waits_because(plan: plans.Plan, settings: SyncSettings) -> str:
    if plan.undoes is not None:
        return f"it takes back the load of plan {plan.undoes}"
    if not settings.initial_sync_finished:
        return "the initial sync is not finished yet"
    if settings.mapping_waits:
        return "the mapping changed since the last load, so a person looks at its first plan"
    return _waiting_part(plan) if plan.waiting == plan.operations else ""


def _waiting_part(plan: plans.Plan) -> str:
    """Return why every operation of the plan waits for a person."""
    if plan.unproved:
        return f"{plan.unproved:,} new matches and creates come from lists that were not read to a provable end"
    if not plan.held_back:
        return "all of it rests on people's decisions"
    held_back = (
        f"{plan.held_back:,} operations are held back because most of a client would change at once, BMS shows another"
        " name under its id, or most documents of a client are not listed in Passportal any more"
    )
    return held_back if not plan.needs_approval else f"{held_back}, and all else rests on people's decisions"


def load_entity(
    warehouse: Warehouse,
    target: Target,
    entity: Entity,
    plan: plans.Plan,
    on_progress: Progress | None = None,
    *,
    clients: Collection[int] | None = None,
) -> Loaded:
    """Apply the plan's operations on ``entity``; with ``clients`` those inside them. It has passed ``check_approved``.

    Operations that need a person's finish are left alone until somebody approves the plan by its hash. A write
    whose answer was lost stays unknown, and all else goes on. Raises ``ServiceUnreachable`` when several calls in a row
    lost their answer, and the target's errors; the next run settles the unfinished writes.
    """
    with warehouse.transaction() as connection:
        total = _operations(connection, entity, plan, clients)
        waiting = journal.due(connection, entity, plan.plan_id, approved=plan.approved, clients=clients)
        if not waiting:
            journal.remember_agreement(connection, entity, clients)
    load = _Load(warehouse, target, entity, plan, total, on_progress)
    if waiting:
        load.send(waiting)
        with warehouse.transaction() as connection:
            journal.remember_agreement(connection, entity, clients)
    return load.loaded


@dataclass
class _Load:
    """The load of one entity, portion by portion; see the drawing in ``journal``."""

    warehouse: Warehouse
    target: Target
    entity: Entity
    plan: plans.Plan
    total: int
    on_progress: Progress | None
    loaded: Loaded = field(default_factory=lambda: Loaded(0, 0))
    lost_in_a_row: int = 0

    def send(self, operations: Iterable[journal.Due]) -> None:
        """Send these operations in this order, as far as they are still due. They are offered again if not sent."""
        waiting = deque(operations)
        size = max(PORTION, self.target.batch_size, len(waiting) // MOST_PORTIONS)
        while waiting:
            portion = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            again = self._send_portion(portion)
            waiting.extendleft(operation for operation in reversed(portion) if operation.bms_id in again)

    def _send_portion(self, operations: Sequence[journal.Due]) -> set[int]:
        """Make the intents durable, then the calls. Return the BMS ids of operations not sent.

        The next process to open the warehouse takes in the outcomes of the calls.
        """
        again: set[int] = set()
        with contextlib.ExitStack() as held:
            with self.warehouse.transaction() as connection:
                portion = journal.begin_portion(
                    connection,
                    self.entity,
                    self.plan.plan_id,
                    operations,
                    self.target.batch_size,
                    now(),
                    approved=self.plan.approved,
                )
                if not portion.calls:
                    return again
                # There before the commit: where a file is missing, everything in its portion counts as unknown.
                calls = held.enter_context(self.warehouse.begin_portion(portion.number))
            for call in portion.calls:
                sent = self._call(calls, call)
                again |= sent.not_sent.keys()
        return again

    def _call(self, calls: portions.Portion, call: journal.Call) -> Sent:
        """Make one call, between its marks and its outcomes: the target marks each operation as it leaves."""
        if call.is_sent and self.entity.name in self.target.can_write:
            sent = _send(self.target, self.entity, call, self._leaving_by(calls))
        else:
            # A record that it cannot write, it cannot mark: adopting it is a match of ours and no call. So is the link
            # of a branch: the client carries the marker of the account that owns it.
            sent = Sent({write.bms_id: write.passportal_id for write in call.writes if write.passportal_id})
        calls.answer(sent, now())
        self.loaded = _added(self.loaded, sent)
        if self.on_progress:
            self.on_progress(self.loaded.done + self.loaded.refused + self.loaded.unknown, self.total)
        is_lost = sent.unknown and not sent.done and not sent.refused
        self.lost_in_a_row = self.lost_in_a_row + 1 if is_lost else 0
        if self.lost_in_a_row == LOST_IN_A_ROW:
            raise _takes_no_writes(self.entity, sent)
        return sent

    def _leaving_by(self, calls: portions.Portion) -> Leaving:
        """Return the function for the target to run before each call: it marks the operations, and shows progress."""
        left: set[int] = set()
        lock = Lock()
        before = self.loaded.done + self.loaded.refused + self.loaded.unknown

        def leaving(bms_ids: Collection[int]) -> None:
            lease.check_lock(self.warehouse.file)
            with lock:
                calls.mark(bms_ids, now())
                left.update(bms_ids)
                if self.on_progress:
                    self.on_progress(before + len(left), self.total)

        return leaving


def _added(loaded: Loaded, sent: Sent) -> Loaded:
    return replace(
        loaded,
        done=loaded.done + len(sent.done),
        refused=loaded.refused + len(sent.refused),
        unknown=loaded.unknown + len(sent.unknown),
    )


def _takes_no_writes(entity: Entity, sent: Sent) -> ServiceUnreachable:
    return ServiceUnreachable(
        f"Passportal answers when it is read and did not answer {LOST_IN_A_ROW} writes of {entity.name} in a row:"
        f" {next(iter(sent.unknown.values()))}",
        "Whether they took effect is looked up before anything is sent again. Run the same command again later.",
    )


def _operations(
    connection: duckdb.DuckDBPyConnection, entity: Entity, plan: plans.Plan, clients: Collection[int] | None
) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM sync.planned_{entity.name} WHERE operation <> 'skip'"
        f" AND ($approved OR NOT {schema.WAITS_FOR_PERSON})"
        " AND ($clients IS NULL OR account_id IN (SELECT unnest($clients)))",
        {"approved": plan.approved, "clients": clients and list(clients)},
    ).fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True)
class ClientLoaded:
    """The records inside a client after the plan: outcome → records. ``failed_because``: why one of them failed."""

    client: int
    counts: dict[str, int]
    failed_because: str | None


def load_clients(
    warehouse: Warehouse,
    target: Target,
    plan: plans.Plan,
    clients: Sequence[int],
    on_progress: Progress | None = None,
) -> Iterator[list[ClientLoaded]]:
    """Apply the plan's operations inside ``clients`` (BMS account ids), some clients after the others.

    Yields as soon as a group of them is loaded. The clients themselves have been loaded, and the plan has passed
    ``check_approved``.
    """
    entities = [entity for entity in plans.planned_entities(plan) if entity.has_client]
    loads = {entity.name: _Load(warehouse, target, entity, plan, 0, None) for entity in entities}
    waiting = {entity.name: _by_client(warehouse, entity, plan, clients) for entity in entities}
    operations = {
        client: sum(len(found.get(client, ())) for found in waiting.values()) for client in dict.fromkeys(clients)
    }
    done = 0
    for group in _groups(operations, max(PORTION, target.batch_size)):
        for name, load in loads.items():
            load.send([operation for client in group for operation in waiting[name].pop(client, ())])
        done += len(group)
        if on_progress:
            on_progress(done, len(operations))
        yield client_outcomes(warehouse, group)
    for entity in entities:
        with warehouse.transaction() as connection:
            journal.remember_agreement(connection, entity, clients)


def _by_client(
    warehouse: Warehouse, entity: Entity, plan: plans.Plan, clients: Sequence[int]
) -> dict[int | None, list[journal.Due]]:
    """Return the due operations on ``entity``, by client."""
    with warehouse.open() as connection:
        due = journal.due(connection, entity, plan.plan_id, approved=plan.approved, clients=clients)
    found: dict[int | None, list[journal.Due]] = {}
    for operation in due:
        found.setdefault(operation.account_id, []).append(operation)
    return found


def _groups(operations: Mapping[int, int], least: int) -> Iterator[list[int]]:
    """Yield clients in order, in groups of ``least`` operations or more: each group costs a few transactions."""
    group: list[int] = []
    size = 0
    for client, count in operations.items():
        group.append(client)
        size += count
        if size >= least:
            yield group
            group, size = [], 0
    if group:
        yield group


def clients_changed(warehouse: Warehouse) -> list[ClientLoaded]:
    """Return the clients inside which the current plan changed anything, or tried to."""
    with warehouse.open() as connection:
        rows = connection.execute(sql.read("load/clients_changed")).fetchall()
    return client_outcomes(warehouse, [row[0] for row in rows])


def client_outcomes(warehouse: Warehouse, clients: Sequence[int]) -> list[ClientLoaded]:
    """Return the outcomes of the current plan inside ``clients`` (BMS account ids), in the same order."""
    with warehouse.open() as connection:
        rows = connection.execute(sql.read("load/client_outcomes"), {"clients": list(clients)}).fetchall()
    found = {client: ClientLoaded(client, {}, None) for client in clients}
    for client, outcome, records, because in rows:
        found[client].counts[outcome] = records
        if because:
            found[client] = replace(found[client], failed_because=because)
    return list(found.values())


def close_plan(warehouse: Warehouse, plan: plans.Plan) -> dict[str, dict[str, int]]:
    """Close the plan if every operation has a final outcome, and count its outcomes.

    The first whole plan to be closed ends the initial sync. A plan stays open while a part waits for a person, is still
    to be loaded, or has an intent without outcome.
    """
    with warehouse.transaction() as connection:
        ended = now()
        counts = plans.count_plan_results(connection, ended)
        pending = sum(count["pending"] for count in counts.values())
        if plan.discarded or pending or (plan.waiting and not plan.approved):
            return counts
        connection.execute("UPDATE sync.plans SET loaded_at = ? WHERE plan_id = ?", [ended, plan.plan_id])
        settings = read_sync_settings(connection)
        whole = plan.clients is None and plan.undoes is None and len(plan.entities) == len(settings.sync)
        if whole and (plan.approved or not plan.operations) and settings.mapping != settings.loaded_mapping:
            store_sync_setting(connection, "loaded_mapping", settings.mapping.as_json(), ended)
        whole = whole and plan.approved
        if whole and not settings.initial_sync_finished:
            store_sync_setting(connection, "initial_sync_finished_at", ended.isoformat(sep=" "), ended)
        return counts


def _send(target: Target, entity: Entity, call: journal.Call, leaving: Leaving) -> Sent:
    """Make one call. An accepted but unlisted record is unknown: it may still show."""
    send = target.create if call.creates else target.update
    written = send(entity, call.writes, leaving)
    became = {
        outcome: {result.bms_id: result.detail for result in written if result.outcome is outcome}
        for outcome in Outcome
    }
    refused, unknown, not_sent = became[Outcome.REFUSED], became[Outcome.UNKNOWN], became[Outcome.NOT_SENT]
    of_values = [result.bms_id for result in written if result.of_values]
    accepted = [write for write in call.writes if write.bms_id in became[Outcome.DONE]]
    if not call.creates:
        done = {write.bms_id: write.passportal_id for write in accepted if write.passportal_id}
        return Sent(done, refused, unknown, not_sent, of_values)
    done = target.find(entity, accepted)
    unlisted = [write.bms_id for write in accepted if write.bms_id not in done]
    unknown |= dict.fromkeys(unlisted, "Passportal accepted it and does not list it")
    return Sent(done, refused, unknown, not_sent, of_values)
