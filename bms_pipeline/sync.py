"""The stages, from left to right: extract, land, snapshot, reconcile, plan, load.

The command line and the Dagster assets are two thin callers of these functions. Each stage reads the stored result of
the stage before it, so each can be run again alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import duckdb

from bms_pipeline import details, errors
from bms_pipeline.bms import details as answers
from bms_pipeline.bms.client import BmsClient, Identity
from bms_pipeline.bms.details import Patience
from bms_pipeline.bms.manifest import Manifest, prune
from bms_pipeline.bms.sift import respell, sift
from bms_pipeline.bms.sweep import sweep
from bms_pipeline.entities import ACCOUNTS, ENTITIES, Entity, EntityName, ListCall, declared_keys, with_clients
from bms_pipeline.errors import (
    BudgetExhausted,
    DecisionsMissing,
    PipelineError,
    PlanError,
    PlanStale,
    PlanWaits,
    SettingsError,
    Stage,
    StageMissing,
)
from bms_pipeline.files import clear_unfinished
from bms_pipeline.load import apply, journal
from bms_pipeline.load import hand_over as hand_overs
from bms_pipeline.passportal.documents import DocumentsPassportal
from bms_pipeline.passportal.documents_client import Access, DocumentsClient
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Target, Write
from bms_pipeline.progress import Told, told
from bms_pipeline.published import publish
from bms_pipeline.reconcile import decisions, matching, standings
from bms_pipeline.reconcile import plan as plans
from bms_pipeline.reconcile.breakers import check_breakers, check_held_back, check_sweeps
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import read_sync_settings, store_sync_setting
from bms_pipeline.settings import Settings
from bms_pipeline.warehouse import backups, clock, decision_log, landing, lease, sql
from bms_pipeline.warehouse.causes import reported
from bms_pipeline.warehouse.connection import Warehouse, kept_open, now, transaction
from bms_pipeline.warehouse.connection import open_warehouse as open_warehouse
from bms_pipeline.warehouse.details import LandedDetails
from bms_pipeline.warehouse.inputs import OF_LOADS, count_input, is_counted, read_inputs

_log = logging.getLogger(__name__)

FULL_SWEEP_EVERY = timedelta(hours=24)
"""An older full sweep is repeated: watermarks miss changes without a new ``modifiedOn``, and never show a deletion."""
LOOKS_FOR_UNKNOWN = 2
"""The number of times a load waits for unknown writes, before it leaves the rest to a later load."""
WATERMARK_OVERLAP = timedelta(days=1)
"""The span read again before the newest stamp seen: zones and clocks of the service are unknown [G]."""


class Progress(Protocol):
    """A callback for the progress of a stage; ``total`` is None while it is not known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show it."""
        ...


def _silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Extracted:
    """The sweep of one list and what its landing changed, by entity.

    ``details``: the landed details, read since the last sweep.
    """

    manifest: Manifest
    landed: dict[EntityName, landing.Landed]
    details: LandedDetails


@dataclass(frozen=True)
class Unfinished:
    """A list whose sweep ran out of the hour's calls. ``why`` gives the time it goes on; the pages read are kept."""

    list_call: ListCall
    why: str


@dataclass(frozen=True)
class CallsPlanned:
    """The calls a sweep needs, estimated from the last sweep of its kind (None: there was none), and the calls left."""

    needed: int | None
    left: int

    def __str__(self) -> str:
        needed = "was not read in this way yet" if self.needed is None else f"needs about {self.needed:,} calls"
        return f"{needed}, {self.left:,} are left in this hour"


@dataclass(frozen=True)
class Authenticated:
    """The identity of this login: in BMS, and in Passportal where that is a service (else None)."""

    bms: Identity
    passportal: Access | None


def authenticate(settings: Settings) -> Authenticated:
    """Log in to both services and change nothing.

    Raises the errors of their clients; each names the setting to look at.
    """
    with BmsClient(settings) as client:
        identity = client.authenticate()
    if settings.passportal_target == "embedded":
        return Authenticated(identity, None)
    with DocumentsClient(settings) as passportal:
        return Authenticated(identity, passportal.check())


def open_target(settings: Settings) -> Target:
    """Open the Passportal of these settings. Raises ``SettingsError`` where they cannot be right."""
    if settings.passportal_target == "documents_api":
        return DocumentsPassportal(settings)
    return EmbeddedPassportal(settings.passportal_file)


@contextlib.contextmanager
def running(settings: Settings, what: str = "A command", wait_seconds: float = 0) -> Iterator[Told]:
    """Hold the home folder for one run at a time, and publish the state at the end.

    ``what`` names the run to anybody who waits for the lock: a command, or a Dagster run with its id. The yielded
    ``Progress`` writes to ``settings.progress_file``, where other processes read it. Raises ``RunLocked``, naming the
    owner, when another run holds the lock for longer than ``wait_seconds``.
    """
    warehouse = open_warehouse(settings)
    with (
        lease.locked(settings.bms_pipeline_home, "run", what, now(), wait_seconds),
        told(settings.progress_file, what) as telling,
    ):
        for folder in (settings.bms_pipeline_home, backups.folder_of(warehouse.file), settings.import_folder):
            clear_unfinished(folder)
        with warehouse.transaction() as connection:
            decision_log.check(connection, warehouse.file)
            lease.take(connection, warehouse.file, what, now())
        warehouse.take_over()
        try:
            yield telling
        except BaseException as error:
            with contextlib.suppress(PipelineError):  # it must not hide what went wrong first
                _end(settings, warehouse, errors.told(error)[0])
            raise
        else:
            _end(settings, warehouse)
        finally:
            lease.give_back(warehouse.file)


def _end(settings: Settings, warehouse: Warehouse, failed_because: str | None = None) -> None:
    with warehouse.open() as connection:
        if standings.is_taken_apart(connection):
            with transaction(connection):
                matching.reconcile_all(connection, ENTITIES)
        lease.end(connection, warehouse.file, now(), failed_because)
        publish(settings, warehouse, _back_up(connection, warehouse))


def _back_up(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> str:
    """Back up people's decisions where any changed; return why it failed, or "". A failure does not undo the run."""
    try:
        backups.make_if_due(connection, warehouse.file, now())
    except PipelineError as error:
        _log.warning("No copy of people's decisions could be made. %s %s", error.message, error.next_step)
        return error.message
    return ""


def extract(
    settings: Settings,
    warehouse: Warehouse,
    client: BmsClient,
    list_call: ListCall,
    *,
    full: bool = False,
    in_instalments: bool = False,
    progress: Progress = _silent,
) -> Extracted | Unfinished:
    """Sweep one list of BMS and land its entities.

    The sweep is incremental where the service can filter by change and a complete full sweep is less than a day old.
    Otherwise it is full. ``in_instalments``: a list needing more calls than the hour has left is no error; it goes on
    the next time. Details read since the last sweep land behind it.
    """
    ready = _get_ready(warehouse, client, [list_call], full=full)[list_call]
    swept = _sweep(settings, client, list_call, ready, progress, in_instalments=in_instalments)
    return _land_swept(settings, warehouse, list_call, swept, progress)


@dataclass(frozen=True)
class _Ready:
    """The facts a sweep needs first: the tenant, and the time from which to ask for changes (None: for all)."""

    tenant: str
    modified_since: str | None
    planned: CallsPlanned


def _get_ready(
    warehouse: Warehouse, client: BmsClient, list_calls: Sequence[ListCall], *, full: bool
) -> dict[ListCall, _Ready]:
    """Ask the warehouse once for the facts needed by all these sweeps."""
    client.identity()
    with warehouse.open():
        tenant = check_tenant(warehouse, client)
        since = {list_call: None if full else _watermark(warehouse, list_call) for list_call in list_calls}
        return {
            list_call: _Ready(
                tenant,
                since[list_call],
                planned_calls(warehouse, client, list_call, full=since[list_call] is None),
            )
            for list_call in list_calls
        }


@dataclass(frozen=True)
class _Swept:
    """The answers of BMS: the sweep, and with accounts their types."""

    manifest: Manifest
    account_types: landing.AccountTypes | None


def _sweep(
    settings: Settings,
    client: BmsClient,
    list_call: ListCall,
    ready: _Ready,
    progress: Progress,
    *,
    in_instalments: bool,
) -> _Swept | Unfinished:
    """Read the list, with the warehouse closed."""
    account_types = _account_types(client) if list_call == ACCOUNTS else None
    try:
        manifest = sweep(
            client,
            list_call,
            settings.landing_folder,
            connections=settings.bms_connections,
            modified_since=ready.modified_since,
            tenant=ready.tenant,
            on_progress=lambda done, total: progress(f"extract {list_call.name}", done, total),
        )
    except BudgetExhausted as error:
        if not in_instalments:
            raise
        return Unfinished(list_call, f"{error.message} {error.next_step}")
    return _Swept(manifest, account_types)


def _land_swept(
    settings: Settings, warehouse: Warehouse, list_call: ListCall, swept: _Swept | Unfinished, progress: Progress
) -> Extracted | Unfinished:
    """Land the sweep, and the details behind it."""
    with warehouse.open():
        if isinstance(swept, Unfinished):
            details.land(settings, warehouse, list_call)
            return swept
        progress(f"land {list_call.name}", 0, None)
        if swept.account_types is not None:
            _land_account_types(warehouse, swept.account_types)
        landed = land(settings, warehouse, list_call, swept.manifest)
        details_landed = details.land(settings, warehouse, list_call)
    prune(settings.landing_folder / list_call.name)
    return Extracted(swept.manifest, landed, details_landed)


def planned_calls(warehouse: Warehouse, client: BmsClient, list_call: ListCall, *, full: bool = False) -> CallsPlanned:
    """Estimate the calls ``extract`` is about to need, and count those left; BMS is not called."""
    with warehouse.open() as connection:
        mode = "full" if full or _watermark(warehouse, list_call) is None else "incremental"
        row = connection.execute(
            "SELECT arg_max(calls_made, landed_at) FROM sync.sweeps WHERE list_call = ? AND mode = ?",
            [list_call.name, mode],
        ).fetchone()
    return CallsPlanned(row[0] if row else None, client.budget.left(f"GET {list_call.path}"))


def land(
    settings: Settings, warehouse: Warehouse, list_call: ListCall, manifest: Manifest
) -> dict[EntityName, landing.Landed]:
    """Land a finished sweep: all entities of the list, or none of them.

    A record refused by the database (a key twice in one object) is set aside and named; the others land.
    """
    folder = settings.landing_folder / list_call.name / manifest.sweep
    try:
        return _land(warehouse, list_call, manifest, folder)
    except landing.SpelledOtherwise:
        respell(folder, declared_keys(list_call))
    except duckdb.InvalidInputException:
        manifest.quarantined += sift(folder)
    return _land(warehouse, list_call, manifest, folder)


def _land(
    warehouse: Warehouse, list_call: ListCall, manifest: Manifest, folder: Path
) -> dict[EntityName, landing.Landed]:
    landed_at = now()
    entities = [entity for entity in ENTITIES if entity.list_call == list_call]
    proves_absence = manifest.complete and manifest.mode == "full"
    set_aside = [record.id for record in manifest.quarantined if record.id is not None]
    with warehouse.transaction() as connection:
        clock.put_right(connection, landed_at)
        how = landing.Sweep(folder, proves_absence, manifest.mode == "full", tuple(set_aside))
        landed = landing.land_once(connection, entities, how, landed_at)
        before = connection.execute(
            "SELECT arg_max(complete, landed_at) FROM sync.sweeps WHERE list_call = ?", [list_call.name]
        ).fetchone()
        # A plan may do less by itself while one of its lists is incomplete.
        is_other = before is not None and before[0] not in (None, manifest.complete)
        if is_other:
            for name in landed:
                count_input(connection, f"bms.{name}", landed_at)
        connection.execute(
            "INSERT INTO sync.sweeps SELECT $list_call, $sweep, $mode, $complete, $reason, $records, $made, $necessary,"
            f" $seconds, (SELECT max(modified_on) FROM bms.{entities[0].name}"
            " WHERE try_cast(modified_on AS TIMESTAMP) <= $latest), $unknown, $set_aside, $now, $not_sent",
            {
                "list_call": list_call.name,
                "sweep": manifest.sweep,
                "mode": manifest.mode,
                "complete": manifest.complete,
                "reason": manifest.reason,
                "records": manifest.records,
                "made": manifest.calls_made,
                "necessary": manifest.calls_necessary,
                "seconds": manifest.seconds,
                "unknown": [f"{name}.{field}" for name, changes in landed.items() for field in changes.unknown_fields],
                "set_aside": len(manifest.quarantined),
                "latest": clock.latest_stamp(landed_at),
                "not_sent": [f"{name}.{path}" for name, changes in landed.items() for path in changes.not_sent],
                "now": landed_at,
            },
        )
    return landed


def snapshot(settings: Settings, warehouse: Warehouse, target: Target, entity: Entity) -> int:
    """Read the records of ``entity`` that Passportal has now, and return their number; see ``snapshots``."""
    return snapshots(settings, warehouse, target, [entity])[entity.name]


def snapshots(
    settings: Settings,
    warehouse: Warehouse,
    target: Target,
    entities: Sequence[Entity],
    progress: Progress = _silent,
) -> dict[EntityName, int]:
    """Read Passportal's records, settle the unknown writes of an interrupted load, and return the number of records.

    A write not found stays unknown until its time has passed; then it is looked for once more.

    An entity the target cannot list is not read, and its stored records stay. Raises ``SettingsError`` where this home
    folder holds the matches of another Passportal.
    """
    read = _read_snapshots(settings, warehouse, target, entities, progress)
    _look_for(warehouse, target, _land_snapshots(warehouse, target, read))
    return {entity.name: 0 for entity in entities} | {found.entity.name: found.records for found in read}


def _read_snapshots(
    settings: Settings, warehouse: Warehouse, target: Target, entities: Sequence[Entity], progress: Progress
) -> list[_Snapshot]:
    """Read Passportal's records of each entity it can list, with the warehouse closed."""
    with warehouse.open():
        check_target(warehouse, target)
        for entity in entities:
            if entity.name not in target.can_write:
                with warehouse.transaction() as connection:
                    hand_overs.recover(connection, entity, settings.import_folder)
    with kept_open() if _is_passportal_here(settings) else contextlib.nullcontext():
        return [
            _read_snapshot(settings, target, entity, progress) for entity in entities if entity.name in target.can_list
        ]


def _look_for(warehouse: Warehouse, target: Target, overdue: Sequence[tuple[Entity, list[Write]]]) -> None:
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
    progress(f"snapshot {entity.name}", 0, None)
    file = settings.landing_folder / "passportal" / f"{entity.name}.parquet"
    with reported(file):
        target.snapshot(entity, file)
    return _Snapshot(entity, file, now())


def _land_snapshots(
    warehouse: Warehouse, target: Target, read: Sequence[_Snapshot]
) -> list[tuple[Entity, list[Write]]]:
    """Land each snapshot that differs from the one landed last; return the overdue writes, by entity."""
    overdue: list[tuple[Entity, list[Write]]] = []
    with warehouse.open() as connection:
        inputs = read_inputs(connection)
        unsettled = {intent.entity for intent in journal.open_intents(connection)}
        for found in read:
            entity, at = found.entity, found.read_at
            landed = landing.landed_before(inputs, entity, found.file)
            if landed is not None and entity.name not in unsettled:
                found.records = landed
            else:
                with warehouse.transaction() as writing:
                    found.records = landing.land_snapshot(writing, entity, found.file, at)
                    if journal.settle_found(writing, entity, _last_write_at(target, at), at):
                        overdue.append((entity, journal.overdue(writing, entity, target.unknown_seconds, at)))
            found.file.unlink()
    return [(entity, writes) for entity, writes in overdue if writes]


def _last_write_at(target: Target, otherwise: datetime) -> datetime | None:
    """Return the last moment a write may have left; ``otherwise`` where the target should know it but does not."""
    return (target.last_write_at() or otherwise) if target.unknown_seconds else None


def settle(settings: Settings, warehouse: Warehouse, target: Target, progress: Progress = _silent) -> None:
    """Read Passportal for every intent without outcome, of any plan, and settle them by the result."""
    with warehouse.open() as connection:
        unsettled = {intent.entity for intent in journal.open_intents(connection)}
    left_open = [entity for entity in ENTITIES if entity.name in unsettled]
    if left_open:
        snapshots(settings, warehouse, target, left_open, lambda stage, *how: progress(f"settle: {stage}", *how))


def reconcile(
    warehouse: Warehouse, entity: Entity, scope: Scope, *, create_unmatched_by: str | None = None
) -> dict[str, int]:
    """Decide the disposition of every record of ``entity``; return the number of records for each.

    ``create_unmatched_by``: the person who decided to create all records inside ``scope`` that only lack a decision.
    """
    with warehouse.transaction() as connection:
        if create_unmatched_by:
            _check_not_rebuilding(connection)
        counts = matching.reconcile(connection, entity, read_sync_settings(connection))
        if create_unmatched_by and counts.get("unmatched"):
            decisions.create_unmatched(connection, entity, create_unmatched_by, now(), scope)
            counts = matching.dispositions(connection, entity)
        return counts


def check_stages(warehouse: Warehouse, stages: Sequence[tuple[Stage, Entity]]) -> None:
    """Raise ``StageMissing`` where one of ``stages`` never ran in this home folder: it has no result to use."""
    with warehouse.open() as connection:
        missing = [(stage, entity.name) for stage, entity in stages if not _has_run(connection, stage, entity)]
    if missing:
        listed = ", ".join(f"{stage} {name}" for stage, name in missing)
        raise StageMissing(
            f"This rests on what never ran in this home folder: {listed}.",
            "Run `bms-pipeline preview`, which reads both services.",
            missing,
        )


def _has_run(connection: duckdb.DuckDBPyConnection, stage: Stage, entity: Entity) -> bool:
    match stage:
        case Stage.BMS:
            found = connection.execute(
                "FROM sync.sweeps WHERE list_call = ? LIMIT 1", [entity.list_call.name]
            ).fetchone()
            return found is not None
        case Stage.PASSPORTAL:
            is_listed = entity.name in read_sync_settings(connection).can_list
            return not is_listed or is_counted(connection, f"passportal.{entity.name}")
        case Stage.RECONCILED:
            stored, decided = connection.execute(
                f"SELECT (SELECT count(*) FROM bms.{entity.name} WHERE missing_since IS NULL),"
                f" (SELECT count(*) FROM sync.reconciled_{entity.name})"
            ).fetchone() or (0, 0)
            return not stored or bool(decided)


def make_plan(warehouse: Warehouse, entities: Sequence[Entity], scope: Scope) -> plans.Plan:
    """Save the operations of the next load as the current plan.

    Raises ``DecisionsMissing`` where Passportal has our markers and this database never loaded anything.
    """
    with warehouse.transaction() as connection:
        _check_not_lost(connection)
        return plans.make_plan(connection, entities, scope, now())


def approve(settings: Settings, warehouse: Warehouse, target: Target, plan_hash: str, by: str) -> plans.Plan:
    """Record a person's approval of the current plan, named by its hash.

    Passportal is read again first: a change there since the plan was made may change the plan. A plan approved before,
    and left in the middle, is taken up as it is. Raises ``PlanStale`` when the hash is not the current plan's, or when
    a plan made now would differ.
    """
    plan = current_plan(warehouse)
    if not plan.approved:
        snapshots(settings, warehouse, target, plans.planned_entities(plan))
    with warehouse.transaction() as connection:
        return plans.approve(connection, plan_hash, by, now())


def approve_unseen(settings: Settings, warehouse: Warehouse, target: Target, by: str) -> plans.Plan:
    """Approve the current plan on the strength of an approval given before the plan was made.

    Such an approval holds inside the breakers only. Raises ``SweepIncomplete`` or ``BreakerOpen``, the latter also
    where a part of the plan is held back; then a person has to name the hash.
    """
    with warehouse.open() as connection:
        _check_not_rebuilding(connection)
        plan = plans.current_plan(connection)
        check_breakers(connection, plan, read_sync_settings(connection))
        check_sweeps(connection, plan)
    check_held_back(plan)
    return approve(settings, warehouse, target, plan.hash, by)


def _check_not_lost(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise ``DecisionsMissing`` where a new database meets a Passportal loaded from another database."""
    answered = "SELECT count(*) FROM sync.settings WHERE name IN ('rebuilt_at', 'restored_at')"
    if connection.execute(answered).fetchone() != (0,):
        return
    marked = {}
    for entity in ENTITIES:
        row = connection.execute(sql.read("own_markers").format(entity=entity.name)).fetchone()
        if row and row[0]:
            marked[entity.name] = row[0]
    if marked:
        counts = ", ".join(f"{count:,} {name}" for name, count in marked.items())
        raise DecisionsMissing(
            f"This database is new, and Passportal holds {counts} with this program's markers: another database"
            " loaded them. What people excluded and decided there is not known here.",
            "`bms-pipeline restore` puts back the newest good copy and every decision since. Without one,"
            " `bms-pipeline rebuild` starts over: nothing is created until you have finished a plan by its hash.",
        )


def _check_not_rebuilding(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise ``PlanWaits`` while the exclusions of a lost database are unknown."""
    rebuilt_at = read_sync_settings(connection).rebuilt_at
    if read_sync_settings(connection).is_rebuilding:
        raise PlanWaits(
            f"The database was started over at {rebuilt_at} UTC, so nobody knows what was excluded. Nothing is created"
            " by advance approval.",
            "Look at every create with `bms-pipeline preview`, exclude what has to stay out, then `bms-pipeline finish"
            " HASH`.",
        )


def current_plan(warehouse: Warehouse) -> plans.Plan:
    """Return the plan made last. Raises ``PlanError`` where none was ever made."""
    with warehouse.open() as connection:
        return plans.current_plan(connection)


def waits_for_person(warehouse: Warehouse) -> bool:
    """Return whether the current plan would change something, and a person has to approve it first."""
    return isinstance(why_not_loaded(warehouse), PlanWaits)


def why_not_loaded(warehouse: Warehouse) -> PipelineError | None:
    """Return why the current plan may not be loaded now: the error ``finish`` would raise; None where it would load."""
    try:
        apply.check_approved(warehouse)
    except PlanError as error:
        return error
    return None


def count_results(warehouse: Warehouse) -> dict[EntityName, dict[str, int]]:
    """Count the current plan's records by outcome, as of now."""
    with warehouse.transaction() as connection:
        return plans.count_results(connection, now())


def read(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    full: bool = False,
    in_instalments: bool = False,
    progress: Progress = _silent,
) -> list[Unfinished]:
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
    progress: Progress = _silent,
) -> Iterator[list[Unfinished]]:
    """Read like ``read``, and keep the open files open inside the block, where no service may be called."""
    warehouse, lists = open_warehouse(settings), list_calls(entities)
    unfinished: list[Unfinished] = []
    with contextlib.ExitStack() as kept:
        with contextlib.closing(open_target(settings)) as target, BmsClient(settings) as client:
            progress("sign in to BMS", 0, None)
            ready = _get_ready(warehouse, client, lists, full=full)
            for list_call in lists:
                progress(f"{list_call.name}: {ready[list_call].planned}", 0, None)
                swept = _sweep(settings, client, list_call, ready[list_call], progress, in_instalments=in_instalments)
                if list_call == lists[-1] and _is_passportal_here(settings):
                    kept.enter_context(kept_open())  # it was the last call to a service
                extracted = _land_swept(settings, warehouse, list_call, swept, progress)
                if isinstance(extracted, Unfinished):
                    unfinished.append(extracted)
            read_then = _read_snapshots(settings, warehouse, target, with_clients(entities), progress)
            if not _is_passportal_here(settings):
                kept.enter_context(kept_open())
            overdue = _land_snapshots(warehouse, target, read_then)
            if overdue:
                kept.close()
                _look_for(warehouse, target, overdue)
                kept.enter_context(kept_open())
        yield unfinished


def _is_passportal_here(settings: Settings) -> bool:
    """Return whether Passportal is a file of this machine, so its use calls no service."""
    return settings.passportal_target == "embedded"


def prepare(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    scope: Scope | None = None,
    full: bool = False,
    create_unmatched_by: str | None = None,
    progress: Progress = _silent,
) -> plans.Plan:
    """Run every stage up to the plan: extract, land, snapshot, reconcile. Changes nothing in Passportal.

    ``create_unmatched_by``: the person who decided to create all records that only lack a decision.
    """
    read(settings, entities=entities, full=full, progress=progress)
    return plan_anew(
        open_warehouse(settings),
        entities=entities,
        scope=scope,
        create_unmatched_by=create_unmatched_by,
        progress=progress,
    )


def plan_anew(
    warehouse: Warehouse,
    *,
    entities: Sequence[Entity] = ENTITIES,
    scope: Scope | None = None,
    create_unmatched_by: str | None = None,
    progress: Progress = _silent,
) -> plans.Plan:
    """Reconcile and plan from the stored records; neither service is read."""
    scope = scope or Scope()
    with warehouse.open():
        for entity in with_clients(entities):
            progress(f"reconcile {entity.name}", 0, None)
            reconcile(warehouse, entity, scope, create_unmatched_by=create_unmatched_by)
        progress("plan", 0, None)
        return make_plan(warehouse, entities, scope)


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
    progress: Progress = _silent,
) -> Synced:
    """Run one whole sync on a person's command: read, plan, and load what may be; do nothing where nothing is new.

    ``create_unmatched_by``: the person who decided, and approves in advance, to create all records that only lack a
    decision. Raises the errors of the stages. ``wait``: see ``finish``.
    """
    warehouse = open_warehouse(settings)
    is_whole = scope in (None, Scope()) and not full and len(entities) == len(ENTITIES)
    resume(settings, wait=wait, progress=progress)
    with contextlib.ExitStack() as kept:
        kept.enter_context(just_read(settings, entities=entities, full=full, progress=progress))
        done = _plan_done(warehouse, creates=create_unmatched_by is not None) if is_whole else None
        if done is not None:
            return Synced(done, is_new=False, waits=False)
        plan = plan_anew(
            warehouse, entities=entities, scope=scope, create_unmatched_by=create_unmatched_by, progress=progress
        )
        if not _is_passportal_here(settings):
            kept.close()
        if create_unmatched_by:
            with contextlib.closing(open_target(settings)) as target:
                approve_unseen(settings, warehouse, target, create_unmatched_by)
        return Synced(plan, is_new=True, waits=_load_what_may_be(settings, warehouse, wait, progress))


def _load_what_may_be(settings: Settings, warehouse: Warehouse, wait: bool, progress: Progress) -> bool:
    """Load the current plan unless a person has to approve it; return whether one has to, for all or for the rest."""
    if not waits_for_person(warehouse):
        finish(settings, wait=wait, progress=progress)
    return waits_for_person(warehouse)


def _plan_done(warehouse: Warehouse, *, creates: bool) -> plans.Plan | None:
    """Return the current plan if it has nothing to load, and a plan made now would be the same; else None.

    A plan with operations is not returned: its load would be counted as done by this sync. After such a load an empty
    plan shows the two sides in sync. ``creates``: the caller creates all records that only lack a decision.
    """
    with warehouse.open() as connection:
        plan = _plan_at_hand(connection)
        if plan is None or plan.operations or journal.open_intents(connection):
            return None
        if creates and any(decisions.waits_for_creation(connection, entity) for entity in ENTITIES):
            return None
        return plan


def incremental(
    settings: Settings, *, full: bool = False, wait: bool = True, progress: Progress = _silent
) -> plans.Plan:
    """Run ``synchronise_new`` and return its plan."""
    return synchronise_new(settings, full=full, wait=wait, progress=progress).plan


def synchronise_new(
    settings: Settings, *, full: bool = False, wait: bool = True, progress: Progress = _silent
) -> Synced:
    """Run one whole sync for the schedule: read the changes; where there are any, plan, and load what may be.

    The rest of the plan waits for a person. Where nothing was new, the plan is the one already there. A list needing
    more calls than the hour has left goes on the next time; the other lists do not wait for it. Raises
    ``BreakerOpen`` and the errors of the stages. ``wait``: see ``finish``.
    """
    warehouse = open_warehouse(settings)
    resume(settings, wait=wait, progress=progress)
    with contextlib.ExitStack() as kept:
        kept.enter_context(just_read(settings, full=full, in_instalments=True, progress=progress))
        with warehouse.open() as connection:
            at_hand = _plan_at_hand(connection)
        if at_hand is not None:
            return Synced(at_hand, is_new=False, waits=not at_hand.loaded and waits_for_person(warehouse))
        plan = plan_anew(warehouse, progress=progress)
        if not _is_passportal_here(settings):
            kept.close()
        return Synced(plan, is_new=True, waits=_load_what_may_be(settings, warehouse, wait, progress))


def is_anything_new(warehouse: Warehouse) -> bool:
    """Return whether a whole plan made now could differ from the current plan, or has operations left to load."""
    with warehouse.open() as connection:
        return _plan_at_hand(connection) is None


def _plan_at_hand(connection: duckdb.DuckDBPyConnection) -> plans.Plan | None:
    """Return the current plan if a whole plan made now would equal it, and nothing of it loads by itself."""
    try:
        plan = plans.current_plan(connection)
    except PlanError:
        return None
    if plan.stale or plan.clients is not None or plan.undoes is not None or len(plan.entities) < len(ENTITIES):
        return None
    if not plan.operations and not plan.loaded:
        return None  # a breaker is open, although nothing would be written
    row = connection.execute(sql.read("is_anything_to_load")).fetchone()
    return None if row and row[0] else plan


def changed_inputs(warehouse: Warehouse) -> list[str]:
    """Return the inputs changed since the current plan was made (``bms.clients``, ``settings``, ...)."""
    with warehouse.open() as connection:
        try:
            return plans.moved_inputs(connection, plans.current_plan(connection))
        except PlanError:
            return []


def import_clients(
    settings: Settings, clients: Sequence[int], *, progress: Progress = _silent
) -> Iterator[list[apply.ClientLoaded]]:
    """Load the records inside ``clients`` (BMS account ids), one group of clients after another.

    The plan is the approved one until it is loaded whole (the initial bulk import). Afterwards it is a plan for these
    clients alone, made from the last sweep of BMS and a new snapshot of Passportal; the operations the settings allow
    are loaded. Writes whose answer was lost stay unknown: call it again when their time has passed. Raises
    ``PlanWaits`` when a person has to approve the plan first.
    """
    warehouse = open_warehouse(settings)
    with contextlib.closing(open_target(settings)) as target:
        check_target(warehouse, target)
        settle(settings, warehouse, target, progress)
        plan = current_plan(warehouse)
        if plan.loaded or not plan.approved:
            with warehouse.open() as connection:
                finished = read_sync_settings(connection).initial_sync_finished
            if not finished:
                apply.check_approved(warehouse)  # the waiting plan is the one to approve
            snapshots(settings, warehouse, target, ENTITIES)
            plan_anew(warehouse, scope=Scope(clients=tuple(clients)))
        plan = apply.check_approved(warehouse)
        _count_loads(warehouse, plans.planned_entities(plan))
        yield from apply.load_clients(
            warehouse, target, plan, clients, lambda done, total: progress("load clients", done, total)
        )
        apply.close_plan(warehouse, plan)


@dataclass(frozen=True)
class Finished:
    """The end of a load: the current plan, its records by outcome, and the writes whose answer is still unknown.

    ``left``: by entity, the operations this load was allowed to do and left without a final outcome.
    """

    plan: plans.Plan
    results: dict[EntityName, dict[str, int]]
    left: dict[EntityName, int]
    unknown: list[journal.Open]


def finish(settings: Settings, *, wait: bool = True, progress: Progress = _silent) -> Finished:
    """Load the current plan, if it may be loaded; a plan loaded already is left as it is.

    First, the unknown writes of an interrupted load are settled by reading Passportal. Then everything sendable is
    sent. With ``wait``, the load then waits as long as an unknown write may still take effect.
    """
    warehouse = open_warehouse(settings)
    with contextlib.closing(open_target(settings)) as target:
        check_target(warehouse, target)
        settle(settings, warehouse, target, progress)
        plan = current_plan(warehouse)
        if not plan.loaded:
            plan = apply.check_approved(warehouse)
        for attempt in range(LOOKS_FOR_UNKNOWN + 1):
            if not plan.loaded:
                for entity in plans.planned_entities(plan):
                    load(settings, warehouse, target, entity, plan, progress)
            finished = close(warehouse, plan)
            if not finished.unknown or not wait or attempt == LOOKS_FOR_UNKNOWN:
                break
            _wait(finished.unknown, target.unknown_seconds, progress)
            settle(settings, warehouse, target, progress)
    return finished


def close(warehouse: Warehouse, plan: plans.Plan) -> Finished:
    """Close the plan if nothing of it is left to do, and return its state."""
    results = count_results(warehouse) if plan.loaded else apply.close_plan(warehouse, plan)
    with warehouse.open() as connection:
        plan = plans.current_plan(connection)
        left = connection.execute(sql.read("left_to_load"), {"approved": plan.approved}).fetchall()
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


def resume(settings: Settings, *, wait: bool = True, progress: Progress = _silent) -> Finished | None:
    """Finish the current plan if a person approved it and its load was left in the middle; None where there is none.

    So the approval is not lost with the next plan. A plan of which nothing was sent is left to be replaced when a plan
    made now would differ.
    """
    with open_warehouse(settings).open() as connection:
        try:
            plan = plans.current_plan(connection)
        except PlanError:
            return None
    if plan.loaded or not plan.approved:
        return None
    try:
        return finish(settings, wait=wait, progress=progress)
    except PlanStale:
        return None


def loaded_at(warehouse: Warehouse, plan_hash: str) -> datetime | None:
    """Return when the plan of this hash (8 characters or more) was loaded; None where it is still to be loaded."""
    with warehouse.open() as connection:
        return plans.loaded_at(connection, plan_hash)


def load(
    settings: Settings,
    warehouse: Warehouse,
    target: Target,
    entity: Entity,
    plan: plans.Plan,
    progress: Progress = _silent,
) -> apply.Loaded:
    """Apply the plan's operations on ``entity``; records the target cannot create are handed over for an import."""
    handed_over = None
    _count_loads(warehouse, [entity])
    if entity.name not in target.can_write:
        headers = settings.import_headers(entity.name)
        handed_over = hand_overs.hand_over(warehouse, entity, plan, settings.import_folder, headers, now())
    loaded = apply.load_entity(
        warehouse, target, entity, plan, on_progress=lambda done, total: progress(f"load {entity.name}", done, total)
    )
    return replace(loaded, handed_over=handed_over)


def _count_loads(warehouse: Warehouse, entities: Sequence[Entity]) -> None:
    """Count a load as a change of these entities' inputs; before the load, so the count survives a kill as well."""
    with warehouse.transaction() as connection:
        for entity in entities:
            count_input(connection, f"{OF_LOADS}{entity.name}", now())


def read_details(
    settings: Settings, *, most: int | None = None, patience: Patience | None = None, progress: Progress = _silent
) -> details.DetailsRead:
    """Read details of records in Passportal, ``most`` at most, as far as the hour's calls go.

    This runs next to any other run: it holds no run lock and opens the warehouse once for a moment. The details land
    with the next sync. Raises ``RunLocked`` while another process reads details, and the errors of
    ``bms.details.read``.
    """
    patience = patience or Patience()
    ((entity, call),) = details.DETAILED
    folder = answers.folder_of(settings.landing_folder, entity)
    with (
        lease.locked(settings.bms_pipeline_home, "details", "A run that reads details", now()),
        BmsClient(settings, clock=patience.clock, sleep=patience.sleep) as client,
    ):
        answers.finish(folder)
        known = details.unlanded_ids(settings, entity)
        with open_warehouse(settings).open() as connection:
            tenant = _known_tenant(connection)
            queue = details.waiting(connection, entity, known)
        read = answers.Progress(0, 0)
        wanted = queue[:most]
        if wanted:
            _check_same_tenant(client.identity(), tenant)
            progress("details", 0, len(wanted))
            read = answers.read(
                client,
                call,
                wanted,
                folder,
                connections=settings.bms_connections,
                patience=patience,
                on_progress=lambda done: progress("details", done, len(wanted)),
            )
        left = len(queue) - read.read - read.problems
        endpoint, budget = call.endpoint, client.budget
        return details.DetailsRead(read.read, read.problems, left, budget.left(endpoint), budget.limit_of(endpoint))


def list_calls(entities: Sequence[Entity]) -> list[ListCall]:
    """Return the lists to sweep for ``entities``: clients always, because the others live inside them."""
    return list(dict.fromkeys(entity.list_call for entity in with_clients(entities)))


def check_tenant(warehouse: Warehouse, client: BmsClient) -> str:
    """Return the tenant of this data; raises ``SettingsError`` when the home folder holds another tenant's."""
    identity = client.identity()
    with warehouse.open() as connection:
        known = _known_tenant(connection)
        found = _check_same_tenant(identity, known)
        if known is None:
            with warehouse.transaction() as writing:
                writing.execute(
                    "INSERT INTO sync.settings VALUES ('bms_tenant', to_json(?::VARCHAR), ?)", [found, now()]
                )
    return found


def check_target(warehouse: Warehouse, target: Target) -> None:
    """Note which Passportal this home folder belongs to, and which entities can be written and listed there.

    Raises ``SettingsError`` when the same home folder meets another Passportal: its ids mean other records.
    """
    able = {
        name: [entity.name for entity in ENTITIES if entity.name in getattr(target, name)]
        for name in ("can_write", "can_list")
    }
    with warehouse.open() as connection:
        known, settings = _known(connection, "passportal"), read_sync_settings(connection)
        if known not in (None, target.name):
            raise SettingsError(
                f"The Passportal of the settings is {target.name}, and this home folder holds the records of {known}.",
                "Use another BMS_PIPELINE_HOME for another Passportal, or correct PASSPORTAL_TARGET and"
                " PASSPORTAL_URL.",
            )
        changed = {name: names for name, names in able.items() if names != getattr(settings, name)}
        if known is not None and not changed:
            return
        with warehouse.transaction() as writing:
            if known is None:
                stored = "INSERT INTO sync.settings VALUES ('passportal', to_json(?::VARCHAR), ?)"
                writing.execute(stored, [target.name, now()])
            for name, names in changed.items():
                store_sync_setting(writing, name, names, now())


def _known_tenant(connection: duckdb.DuckDBPyConnection) -> str | None:
    return _known(connection, "bms_tenant")


def _known(connection: duckdb.DuckDBPyConnection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM sync.settings WHERE name = ?", [name]).fetchone()
    return str(json.loads(row[0])) if row else None


def _check_same_tenant(identity: Identity, known: str | None) -> str:
    found = f"{identity.tenant_id} {identity.business_name}"
    if known not in (None, found):
        raise SettingsError(
            f"BMS answers as tenant {found}, and this home folder holds the records of {known}.",
            "Use another BMS_PIPELINE_HOME for another tenant, or correct BMS_URL and BMS_TENANT.",
        )
    return found


def _account_types(client: BmsClient) -> list[tuple[int, str, bool, bool, bool]]:
    return [(kind.id, kind.name, kind.is_client, kind.is_vendor, kind.is_active) for kind in client.account_types()]


def _land_account_types(warehouse: Warehouse, rows: Sequence[tuple[int, str, bool, bool, bool]]) -> None:
    with warehouse.open() as connection:
        if not landing.is_other_account_types(connection, rows):
            return
        with warehouse.transaction() as writing:
            landing.land_account_types(writing, rows)
            count_input(writing, "bms.account_types", now())


def _watermark(warehouse: Warehouse, list_call: ListCall) -> str | None:
    """Return the time from which to ask for changes; None where a full sweep is due."""
    if not list_call.modified_since:
        return None
    with warehouse.open() as connection:
        row = connection.execute(
            "SELECT strftime(least(try_cast(arg_max(newest_modified_on, landed_at) AS TIMESTAMP), max(landed_at))"
            " - $overlap, '%Y-%m-%dT%H:%M:%S'),"
            " coalesce(max(landed_at) FILTER (mode = 'full' AND complete) > $due, false)"
            # The true time of a sweep stamped in the future is unknown.
            " FROM sync.sweeps WHERE list_call = $name AND landed_at <= $now",
            {"overlap": WATERMARK_OVERLAP, "due": now() - FULL_SWEEP_EVERY, "name": list_call.name, "now": now()},
        ).fetchone()
    return str(row[0]) if row and row[0] and row[1] else None
