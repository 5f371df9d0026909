"""What is known, for people and scripts: status, one record's story. What the plan holds: ``preview``.

Read-only; plain dictionaries that the command line prints as tables or JSON.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline import details
from bms_pipeline.bms.budget import Budget
from bms_pipeline.entities import ENTITIES, Entity, EntityName, chosen
from bms_pipeline.errors import DecisionsMissing, PipelineError, PlanError
from bms_pipeline.files import made_whole
from bms_pipeline.load import hand_over, journal
from bms_pipeline.published import read_published
from bms_pipeline.reconcile import duplicates, standings
from bms_pipeline.reconcile.plan import OUTCOMES, Plan, current_plan
from bms_pipeline.reconcile.sync_settings import read_sync_settings, shown
from bms_pipeline.settings import Settings
from bms_pipeline.warehouse import backups, clock, decision_log, sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows, now

COUNTS = ("read", *OUTCOMES)

_LAST_SWEEPS = """
FROM sync.sweeps QUALIFY row_number() OVER (PARTITION BY list_call ORDER BY landed_at DESC) = 1 ORDER BY list_call
"""

_ORPHANS = "FROM ({orphans}) ORDER BY missing_since, entity, bms_id"

IN_THE_CONSOLE = " in the review console"
"""How a run ends its name that is one decision of somebody."""


def status(settings: Settings, warehouse: Warehouse) -> dict[str, Any]:
    """Where the sync stands, in the shape that DESIGN.md fixes, plus some counts.

    Those are for each entity ``pending``, ``orphaned`` and ``oldest_orphan_days`` (None without orphans); for the plan
    ``held_back``: updates that wait for a finish, because most of a client would change at once, or because BMS shows
    another name under its id; ``unproved``: new matches and creates that wait for one, because their list was not read
    to a provable end; and ``undoes``: the plan whose load it takes back.
    The counts are the outcomes of the last sync: of the newest plan of everything, whether it was loaded or not. What
    was read is the sum of the others. ``standings`` is how every record stands now (``reconcile.standings``), whatever
    was planned or taken back since. ``warnings`` are
    sentences about the last sweeps: what was not proved, not declared or not readable. ``details``: see
    ``details.state``. ``hand_overs``: how many are ``waiting`` and ``overdue``, and the ``folder`` of their files.
    ``unknown``: writes whose answer was lost, each with entity, operation, writes, left_at and settles_at (UTC): when
    it may be sent again if Passportal does not show it by then. ``duplicates``: records whose BMS id several documents
    carry. ``no_place``: for each field that a template in Passportal lacks, how many values of BMS are not written:
    entity, template, field, records.
    """
    with warehouse.open() as connection:
        counts: dict[EntityName, dict[str, int | None]] = {each.name: dict.fromkeys(COUNTS, 0) for each in ENTITIES}
        columns = ", ".join(f"r.{each}" for each in COUNTS)
        rows = connection.execute(sql.read("last_results").format(counts=columns)).fetchall()
        for entity, *numbers in rows:
            counts[entity] = dict(zip(COUNTS, numbers, strict=True))
        for entity in ENTITIES:
            counts[entity.name] |= _orphaned(connection, entity)
        sync_settings = read_sync_settings(connection)
        finished = sync_settings.initial_sync_finished
        counted = standings.counts(connection)
        plan = _pending_plan(connection)
        handed_over = hand_over.waiting(connection, ENTITIES, now())
        unknown = [_unknown(intent, settings) for intent in journal.open_intents(connection)]
        twice = duplicates.count(connection)
        no_place = named_rows(connection, sql.read("no_place"))
        warnings = [warning for row in named_rows(connection, _LAST_SWEEPS, []) for warning in _warnings(settings, row)]
        warnings += [*_merged_clients(connection), *clock.warnings(connection, ENTITIES, now())]
        warnings += _missing(connection, settings)
    rebuilding_since = sync_settings.rebuilt_at if sync_settings.is_rebuilding else None
    if rebuilding_since:
        warnings.append(
            f"The database was started over at {rebuilding_since} UTC. What was excluded is not known: nothing is"
            " created until a person has finished a plan by its hash."
        )
    copies = _copies(settings)
    if copies["problem"]:
        warnings.append(f"No copy of people's decisions could be made after the last run: {copies['problem']}")
    with closing(Budget.of(settings)) as budget:
        calls, asset_details = budget.usage(), details.state(settings, warehouse, budget)
    return {
        "initial_sync_finished": finished,
        "entities": counts,
        "standings": counted,
        "plan": plan,
        "budget": calls,
        "details": asset_details,
        "hand_overs": _hand_overs(settings, handed_over),
        "unknown": unknown,
        "duplicates": twice,
        "rebuilding_since": rebuilding_since,
        "backups": copies,
        "no_place": no_place,
        "warnings": warnings,
    }


def _missing(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """What to say where the database does not hold what people decided last."""
    try:
        decision_log.check(connection, settings.warehouse_file)
    except DecisionsMissing as error:
        return [f"{error.message} {error.next_step}"]
    return []


def _copies(settings: Settings) -> dict[str, Any]:
    """The newest copy of the database, without reading it, and why the last run could make none."""
    newest = backups.last_written(backups.folder_of(settings.warehouse_file))
    problem = ""
    with contextlib.suppress(PipelineError):
        published = read_published(settings.published_file)
        problem = published.backup_problem if published else ""
    return {"newest": newest and newest[0], "made_at": newest and str(newest[1]), "problem": problem}


def explain(warehouse: Warehouse, entity_name: EntityName, bms_id: int) -> dict[str, Any]:
    """One record's story, in order: read and normalised, decided by rules and by people, planned, done.

    ``standing`` comes first: how it stands now, why, what it waits for and the next step (``standings.Story``).
    ``candidates`` bear its name; ``suggestions`` are ranked, for a record that waits for a decision. Raises
    ``PipelineError`` when BMS never listed the record.
    """
    (entity,) = chosen([entity_name])
    with warehouse.open() as connection:
        record = _one(connection, f"SELECT * FROM bms.{entity_name} WHERE bms_id = ?", [bms_id])
        if record is None:
            raise PipelineError(
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
        stands = standings.story(connection, entity, bms_id)
        waits = stands is not None and stands.standing in standings.WAITS_FOR_PERSON
        return {
            "entity": entity_name,
            "bms_id": bms_id,
            "standing": asdict(stands) if stands else None,
            "in_bms": record,
            "decided": reconciled,
            "decisions": named_rows(
                connection,
                "SELECT decided_at, decided_by, verb, was, became, passportal_id, why FROM sync.decisions"
                " WHERE entity = ? AND bms_id = ? ORDER BY decided_at, batch",
                found,
            ),
            "match": match,
            "in_passportal": _one(
                connection, f"SELECT * FROM passportal.{entity_name} WHERE passportal_id = ?", [passportal_id]
            ),
            "plan": _one(
                connection,
                "SELECT * EXCLUDE (entity, bms_id) FROM sync.operations WHERE entity = ? AND bms_id = ?",
                found,
            ),
            "suggestions": _suggestions(connection, entity, bms_id) if waits else [],
            "candidates": named_rows(connection, sql.read("namesakes").format(entity=entity_name), {"bms_id": bms_id}),
            "history": named_rows(
                connection,
                "SELECT * EXCLUDE (entity, bms_id) FROM sync.journal WHERE entity = $entity AND bms_id = $bms_id"
                " ORDER BY intent_at",
                {"entity": entity_name, "bms_id": bms_id},
            ),
        }


def _suggestions(connection: duckdb.DuckDBPyConnection, entity: Entity, bms_id: int) -> list[dict[str, Any]]:
    # Only here: what it imports takes a second to load.
    from bms_pipeline.reconcile.suggestions import suggest

    return [
        {
            "passportal_id": each.passportal_id,
            "name": each.name,
            "score": round(each.score, 3),
            "evidence": ", ".join(f"{one.field} {one.agreement}" for one in each.evidence),
        }
        for each in suggest(connection, entity, [bms_id]).get(bms_id, [])
    ]


def decisions(
    warehouse: Warehouse, entity: EntityName | None = None, bms_id: int | None = None, last: int = 50
) -> list[dict[str, Any]]:
    """The ledger of decisions, newest first: who, when, which verb, from what to what, why."""
    with warehouse.open() as connection:
        return named_rows(
            connection,
            "FROM sync.decisions WHERE coalesce(entity = $entity, $entity IS NULL)"
            " AND coalesce(bms_id = $bms_id, $bms_id IS NULL) ORDER BY decided_at DESC, batch DESC, entity, bms_id"
            " LIMIT $last",
            {"entity": entity, "bms_id": bms_id, "last": last},
        )


def sync_settings(warehouse: Warehouse) -> dict[str, Any]:
    """Every sync setting under the name by which a person changes it."""
    with warehouse.open() as connection:
        return shown(read_sync_settings(connection))


def settings_history(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Who changed which setting when, newest first; ``before`` and ``after`` are JSON."""
    with warehouse.open() as connection:
        return named_rows(connection, "FROM sync.settings_history ORDER BY changed_at DESC, name", [])


def runs(warehouse: Warehouse, last: int = 20) -> list[dict[str, Any]]:
    """The runs that held the home folder, newest first, without people's single decisions in the review console.

    Each has what (a command or a Dagster run), started_at, ended_at (UTC; None while it is at work, or was killed),
    is_last (no run began after it), and failed_because, None where it did what it should.
    """
    with warehouse.open() as connection:
        return named_rows(
            connection,
            "SELECT what, started_at, ended_at, failed_because, epoch = (SELECT max(epoch) FROM sync.runs) AS is_last"
            " FROM sync.runs WHERE NOT ends_with(what, $console) ORDER BY epoch DESC LIMIT $last",
            {"last": last, "console": IN_THE_CONSOLE},
        )


def loads(warehouse: Warehouse, last: int = 20) -> list[dict[str, Any]]:
    """The plans that loaded anything, newest first: number, hash, when, by whom, and what they did."""
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


def orphans(warehouse: Warehouse, entities: Sequence[Entity] = ENTITIES) -> list[dict[str, Any]]:
    """What is matched and gone from BMS, as a complete sweep proved, longest gone first; nothing of it is ever deleted.

    Each has entity, bms_id, name, client, passportal_id, missing_since (UTC) and days, the whole days since then.
    """
    with warehouse.open() as connection:
        return named_rows(connection, _ORPHANS.format(orphans=_orphans_sql(entities)), {"now": now()})


def write_orphans(warehouse: Warehouse, file: Path, entities: Sequence[Entity] = ENTITIES) -> int:
    """Write ``orphans`` as a spreadsheet into ``file``; the rows written.

    Raises ``PipelineError`` where ``file`` cannot be written.
    """
    texts = ", ".join(f"{sql.guarded(each)} AS {each}" for each in ("name", "client", "passportal_id"))
    found = _ORPHANS.format(orphans=_orphans_sql(entities))
    # The mark by which spreadsheets know UTF-8: DuckDB writes none by itself.
    query = f'SELECT * REPLACE ({texts}) RENAME (entity AS "\N{BYTE ORDER MARK}entity") FROM ({found})'
    with made_whole(file) as unfinished, warehouse.open() as connection:
        row = connection.execute(
            f"COPY ({query}) TO {sql.quoted(str(unfinished))} (FORMAT csv, HEADER true, USE_TMP_FILE false)",
            {"now": now()},
        ).fetchone()
    return int(row[0]) if row else 0


def undo(warehouse: Warehouse, plan: Plan) -> dict[str, Any]:
    """What a plan that takes back a load does, and what it leaves alone: created records, changed fields, gone ones."""
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


def hand_overs(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Every record that was handed over in a file, and how it stands; see ``load.hand_over.waiting``."""
    with warehouse.open() as connection:
        return hand_over.waiting(connection, ENTITIES, now())


def duplicate_records(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The records of Passportal that share a BMS id; see ``reconcile.duplicates.find``."""
    with warehouse.open() as connection:
        return duplicates.find(connection)


def _hand_overs(settings: Settings, handed_over: Sequence[dict[str, Any]]) -> dict[str, Any]:
    waiting = [each for each in handed_over if each["state"] in ("handed over", "listed")]
    overdue = sum(each["overdue"] for each in waiting)
    return {"waiting": len(waiting), "overdue": overdue, "folder": str(settings.import_folder)}


def _unknown(intent: journal.Open, settings: Settings) -> dict[str, Any]:
    settles_at = journal.settles_at([intent], settings.unknown_seconds)
    return {**asdict(intent), "settles_at": settles_at}


def _warnings(settings: Settings, sweep: dict[str, Any]) -> Iterator[str]:
    """What a person should know about a sweep."""
    name, folder = sweep["list_call"], settings.landing_folder / sweep["list_call"] / sweep["sweep"]
    if not sweep["complete"]:
        # A sweep that an earlier version landed, or that a person noted, may have another reason.
        from bms_pipeline.bms.manifest import Objection

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
    """One sentence for each two accounts of BMS that were probably merged."""
    found = " UNION ALL ".join(
        sql.read("merged_clients").format(entity=each.name) for each in ENTITIES if each.has_client
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
    """How many matched records are gone from BMS, and for how many days the first of them."""
    (row,) = named_rows(
        connection,
        f"SELECT count(*) AS orphaned, max(days) AS oldest_orphan_days FROM ({_orphans_sql([entity])})",
        {"now": now()},
    )
    return row


def _orphans_sql(entities: Sequence[Entity]) -> str:
    """SQL for the orphans of ``entities``, as of ``$now``."""
    return " UNION ALL ".join(
        sql.read("orphans").format(entity=each.name, has_client=str(each.has_client).lower()) for each in entities
    )


def _pending_plan(connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
    try:
        plan = current_plan(connection)
    except PlanError:
        return None
    if plan.loaded or not plan.operations:
        return None
    (left,) = connection.execute("SELECT count(*) FROM sync.outcomes WHERE outcome = 'pending'").fetchone() or (0,)
    if not left:
        return None
    held_back, unproved = (0, 0) if plan.approved else (plan.held_back, plan.unproved)
    return {
        "hash": plan.hash,
        "operations": left,
        "held_back": held_back,
        "unproved": unproved,
        "stale": plan.stale,
        "undoes": plan.undoes,
    }


def _one(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[Any]) -> dict[str, Any] | None:
    rows = named_rows(connection, query, parameters)
    return rows[0] if rows else None
