"""Read the lists of BMS and land them in the warehouse."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb

from bms_pipeline.bms.client import BmsClient
from bms_pipeline.bms.sweep.client_pages import ClientPages
from bms_pipeline.bms.sweep.manifest import Manifest, prune
from bms_pipeline.bms.sweep.newest import Newest, ids_since, prune_newest, read_newest
from bms_pipeline.bms.sweep.quarantine import quarantine, respell
from bms_pipeline.bms.sweep.sweeper import sweep, sweeps_folder
from bms_pipeline.core.entities import (
    ACCOUNTS,
    ASSETS_LIST,
    ENTITIES,
    Entity,
    EntityName,
    ListCall,
    OfClient,
    declared_keys,
    with_clients,
)
from bms_pipeline.core.errors import BudgetExhausted, ClientNotFound, LandingError, RequestRefused
from bms_pipeline.core.settings import Settings
from bms_pipeline.reconcile.scope_ids import note_scope_ids
from bms_pipeline.sync import enrichment, services
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse import clock, facts, landing, sql
from bms_pipeline.warehouse.connection import Warehouse, now
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.landed_details import LandedDetails
from bms_pipeline.warehouse.stored_mapping import read_mapping

_log = logging.getLogger(__name__)

FULL_SWEEP_EVERY = timedelta(hours=24)
"""An older full sweep is repeated: watermarks miss changes without a new ``modifiedOn``, and never show a deletion."""


WATERMARK_OVERLAP = timedelta(days=1)
"""The span read again before the newest stamp seen: zones and clocks of the service are unknown [G]."""


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
    """A list whose sweep ran out of the hour's calls. ``why`` gives the time it goes on; the pages read are kept.

    ``newest``: its newest records, which land already.
    """

    list_call: ListCall
    why: str
    newest: Newest | None = None


@dataclass(frozen=True)
class CallsPlanned:
    """The calls a sweep needs, estimated from the last sweep of its kind (None: there was none), and the calls left."""

    needed: int | None
    left: int

    def __str__(self) -> str:
        needed = "was not read in this way yet" if self.needed is None else f"needs about {self.needed:,} calls"
        return f"{needed}, {self.left:,} are left in this hour"


def extract(
    settings: Settings,
    warehouse: Warehouse,
    client: BmsClient,
    list_call: ListCall,
    *,
    full: bool = False,
    in_instalments: bool = False,
    progress: Progress = silent,
) -> Extracted | Unfinished:
    """Sweep one list of BMS and land its entities.

    The sweep is incremental where the service can filter by change and a complete full sweep is less than a day old.
    Otherwise it is full. ``in_instalments``: a list needing more calls than the hour has left is no error; it goes on
    the next time. Details read since the last sweep land behind it.
    """
    ready = get_ready(warehouse, client, [list_call], full=full, incremental=in_instalments)[list_call]
    swept = sweep_list(settings, client, list_call, ready, progress, in_instalments=in_instalments)
    return land_swept(settings, warehouse, list_call, swept, progress)


@dataclass(frozen=True)
class _Ready:
    """The facts a sweep needs first: the tenant, and the time from which to ask for changes (None: for all).

    ``known_ids``: the newest stored ids, where the newest records are asked for first.
    """

    tenant: str
    modified_since: str | None
    known_ids: frozenset[int] | None = None


def get_ready(
    warehouse: Warehouse, client: BmsClient, list_calls: Sequence[ListCall], *, full: bool, incremental: bool = False
) -> dict[ListCall, _Ready]:
    """Ask the warehouse once for the facts needed by all these sweeps."""
    client.identity()
    with warehouse.open() as connection:
        tenant = services.check_tenant(warehouse, client)
        if not facts.is_sort_accepted(connection):
            client.leave_out_sort()
        since = {list_call: None if full else _watermark(warehouse, list_call) for list_call in list_calls}
        known = _known_ids(connection) if incremental and not full and ASSETS_LIST in list_calls else None
        return {
            list_call: _Ready(tenant, since[list_call], known if list_call == ASSETS_LIST else None)
            for list_call in list_calls
        }


def _known_ids(connection: duckdb.DuckDBPyConnection) -> frozenset[int] | None:
    """Return the newest stored ids of assets, where BMS sorts and a full sweep read them all; else None."""
    if not facts.is_sort_honoured(connection):
        return None
    rows = connection.execute(sql.read("sync/known_assets")).fetchall()
    return frozenset(row[0] for row in rows) or None


@dataclass(frozen=True)
class _Swept:
    """The answers of BMS: the sweep, and with accounts their types."""

    manifest: Manifest
    account_types: landing.AccountTypes | None
    newest: Newest | None = None


def sweep_list(
    settings: Settings,
    client: BmsClient,
    list_call: ListCall,
    ready: _Ready,
    progress: Progress,
    *,
    in_instalments: bool,
) -> _Swept | Unfinished:
    """Read the list, with the warehouse closed."""
    progress(f"extract {list_call.name}", 0, None)
    account_types = services.account_types(client) if list_call == ACCOUNTS else None
    newest: Newest | None = None
    try:
        if ready.known_ids is not None:
            newest = read_newest(client, list_call, settings.landing_folder, ready.known_ids)
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
        return Unfinished(list_call, f"{error.message} {error.next_step}", newest)
    return _Swept(manifest, account_types, newest)


def land_swept(
    settings: Settings,
    warehouse: Warehouse,
    list_call: ListCall,
    swept: _Swept | Unfinished,
    progress: Progress,
    *,
    is_first: bool = True,
) -> Extracted | Unfinished:
    """Land the sweep, or the newest records of an unfinished one, and the details behind it.

    ``is_first``: this run landed nothing before, so stored moments may lie in the future.
    """
    with warehouse.open():
        if is_first:
            put_moments_right(warehouse)
        if swept.newest is not None and swept.newest.objection:
            _contradict_sort(warehouse, list_call, swept.newest)
        if isinstance(swept, Unfinished):
            if swept.newest is not None and swept.newest.folder is not None:
                _land_newest(warehouse, list_call, swept.newest.folder)
            enrichment.land_details(settings, warehouse, list_call)
            return swept
        progress(f"land {list_call.name}", 0, None)
        if swept.account_types is not None:
            services.update_account_types(warehouse, swept.account_types)
        landed = land_list(settings, warehouse, list_call, swept.manifest)
        records = sum(entity.read for entity in landed.values())
        progress(f"land {list_call.name}", records, records)
        details_landed = enrichment.land_details(settings, warehouse, list_call)
    prune(settings.landing_folder / list_call.name)
    prune_newest(settings.landing_folder, list_call)
    return Extracted(swept.manifest, landed, details_landed)


def _land_newest(warehouse: Warehouse, list_call: ListCall, folder: Path) -> None:
    """Land the newest records of a list. It is no sweep: nothing is noted about the list, and nothing is gone.

    Records that cannot land wait for the sweep, which names them and sets them aside.
    """
    landed_at = now()
    try:
        with warehouse.transaction() as connection:
            for entity in ENTITIES:
                if entity.list_call == list_call:
                    how = landing.Sweep(folder, proves_absence=False, is_full=False)
                    if landing.land_sweep(connection, entity, how, landed_at).anything_changed:
                        bump_version(connection, f"bms.{entity.name}", landed_at)
    except (LandingError, duckdb.InvalidInputException) as error:
        _log.warning("The newest %s wait for the whole list: %s", list_call.name, error)


def _contradict_sort(warehouse: Warehouse, list_call: ListCall, newest: Newest) -> None:
    """Note that BMS does not sort backwards, as it was seen to do, and say so."""
    fact = facts.Fact(facts.SORT, facts.ONLY_RISING, f"asked for the newest {list_call.name}", now())
    with warehouse.transaction() as connection:
        facts.add_facts(connection, [fact])
    _log.warning(
        "BMS was asked for the newest %s first, and %s. That answer was dropped; they are not asked for again until"
        " `bms-pipeline doctor` sees it sort.",
        list_call.name,
        newest.objection,
    )


CALLS_OF_CLIENT = 7
"""Calls for one client of up to 100 contacts and 100 assets: the account, and three for each list to prove its end."""


@dataclass(frozen=True)
class ClientSwept:
    """The answers of BMS about one client alone: a sweep of each list, in the order of landing."""

    client: int
    sweeps: tuple[tuple[ListCall, Manifest], ...]


def sweep_client(
    settings: Settings, bms: BmsClient, client: int, list_calls: Sequence[ListCall], tenant: str, progress: Progress
) -> ClientSwept:
    """Read the records of one client (a BMS account id), with the warehouse closed.

    All its lists are read before any of them lands: a list that cannot be read stores nothing of the client. Raises
    ``FilterIgnored`` when BMS sends records of other clients, ``ClientNotFound`` when it has no such account.
    """
    sweeps: list[tuple[ListCall, Manifest]] = []
    for list_call in list_calls:
        stage = f"extract {list_call.name} of client {client}"
        progress(stage, 0, None)
        try:
            manifest = sweep(
                ClientPages(bms, client),
                list_call,
                settings.landing_folder,
                connections=settings.bms_connections,
                tenant=tenant,
                on_progress=lambda done, total, stage=stage: progress(stage, done, total),  # type: ignore[misc]
            )
        except RequestRefused as error:
            if list_call.of_client is not OfClient.BY_ID or type(error) is not RequestRefused:
                raise
            raise ClientNotFound(
                f"BMS shows no account {client}: {error.message}",
                "Nothing was concluded from that. Check the id in BMS (the number in the account's address), and"
                " whether the API user may see it. Whether it is gone shows a sync without --client.",
            ) from None
        sweeps.append((list_call, manifest))
    return ClientSwept(client, tuple(sweeps))


def put_moments_right(warehouse: Warehouse) -> None:
    """Correct stored moments in the future, before the first landing of a run compares anything with them."""
    at = now()
    with warehouse.open() as connection:
        is_ahead = clock.is_any_ahead(connection, at)
    if is_ahead:
        with warehouse.transaction() as connection:
            clock.put_right(connection, at)


def land_client(
    settings: Settings, warehouse: Warehouse, swept: ClientSwept, progress: Progress, *, is_first: bool = True
) -> None:
    """Land the sweeps of one client, and the details of its assets read since the last sweep.

    ``is_first``: see ``land_swept``.
    """
    with warehouse.open():
        if is_first:
            put_moments_right(warehouse)
        for list_call, manifest in swept.sweeps:
            landed = land_list(settings, warehouse, list_call, manifest)
            enrichment.land_details(settings, warehouse, list_call)
            records = sum(entity.read for entity in landed.values())
            progress(f"land {list_call.name} of client {swept.client}", records, records)
    for list_call, _ in swept.sweeps:
        prune(sweeps_folder(settings.landing_folder, list_call, swept.client), keep=1)


def client_lists(entities: Sequence[Entity]) -> list[ListCall]:
    """Return the lists to read for one client: those of ``entities`` that tell whose their records are."""
    return [list_call for list_call in list_calls(entities) if list_call.of_client is not None]


def planned_calls(warehouse: Warehouse, client: BmsClient, list_call: ListCall, *, full: bool = False) -> CallsPlanned:
    """Estimate the calls ``extract`` is about to need, and count those left; BMS is not called."""
    with warehouse.open() as connection:
        mode = "full" if full or _watermark(warehouse, list_call) is None else "incremental"
        row = connection.execute(
            "SELECT arg_max(calls_made, landed_at) FROM sync.sweeps WHERE list_call = ? AND mode = ?",
            [list_call.name, mode],
        ).fetchone()
    return CallsPlanned(row[0] if row else None, client.budget.left(f"GET {list_call.path}"))


def land_list(
    settings: Settings, warehouse: Warehouse, list_call: ListCall, manifest: Manifest
) -> dict[EntityName, landing.Landed]:
    """Land a finished sweep: all entities of the list, or none of them.

    A record refused by the database (a key twice in one object) is set aside and named; the others land.
    """
    folder = sweeps_folder(settings.landing_folder, list_call, manifest.client) / manifest.sweep
    # They landed while the sweep was under way, on pages that it may have read before.
    newer = ids_since(settings.landing_folder, list_call, manifest.started) if manifest.mode == "full" else []
    try:
        return _land(warehouse, list_call, manifest, folder, newer)
    except landing.SpelledOtherwise:
        respell(folder, declared_keys(list_call))
    except duckdb.InvalidInputException:
        manifest.quarantined += quarantine(folder)
    return _land(warehouse, list_call, manifest, folder, newer)


def _land(
    warehouse: Warehouse, list_call: ListCall, manifest: Manifest, folder: Path, newer: Sequence[int]
) -> dict[EntityName, landing.Landed]:
    landed_at = now()
    entities = [entity for entity in ENTITIES if entity.list_call == list_call]
    proves_absence = manifest.complete and manifest.mode != "incremental"
    set_aside = [record.id for record in manifest.quarantined if record.id is not None]
    with warehouse.transaction() as connection:
        note_scope_ids(connection, landed_at)
        present = (*set_aside, *newer)
        how = landing.Sweep(folder, proves_absence, manifest.mode == "full", present, manifest.client)
        landed = landing.land_once(connection, entities, how, landed_at)
        was_complete, clients_read, wholly_read = connection.execute(
            "SELECT arg_max(complete, landed_at) FILTER (client IS NOT DISTINCT FROM $client), count(client),"
            " count(*) - count(client) FROM sync.sweeps WHERE list_call = $name",
            {"name": list_call.name, "client": manifest.client},
        ).fetchone() or (None, 0, 0)
        # A plan may do less by itself while one of its lists is incomplete, or was read for some clients alone.
        is_first_whole = manifest.client is None and clients_read and not wholly_read
        if was_complete not in (None, manifest.complete) or is_first_whole:
            for name in landed:
                bump_version(connection, f"bms.{name}", landed_at)
        connection.execute(
            "INSERT INTO sync.sweeps SELECT $list_call, $sweep, $mode, $complete, $reason, $records, $made, $necessary,"
            f" $seconds, (SELECT max(modified_on) FROM bms.{entities[0].name}"
            " WHERE try_cast(modified_on AS TIMESTAMP) <= $latest), $unknown, $set_aside, $now, $not_sent, $client,"
            " $added",
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
                "client": manifest.client,
                "added": _added_keys(connection, list_call),
            },
        )
    return landed


def _added_keys(connection: duckdb.DuckDBPyConnection, list_call: ListCall) -> list[str]:
    """Return the keys of the list that are read only because the mapping names them, as ``ENTITY.KEY``."""
    mapping = read_mapping(connection)
    return [
        f"{entity.name}.{field.key}"
        for entity in ENTITIES
        if entity.list_call == list_call
        for field in mapping.entity(entity).added_fields
        if field.key and not field.from_details
    ]


def list_calls(entities: Sequence[Entity]) -> list[ListCall]:
    """Return the lists to sweep for ``entities``: clients always, because the others live inside them."""
    return list(dict.fromkeys(entity.list_call for entity in with_clients(entities)))


def _watermark(warehouse: Warehouse, list_call: ListCall) -> str | None:
    """Return the time from which to ask for changes; None where a full sweep is due."""
    if not list_call.modified_since:
        return None
    with warehouse.open() as connection:
        row = connection.execute(
            "SELECT strftime(least(try_cast(arg_max(newest_modified_on, landed_at) AS TIMESTAMP), max(landed_at))"
            " - $overlap, '%Y-%m-%dT%H:%M:%S'),"
            " coalesce(max(landed_at) FILTER (mode = 'full' AND complete"
            " AND list_has_all(coalesce(added_keys, []), $added::VARCHAR[])) > $due, false)"
            # The true time of a sweep stamped in the future is unknown.
            " FROM sync.sweeps WHERE list_call = $name AND client IS NULL AND landed_at <= $now",
            {
                "overlap": WATERMARK_OVERLAP,
                "due": now() - FULL_SWEEP_EVERY,
                "name": list_call.name,
                "now": now(),
                "added": _added_keys(connection, list_call),
            },
        ).fetchone()
    return str(row[0]) if row and row[0] and row[1] else None
