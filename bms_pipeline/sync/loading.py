"""Load the approved plan, go on with a load left in the middle, and close what is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.errors import (
    PlanError,
    PlanStale,
)
from bms_pipeline.core.files import atomic_write, explained
from bms_pipeline.core.settings import Settings
from bms_pipeline.load import apply, import_files, journal
from bms_pipeline.passportal.target import Target
from bms_pipeline.plan import operations as plans
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import passportal_snapshot, planning, services
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, now, open_warehouse
from bms_pipeline.warehouse.inputs import OF_LOADS, bump_version

LOOKS_FOR_UNKNOWN = 2
"""The number of times a load waits for unknown writes, before it leaves the rest to a later load."""


@dataclass(frozen=True)
class Finished:
    """The end of a load: the current plan, its records by outcome, and the writes whose answer is still unknown.

    ``left``: by entity, the operations this load was allowed to do and left without a final outcome.
    """

    plan: plans.Plan
    results: dict[EntityName, dict[str, int]]
    left: dict[EntityName, int]
    unknown: list[journal.Open]


def finish(settings: Settings, *, wait: bool = True, progress: Progress = silent) -> Finished:
    """Load the current plan, if it may be loaded; a plan loaded already is left as it is.

    First, the unknown writes of an interrupted load are settled by reading Passportal. Then everything sendable is
    sent. With ``wait``, the load then waits as long as an unknown write may still take effect.
    """
    warehouse = open_warehouse(settings)
    with contextlib.closing(services.open_target(settings)) as target:
        services.check_target(warehouse, target)
        passportal_snapshot.settle(settings, warehouse, target, progress)
        plan = planning.current_plan(warehouse)
        if not plan.loaded:
            plan = apply.check_approved(warehouse)
        for attempt in range(LOOKS_FOR_UNKNOWN + 1):
            if not plan.loaded:
                _load_each(settings, warehouse, target, plan, progress)
            finished = close(warehouse, plan)
            if not finished.unknown or not wait or attempt == LOOKS_FOR_UNKNOWN:
                break
            _wait(finished.unknown, target.unknown_seconds, progress)
            passportal_snapshot.settle(settings, warehouse, target, progress)
    return finished


def _load_each(settings: Settings, warehouse: Warehouse, target: Target, plan: plans.Plan, progress: Progress) -> None:
    """Apply the plan entity by entity. One that sends nothing is a single transaction."""
    entities = plans.planned_entities(plan)
    if plan.operations or any(entity.name not in target.can_write for entity in entities):
        for entity in entities:
            load(settings, warehouse, target, entity, plan, progress)
        return
    with warehouse.transaction() as connection:
        _count_loads(connection, entities)
        for entity in entities:
            journal.remember_agreement(connection, entity)


def close(warehouse: Warehouse, plan: plans.Plan) -> Finished:
    """Close the plan if nothing of it is left to do, and return its state."""
    results = planning.count_results(warehouse) if plan.loaded else apply.close_plan(warehouse, plan)
    with warehouse.open() as connection:
        plan = plans.read_plan(connection)
        left = connection.execute(sql.read("sync/left_to_load"), {"approved": plan.approved}).fetchall()
        return Finished(plan, results, dict(left), journal.open_intents(connection))


def unknown_writes(warehouse: Warehouse) -> list[journal.Open]:
    """Return the unsettled writes whose answer was lost, of every plan."""
    with warehouse.open() as connection:
        return journal.open_intents(connection)


def _wait(unknown: Sequence[journal.Open], unknown_seconds: float, progress: Progress) -> None:
    """Wait until all unknown writes may be settled, and show the reason."""
    writes = sum(intent.writes for intent in unknown)
    until = journal.settles_at(unknown, unknown_seconds)
    total = max(0.0, (until - now()).total_seconds())
    end = time.monotonic() + total
    stage = f"wait until {until:%H:%M:%S} UTC for {writes:,} writes without answer (Ctrl-C is safe)"
    progress(stage, 0, int(total) + 1)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        progress(stage, int(total - left) + 1, int(total) + 1)


def resume(settings: Settings, *, wait: bool = True, progress: Progress = silent) -> Finished | None:
    """Finish the current plan if a person approved it and its load was left in the middle; None where there is none.

    So the approval is not lost with the next plan. A plan of which nothing was sent is left to be replaced when a plan
    made now would differ.
    """
    with open_warehouse(settings).open() as connection:
        try:
            plan = plans.read_plan(connection)
        except PlanError:
            return None
    if plan.loaded or plan.discarded or not plan.approved:
        return None
    try:
        return finish(settings, wait=wait, progress=progress)
    except PlanStale:
        return None


def loaded_at(warehouse: Warehouse, plan_hash: str) -> datetime | None:
    """Return when the plan of this hash (8 characters or more) was loaded; None where it is still to be loaded."""
    with warehouse.open() as connection:
        return plans.plan_loaded_at(connection, plan_hash)


def place_of_import_files(settings: Settings) -> str:
    """Return where the files for an import are, if not in the home folder."""
    state = open_state(settings)
    return state.import_files.place if state.is_shared else ""


def save_import_files(settings: Settings, names: Iterable[str], folder: Path) -> list[Path]:
    """Write those of the files for an import into ``folder`` that are not there, and return them."""
    files = open_state(settings).import_files
    saved: list[Path] = []
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        content = files.read(name)
        if content is not None and not (folder / name).exists():
            with atomic_write(folder / name) as unfinished:
                unfinished.write_bytes(content)
            saved.append(folder / name)
    return saved


def load(
    settings: Settings,
    warehouse: Warehouse,
    target: Target,
    entity: Entity,
    plan: plans.Plan,
    progress: Progress = silent,
) -> apply.Loaded:
    """Apply the plan's operations on ``entity``; records the target cannot create are handed over for an import."""
    handed_over = None
    count_loads(warehouse, [entity])
    if entity.name not in target.can_write:
        headers = settings.import_headers(entity.name)
        handed_over = import_files.write_import_file(
            warehouse, entity, plan, open_state(settings).import_files, headers, now()
        )
    loaded = apply.load_entity(
        warehouse, target, entity, plan, on_progress=lambda done, total: progress(f"load {entity.name}", done, total)
    )
    return replace(loaded, handed_over=handed_over)


def count_loads(warehouse: Warehouse, entities: Sequence[Entity]) -> None:
    """Count a load as a change of these entities' inputs; before the load, so the count survives a kill as well."""
    with warehouse.transaction() as connection:
        _count_loads(connection, entities)


def _count_loads(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity]) -> None:
    for entity in entities:
        bump_version(connection, f"{OF_LOADS}{entity.name}", now())
