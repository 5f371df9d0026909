"""Decisions of ticks as pure functions, from the state file and the fetched pages to the next action.

Schedules and sensors only fetch the input and carry out the result. Nothing here reads a file, a service or a clock. A
failed read never gets here: it fails the tick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bms_pipeline.core.entities import ACCOUNTS, CONTACTS_LIST, EMPLOYEES, ENTITIES, EntityName, ListCall
from bms_pipeline.sync.state_file import PipelineState

NOT_FINISHED = "The initial sync is not finished: a person finishes a plan first, then this goes on by itself."
NEVER = "No sync has run in this home folder so far."


@dataclass(frozen=True)
class LaunchWanted:
    """Launch one run, at most once ever for the same ``key``. ``why`` becomes a tag of the run."""

    why: str
    key: str | None = None


@dataclass(frozen=True)
class Skip:
    """Do nothing, for the reason ``why``."""

    why: str


def scheduled_sync(published: PipelineState | None, active: int) -> LaunchWanted | Skip:
    """Decide whether a scheduled sync is due. ``active`` counts the queued and running syncs."""
    if published is None:
        return Skip(NEVER)
    if not published.initial_sync_finished:
        return Skip(NOT_FINISHED)
    if active:
        return Skip("A sync is still at work: the next tick goes on from there.")
    return LaunchWanted("schedule")


@dataclass(frozen=True)
class PartitionChanges:
    """Partitions to add, in order, and partitions to remove."""

    new: list[str]
    gone: list[str]


def partition_changes(published: PipelineState | None, known: Collection[str]) -> PartitionChanges:
    """Return the changes to bring the partitions ``known`` in step with the linked clients."""
    if published is None:
        return PartitionChanges([], [])
    linked = [str(client) for client in published.clients]
    return PartitionChanges([client for client in linked if client not in set(known)], sorted(set(known) - set(linked)))


def lists_to_watch(published: PipelineState | None) -> list[ListCall] | Skip:
    """Return the BMS lists where one call shows new records, and where new records are created automatically.

    The list of assets is never among them: it has neither stamps nor a total, so the scheduled sync finds new assets.
    """
    if published is None:
        return Skip(NEVER)
    if not published.initial_sync_finished:
        return Skip(NOT_FINISHED)
    wanted = {entity.list_call for entity in ENTITIES if published.auto_create[entity.name]}
    watched = [
        list_call
        for list_call in (ACCOUNTS, CONTACTS_LIST, EMPLOYEES)
        if list_call in wanted and list_call.name in published.lists
    ]
    return watched or Skip("Auto-create is off for every entity in which new records can be seen with one call.")


@dataclass(frozen=True)
class ListSize:
    """One record on a page of a list: its id and, where the list has it, its creation time (the server's stamp)."""

    id: int
    created_on: str | None


def new_records(
    published: PipelineState, pages: Mapping[ListCall, Sequence[ListSize]], totals: Mapping[ListCall, int | None]
) -> LaunchWanted | Skip:
    """Decide whether BMS has records no sync has seen.

    ``pages``: for each list, the first page of changes since the newest landed stamp. A record created after it is new.
    ``totals``: for each list without stamps, its number of records. Records beyond the last full sweep's number are
    new.
    """
    seen: list[str] = []
    told: list[str] = []
    for list_call, page in pages.items():
        newest = published.lists[list_call.name].newest_modified_on or ""
        created = [record for record in page if record.created_on and record.created_on > newest]
        if created:
            seen += [f"{list_call.name}/{record.id}" for record in created]
            told.append(f"{len(created)} new in {list_call.name}")
    for list_call, total in totals.items():
        more = (total or 0) - published.lists[list_call.name].records
        if more > 0:
            seen.append(f"{list_call.name}={total}")
            told.append(f"{more} more in {list_call.name}")
    if not seen:
        return Skip("BMS has nothing new.")
    return LaunchWanted(", ".join(told), key=hashlib.sha256(" ".join(sorted(seen)).encode()).hexdigest()[:24])


def details_due(
    published: PipelineState | None, unlanded: int, left: int, limit: int, active: int
) -> LaunchWanted | Skip:
    """Decide whether a run to read details is worth its start.

    ``unlanded`` counts details read but not landed yet. ``left`` of ``limit`` calls are possible now. ``active``
    counts the runs reading details already.
    """
    waiting = published.details_waiting - unlanded if published else 0
    if waiting <= 0:
        return Skip("No details wait to be read.")
    if active:
        return Skip("Details are being read.")
    if left < min(waiting, limit // 6):
        return Skip(f"{waiting:,} details wait; {left:,} of {limit:,} calls are left, too few for a run.")
    return LaunchWanted(f"{waiting:,} details wait, {left:,} calls are left")


@dataclass(frozen=True)
class Waiting:
    """The backlog at the last notification: records by entity, operations of a plan, BMS ids on several records."""

    records: dict[EntityName, int]
    operations: int
    duplicates: int = 0


@dataclass(frozen=True)
class Growth:
    """A notification about a grown backlog, and the backlog that people know of afterwards.

    ``text`` is empty where none is due. ``plan_hash``: the plan that it is about, for a link to finish it.
    """

    text: str
    known: Waiting
    plan_hash: str | None = None


def decisions_waiting(published: PipelineState | None, told: Waiting) -> Growth:
    """Return the notification that is due.

    Notify once when the backlog grows. A shrinking backlog lowers the threshold.
    """
    if published is None:
        return Growth("", told)
    now = Waiting(
        {entity: count for entity, count in published.waiting.items() if count},
        published.plan.waits if published.plan else 0,
        published.duplicates,
    )
    more = (
        {entity: count for entity, count in now.records.items() if count > told.records.get(entity, 0)}
        if published.initial_sync_finished
        else {}
    )
    lines = [f"{count:,} {entity} wait for a decision." for entity, count in more.items()]
    plan = published.plan if now.operations > told.operations else None
    if plan:
        lines.append(
            f"Plan {plan.hash[:12]}: {now.operations:,} operations wait for a person's finish."
            f" Look at it with `bms-pipeline preview --saved`, load it with `bms-pipeline finish"
            f" {plan.hash[:12]}`, or open the launchpad below."
        )
    if now.duplicates > told.duplicates:
        lines.append(
            f"{now.duplicates:,} BMS ids stand on several records of Passportal. `bms-pipeline duplicates` lists them,"
            " `bms-pipeline keep` says which record keeps its id."
        )
    return Growth("\n".join(lines), now, plan.hash if plan else None)
