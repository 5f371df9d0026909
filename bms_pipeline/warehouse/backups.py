"""Verified copies of the database: a new file, written, read again, compared, and only then given its name.

A copy holds everything that no reading brings back: decisions, matches, exclusions, non-matches, settings, ledger,
hand-overs, plans, journal, and the values compared last. It also holds the last records of BMS and Passportal: they
decide later which records are new. It leaves out the tables computed from these, and the raw JSON.

The name of an automatic copy says which state it holds. So no file has to be opened to know whether a new one is due.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.errors import WarehouseDamaged
from bms_pipeline.core.files import make_durable
from bms_pipeline.core.version import VERSION
from bms_pipeline.warehouse import causes, decision_log, sql
from bms_pipeline.warehouse.causes import translate_errors

KEPT = 3
"""The number of automatic copies to keep."""
AT_MOST_EVERY = timedelta(minutes=10)
"""While only people decide, a copy is not made more often: the log holds each of their decisions."""

BLOCK_SIZE = 16_384
"""DuckDB's smallest block size: each column of an empty table takes a block."""

_AUTOMATIC = re.compile(r"(?P<made>\d{8}T\d{6}\.\d{6})Z-(?P<loaded>[0-9a-f]{12})-(?P<decided>[0-9a-f]{12})\.duckdb")
_LEFT_OUT = frozenset(
    {
        "sync.sweeps",
        "sync.made_from",
        *(f"sync.{kind}_{entity.name}" for entity in ENTITIES for kind in ("reconciled", "planned")),
    }
)
"""The next run makes these again. Without its sweeps a restored database reads every list of BMS whole."""
_COMPUTED = frozenset(f"bms.{entity.name}" for entity in ENTITIES)
"""Tables copied without their raw JSON."""


@dataclass(frozen=True)
class Copy:
    """A copy in ``file``. ``problem`` says why it is not good; then nothing else is known.

    ``number``: the newest line of the decision log in it. ``decisions`` counts the ledger.
    """

    file: Path
    made_at: datetime | None = None
    version: str = ""
    is_whole: bool = False
    number: int = 0
    decisions: int = 0
    matches: int = 0
    exclusions: int = 0
    problem: str = ""


def backups_folder(database: Path) -> Path:
    """Return the folder of this database's copies."""
    return database.with_name("backups")


def make_if_due(connection: duckdb.DuckDBPyConnection, database: Path, now: datetime) -> Path | None:
    """Make a copy if the newest one lacks a change; return its file, or None.

    Changes by loads are copied at once. Changes by people alone wait for ``AT_MOST_EVERY``, unless one of their lines
    is missing in the decision log. Raises ``StorageFull`` and the like.
    """
    loaded, decided = _state(connection)
    folder = backups_folder(database)
    _put_right(folder, now)
    automatic = [found for file in _files(folder) if (found := _AUTOMATIC.fullmatch(file.name))]
    if automatic:
        newest = automatic[-1]
        if (newest["loaded"], newest["decided"]) == (loaded, decided):
            return None
        age = now - _made_at(newest)
        is_logged = decision_log.last_number(decision_log.file_of(database)) >= decision_log.held_number(connection)
        if newest["loaded"] == loaded and is_logged and age < AT_MOST_EVERY:
            return None
    elif not _is_worth_it(connection):
        return None
    file = folder / _named(now, loaded, decided)
    make_backup(connection, file, now, whole=False)
    for old in [copy for copy in _files(folder) if _AUTOMATIC.fullmatch(copy.name)][:-KEPT]:
        old.unlink(missing_ok=True)
    return file


def _put_right(folder: Path, now: datetime) -> None:
    """Date copies from the future right before ``now``, in the same order: the clock was ahead.

    Otherwise they would stay the newest ones, and each new copy would be the first to be removed.
    """
    ahead = [found for file in _files(folder) if (found := _AUTOMATIC.fullmatch(file.name)) and _made_at(found) > now]
    for place, found in enumerate(ahead):
        counts_as = now - timedelta(microseconds=len(ahead) - place)
        (folder / found.string).rename(folder / _named(counts_as, found["loaded"], found["decided"]))
    latest = now.replace(tzinfo=UTC).timestamp()
    for file in _files(folder):
        if file.stat().st_mtime > latest:
            os.utime(file, (latest, latest))


def _named(made_at: datetime, loaded: str, decided: str) -> str:
    return f"{made_at:%Y%m%dT%H%M%S.%f}Z-{loaded}-{decided}.duckdb"


def _made_at(name: re.Match[str]) -> datetime:
    """Return when an automatic copy was made, from its name (UTC, like every stored moment)."""
    return datetime.strptime(name["made"], "%Y%m%dT%H%M%S.%f")


def before_migration(connection: duckdb.DuckDBPyConnection, database: Path, number: int, now: datetime) -> Path:
    """Make a whole, permanent copy before migration ``number`` changes the tables."""
    file = backups_folder(database) / f"before-{number:04}-{now:%Y%m%dT%H%M%S}.duckdb"
    make_backup(connection, file, now, whole=True)
    return file


def make_backup(connection: duckdb.DuckDBPyConnection, file: Path, now: datetime, *, whole: bool) -> None:
    """Copy the database of ``connection`` into a new ``file``, and compare the two before it gets its name.

    Raises ``WarehouseDamaged`` where the copy differs from the original, ``StorageFull`` and the like.
    """
    with translate_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = file.with_name(f".{file.name}.new")
        try:
            for leftover in (unfinished, *causes.side_files(unfinished)):
                leftover.unlink(missing_ok=True)
            _write(connection, unfinished, now, whole=whole)
            with reading(unfinished) as copy:
                _compare(copy, file, with_hashes=True)
            make_durable(unfinished)
            unfinished.replace(file)
        finally:
            for leftover in (unfinished, *causes.side_files(unfinished)):
                leftover.unlink(missing_ok=True)


def _write(connection: duckdb.DuckDBPyConnection, file: Path, now: datetime, *, whole: bool) -> None:
    umask = os.umask(0o077)
    try:
        connection.execute(f"ATTACH {sql.quoted(str(file))} AS copy (BLOCK_SIZE {BLOCK_SIZE})")
    finally:
        os.umask(umask)
    try:
        connection.execute("BEGIN")
        tables = _tables(connection, whole=whole)
        connection.execute("CREATE TABLE copy.main.copied (name VARCHAR, rows BIGINT, hash HUGEINT)")
        for name, columns in tables.items():
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS copy.{name.partition('.')[0]}")
            empty = " LIMIT 0" if not whole and name in _LEFT_OUT else ""
            connection.execute(f"CREATE TABLE copy.{name} AS SELECT {columns} FROM {name}{empty}")
            connection.execute(
                f"INSERT INTO copy.main.copied SELECT ?, count(*), coalesce(sum(hash(t)), 0)"
                f" FROM (SELECT {columns} FROM {name}{empty}) t",
                [name],
            )
        connection.execute(
            "CREATE TABLE copy.main.copy AS SELECT $at::TIMESTAMP AS made_at, $version AS version, $duckdb AS duckdb,"
            " $whole::BOOLEAN AS is_whole",
            {"at": now, "version": VERSION, "duckdb": duckdb.__version__, "whole": whole},
        )
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise
    finally:
        with contextlib.suppress(duckdb.Error):
            connection.execute("DETACH copy")


def _tables(connection: duckdb.DuckDBPyConnection, *, whole: bool) -> Mapping[str, str]:
    """Return table → the columns to copy."""
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE database_name = current_database()"
        " AND NOT temporary ORDER BY ALL"
    ).fetchall()
    return {name: "* EXCLUDE (json)" if not whole and name in _COMPUTED else "*" for (name,) in rows}


@contextlib.contextmanager
def reading(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a read-only connection to ``file``, with its tables as ``copy.<schema>.<table>``."""
    with contextlib.closing(duckdb.connect(":memory:", config={"memory_limit": "512MB"})) as connection:
        connection.execute(f"ATTACH {sql.quoted(str(file))} AS copy (READ_ONLY)")
        yield connection


def _compare(copy: duckdb.DuckDBPyConnection, file: Path, *, with_hashes: bool) -> None:
    """Raise ``WarehouseDamaged`` unless every table has the copied rows; reads all of them."""
    for name, rows, hashed in copy.execute("SELECT name, rows, hash FROM copy.main.copied").fetchall():
        found = copy.execute(f"SELECT count(*), coalesce(sum(hash(t)), 0) FROM copy.{name} t").fetchone()
        if found is None or found[0] != rows or (with_hashes and found[1] != hashed):
            raise WarehouseDamaged(f"The copy {file} does not hold what was copied: {name}.", "Make another one.")


def inspect(file: Path) -> Copy:
    """Read all of the copy in ``file`` and return its content as a ``Copy``."""
    try:
        with reading(file) as copy:
            made_at, version, wrote, is_whole = copy.execute("FROM copy.main.copy").fetchone() or (None, "", "", False)
            # The result of hash() depends on DuckDB's version.
            _compare(copy, file, with_hashes=wrote == duckdb.__version__)
            has_numbers = copy.execute(
                "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'sync' AND table_name = 'logged'"
            ).fetchone()
            number = "(SELECT coalesce(max(number), 0) FROM copy.sync.logged)" if has_numbers == (1,) else "0"
            counts = copy.execute(
                f"SELECT {number}, (SELECT count(*) FROM copy.sync.decisions),"
                " (SELECT count(*) FROM copy.sync.matches), (SELECT count(*) FROM copy.sync.exclusions)"
            ).fetchone() or (0, 0, 0, 0)
    except WarehouseDamaged as error:
        return Copy(file, problem=error.message)
    except (duckdb.Error, OSError) as error:
        return Copy(file, problem=causes.one_line(error))
    name = _AUTOMATIC.fullmatch(file.name)
    return Copy(file, _made_at(name) if name else made_at, version, bool(is_whole), *counts)


def inspect_all(folder: Path, now: datetime) -> list[Copy]:
    """Return every copy in ``folder``, the fullest first; a copy from the future counts as the oldest."""

    def held(copy: Copy) -> tuple[bool, int, bool, datetime]:
        made_at = copy.made_at or datetime.min
        return not copy.problem, copy.number, made_at <= now, made_at

    return sorted([inspect(file) for file in _files(folder)], key=held, reverse=True)


def last_written(folder: Path) -> tuple[str, datetime] | None:
    """Return the name of the copy written last, and when (UTC); reads no file."""
    newest = max(_files(folder), key=lambda file: file.stat().st_mtime, default=None)
    return (
        None
        if newest is None
        else (newest.name, datetime.fromtimestamp(newest.stat().st_mtime, UTC).replace(tzinfo=None))
    )


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.duckdb")) if folder.is_dir() else []


def _state(connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    row = connection.execute(sql.read("warehouse/copy_position")).fetchone() or ("", "")
    loaded, decided = (hashlib.sha256(str(state).encode()).hexdigest()[:12] for state in row)
    return loaded, decided


def _is_worth_it(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether anything was ever decided or loaded."""
    row = connection.execute(
        "SELECT EXISTS (FROM sync.decisions) OR EXISTS (FROM sync.settings_history) OR EXISTS (FROM sync.matches)"
        " OR EXISTS (FROM sync.pending_imports) OR EXISTS (FROM sync.journal)"
    ).fetchone()
    return bool(row and row[0])
