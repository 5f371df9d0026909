"""What a tick decides, as pure functions: what was published and what was asked in, what to do out.

Schedules and sensors only fetch the one and carry out the other. Nothing here reads a file, a service or a clock, and
what could not be read never gets here: a failed read fails the tick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bms_pipeline.entities import ACCOUNTS, CONTACTS, EMPLOYEES, ENTITIES, EntityName, ListCall
from bms_pipeline.published import Published

NOT_FINISHED = "The initial sync is not finished: a person finishes a plan first, then this goes on by itself."
NEVER = "No sync has run in this home folder so far."


@dataclass(frozen=True)
class Launch:
    """Launch one run; ``key``: at most once for this key, ever. ``why`` becomes a tag of the run."""

    why: str
    key: str | None = None


@dataclass(frozen=True)
class Skip:
    """Do nothing, and say why."""

    why: str


def scheduled_sync(published: Published | None, at_work: int) -> Launch | Skip:
    """Whether a scheduled sync is due; ``at_work``: syncs that are queued or running already."""
    if published is None:
        return Skip(NEVER)
    if not published.initial_sync_finished:
        return Skip(NOT_FINISHED)
    if at_work:
        return Skip("A sync is still at work: the next tick goes on from there.")
    return Launch("schedule")


@dataclass(frozen=True)
class PartitionChanges:
    """Partitions to add, in order, and to take away."""

    new: list[str]
    gone: list[str]


def partition_changes(published: Published | None, known: Collection[str]) -> PartitionChanges:
    """What brings the partitions ``known`` in step with the linked clients."""
    if published is None:
        return PartitionChanges([], [])
    linked = [str(each) for each in published.clients]
    return PartitionChanges([each for each in linked if each not in set(known)], sorted(set(known) - set(linked)))


def lists_to_watch(published: Published | None) -> list[ListCall] | Skip:
    """The lists of BMS in which new records can be seen with one call, and would be created by themselves.

    The list of assets is not among them: it has neither stamps nor a total, so the scheduled sync finds what is new.
    """
    if published is None:
        return Skip(NEVER)
    if not published.initial_sync_finished:
        return Skip(NOT_FINISHED)
    wanted = {each.list_call for each in ENTITIES if published.auto_create[each.name]}
    watched = [each for each in (ACCOUNTS, CONTACTS, EMPLOYEES) if each in wanted and each.name in published.lists]
    return watched or Skip("Auto-create is off for every entity in which new records can be seen with one call.")


@dataclass(frozen=True)
class Listed:
    """One record on a page of a list: its id and, where the list has it, when it was created (the server's stamp)."""

    id: int
    created_on: str | None


def new_records(
    published: Published, pages: Mapping[ListCall, Sequence[Listed]], totals: Mapping[ListCall, int | None]
) -> Launch | Skip:
    """Whether BMS has records that no sync has seen.

    ``pages``: what changed since the newest stamp that is landed, first page; a record created after that is new.
    ``totals``: how many records a list has that carries no stamps; more than at the last full sweep are new.
    """
    seen: list[str] = []
    told: list[str] = []
    for list_call, page in pages.items():
        newest = published.lists[list_call.name].newest_modified_on or ""
        created = [each for each in page if each.created_on and each.created_on > newest]
        if created:
            seen += [f"{list_call.name}/{each.id}" for each in created]
            told.append(f"{len(created)} new in {list_call.name}")
    for list_call, total in totals.items():
        more = (total or 0) - published.lists[list_call.name].records
        if more > 0:
            seen.append(f"{list_call.name}={total}")
            told.append(f"{more} more in {list_call.name}")
    if not seen:
        return Skip("BMS has nothing new.")
    return Launch(", ".join(told), key=hashlib.sha256(" ".join(sorted(seen)).encode()).hexdigest()[:24])


def details_due(published: Published | None, unlanded: int, left: int, limit: int, at_work: int) -> Launch | Skip:
    """Whether a run that reads details is worth its start.

    ``unlanded``: details that were read and have not landed; ``left`` of ``limit`` calls are possible now; ``at_work``:
    runs that read details already.
    """
    waiting = published.details_waiting - unlanded if published else 0
    if waiting <= 0:
        return Skip("No details wait to be read.")
    if at_work:
        return Skip("Details are being read.")
    if left < min(waiting, limit // 6):
        return Skip(f"{waiting:,} details wait; {left:,} of {limit:,} calls are left, too few for a run.")
    return Launch(f"{waiting:,} details wait, {left:,} calls are left")


@dataclass(frozen=True)
class Waiting:
    """What waited at the last notice: records by entity, operations of a plan, BMS ids on several records."""

    records: dict[EntityName, int]
    operations: int
    duplicates: int = 0


def decisions_waiting(published: Published | None, told: Waiting) -> tuple[str, Waiting]:
    """What to tell people (an empty text: nothing), and what they know of then.

    They are told when more waits than they knew of, once. When it becomes less they know of less.
    """
    if published is None:
        return "", told
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
    if published.plan and now.operations > told.operations:
        lines.append(
            f"Plan {published.plan.hash[:12]}: {now.operations:,} operations wait for a person's finish."
            f" Look at it with `bms-pipeline preview --saved`, load it with `bms-pipeline finish"
            f" {published.plan.hash[:12]}`."
        )
    if now.duplicates > told.duplicates:
        lines.append(
            f"{now.duplicates:,} BMS ids stand on several records of Passportal. `bms-pipeline duplicates` lists them,"
            " `bms-pipeline keep` says which record keeps its id."
        )
    return "\n".join(lines), now
