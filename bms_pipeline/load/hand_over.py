"""Hand over what the target cannot create: into a file that a person imports, each record once.

Passportal's API creates neither clients nor users [D], and an import never matches what is there: the same file twice
makes everything twice [D]. So a record is handed over once, and from then on waits until Passportal lists it; then
matching adopts it. A file is written by what ``sync.hand_overs`` holds, so one that a crash prevented is written by the
next run with the same rows, and one that was written is never written again: a person may have imported and deleted it.

Beside each file lies another one with the BMS ids. Where the database was lost, the two tell what was handed over.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.entities import Entity, EntityName
from bms_pipeline.errors import DecisionRefused, PipelineError, SettingsError
from bms_pipeline.files import made_whole
from bms_pipeline.reconcile.plan import Plan
from bms_pipeline.warehouse import schema, sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows
from bms_pipeline.warehouse.inputs import count_input

DEFAULT_HEADERS: dict[EntityName, tuple[str, ...]] = {
    "clients": ("Passportal ID", "Client Name", "Phone", "Email"),
    "users": ("Passportal ID (BLANK)", "Last Name", "First Name", "Email", "Phone"),
}
"""What a file has where the tenant's own headers are not given: seen in one tool's client code [C]."""

OVERDUE_DAYS = 7
"""A file that nobody imported for so long was forgotten, or its import failed."""

_HEADINGS = {"client name": "name", "name": "name", "email address": "email"}
"""Heading, in small letters → our column, where it is not the column's label."""

_PHONE_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]*")


@dataclass(frozen=True)
class HandedOver:
    """How many records went into which file; none where there was nothing to hand over."""

    records: int
    file: Path | None = None


def hand_over(
    warehouse: Warehouse, entity: Entity, plan: Plan, folder: Path, headers: Path | None, now: datetime
) -> HandedOver:
    """Put the plan's creates of ``entity`` that nobody has to approve any more into a new file in ``folder``.

    ``headers``: a file that the tenant downloaded, whose first line is taken. Raises ``SettingsError`` where it has no
    column for the name.
    """
    columns = read_headers(entity, headers)
    file = folder / f"{entity.name}-{now:%Y%m%dT%H%M%S}-plan{plan.plan_id}.csv"
    with warehouse.transaction() as connection:
        values = {"plan_id": plan.plan_id, "approved": plan.approved, "file": file.name, "now": now}
        query = sql.read("hand_over").format(
            entity=entity.name,
            record=", ".join(f"'{each}': o.after_{each}" for each in entity.columns),
            changes=schema.changes_sql(entity),
            waits=schema.WAITS_FOR_PERSON,
        )
        for statement in connection.extract_statements(query):
            connection.execute(statement, {each: values[each] for each in statement.named_parameters})
    write_files(warehouse, entity, folder, columns, now)
    with warehouse.open() as connection:
        row = connection.execute("SELECT count(*) FROM sync.hand_overs WHERE file = ?", [file.name]).fetchone()
    records = int(row[0]) if row else 0
    return HandedOver(records, file if records else None)


def write_files(
    warehouse: Warehouse, entity: Entity, folder: Path, columns: Mapping[str, str | None], now: datetime
) -> None:
    """Write the files of ``entity`` that are not there yet, whole or not at all; ``columns``: heading → our column."""
    with warehouse.open() as connection:
        waiting = named_rows(
            connection,
            "SELECT bms_id, file, record, handed_over_at FROM sync.hand_overs"
            " WHERE entity = ? AND written_at IS NULL ORDER BY file, name, bms_id",
            [entity.name],
        )
    for name in dict.fromkeys(each["file"] for each in waiting):
        rows = [each for each in waiting if each["file"] == name]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # First what tells whom it concerns: a file to import without that would be one of unknown records.
        with made_whole(_beside(folder / name)) as unfinished:
            unfinished.write_text(_told(entity, rows), encoding="utf-8")
        with made_whole(folder / name) as unfinished:
            _write_csv(unfinished, [json.loads(each["record"]) for each in rows], columns)
        with warehouse.transaction() as connection:
            connection.execute("UPDATE sync.hand_overs SET written_at = ? WHERE file = ?", [now, name])


def recover(connection: duckdb.DuckDBPyConnection, entity: Entity, folder: Path) -> int:
    """Take up what files in ``folder`` say was handed over and this database does not know; how many records."""
    known = {row[0] for row in connection.execute("SELECT DISTINCT file FROM sync.hand_overs").fetchall()}
    found = 0
    for told in sorted(folder.glob(f"{entity.name}-*.csv.json")):
        name = told.name.removesuffix(".json")
        if name in known:
            continue
        moment, records = _story(told)
        for record in records:
            connection.execute(
                "INSERT INTO sync.hand_overs BY NAME SELECT $entity AS entity, $bms_id AS bms_id, $name AS name,"
                " $record AS record, $file AS file, $moment AS handed_over_at,"
                # Where a crash came before the file itself, it is written now.
                " CASE WHEN $is_there THEN $moment END AS written_at",
                {
                    "entity": entity.name,
                    "bms_id": record["bms_id"],
                    "name": record["record"].get("name"),
                    "record": json.dumps(record["record"]),
                    "file": name,
                    "moment": moment,
                    "is_there": (folder / name).exists(),
                },
            )
            found += 1
    return found


def waiting(connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], now: datetime) -> list[dict[str, Any]]:
    """What was handed over and how it stands, oldest first.

    Columns: entity, bms_id, name, file, handed_over_at, state (``handed over``, ``listed``, ``adopted``, or what was
    decided otherwise meanwhile), overdue.
    """
    query = f"FROM ({states_sql(entities, '$now::TIMESTAMP')}) ORDER BY handed_over_at, entity, bms_id"
    return named_rows(connection, query, {"now": now})


def states_sql(entities: Sequence[Entity], now: str) -> str:
    """SQL for ``waiting``, with ``now`` as SQL for the moment."""
    states = " UNION ALL ".join(sql.read("hand_overs").format(entity=each.name) for each in entities)
    late = f"handed_over_at < {now} - INTERVAL {OVERDUE_DAYS} DAY"
    return f"SELECT *, state IN ('listed', 'handed over') AND {late} AS overdue FROM ({states})"


def forget(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Sequence[int], by: str, now: datetime
) -> None:
    """Have these records handed over anew by the next plan, because their file was lost before its import.

    Raises ``DecisionRefused`` for one that was not handed over, or that Passportal lists: it would be there twice.
    """
    states = {each["bms_id"]: each for each in waiting(connection, (entity,), now)}
    for bms_id in bms_ids:
        state = states[bms_id]["state"] if bms_id in states else "not handed over"
        if state != "handed over":
            raise DecisionRefused(
                f"{entity.singular} {bms_id} is {state}; nothing was changed.",
                "Only what was handed over and is not listed by Passportal yet can be handed over again"
                " (`bms-pipeline hand-overs`).",
            )
    connection.execute(
        "UPDATE sync.hand_overs SET forgotten_at = $now, forgotten_by = $by"
        " WHERE entity = $entity AND forgotten_at IS NULL AND bms_id IN (SELECT unnest($ids))",
        {"now": now, "by": by, "entity": entity.name, "ids": list(bms_ids)},
    )
    count_input(connection, "hand_overs", now)


def read_headers(entity: Entity, file: Path | None) -> dict[str, str | None]:
    """Heading → our column (None: left blank), as the tenant's own file has them, else as documented.

    Raises ``SettingsError`` where the file cannot be read or has no column for the name.
    """
    headings = DEFAULT_HEADERS.get(entity.name, ())
    setting = f"PASSPORTAL_IMPORT_HEADERS_{entity.name.upper()}"
    if file is not None:
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                headings = tuple(next(csv.reader(lines), ()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SettingsError(
                f"{setting} names {file}, which cannot be read as CSV: {error}.",
                "Download the file for imports again (Settings > Import / Export), as CSV in UTF-8.",
            ) from None
    ours = {label.lower(): column for column, label in entity.labels.items()} | _HEADINGS
    columns = {each: ours.get(each.strip().lower()) for each in headings}
    needed = [each for each in ("first_name", "last_name") if each in entity.columns]
    if "name" not in columns.values() and not (needed and set(needed) <= set(columns.values())):
        raise SettingsError(
            f"{file or entity.name} has no column for a {entity.singular}'s name: {', '.join(headings) or 'none'}.",
            f"Let {setting} name the file for {entity.name} that Passportal offers under Settings > Import / Export.",
        )
    return {each: column if column in entity.columns else None for each, column in columns.items()}


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _story(file: Path) -> tuple[datetime, list[dict[str, Any]]]:
    """When the records of a file were handed over, and which; raises ``PipelineError`` where that cannot be read."""
    try:
        story = json.loads(file.read_text(encoding="utf-8"))
        records = [{"bms_id": int(each["bms_id"]), "record": dict(each["record"])} for each in story["records"]]
        return datetime.fromisoformat(story["handed_over_at"]), records
    except (ValueError, KeyError, TypeError):
        raise PipelineError(
            f"{file} is damaged, and the database does not know which records were handed over with {file.stem}.",
            f"Put your own copy of it back. Without one: import {file.stem} into Passportal unless that was done, then"
            f" move {file.name} aside and run again.",
        ) from None


def _told(entity: Entity, rows: list[dict[str, Any]]) -> str:
    story = {
        "entity": entity.name,
        "handed_over_at": rows[0]["handed_over_at"].isoformat(),
        "records": [{"bms_id": each["bms_id"], "record": json.loads(each["record"])} for each in rows],
    }
    return json.dumps(story, ensure_ascii=False, indent=1)


def _write_csv(file: Path, records: list[dict[str, str | None]], columns: Mapping[str, str | None]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\r\n")
        rows.writerow(columns)
        for record in records:
            rows.writerow([_cell(record.get(column or "") or "") for column in columns.values()])


def _cell(text: str) -> str:
    """``text``, which no spreadsheet takes for a formula. A phone number may begin with its plus: it is imported so."""
    from bms_pipeline.spreadsheet.cells import guarded

    return text if _PHONE_NUMBER.fullmatch(text) else guarded(text)
