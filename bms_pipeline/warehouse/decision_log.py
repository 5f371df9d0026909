"""The second copy of each decision: a line in ``decisions.log``, outside the database, before a person gets an answer.

Every decision of a person passes through ``Warehouse.transaction``. Inside it ``Watched`` sees by a few counters
whether the transaction changed any decision. If so, it counts up ``sync.logged`` in the same transaction. Right after
the commit the line of this number is appended and synced, then the caller goes on and answers.

- A decision whose transaction failed has no line, because the line follows the commit.
- An answered decision has one, because the line precedes the answer.
- A process killed in between leaves a stored decision without an answer and without a line. This gap in the numbers
  makes the next run write a whole copy (``backups``).

A line holds the state of the records *after* the decision, not the change. So replaying lines is idempotent, and
one damaged line spoils only the records missing in all other lines.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import DecisionsMissing
from bms_pipeline.core.files import make_durable
from bms_pipeline.warehouse import lines, sql
from bms_pipeline.warehouse.causes import translate_errors

_log = logging.getLogger(__name__)

NAME = "decisions.log"
OF_RECORDS = ("matches", "exclusions", "approved_creates", "non_matches")
"""Tables of ``sync`` with decisions about one record, by ``entity`` and ``bms_id``."""
_FORMER_TABLES = {"creations": "approved_creates", "partings": "non_matches", "hand_overs": "pending_imports"}
_FORMER_COLUMNS = {"beside": "allow_duplicate", "forgotten_at": "reissued_at", "forgotten_by": "reissued_by"}
"""Names in the lines of version 0.5 → as they are called now."""
_TAIL = 1 << 16

Entry = dict[str, Any]
"""One line: ``number``, ``at``, and table → its rows after the decision."""


@dataclass(frozen=True)
class Log:
    """The content of a log: its lines in order, and sentences about the unusable ones."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Watched:
    """Watches which decisions of people a transaction changes. Made at its beginning."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._before = self._position()

    def entry(self) -> Entry | None:
        """Return the line for the changes, counted in ``sync.logged``; None without any. Call it before the commit."""
        before, after = self._before, self._position()
        changed = self._changed(before, after)
        if not changed:
            return None
        number, at = held_number(self._connection) + 1, datetime.now(UTC).replace(tzinfo=None)
        _hold(self._connection, number, at)
        return {"number": number, "at": at.isoformat(sep=" "), **changed}

    def _changed(self, before: dict[str, Any], after: dict[str, Any]) -> Entry:
        """Return table → its present rows, for the tables changed between two positions."""
        entry: Entry = {}
        if after["batch"] != before["batch"]:
            entry |= self._records(before["batch"])
        if after["settings"] != before["settings"]:
            entry["settings"] = self._rows("FROM sync.settings")
        for name, table, moment in (
            ("history", "settings_history", "changed_at"),
            ("reissued", "pending_imports", "reissued_at"),
            ("approved", "plans", "approved_at"),
            ("discarded", "plans", "discarded_at"),
        ):
            if after[name] != before[name]:
                new = f"FROM sync.{table} WHERE {moment} <= $now AND ($since IS NULL OR {moment} > $since)"
                entry[table] = self._rows(new, now=after["now"], since=before[f"{name}_until"])
        if after["undo"] != before["undo"]:
            entry["plans"] = self._rows("FROM sync.plans WHERE plan_id > $undo", undo=before["undo"])
        return entry

    def _records(self, batch: int) -> Entry:
        """Return every record decided about after ``batch``: the ledger's lines, and its rows in each table."""
        decided = "SELECT DISTINCT entity, bms_id FROM sync.decisions WHERE batch > $batch"
        found: Entry = {"decisions": self._rows("FROM sync.decisions WHERE batch > $batch", batch=batch)}
        for table in OF_RECORDS:
            found[table] = self._rows(f"FROM sync.{table} SEMI JOIN ({decided}) USING (entity, bms_id)", batch=batch)
        return found

    def _rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        row = self._connection.execute(f"SELECT to_json(list(r)) FROM ({query}) r", values or None).fetchone()
        return json.loads(row[0]) if row and row[0] else []

    def _position(self) -> dict[str, Any]:
        moment = datetime.now(UTC).replace(tzinfo=None)
        result = self._connection.execute(sql.read("warehouse/log_position"), {"now": moment})
        names = [column[0] for column in result.description or []]
        return dict(zip(names, result.fetchone() or (), strict=True)) | {"now": moment}


def file_of(database: Path) -> Path:
    """Return the file of this database's log."""
    return database.with_name(NAME)


def append_entry(file: Path, entry: Entry) -> None:
    """Add one line, durable when this returns. Half a line left by a crash is cut off and noted in the new one.

    Raises ``StorageFull``, ``StorageRefused`` or ``StorageBroken``.
    """
    with translate_errors(file):
        is_new = not file.exists()
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            begin = _end_of_whole_lines(stream.fileno(), end)
            if begin < end:
                _log.warning("%s ended in half a line, which nobody was answered about; it was cut off.", file)
                stream.truncate(begin)
                entry = {**entry, "cut_off": end - begin}
            try:
                stream.write(lines.encoded(entry))
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                os.truncate(stream.fileno(), begin)
                raise
        if is_new:
            make_durable(file.parent)


def read_log(file: Path) -> Log:
    """Return the readable lines of the log; an empty log where there is no file."""
    with translate_errors(file):
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return Log()
    log = Log()
    *whole, rest = content.split(b"\n")
    for number, line in enumerate(whole, 1):
        entry = _entry(line)
        if entry is None:
            log.problems.append(f"line {number:,} of {file} is damaged: its decisions are not in it any more")
        else:
            log.entries.append(entry)
    if rest:
        log.problems.append(f"{file} ends in half a line, which nobody was answered about")
    return log


def last_number(file: Path) -> int:
    """Return the number of the newest whole line, 0 where there is none."""
    with translate_errors(file):
        try:
            with file.open("rb") as stream:
                size, tail = stream.seek(0, os.SEEK_END), _TAIL
                while True:
                    stream.seek(max(0, size - tail))
                    whole = stream.read().split(b"\n")[:-1]
                    found = next((entry for entry in map(_entry, reversed(whole)) if entry is not None), None)
                    if found is not None:
                        return int(found["number"])
                    if tail >= size:
                        return 0
                    tail *= 8
        except FileNotFoundError:
            return 0


def held_number(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of the newest line in the database."""
    row = connection.execute("SELECT coalesce(max(number), 0) FROM sync.logged").fetchone()
    return int(row[0]) if row else 0


def check_log(connection: duckdb.DuckDBPyConnection, database: Path) -> None:
    """Raise ``DecisionsMissing`` where the log next to ``database`` holds decisions missing in the database."""
    file = file_of(database)
    held, logged = held_number(connection), last_number(file)
    if logged > held:
        raise DecisionsMissing(
            f"{database} does not hold what people decided last: it ends with decision {held:,} of {file}, which goes"
            f" on to {logged:,}. It is new, older, or lost its end.",
            "`bms-pipeline restore` puts back the newest good copy and every decision since. `bms-pipeline rebuild`"
            " starts over without them.",
        )


def replay(connection: duckdb.DuckDBPyConnection, entries: Iterable[Entry]) -> int:
    """Restore the decisions in ``entries``; return the number of lines used. Call it inside a transaction."""
    replayed = 0
    for entry in entries:
        _replay_records(connection, entry)
        for table, keys in (("settings", ()), ("settings_history", ("changed_at", "name")), ("decisions", ("batch",))):
            if table in entry:
                put_rows(connection, table, entry[table], keys)
        if "pending_imports" in entry:
            put_rows(connection, "pending_imports", entry["pending_imports"], ("entity", "bms_id", "file"))
        _hold(connection, entry["number"], entry["at"])
        replayed += 1
    return replayed


def _hold(connection: duckdb.DuckDBPyConnection, number: int, at: object) -> None:
    """Note ``number`` as the newest line in the database."""
    connection.execute("DELETE FROM sync.logged")
    connection.execute("INSERT INTO sync.logged VALUES (?, ?)", [number, at])


def _replay_records(connection: duckdb.DuckDBPyConnection, entry: Entry) -> None:
    """Give each decided record its rows after the decision, and no others."""
    if "decisions" not in entry:
        return
    keys = {(decision["entity"], decision["bms_id"]) for decision in entry["decisions"]}
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE decided_keys AS"
        " SELECT unnest($entities) AS entity, unnest($ids)::BIGINT AS bms_id",
        {"entities": [key[0] for key in keys], "ids": [key[1] for key in keys]},
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE former AS FROM sync.matches SEMI JOIN decided_keys USING (entity, bms_id)"
    )
    for table in OF_RECORDS:
        connection.execute(
            f"DELETE FROM sync.{table} t USING decided_keys k WHERE t.entity = k.entity AND t.bms_id = k.bms_id"
        )
        put_rows(connection, table, entry[table])
    for entity in ENTITIES:
        # The values that a record was compared with belong to the separated pair.
        connection.execute(
            f"DELETE FROM sync.base_{entity.name} WHERE bms_id IN (SELECT bms_id FROM former WHERE entity = $name"
            " AND NOT EXISTS (FROM sync.matches m WHERE m.entity = former.entity AND m.bms_id = former.bms_id"
            " AND m.passportal_id = former.passportal_id))",
            {"name": entity.name},
        )


def put_rows(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[dict[str, Any]], keys: Sequence[str] = ()
) -> None:
    """Insert ``rows``; those with the same ``keys`` are replaced, all where ``table`` is the settings."""
    described = connection.execute(f"DESCRIBE sync.{table}").fetchall()
    shape = json.dumps([{row[0]: row[1] for row in described}])
    given = f"(SELECT unnest(from_json($rows::JSON, '{shape}'), recursive := true))"
    values = {"rows": json.dumps(rows)}
    if table == "settings":
        connection.execute("DELETE FROM sync.settings")
    elif keys:
        same = " AND ".join(f"t.{key} = g.{key}" for key in keys)
        connection.execute(f"DELETE FROM sync.{table} t USING {given} g WHERE {same}", values)
    connection.execute(f"INSERT INTO sync.{table} BY NAME FROM {given}", values)


def _entry(line: bytes) -> Entry | None:
    """Return the content of a line, or None where it is damaged."""
    entry = lines.decoded_line(line)
    if entry is None or not isinstance(entry.get("number"), int):
        return None
    tables = {
        _FORMER_TABLES.get(table, table): [
            {_FORMER_COLUMNS.get(column, column): value for column, value in row.items()} for row in rows
        ]
        for table, rows in entry.items()
        if isinstance(rows, list)
    }
    return {name: value for name, value in entry.items() if not isinstance(value, list)} | tables


def _end_of_whole_lines(descriptor: int, end: int) -> int:
    """Return the position of the last whole line's end."""
    position = end
    while position > 0:
        begin = max(0, position - _TAIL)
        found = os.pread(descriptor, position - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0
