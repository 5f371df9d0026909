"""Export the records impossible to create in the target: into a file for a person to import, each record once.

Passportal's API creates neither clients nor users [D], and an import never matches existing records: importing the same
file twice makes everything twice [D]. So a record is handed over once, and then waits until Passportal lists it; then
matching adopts it. Files are written from the rows of ``sync.pending_imports``. If a crash prevented a file, the next
run writes it with the same rows. A written file is never written again: a person may have imported and deleted it.

Next to each file lies another one with the BMS ids. After a loss of the database, the two show which records were
handed over.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import Entity, EntityName
from bms_pipeline.core.errors import DecisionRefused, PipelineError, SettingsError
from bms_pipeline.core.mapping import DEFAULT
from bms_pipeline.core.mapping import Mapping as FieldMapping
from bms_pipeline.plan.operations import Plan
from bms_pipeline.state.protocol import StateFiles
from bms_pipeline.warehouse import schema, sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.stored_mapping import read_mapping

DEFAULT_HEADERS: dict[EntityName, tuple[str, ...]] = {
    "clients": ("Passportal ID", "Client Name", "Phone", "Email"),
    "users": ("Passportal ID (BLANK)", "Last Name", "First Name", "Email", "Phone"),
}
"""The headers of a file without the tenant's own ones: seen in one tool's client code [C]."""

OVERDUE_DAYS = 7
"""A file not imported after this time was forgotten, or its import failed."""

_HEADINGS = {"client name": "name", "name": "name", "email address": "email"}
"""Heading, in small letters → our column, where it is not the column's label."""

_IDS = ".json"
"""The ending of the file with the BMS ids, after the name of the file to import."""

_PHONE_NUMBER = re.compile(r"\+?[0-9][0-9 ().-]*")


@dataclass(frozen=True)
class ImportFile:
    """The number of records in a new file, and its place; none where there was nothing to hand over."""

    records: int
    file: str | None = None


def write_import_file(
    warehouse: Warehouse, entity: Entity, plan: Plan, files: StateFiles, headers: Path | None, now: datetime
) -> ImportFile:
    """Put the plan's creates of ``entity`` without need of approval into a new file of ``files``.

    ``headers``: a file downloaded by the tenant; its first line counts. Raises ``SettingsError`` where it has no
    column for the name.
    """
    with warehouse.open() as connection:
        mapping = read_mapping(connection)
    entity = mapping.entity(entity)
    columns = read_headers(entity, headers, mapping)
    name = f"{entity.name}-{now:%Y%m%dT%H%M%S}-plan{plan.plan_id}.csv"
    with warehouse.transaction() as connection:
        values = {"plan_id": plan.plan_id, "approved": plan.approved, "file": name, "now": now}
        query = sql.read("load/add_pending_imports").format(
            entity=entity.name,
            record="{" + ", ".join(f"'{column}': o.after_{column}" for column in entity.columns) + "}",
            changes=schema.changes_sql(entity),
            waits=schema.WAITS_FOR_PERSON,
        )
        for statement in connection.extract_statements(query):
            connection.execute(statement, {parameter: values[parameter] for parameter in statement.named_parameters})
    write_missing_files(warehouse, entity, files, columns, now)
    with warehouse.open() as connection:
        row = connection.execute("SELECT count(*) FROM sync.pending_imports WHERE file = ?", [name]).fetchone()
    records = int(row[0]) if row else 0
    return ImportFile(records, files.named(name) if records else None)


def write_missing_files(
    warehouse: Warehouse, entity: Entity, files: StateFiles, columns: Mapping[str, str | None], now: datetime
) -> None:
    """Write the missing files of ``entity``, whole or not at all; ``columns``: heading → our column."""
    with warehouse.open() as connection:
        waiting = named_rows(
            connection,
            "SELECT bms_id, file, record, handed_over_at FROM sync.pending_imports"
            " WHERE entity = ? AND written_at IS NULL ORDER BY file, name, bms_id",
            [entity.name],
        )
    for name in dict.fromkeys(row["file"] for row in waiting):
        rows = [row for row in waiting if row["file"] == name]
        # The file with the BMS ids comes first: without it, a file to import would have unknown records.
        files.write(f"{name}{_IDS}", _ids_text(entity, rows).encode())
        files.write(name, _csv_text([json.loads(row["record"]) for row in rows], columns).encode())
        with warehouse.transaction() as connection:
            connection.execute("UPDATE sync.pending_imports SET written_at = ? WHERE file = ?", [now, name])


def recover_pending_imports(connection: duckdb.DuckDBPyConnection, entity: Entity, files: StateFiles) -> int:
    """Take in the records handed over in ``files`` but missing in this database; return their number."""
    known = {row[0] for row in connection.execute("SELECT DISTINCT file FROM sync.pending_imports").fetchall()}
    found = 0
    there = files.names()
    for ids_name in there:
        name = ids_name.removesuffix(_IDS)
        if not fnmatch.fnmatchcase(ids_name, f"{entity.name}-*.csv{_IDS}") or name in known:
            continue
        moment, records = _read_ids(files, name)
        for record in records:
            connection.execute(
                "INSERT INTO sync.pending_imports BY NAME SELECT $entity AS entity, $bms_id AS bms_id, $name AS name,"
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
                    "is_there": name in there,
                },
            )
            found += 1
    return found


def list_pending_imports(
    connection: duckdb.DuckDBPyConnection, entities: Sequence[Entity], now: datetime
) -> list[dict[str, Any]]:
    """Return the records handed over and their states, oldest first.

    Columns: entity, bms_id, name, file, handed_over_at, state (``handed over``, ``listed``, ``adopted``, or a different
    decision made since), overdue.
    """
    query = f"FROM ({pending_imports_sql(entities, '$now::TIMESTAMP')}) ORDER BY handed_over_at, entity, bms_id"
    return named_rows(connection, query, {"now": now})


def pending_imports_sql(entities: Sequence[Entity], now: str) -> str:
    """Return SQL for ``list_pending_imports``, with ``now`` as SQL for the moment."""
    states = " UNION ALL ".join(sql.read("load/pending_imports").format(entity=entity.name) for entity in entities)
    late = f"handed_over_at < {now} - INTERVAL {OVERDUE_DAYS} DAY"
    return f"SELECT *, state IN ('listed', 'handed over') AND {late} AS overdue FROM ({states})"


def reissue_pending_imports(
    connection: duckdb.DuckDBPyConnection, entity: Entity, bms_ids: Sequence[int], by: str, now: datetime
) -> None:
    """Let the next plan hand over these records again, because their file was lost before its import.

    Raises ``DecisionRefused`` for a record that was not handed over, or is listed by Passportal: it would exist twice.
    """
    states = {row["bms_id"]: row for row in list_pending_imports(connection, (entity,), now)}
    for bms_id in bms_ids:
        state = states[bms_id]["state"] if bms_id in states else "not handed over"
        if state != "handed over":
            raise DecisionRefused(
                f"{entity.singular} {bms_id} is {state}; nothing was changed.",
                "Only what was handed over and is not listed by Passportal yet can be handed over again"
                " (`bms-pipeline pending-imports`).",
            )
    connection.execute(
        "UPDATE sync.pending_imports SET reissued_at = $now, reissued_by = $by"
        " WHERE entity = $entity AND reissued_at IS NULL AND bms_id IN (SELECT unnest($ids))",
        {"now": now, "by": by, "entity": entity.name, "ids": list(bms_ids)},
    )
    bump_version(connection, "hand_overs", now)


def read_headers(entity: Entity, file: Path | None, mapping: FieldMapping = DEFAULT) -> dict[str, str | None]:
    """Return heading → our column (None: left blank), as in the tenant's own file, else as documented.

    A heading is the field's label by ``mapping``, or Passportal's own; a field left out is blank. Raises
    ``SettingsError`` where the file cannot be read or has no column for the name.
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
    labels = (*entity.labels.items(), *mapping.labels(entity).items())
    ours = {label.lower(): column for column, label in labels} | _HEADINGS
    left_blank = {column for column in entity.columns if mapping.is_left_out(entity, column)}
    columns = {heading: ours.get(heading.strip().lower()) for heading in headings}
    needed = [column for column in ("first_name", "last_name") if column in entity.columns]
    if "name" not in columns.values() and not (needed and set(needed) <= set(columns.values())):
        raise SettingsError(
            f"{file or entity.name} has no column for a {entity.singular}'s name: {', '.join(headings) or 'none'}.",
            f"Let {setting} name the file for {entity.name} that Passportal offers under Settings > Import / Export.",
        )
    known = set(entity.columns) - left_blank
    return {heading: column if column in known else None for heading, column in columns.items()}


def _read_ids(files: StateFiles, name: str) -> tuple[datetime, list[dict[str, Any]]]:
    """Return when the records of a file were handed over, and which; raises ``PipelineError`` if unreadable."""
    try:
        story = json.loads(files.read(f"{name}{_IDS}") or b"")
        records = [{"bms_id": int(record["bms_id"]), "record": dict(record["record"])} for record in story["records"]]
        return datetime.fromisoformat(story["handed_over_at"]), records
    except (ValueError, KeyError, TypeError):
        raise PipelineError(
            f"{files.named(f'{name}{_IDS}')} is damaged, and the database does not know which records were handed over"
            f" with {name}.",
            f"Put your own copy of it back. Without one: import {name} into Passportal unless that was done, then"
            f" move {name}{_IDS} aside and run again.",
        ) from None


def _ids_text(entity: Entity, rows: list[dict[str, Any]]) -> str:
    story = {
        "entity": entity.name,
        "handed_over_at": rows[0]["handed_over_at"].isoformat(),
        "records": [{"bms_id": row["bms_id"], "record": json.loads(row["record"])} for row in rows],
    }
    return json.dumps(story, ensure_ascii=False, indent=1)


def _csv_text(records: list[dict[str, str | None]], columns: Mapping[str, str | None]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(columns)
    for record in records:
        rows.writerow([_cell(record.get(column or "") or "") for column in columns.values()])
    return text.getvalue()


def _cell(text: str) -> str:
    """Escape ``text`` that a spreadsheet would take for a formula. A phone number may keep its plus for the import."""
    from bms_pipeline.spreadsheet.cells import escape_formula

    return text if _PHONE_NUMBER.fullmatch(text) else escape_formula(text)
