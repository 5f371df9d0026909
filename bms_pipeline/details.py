"""Details of records that are in Passportal, read in the background: what waits, how far it is, landing what came.

A run that reads details (``sync.read_details``) never writes the warehouse; what it read lands with the next sync. So
no load waits for it, and no plan that somebody looks at moves under them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb

from bms_pipeline.bms import details as answers
from bms_pipeline.bms.budget import Budget
from bms_pipeline.entities import ENTITIES, DetailCall, Entity, ListCall
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.settings import Settings
from bms_pipeline.warehouse import details as stored
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.details import LandedDetails
from bms_pipeline.warehouse.inputs import count_input

DETAILED: tuple[tuple[Entity, DetailCall], ...] = tuple((each, each.details) for each in ENTITIES if each.details)
"""The entities that have a detail call, with it."""


@dataclass(frozen=True)
class DetailsRead:
    """What a run did: records ``read``, or noted with ``problems``; how many are ``waiting``, and the hour's calls."""

    read: int
    problems: int
    waiting: int
    calls_left: int
    calls_per_hour: int

    @property
    def estimate(self) -> str:
        """When nothing waits any more, if nothing else uses the calls."""
        return estimate(self.waiting, self.calls_left, self.calls_per_hour)


def estimate(waiting: int, calls_left: int, calls_per_hour: int) -> str:
    """How long reading ``waiting`` details takes at the hourly limit, in words."""
    if not waiting:
        return "nothing waits"
    later = waiting - calls_left
    if later <= 0:
        return "within this hour"
    return f"about {math.ceil(later / calls_per_hour):,} h at {calls_per_hour:,} calls an hour"


def waiting(connection: duckdb.DuckDBPyConnection, entity: Entity, known: set[int]) -> list[int]:
    """The records whose details are to be read now, most urgent first, without those ``known`` to wait for a landing.

    Nothing before the initial sync is finished: the plan that a person is looking at must not move.
    """
    sync_settings = read_sync_settings(connection)
    if not sync_settings.initial_sync_finished:
        return []
    wanted = stored.wanted(connection, entity, timedelta(days=sync_settings.details_max_age_days), now())
    return [each for each in wanted if each not in known]


def unlanded_ids(settings: Settings, entity: Entity) -> set[int]:
    """The records whose details wait for a landing. Ask this before the warehouse: a landing may come in between."""
    files = answers.finished(answers.folder_of(settings.landing_folder, entity))
    return {each for ids in files.values() for each in ids}


def state(settings: Settings, warehouse: Warehouse, budget: Budget) -> dict[str, Any]:
    """Linked records: ``wanted`` in all, of them ``read`` and landed, ``unlanded``, ``waiting``, with ``problems``.

    ``oldest_read_at`` in UTC; ``finished``: when nothing waits any more, in words.
    """
    ((entity, call),) = DETAILED
    known = unlanded_ids(settings, entity)
    with warehouse.open() as connection:
        found = stored.state(connection, entity)
        queue = len(waiting(connection, entity, known))
    finished = estimate(queue, budget.left(call.endpoint), budget.limit_of(call.endpoint))
    return {**found, "unlanded": len(known), "waiting": queue, "finished": finished}


def land(settings: Settings, warehouse: Warehouse, list_call: ListCall) -> LandedDetails:
    """Land the details that were read meanwhile of the entity that ``list_call`` lists."""
    landed = LandedDetails()
    for entity in (each for each, _ in DETAILED if each.list_call == list_call):
        files = answers.finished(answers.folder_of(settings.landing_folder, entity))
        if not files:
            continue
        with warehouse.transaction() as connection:
            landed = stored.land(connection, entity, files)
            if landed.changed:
                count_input(connection, f"bms.{entity.name}", now())
        for each in files:
            each.unlink(missing_ok=True)
    return landed
