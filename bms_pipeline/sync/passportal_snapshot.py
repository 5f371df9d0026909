"""Read what Passportal has now, and settle by it the writes whose answer was lost."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bms_pipeline.core.entities import ENTITIES, Entity, EntityName
from bms_pipeline.core.settings import Settings
from bms_pipeline.load import import_files, journal
from bms_pipeline.passportal.target import Target, Write
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import services
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse import landing
from bms_pipeline.warehouse.causes import translate_errors
from bms_pipeline.warehouse.connection import Warehouse, kept_open, now
from bms_pipeline.warehouse.inputs import read_versions


def snapshot(settings: Settings, warehouse: Warehouse, target: Target, entity: Entity) -> int:
    """Read the records of ``entity`` that Passportal has now, and return their number; see ``snapshots``."""
    return snapshots(settings, warehouse, target, [entity])[entity.name]


def snapshots(
    settings: Settings,
    warehouse: Warehouse,
    target: Target,
    entities: Sequence[Entity],
    progress: Progress = silent,
) -> dict[EntityName, int]:
    """Read Passportal's records, settle the unknown writes of an interrupted load, and return the number of records.

    A write not found stays unknown until its time has passed; then it is looked for once more.

    An entity the target cannot list is not read, and its stored records stay. Raises ``SettingsError`` where this home
    folder holds the matches of another Passportal.
    """
    read = read_snapshots(settings, warehouse, target, entities, progress)
    look_for(warehouse, target, land_snapshots(warehouse, target, read))
    return {entity.name: 0 for entity in entities} | {found.entity.name: found.records for found in read}


def read_snapshots(
    settings: Settings, warehouse: Warehouse, target: Target, entities: Sequence[Entity], progress: Progress
) -> list[_Snapshot]:
    """Read Passportal's records of each entity it can list, with the warehouse closed."""
    with warehouse.open():
        services.check_target(warehouse, target)
        services.note_form_of_writes(warehouse, settings)
        for entity in entities:
            if entity.name not in target.can_write:
                with warehouse.transaction() as connection:
                    import_files.recover_pending_imports(connection, entity, open_state(settings).import_files)
    with kept_open() if services.is_passportal_here(settings) else contextlib.nullcontext():
        return [
            _read_snapshot(settings, target, entity, progress) for entity in entities if entity.name in target.can_list
        ]


def look_for(warehouse: Warehouse, target: Target, overdue: Sequence[tuple[Entity, list[Write]]]) -> None:
    """Look once more for writes whose time has passed, and settle them."""
    for entity, writes in overdue:
        found = target.find(entity, [write for write in writes if write.passportal_id is None])
        with warehouse.transaction() as connection:
            journal.settle_overdue(connection, entity, writes, found, now())


@dataclass
class _Snapshot:
    """Passportal's records of ``entity`` in ``file``, as of ``read_at``; ``records`` is their number once landed."""

    entity: Entity
    file: Path
    read_at: datetime
    records: int = 0


def _read_snapshot(settings: Settings, target: Target, entity: Entity, progress: Progress) -> _Snapshot:
    stage = f"snapshot {entity.name}"
    progress(stage, 0, None)
    file = settings.landing_folder / "passportal" / f"{entity.name}.parquet"
    with translate_errors(file):
        target.snapshot(entity, file)
        records = landing.records_in(file)
    progress(stage, records, records)
    return _Snapshot(entity, file, now())


def land_snapshots(warehouse: Warehouse, target: Target, read: Sequence[_Snapshot]) -> list[tuple[Entity, list[Write]]]:
    """Land each snapshot that differs from the one landed last; return the overdue writes, by entity."""
    overdue: list[tuple[Entity, list[Write]]] = []
    other: list[_Snapshot] = []
    with warehouse.open() as connection:
        versions = read_versions(connection)
        unsettled = {intent.entity for intent in journal.open_intents(connection)}
        for found in read:
            landed = landing.landed_before(versions, found.entity, found.file)
            if landed is None or found.entity.name in unsettled:
                other.append(found)
            else:
                found.records = landed
        with warehouse.transaction() if other else contextlib.nullcontext(connection) as writing:
            for found in other:
                entity, at = found.entity, found.read_at
                found.records = landing.land_snapshot(writing, entity, found.file, at)
                if entity.name in unsettled and journal.settle_found(writing, entity, _last_write_at(target, at), at):
                    overdue.append((entity, journal.overdue(writing, entity, target.unknown_seconds, at)))
    for found in read:
        found.file.unlink()
    return [(entity, writes) for entity, writes in overdue if writes]


def _last_write_at(target: Target, otherwise: datetime) -> datetime | None:
    """Return the last moment a write may have left; ``otherwise`` where the target should know it but does not."""
    return (target.last_write_at() or otherwise) if target.unknown_seconds else None


def settle(settings: Settings, warehouse: Warehouse, target: Target, progress: Progress = silent) -> None:
    """Read Passportal for every intent without outcome, of any plan, and settle them by the result."""
    with warehouse.open() as connection:
        unsettled = {intent.entity for intent in journal.open_intents(connection)}
    left_open = [entity for entity in ENTITIES if entity.name in unsettled]
    if left_open:
        snapshots(settings, warehouse, target, left_open, lambda stage, *how: progress(f"settle: {stage}", *how))
