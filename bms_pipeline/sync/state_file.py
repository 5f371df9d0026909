"""The state file: input for schedules and sensors, because they must not open the warehouse.

A tick has a minute, and no other process can open a database while a run writes it. So every process that held the home
folder for a run writes this state at the end, atomically.
"""

from __future__ import annotations

import duckdb
import msgspec

from bms_pipeline.core.entities import EntityName
from bms_pipeline.core.errors import PipelineError, PlanError
from bms_pipeline.core.settings import Settings
from bms_pipeline.load import journal
from bms_pipeline.plan import standings
from bms_pipeline.plan.operations import read_plan
from bms_pipeline.reconcile import duplicates
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import StateDocument, StateStore
from bms_pipeline.sync import enrichment
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, now, transaction


class ListState(msgspec.Struct, frozen=True):
    """One list of BMS: its records at the newest complete full sweep, and the newest landed stamp."""

    records: int
    newest_modified_on: str | None


class PublishedPlan(msgspec.Struct, frozen=True):
    """The current plan while some of it is left to load. ``waits`` counts the operations only a person may load."""

    hash: str
    waits: int


class PipelineState(msgspec.Struct, frozen=True):
    """The pipeline's state ``at`` a time (UTC).

    ``clients`` are the BMS ids of the linked clients, by id. ``waiting`` counts the records waiting for a decision, by
    entity. ``auto_create`` is entity → whether its new records are created automatically. ``details_waiting``: records
    whose details are to be read, including details read but not landed. ``unknown``: writes whose answer was lost.
    ``duplicates``: BMS ids on several records of Passportal. ``backup_problem``: see ``write_state``.
    """

    at: str
    initial_sync_finished: bool
    clients: list[int]
    lists: dict[str, ListState]
    waiting: dict[EntityName, int]
    auto_create: dict[EntityName, bool]
    plan: PublishedPlan | None
    details_waiting: int = 0
    unknown: int = 0
    duplicates: int = 0
    backup_problem: str = ""


def write_state(settings: Settings, warehouse: Warehouse, backup_problem: str = "") -> None:
    """Write the state from the warehouse's present content, and keep the standings for plots over time.

    ``backup_problem``: the reason why people's decisions could not be backed up; empty where no backup was due, or it
    was made. Raises ``WarehouseError`` or ``PipelineError``.
    """
    with warehouse.open() as connection, transaction(connection):
        standings.compare(connection)
        counted = standings.counts(connection)
        standings.remember_counts(connection, counted, now())
        published = msgspec.structs.replace(_published(connection, counted), backup_problem=backup_problem)
    state = msgspec.json.format(msgspec.json.encode(published))
    open_state(settings).write(StateDocument.PIPELINE_STATE, state)


def read_state(state: StateStore) -> PipelineState | None:
    """Read the last state; None where none was ever published.

    Raises ``PipelineError`` when it cannot be read. An unreadable state says nothing about its content.
    """
    content = state.read(StateDocument.PIPELINE_STATE)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=PipelineState)
    except ValueError as error:
        raise PipelineError(
            f"{state.named(StateDocument.PIPELINE_STATE)} cannot be read: {error}.",
            "The next run writes it again; start one, or see who may write there.",
        ) from error


def _published(connection: duckdb.DuckDBPyConnection, counted: standings.Counts) -> PipelineState:
    settings = read_sync_settings(connection)
    clients = connection.execute("SELECT bms_id FROM sync.matches WHERE entity = 'clients' ORDER BY bms_id").fetchall()
    return PipelineState(
        at=now().isoformat(timespec="seconds"),
        initial_sync_finished=settings.initial_sync_finished,
        clients=[row[0] for row in clients],
        lists={
            name: ListState(records, newest)
            for name, records, newest in connection.execute(sql.read("sync/published_lists")).fetchall()
        },
        waiting=standings.count_waiting(counted),
        auto_create={entity: on and settings.sync[entity] for entity, on in settings.auto_create.items()},
        plan=_waiting_plan(connection, finished=settings.initial_sync_finished),
        unknown=sum(intent.writes for intent in journal.open_intents(connection)),
        duplicates=duplicates.count_duplicates(connection),
        details_waiting=sum(
            len(enrichment.waiting_details(connection, entity, set())) for entity, _ in enrichment.DETAILED
        ),
    )


def _waiting_plan(connection: duckdb.DuckDBPyConnection, *, finished: bool) -> PublishedPlan | None:
    try:
        plan = read_plan(connection)
    except PlanError:
        return None
    if plan.loaded or plan.discarded or not plan.operations:
        return None
    by_rule = finished and plan.undoes is None
    waits = 0 if plan.approved else plan.waiting if by_rule else plan.operations
    return PublishedPlan(plan.hash, waits)
