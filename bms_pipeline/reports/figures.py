"""Reports for people and scripts: the status, and the story of one record. The plan's content is in ``preview``.

Read-only; the command line prints them as tables, or as JSON in the form of ``read_models``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.bms.budget import Budget, Usage
from bms_pipeline.core.entities import BY_NAME, CLIENTS, ENTITIES, Entity, EntityName, chosen
from bms_pipeline.core.errors import DecisionsMissing, PipelineError, PlanError, RecordNotFound
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import RunKind
from bms_pipeline.load import import_files, journal
from bms_pipeline.plan import standings
from bms_pipeline.plan.breakers import vanished
from bms_pipeline.plan.operations import OUTCOMES, Plan, read_plan
from bms_pipeline.reconcile import duplicates
from bms_pipeline.reconcile.scope_ids import scope_warnings
from bms_pipeline.reconcile.sync_settings import read_sync_settings, shown_setting
from bms_pipeline.reports import links
from bms_pipeline.reports.csv_file import write_report
from bms_pipeline.reports.read_models import (
    BackupState,
    DecisionTaken,
    LinkedAccount,
    Match,
    Namesake,
    NoPlace,
    PastRun,
    PendingImports,
    PendingPlan,
    PlannedOperation,
    Reconciled,
    RecordStory,
    RunWrites,
    Status,
    SuggestedMatch,
    UnknownWrites,
    WriteDone,
)
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import enrichment
from bms_pipeline.sync.state_file import read_state
from bms_pipeline.warehouse import backups, clock, decision_log, landing, sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows, now, open_warehouse, transaction

COUNTS = ("read", *OUTCOMES)

_LAST_SWEEPS = """
FROM sync.sweeps WHERE client IS NULL
QUALIFY row_number() OVER (PARTITION BY list_call ORDER BY landed_at DESC) = 1 ORDER BY list_call
"""

WRITES = ", ".join(
    f"count(*) FILTER ({condition}) AS {name}"
    for name, condition in {
        "created": "j.outcome = 'done' AND j.operation = 'create'",
        "matched": "j.outcome = 'done' AND j.operation = 'adopt'",
        "updated": "j.outcome = 'done' AND j.operation = 'update'",
        "refused": "j.outcome = 'refused'",
        "handed_over": "j.outcome = 'handed_over'",
        "unknown": "j.outcome IS NULL AND j.intent_at IS NOT NULL",
    }.items()
)
"""SQL over ``sync.journal j``: the counts of ``RunWrites``."""
_FILLED = ", ".join(f"coalesce({count.name}, 0) AS {count.name}" for count in fields(RunWrites))

_ORPHANS = "FROM ({orphans}) ORDER BY missing_since, entity, bms_id"


def status(settings: Settings, warehouse: Warehouse) -> Status:
    """Return the state of the sync, in the shape fixed by DESIGN.md, plus some counts.

    - ``tenant``: the name of this home's tenant; empty where it has none.
    - For each entity: ``pending``, ``orphaned`` and ``oldest_orphan_days`` (None without orphans). The counts are the
      outcomes of the last sync: of the newest plan of everything, loaded or not. ``read`` is the sum of the others.
    - For the plan: ``held_back``, updates waiting for a finish, because most of a client would change at once, or
      because BMS shows another name under its id. ``unproved``: new matches and creates waiting for a finish, because
      their list was not read to a provable end. ``undoes``: the plan whose load it takes back.
    - ``standings``: the state of every record now (``reconcile.standings``), independent of plans and undone loads.
    - ``warnings``: sentences about unproved, undeclared or unreadable parts of the last sweeps.
    - ``details``: see ``enrichment.details_left``.
    - ``pending_imports``: the numbers ``waiting`` and ``overdue``, and the ``folder`` of their files.
    - ``unknown``: writes whose answer was lost, with entity, operation, writes, left_at and settles_at (UTC). From
      settles_at on a write may be sent again, if Passportal does not show it by then.
    - ``duplicates``: records whose BMS id is in several documents.
    - ``no_place``: the number of BMS values not written, for each field missing from a template in Passportal: entity,
      template, field, records.
    """
    with warehouse.open() as connection, transaction(connection):  # all as of one moment, and asked once in a lake
        counts: dict[EntityName, dict[str, int | None]] = {entity.name: dict.fromkeys(COUNTS, 0) for entity in ENTITIES}
        columns = ", ".join(f"r.{count}" for count in COUNTS)
        rows = connection.execute(sql.read("reports/last_results").format(counts=columns)).fetchall()
        for entity, *numbers in rows:
            counts[entity] = dict(zip(COUNTS, numbers, strict=True))
        for entity in ENTITIES:
            counts[entity.name] |= _orphaned(connection, entity)
        sync_settings = read_sync_settings(connection)
        finished = sync_settings.initial_sync_finished
        counted = standings.counts(connection)
        plan = _pending_plan(connection)
        handed_over = import_files.list_pending_imports(connection, ENTITIES, now())
        unknown = [_unknown(intent, settings) for intent in journal.open_intents(connection)]
        twice = duplicates.count_duplicates(connection)
        no_place = values_without_place(connection)
        last_sweeps = named_rows(connection, _LAST_SWEEPS, [])
        warnings = [warning for row in last_sweeps for warning in _warnings(settings, row)]
        warnings += [
            *([] if last_sweeps else _only_clients_read(connection)),
            *_merged_clients(connection),
            *scope_warnings(connection, sync_settings),
            *(f"{hidden.sentence}." for hidden in vanished(connection, ENTITIES, sync_settings)),
            *clock.warnings(connection, ENTITIES, now()),
        ]
        warnings += _missing(connection, settings) if warehouse.has_second_copies else []
    rebuilding_since = sync_settings.rebuilt_at if sync_settings.is_rebuilding else None
    if rebuilding_since:
        warnings.append(
            f"The database was started over at {rebuilding_since} UTC. What was excluded is not known: nothing is"
            " created until a person has finished a plan by its hash."
        )
    copies = _copies(settings)
    if copies.problem:
        warnings.append(f"No copy of people's decisions could be made after the last run: {copies.problem}")
    with closing(Budget.of(settings)) as budget:
        calls, asset_details = budget.usage(), enrichment.details_left(settings, warehouse, budget)
    return Status(
        initial_sync_finished=finished,
        entities=counts,
        standings=counted,
        plan=plan,
        budget=calls,
        details=asset_details,
        hand_overs=_pending_imports(settings, handed_over),
        unknown=unknown,
        duplicates=twice,
        rebuilding_since=rebuilding_since,
        backups=copies,
        no_place=no_place,
        warnings=warnings,
        tenant=settings.bms_pipeline_name,
    )


def values_without_place(connection: duckdb.DuckDBPyConnection) -> list[NoPlace]:
    """Return the values that the current plan does not write, because a template has no field for them."""
    mapping = read_sync_settings(connection).mapping
    rows = named_rows(connection, sql.read("reports/no_place"))
    return [NoPlace(**row, label=mapping.shown_labels(BY_NAME[row["entity"]])[row["field"]]) for row in rows]


def calls_this_hour(settings: Settings) -> dict[str, Usage]:
    """Return endpoint → the calls to it in the last hour, and those left."""
    with closing(Budget.of(settings)) as budget:
        return budget.usage()


def is_anything_read(settings: Settings) -> bool:
    """Return whether this home folder holds anything from BMS. A damaged database counts as something."""
    warehouse = open_warehouse(settings)
    if not warehouse.exists():
        return False
    with warehouse.open() as connection:
        return any(landing.was_read(connection, entity) for entity in ENTITIES)


def _missing(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """Return a warning where the database lacks the last decisions of people."""
    try:
        decision_log.check_log(connection, settings.warehouse_file)
    except DecisionsMissing as error:
        return [f"{error.message} {error.next_step}"]
    return []


def _copies(settings: Settings) -> BackupState:
    """Return the newest copy of the database, without reading it, and why the last run could make none."""
    newest = backups.last_written(backups.backups_folder(settings.warehouse_file))
    problem = ""
    with contextlib.suppress(PipelineError):
        published = read_state(open_state(settings))
        problem = published.backup_problem if published else ""
    name, made_at = newest if newest else (None, None)
    return BackupState(None if name is None else str(name), None if made_at is None else str(made_at), problem)


def explain(
    warehouse: Warehouse, entity_name: EntityName, bms_id: int, landing_folder: Path | None = None
) -> RecordStory:
    """Return one record's story, in order: read and normalised, decided by rules and by people, planned, done.

    ``standing`` comes first: its state now, the reason, the decision it waits for and the next step. ``candidates``
    have its name; ``suggestions`` are ranked, for a record waiting for a decision. Raises ``StageMissing`` where
    nothing was read, ``RecordNotFound`` when BMS never listed the record, and ``PipelineError`` when the last sweep set
    it aside: then ``landing_folder`` has the reason.
    """
    (entity,) = chosen([entity_name])
    with warehouse.open() as connection:
        mapping = read_sync_settings(connection).mapping
        record = _one(connection, f"SELECT * FROM {mapping.records_sql(entity)} WHERE bms_id = ?", [bms_id])
        if record is None:
            landing.check_read(connection, entity)
            _check_set_aside(connection, entity, bms_id, landing_folder)
            raise RecordNotFound(
                f"BMS has listed no {entity.singular} with id {bms_id} so far.",
                f"Run `bms-pipeline sync --entity {entity_name}`, or check the id in BMS.",
            )
        found = [entity_name, bms_id]
        match = _one(
            connection, "SELECT * EXCLUDE (entity, bms_id) FROM sync.matches WHERE entity = ? AND bms_id = ?", found
        )
        passportal_id = match["passportal_id"] if match else None
        reconciled = _one(
            connection, f"SELECT * EXCLUDE (bms_id) FROM sync.reconciled_{entity_name} WHERE bms_id = ?", [bms_id]
        )
        planned = _one(
            connection, "SELECT * EXCLUDE (entity, bms_id) FROM sync.operations WHERE entity = ? AND bms_id = ?", found
        )
        decided = named_rows(
            connection,
            "SELECT decided_at, decided_by, verb, was, became, passportal_id, why FROM sync.decisions"
            " WHERE entity = ? AND bms_id = ? ORDER BY decided_at, batch",
            found,
        )
        namesakes = named_rows(connection, sql.read("reports/namesakes").format(entity=entity_name), {"bms_id": bms_id})
        written = named_rows(
            connection,
            "SELECT * EXCLUDE (entity, bms_id, document) FROM sync.journal WHERE entity = ? AND bms_id = ?"
            " ORDER BY intent_at",
            found,
        )
        account_id = bms_id if entity_name == "clients" else record["account_id"]
        accounts = named_rows(connection, sql.read("reports/linked_accounts"), {"account_id": account_id})
        stands = standings.story(connection, entity, bms_id)
        waits = stands is not None and stands.standing in standings.WAITS_FOR_PERSON
        in_passportal = _one(
            connection, f"SELECT * FROM passportal.{entity_name} WHERE passportal_id = ?", [passportal_id]
        )
        links.show_titles(connection, [*written, *([planned] if planned else [])], entity_name)
        template_id = (in_passportal or planned or {}).get("template_id") or ""
        return RecordStory(
            entity=entity_name,
            bms_id=bms_id,
            standing=stands,
            in_bms=record,
            decided=Reconciled(**reconciled) if reconciled else None,
            decisions=[DecisionTaken(**row) for row in decided],
            match=Match(**match) if match else None,
            in_passportal=in_passportal,
            plan=PlannedOperation(**planned) if planned else None,
            suggestions=_suggestions(connection, entity, bms_id) if waits else [],
            candidates=[Namesake(**row) for row in namesakes],
            history=[WriteDone(**row) for row in written],
            accounts=[LinkedAccount(**row) for row in accounts],
            labels=mapping.shown_labels(entity, template_id),
            titles=links.titles_in(connection, mapping, entity, [record, in_passportal or {}]),
        )


def _check_set_aside(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int, landing_folder: Path | None
) -> None:
    """Raise ``PipelineError`` where the last sweep could not store the record, with the reason."""
    from bms_pipeline.bms.sweep.manifest import read_manifest

    is_of_list = next(other for other in ENTITIES if other.list_call == entity.list_call) is entity
    row = connection.execute(
        "SELECT sweep FROM sync.sweeps WHERE list_call = ? AND set_aside > 0 ORDER BY landed_at DESC LIMIT 1",
        [entity.list_call.name],
    ).fetchone()
    if landing_folder is None or row is None or not is_of_list:
        return
    folder = landing_folder / entity.list_call.name / row[0]
    manifest = read_manifest(folder)
    why = next((record.why for record in manifest.quarantined if record.id == bms_id), None) if manifest else None
    if why is not None:
        raise PipelineError(
            f"BMS lists {entity.singular} {bms_id}, but the record could not be stored and was set aside: {why}.",
            f"Correct it in BMS. What BMS sent is in {folder / 'quarantine.ndjson'}.",
        )


def _suggestions(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> list[SuggestedMatch]:
    # Imported only here: its imports take a second to load.
    from bms_pipeline.reconcile.suggestions import suggest_partners

    return [
        SuggestedMatch(
            suggestion.passportal_id,
            suggestion.name,
            round(suggestion.score, 3),
            ", ".join(f"{clue.field} {clue.agreement}" for clue in suggestion.evidence),
        )
        for suggestion in suggest_partners(connection, entity, [bms_id]).get(bms_id, [])
    ]


def decisions(
    warehouse: Warehouse, entity: EntityName | None = None, bms_id: int | None = None, last: int = 50
) -> list[dict[str, Any]]:
    """Return the ledger of decisions, newest first: the person, time, verb, old and new state, and reason."""
    with warehouse.open() as connection:
        return named_rows(
            connection,
            "FROM sync.decisions WHERE coalesce(entity = $entity, $entity IS NULL)"
            " AND coalesce(bms_id = $bms_id, $bms_id IS NULL) ORDER BY decided_at DESC, batch DESC, entity, bms_id"
            " LIMIT $last",
            {"entity": entity, "bms_id": bms_id, "last": last},
        )


def sync_settings(warehouse: Warehouse) -> dict[str, Any]:
    """Return every sync setting under the name people change it by."""
    with warehouse.open() as connection:
        return shown_setting(read_sync_settings(connection))


def settings_history(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the changes of settings, newest first: person, time, setting; ``before`` and ``after`` are JSON."""
    with warehouse.open() as connection:
        return named_rows(connection, "FROM sync.settings_history ORDER BY changed_at DESC, name", [])


def runs(warehouse: Warehouse, last: int = 20) -> list[PastRun]:
    """Return the runs that held the home folder, newest first, without single decisions in the review console.

    ``label`` is a command or a Dagster run, ``run_id`` Dagster's id of it. Times are UTC; ``ended_at`` is None while it
    runs, or if it was killed. ``is_last``: no run began after it.
    """
    query = sql.read("reports/run_writes").format(counts=WRITES, filled=_FILLED)
    with warehouse.open() as connection:
        rows = named_rows(connection, query, {"last": last, "console": RunKind.CONSOLE.value})
    return [
        PastRun(
            label=row["label"],
            run_id=row["run_id"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            failed_because=row["failed_because"],
            is_last=row["is_last"],
            writes=writes_in(row),
        )
        for row in rows
    ]


def writes_between(warehouse: Warehouse, began: datetime, ended: datetime) -> RunWrites:
    """Return what was written to Passportal from ``began`` to ``ended`` (UTC)."""
    with warehouse.open() as connection:
        (row,) = named_rows(
            connection, f"SELECT {WRITES} FROM sync.journal j WHERE j.intent_at BETWEEN ? AND ?", [began, ended]
        )
    return writes_in(row)


def pending_plan(warehouse: Warehouse) -> PendingPlan | None:
    """Return the plan that waits for a load; None where nothing of it is left."""
    with warehouse.open() as connection:
        return _pending_plan(connection)


def writes_in(row: dict[str, Any]) -> RunWrites:
    """Return the counts of ``WRITES`` in a row."""
    return RunWrites(**{count.name: row[count.name] for count in fields(RunWrites)})


def loads(warehouse: Warehouse, last: int = 20) -> list[dict[str, Any]]:
    """Return the plans that loaded anything, newest first: number, hash, time, person, and their results."""
    with warehouse.open() as connection:
        return named_rows(
            connection,
            "SELECT p.plan_id, p.hash[:12] AS hash, p.loaded_at, p.approved_by,"
            " count(*) FILTER (j.operation = 'create') AS created, count(*) FILTER (j.operation = 'adopt') AS adopted,"
            " count(*) FILTER (j.operation = 'update') AS updated, p.undoes"
            " FROM sync.plans p JOIN sync.journal j ON j.plan_id = p.plan_id AND j.outcome = 'done'"
            " GROUP BY ALL ORDER BY p.plan_id DESC LIMIT $last",
            {"last": last},
        )


def refused_values(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return what Passportal refused and is not sent again: the record, its fields, since when, and the words."""
    with warehouse.open() as connection:
        return named_rows(connection, sql.read("reports/refused_values"))


def orphans(warehouse: Warehouse, entities: Sequence[Entity] = ENTITIES) -> list[dict[str, Any]]:
    """Return the matched records gone from BMS, as proved by a complete sweep, longest gone first.

    Nothing of them is ever deleted.

    Each has entity, bms_id, name, client, passportal_id, missing_since (UTC) and days, the whole days since then.
    """
    with warehouse.open() as connection:
        return named_rows(connection, _ORPHANS.format(orphans=_orphans_sql(entities)), {"now": now()})


def write_orphans(warehouse: Warehouse, file: Path, entities: Sequence[Entity] = ENTITIES) -> int:
    """Write ``orphans`` as a spreadsheet into ``file``; return the number of rows written.

    Raises ``PipelineError`` where ``file`` cannot be written.
    """
    found = _ORPHANS.format(orphans=_orphans_sql(entities))
    with warehouse.open() as connection:
        return write_report(connection, file, found, ("name", "client", "passportal_id"), {"now": now()})


def undo_preview(warehouse: Warehouse, plan: Plan) -> dict[str, Any]:
    """Return the operations of an undo plan, and what it leaves alone: created records, changed fields, gone ones."""
    with warehouse.open() as connection:
        (row,) = named_rows(
            connection,
            "SELECT count(*) FILTER (reason = 'created_record_stays') AS created,"
            " coalesce(sum(len(kept)), 0)::BIGINT AS kept,"
            " (SELECT count(*) FROM sync.journal j WHERE j.plan_id = $undone AND j.outcome = 'done' AND NOT EXISTS"
            "  (FROM sync.operations o WHERE o.entity = j.entity AND o.bms_id = j.bms_id)) AS gone"
            " FROM sync.operations",
            {"undone": plan.undoes},
        )
    return {"hash": plan.hash, "undoes": plan.undoes, "operations": plan.operations, **row}


def pending_imports(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return every record handed over in a file, and its state; see ``import_files.list_pending_imports``."""
    with warehouse.open() as connection:
        return import_files.list_pending_imports(connection, ENTITIES, now())


def duplicate_records(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Return the records of Passportal with a shared BMS id; see ``reconcile.duplicates.find``."""
    with warehouse.open() as connection:
        return duplicates.find(connection)


def _pending_imports(settings: Settings, handed_over: Sequence[dict[str, Any]]) -> PendingImports:
    waiting = [record for record in handed_over if record["state"] in ("handed over", "listed")]
    overdue = sum(record["overdue"] for record in waiting)
    return PendingImports(len(waiting), overdue, open_state(settings).import_files.place)


def _unknown(intent: journal.Open, settings: Settings) -> UnknownWrites:
    settles_at = journal.settles_at([intent], settings.unknown_seconds)
    return UnknownWrites(intent.entity, intent.operation, intent.writes, intent.left_at, settles_at)


def _only_clients_read(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield a warning where BMS was read for some clients alone so far."""
    if landing.only_clients_read(connection, CLIENTS):
        read = len(connection.execute("SELECT DISTINCT client FROM sync.sweeps").fetchall())
        yield (
            f"Of BMS only {read:,} {'client was' if read == 1 else 'clients were'} read so far, without the others."
            " `bms-pipeline preview` reads all."
        )


def _warnings(settings: Settings, sweep: dict[str, Any]) -> Iterator[str]:
    """Yield the warnings of a sweep."""
    name, folder = sweep["list_call"], settings.landing_folder / sweep["list_call"] / sweep["sweep"]
    if not sweep["complete"]:
        # A sweep landed by an earlier version, or noted by a person, may have another reason.
        from bms_pipeline.bms.sweep.manifest import Objection

        known = sweep["reason"] in set(Objection)
        why = f"{Objection(sweep['reason']).words} ({sweep['reason']})" if known else sweep["reason"]
        yield (
            f"{name}: not read to a provable end: {why}. Nothing counts as gone; new matches and creates wait for a"
            " finish until a sweep is complete."
        )
    if sweep["not_sent"]:
        yield f"{name}: BMS does not send {', '.join(sweep['not_sent'])}. What is stored of them stays as it is."
    if sweep["unknown_fields"]:
        yield f"{name}: BMS sends fields that are not declared: {', '.join(sweep['unknown_fields'])}. They are kept."
    if sweep["set_aside"]:
        yield f"{name}: {sweep['set_aside']} unreadable records were set aside in {folder / 'quarantine.ndjson'}."


def _merged_clients(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield one sentence for each two accounts of BMS that were probably merged."""
    found = " UNION ALL ".join(
        sql.read("reports/merged_clients").format(entity=entity.name) for entity in ENTITIES if entity.has_client
    )
    rows = named_rows(
        connection,
        "SELECT former_id, former, account_id, client,"
        " string_agg(format('{:,} {}', records, entity), ', ' ORDER BY entity) AS records"
        f" FROM ({found}) GROUP BY ALL ORDER BY former_id, account_id",
    )
    for row in rows:
        yield (
            f"BMS may have merged client {row['former_id']} {row['former']} into {row['account_id']} {row['client']}:"
            f" the first is gone, and {row['records']} of it came under the second. They wait for you:"
            " move them in Passportal, or create them in the second client."
        )


def _orphaned(connection: duckdb.DuckDBPyConnection, entity: Entity) -> dict[str, int | None]:
    """Count the matched records gone from BMS, and the days since the first of them went."""
    (row,) = named_rows(
        connection,
        f"SELECT count(*) AS orphaned, max(days) AS oldest_orphan_days FROM ({_orphans_sql([entity])})",
        {"now": now()},
    )
    return row


def _orphans_sql(entities: Sequence[Entity]) -> str:
    """Return SQL for the orphans of ``entities``, as of ``$now``."""
    return " UNION ALL ".join(
        sql.read("reports/orphans").format(entity=entity.name, has_client=str(entity.has_client).lower())
        for entity in entities
    )


def _pending_plan(connection: duckdb.DuckDBPyConnection) -> PendingPlan | None:
    try:
        plan = read_plan(connection)
    except PlanError:
        return None
    if plan.loaded or plan.discarded or not plan.operations:
        return None
    (left,) = connection.execute("SELECT count(*) FROM sync.outcomes WHERE outcome = 'pending'").fetchone() or (0,)
    if not left:
        return None
    held_back, unproved = (0, 0) if plan.approved else (plan.held_back, plan.unproved)
    return PendingPlan(plan.hash, left, held_back, unproved, plan.stale, plan.undoes)


def _one(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any]) -> dict[str, Any] | None:
    rows = named_rows(connection, query, parameters)
    return rows[0] if rows else None
