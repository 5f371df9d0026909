"""Corrects stored moments in the future to now, before anything is compared with them.

This machine's clock may have been ahead when they were written. Uncorrected, such a moment is later than all
following ones: nothing is new any more, nothing is due, nothing is overdue.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from bms_pipeline.core.entities import Entity
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.inputs import bump_version
from bms_pipeline.warehouse.relations import Relation, temporary

_log = logging.getLogger(__name__)

FURTHEST_ZONE = timedelta(hours=14)
"""A stamp of BMS has no zone, so one ahead of UTC by less than this may be right."""
TOLERATED = timedelta(minutes=1)
"""Clocks are corrected a little all the time; smaller corrections are not reported."""
SHOWN_DAYS = 7
"""How long ``status`` reports a correction."""

_FINISHED = "initial_sync_finished_at"
_OF_FINISH = ("sync.settings", _FINISHED)


@dataclass(frozen=True)
class Ahead:
    """A stored moment in the future: which one, in how many rows, the latest of them (UTC)."""

    stamp: str
    rows: int
    latest: datetime

    def __str__(self) -> str:
        return f"{self.stamp} ({self.rows:,}, up to {self.latest:%Y-%m-%d %H:%M} UTC)"


def is_any_ahead(connection: duckdb.DuckDBPyConnection, now: datetime) -> bool:
    """Return whether ``put_right`` would move any moment; writes nothing."""
    return bool(_future_columns(connection, now))


def put_right(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[Ahead]:
    """Move every stored moment after ``now`` right before it, in the same order; return the moved ones.

    Call it inside a transaction, before new moments are written. Reported in the log and by ``status``.
    """
    columns = _future_columns(connection, now)
    if not columns:
        return []
    finished = _finished(connection) if _OF_FINISH in columns else None
    columns = [column for column in columns if column != _OF_FINISH]
    found = " UNION ".join(f"SELECT {column} AS moment FROM {table} WHERE {column} > $now" for table, column in columns)
    query = (
        # A microsecond each, so that later moments stay later.
        "SELECT moment, $now - to_microseconds(row_number() OVER (ORDER BY moment DESC)) AS counts_as FROM"
        f" (SELECT $finished::TIMESTAMP AS moment WHERE $finished IS NOT NULL{' UNION ' if found else ''}{found})"
    )
    with temporary(connection, "corrections", query, {"now": now, "finished": finished}) as corrections:
        report = [_correct(connection, corrections, table, column) for table, column in columns]
        if finished is not None:
            report.append(_correct_finish(connection, corrections, finished, now))
    bump_version(connection, "clock", now)  # a record's moments decide whether it is new
    report = [ahead for ahead in report if ahead.latest > now + TOLERATED]
    for ahead in report:
        connection.execute(
            "INSERT INTO sync.future_moments VALUES (?, ?, ?, ?)", [now, ahead.stamp, ahead.rows, ahead.latest]
        )
        _log.warning("A stored moment lies in the future and counts as now: %s. Check this machine's clock.", ahead)
    return report


def warnings(connection: duckdb.DuckDBPyConnection, entities: tuple[Entity, ...], now: datetime) -> list[str]:
    """Return the warnings about clocks: recent corrections, and stamps of BMS in the future."""
    told = []
    rows = connection.execute(
        "SELECT found_at, sum(rows)::BIGINT, arg_max(stamp, latest), max(latest) FROM sync.future_moments"
        f" WHERE found_at > $now - INTERVAL {SHOWN_DAYS} DAY GROUP BY found_at ORDER BY found_at",
        {"now": now},
    ).fetchall()
    for found_at, count, stamp, latest in rows:
        told.append(
            f"This machine's clock was ahead: {count:,} stored moments lay in the future, the furthest is {stamp} with"
            f" {latest:%Y-%m-%d %H:%M} UTC. They count as {found_at:%Y-%m-%d %H:%M} UTC. Check the clock."
        )
    ahead = " UNION ALL ".join(
        f"SELECT '{entity.name}', '{entity.singular}', count(*), max(modified_on), arg_max(bms_id, modified_on)"
        f" FROM bms.{entity.name} WHERE missing_since IS NULL AND try_cast(modified_on AS TIMESTAMP) > $latest"
        for entity in entities
    )
    for name, singular, count, stamp, bms_id in connection.execute(ahead, {"latest": latest_stamp(now)}).fetchall():
        if count:
            told.append(
                f"{name}: {count:,} records are stamped in the future, {singular} {bms_id} with {stamp}."
                " These stamps are not believed. Look at the record and at the clock of BMS."
            )
    return told


def latest_stamp(now: datetime) -> datetime:
    """Return the latest stamp of BMS that can be right."""
    return now + FURTHEST_ZONE


def _future_columns(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[tuple[str, str]]:
    """Return every table and column with a moment after ``now``. Each table is named once: see ``lake``."""
    latest = " UNION ALL ".join(
        f"SELECT '{table}' AS place, unnest({columns}) AS stamp,"
        f" unnest([{', '.join(f'max({column})' for column in columns)}]) AS latest FROM {table}"
        for table, columns in _moment_columns(connection)
    )
    latest += (
        " UNION ALL SELECT 'sync.settings', name, (value ->> '$')::TIMESTAMP FROM sync.settings"
        f" WHERE name = '{_FINISHED}'"
    )
    return connection.execute(f"SELECT place, stamp FROM ({latest}) WHERE latest > $now", {"now": now}).fetchall()


def _moment_columns(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, list[str]]]:
    """Return every table with its columns of moments. An open database has the schema of this version, so ask once."""
    if not _known_columns:
        _known_columns.extend(connection.execute(sql.read("warehouse/moment_columns")).fetchall())
    return _known_columns


_known_columns: list[tuple[str, list[str]]] = []


def _finished(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    row = connection.execute("SELECT value FROM sync.settings WHERE name = ?", [_FINISHED]).fetchone()
    return datetime.fromisoformat(json.loads(row[0])) if row else None


def _correct(connection: duckdb.DuckDBPyConnection, corrections: Relation, table: str, column: str) -> Ahead:
    """Give the moments of a column in ``corrections`` (moment, counts_as) their corrected value."""
    row = connection.execute(
        f"SELECT count(*), max({column}) FROM {table} WHERE {column} IN (SELECT moment FROM {corrections})"
    ).fetchone() or (0, datetime.min)
    connection.execute(
        f"UPDATE {table} SET {column} = c.counts_as FROM {corrections} c WHERE {table}.{column} = c.moment"
    )
    return Ahead(f"{table}.{column}", *row)


def _correct_finish(
    connection: duckdb.DuckDBPyConnection, corrections: Relation, finished: datetime, now: datetime
) -> Ahead:
    """Correct the moment of the first finish, which is kept as a setting."""
    (counts_as,) = connection.execute(
        f"SELECT counts_as FROM {corrections} WHERE moment = ?", [finished]
    ).fetchone() or (now,)
    connection.execute("UPDATE sync.settings SET value = ? WHERE name = ?", [json.dumps(str(counts_as)), _FINISHED])
    return Ahead(f"sync.settings.{_FINISHED}", 1, finished)
