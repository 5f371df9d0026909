"""Details of records in Passportal, read in the background: the queue, its state, and the landing of the answers.

A run of ``sync.read_details`` never writes the warehouse; its answers land with the next sync. So no load waits for it,
and no plan changes while a person looks at it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from bms_pipeline.bms import asset_detail as answers
from bms_pipeline.bms.budget import Budget
from bms_pipeline.core.entities import ENTITIES, DetailCall, Entity, ListCall
from bms_pipeline.core.settings import Settings
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.warehouse import landed_details as stored
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.landed_details import LandedDetails

DETAILED: tuple[tuple[Entity, DetailCall], ...] = tuple(
    (entity, entity.details) for entity in ENTITIES if entity.details
)
"""The entities with a detail call, each with its call."""


@dataclass(frozen=True)
class DetailsRead:
    """The result of a run: records ``read``, noted with ``problems``, and still ``waiting``, and the hour's calls."""

    read: int
    problems: int
    waiting: int
    calls_left: int
    calls_per_hour: int

    @property
    def estimate(self) -> str:
        """The time until nothing waits any more, if nothing else uses the calls."""
        return estimate(self.waiting, self.calls_left, self.calls_per_hour)


@dataclass(frozen=True)
class DetailsLeft:
    """The details of linked records: ``wanted`` in all, ``read`` and landed, ``unlanded``, ``waiting``.

    ``problems`` counts those with a problem; ``oldest_read_at`` is in UTC; ``finished`` says in words when nothing
    waits any more.
    """

    wanted: int
    read: int
    problems: int
    oldest_read_at: datetime | None
    unlanded: int
    waiting: int
    finished: str


def estimate(waiting: int, calls_left: int, calls_per_hour: int) -> str:
    """Estimate in words how long reading ``waiting_details`` details takes at the hourly limit."""
    if not waiting:
        return "nothing waits"
    later = waiting - calls_left
    if later <= 0:
        return "within this hour"
    return f"about {math.ceil(later / calls_per_hour):,} h at {calls_per_hour:,} calls an hour"


def waiting_details(connection: duckdb.DuckDBPyConnection, entity: Entity, known: set[int]) -> list[int]:
    """Return the records whose details to read now, most urgent first, without those ``known`` to wait for a landing.

    Return nothing before the initial sync is finished: the plan must not change while a person looks at it.
    """
    sync_settings = read_sync_settings(connection)
    if not sync_settings.initial_sync_finished:
        return []
    wanted = stored.wanted(connection, entity, timedelta(days=sync_settings.details_max_age_days), now())
    return [bms_id for bms_id in wanted if bms_id not in known]


def unlanded_ids(settings: Settings, entity: Entity) -> set[int]:
    """Return the records whose details wait to land. Call it before reading the warehouse: they may land in between."""
    files = answers.finished(answers.details_folder(settings.landing_folder, entity))
    return {bms_id for ids in files.values() for bms_id in ids}


def details_left(settings: Settings, warehouse: Warehouse, budget: Budget) -> DetailsLeft:
    """Count the linked records whose details are read, and those whose details are not."""
    ((entity, call),) = DETAILED
    known = unlanded_ids(settings, entity)
    with warehouse.open() as connection:
        found = stored.answers_state(connection, entity)
        queue = len(waiting_details(connection, entity, known))
        is_before = not read_sync_settings(connection).initial_sync_finished
    finished = estimate(queue, budget.left(call.endpoint), budget.limit_of(call.endpoint))
    if is_before and found["read"] < found["wanted"]:
        finished = "they are read after the first finish of all clients"
    return DetailsLeft(**found, unlanded=len(known), waiting=queue, finished=finished)


def land_details(settings: Settings, warehouse: Warehouse, list_call: ListCall) -> LandedDetails:
    """Land the details read since the last sweep, of the entity of ``list_call``."""
    landed = LandedDetails()
    for entity in (detailed for detailed, _ in DETAILED if detailed.list_call == list_call):
        files = answers.finished(answers.details_folder(settings.landing_folder, entity))
        if not files:
            continue
        with warehouse.transaction() as connection:
            landed = stored.land_answers(connection, entity, files)
            if landed.changed:
                bump_version(connection, f"bms.{entity.name}", now())
        for file in files:
            file.unlink(missing_ok=True)
    return landed
