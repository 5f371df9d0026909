"""Backup and recovery: make and list copies, put the newest good one back with every decision since, or start over.

Nothing is ever deleted here. A file in the way is moved aside, with the time in its name.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb

from bms_pipeline.core.errors import PipelineError, StorageRefused, WarehouseDamaged, WarehouseError
from bms_pipeline.core.settings import Settings
from bms_pipeline.reconcile.sync_settings import store_sync_setting
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import LockName
from bms_pipeline.warehouse import backups, causes, decision_log, schema, sql
from bms_pipeline.warehouse.backups import Copy
from bms_pipeline.warehouse.causes import translate_errors
from bms_pipeline.warehouse.connection import Warehouse, connect, move_aside, now, open_warehouse, transaction
from bms_pipeline.warehouse.stored_mapping import read_mapping

RESTORED = "restored_at"
"""The setting with the time a copy was put back, so the database does not count as new."""


@dataclass(frozen=True)
class Restorable:
    """The content for ``restore`` to put back: ``copy`` (None: only the log) and the log's lines after it.

    ``problems``: sentences about the unusable parts of copies and log.
    """

    copy: Copy | None
    entries: list[decision_log.Entry]
    problems: list[str]

    @property
    def decisions(self) -> int:
        """The number of ledger lines the log adds to the copy."""
        return sum(len(entry.get("decisions", ())) for entry in self.entries)

    @property
    def approvals(self) -> int:
        """The number of plans approved, or made to take a load back, since the copy."""
        plans = [plan for entry in self.entries for plan in entry.get("plans", ())]
        return sum(not plan.get("discarded_at") for plan in plans)


@dataclass(frozen=True)
class Restored:
    """The restored content, and the files moved aside."""

    matches: int
    exclusions: int
    decisions: int
    moved: list[Path]


def back_up(settings: Settings, warehouse: Warehouse, file: Path | None = None) -> Copy:
    """Make a whole verified copy in ``file``, or in the home folder's ``backups``; return its content.

    Raises ``PipelineError`` where ``file`` is there already.
    """
    _check_file(settings)
    moment = now()
    file = file or backups.backups_folder(warehouse.file) / f"whole-{moment:%Y%m%dT%H%M%S}.duckdb"
    if file.exists():
        raise PipelineError(f"{file} is there already; nothing was written.", "Name a file that is not there.")
    with open_state(settings).locked(LockName.RUN, "bms-pipeline backup", moment), warehouse.open() as connection:
        backups.make_backup(connection, file, moment, whole=True)
    return backups.inspect(file)


def list_copies(settings: Settings) -> list[Copy]:
    """Read every copy in the home folder and return them, the one with most content first."""
    _check_file(settings)
    return backups.inspect_all(backups.backups_folder(settings.warehouse_file), now())


def find_restorable(settings: Settings, file: Path | None = None) -> Restorable:
    """Return the content for ``restore`` to put back: ``file`` or the newest good copy, and the log after it.

    Raises ``WarehouseError`` where there is nothing, and ``WarehouseDamaged`` where ``file`` is not good.
    """
    _check_file(settings)
    log = decision_log.read_log(decision_log.file_of(settings.warehouse_file))
    problems = list(log.problems)
    if file is not None:
        copy = backups.inspect(file)
        if copy.problem:
            raise WarehouseDamaged(f"The copy {file} is not good: {copy.problem}", "`bms-pipeline backups` lists all.")
        return _after(copy, log, problems)
    copies = list_copies(settings)
    problems += [f"the copy {copy.file} is not good: {copy.problem}" for copy in copies if copy.problem]
    if copies and not copies[0].problem:
        return _after(copies[0], log, problems)
    if not log.entries:
        raise WarehouseError(
            f"There is no good copy in {backups.backups_folder(settings.warehouse_file)} and no decision in"
            f" {decision_log.file_of(settings.warehouse_file)}.{_sentences(problems)}",
            "Put a copy of your own back with `bms-pipeline restore FILE`, or start over with `bms-pipeline rebuild`.",
        )
    return _after(None, log, problems)


def _after(copy: Copy | None, log: decision_log.Log, problems: list[str]) -> Restorable:
    held = copy.number if copy else 0
    entries = [entry for entry in log.entries if entry["number"] > held]
    numbers = [held, *(entry["number"] for entry in entries)]
    missing = sum(later - earlier - 1 for earlier, later in pairwise(numbers) if later > earlier)
    if missing:
        problems.append(f"{missing:,} lines are missing in the log: what was decided there is only in a newer copy")
    return Restorable(copy, entries, problems)


def restore(settings: Settings, restorable: Restorable) -> Restored:
    """Replace the database by one made of ``restorable``; the old one is moved aside.

    Raises ``RunLocked`` and ``WarehouseBusy`` while somebody works with it.
    """
    _check_file(settings)
    database = settings.warehouse_file
    with open_state(settings).locked(LockName.RUN, "bms-pipeline restore", now()):
        _check_free(database)
        with translate_errors(database):
            new = _built(database, restorable)
            moved = move_aside([*causes.side_files(database), *([database] if database.exists() else [])])
            new.rename(database)
        with Warehouse(database).open() as connection:
            matches, exclusions, decisions = connection.execute(
                "SELECT (SELECT count(*) FROM sync.matches), (SELECT count(*) FROM sync.exclusions),"
                " (SELECT count(*) FROM sync.decisions)"
            ).fetchone() or (0, 0, 0)
    return Restored(matches, exclusions, decisions, moved)


def _built(database: Path, restorable: Restorable) -> Path:
    """Build a new database from ``restorable``, whole and closed, next to ``database``."""
    new = database.with_name(f"{database.name}.restored")
    for leftover in (new, *causes.side_files(new)):
        leftover.unlink(missing_ok=True)
    with contextlib.closing(connect(new, 0)) as connection:
        with transaction(connection):
            if restorable.copy is not None:
                _take_over(connection, restorable.copy.file)
            schema.check_version(connection, str(new))
            schema.migrate(connection)
        with transaction(connection):
            decision_log.replay(connection, restorable.entries)
            schema.add_mapped_columns(connection, read_mapping(connection))  # it may be newer than the copy
            _withdraw_plan(connection)
            store_sync_setting(connection, RESTORED, now().isoformat(sep=" "), now())
        connection.execute("CHECKPOINT")
    damage = causes.damage_in(new)
    if damage:
        raise WarehouseDamaged(f"The restored database {new} is damaged: {damage}", "Look at the disk, then try again.")
    return new


def _take_over(connection: duckdb.DuckDBPyConnection, copy: Path) -> None:
    """Copy every table of ``copy``."""
    with _attached(connection, copy):
        tables = connection.execute("SELECT name FROM copy.main.copied").fetchall()
        for (name,) in tables:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.partition('.')[0]}")
            connection.execute(f"CREATE TABLE {name} AS FROM copy.{name}")


@contextlib.contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, copy: Path) -> Iterator[None]:
    connection.execute(f"ATTACH {sql.quoted(str(copy))} AS copy (READ_ONLY)")
    yield  # closed with the connection: DuckDB cannot detach it inside the transaction reading it


def _withdraw_plan(connection: duckdb.DuckDBPyConnection) -> None:
    """Add an empty plan after the present ones: their operations are not in the copy, so none may be loaded."""
    moment = now()
    connection.execute(
        "INSERT INTO sync.plans (plan_id, hash, made_at, scope, inputs, operations, loaded_at)"
        " SELECT coalesce(max(plan_id), 0) + 1, $hash, $now, $scope, '{}', 0, $now FROM sync.plans",
        {
            "hash": hashlib.md5(moment.isoformat().encode(), usedforsecurity=False).hexdigest(),
            "now": moment,
            "scope": '{"entities": [], "clients": null}',
        },
    )


def rebuild(settings: Settings) -> list[Path]:
    """Start over with an empty database; return the files moved aside.

    The exclusions are unknown then, so nothing is created until a person has finished a plan by its hash. A lake is
    never moved aside. Raises ``WarehouseError`` where it has loaded anything.
    """
    with open_state(settings).locked(LockName.RUN, "bms-pipeline rebuild", now()):
        moved = [] if settings.bms_pipeline_lake else _moved_aside(settings.warehouse_file)
        warehouse = open_warehouse(settings)
        moment = now()
        with warehouse.transaction() as connection:
            if connection.execute("FROM sync.journal LIMIT 1").fetchone():
                raise WarehouseError(
                    f"{warehouse} holds what this program has loaded, and is not moved aside. Nothing was changed.",
                    "Put back a backup of PostgreSQL, or set BMS_PIPELINE_STATE and BMS_PIPELINE_LAKE to a database and"
                    " a folder that are empty.",
                )
            store_sync_setting(connection, "rebuilt_at", moment.isoformat(sep=" "), moment)
    return moved


def _moved_aside(database: Path) -> list[Path]:
    _check_free(database)
    with translate_errors(database):
        there = [database, decision_log.file_of(database), backups.backups_folder(database)]
        return move_aside([*causes.side_files(database), *(path for path in there if path.exists())])


def _check_file(settings: Settings) -> None:
    """Raise ``WarehouseError`` where the warehouse is a lake, of which PostgreSQL's own tools make the copies."""
    if settings.bms_pipeline_lake:
        raise WarehouseError(
            f"The warehouse lies in PostgreSQL and in {settings.bms_pipeline_lake}, so no command here copies it.",
            "Back up the PostgreSQL database first, then the folder, with their own tools: docs/deploy.md says how.",
        )


def _check_free(database: Path) -> None:
    """Raise ``WarehouseBusy`` where another process has the database open; any other fault of it is accepted."""
    if not database.is_file():
        return
    with contextlib.suppress(WarehouseDamaged, duckdb.Error, StorageRefused), translate_errors(database):
        connect(database, 0).close()


def _sentences(problems: list[str]) -> str:
    return "".join(f"\n  {problem}" for problem in problems)
