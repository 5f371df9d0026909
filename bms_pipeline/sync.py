"""The verbs, from left to right: extract, land, snapshot, reconcile, plan, load.

The command line and the Dagster assets are two thin ways to call these; each stage reads what the one before stored,
so each can be run again alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import duckdb
import filelock

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.bms.manifest import Manifest, prune
from bms_pipeline.bms.sift import sift
from bms_pipeline.bms.sweep import sweep
from bms_pipeline.entities import ACCOUNTS, ENTITIES, Entity, EntityName, ListCall, with_clients
from bms_pipeline.errors import PlanError, PlanWaits, RunLocked, SettingsError
from bms_pipeline.load import apply, journal
from bms_pipeline.passportal.embedded import EmbeddedPassportal
from bms_pipeline.passportal.target import Target
from bms_pipeline.reconcile import decisions, matching
from bms_pipeline.reconcile import plan as plans
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.settings import Settings
from bms_pipeline.warehouse import landing
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.inputs import count_input

FULL_SWEEP_EVERY = timedelta(hours=24)
"""An older full sweep is repeated: watermarks miss what does not bump ``modifiedOn``, and never show a deletion."""
WATERMARK_OVERLAP = timedelta(days=1)
"""Re-read so much before the newest stamp seen: zones and clocks of the service are unknown [G]."""


class Progress(Protocol):
    """Told what a stage is at; ``total`` is None while it is not known."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show it."""
        ...


def _silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Extracted:
    """One list call's sweep and what its landing changed, by entity."""

    manifest: Manifest
    landed: dict[EntityName, landing.Landed]


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse of these settings."""
    return Warehouse(settings.warehouse_file, settings.bms_pipeline_wait_seconds)


def open_target(settings: Settings) -> Target:
    """The Passportal of these settings. Raises ``SettingsError`` for one that this version does not have."""
    if settings.passportal_target != "embedded":
        raise SettingsError(
            f"PASSPORTAL_TARGET is {settings.passportal_target}, which this version cannot reach yet.",
            "Leave it at `embedded`.",
        )
    return EmbeddedPassportal(settings.passportal_file)


@contextlib.contextmanager
def running(settings: Settings, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the home folder for one run at a time; the lock ends with the process, however it ends.

    Raises ``RunLocked`` naming the holder when another run is at work for longer than ``wait_seconds``.
    """
    settings.bms_pipeline_home.mkdir(parents=True, exist_ok=True, mode=0o700)
    holder = settings.bms_pipeline_home / "run.pid"
    lock = filelock.FileLock(settings.bms_pipeline_home / "run.lock", timeout=wait_seconds)
    try:
        with lock:
            holder.write_text(str(os.getpid()), encoding="utf-8")
            yield
    except filelock.Timeout:
        pid = holder.read_text(encoding="utf-8") if holder.exists() else "unknown"
        raise RunLocked(
            f"Another run (process {pid}) is at work in {settings.bms_pipeline_home}.",
            "Let it finish, or stop it; what it has done is kept and the next run continues.",
        ) from None


def extract(
    settings: Settings,
    warehouse: Warehouse,
    client: BmsClient,
    list_call: ListCall,
    *,
    full: bool = False,
    progress: Progress = _silent,
) -> Extracted:
    """Sweep one list of BMS and land every entity that it holds.

    Incremental where the service can say what changed and a complete full sweep is not older than a day, else full.
    """
    tenant = check_tenant(warehouse, client)
    watermark = None if full else _watermark(warehouse, list_call)
    if list_call == ACCOUNTS:
        _land_account_types(warehouse, client)
    manifest = sweep(
        client,
        list_call,
        settings.landing_folder,
        connections=settings.bms_connections,
        modified_since=watermark,
        tenant=tenant,
        on_progress=lambda done, total: progress(f"extract {list_call.name}", done, total),
    )
    progress(f"land {list_call.name}", 0, None)
    landed = land(settings, warehouse, list_call, manifest)
    prune(settings.landing_folder / list_call.name)
    return Extracted(manifest, landed)


def land(
    settings: Settings, warehouse: Warehouse, list_call: ListCall, manifest: Manifest
) -> dict[EntityName, landing.Landed]:
    """Land a finished sweep: all entities of the list, or none of them.

    A record that the database refuses (a key twice in one object) is set aside and named; the others land.
    """
    folder = settings.landing_folder / list_call.name / manifest.sweep
    try:
        return _land(warehouse, list_call, manifest, folder)
    except duckdb.InvalidInputException:
        manifest.quarantined += sift(folder)
        return _land(warehouse, list_call, manifest, folder)


def _land(
    warehouse: Warehouse, list_call: ListCall, manifest: Manifest, folder: Path
) -> dict[EntityName, landing.Landed]:
    landed_at = now()
    entities = [each for each in ENTITIES if each.list_call == list_call]
    proves_absence = manifest.complete and manifest.mode == "full"
    set_aside = [each.id for each in manifest.quarantined if each.id is not None]
    with warehouse.transaction() as connection:
        landed = {
            each.name: landing.land(
                connection, each, folder, proves_absence=proves_absence, set_aside=set_aside, now=landed_at
            )
            for each in entities
        }
        for name, changes in landed.items():
            if changes.anything_changed:
                count_input(connection, f"bms.{name}")
        connection.execute(
            "INSERT INTO sync.sweeps SELECT $list_call, $sweep, $mode, $complete, $reason, $records, $made, $necessary,"
            f" $seconds, (SELECT max(modified_on) FROM bms.{entities[0].name}), $unknown, $set_aside, $now",
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
                "now": landed_at,
            },
        )
    return landed


def snapshot(settings: Settings, warehouse: Warehouse, target: Target, entity: Entity) -> int:
    """Read what Passportal has now, and settle by it what an interrupted load left unknown; the number of records."""
    file = settings.landing_folder / "passportal" / f"{entity.name}.parquet"
    target.snapshot(entity, file)
    with warehouse.transaction() as connection:
        count = landing.land_snapshot(connection, entity, file)
        journal.settle_unknown(connection, entity, now())
    file.unlink()
    return count


def reconcile(
    warehouse: Warehouse, entity: Entity, scope: Scope, *, create_unmatched_by: str | None = None
) -> dict[str, int]:
    """Decide what is to become of every record of ``entity``; the number of records for each disposition.

    ``create_unmatched_by``: who decided that all that wait for nothing but a decision be created.
    """
    with warehouse.transaction() as connection:
        counts = matching.reconcile(connection, entity, read_sync_settings(connection), scope)
        if create_unmatched_by and counts.get("unmatched"):
            decisions.create_unmatched(connection, entity, create_unmatched_by, now(), scope)
            counts = matching.dispositions(connection, entity)
        return counts


def make_plan(warehouse: Warehouse, entities: Sequence[Entity], scope: Scope) -> plans.Plan:
    """Save what load would do as the current plan."""
    with warehouse.transaction() as connection:
        return plans.make_plan(connection, entities, scope, now())


def approve(settings: Settings, warehouse: Warehouse, target: Target, plan_hash: str, by: str) -> plans.Plan:
    """A person's word for the current plan, named by its hash.

    Passportal is read again first: what changed there since the plan was made may make it another plan. Raises
    ``PlanStale`` when it is not the current plan or would be another one by now.
    """
    plan = current_plan(warehouse)
    if not plan.approved:
        for entity in plans.planned_entities(plan):
            snapshot(settings, warehouse, target, entity)
    with warehouse.transaction() as connection:
        return plans.approve(connection, plan_hash, by, now())


def current_plan(warehouse: Warehouse) -> plans.Plan:
    """The plan made last. Raises ``PlanError`` where none was ever made."""
    with warehouse.open() as connection:
        return plans.current_plan(connection)


def waits_for_person(warehouse: Warehouse) -> bool:
    """Whether the current plan would change something, and a person has to approve it first."""
    try:
        apply.check_approved(warehouse)
    except PlanWaits:
        return True
    except PlanError:
        pass
    return False


def count_results(warehouse: Warehouse) -> dict[EntityName, dict[str, int]]:
    """Count the current plan's records by outcome, as of now."""
    with warehouse.transaction() as connection:
        return plans.count_results(connection, now())


def prepare(
    settings: Settings,
    *,
    entities: Sequence[Entity] = ENTITIES,
    scope: Scope | None = None,
    full: bool = False,
    create_unmatched_by: str | None = None,
    progress: Progress = _silent,
) -> plans.Plan:
    """Everything up to the plan: extract, land, snapshot, reconcile. Changes nothing in Passportal.

    ``create_unmatched_by``: who decided that all that waits for nothing but a decision be created.
    """
    scope = scope or Scope()
    warehouse, target = open_warehouse(settings), open_target(settings)
    with BmsClient(settings) as client:
        for list_call in list_calls(entities):
            extract(settings, warehouse, client, list_call, full=full, progress=progress)
    for entity in with_clients(entities):
        progress(f"snapshot {entity.name}", 0, None)
        snapshot(settings, warehouse, target, entity)
    for entity in with_clients(entities):
        progress(f"reconcile {entity.name}", 0, None)
        reconcile(warehouse, entity, scope, create_unmatched_by=create_unmatched_by)
    progress("plan", 0, None)
    return make_plan(warehouse, entities, scope)


def plan_anew(warehouse: Warehouse, *, entities: Sequence[Entity] = ENTITIES, scope: Scope | None = None) -> plans.Plan:
    """The plan as it is after decisions or settings changed: from what is stored, reading neither service."""
    scope = scope or Scope()
    for entity in with_clients(entities):
        reconcile(warehouse, entity, scope)
    return make_plan(warehouse, entities, scope)


def finish(settings: Settings, *, progress: Progress = _silent) -> dict[EntityName, dict[str, int]]:
    """Load the current plan, if it may be; the count of records by outcome for each entity."""
    warehouse, target = open_warehouse(settings), open_target(settings)
    plan = apply.check_approved(warehouse)
    for entity in plans.planned_entities(plan):
        apply.load_entity(
            warehouse,
            target,
            entity,
            plan,
            on_progress=lambda done, total, name=entity.name: progress(f"load {name}", done, total),  # type: ignore[misc]
        )
    return apply.close_plan(warehouse, plan)


def list_calls(entities: Sequence[Entity]) -> list[ListCall]:
    """The lists to sweep for ``entities``: clients always, because the others live inside them."""
    return list(dict.fromkeys(each.list_call for each in with_clients(entities)))


def check_tenant(warehouse: Warehouse, client: BmsClient) -> str:
    """Whose data this is; raises ``SettingsError`` when the same home folder meets another tenant's."""
    identity = client.identity()
    with warehouse.transaction() as connection:
        row = connection.execute("SELECT value FROM sync.settings WHERE name = 'bms_tenant'").fetchone()
        found = f"{identity.tenant_id} {identity.business_name}"
        if row is None:
            connection.execute(
                "INSERT INTO sync.settings VALUES ('bms_tenant', to_json(?::VARCHAR), ?)", [found, now()]
            )
        elif row[0].strip('"') != found:
            raise SettingsError(
                f"BMS answers as tenant {found}, and this home folder holds the records of {row[0]}.",
                "Use another BMS_PIPELINE_HOME for another tenant, or correct BMS_URL and BMS_TENANT.",
            )
    return found


def _land_account_types(warehouse: Warehouse, client: BmsClient) -> None:
    rows = [(each.id, each.name, each.is_client, each.is_vendor, each.is_active) for each in client.account_types()]
    with warehouse.transaction() as connection:
        if landing.land_account_types(connection, rows):
            count_input(connection, "bms.account_types")


def _watermark(warehouse: Warehouse, list_call: ListCall) -> str | None:
    """From when on to ask for changes; None where a full sweep is due."""
    if not list_call.modified_since:
        return None
    with warehouse.open() as connection:
        row = connection.execute(
            "SELECT strftime(try_cast(arg_max(newest_modified_on, landed_at) AS TIMESTAMP) - $overlap,"
            " '%Y-%m-%dT%H:%M:%S'), coalesce(max(landed_at) FILTER (mode = 'full' AND complete) > $due, false)"
            " FROM sync.sweeps WHERE list_call = $name",
            {"overlap": WATERMARK_OVERLAP, "due": now() - FULL_SWEEP_EVERY, "name": list_call.name},
        ).fetchone()
    return str(row[0]) if row and row[0] and row[1] else None
